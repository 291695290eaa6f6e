"""The key of a memoized call, made as functools makes it."""
from cpython.object cimport PyObject

from python cimport PyTuple_New, PyTuple_SET_ITEM, tuple_item, tuple_size, type_of
from store cimport incref


cdef inline Py_ssize_t put_item(PyObject* items, Py_ssize_t n, PyObject* item) noexcept:
    """Fill place n of a new tuple; the place after it."""
    incref(item)
    PyTuple_SET_ITEM(items, n, item)
    return n + 1


cdef inline PyObject* call_key(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, PyObject* mark,
                               bint typed) except NULL:
    """A new tuple: the arguments, a mark before names and values of keywords, and the types if they matter."""
    cdef Py_ssize_t nkw = tuple_size(kwnames) if kwnames != NULL else 0, i, n = 0
    cdef PyObject* key = PyTuple_New(nargs + (1 + 2 * nkw if nkw else 0) + (nargs + nkw if typed else 0))
    for i in range(nargs):
        n = put_item(key, n, args[i])
    if nkw:
        n = put_item(key, n, mark)
        for i in range(nkw):
            n = put_item(key, n, tuple_item(kwnames, i))
            n = put_item(key, n, args[nargs + i])
    if typed:
        for i in range(nargs + nkw):
            n = put_item(key, n, type_of(args[i]))
    return key
