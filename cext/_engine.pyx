# cython: language_level=3, cdivision=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: freethreading_compatible=True, optimize.use_switch=True
"""The engine's Python face: cache types, the memoizer and replay.

A cache is a slab of entries (core.slab), a hash index over it (core.index), a timer wheel once something can expire
(core.wheel), and one policy (policy.contract) that orders the entries and names victims. This module adds what they do not know:
keys and values, their references, time, locks, errors and the garbage collector.

Three rules keep it correct whatever a key's __eq__, a value's __del__, a listener, a loader or another thread does:

1. ``self.lock`` guards every C field of a cache. With the GIL it is nothing, because no Python code runs where it is
   held; on a free-threaded build it is a PyMutex. Nothing that can run Python code is called under it: not a
   comparison, not a decref that may be the last, not an allocation by Python.
2. What leaves the cache is first buried: unlinked from index, policy and wheel and chained in a ``Grave``, still owned.
   Once the lock is free, ``drop`` tells the listener and gives up the references.
3. Memory is had before anything is linked, so that a MemoryError leaves the cache as it was.
"""
cimport cython
from cpython.object cimport PyObject, PyTypeObject, Py_EQ, visitproc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from core.index cimport (Hashes, Index, MAX_BITS, MIN_BITS, Probe, index_bits_for, index_clear, index_close, index_erase,
                         index_fit, index_init, index_insert, index_validate, probe_next, probe_start)
from core.slab cimport (Entry, NIL, PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc, SENTINELS, Slab,
                        slab_close, slab_full, slab_grow, slab_init, slab_release, slab_take, slab_weight)
from core.wheel cimport (BUCKETS, Timer, Wheel, wheel_cancel, wheel_close, wheel_deadline, wheel_due, wheel_put_off,
                         wheel_reserve, wheel_set, wheel_start, wheel_validate)
from policy.arc cimport arc_policy
from policy.contract cimport Policy
from policy.fifo cimport fifo_policy
from policy.lfu cimport lfu_policy
from policy.lru cimport lru_policy
from policy.rr cimport rr_policy, rr_seed
from policy.wtinylfu cimport wtinylfu_policy

import copyreg
import functools
import math
import os
import random
import reprlib
import threading
import time
import types
from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, ValuesView
from datetime import timedelta
from weakref import ref as weakref_ref

from hotset.stats import CacheStats, ReplayResult

cdef extern from "compat.h" nogil:
    ctypedef struct hotset_mutex:
        pass
    void hotset_lock(hotset_mutex* m)
    void hotset_unlock(hotset_mutex* m)
    double hotset_clock_coarse()
    double hotset_clock_precise()
    uint32_t hotset_mix(Py_hash_t hash)
    Py_hash_t hotset_hash_int64(int64_t value)
    Py_hash_t hotset_hash_uint64(uint64_t value)
    void hotset_prefetch(const void* p)
    double HOTSET_NEVER

cdef extern from "compat.h":
    Py_hash_t hotset_hash(PyObject* o) except? -1
    int hotset_keys_equal(PyObject* a, PyObject* b) noexcept nogil

cdef extern from "Python.h":
    ctypedef int (*traverseproc)(PyObject*, visitproc, void*)
    ctypedef int (*inquiry)(PyObject*)
    ctypedef PyObject* (*vectorcallfunc)(PyObject*, PyObject* const*, size_t, PyObject*)
    ctypedef void* PyCFunction
    ctypedef struct PyMethodDef:
        const char* ml_name
        PyCFunction ml_meth
        int ml_flags
        const char* ml_doc
    ctypedef struct TypeSlots "PyTypeObject":
        traverseproc tp_traverse
        inquiry tp_clear
        unsigned long tp_flags
        Py_ssize_t tp_vectorcall_offset
        void* tp_call
        PyObject* tp_dict
    enum:
        METH_FASTCALL
        METH_KEYWORDS
        Py_TPFLAGS_HAVE_VECTORCALL
        Py_TPFLAGS_METHOD_DESCRIPTOR
    void incref "Py_INCREF"(PyObject*) nogil
    void decref "Py_DECREF"(PyObject*)
    const Py_ssize_t PY_SSIZE_T_MAX
    bint PyUnicode_CheckExact(PyObject*) nogil
    bint PyLong_CheckExact(PyObject*) nogil
    int PyObject_RichCompareBool(PyObject*, PyObject*, int) except -1
    int compare "PyObject_RichCompareBool"(PyObject*, PyObject*, int)
    object PyDescr_NewMethod(PyTypeObject*, PyMethodDef*)
    void PyType_Modified(PyTypeObject*)
    void* PyVectorcall_Call
    Py_ssize_t PyVectorcall_NARGS(size_t) nogil
    PyObject* PyObject_Vectorcall(PyObject*, PyObject* const*, size_t, PyObject*) except NULL
    PyObject* call "PyObject_Vectorcall"(PyObject*, PyObject* const*, size_t, PyObject*)
    int Py_ReprEnter(object) except -1
    void Py_ReprLeave(object)
    object PyMethod_New(object, object)
    void PyErr_Fetch(PyObject**, PyObject**, PyObject**)
    void PyErr_Restore(PyObject*, PyObject*, PyObject*)
    void PyErr_WriteUnraisable(PyObject*)
    void PyErr_SetString(PyObject*, const char*)
    PyObject* PyExc_RuntimeError
    PyObject* PyErr_Occurred()
    int PyErr_CheckSignals() except -1
    int dict_set "PyDict_SetItem"(PyObject*, PyObject*, PyObject*) except -1
    PyObject* PyTuple_New(Py_ssize_t) except NULL
    void PyTuple_SET_ITEM(PyObject*, Py_ssize_t, PyObject*)
    PyObject* tuple_item "PyTuple_GET_ITEM"(PyObject*, Py_ssize_t) nogil
    Py_ssize_t tuple_size "PyTuple_GET_SIZE"(PyObject*) nogil
    PyObject* type_of "(PyObject*)Py_TYPE"(PyObject*) nogil

ctypedef int Cause

cdef enum:                # values of Cause
    EXPLICIT, REPLACED, EXPIRED, SIZE

cdef tuple CAUSES = ("explicit", "replaced", "expired", "size")

cdef enum Clock:
    NO_CLOCK               # nothing can expire
    COARSE                 # time.monotonic, to the kernel's tick
    PRECISE                # time.monotonic, because some life is short
    CALLABLE               # the user's timer

cdef enum:
    BURIED = 1             # low bit of the key of an entry that waits in a grave; objects are aligned
    MAX_COMPARISONS = 1000 # of one lookup whose keys' __eq__ change the cache each time
    BATCH = 128            # keys that get_many and replay look ahead
    SIGNAL_CHECK = 1 << 20 # requests of a replay between two looks for Ctrl-C

cdef double PRECISE_BELOW = 0.1         # seconds: lives this short are measured with the precise clock

cdef object MISSING = object()
cdef object KWD_MARK = object()         # separates positional from keyword arguments in a memoizer's key
cdef object MONOTONIC = time.monotonic
cdef object MICROSECOND = timedelta(microseconds=1)

cdef enum Write:
    SET, ADD


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


cdef inline PyObject* key_of(Entry* entry) noexcept nogil:
    """The key of an entry that may be buried; borrowed."""
    return <PyObject*>(<size_t>entry.key & ~<size_t>BURIED)


cdef inline bint is_live(Entry* entry) noexcept nogil:
    return entry.key != NULL and not <size_t>entry.key & BURIED


cdef inline int checked(int status) except -1:
    """Let an error that C code has set be raised."""
    return status


cdef inline object stolen(PyObject* o):
    """A Python reference in place of one that the caller owns."""
    result = <object>o
    decref(o)
    return result


cdef double seconds_of(object life) except? -1:
    """A time to live as a number; a timedelta in seconds."""
    return life.total_seconds() if isinstance(life, timedelta) else life


cdef int check_life(str name, object life) except -1:
    if life is None:
        return 0
    if not isinstance(life, timedelta) and (isinstance(life, bool) or not hasattr(life, "__float__")):
        raise TypeError(f"{name} must be a number, a timedelta or None, got {life!r}")
    if not seconds_of(life) > 0:
        raise ValueError(f"{name} must be positive, got {life!r}")
    return 0


cdef double as_bound(object maxsize) except -1:
    if isinstance(maxsize, bool) or not isinstance(maxsize, (int, float)):
        try:
            bound = float(maxsize)
        except (TypeError, ValueError):
            raise TypeError(f"maxsize must be a number (math.inf for no bound), got {maxsize!r}") from None
    else:
        bound = float(maxsize) if maxsize < 1 << 1000 else math.inf
    if not bound >= 0:
        raise ValueError(f"maxsize must be non-negative, got {maxsize!r}")
    return bound


cdef object as_number(double x):
    """Weights are doubles inside; whole ones look like the ints that they mostly are."""
    return int(x) if x - x == 0 and x == <double><int64_t>x else x


cdef class Flight:
    """One load on its way. Whoever asks for its key meanwhile waits for it, in whichever thread."""
    cdef object event, value, error, traceback
    cdef unsigned long owner
    cdef int pid
    cdef bint fenced       # the key was written or deleted since: the load's value must not be stored
    cdef bint abandoned    # ended by something that is no Exception: a waiter loads in its stead

    def __cinit__(self):
        self.event = threading.Event()
        self.owner = threading.get_ident()
        self.pid = os.getpid()


# Thread -> the flight that it waits for: what finds two loads that wait for each other.
cdef dict WAITING = {}


cdef int check_deadlock(Flight flight, object key) except -1:
    """Raise if this thread's waiting for the flight would close a ring of waits."""
    cdef Flight ahead = flight
    cdef unsigned long me = threading.get_ident()
    for _ in range(1000):
        if ahead.owner == me:
            raise RuntimeError(f"the load of key {reprlib.repr(key)} waits for itself: its loader asks for the same key")
        ahead = WAITING.get(ahead.owner)
        if ahead is None:
            return 0
    return 0


