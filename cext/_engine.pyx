# cython: language_level=3, cdivision=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: freethreading_compatible=True
"""The engine's Python face: cache types, the memoizer and replay.

What a cache is made of, and what keeps it correct, is in store. This module adds arguments, errors, time, listeners,
single flight, copies, and the slots that let the garbage collector and the interpreter see the types as they are.
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyTypeObject, visitproc
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from batch cimport BATCH, move_values, store_read_batch
from callkey cimport call_key
from core.slab cimport NIL, PyMem_RawCalloc, PyMem_RawMalloc, SENTINELS
from envelope cimport (ABSENT, AGE, COST_SLOT, DROPS, EPOCH, EPOCH_SLOT, FENCE_END, KEEP, LIFE, TAGS, VERSION, VERSION_SLOT,
                       WRITER, bytes_of, cost_in, hotset_u64, seconds_till)
from instances cimport get_slot
from picked cimport Picked, link_list, pick_expired, picked_list, snapshot_of
from policy.arc cimport arc_hit, arc_policy
from policy.auto cimport auto_hit, auto_policy
from policy.clock cimport clock_policy
from policy.contract cimport CALL_HIT, Policy, hit_verb
from policy.fifo cimport fifo_policy
from policy.gdsf cimport gdsf_hit, gdsf_policy
from policy.lfu cimport lfu_hit, lfu_policy
from policy.lirs cimport lirs_hit, lirs_policy
from policy.lru cimport lru_hit, lru_policy
from policy.rr cimport rr_policy, rr_seed
from policy.s3fifo cimport s3fifo_hit, s3fifo_policy
from policy.sieve cimport sieve_hit, sieve_policy
from policy.slru cimport slru_hit, slru_policy
from policy.twoq cimport twoq_hit, twoq_policy
from policy.wtinylfu cimport wtinylfu_hit, wtinylfu_policy
from records cimport Moments, entries_of, moments_of, slots_for
from replay cimport integer, replay_with
from python cimport (HOTSET_LIKELY, PY_SSIZE_T_MAX, PyErr_Fetch, PyErr_Occurred, PyErr_Restore, PyErr_WriteUnraisable,
                     PyLong_CheckExact, PyMethod_New, PyObject_Vectorcall, PyUnicode_CheckExact, PyVectorcall_NARGS,
                     Py_ReprEnter, Py_ReprLeave, call, checked, hotset_clock_coarse, hotset_clock_precise, hotset_hash,
                     hotset_known_hash, hotset_mix, tuple_item, tuple_items)
from slots cimport (PyCFunction, PyMethodDef, PyVectorcall_Call, TypeSlots, give_method, give_vectorcall, inquiry,
                    objobjargproc, traverseproc, vectorcallfunc)
from store cimport (ANY_TIME, BY_VERB, Counters, EXPIRED, EXPLICIT, Grave, HOTSET_NEVER, LEAF, NO_MEMORY, NO_ROOM, REPLACED,
                    Replaced, SIZE, Store, TIMED, decref, hotset_lock, hotset_unlock, incref, store_bury_all,
                    store_clear, store_close, store_counters, store_disown, store_exhume, store_expire, store_fits,
                    store_next, store_open, store_peek, store_pop_victim, store_read, store_read_any_time,
                    store_read_candidate, store_read_known, store_read_same, store_resize, store_take, store_touch,
                    store_validate, store_visit, store_write, store_write_known, xdecref)
from tape cimport Mark, Tape, tape_change, tape_close, tape_drop

import copyreg
import functools
import os
import random
import threading
import time
import types
from collections.abc import KeysView, Mapping, MutableMapping
from datetime import timedelta

from hotset.arguments import as_number, bound_of, check_construction, check_life, count_one, worth_of
from hotset.choosing import pop_chosen
from hotset.flights import board, land
from hotset.methods import BoundMemo, info_of, new_store
from hotset.stats import CacheStats
from hotset.views import CacheItems, CacheValues

cdef tuple CAUSES = ("explicit", "replaced", "expired", "size")

cdef enum Clock:
    NO_CLOCK               # nothing can expire
    COARSE                 # time.monotonic, to the kernel's tick
    PRECISE                # time.monotonic, because some life is short
    CALLABLE               # the user's timer

cdef double PRECISE_BELOW = 0.1         # seconds: lives this short are measured with the precise clock
cdef object MISSING = object()
cdef object KWD_MARK = object()         # separates positional from keyword arguments in a memoizer's key
cdef object MONOTONIC = time.monotonic
cdef object MICROSECOND = timedelta(microseconds=1)

cdef enum:
    SLOW = -1              # `path` where the clock, idle time or a subclass asks for care

cdef enum Write:
    SET, ADD


cdef inline object stolen(PyObject* o):
    """A Python reference in place of one that the caller owns."""
    result = <object>o
    decref(o)
    return result


cdef double seconds_of(object life) except? -1:
    """A time to live as a number; a timedelta in seconds."""
    if type(life) is float:
        return <double>life
    return life.total_seconds() if isinstance(life, timedelta) else life


cdef class Flight:
    """One load on its way. Whoever asks for its key meanwhile waits for it, in whichever thread."""
    cdef readonly object value, error, traceback, event
    cdef readonly unsigned long owner
    cdef readonly int pid
    cdef readonly bint fenced      # the key was written or deleted since: the load's value must not be stored
    cdef readonly bint landed      # there is a value; without one and without an error, a waiter loads in its stead

    def __cinit__(self):
        self.event = threading.Event()
        self.owner = threading.get_ident()
        self.pid = os.getpid()


@cython.trashcan(True)
cdef class Cache:
    """A cache that finds its policy by itself, and what all caches have in common.

    It acts as LRU, LIRS, 2Q or W-TinyLFU, whichever hits most on a sample of the keys of late, and goes over from one to
    another with its entries in place. Take a subclass, one a policy, for an order of eviction that is known beforehand.

    A mutable mapping of at most `maxsize` entries, or of entries whose sizes, as `getsizeof` gives them, sum up to at
    most `maxsize`. Keys must be hashable. Every operation on one key is O(1), amortized over growth. All of it may be
    used from several threads at once and from inside a key's ``__eq__``, a value's ``__del__`` or a listener.
    """
    cdef Store store
    cdef int path          # how the hot entry points look a key up: as store_read_same names it, or SLOW
    cdef Clock clock
    cdef bint datetimes    # the timer gives datetimes: time counts in microseconds since `epoch`
    cdef double ttl_
    cdef bint weighted, making_room
    cdef bint own_popitem, own_getitem, own_setitem, own_delitem, own_missing      # overridden by a subclass
    cdef object maxsize_, getsizeof_, on_evict_, timer_, epoch, ttl_given, tti_given
    cdef object ttu_       # TLRUCache's; here, as choice_ is, so that one tp_traverse serves all classes
    cdef object choice_    # RRCache's
    cdef dict flights
    cdef readonly object recording  # the last Recording of it, or None
    cdef object __weakref__

    def __cinit__(self):
        self.adopt(auto_policy)
        self.maxsize_ = 0
        self.timer_ = MONOTONIC
        self.ttl_ = HOTSET_NEVER
        self.store.idle = HOTSET_NEVER

    def __init__(self, maxsize, getsizeof=None, *, ttl=None, tti=None, on_evict=None, timer=time.monotonic):
        """See the class; ttl and tti in seconds."""
        self.configure(maxsize, getsizeof, ttl, tti, on_evict, timer)

    cdef int adopt(self, void (*fill)(Policy*) noexcept nogil) except -1:
        """Called by __cinit__, and again by a subclass's: from here on the cache is valid, if of size 0."""
        cdef Policy policy
        store_close(&self.store)
        memset(&policy, 0, sizeof(Policy))
        fill(&policy)
        if store_open(&self.store, &policy, 0.0, False) != 0:
            raise MemoryError
        return 0

    cdef int configure(self, maxsize, getsizeof, ttl, tti, on_evict, timer) except -1:
        cdef double limit = bound_of(maxsize)
        cdef Store fresh
        cls = type(self)
        check_construction(getsizeof, ttl, tti, on_evict, timer)
        self.clear()
        if self.store.buried != 0:
            raise RuntimeError(f"{type(self).__name__}.__init__() called from inside an operation on the cache")
        memset(&fresh, 0, sizeof(Store))
        self.weighted = getsizeof is not None or cls.getsizeof is not Cache.getsizeof
        if store_open(&fresh, &self.store.policy, limit, self.weighted) != 0:
            raise MemoryError
        fresh.version = self.store.version + 1          # a lookup that called this must notice, and an iterator
        fresh.edits = self.store.edits + 1
        fresh.tape = self.store.tape
        fresh.below = self.store.below
        store_close(&self.store)
        self.store = fresh
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
        self.store.idle = HOTSET_NEVER if tti is None else seconds_of(tti)
        self.own_popitem = cls.popitem is not Cache.popitem
        self.own_getitem = cls.__getitem__ is not Cache.__getitem__
        self.own_setitem = cls.__setitem__ is not Cache.__setitem__
        self.own_delitem = cls.__delitem__ is not Cache.__delitem__
        self.own_missing = cls.__missing__ is not Cache.__missing__
        self.path = SLOW if self.own_getitem else BY_VERB if self.store.policy.on_hit == CALL_HIT else LEAF
        if getsizeof is not None and cls.getsizeof is not Cache.getsizeof:
            self.getsizeof = getsizeof          # goes before the subclass's method, as in cachetools
        if min(self.ttl_, self.store.idle) < HOTSET_NEVER:
            self.start_clock(min(self.ttl_, self.store.idle))
        return 0

    def __dealloc__(self):
        store_disown(&self.store)
        store_close(&self.store)
        tape_close(self.store.tape)

    # ---- time ----

    cdef int start_clock(self, double life) except -1:
        """From now on something may expire; `life` is the shortest known."""
        if self.timer_ is not MONOTONIC:
            self.clock = CALLABLE
        elif life < PRECISE_BELOW or self.clock == PRECISE:
            self.clock = PRECISE
        else:
            self.clock = COARSE
        if self.clock != COARSE or self.store.idle < HOTSET_NEVER:
            self.path = SLOW
        elif self.path != SLOW:
            self.path = TIMED
        return 0

    cdef inline int now(self, double* t) except -1:
        """The present in the unit of the timer, if anything can expire. May call Python: not under the lock."""
        if self.clock == NO_CLOCK:
            t[0] = 0.0
        elif self.clock == COARSE:
            t[0] = hotset_clock_coarse()
        elif self.clock == PRECISE:
            t[0] = hotset_clock_precise()
        else:
            t[0] = self.as_time(self.timer_())
        return 0

    cdef double as_time(self, object moment) except? -1:
        """A moment as the timer gives it, as a double."""
        if isinstance(moment, (float, int)):
            return moment
        with cython.critical_section(self):
            if self.epoch is None:
                self.epoch = moment
                if isinstance(moment - moment, timedelta):
                    self.datetimes = True
                    self.ttl_ *= 1e6
                    self.store.idle *= 1e6
        if self.datetimes:
            return (moment - self.epoch) // MICROSECOND
        return float(moment)

    cdef double as_life(self, object ttl) except? -1:
        """A time to live that a caller gave, in the unit of the timer, which has been asked for the time."""
        return seconds_of(ttl) * (1e6 if self.datetimes else 1.0)

    # ---- entries ----

    cdef void drop(self, Grave* grave) noexcept:
        """Tell the listener of what was buried and give the references up. The lock is free; an error that is set stays."""
        cdef Replaced gone
        cdef uint32_t cause
        cdef PyObject* error[3]
        cdef bint failed
        if grave.head == NIL:
            return
        failed = PyErr_Occurred() != NULL
        if failed:
            PyErr_Fetch(&error[0], &error[1], &error[2])
        while grave.head != NIL:
            store_exhume(&self.store, grave, &gone.key, &gone.value, &cause)
            self.let_go(&gone, cause)
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

    cdef inline int read_known(self, PyObject* key, PyObject** value) noexcept:
        """A use of a key without Python code: 1 and a new reference to its value, 0 a miss, -1 if read has to do it."""
        cdef Py_hash_t hash = hotset_known_hash(key)
        cdef double t = 0.0
        if hash == -1 or self.clock > COARSE:
            return -1
        if self.clock == COARSE:
            t = hotset_clock_coarse()
        return store_read_known(&self.store, key, hotset_mix(hash), t, value)

    cdef int read(self, PyObject* key, PyObject** value) except -1:
        """A use of a key: a new reference to its value, or NULL when it is not there."""
        value[0] = NULL
        if self.read_known(key, value) < 0:
            return self.read_hashed(key, hotset_mix(hotset_hash(key)), value)
        return 0

    cdef int read_hashed(self, PyObject* key, uint32_t hash, PyObject** value) except -1:
        """read() for a key whose mixed hash is known."""
        cdef Grave grave
        cdef double t
        self.now(&t)
        if checked(store_read(&self.store, key, hash, t, value, &grave)) > 0:
            self.drop(&grave)
        return 0

    cdef PyObject* glance(self, PyObject* key) except? NULL:
        """A new reference to a key's value without a trace, or NULL without an error."""
        cdef uint32_t hash = hotset_mix(hotset_hash(key))
        cdef PyObject* value = NULL
        cdef double t
        self.now(&t)
        checked(store_peek(&self.store, key, hash, t, &value))
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
        cdef double life = self.ttl_
        if ttl is not None:
            if type(ttl) is not float or not <double>ttl > 0:      # the commonest has no need of Python
                check_life("ttl", ttl)
            life = seconds_of(ttl)
            if life < HOTSET_NEVER:
                self.start_clock(life)
        if self.clock == CALLABLE:
            return self.lifetime_by_timer(key, value, ttl, t, deadline)
        self.now(t)
        deadline[0] = t[0] + life
        if self.ttu_ is not None and ttl is None:
            deadline[0] = min(deadline[0], self.as_time(self.ttu_(key, value, t[0])))
        return deadline[0] > t[0]

    cdef int lifetime_by_timer(self, object key, object value, object ttl, double* t, double* deadline) except -1:
        """The same by the user's timer, whose moments may be datetimes: what overflows there must be told."""
        moment = self.timer_()
        t[0] = self.as_time(moment)
        deadline[0] = t[0] + (self.ttl_ if ttl is None else self.as_life(ttl))
        if self.datetimes and deadline[0] < HOTSET_NEVER:
            moment + (deadline[0] - t[0]) * MICROSECOND
        if self.ttu_ is not None and ttl is None:
            deadline[0] = min(deadline[0], self.as_time(self.ttu_(key, value, moment)))
        return deadline[0] > t[0]

    cdef inline int write_known(self, PyObject* key, PyObject* value, uint32_t hash, bint only_absent) noexcept:
        """The commonest write, which runs no Python code before it is done: 1 or 0 as write, -1 if there is more to it."""
        cdef Replaced gone
        cdef uint32_t cause
        cdef int written
        if self.clock != NO_CLOCK or self.weighted or self.own_popitem or (
                self.flights is not None and len(self.flights) != 0):
            return -1
        written = store_write_known(&self.store, key, value, hash, only_absent, &gone, &cause)
        if gone.key != NULL:
            self.let_go(&gone, cause)
        return written

    cdef inline void let_go(self, Replaced* gone, uint32_t cause) noexcept:
        """Tell the listener of what has left the store, and give the references up. The lock is free."""
        if self.on_evict_ is not None:
            self.tell(gone.key, gone.value, cause)
        decref(gone.key)
        decref(gone.value)

    cdef int write(self, object key, object value, object ttl, Write mode, Flight flight) except -1:
        """Set or add a key. 1 if it was written. A flight stores its value only if nothing has fenced it."""
        return self.write_hashed(key, hotset_mix(hotset_hash(<PyObject*>key)), value, ttl, mode, flight, NULL)

    cdef int write_hashed(self, object key, uint32_t hash, object value, object ttl, Write mode, Flight flight,
                          const double* worth) except -1:
        """write() for a key whose mixed hash is known, and what it is worth if that is said."""
        cdef double weight = 1.0, t, deadline
        cdef int written = -1
        if ttl is None and flight is None and worth == NULL:
            written = self.write_known(<PyObject*>key, <PyObject*>value, hash, mode == ADD)
        if written >= 0:
            return written
        if self.weighted:
            weight = self.weigh(value)
        if weight > self.store.limit:
            if flight is not None:
                return 0
            raise ValueError("value too large")
        if self.flights is not None and flight is None:
            self.fence(key)
        if ttl is None and self.clock == NO_CLOCK:
            t = 0.0
            deadline = HOTSET_NEVER
        elif not self.lifetime(key, value, ttl, &t, &deadline):
            if mode == SET:
                self.discard(key, EXPIRED)
            return 0
        if self.own_popitem:
            self.make_room(key, hash, weight)
        return self.put(<PyObject*>key, <PyObject*>value, hash, weight, t, deadline, worth, mode, flight)

    cdef int put(self, PyObject* key, PyObject* value, uint32_t hash, double weight, double t, double deadline,
                 const double* worth, Write mode, Flight flight) except -1:
        """The part of a write that needs the lock."""
        cdef Grave grave = [NIL, NIL]
        cdef Replaced replaced = [NULL, NULL]
        cdef int status = store_write(&self.store, key, value, hash, weight, t, deadline, worth, mode == ADD,
                                      &flight.fenced if flight is not None else NULL, &grave, &replaced)
        self.drop(&grave)
        if replaced.key != NULL:
            self.let_go(&replaced, REPLACED)
        if status == NO_MEMORY:
            raise MemoryError
        if status == NO_ROOM:
            if flight is not None:
                return 0
            raise ValueError("pinned entries leave no room")
        return status

    cdef int make_room(self, object key, uint32_t hash, double weight) except -1:
        """Let an overridden popitem make the room that a write needs, as subclasses of cachetools' caches expect."""
        cdef uint64_t version
        while not checked(store_fits(&self.store, <PyObject*>key, hash, weight, &version)):
            self.making_room = True
            try:
                self.popitem()
            finally:
                self.making_room = False
            if self.store.version == version:
                raise RuntimeError(f"{type(self).__name__}.popitem() removed nothing, so there is no room for {key!r}")
        return 0

    cdef PyObject* take(self, PyObject* key, uint32_t cause) except? NULL:
        """Remove a key: a new reference to its value, or NULL without an error when it is not there."""
        cdef uint32_t hash = hotset_mix(hotset_hash(key))
        cdef Grave grave = [NIL, NIL]
        cdef PyObject* value = NULL
        cdef double t
        cdef int status
        if self.flights is not None:
            self.fence(<object>key)
        self.now(&t)
        status = store_take(&self.store, key, hash, t, cause, &value, &grave)
        self.drop(&grave)
        checked(status)
        return value

    cdef bint discard(self, object key, uint32_t cause) except -1:
        """Remove a key; whether it was there."""
        cdef PyObject* value = self.take(<PyObject*>key, cause)
        xdecref(value)
        return value != NULL

    cdef list snapshot(self, bint hottest_first, object most, bint full):
        """The entries in the policy's order: (key, value), or with `full` all that a copy needs."""
        cdef Py_ssize_t wanted = PY_SSIZE_T_MAX if most is None else most
        cdef double t
        if wanted < 0:
            raise ValueError(f"n must be non-negative, got {most!r}")
        self.now(&t)
        return snapshot_of(&self.store, wanted, hottest_first, t, full)

    cdef dict contents(self):
        """The entries as of one moment, whatever other threads do."""
        return dict(self.snapshot(False, None, False))

    # ---- single flight ----

    cdef int fence(self, object key) except -1:
        """Whatever load of the key is on its way must not store its value any more."""
        if self.flights:
            flight = self.flights.pop(key, None)           # who asks from now on must not get its value either
            if flight is not None:
                (<Flight>flight).fenced = True
        return 0

    cdef int begin_flights(self) except -1:
        with cython.critical_section(self):
            if self.flights is None:
                self.flights = {}
        return 0

    cdef object load(self, object key, object loader, tuple arguments, object ttl):
        """Call ``loader(*arguments)`` and store what it returns, or wait for the thread that does."""
        cdef Flight flight = Flight()
        cdef Flight ahead
        cdef PyObject* value
        self.begin_flights()
        ahead = board(self.flights, key, flight)
        if ahead is not flight:
            return ahead.value
        try:
            value = self.glance(<PyObject*>key)        # stored between the caller's miss and this flight
            if value != NULL:
                flight.value = stolen(value)
                flight.landed = True
                return flight.value
            self.store.count.loads += 1
            try:
                flight.value = loader(*arguments)
                flight.landed = True
            except BaseException as error:
                self.store.count.load_failures += 1
                if isinstance(error, Exception):
                    flight.error = error
                    flight.traceback = error.__traceback__
                raise
            self.write(key, flight.value, ttl, SET, flight)
            return flight.value
        finally:
            land(self.flights, key, flight)

    def _open_flight(self, key, /):
        """For loads in an event loop: the flight of a key, which _close_flight ends; None if the key has one already."""
        cdef Flight flight = Flight()
        self.begin_flights()
        return flight if self.flights.setdefault(key, flight) is flight else None

    def _close_flight(self, key, Flight flight, value=MISSING, /):
        """End a flight: store its value if nothing has fenced it. Without a value, who waits for it loads instead."""
        try:
            if value is not MISSING:
                flight.value = value
                flight.landed = True
                self.write(key, value, None, SET, flight)
        finally:
            land(self.flights, key, flight)

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
        xdecref(value)
        return value != NULL

    def __len__(self):
        self.expire_now()
        return self.store.index.used

    def __iter__(self):
        return CacheIterator(self, 0)

    def _iterate(self, what, /):
        """An iterator over keys (0), values (1) or pairs (2), for the views."""
        return CacheIterator(self, what)

    def __eq__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.contents() == ((<Cache>other).contents() if isinstance(other, Cache) else dict(other.items()))

    __hash__ = None

    def __repr__(self):
        name = type(self).__name__
        if Py_ReprEnter(self):
            return f"{name}(...)"
        try:
            return f"{name}({self.contents()!r}, maxsize={self.maxsize_!r}, currsize={self.currsize!r})"
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

    cdef PyObject* get_slowly(self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) except NULL:
        """`get`, whatever its arguments and its keys are."""
        cdef PyObject* value
        cdef PyObject* default = <PyObject*>None
        if nargs == 2 and kwnames == NULL:
            default = args[1]
        elif nargs == 1 and kwnames != NULL and <object>kwnames == ("default",):
            default = args[1]
        elif nargs != 1 or kwnames != NULL:
            raise TypeError(f"get() takes a key and a default, got {nargs} positional arguments"
                            + (f" and the keywords {', '.join(<object>kwnames)}" if kwnames != NULL else ""))
        if self.own_getitem:                    # a subclass that reads in its own way: do as cachetools does
            key = <object>args[0]
            result = self[key] if key in self else <object>default
            incref(<PyObject*>result)
            return <PyObject*>result
        self.read(args[0], &value)
        if value == NULL:
            incref(default)
            return default
        return value

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
        cdef double t, deadline
        cdef int status
        cdef PyObject* found
        value = None
        if self.ttu_ is not None and ttl is None:
            found = self.glance(<PyObject*>key)
            if found == NULL:
                return False
            value = stolen(found)
        self.lifetime(key, value, ttl, &t, &deadline)
        status = store_touch(&self.store, <PyObject*>key, hash, t, deadline, &grave)
        self.drop(&grave)
        if status == NO_MEMORY:
            raise MemoryError
        return checked(status) == 1

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
        cdef PyObject* key
        cdef PyObject* value
        cdef double t
        cdef bint found
        self.now(&t)
        found = store_pop_victim(&self.store, t, SIZE if self.making_room else EXPLICIT, &key, &value, &grave)
        self.drop(&grave)
        if not found:
            raise KeyError(f"{type(self).__name__} " + ("has only pinned entries" if self.store.index.used else "is empty"))
        result = (stolen(key), stolen(value))
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
        cdef double t
        for key in list(self.flights or ()):
            self.fence(key)
        self.now(&t)
        store_clear(&self.store, t, &grave)
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
        cdef double t
        cdef Grave grave = [NIL, NIL]
        cdef int status
        items = keys if type(keys) is tuple else tuple(keys)
        total = len(items)
        result = {}
        while start < total:
            n = min(total - start, <Py_ssize_t>BATCH)
            for i in range(n):
                hashes[i] = hotset_mix(hotset_hash(tuple_item(<PyObject*>items, start + i)))
            self.now(&t)
            status = store_read_batch(&self.store, tuple_items(<PyObject*>items) + start, n, hashes, values, t, &grave)
            self.drop(&grave)
            move_values(result, tuple_items(<PyObject*>items) + start, n, values, status)
            start += n
        return result

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

    def coldest(self, n=None):
        """The (key, value) pairs that the policy would evict first, the next victim at the front; all, or n of them.

        No use of them. In random replacement the order means nothing. O(n).
        """
        return self.snapshot(False, n, False)

    def hottest(self, n=None):
        """The (key, value) pairs that the policy would evict last, the hottest at the front; all, or n of them.

        No use of them. O(len).
        """
        return self.snapshot(True, n, False)

    def record(self, path=None, *, sample=0.01, keys="hashed", limit=None):
        """Record what is asked for from now on, for a sample of the keys: returns a hotset.recording.Recording to stop it.

        See there for the arguments and errors. While it runs, a read takes a few percent longer at the default sample.
        """
        from hotset.recording import Recording
        self.recording = Recording(self, path, sample=sample, keys=keys, limit=limit)
        return self.recording

    def advise(self, *, l2=None, latencies=None, prices=None):
        """What would help this cache, from what `record` has recorded so far: a hotset.lab.advice.Advice; print it.

        `l2`, entries of a level below; `latencies` and `prices` as in hotset.lab.advice.advise. Raises RuntimeError if
        nothing was recorded, ValueError if that is too little to tell anything, ImportError without hotset[lab].
        """
        from hotset.lab.live import advise_cache
        return advise_cache(self, self.recording, l2=l2, latencies=latencies, prices=prices)

    def stats(self, reset=False):
        """A CacheStats of what has happened since the cache was made or the last reset."""
        cdef Counters count = store_counters(&self.store, reset)
        return CacheStats(count.hits, count.misses, count.inserts, count.updates, count.removed[SIZE],
                          count.removed[EXPIRED], count.removed[EXPLICIT], count.removed[REPLACED],
                          count.loads, count.load_failures)

    def expire(self, time=None):
        """Remove all expired entries, as of now or a given time, and return them as a list of (key, value) pairs.

        Amortized O(1) an entry removed: the others are not looked at.
        """
        cdef Grave grave = [NIL, NIL]
        cdef Picked* picked
        cdef Py_ssize_t n
        cdef double t
        if time is None:
            self.now(&t)
        else:
            t = self.as_time(time)
        picked = pick_expired(&self.store, t, &grave, &n)
        self.drop(&grave)
        return picked_list(picked, n, n, False, False)

    cdef int expire_now(self) except -1:
        """Remove what has expired."""
        cdef Grave grave = [NIL, NIL]
        cdef double t
        if self.clock != NO_CLOCK:
            self.now(&t)
            store_expire(&self.store, t, &grave)
            self.drop(&grave)
        return 0

    def resize(self, maxsize, /):
        """Change maxsize; what does not fit any more is evicted at once."""
        cdef Grave grave = [NIL, NIL]
        cdef double limit = bound_of(maxsize)
        cdef double t
        cdef int status
        self.now(&t)
        status = store_resize(&self.store, limit, t, &grave)
        if status == 0:
            self.maxsize_ = maxsize
        self.drop(&grave)
        if status == NO_ROOM:
            raise ValueError(f"pinned entries do not fit in a maxsize of {maxsize!r}")
        if status != 0:
            raise MemoryError

    @property
    def getsizeof(self):
        """``getsizeof(value)`` is what a value counts against maxsize: 1, or what the function given says.

        A subclass may define it as a method.
        """
        return count_one if self.getsizeof_ is None else self.getsizeof_

    @property
    def maxsize(self):
        """The bound of currsize."""
        return self.maxsize_

    @property
    def currsize(self):
        """The sum of the entries' sizes: their number, if there is no getsizeof."""
        self.expire_now()
        return as_number(self.store.weight)

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
        if not store_validate(&self.store):
            raise AssertionError(f"the structures of this {type(self).__name__} are inconsistent")

    # ---- copies ----

    __class_getitem__ = classmethod(types.GenericAlias)

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
            "entries": self.snapshot(False, None, True),
            "policy": self.store.policy.rank(self.store.state, &self.store.slab, NIL),
            "attributes": object.__getstate__(self),
        }
        return copyreg.__newobj__, (type(self),), state

    def __setstate__(self, state, /):
        """Make this the cache of which __reduce_ex__ told. Times to live go on from what was left of them."""
        cdef double t
        self.configure_from(state["configuration"])
        attributes = state["attributes"]
        for part in attributes if isinstance(attributes, tuple) else (attributes,):     # __dict__, and what slots hold
            for name, value in (part or {}).items():
                setattr(self, name, value)
        for entry in state["entries"]:
            if entry[3] < HOTSET_NEVER:
                self.start_clock(entry[3])
        self.now(&t)
        link_list(&self.store, state["entries"], t)
        self.store.policy.restore(self.store.state, &self.store.slab, NIL, state["policy"])

    def __copy__(self):
        rebuild, arguments, state = self.__reduce_ex__(2)
        clone = rebuild(*arguments)
        clone.__setstate__(state)
        return clone

