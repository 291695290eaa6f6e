# cython: language_level=3, cdivision=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: freethreading_compatible=True
"""What a miss is made of: flows driven, levels asked and timed, names, envelopes opened and closed, a look into a file."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF
from libc.math cimport log
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from envelope cimport (envelope_of, found_all, hotset_crc32, hotset_crc32_prepare, open_all, open_one, wanted_in,
                       wanted_of)
from instances cimport PyType_GenericAlloc, find_slots, set_slot
from names cimport own_names, values_of
from parts cimport gather_from, open_group, part_in, places_over, spread_over
from python cimport hotset_clock_precise, PyErr_Clear, PyUnicode_AsUTF8AndSize, PyUnicode_CheckExact, checked
from resp cimport packed_commands
from talk cimport talk_over

import types

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
    PySendResult PyIter_Send(object, object, PyObject**)

cdef enum:
    READING_SLOTS = 4

hotset_crc32_prepare()


def plan_opening(type entry, type found, codec, schema, limit):
    """What open_envelopes and found_in need to know, for as long as the classes are there. See envelope."""
    return wanted_of(entry, found, codec, schema, limit, types.MemberDescriptorType)


def open_envelopes(bytes plan, list places, list envelopes, double now, cleared, epoch, decode, dict origins, nothing, odd):
    """(what was found, None, origins); or (None, values, origins) if all are fresh and have no tags. O(bytes)."""
    return open_all(plan, places, envelopes, now, cleared, epoch, decode, origins, nothing, odd)


@cython.binding(True)
def drive(self, flow):
    """Drive a flow to its end in this thread, and return what it returns. Its effects are given `self`."""
    cdef PyObject* got
    cdef PySendResult sent
    result = None
    try:
        while True:
            sent = PyIter_Send(flow, result, &got)
            if sent == PYGEN_ERROR:
                checked(-1)
            effect = <object>got
            Py_DECREF(effect)
            if sent == PYGEN_RETURN:
                return effect
            while True:
                try:
                    result = effect.block(self)
                    break
                except BaseException as error:          # the flow decides
                    try:
                        effect = flow.throw(error)
                    except StopIteration as stop:
                        return stop.value
    finally:
        flow.close()


def advanced(operation, value):
    """(whether a generator that is sent a value has ended, what it returns or yields). Sooner told than StopIteration."""
    cdef PyObject* got
    cdef PySendResult sent = PyIter_Send(operation, value, &got)
    if sent == PYGEN_ERROR:
        checked(-1)
    said = <object>got
    Py_DECREF(said)
    return sent == PYGEN_RETURN, said


@cython.final
cdef class Histogram:
    """Counts numbers by their logarithms, in buckets: `scale` is 1 over the lower bound of the first one, and numbers grow
    by a factor e over `per_e_fold` of them. What is below or above belongs to the first or the last; NaN is ignored.

    Adding takes no lock: without the GIL a count may be lost.
    """
    cdef uint64_t* buckets
    cdef Py_ssize_t n
    cdef double scale, per_e_fold

    def __cinit__(self, Py_ssize_t n, double scale, double per_e_fold):
        if n < 1:
            raise ValueError(f"there must be 1 bucket or more, not {n}")
        self.buckets = <uint64_t*>PyMem_Calloc(n, sizeof(uint64_t))
        if self.buckets == NULL:
            raise MemoryError
        self.n, self.scale, self.per_e_fold = n, scale, per_e_fold

    def __dealloc__(self):
        PyMem_Free(self.buckets)

    def add(self, double number):
        """Count a number. O(1)."""
        cdef double place
        if number != number:
            return
        number *= self.scale
        place = log(number) * self.per_e_fold if number > 1.0 else 0.0
        self.buckets[<Py_ssize_t>place if place < self.n else self.n - 1] += 1

    def counts(self):
        """The counts by bucket. O(buckets)."""
        return [self.buckets[i] for i in range(self.n)]


def packed(list commands not None):
    """Commands, tuples of str and bytes, as they go over the wire. O(bytes)."""
    return packed_commands(commands)


cdef class Asker:
    """Has a tier do things, and tells how long they took and that a breaker may go on. The rest is a subclass's:

    `_let_through` raises if the tier is not to be asked, `_failed` is told of what it raised.
    """
    cdef public object tier, breaker, latencies
    cdef public bint on

    def __init__(self, tier, breaker, latencies):
        self.tier, self.breaker, self.latencies = tier, breaker, latencies
        self.on = True

    def ask(self, str operation not None, *arguments, **named):
        """Have the tier do something. Raises TierError."""
        cdef double start
        if not self.on or not self.breaker.closed:
            self._let_through()
        start = hotset_clock_precise()
        try:
            answer = getattr(self.tier, operation)(*arguments, **named)
        except BaseException as error:
            self._failed(error)
            raise
        self.latencies.record(hotset_clock_precise() - start)
        self.breaker.success()
        return answer


@cython.final
cdef class Talk:
    """Asks over a blocking socket, given by its number, whose waits the system bounds. For one thread at a time.

    `feed`, `take` and `left` are a parser's: give it some of a buffer, take the next reply, `more` if that has not come
    in full, and whether anything is left. Whoever closes the socket must not use this any more.
    """
    cdef int file
    cdef bytearray buffer
    cdef object feed, take, left, more

    def __init__(self, int file, bytearray buffer not None, feed, take, left, more):
        self.file, self.buffer, self.feed, self.take, self.left, self.more = file, buffer, feed, take, left, more

    def ask(self, bytes request not None, list replies not None, Py_ssize_t count):
        """Send a request and add what replies have come by one wait, of `count`; whether all have, and nothing else.

        None if the connection has ended. Raises OSError, as BlockingIOError if the wait was too long.
        """
        cdef Py_ssize_t size
        if self.buffer is None:
            raise ValueError("it was made without a socket")
        size = talk_over(self.file, request, self.buffer)
        if size == 0:
            return None
        self.feed(self.buffer, 0, size)
        while count > 0:
            reply = self.take()
            if reply is self.more:
                return False
            replies.append(reply)
            count -= 1
        return not self.left()


@cython.final
cdef class Glance:
    """Looks one name up in an LMDB file as of one of its transactions; what is not as it mostly is it leaves to Python.

    Immutable: what a later transaction says takes another glance. `cells` are the file's marks: at `at` the lowest byte of
    its generation, which is `low` as long as it is not replaced; from `slots` on the marks of use.
    """
    cdef bytes plan, space
    cdef dict origins
    cdef object decode, begin, database, store, clock
    cdef readonly object file
    cdef list under_way
    cdef type reading
    cdef Py_ssize_t places[READING_SLOTS]
    cdef unsigned char[::1] cells
    cdef Py_ssize_t at, slots, longest
    cdef uint32_t mask, space_crc, front_crc
    cdef unsigned char low, used
    cdef readonly object number
    cdef uint64_t cleared, epoch

    def __init__(self, bytes plan, decode, dict origins, type reading, tuple file, tuple marks, tuple names, tuple state):
        self.plan, self.decode, self.origins, self.reading = plan, decode, origins, reading
        self.store, self.file, self.begin, self.database, self.under_way, self.clock = file
        self.cells, self.at, self.low, self.slots, self.mask, self.used = marks
        self.space, front, self.longest = names
        self.number, self.cleared, self.epoch = state
        wanted_in(plan)
        if self.at >= self.cells.shape[0] or self.slots + <Py_ssize_t>self.mask >= self.cells.shape[0]:
            raise ValueError("there are not so many cells")
        find_slots(reading, ("epoch", "found", "opened", "refused"), types.MemberDescriptorType, self.places, READING_SLOTS)
        self.space_crc = hotset_crc32(0, <const unsigned char*>PyBytes_AS_STRING(self.space), PyBytes_GET_SIZE(self.space))
        self.front_crc = hotset_crc32(0, <const unsigned char*>PyBytes_AS_STRING(front), PyBytes_GET_SIZE(front))

    def look(self, name):
        """The reading of a name, if it was found and nothing is the matter; else None. O(log entries + bytes)."""
        cdef Py_ssize_t length
        cdef const char* text
        cdef bytes key
        cdef object found = None
        if self.cells[self.at] != self.low or not PyUnicode_CheckExact(<PyObject*>name):
            return None
        text = PyUnicode_AsUTF8AndSize(<PyObject*>name, &length)
        if text == NULL:                                # lone surrogates
            PyErr_Clear()
            return None
        if length > self.longest:
            return None
        key = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(self.space) + length)
        memcpy(PyBytes_AS_STRING(key), PyBytes_AS_STRING(self.space), PyBytes_GET_SIZE(self.space))
        memcpy(PyBytes_AS_STRING(key) + PyBytes_GET_SIZE(self.space), text, length)
        self.under_way.append(None)
        try:
            if self.store.file is not self.file:        # replaced, or the process is about to fork
                return None
            txn = self.begin(self.database)
            try:
                if txn.id() != self.number:
                    return None
                data = txn.get(key)
            finally:
                txn.abort()
            found = open_one(wanted_in(self.plan), name, self.front_crc, data, self.clock(), self.cleared, self.epoch,
                             self.decode, self.origins)
        except Exception:
            return None                                 # it happens again, to who can tell what it is
        finally:
            self.under_way.pop()
        if found is None:
            return None
        self.cells[self.slots + <Py_ssize_t>(hotset_crc32(self.space_crc, <const unsigned char*>text, length) & self.mask)] = (
            self.used)
        result = PyType_GenericAlloc(<PyTypeObject*>self.reading, 0)
        set_slot(result, self.places[0], self.epoch)
        set_slot(result, self.places[1], [found])
        set_slot(result, self.places[2], None)
        set_slot(result, self.places[3], {})
        return result


def close_envelope(bytes plan, str name not None, entry, double now, bytes extra not None, bytes body not None):
    """The envelope of a plain entry; None if that is not for here. Raises ValueError, OverflowError. O(bytes)."""
    return envelope_of(plan, name, entry, now, extra, body)


def found_in(bytes plan, list envelopes, list values, list origins, double now):
    """What was found in these envelopes, of which open_envelopes has told the rest. O(n)."""
    return found_all(plan, envelopes, values, origins, now)


def plain_names(list keys not None):
    """The keys by themselves, if all are str that are their own names; else None. O(n)."""
    return own_names(keys)


def values_by_key(dict named not None, list values not None):
    """The values by the keys in a dict of keys by their names, in the order of that. Raises ValueError. O(n)."""
    return values_of(named, values)


def part_of(str name not None, uint32_t parts):
    """The part of a name. See parts."""
    return part_in(name, parts)


def spread_names(names, tuple prefixes not None):
    """(the part of each name as a byte, an MGET by part that has any of them). O(bytes)."""
    return spread_over(names, prefixes)


def placed_names(names, bytes order not None, tuple prefixes not None):
    """Each name behind the prefix of its part, as spread_names has told those. Raises ValueError. O(bytes)."""
    return places_over(names, order, prefixes)


def open_part(bytes plan, bytes order not None, unsigned char part, list names not None, uint32_t front,
              list group not None, double now, cleared, epoch, decode, dict origins not None, list envelopes not None,
              list values not None, list whose not None):
    """Open what one part has, and put it where the names are in `order`; whether all is there, fresh and untagged.

    If not, what was put there is of no use. `front` is the CRC-32 of the part's prefix. O(names + bytes).
    """
    return open_group(plan, order, part, names, front, group, now, cleared, epoch, decode, origins, envelopes, values, whose)


def gather_values(bytes order not None, list groups not None):
    """Values by part in the order that spread_names has told; None for those of a part that is None. O(n)."""
    return gather_from(order, groups)
