"""Frequency sketch: how often a hash was seen of late, by 4-bit counters in a blocked Count-Min sketch.

A block is one 64-byte cache line of 128 counters, in four rows of 32. A hash names one block and one counter in
each row; its estimate is the least of the four, so only hashes that collide in every row are overestimated::

    hash --remix--> 64 bits:  63 ........ 32 | 31 .. 24 | 23 .. 16 | 15 .. 8 | 7 .. 0
                              block, scaled     row 3      row 2      row 1    row 0

    in each byte: bit 6 is the word of the row, bits 5 to 2 the counter in the word (its shift, as they stand)

Ageing halves all counters, and does so without a pause: ``sketch_age`` only moves ``cursor`` to block 0, and each
increment then halves ``SWEEP_BLOCKS`` blocks and moves it on. Blocks from the cursor on are not halved yet; they
are read at half their value and incremented by two, so that every estimate is as if all had been halved at once.

A block's number is the hash scaled to the number of blocks (not masked), so that a sketch has the size that is
asked for and not the next power of two. Doubling copies block i to 2i and 2i + 1, where its hashes go: no
estimate falls.

Invariant: ``blocks`` is NULL and ``count`` 0 (an empty sketch: estimates are 0, increments are lost), or ``blocks`` is
aligned to 64 bytes; ``cursor <= count``, and equal unless a sweep is under way.

Cost: increments and estimates touch one cache line and are O(1). 64 bytes for ``BLOCK_ENTRIES`` entries, 10.7 bytes
an entry; up to twice that after a doubling.

References: Cormode and Muthukrishnan, "An improved data stream summary: the count-min sketch and its applications"
(2005); Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache admission policy" (ACM ToS, 2017).

Differs from the TinyLFU paper: all counters of a hash in one cache line (one miss instead of four, at a
slightly higher error), no doorkeeper (4 bits are cheap enough), no conservative update (measured worse), the
halving is spread over requests.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from core.slab cimport PyMem_RawCalloc, PyMem_RawFree

cdef extern from "compat.h" nogil:
    void hotset_prefetch(const void* p)

cdef enum:
    ROWS = 4
    BLOCK_WORDS = 8        # 64-bit words in a block, two a row
    BLOCK_BYTES = 64
    BLOCK_ENTRIES = 6      # entries for which a block is meant
    MAX_FREQUENCY = 15
    SWEEP_BLOCKS = 4       # blocks that an increment halves while a sweep is under way


cdef struct Sketch:
    uint64_t* blocks       # aligned; points into `memory`
    void* memory
    uint32_t count         # blocks
    uint32_t cursor        # blocks from here on are still to be halved


cdef inline uint32_t sketch_blocks(double entries) noexcept nogil:
    """Blocks for so many entries."""
    return <uint32_t>min(entries * (1.0 / BLOCK_ENTRIES) + 1, 4e9)


cdef inline int sketch_allocate(Sketch* sketch, uint32_t count) noexcept nogil:
    """Give an empty sketch `count` zeroed blocks; -1 when memory is out, with the sketch as it was."""
    cdef void* memory = PyMem_RawCalloc(<size_t>count + 1, BLOCK_BYTES)
    if memory == NULL:
        return -1
    sketch.memory = memory
    sketch.blocks = <uint64_t*>((<uintptr_t>memory + (BLOCK_BYTES - 1)) & ~<uintptr_t>(BLOCK_BYTES - 1))
    sketch.count = count
    sketch.cursor = count
    return 0


cdef inline void sketch_close(Sketch* sketch) noexcept nogil:
    """Free everything and leave an empty sketch."""
    PyMem_RawFree(sketch.memory)
    memset(sketch, 0, sizeof(Sketch))


cdef inline void sketch_sweep(Sketch* sketch, uint32_t n) noexcept nogil:
    """Halve the next `n` blocks."""
    cdef uint32_t end = sketch.count if sketch.count - sketch.cursor < n else sketch.cursor + n
    cdef uint64_t* word = sketch.blocks + <size_t>sketch.cursor * BLOCK_WORDS
    cdef uint64_t* last = sketch.blocks + <size_t>end * BLOCK_WORDS
    while word != last:
        word[0] = (word[0] >> 1) & <uint64_t>0x7777777777777777
        word += 1
    sketch.cursor = end


cdef inline int sketch_double(Sketch* sketch) noexcept nogil:
    """Make a sketch that is not empty twice as large, with every estimate kept; -1 when memory is out."""
    cdef Sketch larger
    cdef uint32_t i
    cdef uint64_t* target
    if sketch.count >= <uint32_t>1 << 31:
        return 0
    if sketch_allocate(&larger, sketch.count * 2) < 0:
        return -1
    sketch_sweep(sketch, sketch.count)
    target = larger.blocks
    for i in range(sketch.count):
        memcpy(target, sketch.blocks + <size_t>i * BLOCK_WORDS, BLOCK_BYTES)
        memcpy(target + BLOCK_WORDS, target, BLOCK_BYTES)
        target += 2 * BLOCK_WORDS
    PyMem_RawFree(sketch.memory)
    sketch[0] = larger
    return 0


cdef inline uint64_t sketch_remix(uint32_t hash) noexcept nogil:
    """64 bits that depend on all bits of the hash and share no structure with the index's use of it."""
    cdef uint64_t x = hash * <uint64_t>0xD6E8FEB86659FD93ULL
    return x ^ (x >> 32)


