"""Nothing is left behind: by resident memory, by traced allocations, by counting objects.

HOTSET_LEAK_OPERATIONS sets the operations a policy; the default is a scaled-down run, 100000000 is the full one.
"""

import os

import pytest
from subprocesses import run_script

import hotset

OPERATIONS = int(os.environ.get("HOTSET_LEAK_OPERATIONS", "600000"))
CLASSES = [
    "LRUCache",
    "LFUCache",
    "ARCCache",
    "TinyLFUCache",
    "SieveCache",
    "ClockCache",
    "SLRUCache",
    "S3FIFOCache",
    "TwoQCache",
    "LIRSCache",
    "GDSFCache",
    "Cache",
    "FIFOCache",
    "RRCache",
    "TTLCache",
    "TLRUCache",
]


@pytest.mark.stress
@pytest.mark.parametrize("cls", CLASSES)
def test_resident_memory_is_bounded(cls):
    """Every tenth of the work is the same; after two tenths of warming up, memory must stand still."""
    pytest.importorskip("resource", reason="resident memory is read from getrusage")
    run_script(
        """
        import random, resource, sys
        import hotset
        from caches import build
        from clock import FakeClock

        cls, operations = getattr(hotset, sys.argv[1]), int(sys.argv[2])
        unit = 1 if sys.platform == "darwin" else 1024
        generator = random.Random(1)
        clock = FakeClock()
        options = {} if cls is hotset.TLRUCache else {"ttl": 50}
        cache = build(cls, 2000, timer=clock, on_evict=lambda key, value, cause: None, **options)
        keys = [f"key {number}" for number in range(6000)]

        def work(count):
            get, set_, pop = cache.get, cache.set, cache.pop
            for step in range(count // 4):
                key = keys[int(generator.random() ** 2 * 6000)]
                if get(key) is None:
                    set_(key, [step], 1 + step % 70)
                cache[step] = (step,)
                pop(step - 500, None)
                if step % 64 == 0:
                    clock.advance(1)
                    cache.get_many(keys[:20])
                    cache.set_many((key, step) for key in keys[:20])
                    cache.touch(keys[5])
                    list(cache.items())
                    cache.coldest(3), cache.hottest(3), cache.stats(), cache.expire()
                    cache.get_or_load(keys[step % 6000], len)
                    try:
                        cache.get_or_load(("failing", step), lambda key: 1 / 0)
                    except ZeroDivisionError:
                        pass
                if step % 20000 == 0:
                    cache.resize(500)
                    cache.resize(2000)
                    cache.clear()

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

        work(operations // 5)
        before = peak()
        for _ in range(8):
            work(operations // 10)
        cache._validate()
        growth = peak() - before
        assert growth < 3_000_000, f"{growth} bytes more after {operations} operations"
        """,
        cls,
        OPERATIONS,
        timeout=7200,
    )


@pytest.mark.parametrize("cls", CLASSES)
def test_traced_memory_returns_to_where_it_was(cls):
    """The engine allocates through PyMem_Raw, so tracemalloc sees every byte, the C arrays included."""
    run_script(
        """
        import copy, gc, pickle, sys, tracemalloc
        import hotset
        from caches import build
        from clock import FakeClock

        cls = getattr(hotset, sys.argv[1])

        class Value:
            pass

        def round():
            cache = build(cls, 500, timer=FakeClock(), getsizeof=lambda value: 1)
            for key in range(2000):
                cache[key] = Value()
                cache[str(key)] = Value()
                cache.get(key // 2)
            cache.resize(5000)
            for key in range(4000):
                cache.set(key, Value(), ttl=key + 1)
                cache.get_or_load(("loaded", key), lambda key: Value())
            cache.timer.advance(2000)
            cache.expire()
            cache.stats(), cache.hottest(), cache.coldest()
            twin = copy.copy(cache)
            twin.clear()
            iterator = iter(cache.items())
            next(iterator)
            try:
                cache[[]] = 1
            except TypeError:
                pass
            cache.resize(10)

        for _ in range(3):
            round()
        gc.collect()
        tracemalloc.start()
        round()
        gc.collect()
        first, objects = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
        for _ in range(5):
            round()
        gc.collect()
        growth = tracemalloc.get_traced_memory()[0] - first
        assert growth < 4000, f"{growth} bytes more after five rounds"
        assert len(gc.get_objects()) - objects < 20
        """,
        cls,
    )


