"""Statistics and the removal listener: what is counted, what is told, in which order."""

import sys

import pytest
from caches import contents, weight_of

import hotset


class Log(list):
    """A listener that remembers."""

    def __call__(self, key, value, cause):
        self.append((key, value, cause))


def test_fresh_stats(make, policy_class):
    stats = make(policy_class).stats()
    assert stats == (0,) * 10
    assert stats._fields == (
        "hits",
        "misses",
        "inserts",
        "updates",
        "evictions",
        "expirations",
        "deletions",
        "replacements",
        "loads",
        "load_failures",
    )
    assert stats.requests == 0
    assert stats.hit_ratio == 0.0
    assert isinstance(stats, hotset.CacheStats)


def test_hits_and_misses(make, policy_class):
    cache = make(policy_class)
    cache["k"] = 1
    assert cache["k"] == cache.get("k") == 1
    assert cache.get("x") is None
    with pytest.raises(KeyError):
        cache["x"]
    assert cache.get_many(["k", "x", "y"]) == {"k": 1}
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.requests) == (3, 4, 7)
    assert stats.hit_ratio == 3 / 7


def test_looking_is_not_counted(make, policy_class):
    cache = make(policy_class)
    cache["k"] = 1
    before = cache.stats()
    assert "k" in cache
    assert "x" not in cache
    cache.peek("k")
    cache.peek("x")
    assert len(cache) == 1
    list(cache)
    list(cache.items())
    list(cache.values())
    cache.hottest()
    cache.coldest(1)
    cache.expire()
    repr(cache)
    assert cache == {"k": 1}
    cache.copy()
    assert cache.stats() == before


def test_writes(make, policy_class):
    cache = make(policy_class, 2)
    cache["a"] = 1
    cache.set("a", 2)
    cache.add("a", 3)
    cache.set_many({"a": 4, "b": 5})
    cache["c"] = 6
    stats = cache.stats()
    assert (stats.inserts, stats.updates, stats.replacements, stats.evictions) == (3, 2, 2, 1)


def test_deletions(make, policy_class):
    cache = make(policy_class, 10)
    cache.update((key, key) for key in range(10))
    del cache[0]
    cache.pop(1)
    cache.pop(1, None)
    cache.popitem()
    cache.delete_many([*cache.keys()][:2])
    assert cache.stats().deletions == 5
    cache.clear()
    assert cache.stats().deletions == 10


def test_loads(make, policy_class):
    cache = make(policy_class)
    cache.get_or_load(1, str)
    cache.get_or_load(1, str)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_load(2, lambda key: 1 / 0)
    stats = cache.stats()
    assert (stats.hits, stats.misses) == (1, 2)
    assert (stats.loads, stats.load_failures, stats.inserts) == (2, 1, 1)  # a failed load is a load


def test_expirations(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=5, timer=clock)
    cache.update(a=1, b=2)
    clock.advance(5)
    assert cache.get("a") is None
    cache.expire()
    stats = cache.stats()
    assert stats.expirations == 2
    assert stats.misses == 1


def test_evictions_by_resize(make, policy_class):
    cache = make(policy_class, 10)
    cache.update((key, key) for key in range(10))
    cache.resize(3)
    assert cache.stats().evictions == 7


def test_by_cause(make, policy_class, clock):
    cache = make(policy_class, 2, timer=clock)
    cache["a"] = 1
    cache["a"] = 2
    cache.set("b", 1, ttl=1)
    clock.advance(1)
    cache.expire()
    cache.update(c=1, d=1)
    cache.clear()
    assert cache.stats().by_cause == {"explicit": 2, "replaced": 1, "expired": 1, "size": 1}


def test_reset(make, policy_class):
    cache = make(policy_class)
    cache["k"] = 1
    cache.get("k")
    told = cache.stats(reset=True)
    assert (told.hits, told.inserts) == (1, 1)
    assert cache.stats() == (0,) * 10
    assert contents(cache) == {"k": 1}
    cache.get("k")
    assert cache.stats().hits == 1


def test_stats_is_a_snapshot(make, policy_class):
    cache = make(policy_class)
    before = cache.stats()
    cache.get("k")
    assert before.misses == 0


