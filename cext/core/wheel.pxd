# cython: cdivision=True
"""Hierarchical timer wheel: which entries are due, without looking at the others.

Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987. Time is cut into ticks. A level has 32 buckets, a bucket of level l
is 32**l ticks wide, and an entry lies at the level of the highest base-32 digit in which its tick differs from the present one.
When the present reaches a bucket of level 1 or above, its entries move down; a bit map a level skips empty buckets.

Invariant: no occupied bucket starts before ``tick``; an entry is in a bucket exactly if it has a finite deadline.
Deadlines are doubles in the unit of the cache's timer, and what is due is decided by them, never by the tick: rounding can make
the wheel find an entry a tick late, not early. Schedule and cancel are O(1), each entry moves down at most 7 times. Cost: 16 bytes
a slab slot and 4 KiB for the buckets, from the first deadline on.
"""
from libc.math cimport ceil, floor
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from core.slab cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc

cdef extern from "compat.h" nogil:
    int hotset_lowest_bit(uint64_t word)       # word is not 0
    int hotset_highest_bit(uint64_t word)
    int64_t LAST_TICK "HOTSET_LAST_TICK"
    int64_t REBASE_TICK "HOTSET_REBASE_TICK"
    double HOTSET_NEVER                        # the deadline of what does not expire: +infinity

cdef enum:
    DIGIT_BITS = 5
    WIDTH = 32             # buckets a level
    LEVELS = 8             # 2**40 ticks: 34 years of 1/1024 s
    BUCKETS = 256


cdef struct Timer:
    double deadline
    uint32_t prev          # an entry in no bucket, and an empty bucket, link to themselves
    uint32_t next


cdef struct Wheel:
    Timer* timers          # BUCKETS sentinels, then one a slab slot; NULL before the first deadline
    uint32_t capacity      # slab slots that there is a timer for
    uint32_t occupied[LEVELS]
    int64_t tick           # the present
    double origin          # time of tick 0
    double scale           # ticks a unit of time


cdef inline int wheel_reserve(Wheel* w, uint32_t capacity) noexcept nogil:
    """Make room for the timers of so many slab slots; -1 when memory is out, nothing changed."""
    cdef Timer* grown
    cdef uint32_t i
    if w.timers != NULL and capacity <= w.capacity:
        return 0
    grown = <Timer*>PyMem_RawRealloc(w.timers, (BUCKETS + <size_t>capacity) * sizeof(Timer))
    if grown == NULL:
        return -1
    if w.timers == NULL:
        for i in range(BUCKETS):
            grown[i].prev = i
            grown[i].next = i
    w.timers = grown
    for i in range(BUCKETS + w.capacity, BUCKETS + capacity):
        grown[i].deadline = HOTSET_NEVER
        grown[i].next = i
        grown[i].prev = i
    w.capacity = capacity
    return 0


cdef inline void wheel_start(Wheel* w, double now) noexcept nogil:
    """Set the present and the tick of a wheel without timers."""
    w.origin = now
    w.tick = 0
    w.scale = 1024.0


cdef inline void wheel_close(Wheel* w) noexcept nogil:
    PyMem_RawFree(w.timers)
    memset(w, 0, sizeof(Wheel))


cdef inline double wheel_deadline(Wheel* w, uint32_t e) noexcept nogil:
    return w.timers[BUCKETS + e].deadline


cdef inline void wheel_cancel(Wheel* w, uint32_t e) noexcept nogil:
    """Take an entry out of its bucket, if it is in one."""
    cdef uint32_t t = BUCKETS + e, before, after
    cdef Timer* timers = w.timers
    if timers[t].next == t:
        return
    before = timers[t].prev
    after = timers[t].next
    timers[before].next = after
    timers[after].prev = before
    if before == after and before < BUCKETS:
        w.occupied[before >> DIGIT_BITS] &= ~(<uint32_t>1 << (before & (WIDTH - 1)))
    timers[t].next = t
    timers[t].prev = t


cdef inline void wheel_file(Wheel* w, uint32_t t) noexcept nogil:
    """Put a timer that is in no bucket into the one of its deadline; what is past goes to the present's."""
    cdef Timer* timers = w.timers
    cdef double ticks = ceil((timers[t].deadline - w.origin) * w.scale)
    cdef int64_t tick = w.tick
    cdef uint32_t level = 0, bucket
    if ticks >= <double>LAST_TICK:
        tick = LAST_TICK
    elif ticks > <double>tick:
        tick = <int64_t>ticks
    if (tick ^ w.tick) >= WIDTH:
        level = hotset_highest_bit(<uint64_t>(tick ^ w.tick)) // DIGIT_BITS
    bucket = level * WIDTH + (<uint32_t>(tick >> (level * DIGIT_BITS)) & (WIDTH - 1))
    timers[t].prev = bucket
    timers[t].next = timers[bucket].next
    timers[timers[bucket].next].prev = t
    timers[bucket].next = t
    w.occupied[level] |= <uint32_t>1 << (bucket & (WIDTH - 1))


cdef inline void wheel_set(Wheel* w, uint32_t e, double deadline) noexcept nogil:
    """Give an entry a deadline, HOTSET_NEVER for none."""
    wheel_cancel(w, e)
    w.timers[BUCKETS + e].deadline = deadline
    if deadline < HOTSET_NEVER:
        wheel_file(w, BUCKETS + e)


