"""Entries of a tiered cache, looked into by C; and the times of one that was opened from its envelope."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyTypeObject

from envelope cimport CREATED, DROPS, ENTRY_SLOTS, EXPIRES, hotset_u64, seconds_till
from instances cimport Py_TYPE, find_slots


cdef struct Entries:
    Py_ssize_t slots[ENTRY_SLOTS]
    PyTypeObject* kind


cdef struct Moments:
    double born, deadline, gone


cdef inline const Entries* entries_in(bytes plan) except NULL:
    """The Entries that these bytes are."""
    if plan is None or PyBytes_GET_SIZE(plan) != sizeof(Entries):
        raise TypeError("what plan_recording returns is wanted")
    return <const Entries*>PyBytes_AS_STRING(plan)


cdef inline bytes entries_of(type kind, object descriptor):
    """An Entries as bytes. It holds no references."""
    cdef Entries e
    find_slots(kind, kind.__match_args__, descriptor, e.slots, ENTRY_SLOTS)
    e.kind = <PyTypeObject*>kind
    return PyBytes_FromStringAndSize(<const char*>&e, sizeof(e))


cdef inline const Py_ssize_t* slots_for(bytes plan, object entry) except NULL:
    """Where the slots of this entry lie."""
    cdef const Entries* e = entries_in(plan)
    if Py_TYPE(entry) != e.kind:
        raise TypeError(f"an Entry is wanted, got {entry!r}")
    return e.slots


cdef inline Moments moments_of(const unsigned char* p, double now, double moment, double longest) noexcept nogil:
    """The times of an opened envelope: it was at `now` of the server's clock, which is `moment` here."""
    cdef Moments m
    m.born = moment - max(0.0, now - <double>hotset_u64(p + CREATED) / 1000)
    m.deadline = moment + min(seconds_till(hotset_u64(p + EXPIRES), now), longest)
    m.gone = moment + seconds_till(hotset_u64(p + DROPS), now)
    return m