class TestListener:
    """on_evict(key, value, cause)."""

    def test_causes(self, make, policy_class, clock):
        log = Log()
        cache = make(policy_class, 10, ttl=10, timer=clock, on_evict=log)
        cache.update(a=1, b=2, c=3, d=4, e=5)
        assert log == []
        cache["a"] = 10
        assert log == [("a", 1, "replaced")]
        log.clear()
        del cache["a"]
        cache.pop("b")
        cache.delete_many(["c", "x"])
        assert log == [("a", 10, "explicit"), ("b", 2, "explicit"), ("c", 3, "explicit")]
        log.clear()
        key, value = cache.popitem()
        assert log == [(key, value, "explicit")]
        rest = contents(cache)
        log.clear()
        cache.clear()
        assert log == [(key, value, "explicit") for key, value in rest.items()]
        log.clear()
        cache["t"] = 1
        clock.advance(10)
        cache.expire()
        assert log == [("t", 1, "expired")]

    def test_size(self, make, policy_class):
        log = Log()
        cache = make(policy_class, 1, on_evict=log)
        cache["a"] = 1
        cache["b"] = 2
        assert log in ([("a", 1, "size")], [("b", 2, "size")])
        assert len(cache) == 1

    def test_nothing_is_told_twice_or_forgotten(self, make, policy_class, clock, rng):
        """Every value that was stored is in the cache or has been told exactly once."""
        log = Log()
        cache = make(policy_class, 20, ttl=30, timer=clock, on_evict=log)
        stored = []
        for step in range(4000):
            choice = rng.random()
            key = rng.randrange(60)
            if choice < 0.6:
                cache.set(key, step, ttl=rng.choice([None, 1, 5, 100]))
                stored.append(step)
            elif choice < 0.7:
                cache.pop(key, None)
            elif choice < 0.9:
                cache.get(key)
            elif choice < 0.91:
                cache.resize(rng.randrange(1, 40))
            elif choice < 0.915:
                cache.clear()
            else:
                clock.advance(1)
        cache.expire()
        told = [value for _, value, _ in log]
        assert sorted(told + list(cache.values())) == stored

    def test_expired_entries_are_told_as_expired(self, make, policy_class, clock):
        """Whatever operation trips over a dead entry, the cause is its age."""
        operations = {
            "get": lambda cache: cache.get("k"),
            "set": lambda cache: cache.set("k", 2),
            "add": lambda cache: cache.add("k", 2),
            "pop": lambda cache: cache.pop("k", None),
            "resize": lambda cache: cache.resize(0),
            "clear": lambda cache: cache.clear(),
            "setdefault": lambda cache: cache.setdefault("k", 2),
            "load": lambda cache: cache.get_or_load("k", str),
        }
        for name, operation in operations.items():
            log = Log()
            cache = make(policy_class, 2, ttl=5, timer=clock, on_evict=log)
            cache["k"] = 1
            clock.advance(5)
            operation(cache)
            cache.expire()
            assert ("k", 1, "expired") in log, name
            assert [entry[1] for entry in log].count(1) == 1, name

    def test_called_after_the_mutation(self, make, policy_class):
        seen = []
        cache = make(policy_class, 2, on_evict=lambda key, value, cause: seen.append((len(cache), key in cache)))
        cache["a"] = 1
        del cache["a"]
        assert seen == [(0, False)]
        cache.update(a=1, b=2)
        cache.clear()
        assert seen[1:] == [(0, False), (0, False)]

    def test_replaced_sees_the_new_value(self, make, policy_class):
        seen = []
        cache = make(policy_class, 2, on_evict=lambda key, value, cause: seen.append(cache.peek(key)))
        cache["a"] = 1
        cache["a"] = 2
        assert seen == [2]

    def test_may_use_the_cache(self, make, policy_class):
        """A victim cache: the listener writes what was evicted back under another name."""

        def listener(key, value, cause):
            if cause == "size" and not isinstance(key, tuple):
                cache["kept", key] = value

        cache = make(policy_class, 4, on_evict=listener)
        for key in range(100):
            cache[key] = key
            assert len(cache) <= 4
        cache._validate()

    def test_an_error_is_unraisable_and_the_operation_stands(self, make, policy_class, monkeypatch):
        caught = []
        monkeypatch.setattr(sys, "unraisablehook", lambda info: caught.append(info.exc_value))

        def listener(key, value, cause):
            raise ValueError(f"from the listener: {key}")

        cache = make(policy_class, 2, on_evict=listener)
        cache["a"] = 1
        cache["a"] = 2
        del cache["a"]
        cache.update(b=1, c=2)
        cache.resize(1)
        cache.clear()
        assert len(cache) == 0
        assert len(caught) == 4
        assert str(caught[0]) == "from the listener: a"
        assert all(type(error) is ValueError for error in caught)

    def test_base_exceptions_do_not_corrupt(self, make, policy_class, monkeypatch):
        monkeypatch.setattr(sys, "unraisablehook", lambda info: None)

        def listener(key, value, cause):
            raise KeyboardInterrupt

        cache = make(policy_class, 2, on_evict=listener)
        for key in range(10):
            try:
                cache[key] = key
            except KeyboardInterrupt:
                continue
        assert len(cache) == 2

    def test_order_of_weighted_evictions(self, make):
        log = Log()
        cache = make(hotset.LRUCache, 10, getsizeof=weight_of, on_evict=log)
        cache.update((key, key) for key in (1, 2, 3, 4))
        cache["big"] = 7
        assert log == [(1, 1, "size"), (2, 2, "size"), (3, 3, "size"), (4, 4, "size")]
        assert contents(cache) == {"big": 7}

    def test_failed_operations_tell_nothing(self, make, policy_class):
        log = Log()
        cache = make(policy_class, 2, on_evict=log)
        cache.update(a=1, b=2)
        for operation in (lambda: cache["x"], lambda: cache.pop("x"), lambda: cache.set([], 1)):
            with pytest.raises((KeyError, TypeError)):
                operation()
        assert log == []