@cython.trashcan(True)
cdef class Cache:
    """What all caches have in common; use one of its subclasses, one a policy.

    A mutable mapping of at most `maxsize` entries, or of entries whose sizes, as `getsizeof` gives them, sum up to at
    most `maxsize`. Keys must be hashable. Every operation on one key is O(1), amortized over growth. All of it may be
    used from several threads at once and from inside a key's ``__eq__``, a value's ``__del__`` or a listener.
    """
    cdef Slab slab
    cdef Index index
    cdef Wheel wheel
    cdef Policy policy
    cdef void* state
    cdef double* hard      # deadline by ttl where a tti moves the timer's; NULL without both
    cdef uint32_t hard_capacity
    cdef hotset_mutex lock
    cdef double limit      # bound of weight
    cdef double weight     # sum over the entries
    cdef Counters count
    cdef uint64_t version  # grows with every entry that comes or goes
    cdef Clock clock
    cdef bint datetimes    # the timer gives datetimes: time counts in microseconds since `epoch`
    cdef double ttl_, tti_
    cdef bint weighted
    cdef bint making_room
    cdef bint own_popitem, own_getitem, own_setitem, own_delitem, own_missing      # overridden by a subclass
    cdef object maxsize_, getsizeof_, on_evict_, timer_, epoch, ttl_given, tti_given, ttu_
    cdef dict flights
    cdef object __weakref__

    def __cinit__(self):
        self.maxsize_ = 0
        self.timer_ = MONOTONIC
        self.ttl_ = HOTSET_NEVER
        self.tti_ = HOTSET_NEVER

    def __init__(self, maxsize, getsizeof=None, *, ttl=None, tti=None, on_evict=None, timer=time.monotonic):
        """See the class; ttl and tti in seconds."""
        self.configure(maxsize, getsizeof, ttl, tti, on_evict, timer)

    cdef int adopt(self, void (*policy)(Policy*) noexcept nogil) except -1:
        """Called once by a subclass's __cinit__: from here on the cache is valid, if of size 0."""
        policy(&self.policy)
        self.setup(False)
        return 0

    cdef int setup(self, bint weighted) except -1:
        """Empty structures; the old ones, if any, own nothing any more."""
        cdef Slab slab
        cdef Index index
        cdef void* state = PyMem_RawCalloc(1, self.policy.state_size or 1)
        if state == NULL:
            raise MemoryError
        if slab_init(&slab, weighted) != 0:
            PyMem_RawFree(state)
            raise MemoryError
        if index_init(&index, MIN_BITS) != 0:
            slab_close(&slab)
            PyMem_RawFree(state)
            raise MemoryError
        if self.policy.init(state, &slab, self.limit) != 0:
            index_close(&index)
            slab_close(&slab)
            PyMem_RawFree(state)
            raise MemoryError
        self.teardown()
        self.slab = slab
        self.index = index
        self.state = state
        self.weighted = weighted
        return 0

    cdef void teardown(self) noexcept:
        if self.state != NULL:
            self.policy.close(self.state)
            PyMem_RawFree(self.state)
            self.state = NULL
        slab_close(&self.slab)
        index_close(&self.index)
        wheel_close(&self.wheel)
        PyMem_RawFree(self.hard)
        self.hard = NULL
        self.hard_capacity = 0

    cdef int configure(self, maxsize, getsizeof, ttl, tti, on_evict, timer) except -1:
        cdef double limit = as_bound(maxsize)
        cls = type(self)
        if self.state == NULL:
            raise TypeError("Cache is the base of the caches and has no policy: use LRUCache or another subclass")
        for name, function in (("getsizeof", getsizeof), ("on_evict", on_evict)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be callable or None, got {function!r}")
        if not callable(timer):
            raise TypeError(f"timer must be callable, got {timer!r}")
        check_life("ttl", ttl)
        check_life("tti", tti)
        self.clear()
        self.limit = limit
        self.clock = NO_CLOCK
        self.epoch = None
        self.datetimes = False
        self.maxsize_ = maxsize
        self.getsizeof_ = getsizeof
        self.on_evict_ = on_evict
        self.timer_ = timer
        self.ttl_given = ttl
        self.tti_given = tti
        self.ttl_ = HOTSET_NEVER if ttl is None else seconds_of(ttl)
        self.tti_ = HOTSET_NEVER if tti is None else seconds_of(tti)
        memset(&self.count, 0, sizeof(Counters))
        self.own_popitem = cls.popitem is not Cache.popitem
        self.own_getitem = cls.__getitem__ is not Cache.__getitem__
        self.own_setitem = cls.__setitem__ is not Cache.__setitem__
        self.own_delitem = cls.__delitem__ is not Cache.__delitem__
        self.own_missing = cls.__missing__ is not Cache.__missing__
        self.setup(getsizeof is not None or cls.getsizeof is not Cache.getsizeof)
        if self.ttl_ < HOTSET_NEVER or self.tti_ < HOTSET_NEVER:
            self.start_clock(min(self.ttl_, self.tti_))
        return 0

    def __dealloc__(self):
        cdef uint32_t e
        cdef Entry* entry
        for e in range(SENTINELS, self.slab.top):
            entry = &self.slab.entries[e]
            if entry.key != NULL:
                decref(key_of(entry))
                decref(<PyObject*>entry.value)
        self.teardown()

    # ---- time ----

    cdef int start_clock(self, double life) except -1:
        """From now on something may expire; `life` is the shortest known."""
        if self.timer_ is not MONOTONIC:
            self.clock = CALLABLE
        elif life < PRECISE_BELOW or self.clock == PRECISE:
            self.clock = PRECISE
        else:
            self.clock = COARSE
        return 0

    cdef int now(self, double* t) except -1:
        """The present, in the unit of the timer. May call Python: not under the lock."""
        if self.clock == COARSE:
            t[0] = hotset_clock_coarse()
        elif self.clock == CALLABLE:
            t[0] = self.as_time(self.timer_())
        else:
            t[0] = hotset_clock_precise()
        return 0

    cdef double as_time(self, object moment) except? -1:
        """A moment as the timer gives it, as a double."""
        if isinstance(moment, (float, int)):
            return moment
        with cython.critical_section(self):
            if self.epoch is None:
                self.epoch = moment
                difference = moment - moment
                if isinstance(difference, timedelta):
                    self.datetimes = True
                    self.ttl_ *= 1e6
                    self.tti_ *= 1e6
        if self.datetimes:
            return (moment - self.epoch) // MICROSECOND
        return float(moment)

    cdef double as_life(self, object ttl) except? -1:
        """A time to live that a caller gave, in the unit of the timer; the clock is running."""
        check_life("ttl", ttl)
        life = seconds_of(ttl)
        return life * 1e6 if self.datetimes else life

    # ---- entries ----

    cdef inline Hashes hashes(self) noexcept nogil:
        cdef Hashes hashes
        hashes.base = <char*>&self.slab.entries[0].hash
        hashes.stride = sizeof(Entry)
        return hashes

    cdef inline int find(self, PyObject* key, uint32_t hash, uint32_t* found) noexcept:
        """Look for a key; `found` is NIL when it is not there.

        Called with the lock held. On an error it answers -1, the Python error is set, and the lock is free.
        """
        cdef Probe probe
        cdef Entry* entry
        cdef uint32_t e
        cdef int equal
        probe_start(&self.index, &probe, hash)
        while True:
            e = probe_next(&self.index, &probe)
            if e == NIL:
                found[0] = NIL
                return 0
            entry = &self.slab.entries[e]
            if entry.key == key:
                found[0] = e
                return 0
            if entry.hash == hash:
                hotset_prefetch(&self.slab.entries[entry.next])
                hotset_prefetch(&self.slab.entries[entry.prev if entry.prev < self.slab.top else 0])
                equal = hotset_keys_equal(<PyObject*>entry.key, key)
                if equal > 0:
                    found[0] = e
                    return 0
                if equal < 0:
                    return self.find_by_comparison(key, hash, found)

    cdef int find_by_comparison(self, PyObject* key, uint32_t hash, uint32_t* found) noexcept:
        """The same for keys that only Python can compare, which may run any code: the lock is free meanwhile."""
        cdef Probe probe
        cdef PyObject* stored
        cdef uint32_t e
        cdef uint64_t version
        cdef int equal, comparisons
        probe_start(&self.index, &probe, hash)
        for comparisons in range(MAX_COMPARISONS):
            while True:
                e = probe_next(&self.index, &probe)
                if e == NIL:
                    found[0] = NIL
                    return 0
                stored = <PyObject*>self.slab.entries[e].key
                if stored == key:
                    found[0] = e
                    return 0
                if self.slab.entries[e].hash != hash:
                    continue
                equal = hotset_keys_equal(stored, key)
                if equal > 0:
                    found[0] = e
                    return 0
                if equal < 0:
                    break
            version = self.version
            incref(stored)
            hotset_unlock(&self.lock)
            equal = compare(stored, key, Py_EQ)
            if equal < 0:
                decref(stored)
                return -1
            hotset_lock(&self.lock)
            if version == self.version or (
                    equal and e < self.slab.top and self.slab.entries[e].key == stored):
                decref(stored)                  # not the last: the entry holds one
                if equal:
                    found[0] = e
                    return 0
            else:
                hotset_unlock(&self.lock)
                decref(stored)
                hotset_lock(&self.lock)
                probe_start(&self.index, &probe, hash)
        hotset_unlock(&self.lock)
        PyErr_SetString(PyExc_RuntimeError, b"cache changed 1000 times during one lookup: does a key's __eq__ change it?")
        return -1

    cdef inline void bury(self, uint32_t e, Cause cause, Grave* grave) noexcept nogil:
        """Unlink an entry for a cause and chain it in the grave. Called with the lock held."""
        cdef Entry* entry = &self.slab.entries[e]
        index_erase(&self.index, self.hashes(), entry.hash, e)
        self.policy.remove(self.state, &self.slab, e, cause == SIZE)
        if self.wheel.timers != NULL:
            wheel_cancel(&self.wheel, e)
        self.weight -= slab_weight(&self.slab, e)
        if self.index.used == 0:
            self.weight = 0.0                   # what rounding left over must not add up
        self.version += 1
        self.count.removed[cause] += 1
        entry.key = <void*>(<size_t>entry.key | BURIED)
        entry.next = NIL
        entry.mark = cause
        if grave.head == NIL:
            grave.head = e
        else:
            self.slab.entries[grave.tail].next = e
        grave.tail = e

    cdef void drop(self, Grave* grave) noexcept:
        """Tell the listener of what was buried and give the references up. The lock is free; an error that is set stays."""
        cdef uint32_t e = grave.head, cause
        cdef PyObject* key
        cdef PyObject* value
        cdef PyObject* error[3]
        cdef bint failed = PyErr_Occurred() != NULL
        if failed:
            PyErr_Fetch(&error[0], &error[1], &error[2])
        while e != NIL:
            hotset_lock(&self.lock)
            key = key_of(&self.slab.entries[e])
            value = <PyObject*>self.slab.entries[e].value
            cause = self.slab.entries[e].mark
            grave.head = self.slab.entries[e].next
            slab_release(&self.slab, e)
            hotset_unlock(&self.lock)
            if self.on_evict_ is not None:
                self.tell(key, value, cause)
            decref(key)
            decref(value)
            e = grave.head
        if failed:
            PyErr_Restore(error[0], error[1], error[2])

    cdef void tell(self, PyObject* key, PyObject* value, uint32_t cause) noexcept:
        """Call the listener. What it raises goes to sys.unraisablehook, because the operation stands."""
        cdef PyObject* result
        cdef PyObject* arguments[3]
        listener = self.on_evict_
        if listener is not None:
            arguments[0] = key
            arguments[1] = value
            arguments[2] = <PyObject*>CAUSES[cause]
            result = call(<PyObject*>listener, arguments, 3, NULL)
            if result == NULL:
                PyErr_WriteUnraisable(<PyObject*>listener)
            else:
                decref(result)

    cdef inline void bury_due(self, double t, bint exact, Grave* grave) noexcept nogil:
        """Bury what has expired. Called with the lock held."""
        cdef uint32_t e
        if self.wheel.timers != NULL:
            while True:
                e = wheel_due(&self.wheel, t, exact)
                if e == NIL:
                    return
                self.bury(e, EXPIRED, grave)

    cdef inline bint expired(self, uint32_t e, double t) noexcept nogil:
        return self.wheel.timers != NULL and wheel_deadline(&self.wheel, e) <= t

    cdef inline void used(self, uint32_t e, double t) noexcept nogil:
        """Put off the end of an entry's idle time."""
        cdef double deadline
        if self.tti_ < HOTSET_NEVER and self.wheel.timers != NULL:
            deadline = t + self.tti_
            if self.hard != NULL and self.hard[e] < deadline:
                deadline = self.hard[e]
            wheel_put_off(&self.wheel, e, deadline)

    cdef int reserve(self, double t, double deadline) noexcept nogil:
        """Have the memory that one more entry with that deadline needs; -1 when it is out, with the cache as it was."""
        cdef uint64_t capacity
        cdef double* hard
        if slab_full(&self.slab):
            capacity = <uint64_t>self.slab.capacity + (self.slab.capacity >> 1) + 4
            if not self.weighted and self.limit + SENTINELS + 2 < capacity and self.limit + SENTINELS + 2 > self.slab.capacity:
                capacity = <uint64_t>self.limit + SENTINELS + 2
            if capacity > <uint64_t>1 << MAX_BITS:
                capacity = <uint64_t>1 << MAX_BITS
                if capacity <= self.slab.capacity:
                    return -1
            if index_fit(&self.index, self.hashes(), self.index.used + 1, capacity) != 0:
                return -1
            if slab_grow(&self.slab, <uint32_t>capacity) != 0:
                return -1
        if index_fit(&self.index, self.hashes(), self.index.used + 1, self.slab.capacity) != 0:
            return -1
        if self.wheel.timers != NULL or min(deadline, self.tti_) < HOTSET_NEVER:
            if self.wheel.timers == NULL:
                wheel_start(&self.wheel, t, min(deadline - t, self.tti_))
            if wheel_reserve(&self.wheel, self.slab.capacity) != 0:
                return -1
            if self.tti_ < HOTSET_NEVER and self.hard_capacity < self.slab.capacity:
                hard = <double*>PyMem_RawRealloc(self.hard, self.slab.capacity * sizeof(double))
                if hard == NULL:
                    return -1
                self.hard = hard
                self.hard_capacity = self.slab.capacity
        return self.policy.reserve(self.state, &self.slab)

    cdef inline void schedule(self, uint32_t e, double t, double deadline) noexcept nogil:
        """Set the timer of an entry that was just written. Called where the wheel has room for it."""
        if self.tti_ < HOTSET_NEVER:
            self.hard[e] = deadline
            deadline = min(deadline, t + self.tti_)
        wheel_set(&self.wheel, e, deadline)

    cdef inline int read(self, PyObject* key, PyObject** value) except -1:
        """A use of a key: a new reference to its value, or NULL when it is not there."""
        cdef uint32_t hash = hotset_mix(hotset_hash(key))
        cdef uint32_t e
        cdef double t = 0.0
        if self.clock != NO_CLOCK:
            self.now(&t)
        hotset_lock(&self.lock)
        if self.find(key, hash, &e) < 0:
            return -1
        if e == NIL:
            self.count.misses += 1
            hotset_unlock(&self.lock)
            value[0] = NULL
            return 0
        if self.wheel.timers != NULL:
            if wheel_deadline(&self.wheel, e) <= t:
                value[0] = NULL
                return self.read_expired(e)
            self.used(e, t)
        self.policy.hit(self.state, &self.slab, e)
        self.count.hits += 1
        value[0] = <PyObject*>self.slab.entries[e].value
        incref(value[0])
        hotset_unlock(&self.lock)
        return 0

    cdef int read_expired(self, uint32_t e) except -1:
        """The rest of a read that found an expired entry; called with the lock held, which it frees."""
        cdef Grave grave = [NIL, NIL]
        self.count.misses += 1
        self.bury(e, EXPIRED, &grave)
        hotset_unlock(&self.lock)
        self.drop(&grave)
        return 0

    cdef PyObject* glance(self, PyObject* key) except? NULL:
        """A new reference to a key's value without a trace, or NULL without an error."""
        cdef uint32_t hash = hotset_mix(hotset_hash(key))
        cdef PyObject* value = NULL
        cdef uint32_t e
        cdef double t = 0.0
        if self.clock != NO_CLOCK:
            self.now(&t)
        hotset_lock(&self.lock)
        if self.find(key, hash, &e) < 0:
            return NULL
        if e != NIL and not self.expired(e, t):
            value = <PyObject*>self.slab.entries[e].value
            incref(value)
        hotset_unlock(&self.lock)
        return value

    cdef double weigh(self, object value) except? -1:
        cdef double weight
        size = self.getsizeof(value)
        try:
            weight = size
        except TypeError:
            raise TypeError(f"getsizeof must return a number, got {size!r}") from None
        if not weight >= 0:
            raise ValueError(f"value size must be non-negative, got {size!r}")
        return weight

    cdef int lifetime(self, object key, object value, object ttl, double* t, double* deadline) except -1:
        """The present and the deadline of an entry that is being written; 0 if it has expired already."""
        if ttl is None and self.clock == NO_CLOCK and self.ttu_ is None:
            t[0] = 0.0
            deadline[0] = HOTSET_NEVER
            return 1
        if ttl is not None:
            check_life("ttl", ttl)
            if seconds_of(ttl) < HOTSET_NEVER:
                self.start_clock(seconds_of(ttl))
        if self.ttu_ is not None:
            self.start_clock(HOTSET_NEVER)
        if self.ttu_ is not None and ttl is None:
            moment = self.timer_()
            t[0] = self.as_time(moment)
            deadline[0] = self.as_time(self.ttu_(key, value, moment))
            if self.ttl_ < HOTSET_NEVER:
                deadline[0] = min(deadline[0], t[0] + self.ttl_)
        else:
            self.now(t)
            deadline[0] = t[0] + (self.ttl_ if ttl is None else self.as_life(ttl))
        return deadline[0] > t[0]

    cdef int write(self, object key, object value, object ttl, Write mode, Flight flight) except -1:
        """Set or add a key. 1 if it was written. A flight stores its value only if nothing has fenced it."""
        cdef uint32_t hash = hotset_mix(hotset_hash(<PyObject*>key))
        cdef double weight = 1.0, t, deadline
        if self.weighted:
            weight = self.weigh(value)
        if weight > self.limit:
            if flight is not None:
                return 0
            raise ValueError("value too large")
        if self.flights is not None and flight is None:
            self.fence(key)
        if not self.lifetime(key, value, ttl, &t, &deadline):
            if mode == SET:
                self.discard(key, EXPIRED)
            return 0
        if self.own_popitem:
            self.make_room(key, hash, weight)
        return self.put(<PyObject*>key, <PyObject*>value, hash, weight, t, deadline, mode, flight)

    cdef int put(self, PyObject* key, PyObject* value, uint32_t hash, double weight, double t, double deadline,
                 Write mode, Flight flight) except -1:
        """The part of a write that needs the lock."""
        cdef Grave grave = [NIL, NIL]
        cdef Entry* entry
        cdef uint32_t e, victim
        cdef double old, room
        cdef PyObject* old_value
        hotset_lock(&self.lock)
        self.bury_due(t, False, &grave)
        if self.find(key, hash, &e) < 0:
            self.drop(&grave)
            return -1
        if e != NIL and self.expired(e, t):
            self.bury(e, EXPIRED, &grave)
            e = NIL
        if flight is not None and flight.fenced or e != NIL and mode == ADD:
            hotset_unlock(&self.lock)
            self.drop(&grave)
            return 0
        if e != NIL:
            old = slab_weight(&self.slab, e)
            if self.reserve(t, deadline) != 0:
                hotset_unlock(&self.lock)
                self.drop(&grave)
                raise MemoryError
            room = weight - old
            while e != NIL and self.weight + room > self.limit:
                victim = self.policy.victim(self.state, &self.slab)
                if victim == e:
                    self.bury(e, REPLACED, &grave)
                    e = NIL
                else:
                    self.bury(victim, SIZE, &grave)
        if e != NIL:
            entry = &self.slab.entries[e]
            old_value = <PyObject*>entry.value
            incref(value)
            entry.value = value
            if self.weighted:
                self.slab.weights[e] = weight
                self.weight += weight - old
                self.policy.reweigh(self.state, &self.slab, e, old)
            self.policy.update(self.state, &self.slab, e)
            if self.wheel.timers != NULL:
                self.schedule(e, t, deadline)
            self.count.updates += 1
            self.count.removed[REPLACED] += 1
            if self.on_evict_ is not None:
                key = <PyObject*>entry.key
                incref(key)
                hotset_unlock(&self.lock)
                self.drop(&grave)
                self.tell(key, old_value, REPLACED)
                decref(key)
            else:
                hotset_unlock(&self.lock)
                self.drop(&grave)
            decref(old_value)
            return 1
        if self.reserve(t, deadline) != 0:
            hotset_unlock(&self.lock)
            self.drop(&grave)
            raise MemoryError
        self.policy.prepare(self.state, &self.slab, hash)
        while self.weight + weight > self.limit:
            victim = self.policy.victim(self.state, &self.slab)
            if victim == NIL:
                break
            self.bury(victim, SIZE, &grave)
        e = slab_take(&self.slab)
        entry = &self.slab.entries[e]
        incref(key)
        incref(value)
        entry.key = key
        entry.value = value
        entry.hash = hash
        if self.weighted:
            self.slab.weights[e] = weight
        index_insert(&self.index, hash, e)
        self.weight += weight
        self.policy.insert(self.state, &self.slab, e)
        if self.wheel.timers != NULL:
            self.schedule(e, t, deadline)
        self.version += 1
        self.count.inserts += 1
        hotset_unlock(&self.lock)
        if grave.head != NIL:
            self.drop(&grave)
        return 1

    cdef int make_room(self, object key, uint32_t hash, double weight) except -1:
        """Let an overridden popitem make the room that a write needs, as subclasses of cachetools' caches expect."""
        cdef uint32_t e, used
        cdef bint fits
        while True:
            hotset_lock(&self.lock)
            if self.find(<PyObject*>key, hash, &e) < 0:
                return -1
            fits = self.weight + weight - (slab_weight(&self.slab, e) if e != NIL else 0.0) <= self.limit
            used = self.index.used
            hotset_unlock(&self.lock)
            if fits or used == 0:
                return 0
            self.making_room = True
            try:
                self.popitem()
            finally:
                self.making_room = False
            if self.index.used == used:
                raise RuntimeError(f"{type(self).__name__}.popitem() removed nothing, so there is no room for {key!r}")

    cdef PyObject* take(self, PyObject* key, Cause cause) except? NULL:
        """Remove a key: a new reference to its value, or NULL without an error when it is not there."""
        cdef uint32_t hash = hotset_mix(hotset_hash(key))
        cdef Grave grave = [NIL, NIL]
        cdef PyObject* value = NULL
        cdef uint32_t e
        cdef double t = 0.0
        if self.flights is not None:
            self.fence(<object>key)
        if self.clock != NO_CLOCK:
            self.now(&t)
        hotset_lock(&self.lock)
        if self.find(key, hash, &e) < 0:
            return NULL
        if e != NIL:
            if self.expired(e, t):
                cause = EXPIRED
            else:
                value = <PyObject*>self.slab.entries[e].value
                incref(value)
            self.bury(e, cause, &grave)
        hotset_unlock(&self.lock)
        self.drop(&grave)
        return value

    cdef bint discard(self, object key, Cause cause) except -1:
        """Remove a key; whether it was there."""
        cdef PyObject* value = self.take(<PyObject*>key, cause)
        if value != NULL:
            decref(value)
        return value != NULL

    cdef list snapshot(self, bint hottest_first, Py_ssize_t most, bint full):
        """The entries in the policy's order: (key, value), or with `full` all that a copy needs.

        References are gathered under the lock and turned into tuples afterwards, because allocation by Python can run
        finalizers that change the cache.
        """
        cdef Py_ssize_t n = 0, i, step
        cdef uint32_t e = NIL
        cdef double t = 0.0
        cdef Entry* copied
        cdef double* lives
        cdef double* weights
        cdef uint64_t* ranks
        if self.clock != NO_CLOCK:
            self.now(&t)
        hotset_lock(&self.lock)
        i = self.index.used
        copied = <Entry*>PyMem_RawMalloc((i + 1) * sizeof(Entry))
        lives = <double*>PyMem_RawMalloc((i + 1) * sizeof(double))
        weights = <double*>PyMem_RawMalloc((i + 1) * sizeof(double))
        ranks = <uint64_t*>PyMem_RawMalloc((i + 1) * sizeof(uint64_t))
        if copied == NULL or lives == NULL or weights == NULL or ranks == NULL:
            hotset_unlock(&self.lock)
            PyMem_RawFree(copied)
            PyMem_RawFree(lives)
            PyMem_RawFree(weights)
            PyMem_RawFree(ranks)
            raise MemoryError
        while hottest_first or n < most:
            e = self.policy.walk(self.state, &self.slab, e)
            if e == NIL:
                break
            if self.expired(e, t):
                continue
            copied[n] = self.slab.entries[e]
            incref(<PyObject*>copied[n].key)
            incref(<PyObject*>copied[n].value)
            lives[n] = HOTSET_NEVER
            if self.wheel.timers != NULL:
                lives[n] = (self.hard[e] if self.hard != NULL else wheel_deadline(&self.wheel, e)) - t
            weights[n] = slab_weight(&self.slab, e)
            ranks[n] = self.policy.rank(self.state, &self.slab, e)
            n += 1
        hotset_unlock(&self.lock)
        result = []
        try:
            for step in range(min(n, most)):
                i = n - 1 - step if hottest_first else step
                key = <object><PyObject*>copied[i].key
                value = <object><PyObject*>copied[i].value
                result.append((key, value, weights[i], lives[i], ranks[i]) if full else (key, value))
        finally:
            for i in range(n):
                decref(<PyObject*>copied[i].key)
                decref(<PyObject*>copied[i].value)
            PyMem_RawFree(copied)
            PyMem_RawFree(lives)
            PyMem_RawFree(weights)
            PyMem_RawFree(ranks)
        return result

    # ---- single flight ----

    cdef int fence(self, object key) except -1:
        """Whatever load of the key is on its way must not store its value any more."""
        if self.flights:
            flight = self.flights.get(key)
            if flight is not None:
                (<Flight>flight).fenced = True
        return 0

    cdef int fence_all(self) except -1:
        if self.flights:
            for flight in list(self.flights.values()):
                (<Flight>flight).fenced = True
        return 0

    cdef object load(self, object key, object loader, tuple arguments, object ttl):
        """Call ``loader(*arguments)`` and store what it returns, or wait for the thread that does."""
        cdef Flight flight, ahead
        cdef PyObject* value
        with cython.critical_section(self):
            if self.flights is None:
                self.flights = {}
        flight = Flight()
        while True:
            ahead = self.flights.setdefault(key, flight)
            if ahead is flight:
                break
            if ahead.pid != flight.pid:                # its thread stayed behind when this process was forked
                if self.flights.get(key) is ahead:
                    self.flights.pop(key, None)
                continue
            WAITING[flight.owner] = ahead
            try:
                check_deadlock(ahead, key)
                ahead.event.wait()
            finally:
                WAITING.pop(flight.owner, None)
            if ahead.error is not None:
                raise ahead.error.with_traceback(ahead.traceback)
            if not ahead.abandoned:
                return ahead.value
        try:
            value = self.glance(<PyObject*>key)        # stored between the caller's miss and this flight
            if value != NULL:
                flight.value = stolen(value)
                return flight.value
            self.count.loads += 1
            try:
                flight.value = loader(*arguments)
            except BaseException as error:
                self.count.load_failures += 1
                if isinstance(error, Exception):
                    flight.error = error
                    flight.traceback = error.__traceback__
                else:
                    flight.abandoned = True
                raise
            self.write(key, flight.value, ttl, SET, flight)
            return flight.value
        finally:
            if self.flights.get(key) is flight:
                self.flights.pop(key, None)
            flight.event.set()

    def get_or_load(self, key, loader, ttl=None):
        """Return the key's value, or call ``loader(key)``, store what it returns and return it.

        One thread loads a key at a time, the others wait for it. A load that fails raises in all of them and stores nothing.
        If the key is written, deleted or the cache cleared while it is being loaded, the loaded value is returned but not
        stored. A value that is too large is returned and not stored.

        Raises RuntimeError when a loader asks for a key whose load waits for it.
        """
        cdef PyObject* value
        self.read(<PyObject*>key, &value)
        if value != NULL:
            return stolen(value)
        return self.load(key, loader, (key,), ttl)

    # ---- mapping ----

    def __getitem__(self, key):
        cdef PyObject* value
        self.read(<PyObject*>key, &value)
        if value != NULL:
            return stolen(value)
        if self.own_missing:
            return self.__missing__(key)
        raise KeyError(key)

    def __missing__(self, key):
        """Called by ``cache[key]`` for a key that is not there; a subclass may compute, store and return a value."""
        raise KeyError(key)

    def __setitem__(self, key, value):
        self.write(key, value, None, SET, None)

    def __delitem__(self, key):
        if not self.discard(key, EXPLICIT):
            raise KeyError(key)

    def __contains__(self, key):
        cdef PyObject* value = self.glance(<PyObject*>key)
        if value != NULL:
            decref(value)
        return value != NULL

    def __len__(self):
        self.expire_now()
        return self.index.used

    def __iter__(self):
        return CacheIterator(self, 0)

    def __eq__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        return dict(self.items()) == dict(other.items())

    __hash__ = None

    def __repr__(self):
        name = type(self).__name__
        if Py_ReprEnter(self):
            return f"{name}(...)"
        try:
            return f"{name}({dict(self.items())!r}, maxsize={self.maxsize_!r}, currsize={self.currsize!r})"
        finally:
            Py_ReprLeave(self)

    def keys(self):
        """A view of the keys."""
        return KeysView(self)

    def values(self):
        """A view of the values; looking at them is no use of them."""
        return CacheValues(self)

    def items(self):
        """A view of (key, value) pairs; looking at them is no use of them."""
        return CacheItems(self)

    cdef object get_as_overridden(self, object key, object default):
        """What cachetools' get does, for a subclass that reads in its own way."""
        return self[key] if key in self else default

    def set(self, key, value, ttl=None):
        """Write a key. `ttl` is this entry's time to live, in place of the cache's; math.inf for none.

        Raises ValueError("value too large") if the value's size is above maxsize; the cache is as it was then. O(1).
        """
        self.write(key, value, ttl, SET, None)

    def add(self, key, value, ttl=None):
        """Write a key that is not there; whether it was written."""
        return self.write(key, value, ttl, ADD, None) == 1

    def peek(self, key, default=None):
        """The key's value without counting as a use."""
        cdef PyObject* value = self.glance(<PyObject*>key)
        return stolen(value) if value != NULL else default

    def touch(self, key, ttl=None):
        """Use a key without reading it and begin its time to live anew; whether it is there."""
        cdef Grave grave = [NIL, NIL]
        cdef uint32_t hash = hotset_mix(hotset_hash(<PyObject*>key))
        cdef uint32_t e
        cdef double t, deadline
        cdef PyObject* value = NULL
        if self.ttu_ is not None and ttl is None:
            value = self.glance(<PyObject*>key)
            if value == NULL:
                return False
        try:
            self.lifetime(key, <object>value if value != NULL else None, ttl, &t, &deadline)
        finally:
            if value != NULL:
                decref(value)
        hotset_lock(&self.lock)
        checked(self.find(<PyObject*>key, hash, &e))
        if e != NIL and self.expired(e, t):
            self.bury(e, EXPIRED, &grave)
            e = NIL
        if e != NIL:
            if self.reserve(t, deadline) != 0:
                hotset_unlock(&self.lock)
                raise MemoryError
            self.policy.hit(self.state, &self.slab, e)
            if self.wheel.timers != NULL:
                self.schedule(e, t, deadline)
        hotset_unlock(&self.lock)
        self.drop(&grave)
        return e != NIL

    def pop(self, key, default=MISSING):
        """Remove a key and return its value, or the default. Raises KeyError without one."""
        cdef PyObject* value
        if self.own_delitem or self.own_getitem:
            if key in self:
                result = self[key]
                del self[key]
                return result
        else:
            value = self.take(<PyObject*>key, EXPLICIT)
            if value != NULL:
                return stolen(value)
        if default is MISSING:
            raise KeyError(key)
        return default

    def popitem(self):
        """Remove and return the (key, value) pair that the policy would evict next. Raises KeyError when empty."""
        cdef Grave grave = [NIL, NIL]
        cdef Entry entry
        cdef uint32_t e
        cdef double t = 0.0
        if self.clock != NO_CLOCK:
            self.now(&t)
        hotset_lock(&self.lock)
        self.bury_due(t, True, &grave)
        e = self.policy.victim(self.state, &self.slab)
        if e != NIL:
            entry = self.slab.entries[e]
            incref(<PyObject*>entry.key)
            incref(<PyObject*>entry.value)
            self.bury(e, SIZE if self.making_room else EXPLICIT, &grave)
        hotset_unlock(&self.lock)
        self.drop(&grave)
        if e == NIL:
            raise KeyError(f"{type(self).__name__} is empty") from None
        result = (stolen(<PyObject*>entry.key), stolen(<PyObject*>entry.value))
        if self.flights is not None:
            self.fence(result[0])
        return result

    def setdefault(self, key, default=None):
        """The key's value; the default, which is stored, if it is not there."""
        cdef PyObject* value
        if self.own_setitem or self.own_getitem:
            if key in self:
                return self[key]
            self[key] = default
            return default
        while True:
            self.read(<PyObject*>key, &value)
            if value != NULL:
                return stolen(value)
            if self.write(key, default, None, ADD, None) or not self.__contains__(key):
                return default

    def update(self, other=(), /, **kwargs):
        """Write all pairs of a mapping or an iterable of pairs, and of the keywords."""
        for pairs in (other, kwargs):
            if self.own_setitem:
                for key, value in pairs_of(pairs):
                    self[key] = value
            else:
                self.set_many(pairs)

    def clear(self):
        """Remove all entries, and forget what the policy has learnt."""
        cdef Grave grave = [NIL, NIL]
        cdef uint32_t e
        self.fence_all()
        hotset_lock(&self.lock)
        for e in range(SENTINELS, self.slab.top):
            if is_live(&self.slab.entries[e]):
                if grave.head == NIL:
                    grave.head = e
                else:
                    self.slab.entries[grave.tail].next = e
                grave.tail = e
                if self.wheel.timers != NULL:
                    wheel_cancel(&self.wheel, e)
                self.slab.entries[e].key = <void*>(<size_t>self.slab.entries[e].key | BURIED)
                self.slab.entries[e].next = NIL
                self.slab.entries[e].mark = EXPLICIT
        self.count.removed[EXPLICIT] += self.index.used
        index_clear(&self.index)
        self.policy.clear(self.state, &self.slab)
        self.weight = 0.0
        self.version += 1
        hotset_unlock(&self.lock)
        self.drop(&grave)

    def copy(self):
        """A shallow copy, with the policy's state."""
        return self.__copy__()

    # ---- many keys ----

    def get_many(self, keys, /):
        """The keys that are there, as a dict with their values; each key counts as a read.

        One pass looks up, the next compares: for large caches that is several times cheaper a key than a loop.
        """
        cdef PyObject* values[BATCH]
        cdef uint32_t hashes[BATCH]
        cdef Py_ssize_t start = 0, i, n, total
        cdef double t = 0.0
        cdef int failed
        items = keys if type(keys) is tuple else tuple(keys)
        total = len(items)
        result = {}
        while start < total:
            n = min(total - start, <Py_ssize_t>BATCH)
            for i in range(n):
                hashes[i] = hotset_mix(hotset_hash(tuple_item(<PyObject*>items, start + i)))
            if self.clock != NO_CLOCK:
                self.now(&t)
            failed = self.read_batch(<PyObject*>items, start, n, hashes, values, t)
            try:
                checked(failed)
                for i in range(n):
                    if values[i] != NULL:
                        dict_set(<PyObject*>result, tuple_item(<PyObject*>items, start + i), values[i])
            finally:
                for i in range(n):
                    if values[i] != NULL:
                        decref(values[i])
            start += n
        return result

    cdef int read_batch(self, PyObject* items, Py_ssize_t start, Py_ssize_t n, uint32_t* hashes, PyObject** values,
                        double t) noexcept:
        """New references to the values of up to BATCH keys, NULL for those not there; -1 with an error set."""
        cdef Grave grave = [NIL, NIL]
        cdef uint32_t firsts[BATCH]
        cdef Probe probe
        cdef Py_ssize_t i
        cdef uint32_t e
        cdef Entry* entry
        memset(values, 0, n * sizeof(PyObject*))
        hotset_lock(&self.lock)
        for i in range(n):
            hotset_prefetch(&self.index.slots[hashes[i] >> self.index.shift])
        for i in range(n):
            probe_start(&self.index, &probe, hashes[i])
            firsts[i] = probe_next(&self.index, &probe)
            hotset_prefetch(&self.slab.entries[firsts[i]])
            if self.wheel.timers != NULL:
                hotset_prefetch(&self.wheel.timers[BUCKETS + firsts[i]])
        for i in range(n):
            if firsts[i] != NIL:
                entry = &self.slab.entries[firsts[i]]
                hotset_prefetch(entry.key)
                hotset_prefetch(entry.value)
                hotset_prefetch(&self.slab.entries[entry.next if entry.next < self.slab.top else 0])
                hotset_prefetch(&self.slab.entries[entry.prev if entry.prev < self.slab.top else 0])
        for i in range(n):
            if self.find(tuple_item(items, start + i), hashes[i], &e) < 0:
                self.drop(&grave)
                return -1
            if e != NIL and self.expired(e, t):
                self.bury(e, EXPIRED, &grave)
                e = NIL
            if e == NIL:
                self.count.misses += 1
                continue
            self.used(e, t)
            self.policy.hit(self.state, &self.slab, e)
            self.count.hits += 1
            values[i] = <PyObject*>self.slab.entries[e].value
            incref(values[i])
        hotset_unlock(&self.lock)
        self.drop(&grave)
        return 0

    def set_many(self, items, ttl=None):
        """Write all pairs of a mapping or an iterable of pairs. What was written before an error stays."""
        for key, value in pairs_of(items):
            self.write(key, value, ttl, SET, None)

    def delete_many(self, keys, /):
        """Remove keys; how many were there."""
        cdef Py_ssize_t removed = 0
        for key in list(keys):
            removed += self.discard(key, EXPLICIT)
        return removed

    # ---- looking inside ----

    def coldest(self, n=None, /):
        """The (key, value) pairs that the policy would evict first, the next victim at the front; all, or n of them.

        No use of them. In random replacement the order means nothing. O(n).
        """
        return self.snapshot(False, PY_SSIZE_T_MAX if n is None else n, False)

    def hottest(self, n=None, /):
        """The (key, value) pairs that the policy would evict last, the hottest at the front; all, or n of them.

        No use of them. O(len).
        """
        return self.snapshot(True, PY_SSIZE_T_MAX if n is None else n, False)

    def stats(self, reset=False):
        """A CacheStats of what has happened since the cache was made or the last reset."""
        cdef Counters count
        hotset_lock(&self.lock)
        count = self.count
        if reset:
            memset(&self.count, 0, sizeof(Counters))
        hotset_unlock(&self.lock)
        return CacheStats(count.hits, count.misses, count.inserts, count.updates, count.removed[SIZE],
                          count.removed[EXPIRED], count.removed[EXPLICIT], count.removed[REPLACED],
                          count.loads, count.load_failures)

    def expire(self, time=None):
        """Remove all expired entries, as of now or a given time, and return them as a list of (key, value) pairs.

        Amortized O(1) an entry removed: the others are not looked at.
        """
        cdef double t = 0.0
        cdef Grave grave = [NIL, NIL]
        cdef uint32_t e
        cdef Py_ssize_t n = 0
        if time is not None:
            t = self.as_time(time)
        elif self.clock != NO_CLOCK:
            self.now(&t)
        hotset_lock(&self.lock)
        self.bury_due(t, True, &grave)
        e = grave.head
        while e != NIL:
            incref(key_of(&self.slab.entries[e]))
            incref(<PyObject*>self.slab.entries[e].value)
            n += 1
            e = self.slab.entries[e].next
        hotset_unlock(&self.lock)
        return self.drop_into_list(&grave, n)

    cdef list drop_into_list(self, Grave* grave, Py_ssize_t n):
        """Drop a grave whose n keys and values the caller has a second reference to; these go into the list."""
        cdef PyObject** owned = <PyObject**>PyMem_RawMalloc((2 * n + 1) * sizeof(PyObject*))
        cdef Py_ssize_t i = 0
        cdef uint32_t e
        if owned == NULL:
            hotset_lock(&self.lock)
            e = grave.head
            while e != NIL:
                decref(key_of(&self.slab.entries[e]))          # not the last ones
                decref(<PyObject*>self.slab.entries[e].value)
                e = self.slab.entries[e].next
            hotset_unlock(&self.lock)
            self.drop(grave)
            raise MemoryError
        hotset_lock(&self.lock)
        e = grave.head
        while e != NIL:
            owned[i] = key_of(&self.slab.entries[e])
            owned[i + 1] = <PyObject*>self.slab.entries[e].value
            i += 2
            e = self.slab.entries[e].next
        hotset_unlock(&self.lock)
        self.drop(grave)
        try:
            return [(<object>owned[i], <object>owned[i + 1]) for i in range(0, 2 * n, 2)]
        finally:
            for i in range(2 * n):
                decref(owned[i])
            PyMem_RawFree(owned)

    cdef int expire_now(self) except -1:
        """Remove what has expired."""
        cdef Grave grave = [NIL, NIL]
        cdef double t = 0.0
        if self.clock == NO_CLOCK:
            return 0
        self.now(&t)
        hotset_lock(&self.lock)
        self.bury_due(t, True, &grave)
        hotset_unlock(&self.lock)
        self.drop(&grave)
        return 0

    def resize(self, maxsize, /):
        """Change maxsize; what does not fit any more is evicted at once."""
        cdef Grave grave = [NIL, NIL]
        cdef double limit = as_bound(maxsize)
        cdef double t = 0.0
        cdef uint32_t victim
        if self.clock != NO_CLOCK:
            self.now(&t)
        hotset_lock(&self.lock)
        self.bury_due(t, True, &grave)
        if self.policy.resize(self.state, &self.slab, limit) != 0:
            hotset_unlock(&self.lock)
            self.drop(&grave)
            raise MemoryError
        self.limit = limit
        while self.weight > limit:
            victim = self.policy.victim(self.state, &self.slab)
            if victim == NIL:
                break
            self.bury(victim, SIZE, &grave)
        hotset_unlock(&self.lock)
        self.maxsize_ = maxsize
        self.drop(&grave)

    def getsizeof(self, value, /):
        """What a value counts against maxsize: 1, or what the function given says. Subclasses may override it."""
        return 1 if self.getsizeof_ is None else self.getsizeof_(value)

    @property
    def maxsize(self):
        """The bound of currsize."""
        return self.maxsize_

    @property
    def currsize(self):
        """The sum of the entries' sizes: their number, if there is no getsizeof."""
        self.expire_now()
        return as_number(self.weight)

    @property
    def ttl(self):
        """Time to live as given, None for none."""
        return self.ttl_given

    @property
    def tti(self):
        """Idle time after which an entry expires, as given, None for none."""
        return self.tti_given

    @property
    def timer(self):
        """The function that tells the time."""
        return self.timer_

    @property
    def on_evict(self):
        """The function that is called as ``on_evict(key, value, cause)`` with what leaves the cache."""
        return self.on_evict_

    def _validate(self):
        """Raise AssertionError if an invariant of the structures is broken. O(n), for tests."""
        cdef uint32_t e, live = 0
        cdef double weight = 0.0
        cdef list broken = []
        hotset_lock(&self.lock)
        for e in range(SENTINELS, self.slab.top):
            if is_live(&self.slab.entries[e]):
                live += 1
                weight += slab_weight(&self.slab, e)
        cdef uint32_t used = self.index.used, total = self.slab.live
        cdef bint index_right = index_validate(&self.index, self.hashes())
        cdef bint wheel_right = wheel_validate(&self.wheel)
        cdef bint policy_right = total != live or self.policy.validate(self.state, &self.slab)
        hotset_unlock(&self.lock)
        if used != live:
            broken.append(f"the index has {used} entries, the slab {live}")
        if not abs(weight - self.weight) <= 1e-6 * (1.0 + weight):
            broken.append(f"the weights sum up to {weight}, not {self.weight}")
        if self.weight > self.limit:
            broken.append(f"the weight {self.weight} is above the limit {self.limit}")
        for name, right in (("index", index_right), ("timer wheel", wheel_right), ("policy", policy_right)):
            if not right:
                broken.append(f"the {name} is inconsistent")
        if broken:
            raise AssertionError("; ".join(broken))

    # ---- copies ----

    @classmethod
    def __class_getitem__(cls, item, /):
        return types.GenericAlias(cls, item)

    cdef dict configuration(self):
        """What __init__ was given, by the names that configure_from knows."""
        return {"maxsize": self.maxsize_, "getsizeof": self.getsizeof_, "ttl": self.ttl_given, "tti": self.tti_given,
                "on_evict": self.on_evict_, "timer": self.timer_}

    cdef int configure_from(self, dict given) except -1:
        self.configure(given["maxsize"], given["getsizeof"], given["ttl"], given["tti"], given["on_evict"], given["timer"])
        return 0

    def __reduce_ex__(self, protocol, /):
        state = {
            "configuration": self.configuration(),
            "entries": self.snapshot(False, PY_SSIZE_T_MAX, True),
            "policy": self.policy.rank(self.state, &self.slab, NIL),
            "attributes": getattr(self, "__dict__", None),
        }
        return copyreg.__newobj__, (type(self),), state

    def __setstate__(self, state, /):
        """Make this the cache of which __reduce_ex__ told. Times to live go on from what was left of them."""
        cdef double t = 0.0, life, weight
        cdef uint64_t rank
        cdef Flight none = None
        self.configure_from(state["configuration"])
        if state["attributes"]:
            self.__dict__.update(state["attributes"])
        for key, value, weight, life, rank in state["entries"]:
            if life < HOTSET_NEVER:
                self.start_clock(life)
        if self.clock != NO_CLOCK:
            self.now(&t)
        for key, value, weight, life, rank in state["entries"]:
            self.restore(key, value, weight, t, t + life, rank)
        self.policy.restore(self.state, &self.slab, NIL, state["policy"])

    cdef int restore(self, object key, object value, double weight, double t, double deadline, uint64_t rank) except -1:
        """Add an entry of a snapshot, which are given from the coldest to the hottest."""
        cdef uint32_t hash = hotset_mix(hotset_hash(<PyObject*>key))
        cdef uint32_t e
        hotset_lock(&self.lock)
        checked(self.find(<PyObject*>key, hash, &e))
        if e != NIL or self.weight + weight > self.limit:
            hotset_unlock(&self.lock)
            return 0
        if self.reserve(t, deadline) != 0:
            hotset_unlock(&self.lock)
            raise MemoryError
        e = slab_take(&self.slab)
        incref(<PyObject*>key)
        incref(<PyObject*>value)
        self.slab.entries[e].key = <PyObject*>key
        self.slab.entries[e].value = <PyObject*>value
        self.slab.entries[e].hash = hash
        if self.weighted:
            self.slab.weights[e] = weight
        index_insert(&self.index, hash, e)
        self.weight += weight
        self.policy.restore(self.state, &self.slab, e, rank)
        if self.wheel.timers != NULL:
            self.schedule(e, t, deadline)
        self.version += 1
        hotset_unlock(&self.lock)
        return 0

    def __copy__(self):
        rebuild, arguments, state = self.__reduce_ex__(2)
        clone = rebuild(*arguments)
        clone.__setstate__(state)
        return clone

MutableMapping.register(Cache)


cdef inline object pairs_of(object pairs):
    """(key, value) pairs of a mapping or an iterable of pairs."""
    if isinstance(pairs, Cache):
        return pairs.items()
    if isinstance(pairs, Mapping) or hasattr(pairs, "keys"):
        return [(key, pairs[key]) for key in pairs.keys()]
    return pairs


cdef class CacheIterator:
    """Iterates over a cache's slots; a key that comes or goes meanwhile ends it with RuntimeError."""
    cdef Cache cache
    cdef uint64_t version
    cdef uint32_t e
    cdef int what          # 0 keys, 1 values, 2 pairs

    def __cinit__(self, Cache cache, int what):
        cache.expire_now()
        self.cache = cache
        self.what = what
        self.version = cache.version
        self.e = SENTINELS

    def __iter__(self):
        return self

    def __next__(self):
        cdef Cache cache = self.cache
        cdef PyObject* key = NULL
        cdef PyObject* value = NULL
        cdef Entry* entry
        cdef bint changed
        cdef double t = 0.0
        if cache is None:
            raise StopIteration
        if cache.clock != NO_CLOCK:
            cache.now(&t)
        hotset_lock(&cache.lock)
        changed = cache.version != self.version
        while not changed and self.e < cache.slab.top:
            entry = &cache.slab.entries[self.e]
            self.e += 1
            if is_live(entry) and not cache.expired(self.e - 1, t):
                key = <PyObject*>entry.key
                value = <PyObject*>entry.value
                incref(key)
                incref(value)
                break
        hotset_unlock(&cache.lock)
        if changed:
            self.cache = None
            raise RuntimeError(f"{type(cache).__name__} changed during iteration")
        if key == NULL:
            self.cache = None
            raise StopIteration
        pair = (stolen(key), stolen(value))
        return pair[self.what] if self.what < 2 else pair


class CacheValues(ValuesView):
    """The values of a cache."""

    __slots__ = ()

    def __iter__(self):
        return CacheIterator(self._mapping, 1)

    def __contains__(self, value):
        return any(v is value or v == value for v in self)


class CacheItems(ItemsView):
    """The (key, value) pairs of a cache."""

    __slots__ = ()

    def __iter__(self):
        return CacheIterator(self._mapping, 2)

    def __contains__(self, item):
        key, value = item
        found = self._mapping.peek(key, MISSING)
        return found is value or found == value


# ---- the policies' classes ----

cdef class LRUCache(Cache):
    """Evicts the entry that was used longest ago (exact LRU)."""

    def __cinit__(self):
        self.adopt(lru_policy)


cdef class FIFOCache(Cache):
    """Evicts the entry that was written longest ago; reads do not matter."""

    def __cinit__(self):
        self.adopt(fifo_policy)


cdef class LFUCache(Cache):
    """Evicts the entry that was used least often, and of these the one used longest ago (exact LFU, O(1)).

    Frequencies do not age: what was hot for long stays. TinyLFUCache forgets.
    """

    def __cinit__(self):
        self.adopt(lfu_policy)


cdef class ARCCache(Cache):
    """Adapts between recency and frequency: ARC, Megiddo and Modha, FAST 2003. Resists scans.

    Remembers the hashes of up to maxsize evicted keys, at 24 bytes each; it keeps neither keys nor values of theirs.
    """

    def __cinit__(self):
        self.adopt(arc_policy)


cdef class TinyLFUCache(Cache):
    """W-TinyLFU with an adaptive window: Einziger, Friedman and Manes, ACM Transactions on Storage 13(4), 2017.

    A new entry passes a small LRU window and enters the main space only if a frequency sketch knows it as more often
    used than what would have to go. The best all-round hit ratio of the policies here.
    """

    def __cinit__(self):
        self.adopt(wtinylfu_policy)


cdef class RRCache(Cache):
    """Evicts an entry picked at random, by a generator that is seeded from `random`, or by `choice`.

    `choice` is called with a list of all keys and returns one of them, at O(n) an eviction; random.choice, the
    default, is not called but stands for the O(1) pick.
    """
    cdef object choice_

    def __cinit__(self):
        self.adopt(rr_policy)
        self.choice_ = random.choice

    def __init__(self, maxsize, choice=random.choice, getsizeof=None, *, ttl=None, tti=None, on_evict=None,
                 timer=time.monotonic):
        if not callable(choice):
            raise TypeError(f"choice must be callable, got {choice!r}")
        self.configure(maxsize, getsizeof, ttl, tti, on_evict, timer)
        self.choose(choice)

    cdef int choose(self, object choice) except -1:
        self.choice_ = choice
        rr_seed(self.state, random.getrandbits(64))
        if choice is not random.choice:
            self.own_popitem = True
        return 0

    @property
    def choice(self):
        """The function that picks a key to evict."""
        return self.choice_

    def popitem(self):
        """Remove and return a random (key, value) pair. Raises KeyError when empty."""
        if self.choice_ is random.choice:
            return Cache.popitem(self)
        while True:
            keys = list(self)
            if not keys:
                raise KeyError(f"{type(self).__name__} is empty")
            key = self.choice_(keys)
            value = self.pop(key, MISSING)
            if value is not MISSING:
                return key, value

    cdef dict configuration(self):
        return dict(Cache.configuration(self), choice=self.choice_)

    cdef int configure_from(self, dict given) except -1:
        Cache.configure_from(self, given)
        self.choose(given["choice"])
        return 0


cdef class TTLCache(LRUCache):
    """LRU whose entries all live `ttl` seconds, with the arguments in the order of cachetools' class."""

    def __init__(self, maxsize, ttl, timer=time.monotonic, getsizeof=None, *, tti=None, on_evict=None):
        self.configure(maxsize, getsizeof, ttl, tti, on_evict, timer)


cdef class TLRUCache(LRUCache):
    """LRU whose entries expire at the time that ``ttu(key, value, now)`` gives, as cachetools' class."""

    def __init__(self, maxsize, ttu, timer=time.monotonic, getsizeof=None, *, ttl=None, tti=None, on_evict=None):
        if not callable(ttu):
            raise TypeError(f"ttu must be callable, got {ttu!r}")
        self.configure(maxsize, getsizeof, ttl, tti, on_evict, timer)
        self.ttu_ = ttu

    @property
    def ttu(self):
        """The function that gives an entry's expiry time."""
        return self.ttu_

    cdef dict configuration(self):
        return dict(Cache.configuration(self), ttu=self.ttu_)

    cdef int configure_from(self, dict given) except -1:
        Cache.configure_from(self, given)
        self.ttu_ = given["ttu"]
        return 0


# ---- memoizing ----

cdef class Memo:
    """A function whose results are kept in a cache. Made by hotset.cached, hotset.lru_cache and hotset.cache."""
    cdef vectorcallfunc vectorcall
    cdef Cache store       # None where nothing is kept, and for methods
    cdef object function, make_key, make_store
    cdef dict stores       # id of an instance -> (weak reference to it, its cache), for methods
    cdef bint typed
    cdef bint plain        # one str or int may be its own key, in the one store
    cdef bint shared       # one call per key across threads
    cdef uint64_t misses   # of a memoizer that keeps nothing
    cdef dict __dict__
    cdef object __weakref__

    def __init__(self, function, make_store, *, typed=False, key=None, shared=True):
        self.vectorcall = <vectorcallfunc>memo_call
        self.function = function
        self.make_store = make_store
        self.store = make_store()
        self.typed = typed
        self.make_key = key
        self.shared = shared
        self.plain = self.store is not None and key is None and not typed
        functools.update_wrapper(self, function)

    def __get__(self, instance, owner):
        return self if instance is None else PyMethod_New(self, instance)

    def __set_name__(self, owner, name):
        if self.shared and self.stores is None:
            self.stores = {}
            self.plain = False

    def __reduce__(self):
        return self.__qualname__

    def __copy__(self):
        return self

    def __deepcopy__(self, memo, /):
        return self

    def __repr__(self):
        return f"<hotset.cached {self.function!r}>"

    @property
    def cache(self):
        """The cache behind a function; None for a method, which has one an instance."""
        return self.store if self.stores is None else None

    cdef list all_stores(self):
        if self.stores is not None:
            return [store for _, store in list(self.stores.values())]
        return [] if self.store is None else [self.store]

    def cache_info(self):
        """Hits, misses, maxsize and current size; for a method, of all instances together."""
        cdef Cache store
        hits, misses, currsize = 0, self.misses, 0
        for each in self.all_stores():
            store = each
            hits += store.count.hits
            misses += store.count.misses
            currsize += store.currsize
        return functools._CacheInfo(hits, misses, self.cache_parameters()["maxsize"], currsize)

    def cache_clear(self):
        """Forget all results and begin to count anew."""
        self.misses = 0
        for store in self.all_stores():
            store.clear()
            store.stats(reset=True)

    cdef Cache store_of(self, PyObject* instance):
        """The cache of a method's instance."""
        number = <size_t>instance
        known = self.stores.get(number)
        if known is None:
            known = self.stores.setdefault(number, self.new_store(<object>instance, number))
        return known[1]

    cdef tuple new_store(self, object instance, object number):
        stores = self.stores
        try:
            reference = weakref_ref(instance, lambda _: stores.pop(number, None))
        except TypeError:
            raise TypeError(f"cannot cache a method of {type(instance).__name__}: its instances take no weak references "
                            f"(add '__weakref__' to its __slots__)") from None
        return reference, self.make_store()

    cdef object key_of(self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames):
        """The key of a call with other arguments than one str or int: as functools makes it."""
        cdef Py_ssize_t nkw = tuple_size(kwnames) if kwnames != NULL else 0, i, n
        if self.make_key is not None:
            return self.make_key(*[<object>args[i] for i in range(nargs)],
                                 **{<object>tuple_item(kwnames, i): <object>args[nargs + i] for i in range(nkw)})
        n = nargs + (1 + 2 * nkw if nkw else 0) + (nargs + nkw if self.typed else 0)
        cdef PyObject* key = PyTuple_New(n)
        n = 0
        for i in range(nargs):
            n = put_item(key, n, args[i])
        if nkw:
            n = put_item(key, n, <PyObject*>KWD_MARK)
            for i in range(nkw):
                n = put_item(key, n, tuple_item(kwnames, i))
                n = put_item(key, n, args[nargs + i])
        if self.typed:
            for i in range(nargs + nkw):
                n = put_item(key, n, type_of(args[i]))
        return stolen(key)


cdef inline Py_ssize_t put_item(PyObject* items, Py_ssize_t n, PyObject* item) noexcept:
    incref(item)
    PyTuple_SET_ITEM(items, n, item)
    return n + 1


cdef PyObject* memo_call(Memo self, PyObject* const* args, size_t nargsf, PyObject* kwnames) except NULL:
    """Memo.__call__ by the vectorcall protocol."""
    cdef Py_ssize_t nargs = PyVectorcall_NARGS(nargsf)
    cdef PyObject* value = NULL
    cdef Cache store = self.store
    if kwnames == NULL and nargs == 1 and self.plain and (PyUnicode_CheckExact(args[0]) or PyLong_CheckExact(args[0])):
        store.read(args[0], &value)
        if value != NULL:
            return value
        return memo_miss(self, store, <object>args[0], args, nargs, kwnames)
    return memo_call_any(self, args, nargs, kwnames)


cdef PyObject* memo_call_any(Memo self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) except NULL:
    cdef PyObject* value = NULL
    cdef Cache store = self.store
    cdef Py_ssize_t skip = 0
    if self.stores is not None and nargs > 0:
        store = self.store_of(args[0])
        skip = 1
    if store is None:
        self.misses += 1
        return PyObject_Vectorcall(<PyObject*>self.function, args, nargs, kwnames)
    if not self.typed and self.make_key is None and kwnames == NULL and nargs - skip == 1 and (
            PyUnicode_CheckExact(args[skip]) or PyLong_CheckExact(args[skip])):
        key = <object>args[skip]
    else:
        key = self.key_of(args + skip, nargs - skip, kwnames)
    store.read(<PyObject*>key, &value)
    if value != NULL:
        return value
    return memo_miss(self, store, key, args, nargs, kwnames)


cdef PyObject* memo_miss(Memo self, Cache store, object key, PyObject* const* args, Py_ssize_t nargs,
                         PyObject* kwnames) except NULL:
    cdef PyObject* value
    cdef Py_ssize_t nkw, i
    if not self.shared:
        value = PyObject_Vectorcall(<PyObject*>self.function, args, nargs, kwnames)
        try:
            store.write(key, <object>value, None, ADD, None)
        except:
            decref(value)
            raise
        return value
    function = self.function
    if kwnames != NULL:
        nkw = tuple_size(kwnames)
        function = functools.partial(
            function, **{<object>tuple_item(kwnames, i): <object>args[nargs + i] for i in range(nkw)})
    result = store.load(key, function, tuple([<object>args[i] for i in range(nargs)]), None)
    Py_INCREF(result)
    return <PyObject*>result


# ---- replay ----

ctypedef fused integer:
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef struct Replay:
    Policy policy
    void* state
    Slab slab
    Index index
    double limit
    double weight
    uint64_t requests
    uint64_t hits
    double bytes
    double byte_hits


cdef void widen(const integer[:] keys, Py_ssize_t start, Py_ssize_t n, uint64_t* words, uint32_t* hashes) noexcept nogil:
    """A batch of keys as words, with the mixed hash that the same ints have in a cache."""
    cdef Py_ssize_t i
    cdef uint64_t mask = <uint64_t>-1
    for i in range(n):
        words[i] = <uint64_t>keys[start + i]
        if integer is uint64_t:
            hashes[i] = hotset_mix(hotset_hash_uint64(keys[start + i]))
        else:
            hashes[i] = hotset_mix(hotset_hash_int64(<int64_t>keys[start + i]))


cdef int replay_reserve(Replay* r) noexcept nogil:
    """Have the memory for one more entry; -1 when it is out."""
    cdef uint64_t capacity
    cdef Hashes hashes
    hashes.base = <char*>&r.slab.entries[0].hash
    hashes.stride = sizeof(Entry)
    if slab_full(&r.slab):
        capacity = min(<uint64_t>r.slab.capacity + (r.slab.capacity >> 1) + 4, <uint64_t>1 << MAX_BITS)
        if capacity <= r.slab.capacity or index_fit(&r.index, hashes, r.index.used + 1, capacity) != 0:
            return -1
        if slab_grow(&r.slab, <uint32_t>capacity) != 0:
            return -1
    if index_fit(&r.index, hashes, r.index.used + 1, r.slab.capacity) != 0:
        return -1
    return r.policy.reserve(r.state, &r.slab)


cdef int replay_batch(Replay* r, Py_ssize_t n, const uint64_t* words, const uint32_t* hashes, const double* sizes) noexcept nogil:
    """Request n keys in turn: a hit is a read, a miss a write. -1 when memory is out."""
    cdef Py_ssize_t i
    cdef uint32_t e, victim
    cdef double size = 1.0
    cdef Probe probe
    cdef Hashes record
    for i in range(n):
        hotset_prefetch(&r.index.slots[hashes[i] >> r.index.shift])
    for i in range(n):
        if i + 8 < n:
            probe_start(&r.index, &probe, hashes[i + 8])
            hotset_prefetch(&r.slab.entries[probe_next(&r.index, &probe)])
        if sizes != NULL:
            size = sizes[i]
        r.bytes += size
        probe_start(&r.index, &probe, hashes[i])
        while True:
            e = probe_next(&r.index, &probe)
            if e == NIL or <uint64_t>r.slab.entries[e].value == words[i]:
                break
        if e != NIL:
            r.hits += 1
            r.byte_hits += size
            r.policy.hit(r.state, &r.slab, e)
            continue
        if size > r.limit:
            continue
        if replay_reserve(r) != 0:
            return -1
        r.policy.prepare(r.state, &r.slab, hashes[i])
        while r.weight + size > r.limit:
            victim = r.policy.victim(r.state, &r.slab)
            if victim == NIL:
                break
            record.base = <char*>&r.slab.entries[0].hash
            record.stride = sizeof(Entry)
            index_erase(&r.index, record, r.slab.entries[victim].hash, victim)
            r.policy.remove(r.state, &r.slab, victim, True)
            r.weight -= slab_weight(&r.slab, victim)
            slab_release(&r.slab, victim)
        e = slab_take(&r.slab)
        r.slab.entries[e].key = <void*>1
        r.slab.entries[e].value = <void*>words[i]
        r.slab.entries[e].hash = hashes[i]
        if r.slab.weights != NULL:
            r.slab.weights[e] = size
        index_insert(&r.index, hashes[i], e)
        r.weight += size
        r.policy.insert(r.state, &r.slab, e)
    r.requests += n
    return 0


def _replay_typed(Cache cache, double limit, const integer[:] keys, sizes):
    """replay() for one integer type of keys; `cache` lends its policy."""
    cdef Replay r
    cdef uint64_t words[BATCH]
    cdef uint32_t hashes[BATCH]
    cdef const double[::1] weighed
    cdef const double* given = NULL
    cdef Py_ssize_t start = 0, stop, n, total = keys.shape[0]
    cdef int status = 0
    memset(&r, 0, sizeof(Replay))
    r.policy = cache.policy
    r.limit = limit
    if sizes is not None:
        weighed = sizes
        given = &weighed[0]
    r.state = PyMem_RawCalloc(1, r.policy.state_size or 1)
    if r.state == NULL:
        raise MemoryError
    try:
        if slab_init(&r.slab, sizes is not None) != 0 or index_init(&r.index, MIN_BITS) != 0:
            raise MemoryError
        if r.policy.init(r.state, &r.slab, limit) != 0:
            raise MemoryError
        while start < total and status == 0:
            with nogil:
                stop = min(total, start + SIGNAL_CHECK)
                while start < stop and status == 0:
                    n = min(stop - start, <Py_ssize_t>BATCH)
                    widen(keys, start, n, words, hashes)
                    status = replay_batch(&r, n, words, hashes, given + start if given != NULL else NULL)
                    start += n
            PyErr_CheckSignals()
        if status != 0:
            raise MemoryError
    finally:
        r.policy.close(r.state)
        PyMem_RawFree(r.state)
        slab_close(&r.slab)
        index_close(&r.index)
    return ReplayResult(r.requests, r.hits, r.requests - r.hits, r.hits / r.requests if r.requests else 0.0,
                        r.byte_hits / r.bytes if r.bytes else 0.0)


POLICIES = {"lru": LRUCache, "lfu": LFUCache, "arc": ARCCache, "tinylfu": TinyLFUCache, "fifo": FIFOCache, "rr": RRCache}


def policy_class(policy, /):
    """The cache class of a policy's name."""
    try:
        return POLICIES[policy]
    except (KeyError, TypeError):
        raise ValueError(f"unknown policy {policy!r}: use one of {', '.join(POLICIES)}") from None


def replay(policy, maxsize, keys, sizes=None):
    """Request keys one after the other from an empty cache and count the hits: a miss stores its key.

    Runs the code of the cache class of that policy, without the GIL and without objects. `keys` is a one-dimensional
    array of integers (NumPy or any other buffer), `sizes` one of as many non-negative numbers, each what storing its
    request's key counts against maxsize; a key of a size above maxsize is not stored.

    Returns a ReplayResult(requests, hits, misses, hit_ratio, byte_hit_ratio). A cache that is filled by the same ints
    through get and set has the same hits. Random replacement has a fixed seed here.

    Raises ValueError for an unknown policy, a bad maxsize, or arrays that do not fit; TypeError for keys that are not integers.
    """
    cdef double limit = as_bound(maxsize)
    cache = policy_class(policy).__new__(policy_class(policy))
    view = as_view("keys", keys)
    if sizes is not None:
        sizes = as_sizes(sizes, len(view))
    if view.format.lstrip("@=<>!") not in INTEGER_FORMATS:
        raise TypeError(f"keys must be an array of integers, got elements of format {view.format!r}")
    if len(view) == 0:
        return ReplayResult(0, 0, 0, 0.0, 0.0)
    return _replay_typed(cache, limit, view, sizes)


cdef str INTEGER_FORMATS = "bBhHiIlLqQnN"


cdef object as_view(str name, object array):
    try:
        view = memoryview(array)
    except TypeError:
        raise TypeError(f"{name} must be an array of integers, such as a NumPy one, got {type(array).__name__}") from None
    if view.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got {view.ndim}")
    return view


cdef object as_sizes(object sizes, Py_ssize_t n):
    """Sizes as a buffer of doubles, each checked."""
    import array

    view = as_view("sizes", sizes)
    if len(view) != n:
        raise ValueError(f"sizes must be as many as keys, {n}, got {len(view)}")
    doubles = array.array("d", view)
    if n and not min(doubles) >= 0:
        raise ValueError(f"sizes must be non-negative, got {min(doubles)!r}")
    return doubles


# ---- what Cython cannot declare: slots of the types ----
# The collector does not see PyObject* in C structs, and a cdef class cannot be called by vectorcall. The types are
# static and have not been used yet, so their slots may still be set.

cdef traverseproc traverse_fields = NULL
cdef inquiry clear_fields = NULL


cdef int cache_traverse(Cache self, visitproc visit, void* arg) noexcept:
    """tp_traverse: the fields that Cython knows, and the keys and values."""
    cdef uint32_t e
    cdef Entry* entry
    cdef int status = traverse_fields(<PyObject*>self, visit, arg)
    for e in range(SENTINELS, self.slab.top):
        entry = &self.slab.entries[e]
        if status == 0 and entry.key != NULL:
            status = visit(key_of(entry), arg)
            if status == 0:
                status = visit(<PyObject*>entry.value, arg)
    return status


cdef int cache_clear(Cache self) noexcept:
    """tp_clear: gives up keys and values first, while the fields are there still; the listener is not told."""
    self.on_evict_ = None
    self.flights = None
    Cache.clear(self)
    return clear_fields(<PyObject*>self)


cdef PyObject* cache_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) except NULL:
    """Cache.get. By hand, because Cython's code for an argument that may be a keyword costs a third of a hit."""
    cdef PyObject* value
    cdef PyObject* default = <PyObject*>None
    if kwnames == NULL and 1 <= nargs <= 2:
        if nargs == 2:
            default = args[1]
    elif kwnames != NULL and nargs == 1 and tuple_size(kwnames) == 1 and <object>tuple_item(kwnames, 0) == "default":
        default = args[1]
    else:
        raise TypeError(f"get() takes a key and a default, got {nargs} positional arguments"
                        + (f" and {<object>kwnames}" if kwnames != NULL else ""))
    if self.own_getitem:
        result = self.get_as_overridden(<object>args[0], <object>default)
        Py_INCREF(result)
        return <PyObject*>result
    self.read(args[0], &value)
    if value == NULL:
        incref(default)
        return default
    return value


