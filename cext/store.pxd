"""Store: entries that can be found by key, ordered by a policy, and timed. What a cache is without its Python face.

A store is a slab (core.slab), a hash index over it (core.index), one policy (policy.contract) and, from the first entry that
can expire on, a timer wheel (core.wheel). Three rules keep it correct whatever a key's __eq__, a value's __del__, a
listener, a loader or another thread does:

1. ``lock`` guards every field. With the GIL it is nothing, because no Python code runs where it is held; on a
   free-threaded build it is a PyMutex. Nothing that can run Python code is called under it: no comparison, no decref that
   may be the last, no allocation by Python.
2. What leaves is first buried: unlinked from index, policy and wheel and chained in a ``Grave``, still owned. Once the
   lock is free, whoever owns the grave takes the entries out one by one and gives the references up.
3. Memory is had before anything is linked, so that running out of it leaves the store as it was.

Unless said otherwise a function is called with the lock held and leaves it held. Keys and values are owned by the
store from store_link until store_exhume. A replay (see replay) uses a store without Python objects.
"""
from cpython.object cimport PyObject, Py_EQ, visitproc
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from core.index cimport (FAR, Hashes, Index, MAX_BITS, MIN_BITS, Probe, index_clear, index_close, index_erase, index_fit, index_has_room, index_init,
                         index_insert, index_validate, probe_next, probe_start)
from core.links cimport list_back, list_move_front
from core.slab cimport (Entry, NIL, PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc, SENTINELS, Slab, slab_close,
                        slab_full, slab_grow, slab_init, slab_release, slab_take, slab_weight)
from core.wheel cimport (Wheel, wheel_cancel, wheel_close, wheel_deadline, wheel_due, wheel_put_off,
                         wheel_reserve, wheel_set, wheel_start, wheel_validate)
from policy.contract cimport CALL_HIT, MOVE_FRONT, Policy, hit_verb
from tape cimport Tape, tape_note

cdef extern from "compat.h" nogil:
    ctypedef struct hotset_mutex:
        pass
    void hotset_lock(hotset_mutex* m)
    void hotset_unlock(hotset_mutex* m)
    void hotset_prefetch(const void* p)
    double HOTSET_NEVER
    double hotset_clock_coarse()
    int hotset_keys_equal(PyObject* a, PyObject* b)
    bint HOTSET_LIKELY(bint x)

cdef extern from "Python.h":
    void incref "Py_INCREF"(PyObject*) nogil
    void decref "Py_DECREF"(PyObject*)
    void xdecref "Py_XDECREF"(PyObject*)
    int compare "PyObject_RichCompareBool"(PyObject*, PyObject*, int)
    void PyErr_SetString(PyObject*, const char*)
    PyObject* PyExc_RuntimeError

cdef enum:                 # causes; their names are in the face
    EXPLICIT, REPLACED, EXPIRED, SIZE

cdef enum:
    NO_MEMORY = -2         # what store_write answers, with no error set
    NO_ROOM = -3           # the same: entries that are never evicted leave none

cdef enum:
    STR_DATA = 48          # bytes into a str object where its characters begin, often on another cache line than its hash
    BURIED = 1             # low bit of the key of an entry that waits in a grave; objects are aligned
    MAX_COMPARISONS = 1000 # of one lookup whose keys' __eq__ change the cache each time


cdef struct Grave:
    uint32_t head          # oldest first, through `next`; `mark` is the cause
    uint32_t tail


cdef struct Counters:
    uint64_t hits
    uint64_t misses
    uint64_t inserts
    uint64_t updates
    uint64_t removed[4]    # by cause
    uint64_t loads
    uint64_t load_failures


cdef struct Store:
    Index index
    Slab slab
    void* state            # the policy's
    Policy policy
    Wheel wheel
    Counters count
    uint64_t below         # requests for keys whose hash is below are noted on the tape
    Tape* tape
    double limit           # bound of weight
    double weight          # sum over the entries
    double idle            # time without use after which an entry expires, HOTSET_NEVER for none
    double* hard           # with `idle`: the deadline that use does not put off
    uint32_t hard_capacity
    uint32_t buried        # entries in graves
    hotset_mutex lock
    uint64_t version       # grows with every entry that comes or goes
    uint64_t edits         # the same but for those that expire: nobody is to blame for these


cdef inline PyObject* key_of(Entry* entry) noexcept nogil:
    """The key of an entry that may be buried; borrowed."""
    return <PyObject*>(<size_t>entry.key & ~<size_t>BURIED)


cdef inline bint is_live(Entry* entry) noexcept nogil:
    return entry.key != NULL and not <size_t>entry.key & BURIED


cdef inline Hashes store_hashes(Store* s) noexcept nogil:
    cdef Hashes hashes
    hashes.base = <char*>&s.slab.entries[0].hash
    hashes.stride = sizeof(Entry)
    return hashes


