"""The adaptive policy against its oracle, and what it promises of itself."""

import random

import pytest
from oracles import count_hits
from oracles.auto import LIRS, LRU, TINY_LFU, TWO_Q, Auto

import hotset

CAPACITIES = (1, 2, 3, 7, 16, 17, 40, 130, 500)


def loop(rng, count):
    """More keys than fit, round and round: LRU never hits."""
    return [key % 700 for key in range(count)]


def drift(rng, count):
    """Keys near a point that moves on: only recency helps."""
    return [int(i / 3 + rng.expovariate(0.01)) for i in range(count)]


def skew(rng, count):
    """Popular keys among many that come once."""
    return [int(rng.paretovariate(0.7)) % 5000 if rng.random() < 0.7 else 10_000 + i for i in range(count)]


def back_and_forth(rng, count):
    """There and back: what was used last comes back first."""
    return [abs(i % 1400 - 700) for i in range(count)]


def mixed(rng, count):
    part = count // 4
    return [key for form in (loop, drift, skew, back_and_forth) for key in form(rng, part)]


FORMS = (loop, drift, skew, back_and_forth, mixed)


def numbers(keys):
    import numpy as np

    return np.array(keys, dtype=np.int64)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_replay_is_the_oracle(rng, form):
    keys = form(rng, 12_000)
    for capacity in CAPACITIES:
        expected = count_hits(Auto(capacity), capacity, keys)
        assert hotset.replay("auto", capacity, numbers(keys)).hits == expected, capacity


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_victim_is_the_oracle_s(make, rng, form):
    """With deletions, which make room, and writes to keys that are there."""
    capacity = 60
    gone = []
    cache = make(hotset.Cache, capacity, on_evict=lambda key, value, cause: gone.append((key, cause)))
    model = Auto(capacity)
    for step, key in enumerate(form(rng, 6000)):
        gone.clear()
        if rng.random() < 0.02:
            cache.pop(key, None)
            if key in model.resident:
                model.remove(key, evicted=False)
        elif key in model.resident:
            assert cache.get(key) is not None
            model.hit(key)
        else:
            assert cache.get(key) is None
            model.prepare(key)
            expected = []
            if len(model.resident) == capacity:
                expected.append((model.victim(), "size"))
                model.remove(expected[0][0], evicted=True)
            model.insert(key)
            cache[key] = True
            assert gone == expected
        if step % 500 == 0:
            cache._validate()
            assert set(cache) == set(model.resident)


def test_each_expert_gets_its_turn(rng):
    """The oracle tells which, and the tests above that the engine does as it does. Both begin as LIRS."""
    taken = {LIRS}
    for form in FORMS:
        for capacity in (40, 130, 500):
            model = Auto(capacity)
            count_hits(model, capacity, form(rng, 12_000))
            taken.update(model.changes)
    assert taken == {LRU, LIRS, TWO_Q, TINY_LFU}


@pytest.mark.parametrize(
    ("form", "best"), [(loop, "tinylfu"), (back_and_forth, "lru"), (drift, "lru"), (skew, "tinylfu")]
)
def test_is_near_the_better_policy(rng, form, best):
    """But for what a wrong start costs: a capacity's worth of hits."""
    keys = numbers(form(rng, 60_000))
    for capacity in (100, 400):
        hits = {policy: hotset.replay(policy, capacity, keys).hits for policy in ("auto", best)}
        assert hits["auto"] >= 0.97 * hits[best] - 2 * capacity, (capacity, hits)


def test_a_cache_without_bound_pays_for_nothing(make):
    cache = make(hotset.Cache, float("inf"))
    cache.update((key, key) for key in range(5000))
    for key in range(5000):
        assert cache[key] == key
    cache._validate()
    assert len(cache) == 5000


def test_weights_and_resizes(make):
    """Entries of all weights in a cache that grows and shrinks; every invariant holds all along."""
    rng = random.Random(7)
    cache = make(hotset.Cache, 300, getsizeof=lambda value: value)
    for step in range(8000):
        key = int(rng.paretovariate(0.5)) % 400
        if cache.get(key) is None:
            cache[key] = min(cache.maxsize, rng.choice((0, 1, 1, 2, 5, 0.5, 90)))
        if step % 400 == 399:
            cache.resize(rng.choice((3, 90, 300, 1000, 5000)))
            cache._validate()
    assert cache.currsize <= cache.maxsize


def test_a_copy_goes_on_as_the_same_expert(make, rng):
    """The expert, the lists and their order are copied; what the shadows have seen is not."""
    cache = make(hotset.Cache, 100)
    for key in back_and_forth(rng, 20_000):
        if cache.get(key) is None:
            cache[key] = key
    twin = cache.copy()
    assert twin.coldest() == cache.coldest()
    for key in range(10_000, 10_050):
        cache[key] = twin[key] = key
        assert twin.coldest() == cache.coldest()