MutableMapping.register(Cache)

cdef inline object pairs_of(object pairs):
    """(key, value) pairs of a mapping or an iterable of pairs."""
    if isinstance(pairs, Cache):
        return (<Cache>pairs).snapshot(False, None, False)
    if isinstance(pairs, Mapping) or hasattr(pairs, "keys"):
        return [(key, pairs[key]) for key in pairs.keys()]
    return pairs


cdef class CacheIterator:
    """Iterates over a cache's slots; a key that comes or goes meanwhile ends it with RuntimeError."""
    cdef Cache cache
    cdef uint64_t edits
    cdef uint32_t e
    cdef int what          # 0 keys, 1 values, 2 pairs

    def __cinit__(self, Cache cache, int what):
        self.cache = cache
        self.what = what
        self.edits = cache.store.edits
        self.e = SENTINELS

    def __iter__(self):
        return self

    def __next__(self):
        cdef Cache cache = self.cache
        cdef PyObject* key
        cdef PyObject* value
        cdef double t
        cdef int status
        if cache is None:
            raise StopIteration
        cache.now(&t)
        status = store_next(&cache.store, &self.e, self.edits, t, &key, &value)
        if status <= 0:
            self.cache = None
            if status < 0:
                raise RuntimeError(f"{type(cache).__name__} changed during iteration")
            raise StopIteration
        pair = (stolen(key), stolen(value))
        return pair[self.what] if self.what < 2 else pair


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


