# cython: cdivision=True
"""GDSF: evicts what is worth least for its size: uses times cost over size, and an age that rises with each eviction.

Greedy-Dual-Size with frequency: Cherkasova, "Improving WWW proxies performance with Greedy-Dual-Size-Frequency caching
policy", HP Labs 1998; after Cao and Irani, "Cost-aware WWW proxy caching algorithms", USITS 1997. An entry's rank is H
= L + uses * worth / size, set anew with each use. The entry with the least H is the victim, and its H becomes L: what
is not used again is overtaken in time, however often it was used before.

Worth is what the owner says: cost times priority, 1 if nothing is said. An infinite one pins an entry: it is never the
victim.

Entries are in a binary heap, of equal H the one used longest ago first: insertion, hit and removal are O(log n),
finding the victim is O(1). ``walk`` sorts the heap, which stays a heap by that: O(n log n) for the first, O(1) for each
that follows.

Invariant: an entry's ``mark`` is its place in the heap; ``pinned`` is the weight of the pinned entries. Cost: 24 bytes
an entry.

Where this differs from the papers:
- An entry of weight 0 counts as one of weight 1.
- Uses are counted up to 65,535; worth has the 24 bits of a float.
- A write to a key that is there counts as a use, and keeps the worth unless it says another one.
- Where one entry is worth 10**15 times as much as others, H cannot tell these from each other: they go in the order of
  use.
- A copy has ranks to 16 bits, in the same order.
"""
from libc.math cimport INFINITY
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from core.slab cimport NIL, PyMem_RawFree, PyMem_RawRealloc, Slab, slab_weight
from policy.contract cimport CALL_HIT, Policy
from policy.lru cimport lru_prepare, lru_resize

cdef extern from "stdlib.h" nogil:
    void qsort(void* base, size_t n, size_t size, int (*compare)(const void*, const void*) noexcept nogil)

cdef enum:
    FIRST_NODES = 16
    MOST_USES = 65535
    RANK_UNITS = 65535


cdef struct Node:
    double rank            # H
    float worth            # infinite when pinned
    uint32_t e
    uint32_t uses
    uint32_t stamp         # number of the latest use


cdef struct GDSF:
    Node* heap
    uint32_t count
    uint32_t capacity
    uint32_t stamp
    double age             # L
    double pinned          # weight of the entries that are
    double highest         # rank of the entry restored last


cdef inline int gdsf_init(void* state, Slab* slab, double capacity) noexcept nogil:
    return 0


cdef inline void gdsf_close(void* state) noexcept nogil:
    PyMem_RawFree((<GDSF*>state).heap)
    (<GDSF*>state).heap = NULL


cdef inline int gdsf_reserve(void* state, Slab* slab) noexcept nogil:
    cdef GDSF* s = <GDSF*>state
    cdef uint32_t capacity
    cdef void* grown
    if slab.live < s.capacity:              # not the heap's count: before a restoration all entries are linked
        return 0
    capacity = max(slab.live + 1, min(slab.capacity, max(<uint32_t>FIRST_NODES, slab.live + (slab.live >> 1))))
    grown = PyMem_RawRealloc(s.heap, capacity * sizeof(Node))
    if grown == NULL:
        return -1
    s.heap = <Node*>grown
    s.capacity = capacity
    return 0


cdef inline bint gdsf_less(const Node* a, const Node* b) noexcept nogil:
    return a.rank < b.rank or (a.rank == b.rank and a.stamp < b.stamp)


cdef inline int gdsf_compare(const void* a, const void* b) noexcept nogil:
    return 1 if gdsf_less(<const Node*>b, <const Node*>a) else -1 if gdsf_less(<const Node*>a, <const Node*>b) else 0


cdef inline void gdsf_settle(GDSF* s, Slab* slab, uint32_t place) noexcept nogil:
    """Move the node of a place to where its rank belongs."""
    cdef Node node = s.heap[place]
    cdef uint32_t other
    while place > 0:
        other = (place - 1) >> 1
        if not gdsf_less(&node, &s.heap[other]):
            break
        s.heap[place] = s.heap[other]
        slab.entries[s.heap[place].e].mark = place
        place = other
    while 2 * place + 1 < s.count:
        other = 2 * place + 1
        if other + 1 < s.count and gdsf_less(&s.heap[other + 1], &s.heap[other]):
            other += 1
        if not gdsf_less(&s.heap[other], &node):
            break
        s.heap[place] = s.heap[other]
        slab.entries[s.heap[place].e].mark = place
        place = other
    s.heap[place] = node
    slab.entries[node.e].mark = place


