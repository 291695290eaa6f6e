"""A tape: requests for a sample of the keys, as they come, until someone takes them away.

Which keys are sampled is the caller's affair. A tape has room for a number of requests that it was started with; more
of them are lost, and counted. Whoever takes the marks gives a fresh array for those to come, so that no request waits
while they are read. The lock is the tape's own: it is taken under the store's lock, never the other way round.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from core.slab cimport PyMem_RawFree

cdef extern from "compat.h" nogil:
    ctypedef struct hotset_mutex:
        pass
    void hotset_lock(hotset_mutex* lock)
    void hotset_unlock(hotset_mutex* lock)
    double hotset_clock_coarse()

cdef extern from "Python.h":
    void xincref "Py_XINCREF"(PyObject*) nogil
    void xdecref "Py_XDECREF"(PyObject*)


cdef struct Mark:
    PyObject* key          # a reference of its own, or NULL if only hashes are wanted
    double moment          # of the coarse clock
    uint32_t hash


cdef struct Tape:
    Mark* marks
    uint32_t room          # 0 while nothing is recorded
    uint32_t count
    bint plain             # keys are kept, not only their hashes
    uint64_t lost
    hotset_mutex lock


cdef inline void tape_note(Tape* t, PyObject* key, uint32_t hash) noexcept nogil:
    """Keep a request, if there is room."""
    cdef Mark* mark
    hotset_lock(&t.lock)
    if t.count < t.room:
        mark = &t.marks[t.count]
        t.count += 1
        mark.key = key if t.plain else NULL
        mark.moment = hotset_clock_coarse()
        mark.hash = hash
        xincref(mark.key)
    else:
        t.lost += 1
    hotset_unlock(&t.lock)


cdef inline uint32_t tape_change(Tape* t, Mark** marks, uint32_t room, bint plain, uint64_t* lost) noexcept nogil:
    """Put other marks in, and take out those that are there, their number and how many were lost. See tape_drop."""
    cdef Mark* taken
    cdef uint32_t count
    hotset_lock(&t.lock)
    taken = t.marks
    count = t.count
    lost[0] = t.lost
    t.marks = marks[0]
    t.room = room
    t.count = 0
    t.lost = 0
    t.plain = plain
    hotset_unlock(&t.lock)
    marks[0] = taken
    return count


cdef inline void tape_drop(Mark* marks, uint32_t count) noexcept:
    """Give marks that were taken up."""
    cdef uint32_t i
    for i in range(count):
        xdecref(marks[i].key)
    PyMem_RawFree(marks)


cdef inline void tape_close(Tape* t) noexcept:
    """Free a tape, or NULL, that nobody uses any more."""
    if t != NULL:
        tape_drop(t.marks, t.count)
        PyMem_RawFree(t)