cdef inline int store_open(Store* s, const Policy* policy, double limit, bint weighted) noexcept nogil:
    """An empty store in zeroed memory; -1 when memory is out, with nothing to close. Without the lock."""
    s.policy = policy[0]
    s.limit = limit
    s.idle = HOTSET_NEVER
    s.state = PyMem_RawCalloc(1, policy.state_size + 1)
    if s.state == NULL:
        return -1
    if slab_init(&s.slab, weighted) == 0:
        if index_init(&s.index, MIN_BITS) == 0:
            if s.policy.init(s.state, &s.slab, limit) == 0:
                return 0
            index_close(&s.index)
        slab_close(&s.slab)
    PyMem_RawFree(s.state)
    s.state = NULL
    return -1


cdef inline void store_close(Store* s) noexcept nogil:
    """Free a store that owns nothing any more, if it was opened. Without the lock."""
    if s.state != NULL:
        s.policy.close(s.state)
        PyMem_RawFree(s.state)
        PyMem_RawFree(s.hard)
        slab_close(&s.slab)
        index_close(&s.index)
        wheel_close(&s.wheel)
        s.state = NULL
        s.hard = NULL


cdef inline void store_disown(Store* s) noexcept:
    """Give up what the entries own, buried or not, before store_close. Without the lock: nobody else has the store."""
    cdef uint32_t e
    for e in range(<uint32_t>SENTINELS, s.slab.top):
        if s.slab.entries[e].key != NULL:
            decref(key_of(&s.slab.entries[e]))
            decref(<PyObject*>s.slab.entries[e].value)


cdef inline int store_visit(Store* s, visitproc visit, void* arg) noexcept:
    """Show the collector what the entries own, buried or not."""
    cdef uint32_t e
    cdef int status = 0
    for e in range(<uint32_t>SENTINELS, s.slab.top):
        if status == 0 and s.slab.entries[e].key != NULL:
            status = visit(key_of(&s.slab.entries[e]), arg)
            if status == 0:
                status = visit(<PyObject*>s.slab.entries[e].value, arg)
    return status


cdef inline int store_find(Store* s, PyObject* key, uint32_t hash, uint32_t* found) noexcept:
    """Look for a key; `found` is NIL when it is not there. On an error: -1, the Python error is set, the lock is FREE."""
    cdef Probe probe
    cdef Entry* entry
    cdef uint32_t e
    cdef int equal
    probe_start(&s.index, &probe, hash)
    while True:
        e = probe_next(&s.index, &probe)
        found[0] = e
        if e == NIL:
            return 0
        entry = &s.slab.entries[e]
        if entry.key == key:
            return 0
        if entry.hash == hash:
            equal = hotset_keys_equal(<PyObject*>entry.key, key)
            if equal > 0:
                return 0
            if equal < 0:
                return store_find_by_comparison(s, key, hash, found)


cdef inline int store_find_by_comparison(Store* s, PyObject* key, uint32_t hash, uint32_t* found) noexcept:
    """store_find for keys that only Python can compare, which may run any code: the lock is free meanwhile."""
    cdef Probe probe
    cdef PyObject* stored
    cdef uint32_t e, comparisons
    cdef uint64_t version
    cdef int equal
    probe_start(&s.index, &probe, hash)
    for comparisons in range(<uint32_t>MAX_COMPARISONS):
        while True:
            e = probe_next(&s.index, &probe)
            found[0] = e
            if e == NIL:
                return 0
            stored = <PyObject*>s.slab.entries[e].key
            if stored == key:
                return 0
            if s.slab.entries[e].hash == hash:
                equal = hotset_keys_equal(stored, key)
                if equal > 0:
                    return 0
                if equal < 0:
                    break
        version = s.version
        incref(stored)
        hotset_unlock(&s.lock)
        equal = compare(stored, key, Py_EQ)
        if equal < 0:
            decref(stored)
            return -1
        hotset_lock(&s.lock)
        if version == s.version or (equal and e < s.slab.top and s.slab.entries[e].key == stored):
            decref(stored)                      # not the last: the entry holds one
            if equal:
                return 0
        else:
            hotset_unlock(&s.lock)
            decref(stored)
            hotset_lock(&s.lock)
            probe_start(&s.index, &probe, hash)
    hotset_unlock(&s.lock)
    PyErr_SetString(PyExc_RuntimeError, b"cache changed 1000 times during one lookup: does a key's __eq__ change it?")
    return -1


cdef inline void grave_add(Store* s, Grave* grave, uint32_t e, uint32_t cause) noexcept nogil:
    """Chain an unlinked entry in a grave."""
    cdef Entry* entry = &s.slab.entries[e]
    entry.key = <void*>(<size_t>entry.key | BURIED)
    entry.next = NIL
    entry.mark = cause
    s.slab.live -= 1
    s.buried += 1
    if grave.head == NIL:
        grave.head = e
    else:
        s.slab.entries[grave.tail].next = e
    grave.tail = e


