"""Replay: runs a store on integers, without Python objects and without the GIL.

An entry's ``value`` is the integer itself and its ``key`` a mark that is no address. Everything else is the code that
caches run. Keys come in batches, so that the table's slots and the entries are on their way from memory before they are
needed: most of what a replay of a large cache waits for.
"""
from libc.stdint cimport uint32_t, uint64_t

from core.index cimport Probe, probe_next, probe_start
from core.slab cimport NIL, slab_release
from store cimport (EXPLICIT, Grave, Store, hotset_prefetch, store_link, store_make_room, store_reserve)

cdef enum:
    PRESENT = 2            # the key of every entry: not NULL, and even as an address is
    AHEAD = 8              # requests between the prefetch of an entry and its use


cdef struct Tally:
    uint64_t hits
    double bytes           # requested
    double byte_hits


cdef inline int replay_batch(Store* s, Tally* tally, Py_ssize_t n, const uint64_t* keys, const uint32_t* hashes,
                             const double* sizes) noexcept nogil:
    """Request n keys in turn: a hit is a read, a miss a write. `sizes` may be NULL. -1 when memory is out."""
    cdef Grave grave
    cdef Probe probe
    cdef Py_ssize_t i
    cdef uint32_t e
    cdef double size = 1.0
    for i in range(n):
        hotset_prefetch(&s.index.slots[hashes[i] >> s.index.shift])
    for i in range(n):
        if i + AHEAD < n:
            probe_start(&s.index, &probe, hashes[i + AHEAD])
            hotset_prefetch(&s.slab.entries[probe_next(&s.index, &probe)])
        if sizes != NULL:
            size = sizes[i]
        tally.bytes += size
        probe_start(&s.index, &probe, hashes[i])
        while True:
            e = probe_next(&s.index, &probe)
            if e == NIL or <uint64_t>s.slab.entries[e].value == keys[i]:
                break
        if e != NIL:
            tally.hits += 1
            tally.byte_hits += size
            s.policy.hit(s.state, &s.slab, e)
            continue
        if size > s.limit:
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
        e = store_link(s, <void*>PRESENT, <void*>keys[i], hashes[i], size)
        s.policy.insert(s.state, &s.slab, e)
    return 0
