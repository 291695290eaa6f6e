"""LRU: evicts the entry that was read or written longest ago.

One list, the most recent entry at its front. Exact; every verb is O(1); no bytes beyond the entry's links.
"""
from libc.stdint cimport uint32_t, uint64_t

from core.links cimport list_back, list_init, list_move_front, list_push_front, list_remove
from core.slab cimport NIL, Slab
from policy.contract cimport MOVE_FRONT, Policy

cdef enum:
    RECENCY = 0            # sentinel of the one list


cdef inline int lru_init(void* state, Slab* slab, double capacity) noexcept nogil:
    list_init(slab.entries, RECENCY)
    return 0


cdef inline void lru_close(void* state) noexcept nogil:
    pass


cdef inline int lru_resize(void* state, Slab* slab, double capacity) noexcept nogil:
    return 0


cdef inline int lru_reserve(void* state, Slab* slab) noexcept nogil:
    return 0


cdef inline void lru_prepare(void* state, Slab* slab, uint32_t hash) noexcept nogil:
    pass


cdef inline uint32_t lru_victim(void* state, Slab* slab) noexcept nogil:
    return list_back(slab.entries, RECENCY)     # an empty ring answers with its sentinel, which is NIL


cdef inline void lru_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    list_push_front(slab.entries, RECENCY, e)


cdef inline void lru_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    list_move_front(slab.entries, RECENCY, e)


cdef inline void lru_reweigh(void* state, Slab* slab, uint32_t e, double old) noexcept nogil:
    pass


cdef inline void lru_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    list_remove(slab.entries, e)


cdef inline void lru_clear(void* state, Slab* slab) noexcept nogil:
    list_init(slab.entries, RECENCY)


cdef inline uint32_t lru_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    return slab.entries[e].prev                 # NIL is the sentinel: the walk starts and ends there


cdef inline uint64_t lru_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    return 0


cdef inline void lru_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    if e != NIL:
        list_push_front(slab.entries, RECENCY, e)


cdef inline bint lru_validate(void* state, Slab* slab) noexcept nogil:
    """The ring is doubly linked and holds each live entry once."""
    cdef uint32_t e = RECENCY, before, n = 0
    while True:
        before = slab.entries[e].prev
        if slab.entries[before].next != e:
            return False
        if before == RECENCY:
            return n == slab.live
        if slab.entries[before].key == NULL or n == slab.live:
            return False
        n += 1
        e = before


cdef inline void lru_policy(Policy* p) noexcept nogil:
    p.state_size = 0
    p.init = lru_init
    p.close = lru_close
    p.resize = lru_resize
    p.reserve = lru_reserve
    p.prepare = lru_prepare
    p.victim = lru_victim
    p.insert = lru_insert
    p.hit = lru_hit
    p.on_hit = MOVE_FRONT
    p.update = lru_hit
    p.reweigh = lru_reweigh
    p.remove = lru_remove
    p.clear = lru_clear
    p.foresee = lru_victim
    p.walk = lru_walk
    p.rank = lru_rank
    p.restore = lru_restore
    p.validate = lru_validate
