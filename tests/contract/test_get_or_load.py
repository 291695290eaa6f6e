"""get_or_load: one load per key, errors to everyone, and the fence against late loads."""

import threading
import time

import pytest
from caches import contents
from callers import PATIENCE, Caller


class Gate:
    """A loader that waits until it is opened, and tells that it has begun."""

    def __init__(self, result="loaded", error=None):
        self.result, self.error = result, error
        self.begun, self.open = threading.Event(), threading.Event()
        self.calls = 0

    def __call__(self, key):
        self.calls += 1
        self.begun.set()
        assert self.open.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return self.result


def settle(callers):
    """Give the callers time to reach their wait; the outcome does not depend on it, only what is exercised."""
    time.sleep(0.02 + 0.002 * len(callers))


def test_loads_once(make, policy_class):
    cache = make(policy_class, 10)
    calls = []

    def load(key):
        calls.append(key)
        return key * 2

    assert cache.get_or_load(5, load) == 10
    assert cache.get_or_load(5, load) == 10
    assert calls == [5]
    assert contents(cache) == {5: 10}


def test_none_is_a_loaded_value(make, policy_class):
    cache = make(policy_class, 10)
    calls = []
    for _ in range(2):
        assert cache.get_or_load("k", calls.append) is None
    assert calls == ["k"]


def test_a_failing_load_stores_nothing(make, policy_class):
    cache = make(policy_class, 10)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_load("k", lambda key: 1 / 0)
    assert contents(cache) == {}
    assert cache.get_or_load("k", lambda key: "fine") == "fine"


def test_the_loader_must_be_callable(make, policy_class):
    with pytest.raises(TypeError, match=r"42|int"):
        make(policy_class).get_or_load("k", 42)


def test_an_expired_entry_is_loaded_again(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=5, timer=clock)
    assert cache.get_or_load("k", lambda key: 1) == 1
    clock.advance(5)
    assert cache.get_or_load("k", lambda key: 2) == 2


def test_own_ttl(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=100, timer=clock)
    cache.get_or_load("k", str, ttl=5)
    clock.advance(5)
    assert "k" not in cache


def test_the_lifetime_starts_when_the_load_ends(make, policy_class, clock):
    """A slow load must not give an entry that is dead on arrival."""

    def load(key):
        clock.advance(7)
        return 1

    cache = make(policy_class, 10, ttl=5, timer=clock)
    assert cache.get_or_load("k", load) == 1
    assert "k" in cache


def test_a_value_that_does_not_fit_is_returned(make, policy_class):
    cache = make(policy_class, 10, getsizeof=len)
    assert cache.get_or_load("k", lambda key: "x" * 11) == "x" * 11
    assert len(cache) == 0


def test_recursion_on_the_same_key(make, policy_class):
    cache = make(policy_class, 10)

    def load(key):
        return cache.get_or_load(key, load)

    with pytest.raises(RuntimeError, match="k"):
        cache.get_or_load("k", load)
    assert cache.get_or_load("k", lambda key: "fine") == "fine"


def test_recursion_that_is_caught(make, policy_class):
    cache = make(policy_class, 10)

    def load(key):
        with pytest.raises(RuntimeError):
            cache.get_or_load(key, load)
        return "anyway"

    assert cache.get_or_load("k", load) == "anyway"
    assert contents(cache) == {"k": "anyway"}


def test_recursion_on_other_keys(make, policy_class):
    cache = make(policy_class, 500)

    def fibonacci(n):
        if n < 2:
            return n
        return cache.get_or_load(n - 1, fibonacci) + cache.get_or_load(n - 2, fibonacci)

    assert cache.get_or_load(90, fibonacci) == 2880067194370816120


def test_equal_keys_share_a_load(make, policy_class):
    cache = make(policy_class, 10)
    assert cache.get_or_load(1, lambda key: "one") == "one"
    assert cache.get_or_load(1.0, lambda key: "float") == "one"


def test_the_loader_may_fill_the_cache(make, policy_class):
    """What the loader itself stores under the key is a set during the load: it wins."""
    cache = make(policy_class, 10)

    def load(key):
        cache["other"] = 1
        cache[key] = "by the loader"
        return "returned"

    assert cache.get_or_load("k", load) == "returned"
    assert contents(cache) == {"other": 1, "k": "by the loader"}


class TestThreads:
    """Several threads, one key."""

    def test_one_load_for_all(self, make, policy_class):
        cache = make(policy_class, 10)
        gate = Gate()
        leader = Caller(cache.get_or_load, "k", gate)
        assert gate.begun.wait(PATIENCE)
        followers = [Caller(cache.get_or_load, "k", gate) for _ in range(8)]
        settle(followers)
        gate.open.set()
        assert {caller.finish().result for caller in [leader, *followers]} == {"loaded"}
        assert gate.calls == 1
        assert cache.stats().inserts == 1

    def test_an_error_reaches_all(self, make, policy_class):
        cache = make(policy_class, 10)
        gate = Gate(error=ZeroDivisionError("from the origin"))
        leader = Caller(cache.get_or_load, "k", gate)
        assert gate.begun.wait(PATIENCE)
        followers = [Caller(cache.get_or_load, "k", gate) for _ in range(4)]
        settle(followers)
        gate.open.set()
        for caller in [leader, *followers]:
            assert type(caller.finish().error) is ZeroDivisionError
        assert len(cache) == 0
        assert cache.get_or_load("k", lambda key: "again") == "again"

    def test_other_keys_are_not_held_up(self, make, policy_class):
        cache = make(policy_class, 10)
        gate = Gate()
        slow = Caller(cache.get_or_load, "slow", gate)
        assert gate.begun.wait(PATIENCE)
        assert Caller(cache.get_or_load, "fast", str).finish().result == "fast"
        cache["set"] = 1
        assert cache["set"] == 1
        assert cache.get("slow") is None
        gate.open.set()
        assert slow.finish().result == "loaded"

    def test_a_key_whose_comparison_is_slow_or_odd(self, make, policy_class):
        """Equal but different key objects meet in one flight."""
        from hostile import Key

        cache = make(policy_class, 10)
        gate = Gate()
        leader = Caller(cache.get_or_load, Key("k", 3), gate)
        assert gate.begun.wait(PATIENCE)
        other = Caller(cache.get_or_load, Key("other", 3), lambda key: "other")
        assert other.finish().result == "other"
        follower = Caller(cache.get_or_load, Key("k", 3), gate)
        settle([follower])
        gate.open.set()
        assert leader.finish().result == follower.finish().result == "loaded"
        assert gate.calls == 1