cdef class SieveCache(Cache):
    """SIEVE: evicts the oldest entry that was not used since a hand came by. Zhang et al., NSDI 2024.

    New entries that nobody uses leave soon. A hit moves nothing. Needs no memory beyond the 32 bytes that every entry
    takes.
    """

    def __cinit__(self):
        self.adopt(sieve_policy)


cdef class ClockCache(Cache):
    """CLOCK, or second chance: evicts the oldest entry that was not used since the hand came by. Corbato, 1968.

    Near to LRU, and a hit moves nothing. Needs no memory beyond the 32 bytes that every entry takes.
    """

    def __cinit__(self):
        self.adopt(clock_policy)


cdef class SLRUCache(Cache):
    """Segmented LRU: four LRU lists of a quarter of maxsize each, through which hits raise entries. Karedla et al., 1994.

    What is used once does not displace what was used often lately. Needs no memory beyond the 32 bytes that every entry
    takes.
    """

    def __cinit__(self):
        self.adopt(slru_policy)


cdef class S3FIFOCache(Cache):
    """S3-FIFO: a small queue that new entries must be used in, before a main queue. Yang et al., SOSP 2023.

    Resists scans and one-hit wonders; a hit moves nothing. The small queue is a tenth of maxsize. Remembers the hashes
    of evicted keys of up to 0.9 maxsize, at 24 bytes each; it keeps neither keys nor values of theirs.
    """

    def __cinit__(self):
        self.adopt(s3fifo_policy)


