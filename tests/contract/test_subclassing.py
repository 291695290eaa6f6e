"""Subclasses: which overrides the engine honours, as cachetools' users know them."""

import pytest
from caches import contents, weight_of


def test_plain_subclass(make, policy_class):
    class Mine(policy_class):
        """Nothing of its own."""

    cache = make(Mine, 3)
    cache.update((key, key) for key in range(10))
    cache.name = "attributes are allowed"
    assert len(cache) == 3
    assert repr(cache).startswith("Mine(")
    assert isinstance(cache, policy_class)
    assert cache.name == "attributes are allowed"


def test_own_init(make, policy_class):
    class Mine(policy_class):
        def __init__(self, name, *args, **options):
            super().__init__(*args, **options)
            self.name = name

    options = {"ttl": 100} if policy_class.__name__ == "TTLCache" else {}
    if policy_class.__name__ == "TLRUCache":
        options = {"ttu": lambda key, value, now: now + 100}
    cache = Mine("n", 3, **options)
    make.adopt(cache)
    cache["k"] = 1
    assert (cache.name, cache.maxsize, contents(cache)) == ("n", 3, {"k": 1})


def test_missing_that_stores(make, policy_class):
    class Squares(policy_class):
        def __missing__(self, key):
            self[key] = value = key * key
            return value

    cache = make(Squares, 2)
    assert [cache[key] for key in range(5)] == [0, 1, 4, 9, 16]
    assert len(cache) == 2
    for key, value in cache.items():
        assert value == key * key


def test_missing_that_does_not_store(make, policy_class):
    class Default(policy_class):
        def __missing__(self, key):
            return f"no {key}"

    cache = make(Default, 2)
    assert cache["k"] == "no k"
    assert len(cache) == 0


def test_missing_is_for_brackets_only(make, policy_class):
    class Never(policy_class):
        def __missing__(self, key):
            raise AssertionError("called")

    cache = make(Never, 2)
    assert cache.get("k") is None
    assert cache.pop("k", 5) == 5
    assert "k" not in cache
    assert cache.setdefault("k", 1) == 1
    assert cache.peek("x") is None
    assert cache.get_many(["x"]) == {}
    assert cache.get_or_load("l", str) == "l"
    with pytest.raises(KeyError):
        cache.pop("x")
    with pytest.raises(AssertionError, match="called"):
        cache["x"]


def test_missing_of_an_expired_key(make, policy_class, clock):
    class Fresh(policy_class):
        def __missing__(self, key):
            return "fresh"

    cache = make(Fresh, 2, ttl=5, timer=clock)
    cache["k"] = "stale"
    clock.advance(5)
    assert cache["k"] == "fresh"


def test_missing_that_raises(make, policy_class):
    class Strict(policy_class):
        def __missing__(self, key):
            raise LookupError(key)

    with pytest.raises(LookupError):
        make(Strict, 2)["k"]


def test_popitem_override_sees_evictions(make, policy_class):
    """cachetools' documented way to hear of evictions."""

    class Noisy(policy_class):
        def popitem(self):
            key, value = super().popitem()
            evicted.append((key, value))
            return key, value

    evicted = []
    cache = make(Noisy, 2)
    for key in range(5):
        cache[key] = key
    assert len(evicted) == 3
    assert {key for key, _ in evicted} | set(cache) == set(range(5))


def test_popitem_override_chooses(make, policy_class):
    """An override may pick another victim than the policy."""

    class Largest(policy_class):
        def popitem(self):
            key = max(self)
            return key, self.pop(key)

    cache = make(Largest, 3)
    for key in (5, 1, 9, 2, 3):
        cache[key] = key
    assert set(cache) == {1, 2, 3}


def test_popitem_override_serves_weights(make, policy_class):
    class Noisy(policy_class):
        def popitem(self):
            item = super().popitem()
            evicted.append(item)
            return item

    evicted = []
    cache = make(Noisy, 10, getsizeof=weight_of)
    cache.update(a=3, b=3, c=3)
    cache["d"] = 10
    assert contents(cache) == {"d": 10}
    assert sorted(evicted) == [("a", 3), ("b", 3), ("c", 3)]


def test_popitem_override_that_frees_nothing(make, policy_class):
    """An override that does not remove anything must not hang the set for ever."""

    class Stubborn(policy_class):
        def popitem(self):
            raise KeyError("nothing for you")

    cache = make(Stubborn, 2)
    cache.update(a=1, b=2)
    with pytest.raises(KeyError, match="nothing for you"):
        cache["c"] = 3
    assert contents(cache) == {"a": 1, "b": 2}


def test_overridden_brackets_work_through_super(make, policy_class):
    class Doubling(policy_class):
        def __setitem__(self, key, value):
            super().__setitem__(key, value * 2)

        def __getitem__(self, key):
            return super().__getitem__(key) + 1

        def __delitem__(self, key):
            deleted.append(key)
            super().__delitem__(key)

        def __contains__(self, key):
            return key == "magic" or super().__contains__(key)

    deleted = []
    cache = make(Doubling, 3)
    cache["k"] = 5
    assert cache["k"] == 11
    assert "magic" in cache
    del cache["k"]
    assert deleted == ["k"]


def test_multiple_inheritance(make, policy_class):
    class Mixin:
        def shout(self):
            return f"{type(self).__name__}!"

    class Both(Mixin, policy_class):
        """A mixin in front."""

    cache = make(Both, 3)
    cache["k"] = 1
    assert cache.shout() == "Both!"
    assert contents(cache) == {"k": 1}


def test_slots(make, policy_class):
    class Slotted(policy_class):
        __slots__ = ("extra",)

    cache = make(Slotted, 3)
    cache.extra = 5
    cache["k"] = 1
    assert (cache.extra, contents(cache)) == (5, {"k": 1})


def test_classes_of_different_layout_do_not_mix(policy_class):
    with pytest.raises(TypeError):
        type("Bad", (policy_class, int), {})


def test_weak_references(make, policy_class):
    import weakref

    cache = make(policy_class, 3)
    assert weakref.ref(cache)() is cache
