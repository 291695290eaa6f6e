# cython: cdivision=True
"""LIRS: keeps the entries that come back at the shortest intervals, and tells others by whether they came back sooner than
these.

Jiang and Zhang, "LIRS: an efficient low inter-reference recency set replacement policy to improve buffer cache
performance", SIGMETRICS 2002. The hot entries (LIR) have 99 % of the capacity; the cold ones (resident HIR) wait in a
queue, whose back is the victim. A cold entry or a ghost that is used again while the oldest hot entry has not been
becomes hot, and that one cold.

The paper's stack S is not there as a list. A key is on S exactly if it was used after the oldest hot entry was, so each
entry and ghost carries the time of its latest use, and one comparison says whether it is on S. Time advances with each
use of a key that is not hot; hot ones are told apart by their order. What pruning would take off S has too old a time
by itself; ghosts go then, which are in the order of their times.

Invariant: ``mark`` is the time of an entry's latest use and, in its lowest bit, whether it is hot; the hot list is in
the order of these times; ghosts are younger than the oldest hot entry. Every verb is O(1) amortized: an entry cools as
often as it has become hot, a ghost goes once. Cost: a ghost of 20 bytes and its place in an index (see ghosts) for what
was evicted lately, two for each entry at most.

Where this differs from the paper:
- Ghosts are bounded by twice the capacity (with weights, twice the number of entries), the oldest going first; the
  paper's stack is not. Once the capacity loses 0.6 points in the mean of the shorter traces.
- A cold entry that is used twice in a row, with nothing between, stays cold, as in Caffeine's simulator: 0.1 points.
- With entries so heavy that the queue is empty, the oldest hot entry is the victim.
- A write to a key that is there counts as a use.
- Times have 30 bits and are halved when these run out: once in a billion uses of keys that are not hot, neighbours can
  seem of one time.
"""
from libc.math cimport floor
from libc.stdint cimport uint32_t, uint64_t

from core.ghosts cimport (Ghosts, ghosts_clear, ghosts_close, ghosts_drop_oldest, ghosts_find, ghosts_init, ghosts_prefetch,
                          ghosts_prefetch_oldest, ghosts_prev, ghosts_push, ghosts_remove, ghosts_room, ghosts_validate)
from core.links cimport list_back, list_empty, list_init, list_move_front, list_push_front, list_remove
from core.slab cimport NIL, Slab, slab_weight
from policy.contract cimport CALL_HIT, Policy

cdef enum:
    HOT = 0                # sentinels
    COLD = 1
    HOT_BIT = 1            # of `mark`
    GONE = 0               # side of the ghosts, whose "weights" are times
    GHOSTS_PER_ENTRY = 2
    HOT_SHARE = 99         # percent of the capacity
    LAST_TIME = 1 << 30


cdef struct LIRS:
    Ghosts ghosts
    double capacity
    double hot_max
    double hot_weight
    uint32_t time
    uint32_t latest        # the entry that was used last, if it is there still
    bint known             # the prepared key is a ghost


cdef inline void lirs_share(LIRS* s, Slab* slab, double capacity) noexcept nogil:
    s.capacity = capacity
    s.hot_max = capacity * (HOT_SHARE / 100.0)
    if slab.weights == NULL:
        s.hot_max = floor(s.hot_max)


cdef inline void lirs_empty(LIRS* s, Slab* slab) noexcept nogil:
    list_init(slab.entries, HOT)
    list_init(slab.entries, COLD)
    s.hot_weight = 0.0
    s.time = 0
    s.latest = NIL
    s.known = False


cdef inline int lirs_init(void* state, Slab* slab, double capacity) noexcept nogil:
    cdef LIRS* s = <LIRS*>state
    ghosts_init(&s.ghosts, True)
    lirs_share(s, slab, capacity)
    lirs_empty(s, slab)
    return 0


cdef inline void lirs_close(void* state) noexcept nogil:
    ghosts_close(&(<LIRS*>state).ghosts)


cdef inline bint lirs_stacked(Slab* slab, uint32_t time) noexcept nogil:
    """Whether what was used at that time last is on the stack S."""
    cdef uint32_t oldest = list_back(slab.entries, HOT)
    return oldest != HOT and time > slab.entries[oldest].mark >> 1


cdef inline void lirs_trim(LIRS* s, Slab* slab) noexcept nogil:
    """Forget the ghosts that are off the stack, and those that there is no room for."""
    cdef Ghosts* g = &s.ghosts
    cdef double most = GHOSTS_PER_ENTRY * (s.capacity if slab.weights == NULL else slab.live)
    while g.count[GONE] and (g.count[GONE] > most or
                             not lirs_stacked(slab, <uint32_t>g.weights[ghosts_prev(g, GONE)])):
        ghosts_drop_oldest(g, GONE)


