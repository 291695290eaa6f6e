"""Replay: runs a store on integers, without Python objects and without the GIL.

An entry's ``value`` is the integer itself and its ``key`` a mark that is no address. Everything else is the code that
caches run. Keys come in batches, so that the table's slots and the entries are on their way from memory before they are
needed: most of what a replay of a large cache waits for.
"""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from batch cimport BATCH
from core.index cimport Probe, probe_next, probe_start
from core.slab cimport Entry, NIL, slab_release
from core.links cimport list_move_front
from policy.contract cimport CALL_HIT, MOVE_FRONT, Policy
from python cimport hotset_hash_int64, hotset_hash_uint64, hotset_mix
from store cimport (Grave, Replaced, Store, hotset_prefetch, store_admit, store_close, store_foresee, store_link,
                    store_make_room, store_open, store_reserve)

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef enum:
    SIGNAL_CHECK = 1 << 20 # requests between two looks for Ctrl-C
    PRESENT = 2            # the key of every entry: not NULL, and even as an address is
    AHEAD = 6              # requests from the prefetch of an entry to that of its neighbours, and on to its use


cdef struct Tally:
    uint64_t hits
    double bytes           # requested, where there are sizes
    double byte_hits


cdef inline int replay_batch(Store* s, Tally* tally, Py_ssize_t n, const uint64_t* keys, const uint32_t* hashes,
                             const double* sizes) noexcept nogil:
    """Request n keys in turn: a hit is a read, a miss a write. `sizes` may be NULL. -1 when memory is out."""
    cdef Grave grave
    cdef Replaced gone
    cdef Probe probe
    cdef Entry* entry
    cdef Py_ssize_t i
    cdef uint32_t firsts[BATCH]
    cdef uint32_t e
    cdef double size = 1.0
    for i in range(n):
        hotset_prefetch(&s.index.slots[hashes[i] >> s.index.shift])
    for i in range(-2 * AHEAD, n):
        if i + 2 * AHEAD < n:
            probe_start(&s.index, &probe, hashes[i + 2 * AHEAD])
            firsts[i + 2 * AHEAD] = probe_next(&s.index, &probe)
            hotset_prefetch(&s.slab.entries[firsts[i + 2 * AHEAD]])
        if -AHEAD <= i and i + AHEAD < n:
            entry = &s.slab.entries[firsts[i + AHEAD]]
            hotset_prefetch(&s.slab.entries[entry.prev])
            hotset_prefetch(&s.slab.entries[entry.next])
        if i < 0:
            continue
        if sizes != NULL:
            size = sizes[i]
            tally.bytes += size
        e = firsts[i]
        if e == NIL or <uint64_t>s.slab.entries[e].value != keys[i] or s.slab.entries[e].key == NULL:
            probe_start(&s.index, &probe, hashes[i])        # it was not there then, or is not any more
            while True:
                e = probe_next(&s.index, &probe)
                if e == NIL or <uint64_t>s.slab.entries[e].value == keys[i]:
                    break
        if e != NIL:
            tally.hits += 1
            if sizes != NULL:
                tally.byte_hits += size
            if s.policy.on_hit == MOVE_FRONT:
                list_move_front(s.slab.entries, 0, e)
            elif s.policy.on_hit == CALL_HIT:
                s.policy.hit(s.state, &s.slab, e)
            continue
        if size > s.limit:
            continue
        if s.slab.weights == NULL and s.limit >= 1.0 and s.policy.reserve(s.state, &s.slab) == 0 and store_admit(
                s, <void*>PRESENT, <void*>keys[i], hashes[i], &gone):
            if gone.key != NULL:
                store_foresee(s)
            continue
        if store_reserve(s, 0.0, s.idle) != 0:
            return -1
        s.policy.prepare(s.state, &s.slab, hashes[i])
        grave.head = NIL
        store_make_room(s, size, &grave)
        while grave.head != NIL:
            e = grave.head
            grave.head = s.slab.entries[e].next
            slab_release(&s.slab, e)
            s.buried -= 1
        e = store_link(s, <void*>PRESENT, <void*>keys[i], hashes[i], size)
        s.policy.insert(s.state, &s.slab, e)
    return 0


ctypedef fused integer:
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef inline void widen(const integer[:] keys, Py_ssize_t start, Py_ssize_t n, uint64_t* words, uint32_t* hashes) noexcept nogil:
    """A batch of keys as words, with the mixed hash that the same ints have in a cache."""
    cdef Py_ssize_t i
    for i in range(n):
        words[i] = <uint64_t>keys[start + i]
        if integer is uint8_t or integer is uint16_t or integer is uint32_t:
            hashes[i] = hotset_mix(keys[start + i])
        elif integer is uint64_t:
            hashes[i] = hotset_mix(hotset_hash_uint64(keys[start + i]))
        else:
            hashes[i] = hotset_mix(hotset_hash_int64(<int64_t>keys[start + i]))


cdef inline int replay_run(Store* s, Tally* tally, const integer[:] keys, const double* sizes, Py_ssize_t start,
                           Py_ssize_t stop) noexcept nogil:
    """Request the keys from start to stop; -1 when memory is out."""
    cdef uint64_t words[BATCH]
    cdef uint32_t hashes[BATCH]
    cdef Py_ssize_t n
    while start < stop:
        n = min(stop - start, <Py_ssize_t>BATCH)
        widen(keys, start, n, words, hashes)
        if replay_batch(s, tally, n, words, hashes, sizes + start if sizes != NULL else NULL) != 0:
            return -1
        start += n
    return 0


cdef inline int replay_all(Store* s, Tally* tally, const integer[:] keys, object sizes) except -1:
    """Request all keys, without the GIL; `sizes` is None or a buffer of as many doubles."""
    cdef const double[::1] weighed
    cdef const double* given = NULL
    cdef Py_ssize_t start = 0, stop, total = keys.shape[0]
    cdef int status = 0
    if sizes is not None and total:
        weighed = sizes
        given = &weighed[0]
    while start < total:
        with nogil:
            stop = min(total, start + SIGNAL_CHECK)
            status = replay_run(s, tally, keys, given, start, stop)
            start = stop
        if status != 0:
            raise MemoryError
        PyErr_CheckSignals()
    return 0


cdef inline tuple replay_with(const Policy* policy, double limit, const integer[:] keys, object sizes):
    """(hits, hit bytes, bytes) of the keys in a store of its own; `sizes` is None or a buffer of as many doubles."""
    cdef Store s
    cdef Tally tally = [0, 0.0, 0.0]
    memset(&s, 0, sizeof(Store))
    if store_open(&s, policy, limit, sizes is not None) != 0:
        raise MemoryError
    try:
        replay_all(&s, &tally, keys, sizes)
    finally:
        store_close(&s)
    return tally.hits, tally.byte_hits, tally.bytes