cdef class TwoQCache(Cache):
    """2Q: a queue for what was used once, LRU for what came back. Johnson and Shasha, VLDB 1994. Resists scans.

    The queue is a quarter of maxsize. Remembers the hashes of evicted keys of up to half of maxsize, at 24 bytes each;
    it keeps neither keys nor values of theirs.
    """

    def __cinit__(self):
        self.adopt(twoq_policy)


cdef class LIRSCache(Cache):
    """LIRS: keeps what comes back at the shortest intervals. Jiang and Zhang, SIGMETRICS 2002. Resists loops and scans.

    Remembers the hashes of up to twice as many evicted keys as there are entries, at 33 bytes each; it keeps neither
    keys nor values of theirs.
    """

    def __cinit__(self):
        self.adopt(lirs_policy)


cdef class GDSFCache(Cache):
    """Evicts what is worth least for its size: GDSF, Cherkasova, HP Labs 1998. Knows sizes, costs and priorities.

    Small entries, those used often, and those that `set` calls expensive or important stay longer; an entry whose
    priority is math.inf is pinned and stays until it expires or is deleted. What is not used any more goes in time. An
    operation on one key is O(log n), and `coldest` and `hottest` O(n log n). An entry takes 24 bytes more than the 32
    (40 with sizes) that every entry takes.
    """

    def __cinit__(self):
        self.adopt(gdsf_policy)

    def set(self, key, value, ttl=None, *, cost=None, priority=None):
        """Write a key, and say what it is worth.

        `cost` is what it takes to get the value again, in any unit, and `priority` a factor for what else matters:
        twice as much of either counts as twice as many uses. Both are 1 if only the other one is given; a key that is
        there keeps what it is worth if neither is. A priority of math.inf pins the entry: it is never evicted to make
        room.

        Raises ValueError("value too large") if the value's size is above maxsize, and ValueError("pinned entries leave
        no room") if that is above what pinned entries leave of it; the cache is as it was then. O(log n).
        """
        self.write_worth(key, value, ttl, cost, priority, SET)

    def add(self, key, value, ttl=None, *, cost=None, priority=None):
        """Write a key that is not there; whether it was written. The rest as in `set`."""
        return self.write_worth(key, value, ttl, cost, priority, ADD) == 1

    cdef int write_worth(self, object key, object value, object ttl, object cost, object priority, Write mode) except -1:
        """write() with what the entry is worth."""
        cdef double worth
        if cost is None and priority is None:
            return self.write(key, value, ttl, mode, None)
        worth = worth_of(cost, priority)
        return self.write_hashed(key, hotset_mix(hotset_hash(<PyObject*>key)), value, ttl, mode, None, &worth)


