"""Envelopes of entries, opened many at a time. hotset.wire has the format, and the reasons.

Opened is what nearly every envelope is: plain and whole, of the codec and the schema that are wanted, with a value whose
life was not ended by hand. Everything else is left to Python, which finds out what it is. Nothing is believed that
hotset.wire would not believe.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from python cimport PyErr_Clear, PyTuple_SET_ITEM, PyUnicode_AsUTF8AndSize
from instances cimport Py_TYPE, PyType_GenericAlloc, find_slots, get_slot, set_slot
from store cimport HOTSET_NEVER, incref

cdef extern from "crc32.h" nogil:
    void hotset_crc32_prepare()
    uint32_t hotset_crc32(uint32_t crc, const unsigned char* p, size_t size)
    uint32_t hotset_u16(const unsigned char* p)
    uint32_t hotset_u32(const unsigned char* p)
    uint64_t hotset_u64(const unsigned char* p)
    void hotset_put(unsigned char* p, uint64_t number, int size)

cdef enum:                 # what begins where
    VERSION = 4            # behind the signature and the kind
    FENCE_END = 16
    COVERED = 20           # behind the check, by it
    FLAGS = 21
    EXTRA_SIZE = 22
    SIZE = 24
    SCHEMA = 28
    COST = 32
    EPOCH = 36
    CREATED = 44
    EXPIRES = 52
    DROPS = 60
    EXTRA = 68

cdef extern from *:
    """
    #define HOTSET_LONGEST 1e15  /* seconds of a life; above, it is for ever */
    #define HOTSET_DEAREST 1e9   /* seconds of a load */
    """
    const double LONGEST "HOTSET_LONGEST"
    const double DEAREST "HOTSET_DEAREST"

cdef enum:                 # the slots of an entry, in the order of its fields
    VALUE, VERSION_SLOT, LIFE, KEEP, AGE, COST_SLOT, ABSENT, TAGS, EPOCH_SLOT, WRITER, ENTRY_SLOTS


cdef struct Wanted:
    Py_ssize_t slots[ENTRY_SLOTS]
    PyTypeObject* entry
    PyTypeObject* found    # a named tuple: entry, fence, taken
    uint32_t schema
    unsigned char codec
    Py_ssize_t limit       # bytes; what is longer may be above what is allowed


cdef inline bytes wanted_of(type entry, type found, unsigned char codec, uint32_t schema, Py_ssize_t limit, object descriptor):
    """A Wanted as bytes. It holds no references."""
    cdef Wanted w
    find_slots(entry, entry.__match_args__, descriptor, w.slots, ENTRY_SLOTS)
    w.entry, w.found = <PyTypeObject*>entry, <PyTypeObject*>found
    w.codec, w.schema, w.limit = codec, schema, limit
    return PyBytes_FromStringAndSize(<const char*>&w, sizeof(w))


cdef inline const Wanted* wanted_in(bytes plan) except NULL:
    """The Wanted that these bytes are."""
    if plan is None or PyBytes_GET_SIZE(plan) != sizeof(Wanted):
        raise TypeError("what plan_opening returns is wanted")
    return <const Wanted*>PyBytes_AS_STRING(plan)


cdef inline const unsigned char* bytes_of(object envelope) except NULL:
    """The bytes of what was opened before."""
    if not PyBytes_CheckExact(envelope) or PyBytes_GET_SIZE(envelope) < EXTRA:
        raise TypeError(f"an envelope is wanted, got {envelope!r}")
    return <const unsigned char*>PyBytes_AS_STRING(envelope)


cdef inline bint is_plain(const Wanted* w, object place, const unsigned char* p, Py_ssize_t size) noexcept:
    """Whether this is an envelope to be opened here, and made for that name."""
    cdef Py_ssize_t length
    cdef const char* name
    if size < EXTRA or size > w.limit or memcmp(p, b"\xc1H\x01\x01", VERSION) != 0:
        return False
    if p[COVERED] != w.codec or p[FLAGS] or hotset_u32(p + SCHEMA) != w.schema:
        return False
    if hotset_u32(p + SIZE) != <uint32_t>size or size < EXTRA + <Py_ssize_t>hotset_u16(p + EXTRA_SIZE):
        return False
    name = PyUnicode_AsUTF8AndSize(<PyObject*>place, &length)
    if name == NULL:                                    # lone surrogates
        PyErr_Clear()
        return False
    return hotset_u32(p + FENCE_END) == hotset_crc32(hotset_crc32(0, <const unsigned char*>name, length), p + COVERED,
                                                     size - COVERED)


cdef inline double seconds_till(uint64_t moment, double now) noexcept nogil:
    """The time until a moment of the wire."""
    return <double>moment / 1000 - now if moment else HOTSET_NEVER


cdef inline bint is_ahead(const unsigned char* p, double now) noexcept nogil:
    """Whether a moment of the wire is still to come."""
    cdef uint64_t moment = hotset_u64(p)
    return not moment or <double>moment / 1000 > now


cdef inline double cost_in(const unsigned char* p) noexcept nogil:
    """How long the load took, in seconds."""
    cdef uint32_t bits = hotset_u32(p + COST)
    cdef float cost
    memcpy(&cost, &bits, sizeof(cost))
    return cost if cost > 0 else 0.0


cdef inline object entry_from(const Wanted* w, const unsigned char* p, object value, tuple origin, double now):
    """The entry in an envelope that was checked; `origin` is what its extra block says."""
    cdef double age = now - <double>hotset_u64(p + CREATED) / 1000
    entry = PyType_GenericAlloc(w.entry, 0)
    set_slot(entry, w.slots[VALUE], value)
    set_slot(entry, w.slots[VERSION_SLOT], PyBytes_FromStringAndSize(<const char*>p + VERSION, FENCE_END - VERSION))
    set_slot(entry, w.slots[LIFE], seconds_till(hotset_u64(p + EXPIRES), now))
    set_slot(entry, w.slots[KEEP], seconds_till(hotset_u64(p + DROPS), now))
    set_slot(entry, w.slots[AGE], age if age > 0 else 0.0)
    set_slot(entry, w.slots[COST_SLOT], cost_in(p))
    set_slot(entry, w.slots[ABSENT], False)
    set_slot(entry, w.slots[TAGS], origin[1])
    set_slot(entry, w.slots[EPOCH_SLOT], hotset_u64(p + EPOCH))
    set_slot(entry, w.slots[WRITER], origin[0])
    return entry


cdef inline object found_with(const Wanted* w, object entry, const unsigned char* p):
    """An entry and its fence."""
    cdef object taken = False
    fence = PyBytes_FromStringAndSize(<const char*>p, FENCE_END)
    found = PyType_GenericAlloc(w.found, 3)
    incref(<PyObject*>entry)
    incref(<PyObject*>fence)
    incref(<PyObject*>taken)
    PyTuple_SET_ITEM(<PyObject*>found, 0, <PyObject*>entry)
    PyTuple_SET_ITEM(<PyObject*>found, 1, <PyObject*>fence)
    PyTuple_SET_ITEM(<PyObject*>found, 2, <PyObject*>taken)
    return found


cdef inline list found_all(bytes plan, list envelopes, list values, list origins, double now):
    """See found_in."""
    cdef const Wanted* w = wanted_in(plan)
    cdef list found = []
    cdef const unsigned char* p
    for envelope, value, origin in zip(envelopes, values, origins):
        p = bytes_of(envelope)
        found.append(found_with(w, entry_from(w, p, value, origin, now), p))
    return found


cdef inline tuple open_all(bytes plan, list places, list envelopes, double now, uint64_t cleared, uint64_t epoch,
                           object decode, dict origins, object nothing, object odd):
    """See open_envelopes."""
    cdef const Wanted* w = wanted_in(plan)
    cdef list found = None                              # until one is not fresh, values and origins say all
    cdef list values = []
    cdef list from_whom = []
    cdef const unsigned char* p = NULL
    cdef const unsigned char* extra = NULL
    cdef uint32_t extra_size = 0, n = 0
    cdef tuple origin = None
    cdef object known
    for place, envelope in zip(places, envelopes):
        known = None
        if PyBytes_CheckExact(envelope):
            p = <const unsigned char*>PyBytes_AS_STRING(envelope)
            if is_plain(w, place, p, PyBytes_GET_SIZE(envelope)) and cleared <= hotset_u64(p + EPOCH) <= epoch:
                # Extra blocks repeat.
                n = hotset_u16(p + EXTRA_SIZE)
                if origin is not None and n == extra_size and memcmp(p + EXTRA, extra, n) == 0:
                    known = origin
                else:
                    known = origins.get(PyBytes_FromStringAndSize(<const char*>p + EXTRA, n))
        if known is not None:
            origin = known
            extra = p + EXTRA                           # of an envelope that the list holds
            extra_size = n
            try:
                value = decode(PyBytes_FromStringAndSize(<const char*>p + EXTRA + n,
                                                         PyBytes_GET_SIZE(envelope) - EXTRA - n))
            except Exception:
                known = None
        if known is not None and found is None:
            if not origin[1] and is_ahead(p + EXPIRES, now) and is_ahead(p + DROPS, now):
                values.append(value)
                from_whom.append(origin)
                continue
        if found is None:
            found = found_all(plan, envelopes[:len(values)], values, from_whom, now)
        if known is not None:
            found.append(found_with(w, entry_from(w, p, value, origin, now), p))
        elif envelope is None:
            found.append(nothing)
        else:
            found.append(odd(place, envelope))
    return found, None if found is not None else values, from_whom


cdef inline bytes envelope_of(bytes plan, str name, object entry, double now, bytes extra, bytes body):
    """See close_envelope."""
    cdef const Wanted* w = wanted_in(plan)
    cdef Py_ssize_t extra_size = PyBytes_GET_SIZE(extra), size = EXTRA + extra_size + PyBytes_GET_SIZE(body), length
    cdef const char* called
    cdef double age, life, keep, cost
    cdef uint64_t epoch
    cdef float cost_bits
    cdef uint32_t bits
    cdef unsigned char* p
    if Py_TYPE(entry) != w.entry:
        return None
    age, life = get_slot(entry, w.slots[AGE]), get_slot(entry, w.slots[LIFE])
    keep, cost = get_slot(entry, w.slots[KEEP]), get_slot(entry, w.slots[COST_SLOT])
    if not (0 <= age < now - 1 and 0 < life < LONGEST and keep < LONGEST and 0 <= cost < DEAREST):
        return None
    called = PyUnicode_AsUTF8AndSize(<PyObject*>name, &length)
    if called == NULL:                                  # lone surrogates
        PyErr_Clear()
        return None
    version = get_slot(entry, w.slots[VERSION_SLOT])
    if not PyBytes_CheckExact(version) or PyBytes_GET_SIZE(version) != FENCE_END - VERSION:
        raise ValueError("a version must be 12 bytes")
    if extra_size > 0xFFFF or size > 0x7FFFFFFF:
        raise ValueError(f"an extra block of {extra_size} bytes, a whole of {size}")
    epoch = get_slot(entry, w.slots[EPOCH_SLOT])
    cost_bits = cost
    envelope = PyBytes_FromStringAndSize(NULL, size)
    p = <unsigned char*>PyBytes_AS_STRING(envelope)
    memcpy(&bits, &cost_bits, sizeof(bits))
    memcpy(p, b"\xc1H\x01\x01", VERSION)
    memcpy(p + VERSION, PyBytes_AS_STRING(version), FENCE_END - VERSION)
    p[COVERED] = w.codec
    p[FLAGS] = 0
    hotset_put(p + EXTRA_SIZE, extra_size, 2)
    hotset_put(p + SIZE, size, 4)
    hotset_put(p + SCHEMA, w.schema, 4)
    hotset_put(p + COST, bits, 4)
    hotset_put(p + EPOCH, epoch, 8)
    hotset_put(p + CREATED, <uint64_t>((now - age) * 1000), 8)
    hotset_put(p + EXPIRES, <uint64_t>((now + life) * 1000), 8)
    hotset_put(p + DROPS, <uint64_t>((now + max(keep, life)) * 1000), 8)
    memcpy(p + EXTRA, PyBytes_AS_STRING(extra), extra_size)
    memcpy(p + EXTRA + extra_size, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
    hotset_put(p + FENCE_END, hotset_crc32(hotset_crc32(0, <const unsigned char*>called, length), p + COVERED,
                                           size - COVERED), 4)
    return envelope
