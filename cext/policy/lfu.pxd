"""LFU: evicts the entry that was used least often, and of these the one used longest ago.

The O(1) scheme of Shah, Mitra and Matani (2010), laid out flat: ONE list through all entries, from the coldest at its back
to the hottest at its front, grouped by frequency; a bucket a frequency says where its group begins. A hit moves an entry
to the front end of the next group. Unlike a list for each frequency, the order is there to be walked, and the victim is
the back of the list.

Invariant: buckets form a ring from the lowest frequency to the highest, none is empty, an entry's ``mark`` is its
bucket and the sentinel's is RING. A group is not counted: it ends where the next entry has another mark, so that most hits
need not write to the bucket that they leave. Frequencies count from 1, in 64 bits, and never age. Cost: 24 bytes a bucket (at most one a distinct frequency),
nothing an entry. When memory for a bucket is out, a hit renews the entry in its group and does not raise it.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from core.links cimport list_back, list_init, list_insert_after, list_push_back, list_remove
from core.slab cimport Entry, NIL, PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc, Slab
from policy.contract cimport CALL_HIT, Policy
from policy.lru cimport lru_prepare, lru_resize, lru_reweigh, lru_walk

cdef extern from "compat.h" nogil:
    bint HOTSET_LIKELY(bint x)

cdef enum:
    FREQUENCY = 0          # sentinel of the one list
    RING = 0               # bucket 0: ends of the ring of buckets
    FIRST_BUCKETS = 8


cdef struct Bucket:
    uint64_t frequency     # 0 for RING
    uint32_t newest        # entry of the group nearest the front
    uint32_t colder
    uint32_t hotter        # also chains free buckets


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
    list_init(slab.entries, FREQUENCY)
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
    buckets[b].colder = colder
    buckets[b].hotter = buckets[colder].hotter
    buckets[buckets[b].hotter].colder = b
    buckets[colder].hotter = b
    return b


cdef inline void lfu_leave(LFU* lfu, Entry* entries, uint32_t e) noexcept nogil:
    """Take an entry out of its bucket, which goes when it is empty. The list is left as it is, and must be so yet."""
    cdef uint32_t b = entries[e].mark
    cdef Bucket* bucket = &lfu.buckets[b]
    if bucket.newest == e:
        if entries[entries[e].next].mark == b:
            bucket.newest = entries[e].next
        else:
            lfu.buckets[bucket.colder].hotter = bucket.hotter
            lfu.buckets[bucket.hotter].colder = bucket.colder
            bucket.hotter = lfu.free
            lfu.free = b


cdef inline void lfu_enter(LFU* lfu, Entry* entries, uint32_t b, uint32_t e) noexcept nogil:
    """Make an entry the newest of a bucket. The list is left as it is."""
    lfu.buckets[b].newest = e
    entries[e].mark = b


cdef inline uint32_t lfu_victim(void* state, Slab* slab) noexcept nogil:
    return list_back(slab.entries, FREQUENCY)


cdef inline void lfu_link(LFU* lfu, Entry* entries, uint32_t e, uint32_t colder, uint64_t frequency) noexcept nogil:
    """Link a new entry as the newest of its frequency; `colder` is the last bucket below it, or RING."""
    cdef uint32_t b = lfu.buckets[colder].hotter
    if lfu.buckets[b].frequency != frequency:
        b = lfu_bucket_add(lfu, colder, frequency)
        if colder == RING:
            list_push_back(entries, FREQUENCY, e)
        else:
            list_insert_after(entries, entries[lfu.buckets[colder].newest].prev, e)
    else:
        list_insert_after(entries, entries[lfu.buckets[b].newest].prev, e)
    lfu_enter(lfu, entries, b, e)


cdef inline void lfu_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    lfu_link(<LFU*>state, slab.entries, e, RING, 1)


cdef inline void lfu_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef LFU* lfu = <LFU*>state
    cdef Entry* entries = slab.entries
    cdef uint32_t b = entries[e].mark
    cdef uint32_t up = lfu.buckets[b].hotter
    # Nearly always the next frequency has a group, and this entry does not begin its own. The rest is called by pointer,
    # so that the compiler does not inline it: this needs no frame then.
    if HOTSET_LIKELY((lfu.buckets[up].frequency == lfu.buckets[b].frequency + 1) & (lfu.buckets[b].newest != e)):
        list_remove(entries, e)
        list_insert_after(entries, entries[lfu.buckets[up].newest].prev, e)
        lfu_enter(lfu, entries, up, e)
    else:
        lfu.raise_otherwise(state, slab, e)


cdef inline void lfu_raise(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """The rest of lfu_hit."""
    cdef LFU* lfu = <LFU*>state
    cdef Entry* entries = slab.entries
    cdef uint32_t b = entries[e].mark
    cdef uint32_t up = lfu.buckets[b].hotter
    cdef uint64_t frequency = lfu.buckets[b].frequency + 1
    cdef uint32_t front
    if lfu.buckets[up].frequency == frequency:
        front = lfu.buckets[up].newest
    elif lfu.buckets[b].newest == e and entries[entries[e].next].mark != b:
        lfu.buckets[b].frequency = frequency         # alone in its group: the group rises with it
        return
    else:
        front = lfu.buckets[b].newest
        if lfu_reserve(lfu, slab) == 0:
            up = lfu_bucket_add(lfu, b, frequency)
        elif front == e:
            return
        else:
            up = b
    lfu_leave(lfu, entries, e)
    if front != e:
        list_remove(entries, e)
        list_insert_after(entries, entries[front].prev, e)
    lfu_enter(lfu, entries, up, e)


cdef inline void lfu_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    lfu_leave(<LFU*>state, slab.entries, e)
    list_remove(slab.entries, e)


cdef inline void lfu_clear(void* state, Slab* slab) noexcept nogil:
    cdef LFU* lfu = <LFU*>state
    lfu.top = 1
    lfu.free = RING
    memset(&lfu.buckets[RING], 0, sizeof(Bucket))
    list_init(slab.entries, FREQUENCY)


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
    """The list runs through the buckets in order of frequency, and each one's count and newest entry are right."""
    cdef LFU* lfu = <LFU*>state
    cdef Entry* entries = slab.entries
    cdef uint32_t b = lfu.buckets[RING].hotter, e = entries[FREQUENCY].prev
    cdef uint32_t count, total = 0, last = NIL
    cdef uint64_t frequency = 0
    while b != RING:
        if lfu.buckets[b].frequency <= frequency or lfu.buckets[lfu.buckets[b].hotter].colder != b:
            return False
        frequency = lfu.buckets[b].frequency
        count = 0
        while e != FREQUENCY and entries[e].mark == b:
            if entries[entries[e].prev].next != e or entries[e].key == NULL:
                return False
            last = e
            count += 1
            e = entries[e].prev
        if count == 0 or lfu.buckets[b].newest != last:
            return False
        total += count
        b = lfu.buckets[b].hotter
    return e == FREQUENCY and total == slab.live


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
    p.walk = lru_walk
    p.rank = lfu_rank
    p.restore = lfu_restore
    p.validate = lfu_validate