cdef class RRCache(Cache):
    """Evicts an entry picked at random, by a generator that is seeded from `random`, or by `choice`.

    `choice` is called with a list of all keys and returns one of them, at O(n) an eviction; random.choice, the
    default, is not called but stands for the O(1) pick.
    """

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
        rr_seed(self.store.state, random.getrandbits(64))
        self.own_popitem = choice is not random.choice or type(self).popitem is not RRCache.popitem
        return 0

    @property
    def choice(self):
        """The function that picks a key to evict."""
        return self.choice_

    def popitem(self):
        """Remove and return a random (key, value) pair. Raises KeyError when empty."""
        return Cache.popitem(self) if self.choice_ is random.choice else pop_chosen(self, self.choice_)

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
        self.set_ttu(ttu)

    cdef int set_ttu(self, object ttu) except -1:
        self.ttu_ = ttu
        return self.start_clock(HOTSET_NEVER)

    @property
    def ttu(self):
        """The function that gives an entry's expiry time."""
        return self.ttu_

    cdef dict configuration(self):
        return dict(Cache.configuration(self), ttu=self.ttu_)

    cdef int configure_from(self, dict given) except -1:
        Cache.configure_from(self, given)
        return self.set_ttu(given["ttu"])


# ---- memoizing ----

cdef class Fresh:
    """A value that may be served until a moment of time.monotonic without asking anyone."""
    cdef public object value
    cdef public double until

    def __init__(self, value=None, double until=HOTSET_NEVER):
        self.value = value
        self.until = until


@cython.final
cdef class Record(Fresh):
    """What a memory keeps of an entry. Made by make_record and put_records; moments are of time.monotonic.

    - `until`: the earliest moment at which somebody must think: the end of the life, of the time to refresh ahead, or
      never to be served as it is (a negative entry).
    - `deadline`: of the life. `gone`: when it is dropped.
    - `confirmed`: the value was the shared tiers' at this moment at the latest.
    - `loose`: nobody will tell if another process invalidates it: to be confirmed after a while.
    - `refreshing`: someone has been sent for a newer one.
    """
    cdef public double born, confirmed, deadline, gone, cost
    cdef public bint absent, loose, refreshing
    cdef public object writer, tags, epoch
    cdef char version_[FENCE_END - VERSION]

    @property
    def version(self):
        """The version of the value: 12 bytes."""
        return PyBytes_FromStringAndSize(self.version_, sizeof(self.version_))


