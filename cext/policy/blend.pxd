# cython: cdivision=True
"""Blend: one structure that can act as four policies, and go over from one to another with its entries in place.

::

                  +----------+              +---------------------------+
    new entry --> |  WINDOW  | <----------> |  LOWER   <->  UPPER       |
                  +----------+              +---------------------------+
                   the expert's share        main: the rest

All three are recency lists, new ones at the front. An expert says how large the window is to be, what a hit moves, and
what goes:

- *LRU*: the window is the whole cache. A hit moves to its front. The oldest of the three tails goes.
- *LIRS*: window 1 %. Main holds the keys whose last two uses lay closest together: an entry of the window, or a key
  that was evicted, enters if its last use is later than that of main's tail, which then falls to the window's front.
  The window's tail goes.
- *2Q*: window 20 %. A window's tail that was hit twice moves on to main, others go, but are remembered: their keys
  enter main at once when they come again. Within main a hit raises to UPPER, 80 % at most, whose tail falls back to LOWER.
- *W-TinyLFU*: window 1 %. The window's tail takes the place of main's if a sketch says that it is used more. Main as in 2Q.

An entry's ``mark`` holds its list, how often it was hit (up to 15 times) and the moment of its last use, as a word whose
low six bits are free::

    31                                      6 5      2 1    0
    +----------------------------------------+--------+------+
    | moment, in 2**-14 turns, mod 4096 turns | hits   | list |
    +----------------------------------------+--------+------+

The clock counts insertions, in *turns*: as many as the cache holds entries. Moments are compared by how long ago they
are, so one is mistaken only if its entry stays unused for 4096 turns. What was used between two insertions was used
at the same moment.

The sketch counts the uses of a key as far as they are not in its mark: the one that brought the entry in, and its hits when
it is evicted. So a hit touches nothing but the entry and its neighbours. Falling from UPPER halves the hits.

Nothing moves when another expert takes over: it sets the window's target, and each later request moves at most
``MOVES`` entries towards it. So lists can be over their targets for a while.

Invariant: ``weights[list]`` is the sum of the weights of the list that `mark` names. Cost: O(1) a verb; the sketch's 10.7
bytes an entry and 12 for stamps (core.stamps), up to twice that after a doubling, none below half full.

References: Jiang and Zhang, "LIRS: an efficient low inter-reference recency set replacement policy" (SIGMETRICS 2002);
Johnson and Shasha, "2Q: a low overhead high performance buffer management replacement algorithm" (VLDB 1994); Yang et
al., "FIFO queues are all you need for cache eviction" (SOSP 2023); Einziger, Friedman and Manes, "TinyLFU: a highly
efficient cache admission policy" (ACM ToS, 2017).

Differs from the papers: LIRS has no stack, main's tail and the moments tell what its stack would; 2Q's window is a
recency list as in none of its relatives, its rule for moving on is S3-FIFO's; W-TinyLFU's window is fixed.
"""
from libc.math cimport INFINITY, floor
from libc.stdint cimport int32_t, uint32_t, uint64_t

from core.links cimport list_back, list_init, list_push_front, list_remove
from core.sketch cimport (BLOCK_ENTRIES, MAX_FREQUENCY, Sketch, sketch_age, sketch_allocate, sketch_blocks,
                          sketch_close, sketch_double, sketch_estimate, sketch_increment, sketch_prefetch, sketch_raise)
from core.slab cimport NIL, Slab, slab_weight
from core.stamps cimport (Stamps, stamps_allocate, stamps_buckets, stamps_close, stamps_double, stamps_prefetch,
                          stamps_put, stamps_take)

cdef extern from "compat.h" nogil:
    void hotset_prefetch(const void* p)

cdef enum:                 # experts
    LRU
    LIRS
    TWO_Q
    TINY_LFU
    EXPERTS

cdef enum:
    WINDOW = 0             # sentinels; NIL is WINDOW's
    LOWER = 1
    UPPER = 2
    LISTS = 3
    NOWHERE = 3            # a hit asks for more than a move to the front of a list
    LIST_BITS = 3          # of a mark
    HIT = 4                # one hit in a mark
    HITS = 60              # all of them
    MOMENT = 0xFFFFFFC0    # the moment in a mark
    MOVES = 8              # entries that one request may move toward a target
    RETURNS = 2            # hits that move a window's tail on to main, in 2Q
    AGE_TURNS = 10         # uses counted, an entry, between two halvings of the frequencies
    FLOOD_FREQUENCY = 6    # as in W-TinyLFU: see there
    FLOOD_ODDS = 128
    CACHED_ENTRIES = 6144  # whose tables the processor's first caches hold: they need no prefetch

