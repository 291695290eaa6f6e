# cython: cdivision=True
"""Random replacement: evicts an entry picked at random.

Slot p of the slab holds, in its ``prev``, the entry at place p of a dense array; ``mark`` is an entry's place. The
array needs no memory of its own because there are never more places than slots. A removal puts the last entry in the
gap. Every verb is O(1); the generator is SplitMix64 (Steele, Lea, Flood 2014) with a seed from the cache's owner.
"""
from libc.stdint cimport uint32_t, uint64_t

from core.slab cimport NIL, SENTINELS, Slab
from policy.contract cimport NOTHING, Policy
from policy.lru cimport lru_close, lru_prepare, lru_rank, lru_reserve, lru_resize, lru_reweigh

cdef extern from "compat.h" nogil:
    void hotset_prefetch(const void* p)


cdef struct RandomReplacement:
    uint64_t seed
    uint32_t count


cdef inline int rr_init(void* state, Slab* slab, double capacity) noexcept nogil:
    return 0


cdef inline void rr_seed(void* state, uint64_t seed) noexcept nogil:
    (<RandomReplacement*>state).seed = seed


cdef inline uint32_t rr_place(RandomReplacement* rr, uint32_t ahead) noexcept nogil:
    """The slot with the place that is drawn `ahead` draws from now."""
    cdef uint64_t z = rr.seed + ahead * <uint64_t>0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return SENTINELS + <uint32_t>((((z ^ (z >> 31)) >> 32) * rr.count) >> 32)


cdef inline uint32_t rr_victim(void* state, Slab* slab) noexcept nogil:
    cdef RandomReplacement* rr = <RandomReplacement*>state
    cdef uint32_t place = rr_place(rr, 1)
    if rr.count == 0:
        return NIL
    rr.seed += <uint64_t>0x9E3779B97F4A7C15
    return slab.entries[place].prev


cdef inline uint32_t rr_foresee(void* state, Slab* slab) noexcept nogil:
    """Victims lie anywhere, so each is looked for three draws early: first its place, then its entry."""
    cdef RandomReplacement* rr = <RandomReplacement*>state
    hotset_prefetch(&slab.entries[rr_place(rr, 3)])
    hotset_prefetch(&slab.entries[slab.entries[rr_place(rr, 2)].prev])
    return slab.entries[rr_place(rr, 1)].prev


cdef inline void rr_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef RandomReplacement* rr = <RandomReplacement*>state
    slab.entries[SENTINELS + rr.count].prev = e
    slab.entries[e].mark = SENTINELS + rr.count
    rr.count += 1


cdef inline void rr_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    pass


cdef inline void rr_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    cdef RandomReplacement* rr = <RandomReplacement*>state
    cdef uint32_t place = slab.entries[e].mark
    rr.count -= 1
    cdef uint32_t last = slab.entries[SENTINELS + rr.count].prev
    slab.entries[place].prev = last
    slab.entries[last].mark = place


cdef inline void rr_clear(void* state, Slab* slab) noexcept nogil:
    (<RandomReplacement*>state).count = 0


cdef inline uint32_t rr_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef uint32_t place = SENTINELS if e == NIL else slab.entries[e].mark + 1
    if place == SENTINELS + (<RandomReplacement*>state).count:
        return NIL
    return slab.entries[place].prev


cdef inline void rr_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    if e != NIL:
        rr_insert(state, slab, e)


cdef inline bint rr_validate(void* state, Slab* slab) noexcept nogil:
    """Places and entries name each other, and every live entry has a place."""
    cdef uint32_t place, e, count = (<RandomReplacement*>state).count
    for place in range(SENTINELS, SENTINELS + count):
        e = slab.entries[place].prev
        if slab.entries[e].mark != place or slab.entries[e].key == NULL:
            return False
    return count == slab.live


cdef inline void rr_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(RandomReplacement)
    p.init = rr_init
    p.close = lru_close
    p.resize = lru_resize
    p.reserve = lru_reserve
    p.prepare = lru_prepare
    p.victim = rr_victim
    p.insert = rr_insert
    p.hit = rr_hit
    p.on_hit = NOTHING
    p.update = rr_hit
    p.reweigh = lru_reweigh
    p.remove = rr_remove
    p.clear = rr_clear
    p.foresee = rr_foresee
    p.walk = rr_walk
    p.rank = lru_rank
    p.restore = rr_restore
    p.validate = rr_validate