cdef inline void lirs_chill(LIRS* s, Slab* slab) noexcept nogil:
    """Have the oldest hot entries cool while the hot ones are over their share."""
    cdef uint32_t oldest
    while s.hot_weight > s.hot_max and not list_empty(slab.entries, HOT):
        oldest = list_back(slab.entries, HOT)
        lirs_leave(s, slab, oldest)
        slab.entries[oldest].mark &= ~<uint32_t>HOT_BIT
        list_push_front(slab.entries, COLD, oldest)
    lirs_trim(s, slab)


cdef inline void lirs_leave(LIRS* s, Slab* slab, uint32_t e) noexcept nogil:
    """Take an entry out of its list."""
    list_remove(slab.entries, e)
    if slab.entries[e].mark & HOT_BIT:
        s.hot_weight -= slab_weight(slab, e)
        if list_empty(slab.entries, HOT):
            s.hot_weight = 0.0          # what rounding left over must not add up


cdef inline void lirs_warm(LIRS* s, Slab* slab, uint32_t e) noexcept nogil:
    """Make an entry that is in no list the youngest hot one."""
    slab.entries[e].mark = s.time << 1 | HOT_BIT
    list_push_front(slab.entries, HOT, e)
    s.hot_weight += slab_weight(slab, e)
    lirs_chill(s, slab)


cdef inline uint32_t lirs_tick(LIRS* s, Slab* slab) noexcept nogil:
    """The time of a use of a key that is not hot."""
    cdef Ghosts* g = &s.ghosts
    cdef uint32_t where, e, n
    if s.time >= LAST_TIME:
        s.time >>= 1
        for where in range(<uint32_t>2):
            e = list_back(slab.entries, where)
            while e != where:
                slab.entries[e].mark = slab.entries[e].mark >> 2 << 1 | slab.entries[e].mark & HOT_BIT
                e = slab.entries[e].prev
        if g.count[GONE]:
            n = ghosts_prev(g, GONE)
            while n != GONE:
                g.weights[n] = floor(g.weights[n] / 2)
                n = ghosts_prev(g, n)
        lirs_trim(s, slab)
    s.time += 1
    return s.time


cdef inline int lirs_resize(void* state, Slab* slab, double capacity) noexcept nogil:
    lirs_share(<LIRS*>state, slab, capacity)
    lirs_chill(<LIRS*>state, slab)
    return 0


cdef inline int lirs_reserve(void* state, Slab* slab) noexcept nogil:
    """Room for the ghost of one victim; with weights there can be more victims, whose ghosts may be lost."""
    return ghosts_room(&(<LIRS*>state).ghosts)


cdef inline void lirs_prepare(void* state, Slab* slab, uint32_t hash) noexcept nogil:
    """A key that is a ghost comes in hot, and ceases to be one."""
    cdef LIRS* s = <LIRS*>state
    cdef uint32_t n = ghosts_find(&s.ghosts, hash)
    s.known = n != 0
    if n != 0:
        ghosts_remove(&s.ghosts, n)


cdef inline uint32_t lirs_victim(void* state, Slab* slab) noexcept nogil:
    cdef uint32_t e = list_back(slab.entries, COLD)
    return e if e != COLD else list_back(slab.entries, HOT)     # the sentinel of the hot ones is NIL


cdef inline uint32_t lirs_foresee(void* state, Slab* slab) noexcept nogil:
    """Right unless the queue is about to get a hot entry back. What its ghost will touch is fetched, too."""
    cdef LIRS* s = <LIRS*>state
    cdef uint32_t e = lirs_victim(state, slab)
    if s.ghosts.count[GONE]:
        ghosts_prefetch(&s.ghosts, slab.entries[e].hash)
        ghosts_prefetch_oldest(&s.ghosts, GONE)
    return e


cdef inline void lirs_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef LIRS* s = <LIRS*>state
    cdef uint32_t time = lirs_tick(s, slab)
    if s.known or s.hot_weight + slab_weight(slab, e) <= s.hot_max:
        lirs_warm(s, slab, e)
    else:
        slab.entries[e].mark = time << 1
        list_push_front(slab.entries, COLD, e)
    s.latest = e
    s.known = False


cdef inline void lirs_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef LIRS* s = <LIRS*>state
    cdef uint32_t latest = s.latest
    s.latest = e
    if slab.entries[e].mark & HOT_BIT:
        slab.entries[e].mark = s.time << 1 | HOT_BIT
        if list_back(slab.entries, HOT) == e:
            list_move_front(slab.entries, HOT, e)
            lirs_trim(s, slab)
        else:
            list_move_front(slab.entries, HOT, e)
    elif latest != e and lirs_stacked(slab, slab.entries[e].mark >> 1):
        lirs_tick(s, slab)
        list_remove(slab.entries, e)
        lirs_warm(s, slab, e)
    else:
        list_move_front(slab.entries, COLD, e)
        slab.entries[e].mark = lirs_tick(s, slab) << 1