cdef inline double gdsf_merit(Slab* slab, const Node* node) noexcept nogil:
    """What a node's uses add to the age."""
    cdef double size = slab_weight(slab, node.e)
    cdef double merit = node.uses * <double>node.worth / (size if size > 0.0 else 1.0)
    return merit if node.worth == INFINITY else min(merit, 1e300)


cdef inline void gdsf_rank_anew(GDSF* s, Slab* slab, uint32_t e) noexcept nogil:
    """Set an entry's rank as of now."""
    cdef uint32_t place = slab.entries[e].mark
    s.heap[place].rank = s.age + gdsf_merit(slab, &s.heap[place])
    gdsf_settle(s, slab, place)


cdef inline uint32_t gdsf_victim(void* state, Slab* slab) noexcept nogil:
    """NIL also when what there is is pinned."""
    cdef GDSF* s = <GDSF*>state
    return s.heap[0].e if s.count and s.heap[0].worth < INFINITY else NIL


cdef inline void gdsf_add(GDSF* s, Slab* slab, uint32_t e, float worth, uint32_t uses) noexcept nogil:
    """Put an entry into the heap's last place, unranked."""
    s.stamp += 1
    s.heap[s.count].e = e
    s.heap[s.count].worth = worth
    s.heap[s.count].uses = uses
    s.heap[s.count].stamp = s.stamp
    slab.entries[e].mark = s.count
    s.count += 1
    if worth == INFINITY:
        s.pinned += slab_weight(slab, e)


cdef inline void gdsf_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    gdsf_add(<GDSF*>state, slab, e, 1.0, 1)
    gdsf_rank_anew(<GDSF*>state, slab, e)


cdef inline void gdsf_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef GDSF* s = <GDSF*>state
    cdef Node* node = &s.heap[slab.entries[e].mark]
    s.stamp += 1
    node.stamp = s.stamp
    node.uses += node.uses < MOST_USES
    gdsf_rank_anew(s, slab, e)


cdef inline void gdsf_reweigh(void* state, Slab* slab, uint32_t e, double old) noexcept nogil:
    """The rank follows with the update that the engine tells next."""
    cdef GDSF* s = <GDSF*>state
    if s.heap[slab.entries[e].mark].worth == INFINITY:
        s.pinned += slab_weight(slab, e) - old


cdef inline void gdsf_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    cdef GDSF* s = <GDSF*>state
    cdef uint32_t place = slab.entries[e].mark
    if evicted:
        s.age = s.heap[place].rank
    if s.heap[place].worth == INFINITY:
        s.pinned -= slab_weight(slab, e)
    s.count -= 1
    if place < s.count:
        s.heap[place] = s.heap[s.count]
        gdsf_settle(s, slab, place)
    if s.count == 0:
        s.pinned = 0.0                  # what rounding left over must not add up


cdef inline void gdsf_clear(void* state, Slab* slab) noexcept nogil:
    cdef GDSF* s = <GDSF*>state
    s.count = 0
    s.stamp = 0
    s.age = s.pinned = s.highest = 0.0


