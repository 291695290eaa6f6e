# cython: cdivision=True
"""S3-FIFO: a small queue that sifts new entries, a main queue, and ghosts of what the small one let go.

Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023. A new entry goes to the
small queue, or to the main one if it is a ghost. Uses are counted up to 3. The entry at the back of the small queue
moves to the main one if it was used at least ``PROMOTE_USES`` times, and else is evicted and becomes a ghost. The one
at the back of the main queue goes to its front for each use that it has, and else is evicted.

Invariant: an entry's ``mark`` is its queue and its uses; what the ghosts weighed is 0.9 of the capacity at most. A hit
is a store of one word. Finding a victim is O(1) amortized: each step takes back a use, or moves an entry to the main
queue for good. Cost: a ghost (see ghosts) for every entry that the small queue lets go.

Where this differs from the paper:
- The main queue is asked for the victim when it weighs more than its share, not whenever the small one weighs less than
  its own; and while a cache fills for the first time, what comes when the small queue is full goes to the main one.
  Both are in the authors' current code (libCacheSim); the second makes 2.2 points in the mean of the shorter traces.
- A write to a key that is there counts as a use.
"""
from libc.math cimport floor
from libc.stdint cimport uint32_t, uint64_t

from core.ghosts cimport (Ghosts, ghosts_clear, ghosts_close, ghosts_drop_oldest, ghosts_find, ghosts_init, ghosts_prefetch,
                          ghosts_prefetch_oldest, ghosts_push, ghosts_remove, ghosts_room, ghosts_validate)
from core.links cimport list_back, list_empty, list_init, list_move_front, list_push_front, list_remove
from core.slab cimport NIL, Slab, slab_weight
from policy.contract cimport CALL_HIT, Policy

cdef enum:
    SMALL = 0              # sentinels of the queues, and the low bit of `mark`
    MAIN = 1
    ONE_USE = 2            # of `mark`
    MOST_USES = 3
    PROMOTE_USES = 2
    GONE = 0               # side of the ghosts

cdef enum:                 # percent of the capacity
    SMALL_SHARE = 10
    GHOST_SHARE = 90


cdef struct S3FIFO:
    Ghosts ghosts
    double small_max
    double main_max
    double ghost_max
    double weights[2]      # by queue
    uint32_t into          # queue that the prepared key goes to
    bint evicting          # it has been full once


cdef inline void s3fifo_share(S3FIFO* s, Slab* slab, double capacity) noexcept nogil:
    s.small_max = capacity * (SMALL_SHARE / 100.0)
    s.ghost_max = capacity * (GHOST_SHARE / 100.0)
    if slab.weights == NULL:
        s.small_max = floor(s.small_max)
        s.ghost_max = floor(s.ghost_max)
    s.main_max = capacity - s.small_max if s.small_max < capacity else 0.0      # 0 also without a bound


cdef inline void s3fifo_empty(S3FIFO* s, Slab* slab) noexcept nogil:
    list_init(slab.entries, SMALL)
    list_init(slab.entries, MAIN)
    s.weights[SMALL] = s.weights[MAIN] = 0.0
    s.into = SMALL
    s.evicting = False


cdef inline int s3fifo_init(void* state, Slab* slab, double capacity) noexcept nogil:
    cdef S3FIFO* s = <S3FIFO*>state
    ghosts_init(&s.ghosts, slab.weights != NULL)
    s3fifo_share(s, slab, capacity)
    s3fifo_empty(s, slab)
    return 0


cdef inline void s3fifo_close(void* state) noexcept nogil:
    ghosts_close(&(<S3FIFO*>state).ghosts)


cdef inline void s3fifo_trim(S3FIFO* s) noexcept nogil:
    """Forget the ghosts that there is no room for."""
    while s.ghosts.count[GONE] and s.ghosts.weight[GONE] > s.ghost_max:
        ghosts_drop_oldest(&s.ghosts, GONE)


cdef inline int s3fifo_resize(void* state, Slab* slab, double capacity) noexcept nogil:
    s3fifo_share(<S3FIFO*>state, slab, capacity)
    s3fifo_trim(<S3FIFO*>state)
    return 0


cdef inline int s3fifo_reserve(void* state, Slab* slab) noexcept nogil:
    """Room for the ghost of one victim; with weights there can be more victims, whose ghosts may be lost."""
    return ghosts_room(&(<S3FIFO*>state).ghosts)


cdef inline void s3fifo_prepare(void* state, Slab* slab, uint32_t hash) noexcept nogil:
    """A key that is a ghost goes to the main queue, and ceases to be one."""
    cdef S3FIFO* s = <S3FIFO*>state
    cdef uint32_t n = ghosts_find(&s.ghosts, hash)
    s.into = SMALL
    if n != 0:
        s.into = MAIN
        ghosts_remove(&s.ghosts, n)


cdef inline void s3fifo_leave(S3FIFO* s, Slab* slab, uint32_t e) noexcept nogil:
    """Take an entry out of its queue."""
    cdef uint32_t queue = slab.entries[e].mark & 1
    list_remove(slab.entries, e)
    s.weights[queue] -= slab_weight(slab, e)
    if list_empty(slab.entries, queue):
        s.weights[queue] = 0.0          # what rounding left over must not add up


cdef inline void s3fifo_enter(S3FIFO* s, Slab* slab, uint32_t e, uint32_t mark) noexcept nogil:
    """Put an entry at the front of the queue that the mark says."""
    slab.entries[e].mark = mark
    list_push_front(slab.entries, mark & 1, e)
    s.weights[mark & 1] += slab_weight(slab, e)