cdef inline void store_bury(Store* s, uint32_t e, uint32_t cause, Grave* grave) noexcept nogil:
    """Unlink an entry for a cause and chain it in the grave."""
    index_erase(&s.index, store_hashes(s), s.slab.entries[e].hash, e)
    s.policy.remove(s.state, &s.slab, e, cause == SIZE)
    if s.wheel.timers != NULL:
        wheel_cancel(&s.wheel, e)
    s.weight -= slab_weight(&s.slab, e)
    if s.index.used == 0:
        s.weight = 0.0                          # what rounding left over must not add up
    s.version += 1
    s.edits += cause != EXPIRED
    s.count.removed[cause] += 1
    grave_add(s, grave, e, cause)


cdef inline void store_bury_due(Store* s, double now, bint exact, Grave* grave) noexcept nogil:
    """Bury what has expired; see wheel_due for `exact`."""
    cdef uint32_t e
    if s.wheel.timers != NULL:
        while True:
            e = wheel_due(&s.wheel, now, exact)
            if e == NIL:
                return
            store_bury(s, e, EXPIRED, grave)


cdef inline void store_bury_all(Store* s, Grave* grave) noexcept nogil:
    """Bury everything, in no order, and let the policy forget what it has learnt."""
    cdef uint32_t e
    for e in range(<uint32_t>SENTINELS, s.slab.top):
        if is_live(&s.slab.entries[e]):
            if s.wheel.timers != NULL:
                wheel_cancel(&s.wheel, e)
            grave_add(s, grave, e, EXPLICIT)
    s.count.removed[EXPLICIT] += s.index.used
    index_clear(&s.index)
    s.policy.clear(s.state, &s.slab)
    s.weight = 0.0
    s.version += 1
    s.edits += 1


cdef inline void store_exhume(Store* s, Grave* grave, PyObject** key, PyObject** value, uint32_t* cause) noexcept nogil:
    """Take the first entry out of a grave that has one: its references and why it went. Takes the lock itself."""
    cdef uint32_t e = grave.head
    hotset_lock(&s.lock)
    key[0] = key_of(&s.slab.entries[e])
    value[0] = <PyObject*>s.slab.entries[e].value
    cause[0] = s.slab.entries[e].mark
    grave.head = s.slab.entries[e].next
    slab_release(&s.slab, e)
    s.buried -= 1
    hotset_unlock(&s.lock)


cdef inline double store_held(Store* s, uint32_t e) noexcept nogil:
    """The weight of what is never evicted, but for e."""
    return s.policy.held(s.state, &s.slab, e) if s.policy.held != NULL else 0.0


cdef inline void store_make_room(Store* s, double weight, Grave* grave) noexcept nogil:
    """Bury victims until an entry of that weight fits."""
    cdef uint32_t victim
    while s.weight + weight > s.limit:
        victim = s.policy.victim(s.state, &s.slab)
        if victim == NIL:
            return
        store_bury(s, victim, SIZE, grave)


cdef inline bint store_expired(Store* s, uint32_t e, double now) noexcept nogil:
    return s.wheel.timers != NULL and wheel_deadline(&s.wheel, e) <= now


cdef inline void store_used(Store* s, uint32_t e, double now) noexcept nogil:
    """A read of an entry: what the policy, the idle time and the statistics make of it."""
    cdef double deadline
    if s.wheel.timers != NULL and s.idle < HOTSET_NEVER:
        deadline = now + s.idle
        wheel_put_off(&s.wheel, e, min(deadline, s.hard[e]))
    s.policy.hit(s.state, &s.slab, e)
    s.count.hits += 1


cdef inline void store_note(Store* s, PyObject* key, uint32_t hash) noexcept nogil:
    """Record a request, if its key is one of the sample. Every request that is counted comes by here, but for those of
    store_read_same, whose callers see to it that it is not asked for such keys."""
    if not HOTSET_LIKELY(hash >= s.below):
        tape_note(s.tape, key, hash)


