# cython: cdivision=True
"""ARC: balances recency and frequency by what it would have hit had it kept more of either.

Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003. T1 holds entries used once lately, T2 those
used at least twice; B1 and B2 are the ghosts of what left them. A miss on a ghost moves the target size p of T1.

Invariant: |T1|+|T2| <= c, |T1|+|B1| <= c, all four <= 2c, 0 <= p <= c. Every verb is O(1) but for the ghosts that
a heavy entry pushes out. Cost: a ghost (see ghosts) for every entry evicted, c at most.

Where this differs from the paper:
- Sizes are sums of weights, which are the paper's page counts when every entry weighs 1.
- The paper trims ghosts before an insertion, here they are trimmed after it; the same ghosts go.
- A deletion or expiry frees room, so a miss may need no victim: the paper's caches are always full by then.
- A write to a key that is there counts as a use.
"""
from libc.stdint cimport uint32_t, uint64_t

from core.ghosts cimport (Ghosts, ghosts_clear, ghosts_close, ghosts_drop_oldest, ghosts_find, ghosts_init,
                          ghosts_prefetch, ghosts_prefetch_oldest, ghosts_push, ghosts_remove, ghosts_room, ghosts_side,
                          ghosts_validate)
from core.links cimport list_back, list_empty, list_init, list_push_front, list_remove
from core.slab cimport NIL, Slab, slab_weight
from policy.contract cimport CALL_HIT, Policy

cdef enum:
    T1 = 0                 # sentinels of the two lists, and what `mark` says
    T2 = 1
    B1 = 0                 # sides of the ghosts
    B2 = 1


cdef struct ARC:
    Ghosts ghosts
    double capacity        # c
    double target          # p
    double weight[2]       # |T1|, |T2|
    uint32_t into          # list that the prepared key goes to
    bint from_b2           # the prepared key was in B2


cdef inline int arc_init(void* state, Slab* slab, double capacity) noexcept nogil:
    cdef ARC* arc = <ARC*>state
    arc.capacity = capacity
    ghosts_init(&arc.ghosts, slab.weights != NULL)
    list_init(slab.entries, T1)
    list_init(slab.entries, T2)
    return 0


cdef inline void arc_close(void* state) noexcept nogil:
    ghosts_close(&(<ARC*>state).ghosts)


cdef inline void arc_trim(ARC* arc) noexcept nogil:
    """Forget the ghosts that the bounds leave no room for."""
    cdef Ghosts* g = &arc.ghosts
    while g.count[B1] and arc.weight[T1] + g.weight[B1] > arc.capacity:
        ghosts_drop_oldest(g, B1)
    while g.count[B2] and arc.weight[T1] + arc.weight[T2] + g.weight[B1] + g.weight[B2] > 2 * arc.capacity:
        ghosts_drop_oldest(g, B2)


cdef inline int arc_resize(void* state, Slab* slab, double capacity) noexcept nogil:
    cdef ARC* arc = <ARC*>state
    arc.capacity = capacity
    arc.target = min(arc.target, capacity)
    arc_trim(arc)
    return 0


cdef inline int arc_reserve(void* state, Slab* slab) noexcept nogil:
    """Room for the ghost of one victim; with weights there can be more victims, whose ghosts may be lost."""
    return ghosts_room(&(<ARC*>state).ghosts)


cdef inline void arc_prepare(void* state, Slab* slab, uint32_t hash) noexcept nogil:
    """Adapt the target if the key is a ghost, which it then ceases to be."""
    cdef ARC* arc = <ARC*>state
    cdef Ghosts* g = &arc.ghosts
    cdef uint32_t n = ghosts_find(g, hash)
    arc.from_b2 = False
    arc.into = T1
    if n == 0:
        return
    arc.into = T2
    if ghosts_side(g, n) == B1:
        arc.target = min(arc.capacity, arc.target + max(1.0, g.weight[B2] / g.weight[B1] if g.weight[B1] else 1.0))
    else:
        arc.from_b2 = True
        arc.target = max(0.0, arc.target - max(1.0, g.weight[B1] / g.weight[B2] if g.weight[B2] else 1.0))
    ghosts_remove(g, n)


cdef inline uint32_t arc_victim(void* state, Slab* slab) noexcept nogil:
    """The paper's REPLACE."""
    cdef ARC* arc = <ARC*>state
    cdef double t1 = arc.weight[T1]
    if not list_empty(slab.entries, T1) and (
            t1 > arc.target or (arc.from_b2 and t1 == arc.target) or list_empty(slab.entries, T2)):
        return list_back(slab.entries, T1)
    if list_empty(slab.entries, T2):
        return NIL
    return list_back(slab.entries, T2)


cdef inline uint32_t arc_foresee(void* state, Slab* slab) noexcept nogil:
    """Right unless the next key is a ghost. What its ghost and the ghosts that make room for it touch is fetched, too."""
    cdef Ghosts* g = &(<ARC*>state).ghosts
    cdef uint32_t e = arc_victim(state, slab)
    if g.count[B1] + g.count[B2]:
        ghosts_prefetch(g, slab.entries[e].hash)
        ghosts_prefetch_oldest(g, B1)
        ghosts_prefetch_oldest(g, B2)
    return e


