# cython: cdivision=True
"""Auto: four policies in one structure, and small caches beside it that show which of them would hit most.

The entries are in a blend (policy.blend), which acts as LRU, LIRS, 2Q or W-TinyLFU. Each of these experts also runs as a
*shadow*, a cache of up to ``SHADOW`` keys without values that sees a sample of the keys, chosen by their hash: a cache of a
hundredth of the size that sees a hundredth of the keys hits as often. For each two experts, ``lead`` is how many more of
the sampled requests one has hit than the other, and ``spread`` how many only one of them has hit: the variance of the
lead if they were equals. Both are forgotten by half in 20 shadow sizes of requests. An expert takes over when its lead on
the present one is above two standard deviations and a margin, which doubles with each change of experts and comes back as
the rest is forgotten. LRU must lead by three: it is alone in learning nothing of keys that come back late, and what it
evicts after a hasty change is gone.

It begins as LIRS, which keeps main full of what came first until something else proves to be better. Starting as LRU costs
a fifth of what all this gains; the price of LIRS is that a load which is pure recency may lose, once, up to a
capacity's worth of hits. Shadows, sketch and stamps begin when the cache is half full; a cache that stays emptier or has
no bound acts as LIRS that never evicts, and pays for nothing.

Cost: O(1) a verb, every sampled request five times that. Beside the blend's tables the shadows take about 20 KB a
cache, less for small ones.

References: see policy.blend; Beckmann and Sanchez, "Talus" (HPCA 2015) and Waldspurger et al., "Cache modeling and
optimization using miniature simulations" (ATC 2017) for caches scaled down by sampling keys; Vietri et al., "Driving
cache replacement with ML-based LeCaR" (HotStorage 2018) for experts within one cache.
"""
from libc.math cimport sqrt
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from core.index cimport (Hashes, Index, Probe, index_bits_for, index_close, index_erase, index_init, index_insert,
                         index_validate, probe_next, probe_start)
from core.sketch cimport sketch_remix
from core.slab cimport (Entry, NIL, PyMem_RawCalloc, PyMem_RawFree, SENTINELS, Slab, slab_close, slab_full, slab_grow,
                        slab_init, slab_take)
from policy.blend cimport (EXPERTS, LIRS, LRU, TINY_LFU, Blend, blend_become, blend_close, blend_fit, blend_foresee,
                           blend_hit, blend_insert, blend_measure, blend_prepare, blend_rank, blend_remove, blend_reset,
                           blend_restore, blend_validate, blend_victim, blend_walk)
from policy.contract cimport CALL_HIT, Policy

cdef extern from "compat.h" nogil:
    bint HOTSET_LIKELY(bint x)

cdef enum:
    SHADOW = 64            # entries of a shadow, at most
    SAMPLED = 2            # at most one key in so many is sampled
    LEAST_SHADOW = 8       # a cache that would have smaller ones has none
    PRESENT = 2            # the key of every entry of a shadow, as in a replay
    FIRST_EXPERT = LIRS
    HALVES = 20            # shadow sizes of sampled requests in which evidence is forgotten by half
    PARTS = 2              # steps of forgetting in a shadow size
    DEVIATIONS = 2         # of the lead that a change of experts takes
    LRU_DEVIATIONS = 1     # more of them for a change to LRU, and hits more
    LEAST_MARGIN = 2       # hits


cdef struct Shadow:
    Blend blend
    Slab slab
    Index index


cdef struct Auto:
    Blend blend
    Shadow* shadows        # one an expert; NULL while there are none
    double lead[4][4]
    double spread[4][4]
    double margin
    double kept            # of the evidence, in a step of forgetting
    uint64_t threshold     # a key is sampled if 32 bits of its hash are below
    uint32_t size          # entries of a shadow
    uint32_t countdown     # sampled requests until some evidence is forgotten
    uint32_t room          # entries that the tables are made for


# ---- one shadow ----

cdef inline Hashes shadow_hashes(Shadow* s) noexcept nogil:
    cdef Hashes hashes
    hashes.base = <char*>&s.slab.entries[0].hash
    hashes.stride = sizeof(Entry)
    return hashes