cdef inline int store_reserve(Store* s, double now, double deadline) noexcept nogil:
    """Have the memory that one more entry with that deadline needs; -1 when it is out, with the store as it was."""
    cdef uint64_t capacity
    cdef double most = s.limit + SENTINELS + 2  # a full store, the entry coming in, and one victim not exhumed yet
    cdef double* hard
    if s.wheel.timers == NULL and min(deadline, s.idle) == HOTSET_NEVER and s.slab.free != NIL and (
            <uint64_t>s.index.used * 8 + 8 <= (<uint64_t>s.index.mask + 1) * 5):
        return s.policy.reserve(s.state, &s.slab)               # nothing but the policy can want memory
    if slab_full(&s.slab):
        capacity = <uint64_t>s.slab.capacity + (s.slab.capacity >> 1) + 4
        if s.slab.weights == NULL and s.slab.capacity < most < <double>capacity:
            capacity = <uint64_t>most
        capacity = min(capacity, <uint64_t>1 << MAX_BITS)
        if capacity <= s.slab.capacity:
            return -1
        if index_fit(&s.index, store_hashes(s), s.index.used + 1, capacity) != 0:
            return -1
        if slab_grow(&s.slab, <uint32_t>capacity) != 0:
            return -1
    if index_fit(&s.index, store_hashes(s), s.index.used + 1, s.slab.capacity) != 0:
        return -1
    if s.wheel.timers != NULL or min(deadline, s.idle) < HOTSET_NEVER:
        if s.wheel.timers == NULL:
            wheel_start(&s.wheel, now)
        if s.idle < HOTSET_NEVER and s.hard_capacity < s.slab.capacity:
            hard = <double*>PyMem_RawRealloc(s.hard, s.slab.capacity * sizeof(double))
            if hard == NULL:
                return -1
            s.hard = hard
            s.hard_capacity = s.slab.capacity
        if wheel_reserve(&s.wheel, s.slab.capacity) != 0:
            return -1
    return s.policy.reserve(s.state, &s.slab)


cdef inline void store_schedule(Store* s, uint32_t e, double now, double deadline) noexcept nogil:
    """Set the timer of an entry that was just written, if the store is timed; store_reserve has been called."""
    if s.wheel.timers != NULL:
        if s.idle < HOTSET_NEVER:
            s.hard[e] = deadline
            deadline = min(deadline, now + s.idle)
        wheel_set(&s.wheel, e, deadline)


cdef inline uint32_t store_link(Store* s, void* key, void* value, uint32_t hash, double weight) noexcept nogil:
    """Add an entry that is not there to slab and index, taking over the references; the policy and the timer are the caller's."""
    cdef uint32_t e = slab_take(&s.slab)
    cdef Entry* entry = &s.slab.entries[e]
    entry.key = key
    entry.value = value
    entry.hash = hash
    if s.slab.weights != NULL:
        s.slab.weights[e] = weight
    index_insert(&s.index, hash, e)
    s.slab.live += 1
    s.weight += weight
    s.version += 1
    s.edits += 1
    return e


cdef struct Replaced:      # what a write put another value in place of; owned
    PyObject* key
    PyObject* value


cdef inline uint32_t store_make_growth_room(Store* s, uint32_t e, double weight, Grave* grave) noexcept nogil:
    """Bury victims until an entry may take on a weight: the entry, or NIL if it was a victim itself."""
    cdef uint32_t victim
    while s.weight + weight - slab_weight(&s.slab, e) > s.limit:
        victim = s.policy.victim(s.state, &s.slab)
        if victim == NIL:                       # rounding; store_held has been asked
            return e
        store_bury(s, victim, REPLACED if victim == e else SIZE, grave)
        if victim == e:
            return NIL
    return e


cdef inline void store_replace(Store* s, uint32_t e, PyObject* value, double weight, Replaced* replaced) noexcept nogil:
    """Write the value of an entry that is there."""
    cdef double before = slab_weight(&s.slab, e)
    replaced.key = <PyObject*>s.slab.entries[e].key
    replaced.value = <PyObject*>s.slab.entries[e].value
    incref(replaced.key)
    incref(value)
    s.slab.entries[e].value = value
    if s.slab.weights != NULL and weight != before:
        s.slab.weights[e] = weight
        s.weight += weight - before
        s.policy.reweigh(s.state, &s.slab, e, before)
    s.policy.update(s.state, &s.slab, e)
    s.count.updates += 1
    s.count.removed[REPLACED] += 1


cdef inline Entry* store_foresee(Store* s) noexcept nogil:
    """Have fetched what the next eviction will want, because it is in no cache any more: the probable victim."""
    cdef Entry* entry = &s.slab.entries[list_back(s.slab.entries, 0) if s.policy.on_hit == MOVE_FRONT
                                        else s.policy.foresee(s.state, &s.slab)]
    hotset_prefetch(&s.index.slots[entry.hash >> s.index.shift])
    hotset_prefetch(&s.slab.entries[entry.prev])
    return entry


