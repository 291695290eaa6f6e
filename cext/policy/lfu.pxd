"""LFU: evicts the entry that was used least often, and of these the one used longest ago.

The O(1) scheme of Shah, Mitra and Matani (2010), laid out flat: a ring of buckets from the lowest frequency to the highest,
and in each a ring of the entries with that frequency, the one used last at its front. A hit moves an entry to the front
of the next bucket.

Invariant: no bucket is empty but RING, where the ring of buckets begins and ends; an entry's ``mark`` is its bucket. The links of
a ring of entries name an entry, or with the top bit the bucket itself, whose links lie where an entry has them: a hit so
touches three other entries at most, and nothing has to be told apart by a branch. Frequencies count from 1, in
64 bits, and never age. Cost: 32 bytes a bucket (at most one a distinct frequency), nothing an entry. When memory for a
bucket is out, a hit renews the entry in its bucket and does not raise it.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from core.slab cimport Entry, NIL, PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc, Slab
from policy.contract cimport CALL_HIT, Policy
from policy.lru cimport lru_prepare, lru_resize, lru_reweigh

cdef extern from "compat.h" nogil:
    bint HOTSET_LIKELY(bint x)

cdef enum:
    RING = 0               # bucket 0
    FIRST_BUCKETS = 8

cdef extern from *:
    """
    #define LFU_BUCKET 0x80000000u
    """
    const uint32_t LFU_BUCKET          # the bit of a link that names a bucket; too large for an enum


cdef struct Bucket:
    uint64_t frequency     # 0 for RING
    uint32_t colder
    uint32_t hotter        # also chains free buckets
    uint32_t unused
    uint32_t prev          # the entry used longest ago; NIL in RING
    uint32_t next          # the entry used last
    uint32_t padding


cdef struct LFU:
    Bucket* buckets
    uint32_t capacity
    uint32_t top
    uint32_t free
    void (*raise_otherwise)(void* state, Slab* slab, uint32_t e) noexcept nogil     # lfu_raise


cdef inline int lfu_init(void* state, Slab* slab, double capacity) noexcept nogil:
    cdef LFU* lfu = <LFU*>state
    lfu.buckets = <Bucket*>PyMem_RawCalloc(FIRST_BUCKETS, sizeof(Bucket))
    if lfu.buckets == NULL:
        return -1
    lfu.raise_otherwise = lfu_raise
    lfu.capacity = FIRST_BUCKETS
    lfu.top = 1
    return 0


cdef inline void lfu_close(void* state) noexcept nogil:
    PyMem_RawFree((<LFU*>state).buckets)
    (<LFU*>state).buckets = NULL


cdef inline int lfu_reserve(void* state, Slab* slab) noexcept nogil:
    """See to it that one more bucket can be had."""
    cdef LFU* lfu = <LFU*>state
    cdef Bucket* grown
    if lfu.free != RING or lfu.top < lfu.capacity:
        return 0
    grown = <Bucket*>PyMem_RawRealloc(lfu.buckets, 2 * lfu.capacity * sizeof(Bucket))
    if grown == NULL:
        return -1
    lfu.buckets = grown
    lfu.capacity *= 2
    return 0


cdef inline uint32_t* lfu_prev(LFU* lfu, Entry* entries, uint32_t link) noexcept nogil:
    """The `prev` of the entry or the bucket that a link names."""
    return &lfu.buckets[link ^ LFU_BUCKET].prev if link & LFU_BUCKET else &entries[link].prev


cdef inline uint32_t* lfu_next(LFU* lfu, Entry* entries, uint32_t link) noexcept nogil:
    return &lfu.buckets[link ^ LFU_BUCKET].next if link & LFU_BUCKET else &entries[link].next


cdef inline uint32_t lfu_bucket_add(LFU* lfu, uint32_t colder, uint64_t frequency) noexcept nogil:
    """A new, empty bucket behind `colder` in the ring; lfu_reserve has been called."""
    cdef uint32_t b = lfu.free
    cdef Bucket* buckets = lfu.buckets
    if b != RING:
        lfu.free = buckets[b].hotter
    else:
        b = lfu.top
        lfu.top += 1
    buckets[b].frequency = frequency
    buckets[b].prev = LFU_BUCKET | b
    buckets[b].next = LFU_BUCKET | b
    buckets[b].colder = colder
    buckets[b].hotter = buckets[colder].hotter
    buckets[buckets[b].hotter].colder = b
    buckets[colder].hotter = b
    return b


cdef inline void lfu_enter(LFU* lfu, Entry* entries, uint32_t b, uint32_t e) noexcept nogil:
    """Make an entry the front of a bucket."""
    cdef uint32_t front = lfu.buckets[b].next
    entries[e].prev = LFU_BUCKET | b
    entries[e].next = front
    entries[e].mark = b
    lfu.buckets[b].next = e
    lfu_prev(lfu, entries, front)[0] = e


cdef inline void lfu_leave(LFU* lfu, Entry* entries, uint32_t e) noexcept nogil:
    """Take an entry out of its bucket, which goes when it is empty."""
    cdef uint32_t before = entries[e].prev
    cdef uint32_t after = entries[e].next
    cdef uint32_t b
    lfu_next(lfu, entries, before)[0] = after
    lfu_prev(lfu, entries, after)[0] = before
    if before == after:
        b = entries[e].mark
        if lfu.buckets[b].next == before:
            lfu.buckets[lfu.buckets[b].colder].hotter = lfu.buckets[b].hotter
            lfu.buckets[lfu.buckets[b].hotter].colder = lfu.buckets[b].colder
            lfu.buckets[b].hotter = lfu.free
            lfu.free = b


cdef inline uint32_t lfu_victim(void* state, Slab* slab) noexcept nogil:
    cdef LFU* lfu = <LFU*>state
    return lfu.buckets[lfu.buckets[RING].hotter].prev


cdef inline void lfu_link(LFU* lfu, Entry* entries, uint32_t e, uint32_t colder, uint64_t frequency) noexcept nogil:
    """Link a new entry as the last used of its frequency; `colder` is the last bucket below it, or RING."""
    cdef uint32_t b = lfu.buckets[colder].hotter
    if lfu.buckets[b].frequency != frequency:
        b = lfu_bucket_add(lfu, colder, frequency)
    lfu_enter(lfu, entries, b, e)


cdef inline void lfu_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    lfu_link(<LFU*>state, slab.entries, e, RING, 1)


cdef inline void lfu_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef LFU* lfu = <LFU*>state
    cdef Entry* entries = slab.entries
    cdef uint32_t b = entries[e].mark
    cdef uint32_t up = lfu.buckets[b].hotter
    cdef uint32_t before = entries[e].prev
    cdef uint32_t after = entries[e].next
    cdef uint32_t front
    # Nearly always the next frequency has a bucket, and this entry is not alone in its own. The rest is called by pointer,
    # so that the compiler does not inline it: this needs no frame then.
    if HOTSET_LIKELY((lfu.buckets[up].frequency == lfu.buckets[b].frequency + 1) & (before != after)):
        lfu_next(lfu, entries, before)[0] = after
        lfu_prev(lfu, entries, after)[0] = before
        front = lfu.buckets[up].next            # an entry, because no bucket is empty
        entries[e].prev = LFU_BUCKET | up
        entries[e].next = front
        entries[e].mark = up
        lfu.buckets[up].next = e
        entries[front].prev = e
    else:
        lfu.raise_otherwise(state, slab, e)


cdef inline void lfu_raise(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """The rest of lfu_hit."""
    cdef LFU* lfu = <LFU*>state
    cdef Entry* entries = slab.entries
    cdef uint32_t b = entries[e].mark
    cdef uint32_t up = lfu.buckets[b].hotter
    cdef uint64_t frequency = lfu.buckets[b].frequency + 1
    if lfu.buckets[up].frequency != frequency:
        if lfu.buckets[b].next == e and lfu.buckets[b].prev == e:
            lfu.buckets[b].frequency = frequency         # alone in its bucket: the bucket rises with it
            return
        up = lfu_bucket_add(lfu, b, frequency) if lfu_reserve(lfu, slab) == 0 else b
    lfu_leave(lfu, entries, e)
    lfu_enter(lfu, entries, up, e)


cdef inline void lfu_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    lfu_leave(<LFU*>state, slab.entries, e)


cdef inline void lfu_clear(void* state, Slab* slab) noexcept nogil:
    cdef LFU* lfu = <LFU*>state
    lfu.top = 1
    lfu.free = RING
    memset(&lfu.buckets[RING], 0, sizeof(Bucket))


cdef inline uint32_t lfu_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """Bucket after bucket, in each from what was used longest ago."""
    cdef LFU* lfu = <LFU*>state
    cdef uint32_t before = LFU_BUCKET | RING if e == NIL else slab.entries[e].prev
    if before & LFU_BUCKET:
        before = lfu.buckets[lfu.buckets[before ^ LFU_BUCKET].hotter].prev
    return before


cdef inline uint64_t lfu_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    return (<LFU*>state).buckets[slab.entries[e].mark].frequency if e != NIL else 0


cdef inline void lfu_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    cdef LFU* lfu = <LFU*>state
    cdef uint32_t colder = lfu.buckets[RING].colder
    if e == NIL:
        return
    if lfu_reserve(state, slab) != 0:
        rank = lfu.buckets[colder].frequency        # the hottest bucket that there is
    if rank < 1:
        rank = 1
    while colder != RING and lfu.buckets[colder].frequency >= rank:
        colder = lfu.buckets[colder].colder
    lfu_link(lfu, slab.entries, e, colder, rank)


cdef inline bint lfu_validate(void* state, Slab* slab) noexcept nogil:
    """The buckets are a ring in order of frequency, and each is a ring of live entries that know it."""
    cdef LFU* lfu = <LFU*>state
    cdef Entry* entries = slab.entries
    cdef uint32_t b = lfu.buckets[RING].hotter, link, before, total = 0
    cdef uint64_t frequency = 0
    if lfu.buckets[RING].prev != NIL or lfu.buckets[RING].frequency != 0:
        return False
    while b != RING:
        if lfu.buckets[b].frequency <= frequency or lfu.buckets[lfu.buckets[b].hotter].colder != b:
            return False
        frequency = lfu.buckets[b].frequency
        link = LFU_BUCKET | b
        if lfu.buckets[b].prev == link:
            return False
        while True:
            before = lfu_prev(lfu, entries, link)[0]
            if lfu_next(lfu, entries, before)[0] != link:
                return False
            link = before
            if link & LFU_BUCKET:
                break
            if entries[link].mark != b or entries[link].key == NULL or total == slab.live:
                return False
            total += 1
        if link != LFU_BUCKET | b:
            return False
        b = lfu.buckets[b].hotter
    return total == slab.live


cdef inline void lfu_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(LFU)
    p.init = lfu_init
    p.close = lfu_close
    p.resize = lru_resize
    p.reserve = lfu_reserve
    p.prepare = lru_prepare
    p.victim = lfu_victim
    p.insert = lfu_insert
    p.hit = lfu_hit
    p.on_hit = CALL_HIT
    p.update = lfu_hit
    p.reweigh = lru_reweigh
    p.remove = lfu_remove
    p.clear = lfu_clear
    p.foresee = lfu_victim
    p.walk = lfu_walk
    p.rank = lfu_rank
    p.restore = lfu_restore
    p.validate = lfu_validate
