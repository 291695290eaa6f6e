"""Memo with a guard: fresh values are served by the engine, everything else is the function's to find out."""

import math
import sys
import time

import pytest
from hostile import BadKeyError, Incomparable, Meddler

import hotset
from hotset._engine import Fresh, Memo

MANY = 20_000  # keys: so many fill the index until some lie far from home, where the quick look-up gives up


@pytest.fixture(params=list(hotset.POLICIES))
def store(request):
    return hotset.POLICIES[request.param](100)


@pytest.fixture
def guard():
    return Fresh()


@pytest.fixture
def serve(store, guard):
    return Memo(lambda *args, **kwargs: ("asked", args, kwargs), lambda: store, shared=False, guard=guard)


def test_a_fresh_value_is_served(serve, store):
    store["k"] = Fresh(1, time.monotonic() + 60)
    assert serve("k") == 1
    store[7] = Fresh(2)
    assert serve(7) == 2


@pytest.mark.parametrize("until", [-math.inf, 0.0])
def test_a_value_that_is_not_fresh_is_asked_for(serve, store, until):
    store["k"] = Fresh(1, until)
    assert serve("k") == ("asked", ("k",), {})


def test_the_guard_stops_everything(serve, store, guard):
    store["k"] = Fresh(1)
    guard.until = time.monotonic() - 1
    assert serve("k") == ("asked", ("k",), {})
    guard.until = math.inf
    assert serve("k") == 1


def test_a_default_is_no_reason_to_ask(serve, store):
    store["k"] = Fresh(None)
    assert serve("k", "default") is None


def test_a_miss_is_asked_for_and_nothing_is_kept(serve, store):
    assert serve("k") == ("asked", ("k",), {})
    assert len(store) == 0


def test_other_calls_are_the_functions(serve, store):
    store["k"] = Fresh(1)
    assert serve("absent", None) == ("asked", ("absent", None), {})
    assert serve("k", None, 1) == ("asked", ("k", None, 1), {})
    assert serve() == ("asked", (), {})
    assert serve("k", ttl=3) == ("asked", ("k",), {"ttl": 3})
    assert serve(("k",)) == ("asked", (("k",),), {})
    assert serve(1.5) == ("asked", (1.5,), {})


def test_an_equal_key_is_found_in_a_timed_store(serve, store):
    number = 12345678901234567890
    store.set(f"user:{number}", Fresh(1), ttl=60)
    made_for_the_call = f"user:{number}"  # not hashed yet
    assert serve(made_for_the_call) == 1
    assert serve(made_for_the_call) == 1


def test_errors_of_the_function_come_through(store, guard):
    def fail(key):
        raise LookupError(key)

    serve = Memo(fail, lambda: store, shared=False, guard=guard)
    with pytest.raises(LookupError):
        serve("k")


def test_references_balance(serve, store):
    value = object()
    store["k"] = Fresh(value)
    before = sys.getrefcount(value)
    for _ in range(1000):
        serve("k")
        serve("absent")
    assert sys.getrefcount(value) == before


@pytest.fixture
def asked():
    """The calls that reached the function."""
    return []


@pytest.fixture
def many(make, policy_class, guard, asked):
    """Fill a store with fresh values: the store and what serves it."""

    def fill(keys, **options):
        store = make(policy_class, MANY, **options)
        for key in keys:
            store[key] = Fresh(key)
        return store, Memo(lambda *args: asked.append(args), lambda: store, shared=False, guard=guard)

    return fill


@pytest.mark.parametrize("kind", [str, int])
def test_every_fresh_value_is_served_and_counted_once(many, asked, kind):
    keys = [kind(number * 7919) for number in range(MANY)]
    store, serve = many(keys)
    assert [serve(key) for key in keys] == keys
    assert [serve(kind(number * 7919), None) for number in range(MANY)] == keys  # equal keys, not hashed yet
    assert asked == []
    stats = store.stats()
    assert (stats.hits, stats.misses) == (2 * MANY, 0)


@pytest.mark.parametrize("kind", [str, int])
def test_every_absent_key_is_asked_for_and_counted_once(many, asked, kind):
    store, serve = many([kind(number) for number in range(MANY)])
    absent = [kind(number) for number in range(MANY, 2 * MANY)]
    for key in absent:
        serve(key)
    assert asked == [(key,) for key in absent]
    stats = store.stats()
    assert (stats.hits, stats.misses) == (0, MANY)


@pytest.mark.parametrize("life", ["ttl", "tti"])
def test_the_stores_own_time_does_not_matter(many, asked, clock, life):
    keys = [str(number) for number in range(MANY)]
    store, serve = many(keys, timer=clock, **{life: 10.0})
    clock.advance(20)
    assert [serve(key) for key in keys] == keys
    assert asked == []
    assert store.stats().hits == MANY
    assert len(store) == 0  # nor has the use put it off


def test_a_key_that_only_python_can_compare_is_compared(many, asked):
    store, serve = many([])
    store[Meddler("other", lambda: store.set("more", Fresh(2)), hash("k"))] = Fresh(0)  # no lock is held meanwhile
    store["k"] = Fresh(1)
    assert serve("k") == 1
    assert asked == []
    stats = store.stats()
    assert (stats.hits, stats.misses) == (1, 0)


def test_what_a_comparison_raises_comes_through(many, asked):
    store, serve = many([])
    store[Incomparable(hash("k"))] = Fresh(0)
    with pytest.raises(BadKeyError, match="eq"):
        serve("k")
    assert asked == []
