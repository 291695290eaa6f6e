# cython: cdivision=True
"""Ghost lists: two recency lists of keys that were evicted lately, by their 32-bit hash alone.

A ghost holds no key and no value, so it keeps nothing of the user's alive. Two keys with the same hash share
one ghost: for a million ghosts that misleads one lookup in four thousand, about a hit ratio and never about
a value.

Invariant: each hash is on one list at most. Ghosts are advice: when memory is out, one is lost and nothing
fails. Every operation is O(1). Cost: 12 bytes a ghost and the index's 6.4 to 12.8, +8 when entries have weights.
"""
from libc.stdint cimport uint32_t
from libc.string cimport memset

from core.index cimport (Hashes, Index, Probe, index_close, index_erase, index_fit, index_init,
                         index_insert, index_validate, probe_next, probe_start, MIN_BITS)
from core.slab cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc

cdef extern from "compat.h" nogil:
    void hotset_prefetch(const void* p)

cdef enum:
    GHOST_LISTS = 2        # records 0 and 1 are the lists' sentinels; 0 doubles as "no ghost"
    FIRST_GHOSTS = 16
    SIDE_BIT = 31          # of `prev`: which list; numbers need 28 bits


cdef struct Ghost:
    uint32_t hash
    uint32_t prev          # and the list, in the top bit
    uint32_t next


cdef struct Ghosts:
    Ghost* ghosts          # NULL until the first push
    double* weights        # NULL where every ghost weighs 1
    Index index
    double weight[GHOST_LISTS]     # sum of each list
    uint32_t count[GHOST_LISTS]
    uint32_t capacity
    uint32_t top
    uint32_t free          # chain through `next`
    bint weighted


cdef inline Hashes ghosts_hashes(Ghosts* g) noexcept nogil:
    cdef Hashes hashes
    hashes.base = <char*>&g.ghosts[0].hash
    hashes.stride = sizeof(Ghost)
    return hashes


cdef inline uint32_t ghosts_side(Ghosts* g, uint32_t n) noexcept nogil:
    """Which list a ghost is on."""
    return g.ghosts[n].prev >> SIDE_BIT


cdef inline uint32_t ghosts_prev(Ghosts* g, uint32_t n) noexcept nogil:
    return g.ghosts[n].prev & ~(<uint32_t>1 << SIDE_BIT)


cdef inline void ghosts_set_prev(Ghosts* g, uint32_t n, uint32_t prev, uint32_t side) noexcept nogil:
    g.ghosts[n].prev = prev | (side << SIDE_BIT)


cdef inline void ghosts_init(Ghosts* g, bint weighted) noexcept nogil:
    memset(g, 0, sizeof(Ghosts))
    g.weighted = weighted


cdef inline void ghosts_close(Ghosts* g) noexcept nogil:
    PyMem_RawFree(g.ghosts)
    PyMem_RawFree(g.weights)
    index_close(&g.index)
    g.ghosts = NULL
    g.weights = NULL


cdef inline void ghosts_clear(Ghosts* g) noexcept nogil:
    cdef bint weighted = g.weighted
    ghosts_close(g)
    ghosts_init(g, weighted)


cdef inline uint32_t ghosts_find(Ghosts* g, uint32_t hash) noexcept nogil:
    """The ghost of that hash, or 0."""
    cdef Probe probe
    cdef uint32_t n
    if g.ghosts == NULL:
        return 0
    probe_start(&g.index, &probe, hash)
    while True:
        n = probe_next(&g.index, &probe)
        if n == 0 or g.ghosts[n].hash == hash:
            return n


cdef inline double ghosts_weight(Ghosts* g, uint32_t n) noexcept nogil:
    return g.weights[n] if g.weights != NULL else 1.0


cdef inline void ghosts_remove(Ghosts* g, uint32_t n) noexcept nogil:
    """Forget ghost n."""
    cdef Ghost* ghost = &g.ghosts[n]
    cdef uint32_t prev = ghosts_prev(g, n)
    cdef uint32_t side = ghosts_side(g, n)
    index_erase(&g.index, ghosts_hashes(g), ghost.hash, n)
    g.ghosts[prev].next = ghost.next
    ghosts_set_prev(g, ghost.next, prev, side)
    g.weight[side] -= ghosts_weight(g, n)
    g.count[side] -= 1
    if g.count[side] == 0:
        g.weight[side] = 0.0            # what rounding left over must not add up
    ghost.next = g.free
    g.free = n


