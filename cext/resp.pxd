"""Commands as they go over the wire of a Valkey or Redis server: arrays of bulk strings."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_AsEncodedString, PyUnicode_Check
from libc.string cimport memcpy

from python cimport PyErr_Clear, PyUnicode_AsUTF8AndSize


cdef inline const char* text_of(object word, Py_ssize_t* size, list kept) except NULL:
    """The bytes of a word; what had to be made for it is kept in the list."""
    cdef const char* text
    if PyUnicode_Check(word):
        text = PyUnicode_AsUTF8AndSize(<PyObject*>word, size)
        if text != NULL:
            return text
        PyErr_Clear()                                   # a lone surrogate: legal in a str, and so in a name
        word = PyUnicode_AsEncodedString(word, "utf-8", "surrogatepass")
        kept.append(word)
    elif not PyBytes_Check(word):
        raise TypeError(f"a word of a command must be str or bytes, not {word!r}")
    size[0] = PyBytes_GET_SIZE(word)
    return PyBytes_AS_STRING(word)


cdef inline Py_ssize_t digits_of(Py_ssize_t number) noexcept nogil:
    cdef Py_ssize_t digits = 1
    while number >= 10:
        number //= 10
        digits += 1
    return digits


cdef inline char* head_put(char* to, char kind, Py_ssize_t number) noexcept nogil:
    """Write the head of an array or a string; the place behind it."""
    cdef Py_ssize_t digits = digits_of(number), at
    to[0] = kind
    for at in range(digits, 0, -1):
        to[at] = <char>(48 + number % 10)
        number //= 10
    to[digits + 1], to[digits + 2] = 13, 10
    return to + digits + 3


cdef inline bytes packed_commands(list commands):
    """See packed."""
    cdef Py_ssize_t size, whole = 0
    cdef const char* text
    cdef char* to
    cdef list kept = []
    cdef bytes packed
    for command in commands:
        whole += 3 + digits_of(len(<tuple?>command))
        for word in <tuple>command:
            text_of(word, &size, kept)
            whole += 5 + digits_of(size) + size
    packed = PyBytes_FromStringAndSize(NULL, whole)
    to = PyBytes_AS_STRING(packed)
    for command in commands:
        to = head_put(to, 42, len(<tuple>command))      # *
        for word in <tuple>command:
            text = text_of(word, &size, kept)
            to = head_put(to, 36, size)                 # $
            memcpy(to, text, size)
            to += size
            to[0], to[1] = 13, 10
            to += 2
    return packed