cdef enum:                 # percent
    NARROW = 1             # the window's share of the capacity: LIRS, W-TinyLFU
    WIDE = 20              # 2Q
    UPPER_SHARE = 80       # of main


cdef struct Blend:
    double capacity
    double entries         # that fit, or are expected to
    double window_max      # targets in units of weight
    double main_max
    double upper_max
    double weights[3]      # by list
    uint64_t time          # the clock; its upper half is the word that marks hold
    uint64_t pace          # of the clock, per insertion
    Sketch sketch
    Stamps stamps
    void (*settle)(Blend* b, Slab* slab, uint32_t e, uint32_t mark) noexcept nogil     # what a hit rarely asks for
    uint32_t goes[4]       # by list: where a hit moves an entry, if it is there already
    uint32_t expert
    uint32_t countdown     # uses to be counted until the frequencies are halved
    uint32_t random        # state of a sequence, not 0
    bint counting          # frequencies are kept
    bint welcome           # the coming key goes to main
    bint contest           # the window was at its target when the coming key was announced
    bint evicting          # there was a victim for the coming key


cdef inline uint32_t blend_now(Blend* b) noexcept nogil:
    """The present moment."""
    return <uint32_t>(b.time >> 32) & <uint32_t>MOMENT


cdef inline uint32_t blend_age(Blend* b, Slab* slab, uint32_t e) noexcept nogil:
    """How long ago an entry was used."""
    return blend_now(b) - (slab.entries[e].mark & <uint32_t>MOMENT)


cdef inline uint32_t blend_list(Slab* slab, uint32_t e) noexcept nogil:
    return slab.entries[e].mark & LIST_BITS


cdef inline void blend_become(Blend* b, Slab* slab, uint32_t expert) noexcept nogil:
    """Act as an expert from now on."""
    b.expert = expert
    if expert == LRU:
        b.window_max = b.capacity
    else:
        b.window_max = b.capacity * ((WIDE if expert == TWO_Q else NARROW) / 100.0)
        if slab.weights == NULL:
            b.window_max = max(floor(b.window_max), 1.0)
    b.main_max = b.capacity - b.window_max if b.window_max < b.capacity else 0.0      # 0 also without a bound
    b.upper_max = b.main_max * (UPPER_SHARE / 100.0)
    b.goes[WINDOW] = NOWHERE if expert == LIRS else WINDOW
    b.goes[LOWER] = LOWER if expert == LIRS else NOWHERE
    b.goes[UPPER] = UPPER if expert == TWO_Q or expert == TINY_LFU else NOWHERE


cdef inline void blend_measure(Blend* b, Slab* slab) noexcept nogil:
    """Estimate how many entries fit, and what follows from it."""
    cdef double used = b.weights[WINDOW] + b.weights[LOWER] + b.weights[UPPER]
    b.entries = b.capacity
    if slab.weights != NULL and used > 0:
        b.entries = slab.live * (b.capacity / used)
    b.entries = min(max(floor(b.entries), 1.0), 4e8)
    b.pace = <uint64_t>(<double>(<uint64_t>1 << 52) / b.entries)


cdef inline void blend_reset(Blend* b, Slab* slab, uint32_t expert) noexcept nogil:
    """No entries, nothing learnt; the tables must be closed or new."""
    cdef uint32_t where
    for where in range(<uint32_t>LISTS):
        list_init(slab.entries, where)
        b.weights[where] = 0
    b.time = 0
    b.settle = blend_settle
    b.random = 0x9E3779B9U
    b.welcome = b.contest = b.evicting = False
    blend_become(b, slab, expert)
    blend_measure(b, slab)
    b.countdown = 1


cdef inline void blend_close(Blend* b) noexcept nogil:
    """Free the tables."""
    sketch_close(&b.sketch)
    stamps_close(&b.stamps)


cdef inline int blend_fit(Blend* b, double entries) noexcept nogil:
    """Have tables for so many entries, or half as many; -1 when memory is out, nothing changed that matters."""
    if b.stamps.count == 0:
        if stamps_allocate(&b.stamps, stamps_buckets(entries)) < 0:
            return -1
    elif b.stamps.count * 2 <= stamps_buckets(entries) and stamps_double(&b.stamps) < 0:
        return -1
    if not b.counting:
        return 0
    if b.sketch.count == 0:
        b.countdown = <uint32_t>(AGE_TURNS * b.entries)
        return sketch_allocate(&b.sketch, sketch_blocks(entries))
    if b.sketch.count * 2 <= sketch_blocks(entries):
        return sketch_double(&b.sketch)
    return 0


