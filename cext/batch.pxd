"""Batch: reads of many keys at once, with memory asked for before it is needed.

Above the size of the processor's caches a read waits for memory three times, one after the other: for the table's slot,
the entry, and the key. Over a batch these waits overlap.
"""
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t
from libc.string cimport memset

from core.index cimport Probe, probe_next, probe_start
from core.slab cimport Entry, NIL
from core.wheel cimport BUCKETS
from python cimport checked, dict_set
from store cimport (EXPIRED, Grave, Store, hotset_lock, hotset_prefetch, hotset_unlock, incref, store_bury, store_expired,
                    store_find, store_note, store_used, decref)

cdef enum:
    BATCH = 128            # keys looked ahead: enough to keep every line fill buffer busy, few enough for the stack


cdef inline int store_read_batch(Store* s, PyObject** keys, Py_ssize_t n, const uint32_t* hashes, PyObject** values,
                                 double now, Grave* grave) noexcept:
    """New references to the values of up to BATCH keys, NULL for those not there; -1 with an error set.

    Takes the lock itself. What was found before an error is in `values`, and what had expired in the grave.
    """
    cdef uint32_t firsts[BATCH]
    cdef Probe probe
    cdef Py_ssize_t i
    cdef uint32_t e
    cdef Entry* entry
    memset(values, 0, n * sizeof(PyObject*))
    hotset_lock(&s.lock)
    for i in range(n):
        hotset_prefetch(&s.index.slots[hashes[i] >> s.index.shift])
    for i in range(n):
        probe_start(&s.index, &probe, hashes[i])
        firsts[i] = probe_next(&s.index, &probe)
        hotset_prefetch(&s.slab.entries[firsts[i]])
        if s.wheel.timers != NULL:
            hotset_prefetch(&s.wheel.timers[BUCKETS + firsts[i]])
    for i in range(n):
        entry = &s.slab.entries[firsts[i]]
        hotset_prefetch(entry.key)
        hotset_prefetch(entry.value)
        hotset_prefetch(&s.slab.entries[entry.next])
        hotset_prefetch(&s.slab.entries[entry.prev])
    for i in range(n):
        if store_find(s, keys[i], hashes[i], &e) < 0:
            return -1
        store_note(s, keys[i], hashes[i])
        if e != NIL and store_expired(s, e, now):
            store_bury(s, e, EXPIRED, grave)
            e = NIL
        if e == NIL:
            s.count.misses += 1
            continue
        values[i] = <PyObject*>s.slab.entries[e].value
        incref(values[i])
        store_used(s, e, now)
    hotset_unlock(&s.lock)
    return 0


cdef inline int move_values(dict result, PyObject** keys, Py_ssize_t n, PyObject** values, int status) except -1:
    """Put what store_read_batch found into a dict, if it succeeded, and give its references up."""
    cdef Py_ssize_t i
    try:
        checked(status)
        for i in range(n):
            if values[i] != NULL:
                dict_set(<PyObject*>result, keys[i], values[i])
    finally:
        for i in range(n):
            if values[i] != NULL:
                decref(values[i])
    return 0
