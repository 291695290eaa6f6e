"""Iteration while the cache changes: RuntimeError, never a crash or an endless loop."""

import weakref

import pytest
from caches import build, contents


def filled(make, cls, size=8, **options):
    cache = make(cls, size, **options)
    cache.update((key, str(key)) for key in range(size))
    return cache


MUTATIONS = {
    "insert": lambda cache: cache.set("new", 1),
    "insert with room": lambda cache: (cache.resize(100), cache.set("new", 1)),
    "delete": lambda cache: cache.pop(next(iter(cache.coldest(1)))[0]),
    "delete and insert": lambda cache: (cache.pop(cache.coldest(1)[0][0]), cache.set("new", 1)),
    "clear": lambda cache: cache.clear(),
    "popitem": lambda cache: cache.popitem(),
    "shrink": lambda cache: cache.resize(1),
    "delete_many": lambda cache: cache.delete_many(list(cache)),
    "load": lambda cache: cache.get_or_load("new", str),
}
WALKS = {
    "iter": iter,
    "keys": lambda cache: iter(cache.keys()),
    "values": lambda cache: iter(cache.values()),
    "items": lambda cache: iter(cache.items()),
}


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_mutation_raises(make, policy_class, mutation, walk):
    cache = filled(make, policy_class)
    iterator = walk(cache)
    next(iterator)
    mutation(cache)
    with pytest.raises(RuntimeError, match="changed"):
        for _ in range(100):
            next(iterator)
    cache._validate()


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
def test_reads_are_no_mutation(make, policy_class, walk):
    """A read that reorders the policy's lists must not disturb a walk."""
    cache = filled(make, policy_class)
    seen = []
    for item in walk(cache):
        seen.append(item)
        for key in (0, 7, 3):
            cache[key]
            cache.get(key)
            cache.peek(key)
        assert "x" not in cache
        cache.get("x")
        cache.touch(5)
    assert len(seen) == len(set(seen)) == 8


def test_overwriting_does_not_derail(make, policy_class):
    """dict lets values be replaced during a walk; whether this raises or not, nothing is skipped in silence."""
    cache = filled(make, policy_class)
    seen = []
    try:
        for key in cache:
            seen.append(key)
            cache[key] = "new"
    except RuntimeError:
        return
    assert sorted(seen) == list(range(8))


def test_exhausted_iterators_stay_exhausted(make, policy_class):
    cache = filled(make, policy_class)
    iterator = iter(cache)
    list(iterator)
    cache["another"] = 1
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(iterator)


def test_iterators_are_independent(make, policy_class):
    cache = filled(make, policy_class)
    pairs = [(a, b) for a in cache for b in cache]
    assert len(set(pairs)) == 64


def test_iterator_outlives_its_cache(policy_class, collect):
    cache = build(policy_class, 8)
    cache.update((key, key) for key in range(8))
    iterator = iter(cache.items())
    reference = weakref.ref(cache)
    del cache
    collect()
    assert sorted(iterator) == [(key, key) for key in range(8)]
    del iterator
    collect()
    assert reference() is None


def test_iterators_iterate_over_themselves(make, policy_class):
    cache = filled(make, policy_class)
    iterator = iter(cache)
    assert iter(iterator) is iterator


def test_entries_that_die_during_a_walk(make, policy_class, clock):
    """Expiry is no mutation by the user: the dead are left out, and the walk goes on or is refused, never wrong."""
    cache = filled(make, policy_class, ttl=10, timer=clock)
    iterator = iter(cache)
    seen = [next(iterator)]
    clock.advance(10)
    try:
        seen.extend(iterator)
    except RuntimeError:
        pass
    assert len(seen) == 1
    assert contents(cache) == {}


def test_popping_all_by_a_loop(make, policy_class):
    cache = filled(make, policy_class)
    while cache:
        cache.popitem()
    assert list(cache) == []


def test_mutation_between_creation_and_first_step(make, policy_class):
    cache = filled(make, policy_class)
    iterator = iter(cache)
    cache.clear()
    try:
        assert list(iterator) == []
    except RuntimeError:
        pass


def test_listing_does_not_count(make, policy_class):
    cache = filled(make, policy_class)
    before = (cache.stats(), cache.coldest())
    list(cache), list(cache.keys()), list(cache.values()), list(cache.items())
    assert "x" not in cache.keys()  # noqa: SIM118 (the view is what is tested)
    assert (1, "1") in cache.items()
    assert "7" in cache.values()
    assert (cache.stats(), cache.coldest()) == before
