"""Slab of cache entries: one flat array, addressed by 32-bit index.

An entry is 32 bytes, two to a cache line, and the array is aligned so that none lies across two. Everything that links entries (policy lists, the hash index, the
timer wheel) uses the index, never a pointer, because the array moves when it grows.

Invariant: slots ``SENTINELS <= i < top`` are either live (``key`` is not NULL) or on the free chain, which runs
through ``next``. Slots below ``SENTINELS`` are list heads; they hold no key and are never handed out. An index
of 0 is therefore never an entry, and 0 doubles as "none" (``NIL``).

Cost: 32 bytes an entry, +8 when entries have weights. Allocation and release are O(1), amortized over growth.
"""
from libc.stdint cimport uint32_t, uintptr_t
from libc.string cimport memmove, memset


cdef extern from "Python.h" nogil:
    void* PyMem_RawMalloc(size_t n)
    void* PyMem_RawCalloc(size_t n, size_t size)
    void* PyMem_RawRealloc(void* p, size_t n)
    void PyMem_RawFree(void* p)


cdef enum:
    NIL = 0
    SENTINELS = 4          # list heads that a policy may use: slots 0 to 3
    FIRST_CAPACITY = 12    # slots of a new slab, the sentinels included
    LINE = 64              # bytes of a cache line


cdef struct Entry:
    void* key              # PyObject* owned by the cache; the key itself, as an integer, in a replay
    void* value            # PyObject* owned by the cache; unused in a replay
    uint32_t hash          # mixed hash of the key
    uint32_t prev          # the policy's links
    uint32_t next
    uint32_t mark          # the policy's own word: region, frequency bucket, position


cdef struct Slab:
    Entry* entries         # aligned to LINE; points into `memory`
    void* memory
    double* weights        # NULL where every entry weighs 1
    uint32_t capacity      # slots allocated
    uint32_t top           # slots ever used
    uint32_t free          # head of the free chain, NIL if empty
    uint32_t live          # entries that are linked; who links and unlinks them keeps count


cdef inline Entry* slab_align(void* memory) noexcept nogil:
    """The first place in an allocation where a cache line begins."""
    return <Entry*>((<uintptr_t>memory + LINE - 1) & ~<uintptr_t>(LINE - 1))


cdef inline int slab_init(Slab* slab, bint weighted) noexcept nogil:
    """Allocate a small slab; -1 when memory is out, with nothing to free."""
    memset(slab, 0, sizeof(Slab))
    slab.memory = PyMem_RawCalloc(FIRST_CAPACITY * sizeof(Entry) + LINE, 1)
    if slab.memory == NULL:
        return -1
    slab.entries = slab_align(slab.memory)
    if weighted:
        slab.weights = <double*>PyMem_RawCalloc(FIRST_CAPACITY, sizeof(double))
        if slab.weights == NULL:
            PyMem_RawFree(slab.memory)
            slab.memory = NULL
            return -1
    slab.capacity = FIRST_CAPACITY
    slab.top = SENTINELS
    return 0


cdef inline void slab_close(Slab* slab) noexcept nogil:
    """Free the arrays. What the entries own must have been released before."""
    PyMem_RawFree(slab.memory)
    PyMem_RawFree(slab.weights)
    memset(slab, 0, sizeof(Slab))


cdef inline bint slab_full(Slab* slab) noexcept nogil:
    """True when the next slab_take needs slab_grow first."""
    return slab.free == NIL and slab.top == slab.capacity


cdef inline int slab_grow(Slab* slab, uint32_t capacity) noexcept nogil:
    """Make room for `capacity` slots; -1 when memory is out, with the slab as it was."""
    cdef size_t offset = <char*>slab.entries - <char*>slab.memory
    cdef void* memory
    cdef double* weights
    if slab.weights != NULL:
        weights = <double*>PyMem_RawRealloc(slab.weights, capacity * sizeof(double))
        if weights == NULL:
            return -1
        slab.weights = weights
    memory = PyMem_RawRealloc(slab.memory, capacity * sizeof(Entry) + LINE)
    if memory == NULL:
        return -1
    slab.memory = memory
    slab.entries = slab_align(memory)
    if <char*>slab.entries != <char*>memory + offset:
        memmove(slab.entries, <char*>memory + offset, slab.top * sizeof(Entry))
    slab.capacity = capacity
    return 0


cdef inline uint32_t slab_take(Slab* slab) noexcept nogil:
    """Hand out a slot; the caller has made sure that there is one and fills every field."""
    cdef uint32_t e = slab.free
    if e != NIL:
        slab.free = slab.entries[e].next
    else:
        e = slab.top
        slab.top += 1
    return e


cdef inline void slab_release(Slab* slab, uint32_t e) noexcept nogil:
    """Take a slot back; the caller has already dropped what its key and value own."""
    cdef Entry* entry = &slab.entries[e]
    entry.key = NULL
    entry.value = NULL
    entry.next = slab.free
    slab.free = e


cdef inline double slab_weight(Slab* slab, uint32_t e) noexcept nogil:
    """What an entry counts against the bound."""
    return 1.0 if slab.weights == NULL else slab.weights[e]