cdef inline void shadow_close(Shadow* s) noexcept nogil:
    """Free a shadow that was opened, in part or whole."""
    blend_close(&s.blend)
    slab_close(&s.slab)
    index_close(&s.index)


cdef inline int shadow_open(Shadow* s, uint32_t expert, uint32_t size) noexcept nogil:
    """An empty shadow in zeroed memory; -1 when memory is out, to be closed all the same."""
    s.blend.capacity = size
    s.blend.counting = expert == TINY_LFU
    if slab_init(&s.slab, False) < 0 or slab_grow(&s.slab, size + SENTINELS) < 0:
        return -1
    if index_init(&s.index, index_bits_for(size, size + SENTINELS)) < 0:
        return -1
    blend_reset(&s.blend, &s.slab, expert)
    return blend_fit(&s.blend, size)


cdef inline bint shadow_request(Shadow* s, uint32_t hash) noexcept nogil:
    """Whether the shadow has the key; it has it from now on."""
    cdef Probe probe
    cdef Entry* entry
    cdef uint32_t e
    probe_start(&s.index, &probe, hash)
    while True:
        e = probe_next(&s.index, &probe)
        if e == NIL:
            break
        if s.slab.entries[e].hash == hash:
            blend_hit(&s.blend, &s.slab, e)
            return True
    blend_prepare(&s.blend, &s.slab, hash)
    if slab_full(&s.slab):
        e = blend_victim(&s.blend, &s.slab)
        index_erase(&s.index, shadow_hashes(s), s.slab.entries[e].hash, e)
        blend_remove(&s.blend, &s.slab, e, True)
    else:
        e = slab_take(&s.slab)
        s.slab.live += 1
    entry = &s.slab.entries[e]
    entry.key = <void*>PRESENT
    entry.hash = hash
    index_insert(&s.index, hash, e)
    blend_insert(&s.blend, &s.slab, e)
    return False


cdef inline bint shadow_validate(Shadow* s) noexcept nogil:
    return (s.index.used == s.slab.live and blend_validate(&s.blend, &s.slab)
            and index_validate(&s.index, shadow_hashes(s)))


# ---- the choice among experts ----