cdef inline bint store_admit(Store* s, void* key, void* value, uint32_t hash, Replaced* gone) noexcept nogil:
    """Add an entry of weight 1 that is not there, if the store is full in the place of its victim; false if it must grow.

    For stores without weights and timers and with a limit of 1 at least; policy.reserve has been called. The key and value of the victim, if
    there is one, are the caller's: no grave is needed, because the entry is taken at once.
    """
    cdef bint full = s.weight + 1.0 > s.limit
    cdef bint lru = s.policy.on_hit == MOVE_FRONT       # what its verbs would do is done here
    cdef uint32_t e
    cdef Entry* entry
    gone.key = NULL
    if not full and (slab_full(&s.slab) or not index_has_room(&s.index, s.index.used + 1, s.slab.capacity)):
        return False
    if not lru:
        s.policy.prepare(s.state, &s.slab, hash)
    if full:
        e = list_back(s.slab.entries, 0) if lru else s.policy.victim(s.state, &s.slab)
        entry = &s.slab.entries[e]
        gone.key = <PyObject*>entry.key
        gone.value = <PyObject*>entry.value
        index_erase(&s.index, store_hashes(s), entry.hash, e)
        if not lru:
            s.policy.remove(s.state, &s.slab, e, True)
        s.count.removed[SIZE] += 1
    else:
        e = slab_take(&s.slab)
        entry = &s.slab.entries[e]
        s.slab.live += 1
        s.weight += 1.0
    entry.key = key
    entry.value = value
    entry.hash = hash
    index_insert(&s.index, hash, e)
    if full and lru:
        list_move_front(s.slab.entries, 0, e)
    else:
        s.policy.insert(s.state, &s.slab, e)
    s.version += 1
    s.edits += 1
    return True


cdef inline int store_write(Store* s, PyObject* key, PyObject* value, uint32_t hash, double weight, double now,
                            double deadline, const double* worth, bint only_absent, const bint* fenced, Grave* grave,
                            Replaced* replaced) noexcept:
    """Set a key whose weight is within the limit: 1; 0 if it is there and `only_absent`, or if the write is fenced.

    NO_MEMORY when memory is out, NO_ROOM when what is never evicted leaves none, -1 with an error set. `worth` is NULL for what
    the entry was worth before. Takes the lock itself; grave and replaced are the caller's to empty.
    """
    cdef uint32_t e, victim
    cdef double before
    cdef int written = 1
    hotset_lock(&s.lock)
    store_bury_due(s, now, s.weight + weight > s.limit, grave)      # the dead go before the living
    victim = NIL
    if s.weight + weight > s.limit and s.policy.on_hit == MOVE_FRONT:
        victim = list_back(s.slab.entries, 0)   # the coldest entry is in no cache: have it and what it names fetched
        hotset_prefetch(&s.slab.entries[victim])
    if store_find(s, key, hash, &e) < 0:
        return -1
    if victim != NIL and victim < s.slab.top:
        hotset_prefetch(&s.index.slots[s.slab.entries[victim].hash >> s.index.shift])
        hotset_prefetch(&s.slab.entries[s.slab.entries[victim].prev])
        hotset_prefetch(key_of(&s.slab.entries[victim]))
        hotset_prefetch(s.slab.entries[victim].value)
    if e != NIL and store_expired(s, e, now):
        store_bury(s, e, EXPIRED, grave)
        e = NIL
    if (fenced != NULL and fenced[0]) or (e != NIL and only_absent) or weight > s.limit:
        written = 0                             # the last: resize has come in between
    elif s.policy.held != NULL and store_held(s, e) + weight > s.limit:
        written = NO_ROOM
    elif store_reserve(s, now, deadline) != 0:
        written = NO_MEMORY
    else:
        if s.policy.worth != NULL and worth == NULL and e != NIL:
            before = s.policy.worth(s.state, &s.slab, e)
            worth = &before
        if e != NIL:
            e = store_make_growth_room(s, e, weight, grave)
        if e != NIL:
            store_replace(s, e, value, weight, replaced)
        else:
            s.policy.prepare(s.state, &s.slab, hash)
            store_make_room(s, weight, grave)
            incref(key)
            incref(value)
            e = store_link(s, key, value, hash, weight)
            s.policy.insert(s.state, &s.slab, e)
            s.count.inserts += 1
        if s.policy.appraise != NULL and worth != NULL:
            s.policy.appraise(s.state, &s.slab, e, worth[0])
        store_schedule(s, e, now, deadline)
    hotset_unlock(&s.lock)
    return written


cdef inline int store_write_known(Store* s, PyObject* key, PyObject* value, uint32_t hash, bint only_absent,
                                  Replaced* gone, uint32_t* cause) noexcept nogil:
    """store_write where it takes no Python code, time, weight or growth: 1 or 0 as there, -1 if store_write has to do it.

    What goes, if anything does, is the caller's to give up. Takes the lock itself.
    """
    cdef Probe probe
    cdef Entry* entry
    cdef uint32_t e
    cdef int equal = 1, written = -1
    gone.key = NULL
    hotset_lock(&s.lock)
    probe_start(&s.index, &probe, hash)
    while True:
        e = probe_next(&s.index, &probe)
        if e == NIL:
            break
        entry = &s.slab.entries[e]
        equal = entry.key == key
        if not equal and entry.hash == hash:
            equal = hotset_keys_equal(<PyObject*>entry.key, key)
        if equal != 0:
            break
    if equal < 0 or s.slab.weights != NULL or s.wheel.timers != NULL or s.limit < 1.0 or store_held(s, NIL) > 0.0:
        pass
    elif e == NIL:
        if s.policy.reserve(s.state, &s.slab) == 0 and store_admit(s, key, value, hash, gone):
            incref(key)
            incref(value)
            s.count.inserts += 1
            if gone.key != NULL:
                cause[0] = SIZE
                entry = store_foresee(s)
                hotset_prefetch(entry.key)
                hotset_prefetch(entry.value)
            written = 1
    elif only_absent:
        written = 0
    else:
        store_replace(s, e, value, 1.0, gone)
        cause[0] = REPLACED
        written = 1
    hotset_unlock(&s.lock)
    return written


