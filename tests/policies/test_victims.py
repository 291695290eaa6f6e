"""The engine evicts what the oracles evict: random operations, replay, and caches filled by hand."""

import random

import numpy as np
import pytest
from caches import weight_of
from oracles import EFFICIENT, OracleCache, count_hits

import hotset

CAPACITIES = (1, 2, 3, 10, 57, 400)


def zipf(count, space, exponent, seed):
    """Integers in [0, space) with Zipf frequencies; the rank is not the number."""
    generator = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, space + 1) ** exponent
    drawn = generator.choice(space, size=count, p=weights / weights.sum())
    return generator.permutation(space)[drawn].astype(np.uint32)


def synthetic():
    """Streams that pull the policies in different directions."""
    generator = np.random.default_rng(11)
    hot = zipf(6000, 300, 1.1, 3)
    scan = np.arange(10_000, 14_000, dtype=np.uint32)
    return {
        "zipf 0.8": zipf(12_000, 2000, 0.8, 1),
        "zipf 1.2": zipf(12_000, 2000, 1.2, 2),
        "uniform": generator.integers(0, 900, 10_000, dtype=np.uint32),
        "loop": np.tile(np.arange(70, dtype=np.uint32), 120),
        "scans": np.concatenate([hot[:3000], scan, hot[3000:], scan]),
        "shift": np.concatenate([zipf(5000, 300, 1.0, 4), zipf(5000, 300, 1.0, 5) + 5000]),
        "stack": np.cumsum(generator.integers(-3, 4, 10_000)) + 1000,
        "sparse": zipf(8000, 2000, 0.9, 6).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
    }


STREAMS = synthetic()


@pytest.fixture(params=STREAMS.values(), ids=STREAMS)
def keys(request):
    """One stream."""
    return request.param


@pytest.mark.parametrize("policy", [policy for policy in hotset.POLICIES if policy != "rr"])
def test_who_asks_an_empty_cache_for_a_victim_leaves_no_trace(policy, keys):
    asked, other = hotset.POLICIES[policy](60), hotset.POLICIES[policy](60)
    with pytest.raises(KeyError):
        asked.popitem()
    for count in (30, 40, 2000):
        assert fill(asked, keys[:count].tolist()) == fill(other, keys[:count].tolist())
        assert list(asked.coldest()) == list(other.coldest())


def fill(cache, keys):
    """Read through the cache and return the hits."""
    hits = 0
    get = cache.get
    for key in keys:
        if get(key) is None:
            cache[key] = True
        else:
            hits += 1
    return hits


@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("name", EFFICIENT)
def test_replay_is_the_oracle(name, capacity, keys):
    expected = count_hits(EFFICIENT[name](capacity), capacity, keys.tolist())
    assert hotset.replay(name, capacity, keys).hits == expected


@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("name", [name for name in hotset.POLICIES if name != "rr"])
def test_replay_is_the_cache(make, name, capacity, keys):
    """The shipped class, driven by get and set, counts what replay counts."""
    cache = make(hotset.POLICIES[name], capacity)
    hits = fill(cache, keys.tolist())
    result = hotset.replay(name, capacity, keys)
    assert result.hits == hits == cache.stats().hits
    assert result.misses == len(keys) - hits == cache.stats().inserts
    assert result.requests == len(keys)


@pytest.mark.parametrize("name", ["lru", "lfu", "fifo"])
def test_negative_keys(make, name):
    """hash(-1) == hash(-2), which ARC's ghosts cannot tell apart; entries can."""
    keys = STREAMS["stack"] - 1000
    assert keys.min() < -2
    expected = count_hits(EFFICIENT[name](10), 10, keys.tolist())
    assert hotset.replay(name, 10, keys).hits == fill(make(hotset.POLICIES[name], 10), keys.tolist()) == expected


@pytest.mark.parametrize("name", EFFICIENT)
def test_object_keys_are_the_oracle(make, name, keys):
    """Strings hash otherwise than integers; the decisions are the same."""
    words = [f"key-{key}" for key in keys.tolist()]
    cache = make(hotset.POLICIES[name], 57)
    assert fill(cache, words) == count_hits(EFFICIENT[name](57), 57, words)


def test_tinylfu_with_object_keys_is_near(make, keys):
    """Its sketch counts hashes, so other keys give other collisions, not another policy."""
    words = [f"key-{key}" for key in keys.tolist()]
    cache = make(hotset.TinyLFUCache, 400)
    expected = hotset.replay("tinylfu", 400, keys).hit_ratio
    assert fill(cache, words) / len(words) == pytest.approx(expected, abs=0.04)


def test_lirs_goes_on_when_its_time_runs_out(make, keys):
    """Times are halved then; set near the end by a snapshot that says so."""
    cache = make(hotset.LIRSCache, 57)
    fill(cache, keys.tolist()[:2000])
    rebuild, arguments, state = cache.__reduce_ex__(2)
    near = rebuild(*arguments)
    near.__setstate__({**state, "policy": (1 << 30) - 500})
    make.adopt(near)
    twin = cache.copy()
    hits = {}
    for name, one in (("near", near), ("twin", twin)):
        hits[name] = 0
        for key in keys.tolist()[2000:]:
            hits[name] += fill(one, [key])
        one._validate()
    assert near.__reduce_ex__(2)[2]["policy"] < 1 << 30
    assert hits["near"] == pytest.approx(hits["twin"], rel=0.01, abs=20)


