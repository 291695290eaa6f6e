# cython: cdivision=True
"""2Q: a queue for what was used once, an LRU list for what came back after it had left the queue.

Johnson and Shasha, "2Q: a low overhead high performance buffer management replacement algorithm", VLDB 1994, the full
version. A new entry goes to the queue A1in; what leaves that by eviction becomes a ghost in A1out; a key that comes in
while it is a ghost goes to the LRU list Am. Uses in A1in do nothing: what is used several times at once need not be
used again. A1in gives the victim while it weighs more than Kin, Am else.

Kin is a quarter of the capacity and Kout, what the ghosts weighed at most, half of it, as the paper advises.

Invariant: an entry's ``mark`` is the sentinel of its list; the ghosts weigh Kout at most. Every verb is O(1) but for
the ghosts that a heavy entry pushes out. Cost: a ghost (see ghosts) for every entry that A1in lets go.

Where this differs from the paper:
- When Am is empty, A1in gives the victim however small it is; the paper does not say.
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
    A1IN = 0               # sentinels of the lists, and what `mark` says
    AM = 1
    A1OUT = 0              # side of the ghosts

cdef enum:                 # percent of the capacity
    KIN = 25
    KOUT = 50


cdef struct TwoQ:
    Ghosts ghosts
    double kin
    double kout
    double weights[2]      # |A1in|, |Am|
    uint32_t into          # list that the prepared key goes to


cdef inline void twoq_share(TwoQ* s, Slab* slab, double capacity) noexcept nogil:
    s.kin = capacity * (KIN / 100.0)
    s.kout = capacity * (KOUT / 100.0)
    if slab.weights == NULL:
        s.kin = floor(s.kin)
        s.kout = floor(s.kout)


cdef inline void twoq_empty(TwoQ* s, Slab* slab) noexcept nogil:
    list_init(slab.entries, A1IN)
    list_init(slab.entries, AM)
    s.weights[A1IN] = s.weights[AM] = 0.0
    s.into = A1IN


cdef inline int twoq_init(void* state, Slab* slab, double capacity) noexcept nogil:
    cdef TwoQ* s = <TwoQ*>state
    ghosts_init(&s.ghosts, slab.weights != NULL)
    twoq_share(s, slab, capacity)
    twoq_empty(s, slab)
    return 0


cdef inline void twoq_close(void* state) noexcept nogil:
    ghosts_close(&(<TwoQ*>state).ghosts)


cdef inline void twoq_trim(TwoQ* s) noexcept nogil:
    """Forget the ghosts that there is no room for."""
    while s.ghosts.count[A1OUT] and s.ghosts.weight[A1OUT] > s.kout:
        ghosts_drop_oldest(&s.ghosts, A1OUT)


cdef inline int twoq_resize(void* state, Slab* slab, double capacity) noexcept nogil:
    twoq_share(<TwoQ*>state, slab, capacity)
    twoq_trim(<TwoQ*>state)
    return 0


cdef inline int twoq_reserve(void* state, Slab* slab) noexcept nogil:
    """Room for the ghost of one victim; with weights there can be more victims, whose ghosts may be lost."""
    return ghosts_room(&(<TwoQ*>state).ghosts)


cdef inline void twoq_prepare(void* state, Slab* slab, uint32_t hash) noexcept nogil:
    """A key that is a ghost goes to Am, and ceases to be one."""
    cdef TwoQ* s = <TwoQ*>state
    cdef uint32_t n = ghosts_find(&s.ghosts, hash)
    s.into = A1IN
    if n != 0:
        s.into = AM
        ghosts_remove(&s.ghosts, n)


cdef inline uint32_t twoq_victim(void* state, Slab* slab) noexcept nogil:
    """The page that the paper's reclaimfor pages out."""
    cdef TwoQ* s = <TwoQ*>state
    if s.weights[A1IN] > s.kin or list_empty(slab.entries, AM):
        return list_back(slab.entries, A1IN)        # NIL where that is empty, too
    return list_back(slab.entries, AM)