def test_empty_tables_are_given_back():
    """A million entries, then none: clear() must not keep tens of megabytes."""
    run_script(
        """
        import tracemalloc
        import hotset
        from caches import CLASSES, build
        for cls in CLASSES:
            tracemalloc.start()
            cache = build(cls, 10**6)
            cache.update((key, None) for key in range(100_000))
            full = tracemalloc.get_traced_memory()[0]
            del cache
            empty = tracemalloc.get_traced_memory()[0]
            assert full > 1_000_000, (cls, full)
            assert empty < 60_000, (cls, empty)
            tracemalloc.stop()
        """
    )


@pytest.mark.parametrize("policy", hotset.POLICIES)
def test_replay_frees_everything(policy):
    run_script(
        """
        import sys, tracemalloc
        import numpy as np
        import hotset
        keys = (np.random.default_rng(1).zipf(1.1, 60_000) % 30_000).astype(np.uint32)
        hotset.replay(sys.argv[1], 5000, keys)
        tracemalloc.start()
        for _ in range(5):
            hotset.replay(sys.argv[1], 5000, keys)
            hotset.replay(sys.argv[1], 5000, keys, np.ones_like(keys))
            try:
                hotset.replay(sys.argv[1], 5000, keys, keys[:5])
            except ValueError:
                pass
        left = tracemalloc.get_traced_memory()[0]
        assert left < 6000, left
        """,
        policy,
    )


def test_memoizers_release_arguments_and_results():
    run_script(
        """
        import functools, gc, tracemalloc
        import hotset

        def round(decorate):
            @decorate
            def function(*args, **kwargs):
                return [args, kwargs]
            for number in range(3000):
                function(number % 500)
                function(number % 700, "x", key=number % 3)
                try:
                    function([])
                except TypeError:
                    pass
            function.cache_clear()
            function(1)

            class Host:
                @decorate
                def method(self, x):
                    return [self, x] if x > 10**9 else [x]
            for number in range(300):
                Host().method(number)

        for decorate in (hotset.cache, hotset.lru_cache(maxsize=50), hotset.cached(maxsize=50), hotset.cached(ttl=5)):
            for _ in range(2):
                round(decorate)
            gc.collect()
            tracemalloc.start()
            round(decorate)
            gc.collect()
            first = tracemalloc.get_traced_memory()[0]
            for _ in range(4):
                round(decorate)
            gc.collect()
            growth = tracemalloc.get_traced_memory()[0] - first
            assert growth < 6000, (decorate, growth)
            tracemalloc.stop()
        """
    )


def test_reference_counts_of_keys_and_values():
    """Exact counts, operation by operation; an interpreter with immortal or deferred counts is left out of it."""
    run_script(
        """
        import sys, sysconfig
        import hotset
        from caches import CLASSES, build

        if sysconfig.get_config_var("Py_GIL_DISABLED"):
            raise SystemExit  # counts are split and deferred there

        class Thing:
            pass

        for cls in CLASSES:
            cache = build(cls, 4)
            key, value, other = Thing(), Thing(), Thing()
            things = [key, value, other]
            base = [sys.getrefcount(thing) for thing in things]

            def counts():
                return [now - start for now, start in zip([sys.getrefcount(thing) for thing in things], base)]

            cache[key] = value
            assert counts() == [1, 1, 0], (cls, counts())
            for _ in range(10):
                cache[key], cache.get(key), cache.peek(key), key in cache, cache.touch(key), cache.add(key, other)
                cache.get_many([key]), cache.hottest(), cache.coldest(), list(cache.items()), list(cache)
                cache.get_or_load(key, len), cache.setdefault(key, other), cache.stats(), repr(cache)
                cache[key] = value
            assert counts() == [1, 1, 0], (cls, counts())
            cache[key] = other
            assert counts() == [1, 0, 1], (cls, counts())
            assert cache.pop(key) is other
            assert counts() == [0, 0, 0], (cls, counts())
            cache[key] = value
            cache.popitem()
            assert counts() == [0, 0, 0], (cls, counts())
            cache[key] = value
            cache.clear()
            assert counts() == [0, 0, 0], (cls, counts())
            cache[key] = value
            for number in range(300):
                cache[number] = other
                cache[number]
            if key not in cache:
                assert counts()[:2] == [0, 0], (cls, counts())
            assert counts()[2] + ("k" in cache) <= 4
            for _ in range(5):
                try:
                    cache.set(key, value, ttl=-1)
                except ValueError:
                    pass
                try:
                    cache.get_or_load(Thing, lambda thing: 1 / 0)
                except ZeroDivisionError:
                    pass
            del cache
            assert counts() == [0, 0, 0], (cls, counts())
        """
    )