cdef inline double gdsf_held(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """The weight of the pinned entries but e, which may be NIL."""
    cdef GDSF* s = <GDSF*>state
    if e != NIL and s.heap[slab.entries[e].mark].worth == INFINITY:
        return max(0.0, s.pinned - slab_weight(slab, e))
    return s.pinned


cdef inline double gdsf_worth(void* state, Slab* slab, uint32_t e) noexcept nogil:
    return (<GDSF*>state).heap[slab.entries[e].mark].worth


cdef inline void gdsf_appraise(void* state, Slab* slab, uint32_t e, double worth) noexcept nogil:
    cdef GDSF* s = <GDSF*>state
    cdef Node* node = &s.heap[slab.entries[e].mark]
    if node.worth == INFINITY:
        s.pinned = max(0.0, s.pinned - slab_weight(slab, e))
    node.worth = <float>worth
    if node.worth == INFINITY:
        s.pinned += slab_weight(slab, e)
    gdsf_rank_anew(s, slab, e)


cdef inline uint32_t gdsf_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef GDSF* s = <GDSF*>state
    cdef uint32_t place = 0
    if e != NIL:
        place = slab.entries[e].mark + 1
    elif s.count > 1:
        qsort(s.heap, s.count, sizeof(Node), gdsf_compare)
        for place in range(s.count):
            slab.entries[s.heap[place].e].mark = place
        place = 0
    return s.heap[place].e if place < s.count else NIL


cdef inline uint64_t gdsf_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """Worth, uses, and how much of the merit the age has not overtaken yet; for the policy nothing: only differences count."""
    cdef GDSF* s = <GDSF*>state
    cdef Node* node
    cdef uint32_t worth = 0, left = 0
    cdef double merit
    if e == NIL:
        return 0
    node = &s.heap[slab.entries[e].mark]
    merit = gdsf_merit(slab, node)
    if 0.0 < merit < INFINITY:
        left = <uint32_t>(min(max((node.rank - s.age) / merit, 0.0), 1.0) * RANK_UNITS)
    memcpy(&worth, &node.worth, sizeof(float))
    return <uint64_t>worth << 32 | <uint64_t>node.uses << 16 | left


cdef inline void gdsf_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    """Without memory for the heap, store_reserve has refused the entry."""
    cdef GDSF* s = <GDSF*>state
    cdef uint32_t bits = <uint32_t>(rank >> 32), left = <uint32_t>(rank & RANK_UNITS)
    cdef float worth = 0.0
    cdef uint32_t place = s.count
    if e == NIL:
        s.highest = 0.0
        return
    memcpy(&worth, &bits, sizeof(float))
    if not worth >= 0.0:
        worth = 1.0
    gdsf_add(s, slab, e, worth, max(<uint32_t>1, <uint32_t>(rank >> 16) & MOST_USES))
    if worth == INFINITY:
        s.heap[place].rank = INFINITY
    else:
        s.highest = max(s.highest, left * gdsf_merit(slab, &s.heap[place]) / RANK_UNITS)
        s.heap[place].rank = s.highest
    gdsf_settle(s, slab, place)


cdef inline bint gdsf_validate(void* state, Slab* slab) noexcept nogil:
    """Places and entries name each other, no node is before its parent, and the pinned ones weigh what is said."""
    cdef GDSF* s = <GDSF*>state
    cdef uint32_t place, e
    cdef double weight = 0.0, slack
    for place in range(s.count):
        e = s.heap[place].e
        if slab.entries[e].mark != place or slab.entries[e].key == NULL:
            return False
        if place > 0 and gdsf_less(&s.heap[place], &s.heap[(place - 1) >> 1]):
            return False
        if (s.heap[place].rank == INFINITY) != (s.heap[place].worth == INFINITY) or s.heap[place].rank < s.age:
            return False
        if s.heap[place].worth == INFINITY:
            weight += slab_weight(slab, e)
    slack = 1e-6 * (1.0 + weight)
    return s.count == slab.live and weight - slack <= s.pinned <= weight + slack


cdef inline void gdsf_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(GDSF)
    p.init = gdsf_init
    p.close = gdsf_close
    p.resize = lru_resize
    p.reserve = gdsf_reserve
    p.prepare = lru_prepare
    p.victim = gdsf_victim
    p.insert = gdsf_insert
    p.hit = gdsf_hit
    p.on_hit = CALL_HIT
    p.update = gdsf_hit
    p.reweigh = gdsf_reweigh
    p.remove = gdsf_remove
    p.clear = gdsf_clear
    p.foresee = gdsf_victim
    p.walk = gdsf_walk
    p.rank = gdsf_rank
    p.restore = gdsf_restore
    p.validate = gdsf_validate
    p.held = gdsf_held
    p.worth = gdsf_worth
    p.appraise = gdsf_appraise
