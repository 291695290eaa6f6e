"""Constructors: what they take, what they refuse, and that the refusal names the value."""

import datetime
import math
import random
import time

import pytest
from caches import FAR, build, never
from clock import FakeClock

import hotset


@pytest.mark.parametrize("maxsize", [0, 1, 2.5, 10, 2**31, 2**40, math.inf, True])
def test_maxsize_is_kept_as_given(make, policy_class, maxsize):
    assert make(policy_class, maxsize).maxsize == maxsize


@pytest.mark.parametrize("maxsize", [-1, -0.5, -math.inf, math.nan, -(10**30)])
def test_wrong_maxsize(policy_class, maxsize):
    with pytest.raises(ValueError, match=r"maxsize.*" + str(maxsize).replace("+", r"\+")):
        build(policy_class, maxsize)


@pytest.mark.parametrize("maxsize", ["10", None, [], 1j, object], ids=repr)
def test_maxsize_of_a_wrong_type(policy_class, maxsize):
    with pytest.raises(TypeError, match="maxsize") as caught:
        build(policy_class, maxsize)
    assert repr(maxsize) in str(caught.value) or type(maxsize).__name__ in str(caught.value)


@pytest.mark.parametrize("name", ["ttl", "tti"])
@pytest.mark.parametrize("value", [0, -1, -0.001, math.nan, -math.inf, datetime.timedelta(0)])
def test_wrong_lifetime(policy_class, name, value):
    with pytest.raises(ValueError, match=name) as caught:
        build(policy_class, 10, **{name: value})
    text = str(caught.value)
    assert str(value) in text or repr(value) in text


@pytest.mark.parametrize("name", ["ttl", "tti"])
@pytest.mark.parametrize("value", ["1", [], 1j], ids=repr)
def test_lifetime_of_a_wrong_type(policy_class, name, value):
    with pytest.raises(TypeError, match=name) as caught:
        build(policy_class, 10, **{name: value})
    assert repr(value) in str(caught.value) or type(value).__name__ in str(caught.value)


@pytest.mark.parametrize("name", ["getsizeof", "on_evict", "timer"])
def test_callables_are_checked(policy_class, name):
    with pytest.raises(TypeError, match=name) as caught:
        build(policy_class, 10, **{name: 42})
    assert "42" in str(caught.value) or "int" in str(caught.value)


def test_unknown_option(policy_class):
    with pytest.raises(TypeError, match="max_size"):
        build(policy_class, 10, max_size=5)


def test_maxsize_is_required(policy_class):
    with pytest.raises(TypeError):
        policy_class()


@pytest.mark.parametrize("ttl", [0.5, 10, math.inf, datetime.timedelta(seconds=3)])
def test_lifetimes_are_kept_as_given(make, policy_class, ttl, clock):
    cache = make(policy_class, 10, ttl=ttl, tti=ttl, timer=clock)
    assert cache.ttl == ttl
    assert cache.tti == ttl


def test_defaults(make, plain_class):
    cache = make(plain_class, 10)
    assert cache.ttl is None
    assert cache.tti is None
    assert cache.on_evict is None
    assert cache.timer is time.monotonic
    assert cache.getsizeof("anything") == 1


def test_attributes(make, policy_class, clock):
    def listener(key, value, cause):
        """Do nothing."""

    cache = make(policy_class, 10, getsizeof=len, timer=clock, on_evict=listener)
    assert cache.timer is clock
    assert cache.on_evict is listener
    assert cache.getsizeof("four") == 4


@pytest.mark.parametrize("name", ["maxsize", "currsize"])
def test_sizes_are_read_only(make, policy_class, name):
    with pytest.raises(AttributeError):
        setattr(make(policy_class), name, 5)


def test_signature_of_the_plain_classes(make):
    for cls in (hotset.LRUCache, hotset.LFUCache, hotset.ARCCache, hotset.TinyLFUCache, hotset.FIFOCache, hotset.Cache):
        assert make_size(cls(5, len)) == (5, 4)
        assert make_size(cls(maxsize=5, getsizeof=len)) == (5, 4)
        with pytest.raises(TypeError):
            cls(5, len, 10)


def make_size(cache):
    """Return the maximum size and what the cache's weigher says of a value of length 4."""
    return cache.maxsize, cache.getsizeof("four")


def test_signature_of_rr():
    assert make_size(hotset.RRCache(5, random.choice, len)) == (5, 4)
    assert make_size(hotset.RRCache(maxsize=5, choice=min, getsizeof=len)) == (5, 4)
    assert hotset.RRCache(5, min).choice is min
    assert hotset.RRCache(5).choice is random.choice
    with pytest.raises(TypeError, match="choice"):
        hotset.RRCache(5, 42)


def test_signature_of_ttl():
    clock = FakeClock()
    cache = hotset.TTLCache(5, 10, clock, len)
    assert make_size(cache) == (5, 4)
    assert cache.ttl == 10
    assert cache.timer is clock
    cache = hotset.TTLCache(maxsize=5, ttl=10, timer=clock, getsizeof=len, tti=3)
    assert cache.tti == 3
    with pytest.raises(TypeError):
        hotset.TTLCache(5)


def test_signature_of_tlru():
    clock = FakeClock()
    cache = hotset.TLRUCache(5, never, clock, len)
    assert make_size(cache) == (5, 4)
    assert cache.ttu is never
    cache = hotset.TLRUCache(maxsize=5, ttu=never, timer=clock, getsizeof=len, ttl=FAR, tti=3)
    assert cache.ttl == FAR
    with pytest.raises(TypeError):
        hotset.TLRUCache(5)
    with pytest.raises(TypeError, match="ttu"):
        hotset.TLRUCache(5, 42)


def test_huge_capacity_costs_nothing_up_front(make, policy_class):
    """2**62 entries must neither be allocated nor overflow."""
    cache = make(policy_class, 2**62)
    cache.update((key, key) for key in range(2000))
    assert len(cache) == 2000
    assert cache.maxsize == 2**62


def test_infinite_capacity(make, policy_class):
    cache = make(policy_class, math.inf)
    cache.update((key, key) for key in range(5000))
    for key in range(0, 5000, 7):
        assert cache[key] == key
    assert len(cache) == cache.currsize == 5000
    assert cache.stats().evictions == 0


def test_fractional_capacity(make, policy_class):
    """2.5 holds two unit entries, as the arithmetic says."""
    cache = make(policy_class, 2.5)
    cache.update((key, key) for key in range(10))
    assert len(cache) == 2
    cache = make(policy_class, 0.5)
    with pytest.raises(ValueError, match="value too large"):
        cache[1] = 1


def test_init_again_does_not_corrupt(make, policy_class):
    """`cache.__init__` on a cache in use is legal Python; whatever it does, the structure stays valid."""
    cache = make(policy_class, 4)
    cache.update((key, key) for key in range(4))
    options = {"ttl": 5} if policy_class is hotset.TTLCache else {}
    if policy_class is hotset.TLRUCache:
        options = {"ttu": never}
    try:
        cache.__init__(2, **options)
    except (RuntimeError, TypeError):
        assert len(cache) == 4
        return
    assert cache.maxsize == 2
    assert len(cache) <= 2
    cache._validate()


def test_new_without_init_does_not_crash(policy_class):
    cache = policy_class.__new__(policy_class)
    try:
        cache["k"] = 1
        assert cache["k"] == 1
    except (RuntimeError, ValueError, TypeError):
        assert len(list(cache)) == 0
    repr(cache)
    del cache