cdef inline void auto_forget(Auto* a) noexcept nogil:
    """No evidence."""
    memset(a.lead, 0, sizeof(a.lead))
    memset(a.spread, 0, sizeof(a.spread))
    a.margin = LEAST_MARGIN
    a.countdown = max(a.size // PARTS, <uint32_t>1)
    a.kept = 1.0 - 0.6931471805599453 / (HALVES * PARTS)


cdef inline void auto_unshadow(Auto* a) noexcept nogil:
    """Free the shadows, and forget what they have shown."""
    cdef uint32_t i
    if a.shadows != NULL:
        for i in range(<uint32_t>EXPERTS):
            shadow_close(&a.shadows[i])
        PyMem_RawFree(a.shadows)
        a.shadows = NULL
    a.threshold = 0
    a.size = 0


cdef inline void auto_sample(Auto* a) noexcept nogil:
    """Set how many keys are sampled."""
    a.threshold = <uint64_t>(min(a.size / a.blend.entries, 1.0) * 4294967296.0)


cdef inline uint32_t auto_size(Auto* a) noexcept nogil:
    """How many entries shadows should have; 0 for none."""
    cdef uint32_t size = <uint32_t>min(a.blend.entries * (1.0 / SAMPLED), <double>SHADOW)
    return size if size >= LEAST_SHADOW else 0


cdef inline int auto_shadow(Auto* a) noexcept nogil:
    """Begin with shadows, if the cache is large enough; -1 when memory is out, nothing changed."""
    cdef uint32_t i
    cdef uint32_t size = auto_size(a)
    cdef int status = 0
    if size == 0:
        return 0
    a.shadows = <Shadow*>PyMem_RawCalloc(EXPERTS, sizeof(Shadow))
    if a.shadows == NULL:
        return -1
    for i in range(<uint32_t>EXPERTS):
        status |= shadow_open(&a.shadows[i], i, size)
    if status < 0:
        auto_unshadow(a)
        return -1
    a.size = size
    auto_sample(a)
    auto_forget(a)
    return 0


cdef inline void auto_choose(Auto* a, Slab* slab) noexcept nogil:
    """Let the expert that leads by most take over, if it leads by enough."""
    cdef uint32_t i, best = a.blend.expert
    cdef double deviation, over, most = 0.0
    for i in range(<uint32_t>EXPERTS):
        deviation = sqrt(a.spread[i][a.blend.expert])
        over = a.lead[i][a.blend.expert] - DEVIATIONS * deviation - a.margin
        if i == LRU:
            over -= LRU_DEVIATIONS * (deviation + 1.0)
        if over > most:
            most = over
            best = i
    if best != a.blend.expert:
        a.margin *= 2
        blend_become(&a.blend, slab, best)


cdef inline void auto_observe(Auto* a, Slab* slab, uint32_t hash) noexcept nogil:
    """Request a sampled key from the shadows and judge what they say."""
    cdef uint32_t i, j
    cdef uint32_t hit = 0
    for i in range(<uint32_t>EXPERTS):
        hit |= <uint32_t>shadow_request(&a.shadows[i], hash) << i
    if hit != 0 and hit != (1 << EXPERTS) - 1:
        for i in range(<uint32_t>EXPERTS):
            for j in range(<uint32_t>EXPERTS):
                if hit >> i & 1 and not hit >> j & 1:
                    a.lead[i][j] += 1
                    a.lead[j][i] -= 1
                    a.spread[i][j] += 1
                    a.spread[j][i] += 1
        auto_choose(a, slab)
    a.countdown -= 1
    if a.countdown == 0:
        a.countdown = max(a.size // PARTS, <uint32_t>1)
        for i in range(<uint32_t>EXPERTS):
            for j in range(<uint32_t>EXPERTS):
                a.lead[i][j] *= a.kept
                a.spread[i][j] *= a.kept
        a.margin = LEAST_MARGIN + (a.margin - LEAST_MARGIN) * a.kept
        auto_sample(a)


cdef inline bint auto_sampled(Auto* a, uint32_t hash) noexcept nogil:
    """Whether the shadows see a key. By other bits than those that place it in the tables."""
    return not HOTSET_LIKELY(<uint32_t>(sketch_remix(hash) >> 24) >= a.threshold)


# ---- the policy's verbs ----

cdef inline void auto_reset(Auto* a, Slab* slab) noexcept nogil:
    a.room = 0
    auto_forget(a)
    blend_reset(&a.blend, slab, FIRST_EXPERT)


cdef inline int auto_init(void* state, Slab* slab, double capacity) noexcept nogil:
    cdef Auto* a = <Auto*>state
    a.blend.capacity = capacity
    a.blend.counting = True
    auto_reset(a, slab)
    return 0


cdef inline void auto_close(void* state) noexcept nogil:
    cdef Auto* a = <Auto*>state
    auto_unshadow(a)
    blend_close(&a.blend)


cdef inline int auto_resize(void* state, Slab* slab, double capacity) noexcept nogil:
    """The expert stays, and what it has learnt; shadows of another size begin anew."""
    cdef Auto* a = <Auto*>state
    a.blend.capacity = capacity
    a.blend.contest = a.blend.welcome = False
    blend_become(&a.blend, slab, a.blend.expert)
    blend_measure(&a.blend, slab)
    if a.size != auto_size(a):
        auto_unshadow(a)
        a.room = 0
    else:
        auto_sample(a)
    return 0


cdef inline int auto_fit(Auto* a, Slab* slab) noexcept nogil:
    """Have the tables that one entry more asks for; -1 when memory is out, nothing changed that matters."""
    cdef double used = a.blend.weights[0] + a.blend.weights[1] + a.blend.weights[2]
    cdef double entries
    if slab.live == 0 or used * 2 < a.blend.capacity and a.blend.stamps.count == 0:
        return 0
    entries = slab.live * (a.blend.capacity / used) if used > 0 else slab.live
    entries = min(entries, 2.0 * slab.live)
    blend_measure(&a.blend, slab)
    if blend_fit(&a.blend, entries) < 0 or (a.shadows == NULL and auto_shadow(a) < 0):
        return -1
    a.room = max(<uint32_t>entries, slab.live + 1)
    return 0


cdef inline int auto_reserve(void* state, Slab* slab) noexcept nogil:
    return 0 if slab.live < (<Auto*>state).room else auto_fit(<Auto*>state, slab)


cdef inline void auto_prepare(void* state, Slab* slab, uint32_t hash) noexcept nogil:
    cdef Auto* a = <Auto*>state
    if auto_sampled(a, hash):
        auto_observe(a, slab, hash)
    blend_prepare(&a.blend, slab, hash)


cdef inline uint32_t auto_victim(void* state, Slab* slab) noexcept nogil:
    return blend_victim(&(<Auto*>state).blend, slab)


cdef inline uint32_t auto_foresee(void* state, Slab* slab) noexcept nogil:
    return blend_foresee(&(<Auto*>state).blend, slab)


cdef inline void auto_insert(void* state, Slab* slab, uint32_t e) noexcept nogil:
    blend_insert(&(<Auto*>state).blend, slab, e)


cdef inline void auto_hit(void* state, Slab* slab, uint32_t e) noexcept nogil:
    cdef Auto* a = <Auto*>state
    if auto_sampled(a, slab.entries[e].hash):
        auto_observe(a, slab, slab.entries[e].hash)
    blend_hit(&a.blend, slab, e)


cdef inline void auto_reweigh(void* state, Slab* slab, uint32_t e, double old) noexcept nogil:
    (<Auto*>state).blend.weights[slab.entries[e].mark & 3] += slab.weights[e] - old


cdef inline void auto_remove(void* state, Slab* slab, uint32_t e, bint evicted) noexcept nogil:
    blend_remove(&(<Auto*>state).blend, slab, e, evicted)


cdef inline void auto_clear(void* state, Slab* slab) noexcept nogil:
    auto_close(state)
    auto_reset(<Auto*>state, slab)


cdef inline uint32_t auto_walk(void* state, Slab* slab, uint32_t e) noexcept nogil:
    return blend_walk(&(<Auto*>state).blend, slab, e)


cdef inline uint64_t auto_rank(void* state, Slab* slab, uint32_t e) noexcept nogil:
    """The blend's; the expert, plus 1, for the policy. Evidence is not kept."""
    return (<Auto*>state).blend.expert + 1 if e == NIL else blend_rank(&(<Auto*>state).blend, slab, e)


cdef inline void auto_restore(void* state, Slab* slab, uint32_t e, uint64_t rank) noexcept nogil:
    cdef Auto* a = <Auto*>state
    if e == NIL:
        if 1 <= rank <= EXPERTS:
            blend_become(&a.blend, slab, <uint32_t>rank - 1)
        blend_measure(&a.blend, slab)
        return
    if rank >> 32:
        blend_fit(&a.blend, slab.live)      # without memory the frequency is lost
    blend_restore(&a.blend, slab, e, rank)


cdef inline bint auto_validate(void* state, Slab* slab) noexcept nogil:
    cdef Auto* a = <Auto*>state
    cdef uint32_t i
    if a.shadows != NULL:
        for i in range(<uint32_t>EXPERTS):
            if not shadow_validate(&a.shadows[i]) or a.shadows[i].blend.expert != i:
                return False
    if (a.shadows == NULL) != (a.size == 0) or a.countdown == 0 or a.margin < LEAST_MARGIN:
        return False
    return blend_validate(&a.blend, slab)


cdef inline void auto_policy(Policy* p) noexcept nogil:
    p.state_size = sizeof(Auto)
    p.init = auto_init
    p.close = auto_close
    p.resize = auto_resize
    p.reserve = auto_reserve
    p.prepare = auto_prepare
    p.victim = auto_victim
    p.insert = auto_insert
    p.hit = auto_hit
    p.on_hit = CALL_HIT
    p.update = auto_hit
    p.reweigh = auto_reweigh
    p.remove = auto_remove
    p.clear = auto_clear
    p.foresee = auto_foresee
    p.walk = auto_walk
    p.rank = auto_rank
    p.restore = auto_restore
    p.validate = auto_validate
