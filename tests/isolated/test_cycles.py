"""Cycles through a cache are garbage like any other: the collector sees keys, values and callables."""

import gc
import sys
import sysconfig
import weakref

import pytest
from caches import build, never

import hotset


class Marker:
    """Something a weak reference can watch."""


pytestmark = pytest.mark.usefixtures("collect")  # only the test's own gc.collect() frees what it watches


classes_are_collected = pytest.mark.skipif(
    sys.version_info[:2] == (3, 13) and bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="free-threaded 3.13 makes every class immortal once a thread has been started; 3.14 does not",
)


def assert_collected(build_cycle):
    """`build_cycle` makes an unreachable cycle and returns a weak reference into it."""
    reference = build_cycle()
    assert reference() is not None, "freed by reference count: there is no cycle to test"
    gc.collect()
    assert reference() is None


def test_the_types_take_part_in_collection(make, policy_class):
    assert gc.is_tracked(make(policy_class))
    value = Marker()
    cache = make(policy_class)
    cache["k"] = value
    assert value in gc.get_referents(cache)


def test_value_that_holds_the_cache(policy_class):
    def cycle():
        cache, marker = build(policy_class, 10), Marker()
        marker.cache = cache
        cache["k"] = marker
        return weakref.ref(marker)

    assert_collected(cycle)


def test_cache_in_itself(policy_class):
    def cycle():
        cache, marker = build(policy_class, 10), Marker()
        cache["marker"] = marker
        cache["self"] = cache
        return weakref.ref(marker)

    assert_collected(cycle)


def test_bound_method_as_key(policy_class):
    """The key is the only way from the cache to its owner."""

    class Owner:
        def __init__(self):
            self.cache = build(policy_class, 10)
            self.cache[self.method] = 1

        def method(self):
            """Be a key."""

    assert_collected(lambda: weakref.ref(Owner()))


def test_key_that_holds_the_cache(policy_class):
    def cycle():
        cache, marker = build(policy_class, 10), Marker()
        marker.cache = cache
        cache[marker] = 1
        return weakref.ref(marker)

    assert_collected(cycle)


def test_two_caches_in_each_other(policy_class):
    def cycle():
        left, right, marker = build(policy_class, 10), build(policy_class, 10), Marker()
        left["right"], right["left"], right["marker"] = right, left, marker
        return weakref.ref(marker)

    assert_collected(cycle)


def test_subclass_instance(policy_class):
    class Sub(policy_class):
        """Has a dict."""

    def cycle():
        cache = build(Sub, 10)
        cache.itself = cache
        return weakref.ref(cache)

    assert_collected(cycle)


@classes_are_collected
def test_subclass_itself(policy_class):
    """A class is a cycle of its own; an instance in its own class dict must not keep it."""

    def cycle():
        class Sub(policy_class):
            """Made and dropped."""

        Sub.instance = build(Sub, 10)
        return weakref.ref(Sub)

    assert_collected(cycle)


@pytest.mark.parametrize("option", ["on_evict", "timer", "getsizeof"])
def test_callables_that_hold_the_cache(policy_class, option):
    def cycle():
        marker = Marker()

        def function(*args):
            return (marker, cache) and 1

        cache = build(policy_class, 10, **{option: function})
        return weakref.ref(marker)

    assert_collected(cycle)


def test_choice_and_ttu():
    def choice():
        marker = Marker()
        cache = hotset.RRCache(5, choice=lambda keys: (marker, cache))
        return weakref.ref(marker)

    def ttu():
        marker = Marker()
        cache = hotset.TLRUCache(5, ttu=lambda key, value, now: (marker, cache) and never(key, value, now))
        return weakref.ref(marker)

    assert_collected(choice)
    assert_collected(ttu)


def test_iterators_and_views(policy_class):
    def cycle(form):
        def make_cycle():
            cache, marker = build(policy_class, 10), Marker()
            cache["marker"] = marker
            cache["iterator"] = form(cache)
            return weakref.ref(marker)

        return make_cycle

    for form in (iter, lambda cache: cache.keys(), lambda cache: iter(cache.items()), lambda cache: cache.values()):
        assert_collected(cycle(form))


def test_cycle_through_a_half_used_iterator(policy_class):
    def cycle():
        cache, marker = build(policy_class, 10), Marker()
        cache["marker"] = marker
        cache["other"] = 1
        iterator = iter(cache.items())
        next(iterator)
        cache.update(iterator=iterator)
        return weakref.ref(marker)

    assert_collected(cycle)


@pytest.mark.parametrize("decorate", [hotset.cached, hotset.lru_cache, hotset.cache, hotset.cached(ttl=5)])
def test_memoized_function_whose_result_holds_it(decorate):
    def cycle():
        marker = Marker()

        @decorate
        def function(x):
            return function, marker

        function(1)
        return weakref.ref(marker)

    assert_collected(cycle)


@classes_are_collected
def test_cached_method_whose_result_holds_the_instance():
    def cycle():
        class Host:
            @hotset.cached
            def me(self):
                return self

        host = Host()
        host.me()
        return weakref.ref(host)

    assert_collected(cycle)


def test_finalizers_in_a_cycle_run_once(policy_class):
    died = []

    class Dying(Marker):
        def __del__(self):
            died.append(len(self.cache))

    def cycle():
        cache = build(policy_class, 10)
        for key in range(3):
            value = Dying()
            value.cache = cache
            cache[key] = value
        return weakref.ref(value)

    assert_collected(cycle)
    assert len(died) == 3


def test_a_finalizer_that_resurrects_the_cache(policy_class):
    """The collector may have cleared it: it must still be a cache."""
    saved = []

    class Dying(Marker):
        def __del__(self):
            saved.append(self.cache)

    cache = build(policy_class, 10)
    value = Dying()
    value.cache = cache
    cache["k"] = value
    del cache, value
    gc.collect()
    assert len(saved) == 1
    cache = saved.pop()
    cache._validate()
    cache.clear()
    cache["again"] = 1
    assert cache["again"] == 1
    cache._validate()


def test_collection_of_a_large_cache(policy_class):
    def cycle():
        cache, marker = build(policy_class, 10**6), Marker()
        for key in range(20_000):
            cache[str(key)] = [cache]
        cache["marker"] = marker
        return weakref.ref(marker)

    assert_collected(cycle)


def test_live_caches_survive_collection(make, policy_class):
    cache = make(policy_class, 100)
    cache.update((key, [key]) for key in range(100))
    for _ in range(3):
        gc.collect()
    assert dict(cache.items()) == {key: [key] for key in range(100)}