cdef inline void blend_leave(Blend* b, Slab* slab, uint32_t e) noexcept nogil:
    """Take an entry out of its list."""
    cdef uint32_t where = blend_list(slab, e)
    list_remove(slab.entries, e)
    b.weights[where] -= slab_weight(slab, e)
    if list_back(slab.entries, where) == where:
        b.weights[where] = 0                # drops what rounding has left


cdef inline void blend_enter(Blend* b, Slab* slab, uint32_t e, uint32_t where) noexcept nogil:
    """Put an entry at the front of a list."""
    slab.entries[e].mark = (slab.entries[e].mark & ~<uint32_t>LIST_BITS) | where
    list_push_front(slab.entries, where, e)
    b.weights[where] += slab_weight(slab, e)


cdef inline void blend_move(Blend* b, Slab* slab, uint32_t e, uint32_t where) noexcept nogil:
    """Move an entry to the front of a list."""
    if blend_list(slab, e) != where:
        blend_leave(b, slab, e)
        blend_enter(b, slab, e, where)
    elif slab.entries[where].next != e:
        list_remove(slab.entries, e)
        list_push_front(slab.entries, where, e)


cdef inline uint32_t blend_older(Blend* b, Slab* slab, uint32_t one, uint32_t other) noexcept nogil:
    """Which of two tails was used longer ago; the other one if one is of an empty list, NIL if both are."""
    if one < LISTS:
        return other if other >= LISTS else NIL
    if other < LISTS or blend_age(b, slab, one) >= blend_age(b, slab, other):
        return one
    return other


cdef inline uint32_t blend_main_tail(Blend* b, Slab* slab) noexcept nogil:
    """The entry of main that was used longest ago, or NIL."""
    return blend_older(b, slab, list_back(slab.entries, LOWER), list_back(slab.entries, UPPER))


cdef inline uint32_t blend_main_coldest(Slab* slab) noexcept nogil:
    """LOWER's tail, or else UPPER's, or NIL."""
    cdef uint32_t e = list_back(slab.entries, LOWER)
    if e == LOWER:
        e = list_back(slab.entries, UPPER)
    return NIL if e == UPPER else e


cdef inline bint blend_hot(Blend* b, Slab* slab, uint32_t age) noexcept nogil:
    """Whether LIRS has a key in main that was used so long before its present use."""
    cdef uint32_t tail
    if b.weights[LOWER] + b.weights[UPPER] < b.main_max:
        return True
    tail = blend_main_tail(b, slab)
    return tail != NIL and age <= blend_age(b, slab, tail)


cdef inline void blend_demote(Blend* b, Slab* slab) noexcept nogil:
    """LIRS: move what is over main's target to the window."""
    cdef uint32_t moves
    for moves in range(<uint32_t>MOVES):
        if b.weights[LOWER] + b.weights[UPPER] <= b.main_max:
            break
        blend_move(b, slab, blend_main_tail(b, slab), WINDOW)


cdef inline void blend_lower(Blend* b, Slab* slab) noexcept nogil:
    """2Q, W-TinyLFU: move what is over UPPER's target to LOWER."""
    cdef uint32_t tail, hits, moves
    for moves in range(<uint32_t>MOVES):
        if b.weights[UPPER] <= b.upper_max:
            break
        tail = list_back(slab.entries, UPPER)
        hits = slab.entries[tail].mark & HITS
        slab.entries[tail].mark += (hits >> 1 & HITS) - hits
        blend_move(b, slab, tail, LOWER)


cdef inline void blend_spill(Blend* b, Slab* slab) noexcept nogil:
    """Move what is over the window's target to main."""
    cdef uint32_t tail, moves
    for moves in range(<uint32_t>MOVES):
        tail = list_back(slab.entries, WINDOW)
        if tail == WINDOW or b.weights[WINDOW] - slab_weight(slab, tail) < b.window_max:
            break
        blend_move(b, slab, tail, LOWER)


cdef inline void blend_count(Blend* b, Slab* slab, uint32_t hash, uint32_t uses) noexcept nogil:
    """Count uses of a key."""
    cdef uint32_t n
    if b.sketch.count == 0:
        return
    for n in range(uses):
        sketch_increment(&b.sketch, hash)
    if b.countdown <= uses:
        sketch_age(&b.sketch)
        blend_measure(b, slab)
        b.countdown = <uint32_t>(AGE_TURNS * b.entries)
    else:
        b.countdown -= uses


cdef inline uint32_t blend_hits(uint32_t mark) noexcept nogil:
    return (mark & HITS) // HIT


