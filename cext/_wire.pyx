# cython: language_level=3, cdivision=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: freethreading_compatible=True
"""What shared levels hold, many at a time: names, envelopes opened and closed, and a file on disk looked into."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from envelope cimport (envelope_of, found_all, hotset_crc32, hotset_crc32_prepare, open_all, open_one, wanted_in,
                       wanted_of)
from instances cimport PyType_GenericAlloc, find_slots, set_slot
from names cimport own_names, values_of
from parts cimport gather_from, open_group, part_in, places_over, spread_over
from python cimport PyErr_Clear, PyUnicode_AsUTF8AndSize, PyUnicode_CheckExact

import types

cdef enum:
    READING_SLOTS = 4

hotset_crc32_prepare()


def plan_opening(type entry, type found, codec, schema, limit):
    """What open_envelopes and found_in need to know, for as long as the classes are there. See envelope."""
    return wanted_of(entry, found, codec, schema, limit, types.MemberDescriptorType)


def open_envelopes(bytes plan, list places, list envelopes, double now, cleared, epoch, decode, dict origins, nothing, odd):
    """(what was found, None, origins); or (None, values, origins) if all are fresh and have no tags. O(bytes)."""
    return open_all(plan, places, envelopes, now, cleared, epoch, decode, origins, nothing, odd)


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
