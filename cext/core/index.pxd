# cython: cdivision=True
"""Hash index: an open-addressing table of 32-bit slots over records that live elsewhere.

A slot holds the record's number, its distance from the slot where its hash would put it, and as many bits of the
hash as are left; 0 is an empty slot, so record 0 cannot be stored::

    31              b+4    b+3       b   b-1              0
    +------------------+--------------+------------------+
    | tag: hash bits   | distance     | number of record |      2**b slots; home slot = top b bits of the hash
    +------------------+--------------+------------------+

A probe compares tag and distance in one go: only a record with the same home can match, and of those only
one in 2**(28-b). So a lookup reads the table and then, but for a rare accident, the one record that it is after. Because the
distance is in the slot, deletion can shift the records behind the hole back without reading them: there are no
tombstones, and a table never degrades. A distance of 15 means "15 or more" and is worked out from the record's
hash.

Linear probing; at most 5/8 of the slots are taken. Cost: 6.4 to 12.8 bytes a record, O(1) expected for every
operation, growth amortized. The records are told apart by ``Hashes``: where the 32-bit hash of record n is.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from core.slab cimport PyMem_RawCalloc, PyMem_RawFree

cdef enum:
    MIN_BITS = 4
    MAX_BITS = 28          # 167 million records
    FAR = 15               # a distance that did not fit


cdef struct Hashes:
    char* base             # the 32-bit hash of record 0
    size_t stride          # bytes from one record's to the next one's


cdef struct Index:
    uint32_t* slots
    uint32_t mask          # slots - 1
    uint32_t bits
    uint32_t shift         # 32 - bits
    uint32_t used


cdef struct Probe:
    uint32_t position
    uint32_t want          # tag and distance that the next slot must show
    uint32_t steps


cdef inline uint32_t hash_at(Hashes hashes, uint32_t n) noexcept nogil:
    return (<uint32_t*>(hashes.base + n * hashes.stride))[0]


cdef inline int index_init(Index* index, uint32_t bits) noexcept nogil:
    """Allocate an empty table of 2**bits slots; -1 when memory is out."""
    index.slots = <uint32_t*>PyMem_RawCalloc(<size_t>1 << bits, sizeof(uint32_t))
    if index.slots == NULL:
        return -1
    index.bits = bits
    index.shift = 32 - bits
    index.mask = (<uint32_t>1 << bits) - 1
    index.used = 0
    return 0


cdef inline void index_close(Index* index) noexcept nogil:
    PyMem_RawFree(index.slots)
    memset(index, 0, sizeof(Index))


cdef inline void index_clear(Index* index) noexcept nogil:
    memset(index.slots, 0, (<size_t>index.mask + 1) * sizeof(uint32_t))
    index.used = 0


cdef inline void probe_start(Index* index, Probe* probe, uint32_t hash) noexcept nogil:
    probe.position = hash >> index.shift
    probe.want = <uint32_t>(<uint64_t>hash << (index.bits + 4))
    probe.steps = 0


cdef inline uint32_t probe_next(Index* index, Probe* probe) noexcept nogil:
    """Next record that may have the hash, or 0 when there is none."""
    cdef uint32_t slot
    cdef uint32_t mask = index.mask
    while True:
        slot = index.slots[probe.position]
        if slot == 0:
            return 0
        probe.position = (probe.position + 1) & mask
        slot ^= probe.want                      # the number, and nothing above it, if tag and distance are as wanted
        probe.steps += 1
        if probe.steps <= FAR:
            probe.want += mask + 1
        if slot <= mask:
            return slot


cdef inline void index_insert(Index* index, uint32_t hash, uint32_t n) noexcept nogil:
    """Add record n, which is not there; the caller has seen to it that there is room."""
    cdef uint32_t position = hash >> index.shift
    cdef uint32_t distance = 0
    while index.slots[position] != 0:
        position = (position + 1) & index.mask
        distance += 1
    if distance > FAR:
        distance = FAR
    index.slots[position] = <uint32_t>(<uint64_t>hash << (index.bits + 4)) | (distance << index.bits) | n
    index.used += 1


cdef inline void index_erase(Index* index, Hashes hashes, uint32_t hash, uint32_t n) noexcept nogil:
    """Remove record n, which is there, and close the gap behind it."""
    cdef uint32_t mask = index.mask
    cdef uint32_t hole = hash >> index.shift
    cdef uint32_t position, slot, distance, gap
    while (index.slots[hole] & mask) != n:
        hole = (hole + 1) & mask
    position = hole
    while True:
        position = (position + 1) & mask
        slot = index.slots[position]
        if slot == 0:
            break
        distance = (slot >> index.bits) & FAR
        if distance == FAR:
            distance = (position - (hash_at(hashes, slot & mask) >> index.shift)) & mask
        gap = (position - hole) & mask
        if distance >= gap:
            distance -= gap
            if distance > FAR:
                distance = FAR
            index.slots[hole] = (slot & ~(<uint32_t>FAR << index.bits)) | (distance << index.bits)
            hole = position
    index.slots[hole] = 0
    index.used -= 1


cdef inline uint32_t index_bits_for(uint64_t records, uint64_t numbers) noexcept nogil:
    """Smallest table for so many records with numbers below `numbers`; above MAX_BITS when there is none."""
    cdef uint32_t bits = MIN_BITS
    while bits <= MAX_BITS and ((<uint64_t>1 << bits) * 5 < records * 8 or (<uint64_t>1 << bits) < numbers):
        bits += 1
    return bits


cdef inline bint index_has_room(Index* index, uint64_t records, uint64_t numbers) noexcept nogil:
    """Whether `records` in all, numbered below `numbers`, fit without a larger table."""
    return records * 8 <= (<uint64_t>index.mask + 1) * 5 and numbers <= <uint64_t>index.mask + 1


cdef inline int index_fit(Index* index, Hashes hashes, uint64_t records, uint64_t numbers) noexcept nogil:
    """Make room for `records` in all, numbered below `numbers`; -1 when memory is out, nothing changed."""
    cdef Index grown
    cdef uint32_t bits, position, slot, n
    if index_has_room(index, records, numbers):
        return 0
    bits = index_bits_for(records, numbers)
    if bits > MAX_BITS or index_init(&grown, bits) != 0:
        return -1
    for position in range(index.mask + 1):
        slot = index.slots[position]
        if slot != 0:
            n = slot & index.mask
            index_insert(&grown, hash_at(hashes, n), n)
    PyMem_RawFree(index.slots)
    index[0] = grown
    return 0


cdef inline bint index_validate(Index* index, Hashes hashes) noexcept nogil:
    """Every record can be reached from its home, with the right tag and distance; the count is right."""
    cdef uint32_t position, slot, n, hash, distance, walk, used = 0
    for position in range(index.mask + 1):
        slot = index.slots[position]
        if slot == 0:
            continue
        used += 1
        n = slot & index.mask
        hash = hash_at(hashes, n)
        distance = (position - (hash >> index.shift)) & index.mask
        if ((slot >> index.bits) & FAR) != (distance if distance < FAR else FAR):
            return False
        if (slot & ~((<uint32_t>FAR << index.bits) | index.mask)) != <uint32_t>(<uint64_t>hash << (index.bits + 4)):
            return False
        walk = hash >> index.shift
        while walk != position:
            if index.slots[walk] == 0:
                return False
            walk = (walk + 1) & index.mask
    return used == index.used
