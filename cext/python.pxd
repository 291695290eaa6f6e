"""C declarations of CPython's API and of the compat header that the Python face uses beside Cython's own."""
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef inline int checked(int status) except -1:
    """Let an error that C code has set be raised."""
    return status


cdef extern from "compat.h" nogil:
    double hotset_clock_coarse()
    double hotset_clock_precise()
    uint32_t hotset_mix(Py_hash_t hash)
    Py_hash_t hotset_hash_int64(int64_t value)
    Py_hash_t hotset_hash_uint64(uint64_t value)

cdef extern from "compat.h":
    PyObject** tuple_items "hotset_tuple_items"(PyObject*) nogil
    Py_hash_t hotset_hash(PyObject* o) except? -1
    Py_hash_t hotset_known_hash(PyObject* o) noexcept nogil
    bint HOTSET_LIKELY(bint x) noexcept nogil

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    bint PyUnicode_CheckExact(PyObject*) nogil
    bint PyLong_CheckExact(PyObject*) nogil
    Py_ssize_t PyVectorcall_NARGS(size_t) nogil
    PyObject* PyObject_Vectorcall(PyObject*, PyObject* const*, size_t, PyObject*) except NULL
    PyObject* call "PyObject_Vectorcall"(PyObject*, PyObject* const*, size_t, PyObject*)
    int Py_ReprEnter(object) except -1
    void Py_ReprLeave(object)
    object PyMethod_New(object, object)
    void PyErr_Fetch(PyObject**, PyObject**, PyObject**)
    void PyErr_Restore(PyObject*, PyObject*, PyObject*)
    void PyErr_WriteUnraisable(PyObject*)
    PyObject* PyErr_Occurred()
    void PyErr_Clear()
    const char* PyUnicode_AsUTF8AndSize(PyObject*, Py_ssize_t*)
    int PyErr_CheckSignals() except -1
    int dict_set "PyDict_SetItem"(PyObject*, PyObject*, PyObject*) except -1
    PyObject* PyTuple_New(Py_ssize_t) except NULL
    void PyTuple_SET_ITEM(PyObject*, Py_ssize_t, PyObject*)
    PyObject* tuple_item "PyTuple_GET_ITEM"(PyObject*, Py_ssize_t) nogil
    Py_ssize_t tuple_size "PyTuple_GET_SIZE"(PyObject*) nogil
    PyObject* type_of "(PyObject*)Py_TYPE"(PyObject*) nogil
