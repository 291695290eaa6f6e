"""Costs, priorities and pins: what a policy that goes by worth makes of them, and what others say to them."""

import copy
import math
import pickle

import pytest
from caches import contents, weight_of
from oracles import GDSF

import hotset

OTHERS = [cls for name, cls in hotset.POLICIES.items() if name != "gdsf"]


@pytest.fixture
def cache(make):
    """Three places."""
    return make(hotset.GDSFCache, 3)


def test_the_expensive_stays(cache):
    cache.set("dear", 1, cost=10)
    for number in range(9):
        cache[number] = number
    assert "dear" in cache
    assert cache.hottest(1) == [("dear", 1)]


def test_the_expensive_goes_in_time(cache):
    """Each eviction ages what is not used: ten times the cost is no pin."""
    cache.set("dear", 1, cost=10)
    for number in range(40):
        cache[number] = number
    assert "dear" not in cache


def test_priority_is_a_factor(cache):
    cache.set("both", 1, cost=2, priority=3)
    cache.set("cost", 1, cost=5)
    cache.set("priority", 1, priority=7)
    assert [key for key, _ in cache.coldest()] == ["cost", "both", "priority"]


def test_the_large_go_first(make):
    cache = make(hotset.GDSFCache, 100, getsizeof=weight_of)
    cache.update({"large": 60, "small": 30})
    cache["new"] = 20
    assert contents(cache) == {"small": 30, "new": 20}


def test_size_and_cost_make_up_for_each_other(make):
    cache = make(hotset.GDSFCache, 100, getsizeof=weight_of)
    cache.set("large", 60, cost=60)
    cache.set("small", 30, cost=1)
    cache["new"] = 20
    assert contents(cache) == {"large": 60, "new": 20}


def test_a_write_keeps_what_is_not_said(cache):
    cache.set("dear", 1, cost=10)
    cache["dear"] = 2
    cache.set("dear", 3)
    cache.update(a=1, b=1, c=1, d=1)
    assert cache.peek("dear") == 3


def test_a_write_that_grows_keeps_it_too(make):
    """Also where the entry itself is the victim that makes the room."""
    cache = make(hotset.GDSFCache, 10, getsizeof=weight_of)
    cache.set("cheap", 2, cost=0)
    cache["other"] = 8
    cache["cheap"] = 3
    assert contents(cache) == {"cheap": 3}
    cache["new"] = 6
    cache["more"] = 4
    assert contents(cache) == {"new": 6, "more": 4}


def test_a_cost_of_nothing_goes_first(cache):
    cache.set("free", 1, cost=0)
    cache.update(a=1, b=2)
    for _ in range(5):
        cache["free"]
    cache["c"] = 3
    assert "free" not in cache


def test_add(cache):
    assert cache.add("k", 1, cost=9, priority=math.inf) is True
    assert cache.add("k", 2, cost=1, priority=1) is False
    cache.update((number, number) for number in range(200))
    assert cache["k"] == 1


def test_ttl_and_worth(make, clock):
    cache = make(hotset.GDSFCache, 3, timer=clock)
    cache.set("k", 1, 5, cost=3)
    cache.set("p", 1, ttl=5, priority=math.inf)
    clock.advance(5)
    assert len(cache) == 0


class TestPins:
    """An infinite priority."""

    def test_it_stays(self, cache):
        cache.set("pin", 1, priority=math.inf)
        for number in range(1000):
            cache[number] = number
        assert cache.peek("pin") == 1
        assert len(cache) == 3
        assert cache.hottest(1) == [("pin", 1)]

    def test_it_is_deleted_and_cleared(self, cache):
        cache.set("pin", 1, priority=math.inf)
        del cache["pin"]
        cache.set("pin", 1, priority=math.inf)
        cache.clear()
        cache.update(a=1, b=2, c=3, d=4)
        assert len(cache) == 3

    def test_nothing_but_pins(self, cache):
        for key in "abc":
            cache.set(key, key, priority=math.inf)
        before, stats = cache.coldest(), cache.stats()
        for write in (
            lambda: cache.set("d", 1),
            lambda: cache.set("d", 1, priority=math.inf),
            lambda: cache.add("d", 1),
            lambda: cache.__setitem__("d", 1),
            lambda: cache.setdefault("d", 1),
            lambda: cache.update(d=1),
        ):
            with pytest.raises(ValueError, match="pinned entries leave no room"):
                write()
        with pytest.raises(KeyError, match="has only pinned entries"):
            cache.popitem()
        assert cache.coldest() == before
        assert cache.stats().evictions == stats.evictions == 0
        assert cache.get_or_load("d", str) == "d"  # returned, not stored
        assert "d" not in cache
        cache["a"] = "new"
        cache.set("a", "loose", priority=1)
        cache["d"] = 1
        assert set(cache) == {"b", "c", "d"}

    def test_room_is_refused_before_anything_is_evicted(self, make):
        cache = make(hotset.GDSFCache, 10, getsizeof=weight_of)
        cache.set("pin", 6, priority=math.inf)
        cache["loose"] = 3
        with pytest.raises(ValueError, match="pinned entries leave no room"):
            cache["new"] = 5
        with pytest.raises(ValueError, match="pinned entries leave no room"):
            cache["loose"] = 5
        assert contents(cache) == {"pin": 6, "loose": 3}
        cache["pin"] = 8
        assert contents(cache) == {"pin": 8}
        cache["pin"] = 2
        cache["new"] = 8
        assert contents(cache) == {"pin": 2, "new": 8}

    def test_resize(self, cache):
        cache.set("a", 1, priority=math.inf)
        cache.set("b", 1, priority=math.inf)
        cache["c"] = 1
        with pytest.raises(ValueError, match="pinned entries do not fit in a maxsize of 1"):
            cache.resize(1)
        assert cache.maxsize == len(cache) == 3
        cache.resize(2)
        assert set(cache) == {"a", "b"}

    def test_touch_and_reads_keep_it(self, cache):
        cache.set("pin", 1, priority=math.inf)
        cache["pin"], cache.touch("pin"), cache.get("pin")
        cache.update((number, number) for number in range(50))
        assert "pin" in cache

    @pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))])
    def test_copies_keep_it(self, make, cache, how):
        cache.set("pin", 1, priority=math.inf)
        cache.set("dear", 1, cost=50)
        cache["cheap"] = 1
        clone = how(cache)
        make.adopt(clone)
        assert clone.coldest() == cache.coldest()
        for number in range(20):
            clone[number] = number
        assert {"pin", "dear"} <= set(clone)
        clone.update((number, number) for number in range(100))
        assert "pin" in clone
        assert "dear" not in clone