cdef inline int ghosts_room(Ghosts* g) noexcept nogil:
    """See to it that one ghost fits; -1 when memory is out, nothing changed."""
    cdef uint32_t capacity, side
    cdef void* p
    if g.ghosts == NULL:
        if index_init(&g.index, MIN_BITS) != 0:
            return -1
        g.ghosts = <Ghost*>PyMem_RawCalloc(FIRST_GHOSTS, sizeof(Ghost))
        if g.ghosts == NULL:
            index_close(&g.index)
            return -1
        g.capacity = FIRST_GHOSTS
        g.top = GHOST_LISTS
        for side in range(GHOST_LISTS):
            ghosts_set_prev(g, side, side, side)
            g.ghosts[side].next = side
    if g.weighted and g.weights == NULL:
        g.weights = <double*>PyMem_RawCalloc(g.capacity, sizeof(double))
        if g.weights == NULL:
            return -1
    if g.free == 0 and g.top == g.capacity:
        capacity = g.capacity + g.capacity // 2
        if index_fit(&g.index, ghosts_hashes(g), g.index.used + 1, capacity) != 0:
            return -1
        if g.weighted:
            p = PyMem_RawRealloc(g.weights, capacity * sizeof(double))
            if p == NULL:
                return -1
            g.weights = <double*>p
        p = PyMem_RawRealloc(g.ghosts, capacity * sizeof(Ghost))
        if p == NULL:
            return -1
        g.ghosts = <Ghost*>p
        g.capacity = capacity
    return index_fit(&g.index, ghosts_hashes(g), g.index.used + 1, g.capacity)


cdef inline void ghosts_push(Ghosts* g, uint32_t side, uint32_t hash, double weight) noexcept nogil:
    """Remember a hash as the youngest of a list."""
    cdef uint32_t n = ghosts_find(g, hash)
    cdef Ghost* ghost
    if n != 0:
        ghosts_remove(g, n)
    if ghosts_room(g) != 0:
        return
    if g.free != 0:
        n = g.free
        g.free = g.ghosts[n].next
    else:
        n = g.top
        g.top += 1
    ghost = &g.ghosts[n]
    ghost.hash = hash
    ghost.next = g.ghosts[side].next
    ghosts_set_prev(g, n, side, side)
    ghosts_set_prev(g, ghost.next, n, side)
    g.ghosts[side].next = n
    if g.weighted:
        g.weights[n] = weight
    g.weight[side] += ghosts_weight(g, n)
    g.count[side] += 1
    index_insert(&g.index, hash, n)


cdef inline void ghosts_drop_oldest(Ghosts* g, uint32_t side) noexcept nogil:
    """Forget the oldest ghost of a list that has one."""
    ghosts_remove(g, ghosts_prev(g, side))


cdef inline void ghosts_prefetch(Ghosts* g, uint32_t hash) noexcept nogil:
    """Have fetched what a look for a hash begins with."""
    hotset_prefetch(&g.index.slots[hash >> g.index.shift])


cdef inline void ghosts_prefetch_oldest(Ghosts* g, uint32_t side) noexcept nogil:
    """Have fetched what ghosts_drop_oldest will touch, in a list that may be empty."""
    cdef uint32_t n = ghosts_prev(g, side)
    ghosts_prefetch(g, g.ghosts[n].hash)
    hotset_prefetch(&g.ghosts[ghosts_prev(g, n)])


cdef inline bint ghosts_validate(Ghosts* g) noexcept nogil:
    """Both rings are doubly linked, their counts are right, and the index finds each ghost."""
    cdef uint32_t side, n, count
    if g.ghosts == NULL:
        return g.count[0] == 0 and g.count[1] == 0
    for side in range(GHOST_LISTS):
        count = 0
        n = g.ghosts[side].next
        while n != side:
            if ghosts_side(g, n) != side or ghosts_prev(g, g.ghosts[n].next) != n or count == g.count[side]:
                return False
            if ghosts_find(g, g.ghosts[n].hash) != n:
                return False
            count += 1
            n = g.ghosts[n].next
        if count != g.count[side]:
            return False
    return g.index.used == g.count[0] + g.count[1] and index_validate(&g.index, ghosts_hashes(g))