cdef inline uint64_t* sketch_line(Sketch* sketch, uint64_t x, uint32_t* block) noexcept nogil:
    """The block of a remixed hash, and its number."""
    block[0] = <uint32_t>(((x >> 32) * sketch.count) >> 32)
    return sketch.blocks + <size_t>block[0] * BLOCK_WORDS


cdef inline void sketch_increment(Sketch* sketch, uint32_t hash) noexcept nogil:
    """Count one more use of a hash; a counter that would pass MAX_FREQUENCY stays."""
    cdef uint64_t x, word, step
    cdef uint64_t* line
    cdef uint32_t block, row, at, shift
    if sketch.blocks == NULL:
        return
    if sketch.cursor != sketch.count:
        sketch_sweep(sketch, SWEEP_BLOCKS)
    x = sketch_remix(hash)
    line = sketch_line(sketch, x, &block)
    step = 1 + (block >= sketch.cursor)
    for row in range(<uint32_t>ROWS):
        at = 2 * row + (<uint32_t>(x >> (8 * row + 6)) & 1)
        shift = <uint32_t>(x >> (8 * row)) & 60
        word = line[at]
        if (word >> shift & MAX_FREQUENCY) + step <= MAX_FREQUENCY:
            line[at] = word + (step << shift)


cdef inline void sketch_prefetch(Sketch* sketch, uint32_t hash) noexcept nogil:
    """Fetch the block of a hash that is about to be looked at."""
    cdef uint32_t block
    hotset_prefetch(sketch_line(sketch, sketch_remix(hash), &block))


cdef inline uint32_t sketch_estimate(Sketch* sketch, uint32_t hash) noexcept nogil:
    """How often the hash was counted of late, 0 to MAX_FREQUENCY."""
    cdef uint64_t x
    cdef uint64_t* line
    cdef uint32_t block, row, value, least = MAX_FREQUENCY
    if sketch.blocks == NULL:
        return 0
    x = sketch_remix(hash)
    line = sketch_line(sketch, x, &block)
    for row in range(<uint32_t>ROWS):
        value = <uint32_t>(line[2 * row + (<uint32_t>(x >> (8 * row + 6)) & 1)] >> (<uint32_t>(x >> (8 * row)) & 60))
        least = min(least, value & MAX_FREQUENCY)
    return least >> (block >= sketch.cursor)


cdef inline void sketch_raise(Sketch* sketch, uint32_t hash, uint32_t frequency) noexcept nogil:
    """Make the estimate of a hash at least `frequency` (a snapshot is being restored)."""
    cdef uint32_t n
    if sketch.blocks != NULL:
        for n in range(sketch_estimate(sketch, hash), frequency):
            sketch_increment(sketch, hash)


cdef inline void sketch_age(Sketch* sketch) noexcept nogil:
    """Halve every count, from the readers' point of view at once; nothing while the last sweep is under way."""
    if sketch.cursor == sketch.count:
        sketch.cursor = 0
