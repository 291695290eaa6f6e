# cython: language_level=3, cdivision=True, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: freethreading_compatible=True, boundscheck=False, wraparound=False
"""What the lab computes over whole traces: keys numbered, reuse distances, Belady's victims, lives.

Keys are numbered from 0 by first appearance (``Coder``), as all other functions want them: `ids`, each below `distinct`.
Requests are fewer than 2 ** 32 - 1. All run without the GIL and look for Ctrl-C every million requests.
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from moments cimport (Ranks, Summits, hotset_bits_spread, ranks_add, ranks_after, ranks_close, ranks_open, ranks_remove,
                      summits_add, summits_close, summits_empty, summits_has, summits_last, summits_open, summits_remove)

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef enum:
    SIGNAL_CHECK = 1 << 20 # requests between two looks for Ctrl-C
    AHEAD = 8              # requests from asking for a key's last use to needing it

cdef uint32_t NEVER = 0xFFFFFFFF


cdef uint64_t word_of(const char* key, Py_ssize_t length) noexcept nogil:
    """64 bits that stand for the bytes of a key: of a hundred million keys some two are alike once in 3,700 traces."""
    cdef uint64_t word = <uint64_t>length, part
    while length >= 8:
        memcpy(&part, key, 8)
        word = hotset_bits_spread(word ^ part)
        key += 8
        length -= 8
    part = 0
    memcpy(&part, key, length)
    return hotset_bits_spread(word ^ part)


def words_of(list keys not None, uint64_t[::1] words not None):
    """Write a word for each key, which are bytes, into `words`, which is as long."""
    cdef Py_ssize_t i, n = len(keys)
    cdef bytes key
    if words.shape[0] != n:
        raise ValueError(f"words must be as many as keys, {n}, got {words.shape[0]}")
    for i in range(n):
        key = keys[i]
        if key is None:
            raise TypeError("a key must be bytes, got None")
        words[i] = word_of(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))


@cython.final
cdef class Coder:
    """Numbers keys by first appearance. A hash table of words: 12 bytes a slot, 1.6 to 3.2 slots a distinct key.

    For one thread.
    """
    cdef uint64_t* words
    cdef uint32_t* numbers # of the word in the same slot, from 1; 0: free
    cdef uint64_t mask
    cdef uint32_t count

    def __cinit__(self):
        self.resize(1024)

    def __dealloc__(self):
        free(self.words)
        free(self.numbers)

    @property
    def distinct(self):
        """Keys so far."""
        return self.count

    cdef int resize(self, uint64_t slots) except -1:
        cdef uint64_t* words = <uint64_t*>calloc(slots, sizeof(uint64_t))
        cdef uint32_t* numbers = <uint32_t*>calloc(slots, sizeof(uint32_t))
        cdef uint64_t i, place
        if words == NULL or numbers == NULL:
            free(words)
            free(numbers)
            raise MemoryError
        if self.words != NULL:
            for i in range(self.mask + 1):
                if self.numbers[i] != 0:
                    place = hotset_bits_spread(self.words[i]) & (slots - 1)
                    while numbers[place] != 0:
                        place = (place + 1) & (slots - 1)
                    words[place] = self.words[i]
                    numbers[place] = self.numbers[i]
        free(self.words)
        free(self.numbers)
        self.words, self.numbers, self.mask = words, numbers, slots - 1
        return 0

    cdef Py_ssize_t number(self, const uint64_t[::1] words, uint32_t[::1] ids, Py_ssize_t i) noexcept nogil:
        """Number words from i on until all are done or the table is full; where it stopped."""
        cdef uint64_t place, full = (self.mask + 1) / 8 * 5
        for i in range(i, words.shape[0]):
            place = hotset_bits_spread(words[i]) & self.mask
            while self.numbers[place] != 0 and self.words[place] != words[i]:
                place = (place + 1) & self.mask
            if self.numbers[place] == 0:
                if self.count >= full:
                    return i
                self.count += 1
                self.words[place] = words[i]
                self.numbers[place] = self.count
            ids[i] = self.numbers[place] - 1
        return words.shape[0]

    def code(self, const uint64_t[::1] words not None, uint32_t[::1] ids not None):
        """Write the number of each word into `ids`, which is as long. O(1) a word."""
        cdef Py_ssize_t i = 0
        if ids.shape[0] != words.shape[0]:
            raise ValueError(f"ids must be as many as words, {words.shape[0]}, got {ids.shape[0]}")
        while True:
            with nogil:
                i = self.number(words, ids, i)
            if i == words.shape[0]:
                return
            if self.count >= NEVER - 1:
                raise OverflowError("a trace can have 4,294,967,294 distinct keys")
            self.resize(2 * (self.mask + 1))


cdef int check(const uint32_t[::1] ids, uint64_t distinct) except -1:
    """Raise if these are no numbered keys: what is indexed by them would be written out of bounds."""
    cdef Py_ssize_t i
    cdef uint32_t largest = 0
    if <uint64_t>ids.shape[0] >= NEVER or distinct > NEVER:
        raise OverflowError("a trace can have 4,294,967,294 requests")
    with nogil:
        for i in range(ids.shape[0]):
            largest = max(largest, ids[i])
    if ids.shape[0] and largest >= distinct:
        raise ValueError(f"ids must be below {distinct}, got {largest}")
    return 0


def reuse_distances(const uint32_t[::1] ids not None, uint64_t distinct, uint64_t[::1] histogram not None,
                    uint32_t[::1] distances=None):
    """Count requests by the distinct keys since their key's last use, itself included: LRU hits from that size on.

    histogram[0] counts the first uses; it has distinct + 1 counters, to which is added. `distances` takes the distance of
    each request, 0 for a first use. O(1) a request but for a sum over 2 million requests each, 8 bytes a distinct key and
    0.13 bytes a request.
    """
    cdef Ranks alive
    cdef uint32_t* last
    cdef Py_ssize_t t = 0, stop, n = ids.shape[0]
    cdef uint32_t distance, key
    check(ids, distinct)
    if <uint64_t>histogram.shape[0] != distinct + 1:
        raise ValueError(f"histogram must have {distinct + 1} counters, got {histogram.shape[0]}")
    if distances is not None and distances.shape[0] != n:
        raise ValueError(f"distances must be as many as ids, {n}, got {distances.shape[0]}")
    last = <uint32_t*>calloc(max(distinct, 1), sizeof(uint32_t)) # 1 + the moment of the last use; 0: none
    if last == NULL:
        raise MemoryError
    if ranks_open(&alive, n) != 0:
        free(last)
        raise MemoryError
    try:
        while t < n:
            stop = min(n, t + SIGNAL_CHECK)
            with nogil:
                for t in range(t, stop):
                    key = ids[t]
                    distance = 0
                    if last[key] != 0:
                        distance = 1 + ranks_after(&alive, last[key] - 1, t)
                        ranks_remove(&alive, last[key] - 1)
                    ranks_add(&alive, t)
                    last[key] = <uint32_t>t + 1
                    histogram[distance] += 1
                    if distances is not None:
                        distances[t] = distance
                t = stop
            PyErr_CheckSignals()
    finally:
        free(last)
        ranks_close(&alive)


def next_uses(const uint32_t[::1] ids not None, uint64_t distinct, uint32_t[::1] following not None):
    """Write for each request the number of the next one for its key into `following`; 0xFFFFFFFF: there is none."""
    cdef Py_ssize_t t, n = ids.shape[0]
    cdef uint64_t i
    cdef uint32_t* upcoming
    check(ids, distinct)
    if following.shape[0] != n:
        raise ValueError(f"following must be as many as ids, {n}, got {following.shape[0]}")
    upcoming = <uint32_t*>calloc(max(distinct, 1), sizeof(uint32_t))
    if upcoming == NULL:
        raise MemoryError
    with nogil:
        for i in range(distinct):
            upcoming[i] = NEVER
        for t in range(n - 1, -1, -1):
            following[t] = upcoming[ids[t]]
            upcoming[ids[t]] = <uint32_t>t
    free(upcoming)


cdef int check_following(const uint32_t[::1] following) except -1:
    cdef Py_ssize_t t
    for t in range(following.shape[0]):
        if following[t] != NEVER and (following[t] <= t or following[t] >= following.shape[0]):
            raise ValueError(f"following[{t}] must be a later request, got {following[t]}")
    return 0


def belady_hits(const uint32_t[::1] following not None, uint64_t capacity):
    """Hits of a cache that evicts what is used furthest in the future (Belady, 1966), and stores every miss.

    What is never used again is only counted: it goes first, and is never asked for. O(log64 n) a request, 0.13 bytes.
    """
    cdef Summits awaited                    # the next uses of what is cached
    cdef uint64_t cached = 0, dead = 0, hits = 0
    cdef Py_ssize_t t = 0, stop, n = following.shape[0]
    cdef size_t furthest
    check_following(following)
    if capacity == 0:
        return 0
    if summits_open(&awaited, n) != 0:
        raise MemoryError
    try:
        while t < n:
            stop = min(n, t + SIGNAL_CHECK)
            with nogil:
                for t in range(t, stop):
                    if summits_has(&awaited, t):
                        hits += 1
                        summits_remove(&awaited, t)
                    elif cached < capacity:
                        cached += 1
                    elif dead > 0:
                        dead -= 1
                    else:
                        furthest = summits_last(&awaited)
                        summits_remove(&awaited, furthest)
                    if following[t] == NEVER:
                        dead += 1
                    else:
                        summits_add(&awaited, following[t])
                t = stop
            PyErr_CheckSignals()
    finally:
        summits_close(&awaited)
    return hits


def belady_sized(const uint32_t[::1] ids not None, uint64_t distinct, const uint32_t[::1] following not None,
                 const double[::1] sizes not None, double capacity):
    """(hits, hit bytes) of evicting what is used furthest in the future until the rest fits: no bound, with sizes.

    What is never used again takes no room, and a newcomer may be the victim.
    """
    cdef Summits awaited
    cdef double* held
    cdef double used = 0.0, hit_bytes = 0.0
    cdef uint64_t hits = 0
    cdef Py_ssize_t t = 0, stop, n = following.shape[0]
    cdef size_t furthest
    cdef uint32_t key
    check(ids, distinct)
    check_following(following)
    if ids.shape[0] != n or sizes.shape[0] != n:
        raise ValueError(f"ids, following and sizes must be as many, got {ids.shape[0]}, {n} and {sizes.shape[0]}")
    held = <double*>calloc(max(distinct, 1), sizeof(double))
    if held == NULL:
        raise MemoryError
    if summits_open(&awaited, n) != 0:
        free(held)
        raise MemoryError
    try:
        while t < n:
            stop = min(n, t + SIGNAL_CHECK)
            with nogil:
                for t in range(t, stop):
                    key = ids[t]
                    if summits_has(&awaited, t):
                        hits += 1
                        hit_bytes += sizes[t]
                        summits_remove(&awaited, t)
                        if following[t] == NEVER:
                            used -= held[key]
                        else:
                            summits_add(&awaited, following[t])
                    elif following[t] != NEVER and sizes[t] <= capacity:
                        held[key] = sizes[t]
                        used += sizes[t]
                        summits_add(&awaited, following[t])
                        while used > capacity and not summits_empty(&awaited):
                            furthest = summits_last(&awaited)
                            summits_remove(&awaited, furthest)
                            used -= held[ids[furthest]]
                t = stop
            PyErr_CheckSignals()
    finally:
        free(held)
        summits_close(&awaited)
    return hits, hit_bytes


def living_hits(const uint32_t[::1] ids not None, uint64_t distinct, const double[::1] times not None, double ttl,
                const uint32_t[::1] distances=None, uint32_t capacity=0xFFFFFFFF):
    """Hits of entries that live for `ttl` from the moment they were stored; times do not fall.

    With distances, as reuse_distances tells them, of an LRU cache of that capacity; without, of one without bound.
    """
    cdef double* born
    cdef uint8_t* known
    cdef uint64_t hits = 0
    cdef Py_ssize_t t, n = ids.shape[0]
    cdef uint32_t key
    check(ids, distinct)
    if times.shape[0] != n or (distances is not None and distances.shape[0] != n):
        raise ValueError(f"times and distances must be as many as ids, {n}")
    born = <double*>calloc(max(distinct, 1), sizeof(double))
    known = <uint8_t*>calloc(max(distinct, 1), 1)
    if born == NULL or known == NULL:
        free(born)
        free(known)
        raise MemoryError
    with nogil:
        for t in range(n):
            key = ids[t]
            if known[key] and times[t] - born[key] < ttl and (distances is None or distances[t] <= capacity):
                hits += 1
            else:
                known[key] = 1
                born[key] = times[t]
    free(born)
    free(known)
    return hits