cdef inline int store_take(Store* s, PyObject* key, uint32_t hash, double now, uint32_t cause, PyObject** value,
                           Grave* grave) noexcept:
    """Remove a key: 0 and a new reference to its value, or NULL if it is not there; -1 on an error. Takes the lock itself."""
    cdef uint32_t e
    hotset_lock(&s.lock)
    if store_find(s, key, hash, &e) < 0:
        return -1
    if e != NIL:
        if store_expired(s, e, now):
            cause = EXPIRED
        else:
            value[0] = <PyObject*>s.slab.entries[e].value
            incref(value[0])
        store_bury(s, e, cause, grave)
    hotset_unlock(&s.lock)
    return 0


cdef inline bint store_pop_victim(Store* s, double now, uint32_t cause, PyObject** key, PyObject** value,
                                  Grave* grave) noexcept nogil:
    """Remove what the policy would evict next: new references to its key and value; false if empty. Takes the lock itself."""
    cdef uint32_t e
    hotset_lock(&s.lock)
    store_bury_due(s, now, True, grave)
    e = s.policy.victim(s.state, &s.slab)
    if e != NIL:
        key[0] = <PyObject*>s.slab.entries[e].key
        value[0] = <PyObject*>s.slab.entries[e].value
        incref(key[0])
        incref(value[0])
        store_bury(s, e, cause, grave)
    hotset_unlock(&s.lock)
    return e != NIL


cdef inline int store_touch(Store* s, PyObject* key, uint32_t hash, double now, double deadline, Grave* grave) noexcept:
    """Use a key and give it a new deadline: 1, or 0 if it is not there; NO_MEMORY, -1 on an error. Takes the lock itself."""
    cdef uint32_t e
    cdef int status = 0
    hotset_lock(&s.lock)
    if store_find(s, key, hash, &e) < 0:
        return -1
    if e != NIL and store_expired(s, e, now):
        store_bury(s, e, EXPIRED, grave)
    elif e != NIL:
        status = NO_MEMORY
        if store_reserve(s, now, deadline) == 0:
            status = 1
            s.policy.hit(s.state, &s.slab, e)
            store_schedule(s, e, now, deadline)
    hotset_unlock(&s.lock)
    return status


cdef inline int store_peek(Store* s, PyObject* key, uint32_t hash, double now, PyObject** value) noexcept:
    """A new reference to a key's value, if it is there, without a trace: 0; -1 on an error. Takes the lock itself."""
    cdef uint32_t e
    hotset_lock(&s.lock)
    if store_find(s, key, hash, &e) < 0:
        return -1
    if e != NIL and not store_expired(s, e, now):
        value[0] = <PyObject*>s.slab.entries[e].value
        incref(value[0])
    hotset_unlock(&s.lock)
    return 0


cdef inline int store_next(Store* s, uint32_t* place, uint64_t edits, double now, PyObject** key, PyObject** value) noexcept nogil:
    """New references to the next entry in the slab from `place` on: 1, 0 at the end, -1 if `edits` have been made since.

    Takes the lock itself.
    """
    cdef uint32_t e
    cdef int status = 0
    hotset_lock(&s.lock)
    if s.edits != edits:
        status = -1
    while status == 0 and place[0] < s.slab.top:
        e = place[0]
        place[0] = e + 1
        if is_live(&s.slab.entries[e]) and not store_expired(s, e, now):
            key[0] = <PyObject*>s.slab.entries[e].key
            value[0] = <PyObject*>s.slab.entries[e].value
            incref(key[0])
            incref(value[0])
            status = 1
    hotset_unlock(&s.lock)
    return status