cdef class Memo:
    """A function whose results are kept in a cache. Made by hotset.cached, hotset.lru_cache and hotset.cache."""
    cdef vectorcallfunc vectorcall
    cdef Cache store       # None where nothing is kept, and for methods
    cdef object function, make_key, make_store
    cdef dict stores       # id of an instance -> (weak reference to it, its cache), for methods
    cdef bint typed
    cdef bint plain        # one str or int may be its own key, in the one store
    cdef bint shared       # one call per key across threads
    cdef Fresh guard       # of a memoizer of Fresh values, which the function finds and keeps
    cdef uint64_t misses   # of a memoizer that keeps nothing
    cdef dict __dict__
    cdef object __weakref__

    def __init__(self, function, make_store, *, typed=False, key=None, shared=True, Fresh guard=None):
        if not callable(function):
            raise TypeError(f"the function to memoize must be callable, got {function!r}")
        self.vectorcall = <vectorcallfunc>(memo_call if guard is None else memo_serve)
        self.guard = guard
        self.function = function
        self.make_store = make_store
        self.store = make_store()
        self.typed = typed
        self.make_key = key
        self.shared = shared
        self.plain = self.store is not None and key is None and not typed
        functools.update_wrapper(self, function)

    def __call__(self, *args, **kwargs):
        """The result for these arguments, kept or called for. `install` has the interpreter call memo_call instead."""
        return PyVectorcall_Call(self, args, kwargs)

    def __get__(self, instance, owner):
        if instance is None:
            return self
        return PyMethod_New(self, instance) if self.stores is None else BoundMemo(self, instance)

    def __set_name__(self, owner, name):
        if self.shared and self.stores is None:
            self.stores = {}
            self.plain = False

    def __reduce__(self):
        return self.__qualname__

    def __copy__(self, memo=None):
        return self

    __deepcopy__ = __copy__

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
        return info_of(self.all_stores(), self.cache_parameters()["maxsize"], self.misses)

    def cache_clear(self):
        """Forget all results and begin to count anew."""
        self.misses = 0
        self._clear(self.all_stores())

    def _clear(self, stores, /):
        for store in stores:
            store.clear()
            store.stats(reset=True)

    def _store_of(self, instance, /):
        """The cache of a method's instance."""
        return self.store_of(<PyObject*>instance)

    cdef Cache store_of(self, PyObject* instance):
        known = self.stores.get(<size_t>instance)
        if known is None:
            known = new_store(self.stores, <object>instance, self.make_store)
        return known[1]

    cdef object key_of(self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames):
        """The key of a call with other arguments than one str or int: as functools makes it."""
        if self.make_key is not None:
            return stolen(PyObject_Vectorcall(<PyObject*>self.make_key, args, nargs, kwnames))
        return stolen(call_key(args, nargs, kwnames, <PyObject*>KWD_MARK, self.typed))

    cdef PyObject* call(self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) except NULL:
        """A call with any arguments."""
        cdef PyObject* value = NULL
        cdef Cache store = self.store
        cdef Py_ssize_t skip = 0
        cdef uint32_t hash
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
        hash = hotset_mix(hotset_hash(<PyObject*>key))
        store.read_hashed(<PyObject*>key, hash, &value)
        if value != NULL:
            return value
        return self.fill(store, <PyObject*>key, hash, args, nargs, kwnames)

    cdef PyObject* fill(self, Cache store, PyObject* missed, uint32_t hash, PyObject* const* args, Py_ssize_t nargs,
                        PyObject* kwnames) except NULL:
        """Call the function for a key that has missed, and keep what it returns."""
        cdef Py_ssize_t i
        key = <object>missed
        if not self.shared:
            result = stolen(PyObject_Vectorcall(<PyObject*>self.function, args, nargs, kwnames))
            store.write_hashed(key, hash, result, None, ADD, None, NULL)
        else:
            function = self.function
            if kwnames != NULL:
                function = functools.partial(
                    function, **{name: <object>args[nargs + i] for i, name in enumerate(<tuple>kwnames)})
            result = store.load(key, function, tuple([<object>args[i] for i in range(nargs)]), None)
        incref(<PyObject*>result)
        return <PyObject*>result


def run_replay(Cache cache, double limit, const integer[:] keys, sizes):
    """What hotset.replay runs: (hits, hit bytes, bytes) of keys of one integer type; `cache` lends its policy."""
    return replay_with(&cache.store.policy, limit, keys, sizes)


def tape_start(Cache cache not None, double sample, uint32_t room, bint plain):
    """Note requests for a share of the keys from now on, up to `room` of them until they are taken; also the keys if
    `plain`, and not only their hashes. Raises RuntimeError if it is done already."""
    cdef Mark* marks
    cdef uint64_t lost
    cdef uint32_t count
    if cache.store.below != 0:
        raise RuntimeError("this cache is being recorded already: stop that first")
    if cache.store.tape == NULL:
        cache.store.tape = <Tape*>PyMem_RawCalloc(1, sizeof(Tape))
        if cache.store.tape == NULL:
            raise MemoryError
    marks = <Mark*>PyMem_RawMalloc(room * sizeof(Mark))
    if marks == NULL:
        raise MemoryError
    count = tape_change(cache.store.tape, &marks, room, plain, &lost)
    tape_drop(marks, count)
    cache.store.below = <uint64_t>(sample * 4294967296.0)


def tape_take(Cache cache not None, uint32_t room):
    """What was noted since the last time: hashes of 4 bytes, moments as doubles of time.monotonic, the keys or None, and
    how many requests were lost because there was no room. Stops if `room` for those to come is 0."""
    cdef Mark* marks = NULL
    cdef uint64_t lost = 0
    cdef uint32_t count, i
    cdef bint plain
    if cache.store.tape == NULL:
        return b"", b"", None, 0
    plain = cache.store.tape.plain
    if room == 0:
        cache.store.below = 0
    else:
        marks = <Mark*>PyMem_RawMalloc(room * sizeof(Mark))
        if marks == NULL:
            raise MemoryError
    count = tape_change(cache.store.tape, &marks, room, plain, &lost)
    try:
        hashes = PyBytes_FromStringAndSize(NULL, count * sizeof(uint32_t))
        moments = PyBytes_FromStringAndSize(NULL, count * sizeof(double))
        for i in range(count):
            (<uint32_t*>PyBytes_AS_STRING(hashes))[i] = marks[i].hash
            (<double*>PyBytes_AS_STRING(moments))[i] = marks[i].moment
        return hashes, moments, [<object>marks[i].key for i in range(count)] if plain else None, lost
    finally:
        tape_drop(marks, count)


def plan_recording(type entry):
    """What make_record needs to know of entries. See records."""
    return entries_of(entry, types.MemberDescriptorType)


def make_record(bytes plan, entry, double moment, double confirmed, double longest):
    """The record of an entry as of a moment, not to be served yet. Raises ValueError for a version that is none."""
    cdef const Py_ssize_t* e = slots_for(plan, entry)
    cdef Record made = Record.__new__(Record)
    version = get_slot(entry, e[VERSION_SLOT])
    if not PyBytes_CheckExact(version) or PyBytes_GET_SIZE(version) != sizeof(made.version_):
        raise ValueError(f"the version of an entry must be {sizeof(made.version_)} bytes, not {version!r}")
    memcpy(made.version_, PyBytes_AS_STRING(version), sizeof(made.version_))
    made.value = entry.value
    made.until = -HOTSET_NEVER
    made.born = moment - <double>get_slot(entry, e[AGE])
    made.confirmed = confirmed
    made.deadline = moment + min(<double>get_slot(entry, e[LIFE]), longest)
    made.gone = moment + <double>get_slot(entry, e[KEEP])
    made.cost = get_slot(entry, e[COST_SLOT])
    made.absent = get_slot(entry, e[ABSENT])
    made.tags = get_slot(entry, e[TAGS])
    made.epoch = get_slot(entry, e[EPOCH_SLOT])
    made.writer = get_slot(entry, e[WRITER])
    return made


