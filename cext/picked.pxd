"""Picked: entries taken out of a store's sight for Python to look at, or on their way into one.

References are gathered, and given back, under the lock and in C; tuples are made of them without it, because
allocation by Python can run finalizers that change the cache.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from core.slab cimport NIL, PyMem_RawFree, PyMem_RawMalloc, slab_weight
from core.wheel cimport wheel_deadline, wheel_set
from python cimport PY_SSIZE_T_MAX, hotset_hash, hotset_mix
from store cimport (Grave, HOTSET_NEVER, Store, decref, hotset_lock, hotset_unlock, incref, key_of, store_bury_due, store_expired,
                    store_link, store_reserve, store_schedule)


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


cdef inline Picked* pick_expired(Store* s, double now, Grave* grave, Py_ssize_t* n) except NULL:
    """Bury what has expired, and pick it, as keys and values only. Takes the lock itself."""
    cdef Picked* picked
    cdef uint32_t e
    n[0] = 0
    hotset_lock(&s.lock)
    picked = <Picked*>PyMem_RawMalloc((s.index.used + 1) * sizeof(Picked))
    if picked != NULL:
        store_bury_due(s, now, True, grave)
        e = grave.head
        while e != NIL:
            picked[n[0]].key = key_of(&s.slab.entries[e])
            picked[n[0]].value = <PyObject*>s.slab.entries[e].value
            incref(picked[n[0]].key)
            incref(picked[n[0]].value)
            e = s.slab.entries[e].next
            n[0] += 1
    hotset_unlock(&s.lock)
    if picked == NULL:
        raise MemoryError
    return picked


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


cdef inline list snapshot_of(Store* s, Py_ssize_t wanted, bint hottest_first, double now, bint full):
    """At most so many entries in the policy's order, as picked_list makes them. Takes the lock itself."""
    cdef Py_ssize_t n = 0
    cdef Picked* picked
    hotset_lock(&s.lock)
    picked = <Picked*>PyMem_RawMalloc((s.index.used + 1) * sizeof(Picked))
    if picked != NULL:
        n = pick_in_order(s, PY_SSIZE_T_MAX if hottest_first else wanted, now, picked)
    hotset_unlock(&s.lock)
    if picked == NULL:
        raise MemoryError
    return picked_list(picked, n, wanted, hottest_first, full)


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


cdef inline int link_list(Store* s, list entries, double now) except -1:
    """Fill an empty store with the tuples of a full snapshot: the slab in its order, the policy in the policy's.

    Takes the lock itself.
    """
    cdef Py_ssize_t n = len(entries), i
    cdef int status
    cdef Picked* picked = <Picked*>PyMem_RawMalloc((n + 1) * sizeof(Picked))
    cdef Py_ssize_t* order = <Py_ssize_t*>PyMem_RawMalloc((n + 1) * sizeof(Py_ssize_t))
    try:
        if picked == NULL or order == NULL:
            raise MemoryError
        for i, (key, value, weight, life, idle, rank, place) in enumerate(entries):
            picked[i] = Picked(<PyObject*>key, <PyObject*>value, weight, life, idle, rank,
                               hotset_mix(hotset_hash(<PyObject*>key)))
        for i, place in enumerate(sorted(range(n), key=[entry[6] for entry in entries].__getitem__)):
            order[i] = place
        hotset_lock(&s.lock)
        status = link_picked(s, picked, order, n, now)
        hotset_unlock(&s.lock)
        if status != 0:
            raise MemoryError
    finally:
        PyMem_RawFree(picked)
        PyMem_RawFree(order)
    return 0
