"""CLOCK: the oldest entry that was not used since the hand came by last.

Corbato, "A paging experiment with the Multics system", 1968; also known as second chance, and as FIFO with reinsertion.
A use marks an entry. The hand goes around a ring: it takes the marks of what it passes, what has none is the victim,
and a new entry takes the place that the hand has just left.

Here the ring is a queue whose back lies under the hand, so that to pass an entry is to move it to the front: SIEVE's
list (policy.sieve), but for that move. A hit is a store of one word; finding a victim is O(1) amortized, as each mark
that is taken was set by a use. No bytes beyond the entry's links. A write to a key that is there counts as a use.
"""
from libc.stdint cimport uint32_t

from core.links cimport list_back, list_move_front
from core.slab cimport NIL, Slab
from policy.contract cimport Policy
from policy.sieve cimport QUEUE, sieve_policy


cdef inline uint32_t clock_victim(void* state, Slab* slab) noexcept nogil:
    cdef uint32_t e = list_back(slab.entries, QUEUE)
    while slab.entries[e].mark and e != NIL:
        slab.entries[e].mark = 0
        list_move_front(slab.entries, QUEUE, e)
        e = list_back(slab.entries, QUEUE)
    return e


cdef inline void clock_policy(Policy* p) noexcept nogil:
    sieve_policy(p)        # with a hand that stays at the back
    p.victim = clock_victim