cdef inline uint32_t s3fifo_victim(void* state, Slab* slab) noexcept nogil:
    cdef S3FIFO* s = <S3FIFO*>state
    cdef uint32_t e
    if slab.live:           # who asks in vain leaves no trace
        s.evicting = True
    while not list_empty(slab.entries, SMALL) and s.weights[MAIN] <= s.main_max:
        e = list_back(slab.entries, SMALL)
        if slab.entries[e].mark < PROMOTE_USES * ONE_USE:
            return e
        s3fifo_leave(s, slab, e)
        s3fifo_enter(s, slab, e, MAIN)
    while not list_empty(slab.entries, MAIN):
        e = list_back(slab.entries, MAIN)
        if slab.entries[e].mark < ONE_USE:
            return e
        slab.entries[e].mark -= ONE_USE
        list_move_front(slab.entries, MAIN, e)
    return NIL


cdef inline uint32_t s3fifo_foresee(void* state, Slab* slab) noexcept nogil:
    """The next to be looked at. What its ghost and the ghost that makes room for it touch is fetched, too."""
    cdef S3FIFO* s = <S3FIFO*>state
    cdef bint small = not list_empty(slab.entries, SMALL) and s.weights[MAIN] <= s.main_max
    cdef uint32_t e = list_back(slab.entries, SMALL if small else MAIN)
    if small and s.ghosts.count[GONE]:
        ghosts_prefetch(&s.ghosts, slab.entries[e].hash)
        ghosts_prefetch_oldest(&s.ghosts, GONE)
    return e


cdef inline void s3fifo_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef S3FIFO* s = <S3FIFO*>state
    if not s.evicting and s.weights[SMALL] >= s.small_max:
        s.into = MAIN
    s3fifo_enter(s, slab, e, s.into)
    s.into = SMALL


cdef inline void s3fifo_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    if slab.entries[e].mark < MOST_USES * ONE_USE:
        slab.entries[e].mark += ONE_USE


cdef inline void s3fifo_reweigh(void* state, Slab* slab, uint32_t e, double old) noexcept nogil:
    (<S3FIFO*>state).weights[slab.entries[e].mark & 1] += slab_weight(slab, e) - old


cdef inline void s3fifo_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    cdef S3FIFO* s = <S3FIFO*>state
    s3fifo_leave(s, slab, e)
    if evicted and slab.entries[e].mark & 1 == SMALL:
        ghosts_push(&s.ghosts, GONE, slab.entries[e].hash, slab_weight(slab, e))
        s3fifo_trim(s)


cdef inline void s3fifo_clear(void* state, Slab* slab) noexcept nogil:
    ghosts_clear(&(<S3FIFO*>state).ghosts)
    s3fifo_empty(<S3FIFO*>state, slab)


cdef inline uint32_t s3fifo_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """The small queue from its back, then the main one."""
    cdef uint32_t queue = SMALL if e == NIL else slab.entries[e].mark & 1
    e = slab.entries[queue if e == NIL else e].prev
    if e == queue and queue == SMALL:
        queue = MAIN
        e = list_back(slab.entries, MAIN)
    return NIL if e == queue else e


cdef inline uint64_t s3fifo_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """An entry's queue and uses; whether the cache was full once, for the policy."""
    return slab.entries[e].mark if e != NIL else (<S3FIFO*>state).evicting


cdef inline void s3fifo_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    cdef S3FIFO* s = <S3FIFO*>state
    if e == NIL:
        s.evicting = rank != 0
    else:
        s3fifo_enter(s, slab, e, <uint32_t>(rank & (MOST_USES * ONE_USE + MAIN)))


cdef inline bint s3fifo_validate(void* state, Slab* slab) noexcept nogil:
    """Each ring is doubly linked, its entries know it and weigh what is said; the ghosts keep within their bound."""
    cdef S3FIFO* s = <S3FIFO*>state
    cdef uint32_t queue, e, before, n = 0
    cdef double weight, slack
    for queue in range(<uint32_t>2):
        e = queue
        weight = 0.0
        while True:
            before = slab.entries[e].prev
            if slab.entries[before].next != e:
                return False
            if before == queue:
                break
            if slab.entries[before].key == NULL or slab.entries[before].mark & 1 != queue or n == slab.live:
                return False
            weight += slab_weight(slab, before)
            n += 1
            e = before
        slack = 1e-6 * (1.0 + weight)
        if not weight - slack <= s.weights[queue] <= weight + slack:
            return False
    if s.ghosts.count[GONE] and s.ghosts.weight[GONE] > s.ghost_max:
        return False
    return n == slab.live and ghosts_validate(&s.ghosts)


cdef inline void s3fifo_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(S3FIFO)
    p.init = s3fifo_init
    p.close = s3fifo_close
    p.resize = s3fifo_resize
    p.reserve = s3fifo_reserve
    p.prepare = s3fifo_prepare
    p.victim = s3fifo_victim
    p.insert = s3fifo_insert
    p.hit = s3fifo_hit
    p.on_hit = CALL_HIT
    p.update = s3fifo_hit
    p.reweigh = s3fifo_reweigh
    p.remove = s3fifo_remove
    p.clear = s3fifo_clear
    p.foresee = s3fifo_foresee
    p.walk = s3fifo_walk
    p.rank = s3fifo_rank
    p.restore = s3fifo_restore
    p.validate = s3fifo_validate
