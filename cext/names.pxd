"""Keys that are their own names, many at a time. hotset.names has the rest."""
from cpython.dict cimport PyDict_Copy
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_READ_CHAR

from python cimport PyUnicode_CheckExact, dict_set


cdef inline dict own_names(list keys):
    """See plain_names."""
    cdef dict named = {}
    for key in keys:
        # The empty one is left to Python: it has no first character to look at.
        if not PyUnicode_CheckExact(<PyObject*>key) or not key or PyUnicode_READ_CHAR(key, 0) == 126:  # ~
            return None
        dict_set(<PyObject*>named, <PyObject*>key, <PyObject*>key)
    return named


cdef inline dict values_of(dict named, list values):
    """See values_by_key."""
    cdef dict found = {}
    cdef Py_ssize_t i = 0, n = len(values)
    if len(named) != n:
        raise ValueError(f"{n} values are not one for each of {len(named)} keys")
    for name, key in named.items():
        if name is not key:
            break
    else:
        # What is there already need not grow.
        found = PyDict_Copy(named)
    for key in named.values():
        if i >= n:
            raise RuntimeError("keys were added meanwhile")
        dict_set(<PyObject*>found, <PyObject*>key, <PyObject*>values[i])
        i += 1
    return found