cdef inline uint32_t twoq_foresee(void* state, Slab* slab) noexcept nogil:
    """Right unless the next key is a ghost. What its ghost and the ghost that makes room for it touch is fetched, too."""
    cdef TwoQ* s = <TwoQ*>state
    cdef uint32_t e = twoq_victim(state, slab)
    if s.ghosts.count[A1OUT]:
        ghosts_prefetch(&s.ghosts, slab.entries[e].hash)
        ghosts_prefetch_oldest(&s.ghosts, A1OUT)
    return e


cdef inline void twoq_enter(TwoQ* s, Slab* slab, uint32_t e, uint32_t where) noexcept nogil:
    """Put an entry at the front of a list."""
    slab.entries[e].mark = where
    list_push_front(slab.entries, where, e)
    s.weights[where] += slab_weight(slab, e)


cdef inline void twoq_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef TwoQ* s = <TwoQ*>state
    twoq_enter(s, slab, e, s.into)
    s.into = A1IN


cdef inline void twoq_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    if slab.entries[e].mark == AM:
        list_move_front(slab.entries, AM, e)


cdef inline void twoq_reweigh(void* state, Slab* slab, uint32_t e, double old) noexcept nogil:
    (<TwoQ*>state).weights[slab.entries[e].mark] += slab_weight(slab, e) - old


cdef inline void twoq_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    cdef TwoQ* s = <TwoQ*>state
    cdef uint32_t where = slab.entries[e].mark
    list_remove(slab.entries, e)
    s.weights[where] -= slab_weight(slab, e)
    if list_empty(slab.entries, where):
        s.weights[where] = 0.0          # what rounding left over must not add up
    if evicted and where == A1IN:
        ghosts_push(&s.ghosts, A1OUT, slab.entries[e].hash, slab_weight(slab, e))
        twoq_trim(s)


cdef inline void twoq_clear(void* state, Slab* slab) noexcept nogil:
    ghosts_clear(&(<TwoQ*>state).ghosts)
    twoq_empty(<TwoQ*>state, slab)


cdef inline uint32_t twoq_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """A1in from its back, then Am."""
    cdef uint32_t where = A1IN if e == NIL else slab.entries[e].mark
    e = slab.entries[where if e == NIL else e].prev
    if e == where and where == A1IN:
        where = AM
        e = list_back(slab.entries, AM)
    return NIL if e == where else e


cdef inline uint64_t twoq_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    return slab.entries[e].mark if e != NIL else 0


cdef inline void twoq_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    if e != NIL:
        twoq_enter(<TwoQ*>state, slab, e, AM if rank == AM else A1IN)


cdef inline bint twoq_validate(void* state, Slab* slab) noexcept nogil:
    """Each ring is doubly linked, its entries know it and weigh what is said; the ghosts keep within their bound."""
    cdef TwoQ* s = <TwoQ*>state
    cdef uint32_t where, e, before, n = 0
    cdef double weight, slack
    for where in range(<uint32_t>2):
        e = where
        weight = 0.0
        while True:
            before = slab.entries[e].prev
            if slab.entries[before].next != e:
                return False
            if before == where:
                break
            if slab.entries[before].key == NULL or slab.entries[before].mark != where or n == slab.live:
                return False
            weight += slab_weight(slab, before)
            n += 1
            e = before
        slack = 1e-6 * (1.0 + weight)
        if not weight - slack <= s.weights[where] <= weight + slack:
            return False
    if s.ghosts.count[A1OUT] and s.ghosts.weight[A1OUT] > s.kout:
        return False
    return n == slab.live and ghosts_validate(&s.ghosts)


cdef inline void twoq_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(TwoQ)
    p.init = twoq_init
    p.close = twoq_close
    p.resize = twoq_resize
    p.reserve = twoq_reserve
    p.prepare = twoq_prepare
    p.victim = twoq_victim
    p.insert = twoq_insert
    p.hit = twoq_hit
    p.on_hit = CALL_HIT
    p.update = twoq_hit
    p.reweigh = twoq_reweigh
    p.remove = twoq_remove
    p.clear = twoq_clear
    p.foresee = twoq_foresee
    p.walk = twoq_walk
    p.rank = twoq_rank
    p.restore = twoq_restore
    p.validate = twoq_validate
