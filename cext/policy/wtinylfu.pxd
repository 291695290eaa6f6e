# cython: cdivision=True
"""W-TinyLFU: a recency window before a main space that admits by frequency, with a window that finds its size.

::

                  +----------+  tail   is it used more than   +-----------------------------+
    new entry --> |  WINDOW  | ------> main's victim?   yes > |  PROBATION   <->  PROTECTED | hit: to PROTECTED's
                  +----------+         no: evicted            +-----------------------------+ front, whose tail falls
                   1 % to 80 %                                  the rest        80 % of it    back to PROBATION

All three are LRU lists. The window gives new entries time to be used again (recency); the main space keeps those
that a sketch of past uses (core.sketch) says are used most (frequency). A one-time scan passes through the
window and displaces nothing.

The policy is asked for room before the new entry is there, so the window's tail is the candidate when the window is
at its target; the loser of the contest is the victim, and a candidate that has won moves on when the new entry
comes in. The window is the shortest run of most recent entries that weighs at least its target: with weights it
holds the target plus a part of one entry, and an entry heavier than the window is a candidate later, not at once.

Invariant: an entry's ``mark`` is the sentinel of the list that it is in; ``weights[list]`` is the sum of the weights
of a list. Targets are reached by at most ``MOVES`` moves a request, so a list can be over its target for a while.

The window's target climbs. A sample is ``SAMPLE_USES`` requests an entry. At the end of one in which something was
evicted, hits per unit of weight are compared between the window and probation, which is the main space's margin:
what main would lose or gain first. The window's own margin is its tail, whose hits are few against its front's, so the
window's density counts a ``DISCOUNT``-th. The target is multiplied by the cube root of the ratio, within a half and
two. Both densities come from one sample, so a change of load from one sample to the next does not mislead, and there is
no direction to remember.

Frequencies are halved every ``AGE_SAMPLES`` samples. The sketch is first allocated when the cache is half full, for the
number of entries that a full one will hold; before, no eviction is near, and a cache that stays emptier or has no
bound pays for no sketch. Should the entries become more (lighter ones, a larger bound), the sketch doubles.

Cost: O(1) a verb, one cache line more than LRU on a hit; the sketch's 10.7 bytes an entry, up to twice that after a
doubling, none below half full.

References: Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache admission policy" (ACM ToS, 2017);
Einziger, Eytan, Friedman and Manes, "Adaptive software cache management" (Middleware 2018).

Differs from the papers:

- The climber compares densities inside one sample; the 2018 paper compares the hit ratios of two samples, one after
  the other, and moves by a fixed step. Measured better on the mean of 97 trace cells, and quicker to settle.
- The window grows by evicting from main as new entries come and shrinks by moving its tail to probation; nothing is
  moved at the time of the decision, so adaptation has no pause.
- A candidate of at least ``FLOOD_FREQUENCY`` that has lost is admitted once in ``FLOOD_ODDS``. Keys that are made to
  collide with a popular key would otherwise keep a dead victim in place for good. The choice is a fixed pseudo-random
  sequence: the same requests give the same victims.
"""
from libc.math cimport INFINITY, cbrt, floor
from libc.stdint cimport uint32_t, uint64_t

from core.links cimport list_back, list_init, list_move_front, list_push_front, list_remove
from core.sketch cimport (BLOCK_ENTRIES, MAX_FREQUENCY, Sketch, sketch_age, sketch_allocate, sketch_blocks,
                          sketch_close, sketch_double, sketch_estimate, sketch_increment, sketch_prefetch, sketch_raise)
from core.slab cimport NIL, Slab, slab_weight
from policy.contract cimport CALL_HIT, Policy

cdef extern from "compat.h" nogil:
    void hotset_prefetch(const void* p)

cdef enum:
    WINDOW = 0             # sentinels; NIL is WINDOW's, so an empty window answers NIL
    PROBATION = 1
    PROTECTED = 2
    REGIONS = 3
    MOVES = 8              # entries that one request may move toward a target
    SAMPLE_USES = 2        # length of a sample, in requests an entry
    AGE_SAMPLES = 5        # samples between two halvings of the frequencies
    MIN_EVIDENCE = 16      # hits in window and probation that a decision needs
    DISCOUNT = 6           # the window's mean density against that of its margin
    FLOOD_FREQUENCY = 6
    FLOOD_ODDS = 128       # a power of two
    CACHED_BLOCKS = 1024   # a sketch that the processor's first caches hold needs no prefetch
    SHARE_UNITS = 1 << 30  # a snapshot's unit of the window's share

cdef enum:                 # percent
    MIN_WINDOW = 1         # where it starts, too
    MAX_WINDOW = 80
    PROTECTED_SHARE = 80   # of main