def test_rr_is_seeded_from_the_random_module(make, keys):
    """The same seed, the same victims; over several seeds not all the same, or the seed would not be used."""
    outcomes = []
    for seed in (*range(8), 0):
        random.seed(seed)
        cache = make(hotset.RRCache, 57)
        fill(cache, keys.tolist())
        outcomes.append(frozenset(cache))
    assert outcomes[0] == outcomes[-1]
    assert len(set(outcomes)) > 1


def test_rr_replays_are_repeatable(keys):
    results = []
    for _ in range(2):
        random.seed(1)
        results.append(hotset.replay("rr", 57, keys).hits)
    assert results[0] == results[1]


def test_rr_is_fair():
    """On uniform requests every policy that does not look ahead hits with probability capacity / space."""
    random.seed(4)
    ratio = hotset.replay("rr", 450, np.random.default_rng(5).integers(0, 900, 60_000)).hit_ratio
    assert ratio == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", ["lru", "lfu", "fifo", "sieve", "clock"])
@pytest.mark.parametrize("capacity", [0.5, 1, 2, 5.5, 30, 200])
def test_every_removal_is_the_oracle_s(make, name, capacity, clock, rng):
    """Random operations with weights and lifetimes: same contents, same order, same removals in the same order."""
    log = []
    cache = make(
        hotset.POLICIES[name],
        capacity,
        getsizeof=weight_of,
        ttl=40,
        timer=clock,
        on_evict=lambda key, value, cause: log.append((key, value, cause)),
    )
    oracle = OracleCache(EFFICIENT[name](capacity), capacity, getsizeof=weight_of, ttl=40, timer=clock)
    for step in range(4000):
        key = rng.randrange(int(capacity * 2) + 4)
        choice = rng.random()
        if choice < 0.35:
            assert cache.get(key) == oracle.get(key)
        elif choice < 0.75:
            value = rng.choice([0, 0.5, 1, 1, 1, 2, 5])
            ttl = rng.choice([None, None, None, 5, 300])
            if value > capacity:
                with pytest.raises(ValueError, match="value too large"):
                    cache.set(key, value, ttl=ttl)
            else:
                cache.set(key, value, ttl=ttl)
                oracle.set(key, value, ttl=ttl)
        elif choice < 0.83:
            assert (cache.pop(key, None) is not None) == oracle.delete(key)
        elif choice < 0.86:
            assert cache.touch(key) == oracle.touch(key)
        elif choice < 0.88 and oracle.contents():
            assert cache.popitem() == oracle.popitem()
        elif choice < 0.885:
            assert sorted(cache.items()) == sorted(oracle.contents().items())
            cache.clear()
            oracle.clear()
        elif choice < 0.95:
            clock.advance(rng.choice([0.1, 1, 1, 10]))
        if step % 20 == 0:
            cache.expire()
            assert cache.coldest() == oracle.coldest(), step
            assert cache.currsize == oracle.currsize
            assert without(log, "expired", "explicit") == without(oracle.log, "expired", "explicit")
            assert sorted(log, key=repr) == sorted(oracle.log, key=repr)


def without(log, *causes):
    """The rest of a log, in its order."""
    return [entry for entry in log if entry[2] not in causes]


@pytest.mark.parametrize("name", EFFICIENT)
def test_every_victim_is_the_oracle_s(make, name, rng):
    """Unit weights: the sequence of victims, with deletes and overwrites between."""
    for capacity in (1, 2, 9, 64):
        victims = []
        cache = make(
            hotset.POLICIES[name],
            capacity,
            on_evict=lambda key, value, cause: victims.append((key, value, cause)),
        )
        oracle = OracleCache(EFFICIENT[name](capacity), capacity)
        for step in range(3000):
            key = min(capacity * 4, int(rng.paretovariate(0.5)))
            choice = rng.random()
            if choice < 0.6:
                found = cache.get(key)
                assert found == oracle.get(key)
                if found is None:
                    cache[key] = step
                    oracle.set(key, step)
            elif choice < 0.9:
                cache[key] = step
                oracle.set(key, step)
            else:
                assert (cache.pop(key, None) is not None) == oracle.delete(key)
            assert victims == oracle.log
            victims.clear()
            oracle.log.clear()


@pytest.mark.parametrize("name", hotset.POLICIES)
def test_weighed_replay_is_the_cache(make, name, rng):
    """Sizes given to replay are the weights of a cache that reads through."""
    keys = [min(300, int(rng.paretovariate(0.6))) for _ in range(8000)]
    size_of = {key: rng.choice([1, 1, 2, 5, 20, 200]) for key in set(keys)}
    sizes = [size_of[key] for key in keys]
    for capacity in (20, 150, 1000):
        random.seed(3)
        result = hotset.replay(name, capacity, np.array(keys), np.array(sizes))
        if name == "rr":
            assert 0 < result.hits < len(keys)
            continue
        cache = make(hotset.POLICIES[name], capacity, getsizeof=weight_of)
        hits = stored = 0
        for key, size in zip(keys, sizes, strict=True):
            if cache.get(key) is not None:
                hits += 1
                stored += size
            elif size <= capacity:
                cache[key] = size
        assert result.hits == hits
        assert result.byte_hit_ratio == pytest.approx(stored / sum(sizes))
        if name in {"lru", "lfu", "fifo", "sieve", "clock"}:
            oracle = OracleCache(EFFICIENT[name](capacity), capacity, getsizeof=weight_of)
            expected = 0
            for key, size in zip(keys, sizes, strict=True):
                if oracle.get(key) is not None:
                    expected += 1
                elif size <= capacity:
                    oracle.set(key, size)
            assert hits == expected
