"""Names of a Cluster's namespace sorted by part, as the MGETs that ask for them; what was found opened by part, or put
back in order.

hotset.tiers.parts has the reasons. A name is in part CRC-32(name in UTF-8) modulo the number of parts, which are 256 at
most. All is O(bytes).
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_Concat
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memset

from envelope cimport (DROPS, EPOCH, EXPIRES, EXTRA, EXTRA_SIZE, Wanted, hotset_crc32, hotset_u16, hotset_u64, is_ahead,
                       is_plain, wanted_in)
from resp cimport FRAME, Text, digits_of, put_bytes, put_number, text_of

cdef enum:
    MOST_PARTS = 256


cdef inline uint32_t part_with(const Text* name, uint32_t parts) noexcept nogil:
    """The part of a name."""
    return hotset_crc32(0, <const unsigned char*>name.bytes, name.size) % parts


cdef inline uint32_t part_in(str name, uint32_t parts) except? 0xFFFFFFFF:
    """See part_of."""
    cdef Text text
    cdef list kept = []
    if not parts:
        raise ValueError("one part at least is wanted")
    text_of(name, &text, kept)
    return part_with(&text, parts)


cdef inline tuple spread_over(object names, tuple prefixes):
    """See spread_names."""
    cdef Py_ssize_t parts = len(prefixes), n, i = 0
    cdef Text fronts[MOST_PARTS]
    cdef Py_ssize_t counts[MOST_PARTS]
    cdef Py_ssize_t sizes[MOST_PARTS]
    cdef char* ends[MOST_PARTS]
    # A list may lose a name while others run; what is taken of it here does not.
    cdef list kept = list(names)
    cdef dict requests = {}
    cdef bytes order, request
    cdef unsigned char* which
    cdef unsigned char part
    cdef Py_ssize_t size
    cdef char* to
    cdef Text* texts
    if not 0 < parts <= MOST_PARTS:
        raise ValueError(f"from 1 to {MOST_PARTS} prefixes are wanted, got {parts}")
    n = PyList_GET_SIZE(kept)
    order = PyBytes_FromStringAndSize(NULL, n)
    which = <unsigned char*>PyBytes_AS_STRING(order)
    for i in range(parts):
        text_of(<str?>prefixes[i], &fronts[i], kept)
    memset(counts, 0, sizeof(counts))
    memset(sizes, 0, sizeof(sizes))
    texts = <Text*>PyMem_Malloc((n + 1) * sizeof(Text))
    if texts == NULL:
        raise MemoryError()
    try:
        for i in range(n):
            text_of(<str?><object>PyList_GET_ITEM(kept, i), &texts[i], kept)
            part = <unsigned char>part_with(&texts[i], <uint32_t>parts)
            which[i] = part
            size = fronts[part].size + texts[i].size
            sizes[part] += size + digits_of(size) + FRAME
            counts[part] += 1
        for i in range(parts):
            if counts[i]:
                # *COUNT CR LF, $4 CR LF, MGET CR LF
                request = PyBytes_FromStringAndSize(NULL, digits_of(counts[i] + 1) + 3 + 10 + sizes[i])
                to = put_number(PyBytes_AS_STRING(request), 42, counts[i] + 1)
                ends[i] = put_bytes(to, b"$4\r\nMGET\r\n", 10)
                requests[i] = request
        for i in range(n):
            part = which[i]
            to = put_number(ends[part], 36, fronts[part].size + texts[i].size)
            to = put_bytes(to, fronts[part].bytes, fronts[part].size)
            to = put_bytes(to, texts[i].bytes, texts[i].size)
            ends[part] = put_bytes(to, b"\r\n", 2)
    finally:
        PyMem_Free(texts)
    return order, requests


cdef inline list places_over(object names, bytes order, tuple prefixes):
    """See placed_names."""
    cdef const unsigned char* which = <const unsigned char*>PyBytes_AS_STRING(order)
    cdef Py_ssize_t i = 0, n = PyBytes_GET_SIZE(order)
    cdef list places = []
    for name in names:
        if i >= n:
            break
        places.append(PyUnicode_Concat(prefixes[which[i]], name))
        i += 1
    if i != n or len(names) != n:
        raise ValueError(f"{n} names are wanted, got {len(names)}")
    return places


cdef inline bint open_group(bytes plan, bytes order, unsigned char part, list names, uint32_t front, list group, double now,
                            uint64_t cleared, uint64_t epoch, object decode, dict origins, list envelopes, list values,
                            list whose) except -1:
    """See open_part."""
    cdef const Wanted* w = wanted_in(plan)
    cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(order)
    cdef const unsigned char* end = start + PyBytes_GET_SIZE(order)
    cdef const unsigned char* at = start
    cdef const unsigned char* p
    cdef const unsigned char* extra = NULL
    cdef Py_ssize_t size, i
    cdef uint32_t n, extra_size = 0
    cdef tuple origin = None
    for envelope in group:
        at = <const unsigned char*>memchr(at, part, end - at)
        if at == NULL:
            return False
        i = at - start
        at += 1
        if not PyBytes_CheckExact(envelope):
            return False
        p = <const unsigned char*>PyBytes_AS_STRING(envelope)
        size = PyBytes_GET_SIZE(envelope)
        if not is_plain(w, names[i], p, size, front) or not cleared <= hotset_u64(p + EPOCH) <= epoch:
            return False
        if not is_ahead(p + EXPIRES, now) or not is_ahead(p + DROPS, now):
            return False
        n = hotset_u16(p + EXTRA_SIZE)
        # Extra blocks repeat.
        if origin is None or n != extra_size or memcmp(p + EXTRA, extra, n) != 0:
            origin = origins.get(PyBytes_FromStringAndSize(<const char*>p + EXTRA, n))
            if origin is None or origin[1]:
                return False
        extra, extra_size = p + EXTRA, n                # of an envelope that is kept
        envelopes[i] = envelope
        try:
            values[i] = decode(PyBytes_FromStringAndSize(<const char*>p + EXTRA + n, size - EXTRA - n))
        except Exception:
            return False
        whose[i] = origin
    return at == end or memchr(at, part, end - at) == NULL


cdef inline list gather_from(bytes order, list groups):
    """See gather_values."""
    cdef Py_ssize_t taken[MOST_PARTS]
    cdef Py_ssize_t i, at
    cdef const unsigned char* which = <const unsigned char*>PyBytes_AS_STRING(order)
    cdef list values = []
    cdef list group
    memset(taken, 0, sizeof(taken))
    for i in range(PyBytes_GET_SIZE(order)):
        if which[i] >= PyList_GET_SIZE(groups):
            raise IndexError(f"there is no part {which[i]}")
        group = groups[which[i]]
        if group is None:
            values.append(None)
            continue
        at = taken[which[i]]
        if at >= PyList_GET_SIZE(group):
            raise IndexError(f"part {which[i]} has {at} values only")
        taken[which[i]] = at + 1
        values.append(<object>PyList_GET_ITEM(group, at))
    return values