cdef inline void wheel_put_off(Wheel* w, uint32_t e, double deadline) noexcept nogil:
    """Move the deadline of an entry that is in a bucket to later; the wheel files it anew when it comes across it."""
    w.timers[BUCKETS + e].deadline = deadline


cdef inline void wheel_rebase(Wheel* w, double now) noexcept nogil:
    """Begin to count ticks at `now`, when they have run out or the timer was set back. O(slots)."""
    cdef uint32_t i
    w.origin = now
    w.tick = 0
    memset(w.occupied, 0, sizeof(w.occupied))
    for i in range(BUCKETS):
        w.timers[i].prev = i
        w.timers[i].next = i
    for i in range(BUCKETS, BUCKETS + w.capacity):
        if w.timers[i].next != i:
            wheel_file(w, i)


cdef inline void wheel_move_down(Wheel* w, uint32_t bucket) noexcept nogil:
    """File the entries of a bucket again, now that the present has reached it."""
    cdef Timer* timers = w.timers
    cdef uint32_t t = timers[bucket].next, after
    timers[bucket].prev = bucket
    timers[bucket].next = bucket
    w.occupied[bucket >> DIGIT_BITS] &= ~(<uint32_t>1 << (bucket & (WIDTH - 1)))
    while t != bucket:
        after = timers[t].next
        wheel_file(w, t)
        t = after


cdef inline uint32_t wheel_any(Wheel* w) noexcept nogil:
    """An entry with a finite deadline, or 0."""
    cdef uint32_t level
    for level in range(<uint32_t>LEVELS):
        if w.occupied[level] != 0:
            return w.timers[level * WIDTH + hotset_lowest_bit(w.occupied[level])].next - BUCKETS
    return 0


cdef inline void wheel_rotate(Wheel* w, uint32_t bucket, uint32_t t) noexcept nogil:
    """Let the bucket begin at t, so that what is not due yet is not passed over again for each that is."""
    cdef Timer* timers = w.timers
    cdef uint32_t before
    if timers[bucket].next == t:
        return
    timers[timers[bucket].prev].next = timers[bucket].next
    timers[timers[bucket].next].prev = timers[bucket].prev
    before = timers[t].prev
    timers[before].next = bucket
    timers[bucket].prev = before
    timers[bucket].next = t
    timers[t].prev = bucket


cdef inline uint32_t wheel_due(Wheel* w, double now, bint exact) noexcept nogil:
    """An entry that is due, still in its bucket, or 0. The caller cancels it and asks again.

    Without `exact`, entries that came due within the present tick may be left for the next tick, so that a burst of
    equal deadlines is not looked through again and again by each write.
    """
    cdef Timer* timers = w.timers
    cdef double present = floor((now - w.origin) * w.scale) + exact
    cdef int64_t target, start
    cdef uint32_t level, bucket, t, after
    if not now - now == 0.0:                    # infinite, or no number
        return wheel_any(w) if now > 0.0 else 0
    if present > <double>REBASE_TICK:
        # 17 years, or half a second of a timer that counts nanoseconds: then 1024 of its units to a tick do, and so on.
        w.scale *= 1.0 / 1024
        wheel_rebase(w, now)
        present = exact
    elif exact and present + 1 < <double>w.tick:
        wheel_rebase(w, now)
        present = exact
    if present < <double>w.tick:
        return 0
    target = <int64_t>present
    while True:
        level = 0
        while level < LEVELS and w.occupied[level] == 0:
            level += 1
        if level == LEVELS:
            w.tick = target
            return 0
        bucket = level * WIDTH + hotset_lowest_bit(w.occupied[level])
        start = ((w.tick >> ((level + 1) * DIGIT_BITS)) << ((level + 1) * DIGIT_BITS)) | (
            <int64_t>(bucket & (WIDTH - 1)) << (level * DIGIT_BITS))
        if start > target:
            w.tick = target
            return 0
        if start > w.tick:
            w.tick = start
        if level > 0:
            wheel_move_down(w, bucket)
            continue
        t = timers[bucket].next
        while t != bucket:
            after = timers[t].next
            if timers[t].deadline <= now:
                wheel_rotate(w, bucket, t)
                return t - BUCKETS
            if ceil((timers[t].deadline - w.origin) * w.scale) > <double>w.tick:
                wheel_cancel(w, t - BUCKETS)         # its deadline was put off
                wheel_file(w, t)
            t = after
        if w.tick == target or timers[bucket].next != bucket:
            return 0


cdef inline bint wheel_validate(Wheel* w) noexcept nogil:
    """Buckets are doubly linked, the bit maps are right, and nothing in a bucket is without a finite deadline."""
    cdef uint32_t bucket, t, linked = 0, scheduled = 0
    if w.timers == NULL:
        return True
    for bucket in range(BUCKETS):
        if (w.timers[bucket].next != bucket) != ((w.occupied[bucket >> DIGIT_BITS] >> (bucket & (WIDTH - 1))) & 1):
            return False
        t = w.timers[bucket].next
        while t != bucket:
            if w.timers[w.timers[t].next].prev != t or not w.timers[t].deadline < HOTSET_NEVER:
                return False
            linked += 1
            if linked > w.capacity:
                return False
            t = w.timers[t].next
    for t in range(BUCKETS, BUCKETS + w.capacity):
        scheduled += w.timers[t].next != t
    return linked == scheduled