cdef PyMethodDef GET
GET.ml_name = b"get"
GET.ml_meth = <PyCFunction>cache_get
GET.ml_flags = METH_FASTCALL | METH_KEYWORDS
GET.ml_doc = b"get($self, key, default=None)\n--\n\nThe key's value, or the default; a use of the key. O(1)."


cdef int install(type cls) except -1:
    """Give a cache type its real tp_traverse and tp_clear."""
    cdef TypeSlots* slots = <TypeSlots*>cls
    slots.tp_traverse = <traverseproc>cache_traverse
    slots.tp_clear = <inquiry>cache_clear
    return 0


cdef int install_all() except -1:
    global traverse_fields, clear_fields
    cdef TypeSlots* slots = <TypeSlots*>Cache
    cdef Memo memo
    traverse_fields = slots.tp_traverse
    clear_fields = slots.tp_clear
    for cls in (Cache, LRUCache, FIFOCache, LFUCache, ARCCache, TinyLFUCache, TTLCache, TLRUCache):
        install(cls)
    (<object>slots.tp_dict)["get"] = PyDescr_NewMethod(<PyTypeObject*>Cache, &GET)
    PyType_Modified(<PyTypeObject*>Cache)
    slots = <TypeSlots*>Memo
    memo = Memo.__new__(Memo)
    slots.tp_vectorcall_offset = <char*>&memo.vectorcall - <char*><PyObject*>memo
    slots.tp_call = &PyVectorcall_Call
    slots.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR
    PyType_Modified(<PyTypeObject*>Memo)
    return 0


install_all()
