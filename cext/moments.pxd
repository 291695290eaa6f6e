"""Sets of moments, the numbers of requests: how many lie after one, and which is the last.

``Ranks`` counts: a bit a moment, and sums over 512, 32,768 and 2 million moments, so that counting those after a moment
adds up at most 8 words, 63 sums and 63 sums, and a short list that ends at the present. A Fenwick tree, which the literature
has here, touches twenty places far apart for each of its three operations a request. ``Summits`` finds the last: a bit a
moment, and above it a bit a word, and so on, 64 at a step. Either is an eighth of a byte a moment and a little.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef extern from "bits.h" nogil:
    uint32_t hotset_bits_count(uint64_t x)
    uint32_t hotset_bits_highest(uint64_t x)
    uint64_t hotset_bits_spread(uint64_t x)

cdef enum:
    BLOCK = 9     # moments of a block, as a shift
    REGION = 15
    REALM = 21
    STEPS = 7     # 64 ** 6 exceeds 2 ** 32 moments; one more is always a single word


cdef struct Ranks:
    uint64_t* words
    uint16_t* blocks
    uint32_t* regions
    uint32_t* realms


cdef inline void ranks_close(Ranks* s) noexcept nogil:
    """Give up the memory; also of one that was opened in part."""
    free(s.words)
    free(s.blocks)
    free(s.regions)
    free(s.realms)


cdef inline int ranks_open(Ranks* s, size_t moments) noexcept nogil:
    """An empty set of moments below `moments`; -1 when memory is out."""
    s.words = <uint64_t*>calloc(((moments >> BLOCK) + 1) << (BLOCK - 6), sizeof(uint64_t))
    s.blocks = <uint16_t*>calloc((moments >> BLOCK) + 1, sizeof(uint16_t))
    s.regions = <uint32_t*>calloc((moments >> REGION) + 1, sizeof(uint32_t))
    s.realms = <uint32_t*>calloc((moments >> REALM) + 1, sizeof(uint32_t))
    if s.words == NULL or s.blocks == NULL or s.regions == NULL or s.realms == NULL:
        ranks_close(s)
        return -1
    return 0


cdef inline void ranks_add(Ranks* s, size_t moment) noexcept nogil:
    """Add a moment that is not in the set."""
    s.words[moment >> 6] |= <uint64_t>1 << (moment & 63)
    s.blocks[moment >> BLOCK] += 1
    s.regions[moment >> REGION] += 1
    s.realms[moment >> REALM] += 1


cdef inline void ranks_remove(Ranks* s, size_t moment) noexcept nogil:
    """Remove a moment that is in the set."""
    s.words[moment >> 6] &= ~(<uint64_t>1 << (moment & 63))
    s.blocks[moment >> BLOCK] -= 1
    s.regions[moment >> REGION] -= 1
    s.realms[moment >> REALM] -= 1


cdef inline uint32_t ranks_after(const Ranks* s, size_t moment, size_t now) noexcept nogil:
    """How many moments of the set are after one; none is after `now`."""
    cdef size_t i = moment >> 6, end
    cdef uint32_t total = hotset_bits_count(s.words[i] >> (moment & 63) >> 1)
    end = min(((moment >> BLOCK) + 1) << (BLOCK - 6), (now >> 6) + 1)
    for i in range(i + 1, end):
        total += hotset_bits_count(s.words[i])
    end = min(((moment >> REGION) + 1) << (REGION - BLOCK), (now >> BLOCK) + 1)
    for i in range((moment >> BLOCK) + 1, end):
        total += s.blocks[i]
    end = min(((moment >> REALM) + 1) << (REALM - REGION), (now >> REGION) + 1)
    for i in range((moment >> REGION) + 1, end):
        total += s.regions[i]
    end = (now >> REALM) + 1
    for i in range((moment >> REALM) + 1, end):
        total += s.realms[i]
    return total


cdef struct Summits:
    uint64_t* words[STEPS] # words[0] has a bit a moment, words[k + 1] a bit for each word of words[k] that is not 0
    int top                # the step that is a single word


cdef inline void summits_close(Summits* s) noexcept nogil:
    """Give up the memory; also of one that was opened in part."""
    cdef int step
    for step in range(STEPS):
        free(s.words[step])


cdef inline int summits_open(Summits* s, size_t moments) noexcept nogil:
    """An empty set of moments below `moments`, which is at most 2 ** 32; -1 when memory is out."""
    cdef int step
    cdef size_t words = moments
    for step in range(STEPS):
        s.words[step] = NULL
    for step in range(STEPS):
        words = (words >> 6) + 1
        s.words[step] = <uint64_t*>calloc(words, sizeof(uint64_t))
        if s.words[step] == NULL:
            summits_close(s)
            return -1
        s.top = step
        if words == 1:
            break
    return 0


cdef inline bint summits_has(const Summits* s, size_t moment) noexcept nogil:
    """Whether a moment is in the set."""
    return s.words[0][moment >> 6] >> (moment & 63) & 1


cdef inline void summits_add(Summits* s, size_t moment) noexcept nogil:
    """Add a moment."""
    cdef int step
    cdef uint64_t word
    for step in range(s.top + 1):
        word = s.words[step][moment >> 6]
        s.words[step][moment >> 6] = word | <uint64_t>1 << (moment & 63)
        if word != 0:
            return
        moment >>= 6


cdef inline void summits_remove(Summits* s, size_t moment) noexcept nogil:
    """Remove a moment that is in the set."""
    cdef int step
    for step in range(s.top + 1):
        s.words[step][moment >> 6] &= ~(<uint64_t>1 << (moment & 63))
        if s.words[step][moment >> 6] != 0:
            return
        moment >>= 6


cdef inline bint summits_empty(const Summits* s) noexcept nogil:
    """Whether no moment is in the set."""
    return s.words[s.top][0] == 0


cdef inline size_t summits_last(const Summits* s) noexcept nogil:
    """The last moment of a set that is not empty."""
    cdef int step = s.top
    cdef size_t found = 0
    while step >= 0:
        found = found << 6 | hotset_bits_highest(s.words[step][found])
        step -= 1
    return found
