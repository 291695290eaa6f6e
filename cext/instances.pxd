"""Objects of classes with __slots__, made and filled without their Python code.

Where a slot lies in the object is what its descriptor in the class says.
"""
from cpython.object cimport PyObject, PyTypeObject

from store cimport incref

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset

cdef extern from "Python.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member
    object PyType_GenericAlloc(PyTypeObject*, Py_ssize_t)
    PyTypeObject* Py_TYPE(object)


cdef inline int find_slots(object cls, tuple names, object kind, Py_ssize_t* places, Py_ssize_t n) except -1:
    """Learn where the n slots of a class lie. `kind` is the type of their descriptors."""
    cdef Py_ssize_t i
    if len(names) != n:
        raise TypeError(f"{cls!r} must have {n} slots")
    for i in range(len(names)):
        slot = cls.__dict__[names[i]]
        if type(slot) is not kind:
            raise TypeError(f"{cls!r} must have a slot {names[i]!r}")
        places[i] = (<PyMemberDescrObject*>slot).d_member.offset
    return 0


cdef inline object get_slot(object o, Py_ssize_t place):
    """What is in a slot."""
    cdef PyObject* value = (<PyObject**>(<char*><PyObject*>o + place))[0]
    if value == NULL:
        raise AttributeError(f"a slot of a {type(o).__name__} is empty")
    return <object>value


cdef inline void set_slot(object o, Py_ssize_t place, object value) noexcept:
    """Fill a slot that is empty."""
    incref(<PyObject*>value)
    (<PyObject**>(<char*><PyObject*>o + place))[0] = <PyObject*>value
