"""A request and its replies over a plain socket. Replies are read by a parser of the caller's."""
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EINTR, errno

from python cimport PyErr_CheckSignals

cdef extern from "talk.h" nogil:
    Py_ssize_t hotset_talk(int file, const char* out, size_t size, size_t* sent, char* into, size_t room)


cdef inline Py_ssize_t talk_over(int file, bytes request, bytearray buffer) except -1:
    """The bytes that have come into the buffer after the request was sent, 0 for the end of the connection."""
    cdef const char* out = PyBytes_AS_STRING(request)
    cdef char* into = PyByteArray_AS_STRING(buffer)
    cdef size_t size = PyBytes_GET_SIZE(request), sent = 0, room = PyByteArray_GET_SIZE(buffer)
    cdef Py_ssize_t got
    while True:
        with nogil:
            got = hotset_talk(file, out, size, &sent, into, room)
        if got >= 0:
            return got
        if got != -EINTR:
            errno = <int>-got
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()