cdef inline void arc_link(ARC* arc, Slab* slab, uint32_t e, uint32_t where) noexcept nogil:
    slab.entries[e].mark = where
    list_push_front(slab.entries, where, e)
    arc.weight[where] += slab_weight(slab, e)


cdef inline void arc_unlink(ARC* arc, Slab* slab, uint32_t e) noexcept nogil:
    cdef uint32_t where = slab.entries[e].mark
    list_remove(slab.entries, e)
    arc.weight[where] -= slab_weight(slab, e)
    if list_empty(slab.entries, where):
        arc.weight[where] = 0.0         # what rounding left over must not add up


cdef inline void arc_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef ARC* arc = <ARC*>state
    arc_link(arc, slab, e, arc.into)
    arc.from_b2 = False
    arc.into = T1
    arc_trim(arc)


cdef inline void arc_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef ARC* arc = <ARC*>state
    if slab.entries[e].mark == T2:
        if slab.entries[T2].next == e:
            return
        list_remove(slab.entries, e)
        list_push_front(slab.entries, T2, e)
    else:
        arc_unlink(arc, slab, e)
        arc_link(arc, slab, e, T2)


cdef inline void arc_reweigh(void* state, Slab* slab, uint32_t e, double old) noexcept nogil:
    cdef ARC* arc = <ARC*>state
    arc.weight[slab.entries[e].mark] += slab_weight(slab, e) - old
    arc_trim(arc)


cdef inline void arc_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    cdef ARC* arc = <ARC*>state
    arc_unlink(arc, slab, e)
    if evicted:
        ghosts_push(&arc.ghosts, slab.entries[e].mark, slab.entries[e].hash, slab_weight(slab, e))
        arc_trim(arc)


cdef inline void arc_clear(void* state, Slab* slab) noexcept nogil:
    cdef ARC* arc = <ARC*>state
    ghosts_clear(&arc.ghosts)
    arc.target = 0.0
    arc.weight[T1] = 0.0
    arc.weight[T2] = 0.0
    arc.from_b2 = False
    arc.into = T1
    list_init(slab.entries, T1)
    list_init(slab.entries, T2)


cdef inline uint32_t arc_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """T1 from its back, then T2 from its back."""
    cdef uint32_t where = T1 if e == NIL else slab.entries[e].mark
    e = slab.entries[where if e == NIL else e].prev
    if e == where and where == T1:
        where = T2
        e = slab.entries[T2].prev
    return NIL if e == where else e


cdef inline uint64_t arc_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """An entry's list; the target, in units of 2**-20 of the capacity, for the policy."""
    cdef ARC* arc = <ARC*>state
    if e != NIL:
        return slab.entries[e].mark
    return <uint64_t>(arc.target / arc.capacity * 1048576.0) if arc.capacity > 0.0 else 0


cdef inline void arc_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    cdef ARC* arc = <ARC*>state
    if e == NIL:
        if rank != 0:                   # 0 times an infinite capacity is not a number
            arc.target = min(arc.capacity, <double>rank / 1048576.0 * arc.capacity)
        return
    arc_link(<ARC*>state, slab, e, T2 if rank == T2 else T1)


cdef inline bint arc_validate(void* state, Slab* slab) noexcept nogil:
    cdef ARC* arc = <ARC*>state
    cdef uint32_t where, e, before, n = 0
    cdef double slack, weight
    for where in range(2):
        weight = 0.0
        e = where
        while True:
            before = slab.entries[e].prev
            if slab.entries[before].next != e:
                return False
            if before == where:
                break
            e = before
            if slab.entries[e].key == NULL or slab.entries[e].mark != where or n == slab.live:
                return False
            weight += slab_weight(slab, e)
            n += 1
        slack = 1e-6 * (1.0 + weight)
        if not (weight - slack <= arc.weight[where] <= weight + slack):
            return False
    slack = 1e-6 * (1.0 + arc.capacity)
    if not 0.0 <= arc.target <= arc.capacity:
        return False
    if arc.ghosts.count[B1] and arc.weight[T1] + arc.ghosts.weight[B1] > arc.capacity + slack:
        return False
    return n == slab.live and ghosts_validate(&arc.ghosts)


cdef inline void arc_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(ARC)
    p.init = arc_init
    p.close = arc_close
    p.resize = arc_resize
    p.reserve = arc_reserve
    p.prepare = arc_prepare
    p.victim = arc_victim
    p.insert = arc_insert
    p.hit = arc_hit
    p.on_hit = CALL_HIT
    p.update = arc_hit
    p.reweigh = arc_reweigh
    p.remove = arc_remove
    p.clear = arc_clear
    p.foresee = arc_foresee
    p.walk = arc_walk
    p.rank = arc_rank
    p.restore = arc_restore
    p.validate = arc_validate