cdef inline void lirs_reweigh(void* state, Slab* slab, uint32_t e, double old) noexcept nogil:
    cdef LIRS* s = <LIRS*>state
    if slab.entries[e].mark & HOT_BIT:
        s.hot_weight += slab_weight(slab, e) - old
        lirs_chill(s, slab)


cdef inline void lirs_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    cdef LIRS* s = <LIRS*>state
    cdef uint32_t mark = slab.entries[e].mark
    lirs_leave(s, slab, e)
    if s.latest == e:
        s.latest = NIL
    if evicted and not mark & HOT_BIT and lirs_stacked(slab, mark >> 1):
        ghosts_push(&s.ghosts, GONE, slab.entries[e].hash, mark >> 1)
    lirs_trim(s, slab)


cdef inline void lirs_clear(void* state, Slab* slab) noexcept nogil:
    ghosts_clear(&(<LIRS*>state).ghosts)
    lirs_empty(<LIRS*>state, slab)


cdef inline uint32_t lirs_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """The cold entries from the next victim on, then the hot ones from the oldest."""
    cdef uint32_t where = COLD if e == NIL or not slab.entries[e].mark & HOT_BIT else HOT
    e = slab.entries[where if e == NIL else e].prev
    return list_back(slab.entries, HOT) if e == COLD else e


cdef inline uint64_t lirs_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """Time and heat; the present for the policy."""
    return slab.entries[e].mark if e != NIL else (<LIRS*>state).time


cdef inline void lirs_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    cdef LIRS* s = <LIRS*>state
    cdef uint32_t mark = <uint32_t>min(rank, <uint64_t>LAST_TIME << 1 | HOT_BIT)
    if e == NIL:
        s.time = max(s.time, <uint32_t>min(rank, <uint64_t>LAST_TIME))
        lirs_chill(s, slab)
        return
    slab.entries[e].mark = mark
    s.time = max(s.time, mark >> 1)
    list_push_front(slab.entries, HOT if mark & HOT_BIT else COLD, e)
    if mark & HOT_BIT:
        s.hot_weight += slab_weight(slab, e)


cdef inline bint lirs_validate(void* state, Slab* slab) noexcept nogil:
    """Both rings are doubly linked and know their entries, the hot one in order of time; ghosts are on the stack, in order."""
    cdef LIRS* s = <LIRS*>state
    cdef uint32_t where, e, before, n = 0, time = 0
    cdef double weight = 0.0, slack
    for where in range(<uint32_t>2):
        e = where
        while True:
            before = slab.entries[e].prev
            if slab.entries[before].next != e:
                return False
            if before == where:
                break
            if slab.entries[before].key == NULL or n == slab.live or slab.entries[before].mark >> 1 > s.time:
                return False
            if (slab.entries[before].mark & HOT_BIT) != (where == HOT):
                return False
            if where == HOT:
                if slab.entries[before].mark >> 1 < time:
                    return False
                time = slab.entries[before].mark >> 1
                weight += slab_weight(slab, before)
            n += 1
            e = before
    slack = 1e-6 * (1.0 + weight)
    if not weight - slack <= s.hot_weight <= weight + slack or s.hot_weight > s.hot_max or n != slab.live:
        return False
    if s.ghosts.count[GONE]:
        n = ghosts_prev(&s.ghosts, GONE)
        time = <uint32_t>s.ghosts.weights[n]
        if not lirs_stacked(slab, time):
            return False
        while n != GONE:
            if <uint32_t>s.ghosts.weights[n] < time:
                return False
            time = <uint32_t>s.ghosts.weights[n]
            n = ghosts_prev(&s.ghosts, n)
    return ghosts_validate(&s.ghosts)


cdef inline void lirs_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(LIRS)
    p.init = lirs_init
    p.close = lirs_close
    p.resize = lirs_resize
    p.reserve = lirs_reserve
    p.prepare = lirs_prepare
    p.victim = lirs_victim
    p.insert = lirs_insert
    p.hit = lirs_hit
    p.on_hit = CALL_HIT
    p.update = lirs_hit
    p.reweigh = lirs_reweigh
    p.remove = lirs_remove
    p.clear = lirs_clear
    p.foresee = lirs_foresee
    p.walk = lirs_walk
    p.rank = lirs_rank
    p.restore = lirs_restore
    p.validate = lirs_validate