def put_records(Cache cache not None, list keys not None, list envelopes not None, list values not None,
                list origins not None, double now, double moment, double longest, double until, bint loose):
    """Set keys to the records of opened envelopes as of a moment. Raises ValueError. O(n).

    Each says itself when it is gone; the cache keeps all for as long as the one that lives longest.
    """
    cdef Py_ssize_t n = len(keys), i
    cdef Record made
    cdef Moments times
    cdef const unsigned char* p
    cdef uint64_t epoch = 0
    cdef object epoch_object = 0
    cdef object ttl = None
    cdef double keep = 0.0
    if not n == len(envelopes) == len(values) == len(origins):
        raise ValueError("as many keys, envelopes, values and origins are wanted")
    for i in range(n):
        keep = max(keep, seconds_till(hotset_u64(bytes_of(envelopes[i]) + DROPS), now))
    if keep < HOTSET_NEVER:
        ttl = keep
    for i in range(n):
        envelope = envelopes[i]
        p = bytes_of(envelope)
        times = moments_of(p, now, moment, longest)
        made = Record.__new__(Record)
        memcpy(made.version_, p + VERSION, sizeof(made.version_))
        made.value = values[i]
        made.until = min(until, times.deadline)
        made.born, made.confirmed, made.deadline, made.gone = times.born, moment, times.deadline, times.gone
        made.cost = cost_in(p)
        made.loose = loose
        made.writer, made.tags = <tuple?>origins[i]
        if hotset_u64(p + EPOCH) != epoch:
            epoch = hotset_u64(p + EPOCH)
            epoch_object = epoch
        made.epoch = epoch_object
        cache.write(keys[i], made, ttl, SET, None)


# ---- what Cython cannot declare: slots of the types ----
# The collector does not see PyObject* in C structs, and a cdef class cannot be called by vectorcall. The types are
# static and have not been used yet, so their slots may still be set.

cdef traverseproc traverse_fields = NULL
cdef inquiry clear_fields = NULL
cdef objobjargproc assign_slowly = NULL


cdef int cache_traverse(Cache self, visitproc visit, void* arg) noexcept:
    """tp_traverse: the fields that Cython knows, and the keys and values."""
    cdef int status = traverse_fields(<PyObject*>self, visit, arg)
    return status if status != 0 else store_visit(&self.store, visit, arg)


cdef int cache_clear(Cache self) noexcept:
    """tp_clear: gives up keys and values first, while the fields are there still; the listener is not told."""
    cdef Grave grave = [NIL, NIL]
    self.on_evict_ = None
    self.flights = None
    hotset_lock(&self.store.lock)
    store_bury_all(&self.store, &grave)
    hotset_unlock(&self.store.lock)
    self.drop(&grave)
    return clear_fields(<PyObject*>self)


ctypedef PyObject* (*cache_function)(Cache, PyObject* const*, Py_ssize_t, PyObject*) noexcept
ctypedef PyObject* (*cache_candidate)(Cache, PyObject* const*, Py_ssize_t, uint32_t) noexcept
ctypedef PyObject* (*memo_function)(Memo, PyObject* const*, Py_ssize_t, PyObject*) noexcept
ctypedef PyObject* (*memo_filler)(Memo, Cache, PyObject*, uint32_t, PyObject* const*, Py_ssize_t, PyObject*) noexcept

# What the hot entry points call for all that is not the commonest case. By pointer, so that the compiler can neither
# inline it there nor needs a frame for it, and NULL with an error set passes through as it is.
cdef cache_function get_timed, get_slowly
cdef cache_candidate get_equal
cdef memo_function call_otherwise, call_slowly
cdef vectorcallfunc serve_otherwise
cdef memo_filler fill


cdef inline PyObject* get_same(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, int path,
                               hit_verb hit, cache_function otherwise) noexcept:
    """`get` by store_read_same on a path that is a constant here, or else `otherwise`."""
    cdef PyObject* value
    cdef Py_hash_t hash
    cdef uint32_t candidate
    cdef int status
    if self.path != path:
        return otherwise(self, args, nargs, kwnames)
    if kwnames != NULL or <size_t>(nargs - 1) >= 2:
        return get_slowly(self, args, nargs, kwnames)
    hash = hotset_known_hash(args[0])
    if hash == -1 or not HOTSET_LIKELY(hotset_mix(hash) >= self.store.below):
        return get_slowly(self, args, nargs, kwnames)
    status = store_read_same(&self.store, args[0], hotset_mix(hash), &value, &candidate, path, hit)
    if HOTSET_LIKELY(status > 0):
        return value
    if status < 0:
        return get_equal(self, args, nargs, candidate)
    value = args[1] if nargs == 2 else <PyObject*>None
    incref(value)
    return value


cdef PyObject* cache_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    """`get` of LRU, FIFO and RR. By hand, because Cython's code for an argument that may be a keyword costs a third of a hit."""
    return get_same(self, args, nargs, kwnames, LEAF, lru_hit, get_timed)


cdef PyObject* auto_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    """Cache.get; as the next ones, cache_get with the policy's verb inlined."""
    return get_same(self, args, nargs, kwnames, BY_VERB, auto_hit, get_timed)


cdef PyObject* lfu_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    return get_same(self, args, nargs, kwnames, BY_VERB, lfu_hit, get_timed)


cdef PyObject* arc_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    return get_same(self, args, nargs, kwnames, BY_VERB, arc_hit, get_timed)


cdef PyObject* tinylfu_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    return get_same(self, args, nargs, kwnames, BY_VERB, wtinylfu_hit, get_timed)


cdef PyObject* sieve_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    return get_same(self, args, nargs, kwnames, BY_VERB, sieve_hit, get_timed)


cdef PyObject* slru_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    return get_same(self, args, nargs, kwnames, BY_VERB, slru_hit, get_timed)


cdef PyObject* s3fifo_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    return get_same(self, args, nargs, kwnames, BY_VERB, s3fifo_hit, get_timed)


cdef PyObject* twoq_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    return get_same(self, args, nargs, kwnames, BY_VERB, twoq_hit, get_timed)


cdef PyObject* lirs_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    return get_same(self, args, nargs, kwnames, BY_VERB, lirs_hit, get_timed)


