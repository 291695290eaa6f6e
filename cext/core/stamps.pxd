# cython: cdivision=True
"""Stamps: when the keys that were evicted lately were used last, by 32 bits a key.

A bucket is one 64-byte cache line of 16 slots, and a hash names one bucket. A slot is the fingerprint of a hash above
the moment of its last use; a new one takes an empty slot of its bucket, or else that of the key which was used
longest ago::

    31            16 15             0
    +---------------+---------------+
    | fingerprint,  | moment, in    |      an empty slot is 0
    | never 0       | 1/1024 turns  |
    +---------------+---------------+

Moments are words of a clock that goes once round the numbers in 4096 *turns*, a turn being as many insertions as the
cache holds entries. What is kept of them goes round in 64 turns; keys do not stay for as long, because each turn brings
as many new ones as a third of the slots.

Stamps are advice: two keys of one fingerprint are taken for each other in one of 4,000 lookups, and without memory
nothing is remembered. Every operation looks at one cache line. Cost: 4 bytes a slot, three slots an entry.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from core.sketch cimport sketch_remix
from core.slab cimport PyMem_RawCalloc, PyMem_RawFree

cdef extern from "compat.h" nogil:
    void hotset_prefetch(const void* p)

cdef enum:
    BUCKET_SLOTS = 16
    BUCKET_BYTES = 64
    SLOTS_PER_ENTRY = 3
    MOMENT_SHIFT = 10      # from the clock's word to what a slot keeps


cdef struct Stamps:
    uint32_t* slots        # aligned; points into `memory`; NULL while nothing can be remembered
    void* memory
    uint32_t count         # buckets


cdef inline uint32_t stamps_buckets(double entries) noexcept nogil:
    """Buckets for a cache of so many entries."""
    return <uint32_t>min((entries * SLOTS_PER_ENTRY + (BUCKET_SLOTS - 1)) * (1.0 / BUCKET_SLOTS), 4e9)


cdef inline int stamps_allocate(Stamps* s, uint32_t count) noexcept nogil:
    """Give empty stamps `count` buckets; -1 when memory is out, with nothing changed."""
    cdef void* memory = PyMem_RawCalloc(<size_t>count + 1, BUCKET_BYTES)
    if memory == NULL:
        return -1
    s.memory = memory
    s.slots = <uint32_t*>((<uintptr_t>memory + (BUCKET_BYTES - 1)) & ~<uintptr_t>(BUCKET_BYTES - 1))
    s.count = count
    return 0


cdef inline void stamps_close(Stamps* s) noexcept nogil:
    """Free everything and remember nothing."""
    PyMem_RawFree(s.memory)
    memset(s, 0, sizeof(Stamps))


cdef inline int stamps_double(Stamps* s) noexcept nogil:
    """Make stamps that are not empty twice as large, with all that they know; -1 when memory is out, nothing changed."""
    cdef Stamps larger
    cdef uint32_t i
    if s.count >= <uint32_t>1 << 31:
        return 0
    if stamps_allocate(&larger, s.count * 2) < 0:
        return -1
    for i in range(2 * s.count):
        memcpy(larger.slots + <size_t>i * BUCKET_SLOTS, s.slots + <size_t>(i >> 1) * BUCKET_SLOTS, BUCKET_BYTES)
    PyMem_RawFree(s.memory)
    s[0] = larger
    return 0


cdef inline uint32_t* stamps_bucket(Stamps* s, uint32_t hash, uint32_t* mark) noexcept nogil:
    """The bucket of a hash, and its fingerprint where a slot has it."""
    cdef uint64_t x = sketch_remix(hash)
    mark[0] = <uint32_t>x & 0xFFFF0000U
    if mark[0] == 0:
        mark[0] = 0x10000
    return s.slots + (((x >> 32) * s.count) >> 32) * BUCKET_SLOTS


cdef inline void stamps_prefetch(Stamps* s, uint32_t hash) noexcept nogil:
    """Have fetched what is known of a hash that is about to be looked at."""
    cdef uint32_t mark
    if s.slots != NULL:
        hotset_prefetch(stamps_bucket(s, hash, &mark))


cdef inline bint stamps_take(Stamps* s, uint32_t hash, uint32_t now, uint32_t* age) noexcept nogil:
    """Forget a hash: whether it was remembered, and how long before `now` it was used, in the clock's unit."""
    cdef uint32_t mark, i
    cdef uint32_t* bucket
    if s.slots == NULL:
        return False
    bucket = stamps_bucket(s, hash, &mark)
    for i in range(<uint32_t>BUCKET_SLOTS):
        if bucket[i] & 0xFFFF0000U == mark:
            age[0] = ((now >> MOMENT_SHIFT) - bucket[i] & 0xFFFF) << MOMENT_SHIFT
            bucket[i] = 0
            return True
    return False


cdef inline void stamps_put(Stamps* s, uint32_t hash, uint32_t now, uint32_t moment) noexcept nogil:
    """Remember of a hash that it was used at a moment up to `now`."""
    cdef uint32_t mark, i, age, place = 0, oldest = 0
    cdef uint32_t* bucket
    if s.slots == NULL:
        return
    bucket = stamps_bucket(s, hash, &mark)
    for i in range(<uint32_t>BUCKET_SLOTS):
        age = 0x10000 if bucket[i] == 0 else (now >> MOMENT_SHIFT) - bucket[i] & 0xFFFF
        if age > oldest:
            oldest = age
            place = i
    bucket[place] = mark | (moment >> MOMENT_SHIFT & 0xFFFF)