cdef struct WTinyLFU:
    double capacity
    double share           # the window's target as a part of the capacity
    double window_max      # targets in units of weight
    double protected_max
    double weights[3]      # by region
    Sketch sketch
    uint32_t hits[3]       # in this sample, by region
    uint32_t countdown     # requests until the sample ends
    uint32_t samples       # since the last halving
    uint32_t random        # state of the sequence, not 0
    bint evicting          # this sample has seen a victim
    bint contest           # the window was at its target when the coming entry was announced


cdef inline void wtinylfu_target(WTinyLFU* s, Slab* slab, double share) noexcept nogil:
    """Set the window's share, within its limits, and what follows from it."""
    cdef double main
    s.share = min(max(share, MIN_WINDOW / 100.0), MAX_WINDOW / 100.0)
    s.window_max = s.share * s.capacity
    if slab.weights == NULL:
        s.window_max = max(floor(s.window_max), 1.0)
    main = s.capacity - s.window_max if s.window_max < s.capacity else 0.0    # 0 also without a bound
    s.protected_max = main * (PROTECTED_SHARE / 100.0)


cdef inline void wtinylfu_begin(WTinyLFU* s, Slab* slab) noexcept nogil:
    """Begin a sample."""
    s.hits[WINDOW] = s.hits[PROBATION] = s.hits[PROTECTED] = 0
    s.evicting = False
    s.countdown = SAMPLE_USES * max(slab.live, <uint32_t>8)


cdef inline void wtinylfu_reset(WTinyLFU* s, Slab* slab) noexcept nogil:
    """No entries, nothing learnt."""
    cdef uint32_t region
    for region in range(<uint32_t>REGIONS):
        list_init(slab.entries, region)
        s.weights[region] = 0
    s.samples = 0
    s.contest = False
    s.random = 0x9E3779B9U
    wtinylfu_begin(s, slab)
    wtinylfu_target(s, slab, MIN_WINDOW / 100.0)


cdef inline int wtinylfu_init(void* state, Slab* slab, double capacity) noexcept nogil:
    cdef WTinyLFU* s = <WTinyLFU*>state
    s.capacity = capacity
    wtinylfu_reset(s, slab)
    return 0


cdef inline void wtinylfu_close(void* state) noexcept nogil:
    sketch_close(&(<WTinyLFU*>state).sketch)


cdef inline int wtinylfu_resize(void* state, Slab* slab, double capacity) noexcept nogil:
    """Keep the window's share. The sketch stays, and grows with the entries."""
    cdef WTinyLFU* s = <WTinyLFU*>state
    s.capacity = capacity
    s.contest = False
    wtinylfu_target(s, slab, s.share)
    return 0


cdef inline int wtinylfu_fit(WTinyLFU* s, Slab* slab, double entries) noexcept nogil:
    """Allocate the sketch for `entries`, or double it if there is no room for one entry more; -1: no memory."""
    if s.sketch.count == 0:
        return sketch_allocate(&s.sketch, sketch_blocks(entries))
    if slab.live // BLOCK_ENTRIES >= s.sketch.count:
        return sketch_double(&s.sketch)
    return 0


cdef inline int wtinylfu_reserve(void* state, Slab* slab) noexcept nogil:
    cdef WTinyLFU* s = <WTinyLFU*>state
    cdef double used
    if slab.live // BLOCK_ENTRIES < s.sketch.count:
        return 0
    used = s.weights[WINDOW] + s.weights[PROBATION] + s.weights[PROTECTED]
    if slab.live == 0 or (s.sketch.count == 0 and used * 2 < s.capacity):
        return 0
    return wtinylfu_fit(s, slab, min(slab.live * s.capacity / used, 2.0 * slab.live) if used > 0 else slab.live)


cdef inline void wtinylfu_prepare(void* state, Slab* slab, uint32_t hash) noexcept nogil:
    """Make all victims for one heavy entry come from one contest, although the window shrinks meanwhile."""
    cdef WTinyLFU* s = <WTinyLFU*>state
    s.contest = s.weights[WINDOW] >= s.window_max
    if s.sketch.count > CACHED_BLOCKS:
        sketch_prefetch(&s.sketch, hash)


cdef inline bint wtinylfu_admit(WTinyLFU* s, Slab* slab, uint32_t candidate, uint32_t victim) noexcept nogil:
    """True when the candidate deserves the victim's place."""
    cdef uint32_t frequency = sketch_estimate(&s.sketch, slab.entries[candidate].hash)
    if frequency > sketch_estimate(&s.sketch, slab.entries[victim].hash):
        return True
    if frequency < FLOOD_FREQUENCY:
        return False
    s.random ^= s.random << 13
    s.random ^= s.random >> 17
    s.random ^= s.random << 5
    return s.random & (FLOOD_ODDS - 1) == 0