cdef inline int store_read(Store* s, PyObject* key, uint32_t hash, double now, PyObject** value, Grave* grave) noexcept:
    """A use of a key: a new reference to its value, or NULL. 0; 1 if there is something in the grave; -1 on an error.

    Takes the lock itself. The grave is written only if the answer is 1.
    """
    cdef uint32_t e
    hotset_lock(&s.lock)
    if store_find(s, key, hash, &e) < 0:
        return -1
    store_note(s, key, hash)
    if e == NIL:
        s.count.misses += 1
        hotset_unlock(&s.lock)
        value[0] = NULL
        return 0
    if s.wheel.timers != NULL and wheel_deadline(&s.wheel, e) <= now:
        grave.head = NIL
        store_bury(s, e, EXPIRED, grave)
        s.count.misses += 1
        hotset_unlock(&s.lock)
        value[0] = NULL
        return 1
    value[0] = <PyObject*>s.slab.entries[e].value
    incref(value[0])
    store_used(s, e, now)
    hotset_unlock(&s.lock)
    return 0


cdef enum:                 # how store_read_same goes about it; a constant where it is inlined
    LEAF                   # no timers, and a policy that needs no call: no frame is necessary
    BY_VERB                # no timers; the policy's verb is called, which is a constant there too where speed matters
    TIMED                  # timers that go by the coarse clock, without idle time; any policy
    ANY_TIME               # the policy's verb is called, and the time is the caller's affair


cdef inline int store_read_same(Store* s, PyObject* key, uint32_t hash, PyObject** value, uint32_t* candidate,
                                int path, hit_verb hit) noexcept nogil:
    """store_read for the commonest case: 1 a hit, 0 a miss, -1 if more has to be looked at, with nothing done.

    `candidate` is then the entry to look at (see store_read_candidate), or NIL.

    The commonest case is a key that is the very object stored, near its home. What is not needed for it is not here: the
    function is inlined into the few entry points that a program calls millions of times a second, and each register more
    that it needs costs all of them. Takes the lock itself.
    """
    cdef uint32_t mask, position, want, e
    cdef uint32_t left = FAR
    cdef Entry* entries
    hotset_lock(&s.lock)
    mask = s.index.mask
    position = hash >> s.index.shift
    want = <uint32_t>(<uint64_t>hash << (s.index.bits + 4))
    while True:
        e = s.index.slots[position]
        if e == 0:
            s.count.misses += 1
            hotset_unlock(&s.lock)
            return 0
        e ^= want                               # as in probe_next
        if e <= mask:
            break
        want += mask + 1
        position = (position + 1) & mask
        left -= 1
        if left == 0:
            hotset_unlock(&s.lock)
            candidate[0] = NIL
            return -1
    candidate[0] = e
    entries = s.slab.entries
    if entries[e].key != key:
        # Very likely an equal key: what store_read_candidate will want next can all come at once.
        hotset_prefetch(entries[e].key)
        hotset_prefetch(<char*>entries[e].key + STR_DATA)
        hotset_prefetch(<char*>key + STR_DATA)
        hotset_prefetch(entries[e].value)
        hotset_prefetch(&entries[entries[e].prev])
        hotset_prefetch(&entries[entries[e].next])
        hotset_unlock(&s.lock)
        return -1
    if path == TIMED and s.wheel.timers != NULL and wheel_deadline(&s.wheel, e) <= hotset_clock_coarse():
        hotset_unlock(&s.lock)
        return -1
    value[0] = <PyObject*>entries[e].value
    incref(value[0])
    s.count.hits += 1
    if path == BY_VERB or path == ANY_TIME:
        hit(s.state, &s.slab, e)
    elif HOTSET_LIKELY(s.policy.on_hit == MOVE_FRONT):
        list_move_front(entries, 0, e)
    elif path == TIMED and s.policy.on_hit == CALL_HIT:
        s.policy.hit(s.state, &s.slab, e)
    hotset_unlock(&s.lock)
    return 1


cdef inline int store_read_candidate(Store* s, PyObject* key, uint32_t hash, uint32_t e, PyObject** value,
                                     bint any_time) noexcept nogil:
    """What store_read_same left over, if it was an equal str, int or bytes in a store without timers: 1, or -1 as there.

    With `any_time` timers do not matter.

    Takes the lock itself; the entry may have gone meanwhile.
    """
    cdef Entry* entry
    cdef int status = -1
    hotset_lock(&s.lock)
    entry = &s.slab.entries[e]
    if e != NIL and e < s.slab.top and entry.hash == hash and is_live(entry) and (any_time or s.wheel.timers == NULL) and (
            hotset_keys_equal(<PyObject*>entry.key, key) > 0):
        status = 1
        value[0] = <PyObject*>entry.value
        incref(value[0])
        s.count.hits += 1
        if s.policy.on_hit == MOVE_FRONT:
            list_move_front(s.slab.entries, 0, e)
        elif s.policy.on_hit == CALL_HIT:
            s.policy.hit(s.state, &s.slab, e)
    hotset_unlock(&s.lock)
    return status