FENCES = {
    "set": lambda cache: cache.set("k", "newer"),
    "setitem": lambda cache: cache.__setitem__("k", "newer"),
    "add": lambda cache: cache.add("k", "newer"),
    "setdefault": lambda cache: cache.setdefault("k", "newer"),
    "set_many": lambda cache: cache.set_many({"k": "newer"}),
    "update": lambda cache: cache.update(k="newer"),
    "pop": lambda cache: cache.pop("k", None),
    "delete_many": lambda cache: cache.delete_many(["k"]),
    "clear": lambda cache: cache.clear(),
    "set and delete": lambda cache: (cache.set("k", "newer"), cache.pop("k")),
}


@pytest.mark.parametrize("fence", FENCES.values(), ids=FENCES)
def test_a_late_load_does_not_overwrite(make, policy_class, fence):
    """Even of a key that was not there: an invalidation during a load must hold."""
    cache = make(policy_class, 10)
    gate = Gate("stale")
    caller = Caller(cache.get_or_load, "k", gate)
    assert gate.begun.wait(PATIENCE)
    fence(cache)
    after = contents(cache)
    assert after in ({}, {"k": "newer"})
    gate.open.set()
    assert caller.finish().result == "stale"
    assert contents(cache) == after


def test_del_of_an_absent_key_fences_too(make, policy_class):
    cache = make(policy_class, 10)
    gate = Gate("stale")
    caller = Caller(cache.get_or_load, "k", gate)
    assert gate.begun.wait(PATIENCE)
    with pytest.raises(KeyError):
        del cache["k"]
    gate.open.set()
    assert caller.finish().result == "stale"
    assert contents(cache) == {}


@pytest.mark.parametrize("fence", ["pop", "clear", "delete_many"])
def test_a_read_after_an_invalidation_does_not_join_the_old_load(make, policy_class, fence):
    """Whoever asks after the invalidation returned must not be given what was read before it."""
    cache = make(policy_class, 10)
    gate = Gate("stale")
    caller = Caller(cache.get_or_load, "k", gate)
    assert gate.begun.wait(PATIENCE)
    FENCES[fence](cache)
    late = Caller(cache.get_or_load, "k", lambda key: "fresh")
    late.join(0.3)  # long enough to join the wrong flight; a right one ends by itself
    gate.open.set()
    assert late.finish().result == "fresh"
    assert caller.finish().result == "stale"
    assert contents(cache) == {"k": "fresh"}


def test_other_keys_do_not_fence(make, policy_class):
    cache = make(policy_class, 10)
    gate = Gate()
    caller = Caller(cache.get_or_load, "k", gate)
    assert gate.begun.wait(PATIENCE)
    cache["other"] = 1
    cache.pop("other")
    cache.pop("absent", None)
    cache.get("k")
    cache.peek("k")
    cache.touch("k")
    gate.open.set()
    assert caller.finish().result == "loaded"
    assert contents(cache) == {"k": "loaded"}


def test_a_failing_fenced_load(make, policy_class):
    cache = make(policy_class, 10)
    gate = Gate(error=OSError("origin"))
    caller = Caller(cache.get_or_load, "k", gate)
    assert gate.begun.wait(PATIENCE)
    cache["k"] = "newer"
    gate.open.set()
    assert type(caller.finish().error) is OSError
    assert contents(cache) == {"k": "newer"}


def test_loads_in_flight_do_not_break_copies(make, policy_class):
    import copy
    import pickle

    cache = make(policy_class, 10)
    cache["there"] = 1
    gate = Gate()
    caller = Caller(cache.get_or_load, "k", gate)
    assert gate.begun.wait(PATIENCE)
    twins = [copy.copy(cache), pickle.loads(pickle.dumps(cache)), cache.copy()]
    gate.open.set()
    caller.finish()
    for twin in twins:
        assert contents(twin) == {"there": 1}
        assert twin.get_or_load("k", lambda key: "own") == "own"


def test_many_keys_many_threads(make, policy_class):
    """Each key is loaded once, whoever comes first."""
    cache = make(policy_class, 1000)
    calls = []
    start = threading.Barrier(6)

    def work(shift):
        start.wait(PATIENCE)
        for step in range(300):
            key = (step + shift) % 300
            assert cache.get_or_load(key, load) == key * 3
        return "done"

    def load(key):
        calls.append(key)
        return key * 3

    callers = [Caller(work, shift * 50) for shift in range(6)]
    assert [caller.finish().result for caller in callers] == ["done"] * 6
    assert sorted(calls) == list(range(300))