cdef inline void blend_settle(Blend* b, Slab* slab, uint32_t e, uint32_t before) noexcept nogil:
    """The rest of a hit, where it is not a move to the front of the same list; `before` is the mark till then."""
    cdef uint32_t where = before & LIST_BITS
    if b.expert == LRU:
        blend_move(b, slab, e, WINDOW)
    elif b.expert == LIRS:
        if where != WINDOW:
            blend_move(b, slab, e, LOWER)
        elif blend_hot(b, slab, blend_now(b) - (before & <uint32_t>MOMENT)):
            blend_move(b, slab, e, LOWER)
            blend_demote(b, slab)
        else:
            blend_move(b, slab, e, WINDOW)
    else:
        blend_move(b, slab, e, UPPER)
        blend_lower(b, slab)


cdef inline void blend_hit(Blend* b, Slab* slab, uint32_t e) noexcept nogil:
    cdef uint32_t mark = slab.entries[e].mark
    cdef uint32_t where = mark & LIST_BITS
    slab.entries[e].mark = blend_now(b) | (mark & ~<uint32_t>MOMENT) + (HIT if mark & HITS != HITS else 0)
    if b.goes[where] == where:
        if slab.entries[where].next != e:
            list_remove(slab.entries, e)
            list_push_front(slab.entries, where, e)
    else:
        b.settle(b, slab, e, mark)


cdef inline void blend_prepare(Blend* b, Slab* slab, uint32_t hash) noexcept nogil:
    """A key comes in: move the clock on and look whether it is remembered."""
    cdef uint32_t age = 0
    cdef bint known
    b.time += b.pace
    b.evicting = False
    b.contest = b.weights[WINDOW] >= b.window_max
    known = stamps_take(&b.stamps, hash, blend_now(b), &age)
    b.welcome = known and b.main_max > 0 and (b.expert == TWO_Q or (b.expert == LIRS and blend_hot(b, slab, age)))


cdef inline uint32_t blend_frequency(Blend* b, Slab* slab, uint32_t e) noexcept nogil:
    """How often an entry's key was used of late, 0 to MAX_FREQUENCY."""
    cdef uint32_t uses = sketch_estimate(&b.sketch, slab.entries[e].hash) + blend_hits(slab.entries[e].mark)
    return min(uses, <uint32_t>MAX_FREQUENCY)


cdef inline bint blend_admit(Blend* b, Slab* slab, uint32_t candidate, uint32_t victim) noexcept nogil:
    """W-TinyLFU: true when the candidate deserves the victim's place."""
    cdef uint32_t frequency = blend_frequency(b, slab, candidate)
    if frequency > blend_frequency(b, slab, victim):
        return True
    if frequency < FLOOD_FREQUENCY:
        return False
    b.random ^= b.random << 13
    b.random ^= b.random >> 17
    b.random ^= b.random << 5
    return b.random % FLOOD_ODDS == 0


cdef inline uint32_t blend_pass_on(Blend* b, Slab* slab) noexcept nogil:
    """2Q: the window's tail, after those that were hit often enough have moved on; NIL if the window is under its target."""
    cdef uint32_t tail, moves
    for moves in range(<uint32_t>MOVES):
        tail = list_back(slab.entries, WINDOW)
        if tail == WINDOW or not (b.contest or b.weights[WINDOW] >= b.window_max):
            return NIL
        if slab.entries[tail].mark & HITS < RETURNS * HIT or b.main_max == 0:
            return tail
        b.contest = False
        slab.entries[tail].mark &= ~<uint32_t>HITS
        blend_move(b, slab, tail, LOWER)
    return NIL


cdef inline uint32_t blend_victim(Blend* b, Slab* slab) noexcept nogil:
    """What goes next; NIL when empty. Entries may move on."""
    cdef uint32_t tail = list_back(slab.entries, WINDOW)
    cdef uint32_t victim
    b.evicting = True
    if b.expert == LRU:
        return blend_older(b, slab, tail, blend_main_tail(b, slab))
    if b.expert == LIRS:
        victim = blend_main_tail(b, slab)
        if victim == NIL:
            return tail
        return tail if tail != WINDOW and b.weights[WINDOW] >= b.window_max else victim
    if b.expert == TWO_Q:
        victim = blend_pass_on(b, slab)
        if victim == NIL:
            victim = blend_main_coldest(slab)
        return victim if victim != NIL else list_back(slab.entries, WINDOW)
    victim = blend_main_coldest(slab)
    if victim == NIL:
        return tail
    if tail == WINDOW or not (b.contest or b.weights[WINDOW] >= b.window_max):
        return victim
    return victim if blend_admit(b, slab, tail, victim) else tail