cdef inline int store_read_known(Store* s, PyObject* key, uint32_t hash, double now, PyObject** value) noexcept nogil:
    """store_read where it takes no Python code: 1 a hit, 0 a miss, -1 if store_read has to do it, with nothing done.

    Takes the lock itself.
    """
    cdef Probe probe
    cdef Entry* entry
    cdef uint32_t e
    cdef int equal
    hotset_lock(&s.lock)
    probe_start(&s.index, &probe, hash)
    while True:
        e = probe_next(&s.index, &probe)
        if e == NIL:
            s.count.misses += 1
            store_note(s, key, hash)
            hotset_unlock(&s.lock)
            return 0
        entry = &s.slab.entries[e]
        if entry.key == key:
            break
        if entry.hash == hash:
            hotset_prefetch(entry.value)
            equal = hotset_keys_equal(<PyObject*>entry.key, key)
            if equal > 0:
                break
            if equal < 0:
                hotset_unlock(&s.lock)
                return -1
    if store_expired(s, e, now):
        hotset_unlock(&s.lock)
        return -1
    value[0] = <PyObject*>entry.value
    incref(value[0])
    store_used(s, e, now)
    store_note(s, key, hash)
    hotset_unlock(&s.lock)
    return 1


cdef inline int store_read_any_time(Store* s, PyObject* key, uint32_t hash, PyObject** value) noexcept:
    """store_read where time is the caller's affair, as in ANY_TIME: 0; -1 on an error. Takes the lock itself."""
    cdef uint32_t e
    hotset_lock(&s.lock)
    if store_find(s, key, hash, &e) < 0:
        return -1
    store_note(s, key, hash)
    if e == NIL:
        value[0] = NULL
        s.count.misses += 1
    else:
        value[0] = <PyObject*>s.slab.entries[e].value
        incref(value[0])
        s.policy.hit(s.state, &s.slab, e)
        s.count.hits += 1
    hotset_unlock(&s.lock)
    return 0


cdef inline void store_expire(Store* s, double now, Grave* grave) noexcept nogil:
    """Bury all that has expired. Takes the lock itself."""
    hotset_lock(&s.lock)
    store_bury_due(s, now, True, grave)
    hotset_unlock(&s.lock)


cdef inline void store_clear(Store* s, double now, Grave* grave) noexcept nogil:
    """Bury everything, and let the policy forget what it has learnt. Takes the lock itself."""
    hotset_lock(&s.lock)
    store_bury_due(s, now, True, grave)
    store_bury_all(s, grave)
    hotset_unlock(&s.lock)


cdef inline int store_resize(Store* s, double limit, double now, Grave* grave) noexcept nogil:
    """Change the bound of weight; -1 when memory is out, NO_ROOM when what is never evicted needs more, with nothing changed.

    Takes the lock itself.
    """
    cdef int status
    hotset_lock(&s.lock)
    store_bury_due(s, now, True, grave)
    status = NO_ROOM if store_held(s, NIL) > limit else s.policy.resize(s.state, &s.slab, limit)
    if status == 0:
        s.limit = limit
        store_make_room(s, 0.0, grave)
    hotset_unlock(&s.lock)
    return status


cdef inline int store_fits(Store* s, PyObject* key, uint32_t hash, double weight, uint64_t* version) noexcept:
    """Whether the key could be written with no victim, or with nothing in the store; -1 on an error. Takes the lock itself."""
    cdef uint32_t e
    cdef double after = weight
    cdef bint fits
    hotset_lock(&s.lock)
    if store_find(s, key, hash, &e) < 0:
        return -1
    if e != NIL:
        after -= slab_weight(&s.slab, e)
    fits = s.weight + after <= s.limit or s.index.used == 0
    version[0] = s.version
    hotset_unlock(&s.lock)
    return fits


cdef inline Counters store_counters(Store* s, bint reset) noexcept nogil:
    """What has been counted since the last reset. Takes the lock itself."""
    cdef Counters count
    hotset_lock(&s.lock)
    count = s.count
    if reset:
        memset(&s.count, 0, sizeof(Counters))
    hotset_unlock(&s.lock)
    return count


cdef inline bint store_validate(Store* s) noexcept nogil:
    """Every invariant of the structures, and of what they say of each other; O(n). Nothing may be in a grave.

    Takes the lock itself.
    """
    cdef uint32_t e, live = 0
    cdef double weight = 0.0, slack
    cdef bint right
    hotset_lock(&s.lock)
    for e in range(<uint32_t>SENTINELS, s.slab.top):
        if is_live(&s.slab.entries[e]):
            live += 1
            weight += slab_weight(&s.slab, e)
    slack = 1e-6 * (1.0 + weight)
    right = (live == s.index.used and live == s.slab.live and s.weight <= s.limit
             and weight - slack <= s.weight <= weight + slack and index_validate(&s.index, store_hashes(s))
             and wheel_validate(&s.wheel) and s.policy.validate(s.state, &s.slab))
    hotset_unlock(&s.lock)
    return right
