"""What an eviction policy owes the engine, and what it may rely on.

A policy orders the entries of one slab and says which goes next. It sees entries, their mixed hash and their
weight; it never sees the hash index, keys, values, clocks, locks or reference counts, and it never frees an entry:
it names the victim and the engine does the rest.

The engine calls, for a key that is not there::

    reserve()            may allocate; the only verb besides init and resize that may fail
    prepare(hash)        the key that is about to come in: ghosts, sketches
    victim(); remove(e, evicted=1)      as often as room is needed
    insert(e)            e.hash and the weight are set

for one that is there ``hit(e)`` on a read and ``update(e)`` on a write, and ``remove(e, evicted=0)`` for an entry
that is deleted or has expired. Reads that miss are not told. ``walk`` goes from the coldest entry to the
hottest: ``walk(NIL)`` is the coldest, NIL comes after the hottest. ``rank`` is what a snapshot keeps of an entry
beside its place in that order; ``restore`` links an entry with a rank and is called from the coldest to the
hottest on an empty policy, with ``restore(NIL, rank(NIL))`` at last for what concerns the policy as a whole; it may
allocate, and without memory it keeps less of the rank. ``validate`` is true when every invariant holds (debugging and tests; O(n)).

A policy that goes by what an entry is worth to its owner has three more verbs, which are NULL elsewhere: ``appraise(e,
worth)`` after insert or update, ``worth(e)``, and ``held(e)``, the weight of the entries that are worth so much that
they are never a victim, e, which may be NIL, left out. ``victim`` is NIL when there are only these; the engine asks
``held`` before it makes room.

Every verb runs with the cache's lock held and without calling Python. The slab's array can move between two
calls, so a verb reads ``slab.entries`` afresh.
"""
from libc.stdint cimport uint32_t, uint64_t

from core.slab cimport Slab


cdef enum:                 # what a hit asks of the policy
    CALL_HIT               # its verb
    MOVE_FRONT             # no more than moving the entry to the front of list 0, whose back is the victim: an LRU
    NOTHING


ctypedef void (*hit_verb)(void* state, Slab* slab, uint32_t e) noexcept nogil


cdef struct Policy:
    size_t state_size      # bytes of zeroed memory that init gets as its state
    int (*init)(void* state, Slab* slab, double capacity) noexcept nogil       # 0, or -1: no memory
    void (*close)(void* state) noexcept nogil
    int (*resize)(void* state, Slab* slab, double capacity) noexcept nogil     # 0, or -1: nothing changed
    int (*reserve)(void* state, Slab* slab) noexcept nogil                     # 0, or -1: nothing changed
    void (*prepare)(void* state, Slab* slab, uint32_t hash) noexcept nogil
    uint32_t (*victim)(void* state, Slab* slab) noexcept nogil                 # NIL when empty
    void (*insert)(void* state, Slab* slab, uint32_t e) noexcept nogil
    hit_verb hit
    void (*update)(void* state, Slab* slab, uint32_t e) noexcept nogil
    void (*reweigh)(void* state, Slab* slab, uint32_t e, double old) noexcept nogil  # weight changed from `old`
    void (*remove)(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil
    void (*clear)(void* state, Slab* slab) noexcept nogil                      # forget all entries and ghosts
    uint32_t on_hit        # MOVE_FRONT and NOTHING spare the hot path a call; `hit` must do the same
    uint32_t (*foresee)(void* state, Slab* slab) noexcept nogil                # the probable next victim, as a hint
    uint32_t (*walk)(void* state, Slab* slab, uint32_t e) noexcept nogil
    uint64_t (*rank)(void* state, Slab* slab, uint32_t e) noexcept nogil
    void (*restore)(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil
    bint (*validate)(void* state, Slab* slab) noexcept nogil
    double (*held)(void* state, Slab* slab, uint32_t e) noexcept nogil         # these three may be NULL
    double (*worth)(void* state, Slab* slab, uint32_t e) noexcept nogil
    void (*appraise)(void* state, Slab* slab, uint32_t e, double worth) noexcept nogil