cdef inline void blend_insert(Blend* b, Slab* slab, uint32_t e) noexcept nogil:
    blend_count(b, slab, slab.entries[e].hash, 1)
    slab.entries[e].mark = blend_now(b)
    blend_enter(b, slab, e, LOWER if b.welcome else WINDOW)
    if b.expert == LIRS and b.welcome:
        blend_demote(b, slab)
    if b.expert == TINY_LFU or not b.evicting:
        blend_spill(b, slab)
    b.welcome = b.contest = b.evicting = False


cdef inline void blend_remove(Blend* b, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    blend_leave(b, slab, e)
    if evicted:
        stamps_put(&b.stamps, slab.entries[e].hash, blend_now(b), slab.entries[e].mark)
        blend_count(b, slab, slab.entries[e].hash, blend_hits(slab.entries[e].mark))


cdef inline uint32_t blend_foresee(Blend* b, Slab* slab) noexcept nogil:
    """The window's tail, for most often it goes next, with what its eviction and its rival's would touch fetched."""
    cdef uint32_t tail = list_back(slab.entries, WINDOW)
    cdef uint32_t rival = list_back(slab.entries, LOWER)
    if b.entries > CACHED_ENTRIES:
        stamps_prefetch(&b.stamps, slab.entries[tail].hash)
        hotset_prefetch(&slab.entries[slab.entries[rival].prev])
        if b.sketch.count:
            sketch_prefetch(&b.sketch, slab.entries[tail].hash)
            if b.expert == TINY_LFU:
                sketch_prefetch(&b.sketch, slab.entries[rival].hash)
    return tail


cdef inline uint32_t blend_walk(Blend* b, Slab* slab, uint32_t e) noexcept nogil:
    """WINDOW, LOWER, UPPER, each from its tail; LRU has the window, which is all of it in the end, last."""
    cdef uint32_t where = (<uint32_t>LOWER if b.expert == LRU else <uint32_t>WINDOW) if e == NIL else blend_list(slab, e)
    cdef uint32_t last = <uint32_t>WINDOW if b.expert == LRU else <uint32_t>UPPER
    e = list_back(slab.entries, where) if e == NIL else slab.entries[e].prev
    while e < LISTS and where != last:
        where = where + 1 if where != UPPER else <uint32_t>WINDOW
        e = list_back(slab.entries, where)
    return e if e >= LISTS else NIL


cdef inline uint64_t blend_rank(Blend* b, Slab* slab, uint32_t e) noexcept nogil:
    """List and hits as in a mark, how long ago the entry was used, and above 32 bits its frequency."""
    return (<uint64_t>sketch_estimate(&b.sketch, slab.entries[e].hash) << 32
            | blend_age(b, slab, e) | slab.entries[e].mark & ~<uint32_t>MOMENT)


cdef inline void blend_restore(Blend* b, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    """Link an entry with a rank; frequencies are kept if there are tables."""
    cdef uint32_t low = <uint32_t>rank & ~<uint32_t>MOMENT
    cdef uint32_t where = low & LIST_BITS
    slab.entries[e].mark = (blend_now(b) - (<uint32_t>rank & <uint32_t>MOMENT)) | (low & HITS)
    blend_enter(b, slab, e, where if where < LISTS else <uint32_t>WINDOW)
    sketch_raise(&b.sketch, slab.entries[e].hash, <uint32_t>(rank >> 32 & MAX_FREQUENCY))


cdef inline bint blend_validate(Blend* b, Slab* slab) noexcept nogil:
    """Each ring is doubly linked, its entries know it and weigh what is said; each live entry is in one of them."""
    cdef uint32_t where, e, before, n = 0
    cdef double weight
    for where in range(<uint32_t>LISTS):
        e = where
        weight = 0
        while True:
            before = slab.entries[e].prev
            if slab.entries[before].next != e:
                return False
            if before == where:
                break
            if slab.entries[before].key == NULL or blend_list(slab, before) != where or n == slab.live:
                return False
            weight += slab_weight(slab, before)
            n += 1
            e = before
        if b.capacity < INFINITY and not -1e-6 <= (b.weights[where] - weight) / max(b.capacity, 1.0) <= 1e-6:
            return False
    if b.sketch.cursor > b.sketch.count or (b.sketch.blocks == NULL) != (b.sketch.count == 0):
        return False
    return n == slab.live and b.countdown > 0 and b.random != 0 and b.expert < EXPERTS and b.pace > 0