cdef inline uint32_t wtinylfu_victim(void* state, Slab* slab) noexcept nogil:
    cdef WTinyLFU* s = <WTinyLFU*>state
    cdef uint32_t candidate = list_back(slab.entries, WINDOW)
    cdef uint32_t victim = list_back(slab.entries, PROBATION)
    s.evicting = True
    if victim == PROBATION:
        victim = list_back(slab.entries, PROTECTED)
        if victim == PROTECTED:
            return candidate
    if candidate == WINDOW or not (s.contest or s.weights[WINDOW] >= s.window_max):
        return victim
    return victim if wtinylfu_admit(s, slab, candidate, victim) else candidate


cdef inline uint32_t wtinylfu_foresee(void* state, Slab* slab) noexcept nogil:
    """The next candidate, for most fail; what lies before the other one is fetched, too."""
    hotset_prefetch(&slab.entries[slab.entries[list_back(slab.entries, PROBATION)].prev])
    return list_back(slab.entries, WINDOW)


cdef inline void wtinylfu_leave(WTinyLFU* s, Slab* slab, uint32_t e) noexcept nogil:
    """Take an entry out of its list."""
    cdef uint32_t region = slab.entries[e].mark
    list_remove(slab.entries, e)
    s.weights[region] -= slab_weight(slab, e)
    if list_back(slab.entries, region) == region:
        s.weights[region] = 0               # drops what rounding has left


cdef inline void wtinylfu_enter(WTinyLFU* s, Slab* slab, uint32_t e, uint32_t region) noexcept nogil:
    """Put an entry at the front of a list."""
    slab.entries[e].mark = region
    list_push_front(slab.entries, region, e)
    s.weights[region] += slab_weight(slab, e)


cdef inline void wtinylfu_spill(WTinyLFU* s, Slab* slab) noexcept nogil:
    """Move what is over the window's target to probation, at most MOVES entries."""
    cdef uint32_t tail, moves
    for moves in range(<uint32_t>MOVES):
        tail = list_back(slab.entries, WINDOW)
        if tail == WINDOW or s.weights[WINDOW] - slab_weight(slab, tail) < s.window_max:
            break
        wtinylfu_leave(s, slab, tail)
        wtinylfu_enter(s, slab, tail, PROBATION)


cdef inline void wtinylfu_demote(WTinyLFU* s, Slab* slab) noexcept nogil:
    """Move what is over protected's target to probation, at most MOVES entries."""
    cdef uint32_t tail, moves
    for moves in range(<uint32_t>MOVES):
        if s.weights[PROTECTED] <= s.protected_max:
            break
        tail = list_back(slab.entries, PROTECTED)
        wtinylfu_leave(s, slab, tail)
        wtinylfu_enter(s, slab, tail, PROBATION)


cdef inline void wtinylfu_sample(WTinyLFU* s, Slab* slab) noexcept nogil:
    """End a sample: climb, age the frequencies when it is time, begin the next one."""
    cdef double gain = s.hits[WINDOW] * s.weights[PROBATION]
    cdef double loss = s.hits[PROBATION] * s.weights[WINDOW] * DISCOUNT
    if s.evicting and gain + loss > 0 and s.hits[WINDOW] + s.hits[PROBATION] >= MIN_EVIDENCE:
        if gain >= 8 * loss:
            wtinylfu_target(s, slab, s.share * 2)
        elif loss >= 8 * gain:
            wtinylfu_target(s, slab, s.share / 2)
        else:
            wtinylfu_target(s, slab, s.share * cbrt(gain / loss))
    if s.sketch.count:
        s.samples += 1
        if s.samples >= AGE_SAMPLES:
            s.samples = 0
            sketch_age(&s.sketch)
    wtinylfu_begin(s, slab)


cdef inline void wtinylfu_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef WTinyLFU* s = <WTinyLFU*>state
    s.contest = False
    sketch_increment(&s.sketch, slab.entries[e].hash)
    wtinylfu_enter(s, slab, e, WINDOW)
    wtinylfu_spill(s, slab)
    if s.sketch.count > CACHED_BLOCKS:      # the next contest's two frequencies would miss every cache
        sketch_prefetch(&s.sketch, slab.entries[list_back(slab.entries, WINDOW)].hash)
        sketch_prefetch(&s.sketch, slab.entries[list_back(slab.entries, PROBATION)].hash)
    s.countdown -= 1
    if s.countdown == 0:
        wtinylfu_sample(s, slab)