@pytest.mark.parametrize("name", ["cost", "priority"])
@pytest.mark.parametrize("wrong", [-1, -math.inf, math.nan])
def test_wrong_number(cache, name, wrong):
    with pytest.raises(ValueError, match=f"{name} must be non-negative.*{wrong}"):
        cache.set("k", 1, **{name: wrong})
    assert len(cache) == 0


def test_a_cost_is_finite(cache):
    with pytest.raises(ValueError, match="cost must be non-negative and finite, got inf"):
        cache.set("k", 1, cost=math.inf)


@pytest.mark.parametrize("name", ["cost", "priority"])
def test_wrong_type(cache, name):
    with pytest.raises(TypeError, match=f"{name} must be a number, got 'x'"):
        cache.set("k", 1, **{name: "x"})
    with pytest.raises(TypeError, match=f"{name} must be a number"):
        cache.add("k", 1, **{name: "x"})


@pytest.mark.parametrize("cls", OTHERS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("name", ["cost", "priority"])
def test_others_have_no_such_parameter(make, cls, name):
    cache = make(cls, 3)
    for write in (cache.set, cache.add):
        with pytest.raises(TypeError, match=name):
            write("k", 1, **{name: 1})
    assert len(cache) == 0


def test_huge_worths_are_no_pins(cache):
    cache.set("k", 1, cost=1e300, priority=1e300)
    cache.update(a=1, b=2)
    for key in "abc":
        cache.set(key, 1, cost=1e308)
    cache._validate()
    cache.popitem()


def test_every_decision_is_the_oracle_s(make, rng):
    """Random reads, writes, costs, pins, deletes and sizes: the same order at each step."""
    for capacity in (3, 20, 90):
        sizes = {key: rng.choice([0, 1, 1, 2, 4, 8]) for key in range(capacity + 6)}
        if capacity == 3:
            sizes = dict.fromkeys(sizes, 1)
        cache = make(hotset.GDSFCache, capacity, getsizeof=lambda value: value[0])
        oracle = GDSF(capacity, sizes.__getitem__)
        for step in range(4000):
            key = rng.choice(list(sizes))
            choice = rng.random()
            if choice < 0.5:
                if cache.get(key) is not None:
                    oracle.hit(key)
            elif choice < 0.9:
                cost = rng.choice([None, None, 0, 1, 2, 0.5, 100])
                priority = rng.choice([None, None, None, 1, 4, math.inf if rng.random() < 0.1 else 2])
                given = cost is not None or priority is not None
                worth = (1 if cost is None else cost) * (1 if priority is None else priority)
                worth = math.inf if priority == math.inf else worth
                if sizes[key] > capacity:
                    continue
                held = sum(sizes[other] for other, mine in oracle.worths.items() if mine == math.inf and other != key)
                if held + sizes[key] > capacity:
                    with pytest.raises(ValueError, match="pinned"):
                        cache.set(key, (sizes[key], step), cost=cost, priority=priority)
                    continue
                cache.set(key, (sizes[key], step), cost=cost, priority=priority)
                if key in oracle.resident:
                    oracle.update(key)
                else:
                    while sum(map(sizes.__getitem__, oracle.resident)) + sizes[key] > capacity:
                        oracle.remove(oracle.victim(), evicted=True)
                    oracle.insert(key)
                if given:
                    oracle.appraise(key, worth)
            else:
                assert (cache.pop(key, None) is not None) == (key in oracle.resident)
                if key in oracle.resident:
                    oracle.remove(key, evicted=False)
            assert [key for key, _ in cache.coldest()] == oracle.order(), step
            cache._validate()
