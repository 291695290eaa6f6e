"""copy, deepcopy, pickle: contents, policy state, deadlines, options, subclass attributes."""

import copy
import math
import pickle

import pytest
from caches import CLASSES, build, contents, never, one, weight_of
from clock import FakeClock

import hotset

EXACT = (hotset.LRUCache, hotset.LFUCache, hotset.FIFOCache, hotset.TTLCache, hotset.TLRUCache)


def by_pickle(protocol):
    """A copier through one pickle protocol."""
    return lambda cache: pickle.loads(pickle.dumps(cache, protocol))


COPIERS = {
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "method": lambda cache: cache.copy(),
    **{f"pickle {protocol}": by_pickle(protocol) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.fixture(params=COPIERS.values(), ids=COPIERS)
def duplicate(request, make):
    """Every way to copy; the copy is validated like its original."""

    def duplicate(cache):
        twin = request.param(cache)
        make.adopt(twin)
        return twin

    return duplicate


class Named:
    """A subclass with attributes of its own, for each class below."""

    label = "class"

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.tags = ["new"]


SUBCLASSES = {cls: type(f"Named{cls.__name__}", (Named, cls), {"__module__": __name__}) for cls in CLASSES}
globals().update({cls.__name__: cls for cls in SUBCLASSES.values()})


class Slotted(hotset.LRUCache):
    """A subclass with slots and no dict of its own."""

    __slots__ = ("extra",)


def listen(key, value, cause):
    """A listener that pickles by name."""


def used(make, cls, maxsize=8, **options):
    """A full cache with uses behind it, so that its order is not that of insertion."""
    cache = make(cls, maxsize, **options)
    cache.update((key, [key]) for key in range(maxsize))
    for key in (3, 3, 5, 0, 3, 5, 1):
        cache[key]
    return cache


def test_same_class_contents_and_options(make, policy_class, duplicate, clock):
    cache = used(make, policy_class, getsizeof=one, timer=clock, on_evict=listen, ttl=50.0, tti=40.0)
    twin = duplicate(cache)
    assert type(twin) is policy_class
    assert twin == cache
    assert contents(twin) == {key: [key] for key in range(8)}
    assert (twin.maxsize, twin.currsize, twin.ttl, twin.tti) == (8, 8, 50.0, 40.0)
    assert twin.on_evict is listen
    assert twin.timer() == clock.now
    assert twin.getsizeof("x") == 1


def test_copies_are_independent(make, policy_class, duplicate):
    cache = used(make, policy_class)
    twin = duplicate(cache)
    before = contents(cache)
    twin.clear()
    twin["other"] = 1
    assert contents(cache) == before
    twin = duplicate(cache)
    cache.clear()
    assert contents(twin) == before


def test_policy_order_survives(make, duplicate):
    for cls in EXACT:
        cache = used(make, cls)
        twin = duplicate(cache)
        assert twin.coldest() == cache.coldest()
        assert [twin.popitem() for _ in range(8)] == [cache.popitem() for _ in range(8)]


def test_approximate_order_survives(make, policy_class, duplicate):
    cache = used(make, policy_class)
    twin = duplicate(cache)
    if policy_class is not hotset.RRCache:
        assert [key for key, _ in twin.coldest()] == [key for key, _ in cache.coldest()]


def test_frequencies_survive(make, duplicate):
    """Not only the order: a later use must tie and overtake as in the original."""
    cache = make(hotset.LFUCache, 3)
    cache.update(a=1, b=2, c=3)
    for _ in range(5):
        cache["a"]
    cache["b"], cache["b"]
    twin = duplicate(cache)
    for each in (cache, twin):
        for _ in range(3):
            each["b"]
            each["c"]
        each["d"] = 4
        assert [key for key, _ in each.coldest()] == ["d", "a", "b"]


def test_many_frequencies(make, duplicate):
    """As many counts as entries: neither recursion nor a lost bucket."""
    cache = make(hotset.LFUCache, 1500)
    for key in range(1500):
        cache[key] = key
        for _ in range(key % 400):
            cache[key]
    twin = duplicate(cache)
    assert twin.coldest() == cache.coldest()


def test_a_large_cache(make, policy_class, duplicate):
    cache = make(policy_class, 20000)
    cache.update((str(key), key) for key in range(20000))
    assert duplicate(cache) == cache


def test_deadlines_survive(make, policy_class, duplicate):
    cache = make(policy_class, 10, ttl=10, timer=FakeClock())
    cache["usual"] = 1
    cache.set("short", 2, ttl=3)
    cache.set("long", 3, ttl=300)
    cache.timer.advance(2)
    twin = duplicate(cache)
    clock = twin.timer
    assert set(twin) == {"usual", "short", "long"}
    clock.advance(1)
    assert set(twin) == {"usual", "long"}
    clock.advance(7)
    assert set(twin) == {"long"}
    clock.advance(290)
    assert not twin


def test_datetime_deadlines_survive(make, policy_class, duplicate, calendar):
    cache = make(policy_class, 10, ttl=10, timer=calendar)
    cache["k"] = 1
    twin = duplicate(cache)
    twin.timer.advance(9)
    assert twin["k"] == 1
    twin.timer.advance(1)
    assert "k" not in twin


def test_the_expired_are_not_copied(make, policy_class, duplicate, clock):
    cache = make(policy_class, 10, ttl=10, timer=clock)
    cache["old"] = 1
    clock.advance(9)
    cache["young"] = 2
    clock.advance(1)
    twin = duplicate(cache)
    assert contents(twin) == {"young": 2}
    assert contents(cache) == {"young": 2}


def test_weights_survive(make, policy_class, duplicate):
    cache = make(policy_class, 20, getsizeof=weight_of)
    cache.update(a=5, b=7)
    twin = duplicate(cache)
    assert twin.currsize == 12
    del twin["b"]
    assert twin.currsize == 5


def test_idle_time_survives(make, policy_class, duplicate):
    cache = make(policy_class, 10, tti=10, timer=FakeClock())
    cache["k"] = 1
    cache.timer.advance(4)
    copied, twin = duplicate(cache), duplicate(cache)
    copied.timer.now = 1000.0 + 9.9
    assert "k" in copied
    copied.timer.now = 1000.0 + 10
    assert "k" not in copied  # a copy is no use of the entry
    twin.timer.now = 1000.0 + 9
    assert twin["k"] == 1
    twin.timer.advance(9)
    assert "k" in twin
    twin.timer.advance(1)
    assert "k" not in twin


def test_subclass_attributes_survive(make, policy_class, duplicate):
    cache = make(SUBCLASSES[policy_class], 5)
    cache["k"] = 1
    cache.tags.append("used")
    cache.note = "mine"
    twin = duplicate(cache)
    assert type(twin) is SUBCLASSES[policy_class]
    assert twin.tags == ["new", "used"]
    assert twin.note == "mine"
    assert contents(twin) == {"k": 1}


def test_slots_survive(make, duplicate):
    cache = make(Slotted, 5)
    cache["k"] = 1
    cache.extra = "x"
    twin = duplicate(cache)
    assert contents(twin) == {"k": 1}
    assert twin.extra == "x"


def test_shallow_and_deep(make, policy_class):
    cache = used(make, policy_class)
    assert copy.copy(cache).peek(3) is cache.peek(3)
    assert cache.copy().peek(3) is cache.peek(3)
    deep = copy.deepcopy(cache).peek(3)
    assert deep == cache.peek(3)
    assert deep is not cache.peek(3)


def test_a_cache_in_itself(make, policy_class):
    cache = make(policy_class, 5)
    cache["self"] = cache
    for twin in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert twin.peek("self") is twin
        twin.clear()
    cache.clear()


def test_unpicklable_contents_say_so(make, policy_class):
    cache = make(policy_class, 5)
    cache["k"] = lambda: None
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        pickle.dumps(cache)
    assert len(cache) == 1


def test_stats_of_a_copy_start_at_zero_or_agree(make, policy_class, duplicate):
    cache = used(make, policy_class)
    assert duplicate(cache).stats() in {cache.stats(), (0,) * 10}


def test_copying_does_not_touch_the_original(make, policy_class, duplicate):
    told = []
    cache = used(make, policy_class, on_evict=listen)
    before = (cache.coldest(), cache.stats())
    duplicate(cache)
    assert (cache.coldest(), cache.stats()) == before
    assert told == []


def test_infinite_capacity(make, policy_class, duplicate):
    cache = make(policy_class, math.inf)
    cache["k"] = 1
    twin = duplicate(cache)
    assert twin.maxsize == math.inf
    assert contents(twin) == {"k": 1}


def test_rr_keeps_its_choice(make, duplicate):
    cache = make(hotset.RRCache, 3, choice=min)
    cache.update({1: 1, 2: 2, 3: 3})
    twin = duplicate(cache)
    assert twin.choice is min
    twin[0] = 0
    assert set(twin) == {0, 2, 3}


def test_tlru_keeps_its_ttu(make, duplicate):
    cache = make(hotset.TLRUCache, 3)
    assert duplicate(cache).ttu is never


def test_copies_go_on_like_their_original(make, policy_class, duplicate, rng):
    """The same operations on both give the same results; RR draws, so it is bound to bounds only."""
    cache = used(make, policy_class, 30)
    twin = duplicate(cache)
    for step in range(500):
        key = rng.randrange(60)
        results = []
        for each in (cache, twin):
            if each.get(key) is None:
                each[key] = [step]
            results.append(len(each))
        assert results == [30, 30]
    if policy_class in EXACT:
        assert twin.coldest() == cache.coldest()


@pytest.mark.parametrize("junk", [None, 5, {}, (), [], ("x",) * 3, {"entries": 5}, (None, None, None)], ids=repr)
def test_setstate_of_junk_raises_or_is_ignored(policy_class, junk):
    """A damaged pickle must not crash the interpreter."""
    cache = build(policy_class, 3)
    cache["k"] = 1
    try:
        cache.__setstate__(junk)
    except Exception:
        pass
    cache._validate()
    list(cache.items())


def test_truncated_pickles_raise(make, policy_class):
    data = pickle.dumps(used(make, policy_class))
    for end in range(0, len(data), max(1, len(data) // 150)):
        try:
            twin = pickle.loads(data[:end])
        except Exception:
            continue
        twin._validate()
