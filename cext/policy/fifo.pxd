"""FIFO: evicts the entry that was written longest ago; reads do not matter.

One list, the latest write at its front. A write to a key that is there moves it to the front, as in
``cachetools``. Every verb is O(1); no bytes beyond the entry's links.
"""
from libc.stdint cimport uint32_t

from core.slab cimport Slab
from policy.contract cimport NOTHING, Policy
from policy.lru cimport lru_policy


cdef inline void fifo_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    pass


cdef inline void fifo_policy(Policy* p) noexcept nogil:
    lru_policy(p)          # the same list, but for what a read does
    p.hit = fifo_hit
    p.on_hit = NOTHING