cdef inline void wtinylfu_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef WTinyLFU* s = <WTinyLFU*>state
    cdef uint32_t region = slab.entries[e].mark
    sketch_increment(&s.sketch, slab.entries[e].hash)
    s.hits[region] += 1
    if region == PROBATION:
        wtinylfu_leave(s, slab, e)
        wtinylfu_enter(s, slab, e, PROTECTED)
        wtinylfu_demote(s, slab)
    else:
        list_move_front(slab.entries, region, e)
    s.countdown -= 1
    if s.countdown == 0:
        wtinylfu_sample(s, slab)


cdef inline void wtinylfu_reweigh(void* state, Slab* slab, uint32_t e, double old) noexcept nogil:
    (<WTinyLFU*>state).weights[slab.entries[e].mark] += slab_weight(slab, e) - old


cdef inline void wtinylfu_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    wtinylfu_leave(<WTinyLFU*>state, slab, e)


cdef inline void wtinylfu_clear(void* state, Slab* slab) noexcept nogil:
    cdef WTinyLFU* s = <WTinyLFU*>state
    sketch_close(&s.sketch)
    wtinylfu_reset(s, slab)


cdef inline uint32_t wtinylfu_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """Probation, window, protected, each from its tail."""
    cdef uint32_t region = PROBATION if e == NIL else slab.entries[e].mark
    cdef uint32_t after = list_back(slab.entries, PROBATION) if e == NIL else slab.entries[e].prev
    if after == region and region == PROBATION:
        region = WINDOW
        after = list_back(slab.entries, WINDOW)
    if after == region and region == WINDOW:
        region = PROTECTED
        after = list_back(slab.entries, PROTECTED)
    return NIL if after == region else after


cdef inline uint64_t wtinylfu_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """Region in the low two bits, frequency above; for NIL the window's share."""
    cdef WTinyLFU* s = <WTinyLFU*>state
    if e == NIL:
        return <uint64_t>(s.share * SHARE_UNITS)
    return <uint64_t>sketch_estimate(&s.sketch, slab.entries[e].hash) << 2 | slab.entries[e].mark


cdef inline void wtinylfu_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    """Frequencies are kept if there is memory for them."""
    cdef WTinyLFU* s = <WTinyLFU*>state
    cdef uint32_t region = <uint32_t>(rank & 3)
    cdef uint32_t frequency = <uint32_t>(rank >> 2 & MAX_FREQUENCY)
    if e == NIL:
        wtinylfu_target(s, slab, <double>rank / SHARE_UNITS)
        return
    wtinylfu_enter(s, slab, e, region if region < REGIONS else <uint32_t>PROBATION)
    if frequency and wtinylfu_fit(s, slab, slab.live) == 0:
        sketch_raise(&s.sketch, slab.entries[e].hash, frequency)


cdef inline bint wtinylfu_validate(void* state, Slab* slab) noexcept nogil:
    """Each ring is doubly linked, its entries know it and weigh what is said; each live entry is in one of them."""
    cdef WTinyLFU* s = <WTinyLFU*>state
    cdef uint32_t region, e, before, n = 0
    cdef double weight
    for region in range(<uint32_t>REGIONS):
        e = region
        weight = 0
        while True:
            before = slab.entries[e].prev
            if slab.entries[before].next != e:
                return False
            if before == region:
                break
            if slab.entries[before].key == NULL or slab.entries[before].mark != region or n == slab.live:
                return False
            weight += slab_weight(slab, before)
            n += 1
            e = before
        if s.capacity < INFINITY and not -1e-6 <= (s.weights[region] - weight) / max(s.capacity, 1.0) <= 1e-6:
            return False
    if s.sketch.cursor > s.sketch.count or (s.sketch.blocks == NULL) != (s.sketch.count == 0):
        return False
    return n == slab.live and s.countdown > 0 and s.random != 0 and s.samples < AGE_SAMPLES


cdef inline void wtinylfu_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(WTinyLFU)
    p.init = wtinylfu_init
    p.close = wtinylfu_close
    p.resize = wtinylfu_resize
    p.reserve = wtinylfu_reserve
    p.prepare = wtinylfu_prepare
    p.victim = wtinylfu_victim
    p.insert = wtinylfu_insert
    p.hit = wtinylfu_hit
    p.on_hit = CALL_HIT
    p.update = wtinylfu_hit
    p.reweigh = wtinylfu_reweigh
    p.remove = wtinylfu_remove
    p.clear = wtinylfu_clear
    p.foresee = wtinylfu_foresee
    p.walk = wtinylfu_walk
    p.rank = wtinylfu_rank
    p.restore = wtinylfu_restore
    p.validate = wtinylfu_validate
