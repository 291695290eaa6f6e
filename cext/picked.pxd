"""Picked: entries taken out of a store's sight for Python to look at, or on their way into one.

References are gathered, and given back, under the lock and in C; tuples are made of them without it, because
allocation by Python can run finalizers that change the cache.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from core.slab cimport NIL, PyMem_RawFree, slab_weight
from core.wheel cimport wheel_deadline, wheel_set
from store cimport (Grave, HOTSET_NEVER, Store, decref, incref, key_of, store_expired, store_link, store_reserve,
                    store_schedule)


cdef struct Picked:
    PyObject* key          # owned where it was picked, borrowed where it is to be linked
    PyObject* value        # the same
    double weight
    double life            # what is left of it, in the timer's unit
    double idle            # what is left of it unless it is used
    uint64_t rank          # see policy.contract
    uint32_t place         # slot of the slab, which iteration goes by; the hash of an entry that has none yet


cdef inline Py_ssize_t pick_in_order(Store* s, Py_ssize_t wanted, double now, Picked* picked) noexcept nogil:
    """Pick at most so many entries from the coldest on; `picked` has room for all. Called with the lock held."""
    cdef Py_ssize_t n = 0
    cdef uint32_t e = NIL
    while n < wanted:
        e = s.policy.walk(s.state, &s.slab, e)
        if e == NIL:
            break
        if store_expired(s, e, now):
            continue
        picked[n].key = <PyObject*>s.slab.entries[e].key
        picked[n].value = <PyObject*>s.slab.entries[e].value
        incref(picked[n].key)
        incref(picked[n].value)
        picked[n].weight = slab_weight(&s.slab, e)
        picked[n].rank = s.policy.rank(s.state, &s.slab, e)
        picked[n].place = e
        picked[n].life = HOTSET_NEVER
        picked[n].idle = HOTSET_NEVER
        if s.wheel.timers != NULL:
            picked[n].idle = wheel_deadline(&s.wheel, e) - now
            picked[n].life = s.hard[e] - now if s.hard != NULL else picked[n].idle
        n += 1
    return n


cdef inline Py_ssize_t pick_buried(Store* s, Grave* grave, Picked* picked) noexcept nogil:
    """Pick what is in a grave, as keys and values only; `picked` has room for it. Called with the lock held."""
    cdef Py_ssize_t n = 0
    cdef uint32_t e = grave.head
    while e != NIL:
        picked[n].key = key_of(&s.slab.entries[e])
        picked[n].value = <PyObject*>s.slab.entries[e].value
        incref(picked[n].key)
        incref(picked[n].value)
        e = s.slab.entries[e].next
        n += 1
    return n


cdef inline list picked_list(Picked* picked, Py_ssize_t n, Py_ssize_t wanted, bint backwards, bint full):
    """At most so many picked entries as tuples, (key, value) or all there is; the array and its references are given up."""
    cdef Py_ssize_t i, step
    result = []
    try:
        for step in range(max(0, min(n, wanted))):
            i = n - 1 - step if backwards else step
            key = <object>picked[i].key
            value = <object>picked[i].value
            result.append((key, value, picked[i].weight, picked[i].life, picked[i].idle, picked[i].rank, picked[i].place)
                          if full else (key, value))
    finally:
        for i in range(n):
            decref(picked[i].key)
            decref(picked[i].value)
        PyMem_RawFree(picked)
    return result


cdef inline int link_picked(Store* s, Picked* picked, const Py_ssize_t* order, Py_ssize_t n, double now) noexcept nogil:
    """Fill an empty store with entries that are given from the coldest to the hottest; `order` is the slab's.

    -1 when memory is out, with what was linked till then. Called with the lock held.
    """
    cdef Picked* one
    cdef Py_ssize_t i
    cdef int status = 0
    for i in range(n):
        one = &picked[order[i]]
        if status == 0:
            status = store_reserve(s, now, now + one.life)
        if status != 0 or s.weight + one.weight > s.limit:
            one.place = NIL
            continue
        incref(one.key)
        incref(one.value)
        one.place = store_link(s, one.key, one.value, one.place, one.weight)
    for i in range(n):
        if picked[i].place != NIL:
            s.policy.restore(s.state, &s.slab, picked[i].place, picked[i].rank)
            store_schedule(s, picked[i].place, now, now + picked[i].life)
            if s.idle < HOTSET_NEVER:
                wheel_set(&s.wheel, picked[i].place, now + picked[i].idle)
    return status
