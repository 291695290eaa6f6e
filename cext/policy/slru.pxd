# cython: cdivision=True
"""SLRU: four LRU lists; a hit moves an entry up by one list, and what a list has no room for moves down.

Segmented LRU: Karedla, Love and Wherry, "Caching strategies to improve disk system performance", IEEE Computer 1994,
with the four equal segments of S4LRU (Huang et al., "An analysis of Facebook photo caching", SOSP 2013). A new entry
enters the lowest segment, whose back is the victim. A hit moves an entry to the front of the segment above, or of its
own at the top. The back of a segment that is over its share moves to the front of the one below.

Invariant: an entry's ``mark`` is the sentinel of its segment; each segment but the lowest weighs a quarter of the
capacity at most (rounded down where every entry weighs 1). A hit is O(1) amortized: an entry moves down as often as it
has moved up. No bytes beyond the entry's links.

Where this differs from the papers:
- Karedla et al. have two segments and leave their sizes open; four equal ones are what libCacheSim's SLRU has, too.
- While there is room, a new entry enters the lowest segment that has room for it, as in libCacheSim: a cache that fills
  keeps the order of what came first instead of one long lowest segment.
- A write to a key that is there counts as a use.
"""
from libc.math cimport floor
from libc.stdint cimport uint32_t, uint64_t

from core.links cimport list_back, list_empty, list_init, list_move_front, list_push_front, list_remove
from core.slab cimport NIL, Slab, slab_weight
from policy.contract cimport CALL_HIT, Policy
from policy.lru cimport lru_close, lru_prepare, lru_reserve

cdef enum:
    LOWEST = 0             # segments are sentinels
    TOP = 3
    SEGMENTS = 4


cdef struct SLRU:
    double share           # what a segment may weigh
    double weights[4]      # by segment


cdef inline void slru_share(SLRU* s, Slab* slab, double capacity) noexcept nogil:
    s.share = capacity / SEGMENTS
    if slab.weights == NULL:
        s.share = floor(s.share)


cdef inline void slru_reset(void* state, Slab* slab) noexcept nogil:
    cdef SLRU* s = <SLRU*>state
    cdef uint32_t segment
    for segment in range(<uint32_t>SEGMENTS):
        list_init(slab.entries, segment)
        s.weights[segment] = 0.0


cdef inline int slru_init(void* state, Slab* slab, double capacity) noexcept nogil:
    slru_share(<SLRU*>state, slab, capacity)
    slru_reset(state, slab)
    return 0


cdef inline void slru_leave(SLRU* s, Slab* slab, uint32_t e) noexcept nogil:
    """Take an entry out of its segment."""
    cdef uint32_t segment = slab.entries[e].mark
    list_remove(slab.entries, e)
    s.weights[segment] -= slab_weight(slab, e)
    if list_empty(slab.entries, segment):
        s.weights[segment] = 0.0        # what rounding left over must not add up


cdef inline void slru_enter(SLRU* s, Slab* slab, uint32_t e, uint32_t segment) noexcept nogil:
    """Put an entry at the front of a segment."""
    slab.entries[e].mark = segment
    list_push_front(slab.entries, segment, e)
    s.weights[segment] += slab_weight(slab, e)


cdef inline void slru_sink(SLRU* s, Slab* slab, uint32_t segment) noexcept nogil:
    """Move what is over the share of a segment down, and of those below it what is over theirs then."""
    cdef uint32_t tail
    while segment > LOWEST:
        while s.weights[segment] > s.share:
            tail = list_back(slab.entries, segment)
            slru_leave(s, slab, tail)
            slru_enter(s, slab, tail, segment - 1)
        segment -= 1


cdef inline int slru_resize(void* state, Slab* slab, double capacity) noexcept nogil:
    slru_share(<SLRU*>state, slab, capacity)
    slru_sink(<SLRU*>state, slab, TOP)
    return 0


cdef inline uint32_t slru_victim(void* state, Slab* slab) noexcept nogil:
    cdef uint32_t segment
    for segment in range(<uint32_t>SEGMENTS):
        if not list_empty(slab.entries, segment):
            return list_back(slab.entries, segment)
    return NIL


cdef inline void slru_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef SLRU* s = <SLRU*>state
    cdef double weight = slab_weight(slab, e)
    cdef uint32_t segment
    for segment in range(<uint32_t>SEGMENTS):
        if s.weights[segment] + weight <= s.share:
            slru_enter(s, slab, e, segment)
            return
    slru_enter(s, slab, e, LOWEST)


cdef inline void slru_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef SLRU* s = <SLRU*>state
    cdef uint32_t segment = slab.entries[e].mark
    if segment == TOP:
        list_move_front(slab.entries, TOP, e)
        return
    slru_leave(s, slab, e)
    slru_enter(s, slab, e, segment + 1)
    if s.weights[segment + 1] > s.share:
        slru_sink(s, slab, segment + 1)


cdef inline void slru_reweigh(void* state, Slab* slab, uint32_t e, double old) noexcept nogil:
    cdef SLRU* s = <SLRU*>state
    s.weights[slab.entries[e].mark] += slab_weight(slab, e) - old
    slru_sink(s, slab, slab.entries[e].mark)


cdef inline void slru_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    slru_leave(<SLRU*>state, slab, e)


cdef inline uint32_t slru_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """Segment by segment from the lowest, each from its back: the order of eviction."""
    cdef uint32_t segment = LOWEST if e == NIL else slab.entries[e].mark
    e = list_back(slab.entries, LOWEST) if e == NIL else slab.entries[e].prev
    while e == segment:
        if segment == TOP:
            return NIL
        segment += 1
        e = list_back(slab.entries, segment)
    return e


cdef inline uint64_t slru_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    return slab.entries[e].mark if e != NIL else 0


cdef inline void slru_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    if e != NIL:
        slru_enter(<SLRU*>state, slab, e, <uint32_t>min(rank, <uint64_t>TOP))
    else:
        slru_sink(<SLRU*>state, slab, TOP)      # ranks of another hand's making may ask too much


cdef inline bint slru_validate(void* state, Slab* slab) noexcept nogil:
    """Each ring is doubly linked, its entries know it and weigh what is said, within its share."""
    cdef SLRU* s = <SLRU*>state
    cdef uint32_t segment, e, before, n = 0
    cdef double weight, slack
    for segment in range(<uint32_t>SEGMENTS):
        e = segment
        weight = 0.0
        while True:
            before = slab.entries[e].prev
            if slab.entries[before].next != e:
                return False
            if before == segment:
                break
            if slab.entries[before].key == NULL or slab.entries[before].mark != segment or n == slab.live:
                return False
            weight += slab_weight(slab, before)
            n += 1
            e = before
        slack = 1e-6 * (1.0 + weight)
        if not weight - slack <= s.weights[segment] <= weight + slack:
            return False
        if segment != LOWEST and s.weights[segment] > s.share:
            return False
    return n == slab.live


cdef inline void slru_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(SLRU)
    p.init = slru_init
    p.close = lru_close
    p.resize = slru_resize
    p.reserve = lru_reserve
    p.prepare = lru_prepare
    p.victim = slru_victim
    p.insert = slru_insert
    p.hit = slru_hit
    p.on_hit = CALL_HIT
    p.update = slru_hit
    p.reweigh = slru_reweigh
    p.remove = slru_remove
    p.clear = slru_reset
    p.foresee = slru_victim
    p.walk = slru_walk
    p.rank = slru_rank
    p.restore = slru_restore
    p.validate = slru_validate