cdef PyObject* gdsf_get(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    return get_same(self, args, nargs, kwnames, BY_VERB, gdsf_hit, get_timed)


cdef PyObject* cache_get_timed(Cache self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    return get_same(self, args, nargs, kwnames, TIMED, self.store.policy.hit, get_slowly)


cdef PyObject* cache_get_equal(Cache self, PyObject* const* args, Py_ssize_t nargs, uint32_t candidate) noexcept:
    """cache_get for a key that may equal a candidate, as keys that come from outside do."""
    cdef PyObject* value
    cdef uint32_t hash = hotset_mix(hotset_known_hash(args[0]))     # cheaper than a register on the way here
    if HOTSET_LIKELY(store_read_candidate(&self.store, args[0], hash, candidate, &value, False) > 0):
        return value
    return get_slowly(self, args, nargs, NULL)


cdef inline int call_same(Memo self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, int path,
                          uint32_t* hash, PyObject** value) noexcept:
    """What store_read_same says of a call with one str or small int; -1 also for other calls."""
    cdef Py_hash_t known
    cdef uint32_t candidate
    cdef int status
    if HOTSET_LIKELY(kwnames == NULL and nargs == 1 and self.plain and (self.store.path == path or path == ANY_TIME)):
        known = hotset_known_hash(args[0])
        if HOTSET_LIKELY(known != -1):
            hash[0] = hotset_mix(known)
            if not HOTSET_LIKELY(hash[0] >= self.store.store.below):
                return -1                       # to be recorded on the slower path
            status = store_read_same(&self.store.store, args[0], hash[0], value, &candidate, path,
                                     self.store.store.policy.hit)
            if status < 0 and path != LEAF:
                status = store_read_candidate(&self.store.store, args[0], hash[0], candidate, value, path == ANY_TIME)
            return status
    return -1


cdef PyObject* memo_call(Memo self, PyObject* const* args, size_t nargsf, PyObject* kwnames) noexcept:
    """Memo.__call__ by the vectorcall protocol."""
    cdef PyObject* value
    cdef uint32_t hash
    cdef Py_ssize_t nargs = PyVectorcall_NARGS(nargsf)
    cdef int status = call_same(self, args, nargs, kwnames, LEAF, &hash, &value)
    if HOTSET_LIKELY(status > 0):
        return value
    if status == 0:
        return fill(self, self.store, args[0], hash, args, nargs, kwnames)
    return call_otherwise(self, args, nargs, kwnames)


cdef inline PyObject* served(Memo self, PyObject* value) noexcept:
    """What a Fresh holds, a new reference in place of the one to it; NULL without an error if it is not to be served."""
    cdef double t = hotset_clock_coarse()
    cdef PyObject* held = <PyObject*>(<Fresh>value).value if (<Fresh>value).until > t and self.guard.until > t else NULL
    if HOTSET_LIKELY(held != NULL):
        incref(held)
    decref(value)
    return held


cdef PyObject* memo_serve(Memo self, PyObject* const* args, size_t nargsf, PyObject* kwnames) noexcept:
    """Memo.__call__ where there is a guard: a value that is fresh is served, all else is the function's to find out."""
    cdef PyObject* value
    cdef uint32_t hash
    cdef Py_ssize_t nargs = PyVectorcall_NARGS(nargsf)
    nargs -= nargs == 2                         # a default, which only the function has use for
    cdef int status = call_same(self, args, nargs, kwnames, ANY_TIME, &hash, &value)
    if status < 0 and nargs == 1 and PyUnicode_CheckExact(args[0]) and hotset_known_hash(args[0]) == -1:
        hotset_hash(args[0])                    # cannot fail for a str, which keys made for one call mostly are
        status = call_same(self, args, nargs, kwnames, ANY_TIME, &hash, &value)
    if HOTSET_LIKELY(status > 0):
        value = served(self, value)
        if HOTSET_LIKELY(value != NULL):
            return value
    elif status < 0:
        return serve_otherwise(<PyObject*>self, args, nargsf, kwnames)
    return call(<PyObject*>self.function, args, nargsf, kwnames)


cdef PyObject* memo_serve_otherwise(Memo self, PyObject* const* args, size_t nargsf, PyObject* kwnames) noexcept:
    """memo_serve for a key that lies far from its home in the index or behind another's tag, and for other calls.

    So one str or small int has always been looked up, and is counted as a hit or a miss, when the function is called.
    """
    cdef PyObject* value = NULL
    cdef Py_hash_t known
    cdef Py_ssize_t nargs = PyVectorcall_NARGS(nargsf)
    if kwnames == NULL and (nargs == 1 or nargs == 2) and self.plain:
        known = hotset_known_hash(args[0])
        if known != -1:
            if store_read_any_time(&self.store.store, args[0], hotset_mix(known), &value) < 0:
                return NULL
            if value != NULL:
                value = served(self, value)
    return value if value != NULL else call(<PyObject*>self.function, args, nargsf, kwnames)


cdef PyObject* memo_call_otherwise(Memo self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept:
    """memo_call for the other policies and for stores where results can expire."""
    cdef PyObject* value
    cdef uint32_t hash
    cdef int status = call_same(self, args, nargs, kwnames, TIMED, &hash, &value)
    if status < 0:
        status = call_same(self, args, nargs, kwnames, BY_VERB, &hash, &value)
    if HOTSET_LIKELY(status > 0):
        return value
    if status == 0:
        return fill(self, self.store, args[0], hash, args, nargs, kwnames)
    return call_slowly(self, args, nargs, kwnames)


cdef int cache_assign(Cache self, PyObject* key, PyObject* value) noexcept:
    """mp_ass_subscript, with the commonest write first."""
    cdef Py_hash_t hash = hotset_known_hash(key)
    if value != NULL and hash != -1 and self.write_known(key, value, hotset_mix(hash), False) >= 0:
        return 0
    return assign_slowly(<PyObject*>self, key, value)


cdef const char* GET_DOC = b"get($self, key, /, default=None)\n--\n\nThe key's value, or the default; a use of the key. O(1)."
cdef PyMethodDef GET[12]


cdef int install() except -1:
    """Called once, when the module is imported."""
    global traverse_fields, clear_fields, assign_slowly, get_timed, get_equal, get_slowly, call_otherwise, call_slowly, fill,\
        serve_otherwise
    cdef TypeSlots* slots = <TypeSlots*>Cache
    cdef Memo memo = Memo.__new__(Memo)
    cdef Cache cache = LRUCache.__new__(LRUCache)
    get_timed = cache_get_timed
    get_equal = cache_get_equal
    get_slowly = <cache_function>cache.get_slowly
    call_otherwise = memo_call_otherwise
    call_slowly = <memo_function>memo.call
    serve_otherwise = <vectorcallfunc>memo_serve_otherwise
    fill = <memo_filler>memo.fill
    traverse_fields = slots.tp_traverse
    clear_fields = slots.tp_clear
    assign_slowly = slots.tp_as_mapping.mp_ass_subscript
    for cls in (Cache, LRUCache, FIFOCache, LFUCache, ARCCache, TinyLFUCache, SieveCache, ClockCache, SLRUCache, S3FIFOCache,
                TwoQCache, LIRSCache, GDSFCache, RRCache, TTLCache, TLRUCache):
        (<TypeSlots*>cls).tp_traverse = <traverseproc>cache_traverse
        (<TypeSlots*>cls).tp_clear = <inquiry>cache_clear
        (<TypeSlots*>cls).tp_as_mapping.mp_ass_subscript = <objobjargproc>cache_assign
    # Each class that inherits from Cache itself needs a `get` of its own: Cache's has the verb of its policy in it.
    for cls in (LRUCache, FIFOCache, RRCache):
        give_method(<PyTypeObject*>cls, &GET[0], b"get", <PyCFunction>cache_get, GET_DOC)
    give_method(<PyTypeObject*>Cache, &GET[11], b"get", <PyCFunction>auto_get, GET_DOC)
    give_method(<PyTypeObject*>LFUCache, &GET[1], b"get", <PyCFunction>lfu_get, GET_DOC)
    give_method(<PyTypeObject*>ARCCache, &GET[2], b"get", <PyCFunction>arc_get, GET_DOC)
    give_method(<PyTypeObject*>TinyLFUCache, &GET[3], b"get", <PyCFunction>tinylfu_get, GET_DOC)
    give_method(<PyTypeObject*>SieveCache, &GET[4], b"get", <PyCFunction>sieve_get, GET_DOC)
    give_method(<PyTypeObject*>ClockCache, &GET[5], b"get", <PyCFunction>sieve_get, GET_DOC)
    give_method(<PyTypeObject*>SLRUCache, &GET[6], b"get", <PyCFunction>slru_get, GET_DOC)
    give_method(<PyTypeObject*>S3FIFOCache, &GET[7], b"get", <PyCFunction>s3fifo_get, GET_DOC)
    give_method(<PyTypeObject*>TwoQCache, &GET[8], b"get", <PyCFunction>twoq_get, GET_DOC)
    give_method(<PyTypeObject*>LIRSCache, &GET[9], b"get", <PyCFunction>lirs_get, GET_DOC)
    give_method(<PyTypeObject*>GDSFCache, &GET[10], b"get", <PyCFunction>gdsf_get, GET_DOC)
    give_vectorcall(<PyTypeObject*>Memo, <char*>&memo.vectorcall - <char*><PyObject*>memo)
    return 0


install()
