"""Slots of types that Cython cannot declare. The types must be static and not have been used yet."""
from cpython.object cimport PyObject, PyTypeObject, visitproc

cdef extern from "Python.h":
    ctypedef int (*traverseproc)(PyObject*, visitproc, void*)
    ctypedef int (*inquiry)(PyObject*)
    ctypedef int (*objobjargproc)(PyObject*, PyObject*, PyObject*)
    ctypedef PyObject* (*vectorcallfunc)(PyObject*, PyObject* const*, size_t, PyObject*)
    ctypedef void* PyCFunction
    ctypedef struct PyMethodDef:
        const char* ml_name
        PyCFunction ml_meth
        int ml_flags
        const char* ml_doc
    ctypedef struct PyMappingMethods:
        objobjargproc mp_ass_subscript
    ctypedef struct TypeSlots "PyTypeObject":
        PyMappingMethods* tp_as_mapping
        traverseproc tp_traverse
        inquiry tp_clear
        unsigned long tp_flags
        Py_ssize_t tp_vectorcall_offset
        void* tp_call
        PyObject* tp_dict
    enum:
        METH_FASTCALL
        METH_KEYWORDS
        Py_TPFLAGS_HAVE_VECTORCALL
        Py_TPFLAGS_METHOD_DESCRIPTOR
    object PyDescr_NewMethod(PyTypeObject*, PyMethodDef*)
    void PyType_Modified(PyTypeObject*)
    object PyVectorcall_Call(object, tuple, dict)


cdef inline int give_method(PyTypeObject* cls, PyMethodDef* method, const char* name, PyCFunction function,
                            const char* doc) except -1:
    """Give a class, and those derived from it, a method that is called with an array; `method` and the texts must stay."""
    method.ml_name = name
    method.ml_meth = function
    method.ml_flags = METH_FASTCALL | METH_KEYWORDS
    method.ml_doc = doc
    (<object>(<TypeSlots*>cls).tp_dict)[name.decode()] = PyDescr_NewMethod(cls, method)
    PyType_Modified(cls)
    return 0


cdef inline void give_vectorcall(PyTypeObject* cls, Py_ssize_t offset) noexcept:
    """Have objects of a class called, also as methods, by the vectorcallfunc that each has at `offset`."""
    cdef TypeSlots* slots = <TypeSlots*>cls
    slots.tp_vectorcall_offset = offset
    slots.tp_call = <void*>PyVectorcall_Call
    slots.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR
    PyType_Modified(cls)
