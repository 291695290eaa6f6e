"""SIEVE: one queue, a hand that looks for what was not used, and no moves.

Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is Simpler than LRU", NSDI 2024. New entries go in at the front. A use
marks an entry. The hand goes from the back to the front and on from the back again; it takes the marks of what it
passes, and what has none is the victim. What it has passed stays where it is, so that new entries, which the hand has
yet to come to, are sifted quickly.

Invariant: ``mark`` is 1 for an entry that was used since it came or the hand passed it, else 0; ``hand`` is where the
next look begins, NIL for the back. A hit is a store of one word. Finding a victim is O(1) amortized: each mark that is
taken was set by a use. No bytes beyond the entry's links.

Where this differs from the paper:
- A write to a key that is there counts as a use.
- A deletion or expiry of the entry under the hand moves the hand on, as an eviction does.
- A snapshot is in the order of eviction, unmarked entries before marked ones; the rank of an unmarked entry says how
  many marked ones lie before it, which puts each back in its place.
"""
from libc.stdint cimport uint32_t, uint64_t

from core.links cimport list_back, list_init, list_insert_after, list_push_front, list_remove
from core.slab cimport Entry, NIL, Slab
from policy.contract cimport CALL_HIT, Policy
from policy.lru cimport lru_close, lru_prepare, lru_reserve, lru_resize, lru_reweigh

cdef enum:
    QUEUE = 0              # sentinel, and so NIL
    USED_SHIFT = 32        # of a rank: the entry was used; below, the number of used entries before one that was not


cdef struct Sieve:
    uint32_t hand
    uint32_t cursor        # while it is being restored: the unused entry before which the next used one may belong
    bint placing           # the cursor is set


cdef inline void sieve_reset(void* state, Slab* slab) noexcept nogil:
    cdef Sieve* s = <Sieve*>state
    s.hand = NIL
    s.cursor = NIL
    s.placing = False
    list_init(slab.entries, QUEUE)


cdef inline int sieve_init(void* state, Slab* slab, double capacity) noexcept nogil:
    sieve_reset(state, slab)
    return 0


cdef inline uint32_t sieve_after(Entry* entries, uint32_t e) noexcept nogil:
    """Where the hand goes from an entry."""
    e = entries[e].prev
    return list_back(entries, QUEUE) if e == QUEUE else e


cdef inline uint32_t sieve_before(Entry* entries, uint32_t e) noexcept nogil:
    e = entries[e].next
    return entries[QUEUE].next if e == QUEUE else e


cdef inline uint32_t sieve_start(Sieve* s, Slab* slab) noexcept nogil:
    """The entry that the hand looks at next, NIL when there is none."""
    return s.hand if s.hand != NIL else list_back(slab.entries, QUEUE)


cdef inline uint32_t sieve_victim(void* state, Slab* slab) noexcept nogil:
    cdef Sieve* s = <Sieve*>state
    cdef uint32_t e = sieve_start(s, slab)
    while slab.entries[e].mark and e != NIL:
        slab.entries[e].mark = 0
        e = sieve_after(slab.entries, e)
    s.hand = e
    return e


cdef inline uint32_t sieve_foresee(void* state, Slab* slab) noexcept nogil:
    return sieve_start(<Sieve*>state, slab)


cdef inline void sieve_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    slab.entries[e].mark = 0
    list_push_front(slab.entries, QUEUE, e)


cdef inline void sieve_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    slab.entries[e].mark = 1


cdef inline void sieve_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    cdef Sieve* s = <Sieve*>state
    if s.hand == e:
        s.hand = slab.entries[e].prev       # the sentinel before the front is NIL: on from the back
    list_remove(slab.entries, e)


cdef inline uint32_t sieve_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """From the hand once around the unused entries, then once around the used ones. Amortized O(1) an entry."""
    cdef Entry* entries = slab.entries
    cdef uint32_t first = sieve_start(<Sieve*>state, slab)
    cdef bint used = e != NIL and entries[e].mark != 0
    cdef bint begun = e == NIL
    if first == NIL:
        return NIL
    e = first if begun else sieve_after(entries, e)
    while True:
        if e == first and not begun:
            if used:
                return NIL
            used = True
        begun = False
        if (entries[e].mark != 0) == used:
            return e
        e = sieve_after(entries, e)


cdef inline uint64_t sieve_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """Whether an entry was used, and the used ones right before one that was not; how many lie behind the hand, for the policy."""
    cdef Entry* entries = slab.entries
    cdef uint32_t first = sieve_start(<Sieve*>state, slab)
    cdef uint64_t n = 0
    if e == NIL:
        e = list_back(entries, QUEUE)
        while e != first:
            n += 1
            e = entries[e].prev
        return n
    if entries[e].mark:
        return <uint64_t>1 << USED_SHIFT
    while e != first:
        e = sieve_before(entries, e)
        if not entries[e].mark:
            break
        n += 1
    return n


cdef inline void sieve_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    """Unused entries come first, and keep in `mark` how many of the used ones belong before them until these have come."""
    cdef Sieve* s = <Sieve*>state
    cdef Entry* entries = slab.entries
    if e == NIL:
        sieve_settle(s, slab, rank)
    elif not rank >> USED_SHIFT:
        list_push_front(entries, QUEUE, e)
        entries[e].mark = <uint32_t>rank << 1
    else:
        if not s.placing:
            s.placing = True
            s.cursor = list_back(entries, QUEUE)
        while s.cursor != NIL and entries[s.cursor].mark < 2:
            s.cursor = entries[s.cursor].prev
        if s.cursor != NIL:
            entries[s.cursor].mark -= 2
        list_insert_after(entries, s.cursor, e)         # of no cursor, at the front
        entries[e].mark = 1


cdef inline void sieve_settle(Sieve* s, Slab* slab, uint64_t behind) noexcept nogil:
    """End a restoration: the order that came began at the hand, which so many entries lie behind."""
    cdef Entry* entries = slab.entries
    cdef uint32_t first = list_back(entries, QUEUE), e = first, front = QUEUE
    while e != QUEUE:
        entries[e].mark &= 1
        e = entries[e].prev
    if behind > 0 and behind < slab.live:
        while behind > 0:
            front = entries[front].next
            behind -= 1
        list_remove(entries, QUEUE)
        list_insert_after(entries, front, QUEUE)
        s.hand = first
    s.placing = False


cdef inline bint sieve_validate(void* state, Slab* slab) noexcept nogil:
    """The ring is doubly linked and holds each live entry once, the hand's among them; marks are 0 or 1."""
    cdef Sieve* s = <Sieve*>state
    cdef uint32_t e = QUEUE, before, n = 0
    cdef bint met = s.hand == NIL
    while True:
        before = slab.entries[e].prev
        if slab.entries[before].next != e:
            return False
        if before == QUEUE:
            return met and n == slab.live
        if slab.entries[before].key == NULL or slab.entries[before].mark > 1 or n == slab.live:
            return False
        met = met or before == s.hand
        n += 1
        e = before


cdef inline void sieve_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(Sieve)
    p.init = sieve_init
    p.close = lru_close
    p.resize = lru_resize
    p.reserve = lru_reserve
    p.prepare = lru_prepare
    p.victim = sieve_victim
    p.insert = sieve_insert
    p.hit = sieve_hit
    p.on_hit = CALL_HIT
    p.update = sieve_hit
    p.reweigh = lru_reweigh
    p.remove = sieve_remove
    p.clear = sieve_reset
    p.foresee = sieve_foresee
    p.walk = sieve_walk
    p.rank = sieve_rank
    p.restore = sieve_restore
    p.validate = sieve_validate
