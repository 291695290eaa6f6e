"""Weights: getsizeof as argument and as method, growth, refusal."""

import math

import pytest
from caches import contents, weight_of

import hotset


def test_currsize_is_the_sum(make, policy_class, rng):
    cache = make(policy_class, 100, getsizeof=weight_of)
    for _ in range(2000):
        cache[rng.randrange(60)] = rng.randrange(1, 30)
        assert cache.currsize == sum(cache.values()) <= 100
        if rng.random() < 0.2:
            cache.pop(rng.randrange(60), None)


def test_fractions_and_zero(make, policy_class):
    cache = make(policy_class, 1, getsizeof=weight_of)
    cache.update((key, 0.25) for key in range(4))
    cache.update(("free", key) and (("free", key), 0) for key in range(20))
    assert len(cache) == 24
    assert cache.currsize == 1
    cache["one"] = 0.25
    assert cache.currsize <= 1


def test_fractions_do_not_drift(make, policy_class, rng):
    """0.1 has no exact form; ten thousand of them come and go and the empty cache weighs 0."""
    cache = make(policy_class, 10, getsizeof=weight_of)
    for _ in range(10000):
        cache[rng.randrange(300)] = rng.choice([0.1, 0.2, 0.3, 0.7])
    cache.delete_many(list(cache))
    assert len(cache) == 0
    assert cache.currsize == pytest.approx(0, abs=1e-6)
    cache._validate()


def test_value_too_large_changes_nothing(make, policy_class):
    cache = make(policy_class, 10, getsizeof=weight_of)
    cache.update(a=3, b=4)
    before = (contents(cache), cache.coldest(), cache.currsize, cache.stats())
    for operation in (
        lambda: cache.__setitem__("a", 11),
        lambda: cache.__setitem__("c", 11),
        lambda: cache.set("c", math.inf),
        lambda: cache.add("c", 10.5),
        lambda: cache.setdefault("c", 11),
        lambda: cache.set_many({"c": 11}),
    ):
        with pytest.raises(ValueError, match="value too large"):
            operation()
        assert (contents(cache), cache.coldest(), cache.currsize) == before[:3]
    assert cache.stats().inserts == before[3].inserts


@pytest.mark.parametrize("weight", [-1, -0.5, -math.inf])
def test_negative_weight(make, policy_class, weight):
    cache = make(policy_class, 10, getsizeof=weight_of)
    cache["a"] = 3
    for key in "ab":
        with pytest.raises(ValueError, match="value size must be non-negative"):
            cache[key] = weight
    assert contents(cache) == {"a": 3}


@pytest.mark.parametrize("weight", [math.nan, "heavy", None, []], ids=repr)
def test_weight_that_is_no_number(make, policy_class, weight):
    cache = make(policy_class, 10, getsizeof=lambda value: weight if value == "bad" else value)
    cache["a"] = 3
    for key in "ab":
        with pytest.raises((TypeError, ValueError)):
            cache[key] = "bad"
    assert contents(cache) == {"a": 3}
    assert cache.currsize == 3


def test_raising_weigher(make, policy_class):
    def weigh(value):
        if value == "bad":
            raise ZeroDivisionError
        return 1

    cache = make(policy_class, 10, getsizeof=weigh)
    cache["a"] = 3
    for key in "ab":
        with pytest.raises(ZeroDivisionError):
            cache[key] = "bad"
    assert contents(cache) == {"a": 3}


def test_growth_evicts_others(make, policy_class):
    cache = make(policy_class, 10, getsizeof=weight_of)
    cache.update(a=2, b=2, c=2, d=2)
    cache["a"] = 10
    assert contents(cache) == {"a": 10}
    assert cache.currsize == 10


def test_growth_within_the_bound_evicts_nothing(make, policy_class):
    cache = make(policy_class, 10, getsizeof=weight_of)
    cache.update(a=2, b=2)
    cache["a"] = 8
    assert contents(cache) == {"a": 8, "b": 2}
    cache["a"] = 1
    assert cache.currsize == 3


def test_growth_may_evict_the_key_itself_first(make):
    """The key is the coldest; cachetools evicts it and writes it as new, and so do we."""
    log = []
    cache = make(
        hotset.FIFOCache, 10, getsizeof=weight_of, on_evict=lambda key, value, cause: log.append((key, value, cause))
    )
    cache.update(a=2, b=3, c=4)
    cache["a"] = 6
    assert contents(cache) == {"a": 6, "c": 4}
    assert cache.coldest() == [("c", 4), ("a", 6)]
    assert log == [("a", 2, "replaced"), ("b", 3, "size")]  # the key itself lives on with its new value


def test_lru_growth(make):
    cache = make(hotset.LRUCache, 10, getsizeof=weight_of)
    cache.update(a=2, b=3, c=4)
    cache["c"] = 5
    assert cache.coldest() == [("a", 2), ("b", 3), ("c", 5)]
    cache["c"] = 6
    assert cache.coldest() == [("b", 3), ("c", 6)]


def test_overridden_method(make, policy_class):
    class Sized(policy_class):
        def getsizeof(self, value):
            return len(value)

    cache = make(Sized, 10)
    cache["a"] = "four"
    cache["b"] = "sixsix"
    assert cache.currsize == 10
    cache["c"] = "x"
    assert cache.currsize == sum(map(len, cache.values())) <= 10
    with pytest.raises(ValueError, match="value too large"):
        cache["d"] = "x" * 11


def test_overridden_static_method(make, policy_class):
    class Sized(policy_class):
        @staticmethod
        def getsizeof(value):
            return 3

    cache = make(Sized, 10)
    cache.update(a=1, b=2, c=3, d=4)
    assert len(cache) == 3
    assert cache.currsize == 9


def test_argument_goes_before_method(make, policy_class):
    class Sized(policy_class):
        def getsizeof(self, value):
            return 100

    cache = make(Sized, 10, getsizeof=lambda value: 2)
    cache["a"] = 1
    assert cache.currsize == 2
    assert cache.getsizeof("x") == 2


def test_weigher_is_asked_once_a_write(make, policy_class):
    asked = []

    def weigh(value):
        asked.append(value)
        return 1

    cache = make(policy_class, 10, getsizeof=weigh)
    cache["a"] = "first"
    cache["a"] = "second"
    assert cache["a"] == "second"
    cache.pop("a")
    assert asked == ["first", "second"]


def test_a_weigher_that_uses_the_cache(make, policy_class):
    def weigh(value):
        cache.get("other")
        cache.pop("gone", None)
        len(cache)
        return 1

    cache = None
    cache = make(policy_class, 3, getsizeof=lambda value: 1 if cache is None else weigh(value))
    for key in range(20):
        cache[key] = key
        assert len(cache) <= 3


def test_heavy_value_of_an_unbounded_cache(make, policy_class):
    cache = make(policy_class, math.inf, getsizeof=weight_of)
    cache["a"] = 1e300
    cache["b"] = 1
    assert set(cache) == {"a", "b"}
