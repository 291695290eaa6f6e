"""Memo with a guard: fresh values are served by the engine, everything else is the function's to find out."""

import math
import time

import pytest

import hotset
from hotset._engine import Fresh, Memo


@pytest.fixture(params=["lru", "lfu", "arc", "tinylfu", "fifo", "rr"])
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
    import sys

    value = object()
    store["k"] = Fresh(value)
    before = sys.getrefcount(value)
    for _ in range(1000):
        serve("k")
        serve("absent")
    assert sys.getrefcount(value) == before
