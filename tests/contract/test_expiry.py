"""Lifetimes: per cache, per entry, by idle time; on clocks of numbers and of datetimes."""

import datetime
import math
import time

import pytest
from caches import contents, never

import hotset


def aged(make, cls, clock, **options):
    """A cache with a ttl of 10 and keys a, b, c of one, two, three ticks of age."""
    cache = make(cls, 10, **{"ttl": 10, "timer": clock, **options})
    for key in "cba":
        cache[key] = key.upper()
        clock.advance(1)
    return cache


def test_an_entry_dies_at_its_deadline_not_after(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=10, timer=clock)
    cache["k"] = 1
    clock.advance(9.999)
    assert cache["k"] == 1
    clock.advance(0.001)
    assert "k" not in cache
    assert cache.get("k") is None
    with pytest.raises(KeyError):
        cache["k"]


def test_expired_entries_are_invisible_everywhere(make, policy_class, clock):
    cache = aged(make, policy_class, clock)
    clock.advance(7)  # c and nothing else has reached 10
    assert len(cache) == cache.currsize == 2
    assert set(cache) == set(cache.keys()) == {"a", "b"}
    assert set(cache.values()) == {"A", "B"}
    assert contents(cache) == {"a": "A", "b": "B"} == cache
    assert cache.peek("c") is None
    assert cache.pop("c", "absent") == "absent"
    with pytest.raises(KeyError):
        del cache["c"]
    assert cache.touch("c") is False
    assert cache.get_many("abc") == {"a": "A", "b": "B"}
    assert cache.delete_many("c") == 0
    assert {key for key, _ in cache.hottest()} == {key for key, _ in cache.coldest()} == {"a", "b"}
    assert "'c'" not in repr(cache)
    assert bool(cache)
    clock.advance(10)
    assert len(cache) == cache.currsize == 0
    assert not cache
    with pytest.raises(KeyError):
        cache.popitem()


def test_setdefault_and_add_replace_the_dead(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=10, timer=clock)
    cache["k"] = cache["l"] = 1
    clock.advance(10)
    assert cache.setdefault("k", 2) == 2
    assert cache.add("l", 3) is True
    assert contents(cache) == {"k": 2, "l": 3}


@pytest.mark.parametrize("own", [2, 10, 50, 0.25, math.inf])
def test_an_entry_may_outlive_the_cache_s_ttl_or_die_before(make, policy_class, clock, own):
    cache = make(policy_class, 10, ttl=10, timer=clock)
    cache.set("own", 1, ttl=own)
    cache.set("usual", 2)
    for at in (0.125, 1.9, 2, 9.9, 10, 49.9, 50, 1e6):
        clock.now = 1000.0 + at
        assert ("own" in cache) == (at < own), at
        assert ("usual" in cache) == (at < 10), at


def test_own_ttl_in_a_cache_without_one(make, policy_class, clock):
    cache = make(policy_class, 10, timer=clock)
    cache["for good"] = 1
    cache.set("short", 2, ttl=5)
    cache.add("added", 3, ttl=6)
    cache.set_many({"many": 4}, ttl=7)
    cache.get_or_load("loaded", lambda key: 5, ttl=8)
    alive = {"for good", "short", "added", "many", "loaded"}
    for key, at in (("short", 5), ("added", 6), ("many", 7), ("loaded", 8)):
        clock.now = 1000.0 + at - 0.001
        assert set(cache) == alive
        clock.now = 1000.0 + at
        alive.discard(key)
        assert set(cache) == alive


@pytest.mark.parametrize("ttl", [0, -1, math.nan, datetime.timedelta(0)])
def test_wrong_own_ttl(make, policy_class, clock, ttl):
    cache = make(policy_class, 10, ttl=10, timer=clock)
    cache["k"] = 1
    for operation in (
        lambda: cache.set("k", 2, ttl=ttl),
        lambda: cache.add("n", 2, ttl=ttl),
        lambda: cache.touch("k", ttl=ttl),
        lambda: cache.set_many({"n": 2}, ttl=ttl),
        lambda: cache.get_or_load("n", str, ttl=ttl),
    ):
        with pytest.raises(ValueError, match="ttl") as caught:
            operation()
        assert str(ttl) in str(caught.value) or repr(ttl) in str(caught.value)
    with pytest.raises(TypeError, match="ttl"):
        cache.set("k", 2, ttl="soon")
    assert contents(cache) == {"k": 1}


def test_an_update_starts_a_new_life(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=10, timer=clock)
    cache.set("k", 1, ttl=3)
    cache.set("long", 1, ttl=100)
    cache["k"] = cache["long"] = 2  # the cache's own ttl again
    clock.advance(9)
    assert set(cache) == {"k", "long"}
    clock.advance(1)
    assert set(cache) == set()


def test_reads_do_not_prolong_a_ttl(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=10, timer=clock)
    cache["k"] = 1
    for _ in range(9):
        clock.advance(1)
        assert cache["k"] == cache.get("k") == cache.peek("k") == 1
    clock.advance(1)
    assert "k" not in cache


def test_touch_restarts_the_ttl(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=10, timer=clock)
    cache["usual"] = cache["own"] = 1
    clock.advance(9)
    assert cache.touch("usual") is True
    assert cache.touch("own", ttl=3) is True
    clock.advance(2.9)
    assert set(cache) == {"usual", "own"}
    clock.advance(0.1)
    assert set(cache) == {"usual"}
    clock.advance(6.9)
    assert set(cache) == {"usual"}
    clock.advance(0.1)
    assert not cache


def test_idle_time_restarts_with_use(make, policy_class, clock):
    cache = make(policy_class, 10, tti=10, timer=clock)
    uses = {
        "item": lambda: cache["item"],
        "get": lambda: cache.get("get"),
        "touch": lambda: cache.touch("touch"),
        "set": lambda: cache.set("set", 2),
        "many": lambda: cache.get_many(["many"]),
        "load": lambda: cache.get_or_load("load", str),
    }
    still = {"peek": lambda: cache.peek("peek"), "in": lambda: "in" in cache, "nothing": lambda: list(cache.items())}
    cache.set_many(dict.fromkeys([*uses, *still], 1))
    clock.advance(9)
    for use in (*uses.values(), *still.values()):
        use()
    clock.advance(1)
    assert set(cache) == set(uses)
    clock.advance(9)
    assert not cache


def test_the_earlier_of_ttl_and_tti_counts(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=10, tti=4, timer=clock)
    cache["used"] = cache["idle"] = 1
    for _ in range(3):
        clock.advance(3)
        assert cache["used"] == 1
        assert "idle" in cache if clock.now < 1004 else "idle" not in cache
    clock.advance(1)
    assert "used" not in cache


def test_expire_returns_what_it_drops(make, policy_class, clock):
    cache = aged(make, policy_class, clock)
    assert cache.expire() == []
    clock.advance(8)
    assert sorted(cache.expire()) == [("b", "B"), ("c", "C")]
    assert cache.expire() == []
    assert contents(cache) == {"a": "A"}


def test_expire_to_a_given_time(make, policy_class, clock):
    cache = aged(make, policy_class, clock)
    assert cache.expire(clock.now) == []
    assert cache.expire(1000.0 + 10) == [("c", "C")]
    assert cache.expire(time=1000.0 + 11) == [("b", "B")]
    assert contents(cache) == {"a": "A"}
    assert cache.expire(math.inf) == [("a", "A")]


def test_expire_without_lifetimes(make, plain_class):
    cache = make(plain_class, 10)
    cache["k"] = 1
    assert cache.expire() == cache.expire(1e18) == []
    assert contents(cache) == {"k": 1}


def test_the_dead_go_before_the_living(make, policy_class, clock):
    """A full cache whose entry has expired has room: no living entry may be evicted."""
    cache = make(policy_class, 3, timer=clock)
    cache["a"] = cache["b"] = 1
    cache.set("dead", 1, ttl=5)
    for _ in range(5):
        cache["dead"]  # hot in every policy
    clock.advance(5)
    cache["c"] = 1
    assert set(cache) == {"a", "b", "c"}
    stats = cache.stats()
    assert (stats.evictions, stats.expirations) == (0, 1)


def test_the_dead_weigh_nothing(make, policy_class, clock):
    cache = make(policy_class, 10, getsizeof=lambda value: value, timer=clock)
    cache.set("dead", 8, ttl=5)
    cache["alive"] = 2
    clock.advance(5)
    assert cache.currsize == 2
    cache["new"] = 8
    assert contents(cache) == {"alive": 2, "new": 8}


def test_the_dead_go_before_the_living_when_a_value_grows(make, policy_class, clock):
    cache = make(policy_class, 10, getsizeof=lambda value: value, timer=clock)
    cache.update(a=2, b=2)
    cache.set("dead", 5, ttl=5)
    clock.advance(5)
    cache["b"] = 7
    assert contents(cache) == {"a": 2, "b": 7}
    assert cache.stats().by_cause == {"explicit": 0, "replaced": 1, "expired": 1, "size": 0}


def test_the_dead_go_first_at_their_very_deadline(make, policy_class, clock):
    """The wheel counts in ticks; an entry whose deadline is this instant lies in the tick that has only begun."""
    cache = make(policy_class, 5, timer=clock)
    for key, ttl in ((1, 5), (4, 5), (6, 300)):
        cache.set(key, key, ttl=ttl)
    clock.advance(0.1)
    cache.set(2, 2, ttl=5)
    cache.set(3, 3, ttl=1)
    clock.advance(1)
    cache.set(2, 2, ttl=40)
    cache.set(5, 5, ttl=300)
    assert set(cache) == {1, 2, 4, 5, 6}
    assert cache.stats().evictions == 0


def test_time_that_goes_backwards(make, policy_class, clock, rng):
    """NTP, a wrong timer: entries live by the time that is told, and nothing breaks."""
    cache = make(policy_class, 50, ttl=10, timer=clock)
    cache["k"] = 1
    clock.advance(-500)
    assert cache["k"] == 1
    cache["old"] = 2
    clock.advance(10)
    assert "old" not in cache
    assert cache["k"] == 1
    for step in range(2000):
        clock.advance(rng.uniform(-20, 20))
        key = rng.randrange(80)
        cache[key] = step
        assert cache[key] == step
        if step % 100 == 0:
            cache._validate()


@pytest.mark.parametrize(
    ("start", "ttl"), [(0, 1000), (-1e6, 1000), (0.1, 1000), (1e12, 1000), (1_795_000_000 * 10**9, 60 * 10**9)]
)
def test_any_origin_of_time(make, policy_class, clock, start, ttl):
    """The last one is a clock in nanoseconds: more than a double resolves, so it is asked no closer than that."""
    clock.now = start
    cache = make(policy_class, 10, ttl=ttl, timer=clock)
    cache["k"] = 1
    clock.advance(ttl - ttl // 500)
    assert cache["k"] == 1
    clock.advance(ttl // 500 + ttl // 10**6)
    assert "k" not in cache


def test_far_jumps(make, policy_class, clock):
    """Every level of a timer wheel, and beyond its last."""
    cache = make(policy_class, 100, timer=clock)
    spans = [10.0**exponent for exponent in range(-3, 13)]
    for span in spans:
        cache.set(span, span, ttl=span)
    start = clock.now
    for index, span in enumerate(spans):
        clock.now = start + span * 0.99
        assert set(cache) == set(spans[index:])
        clock.now = start + span * 1.000001 + 1e-6
        assert set(cache) == set(spans[index + 1 :])
        cache._validate()


def test_random_deadlines_against_a_dict(make, policy_class, clock, rng):
    cache = make(policy_class, 5000, ttl=30, timer=clock)
    deadlines = {}
    for step in range(3000):
        key = rng.randrange(400)
        ttl = rng.choice([0.001, 0.5, 1, 3, 60, 3600, 1e5, 1e7])
        if rng.random() < 0.8:
            cache.set(key, step, ttl=ttl)
            deadlines[key] = clock.now + ttl
        else:
            cache.pop(key, None)
            deadlines.pop(key, None)
        clock.advance(rng.choice([0, 0, 0.001, 0.1, 1, 5]) * (1 if rng.random() < 0.995 else 1e5))
        if step % 50 == 0:
            alive = {key for key, deadline in deadlines.items() if clock.now < deadline}
            assert set(cache) == alive
            assert len(cache) == len(alive)
            cache._validate()


@pytest.mark.parametrize("ttl", [datetime.timedelta(seconds=10), datetime.timedelta(days=400), 10])
def test_datetime_timer(make, policy_class, calendar, ttl):
    cache = make(policy_class, 10, ttl=ttl, timer=calendar)
    cache["k"] = 1
    seconds = ttl.total_seconds() if isinstance(ttl, datetime.timedelta) else ttl
    calendar.advance(seconds - 0.001)
    assert cache["k"] == 1
    calendar.advance(0.001)
    assert "k" not in cache


def test_datetime_timer_has_everything(make, policy_class, calendar):
    second = datetime.timedelta(seconds=1)
    cache = make(policy_class, 10, ttl=10 * second, tti=5 * second, timer=calendar)
    cache["k"] = 1
    cache.set("own", 2, ttl=2 * second)
    calendar.advance(2)
    assert set(cache) == {"k"}
    assert cache.touch("k", ttl=20 * second)
    calendar.advance(4)
    assert cache["k"] == 1
    assert cache.expire(calendar.now + 30 * second) == [("own", 2), ("k", 1)]  # iteration skips the dead, it drops none


def test_timedelta_on_a_numeric_timer_means_seconds(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=datetime.timedelta(minutes=1), timer=clock)
    cache["k"] = 1
    clock.advance(59)
    assert "k" in cache
    clock.advance(1)
    assert "k" not in cache


@pytest.mark.parametrize("numbers", [int, float])
def test_integer_timers(make, policy_class, numbers):
    now = numbers(0)
    cache = make(policy_class, 10, ttl=10, timer=lambda: now)
    cache["k"] = 1
    now = numbers(9)
    assert "k" in cache
    now = numbers(10)
    assert "k" not in cache


def test_a_raising_timer_propagates_and_changes_nothing(make, policy_class):
    fail = False

    def timer():
        if fail:
            raise OSError("no clock")
        return 1.0

    cache = make(policy_class, 10, ttl=10, timer=timer)
    cache["k"] = 1
    fail = True
    for operation in (lambda: cache["k"], lambda: cache.set("n", 1), lambda: cache.get("k"), lambda: len(cache)):
        with pytest.raises(OSError, match="no clock"):
            operation()
    fail = False
    assert contents(cache) == {"k": 1}


@pytest.mark.parametrize("answer", ["now", None, [], 1j], ids=repr)
def test_a_timer_that_gives_no_time(make, policy_class, answer):
    now = 1.0
    cache = make(policy_class, 10, ttl=10, timer=lambda: now)
    cache["k"] = 1
    now = answer
    with pytest.raises(TypeError):
        cache.set("n", 1)
    now = 1.0
    assert contents(cache) == {"k": 1}


def test_the_default_timer_expires(make, policy_class):
    """On real time: the one thing that is sure is that the entry is gone once the deadline has passed."""
    cache = make(policy_class, 10, ttl=0.02)
    cache["k"] = 1
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        time.sleep(0.005)
    assert "k" not in cache
    assert len(cache) == 0


@pytest.mark.parametrize("own", [0.02, datetime.timedelta(milliseconds=20)])
def test_the_default_timer_expires_short_entries_of_a_long_cache(make, policy_class, own):
    cache = make(policy_class, 10, ttl=3600)
    cache["long"] = 1
    cache.set("short", 1, ttl=own)
    end = time.monotonic() + 0.06
    while time.monotonic() < end:
        time.sleep(0.005)
    assert set(cache) == {"long"}


def test_infinite_ttl(make, policy_class, clock):
    cache = make(policy_class, 10, ttl=math.inf, timer=clock)
    cache["k"] = 1
    clock.advance(1e8)
    assert "k" in cache


class TestTimeToUse:
    """TLRUCache: the deadline is computed from key, value and time."""

    def test_per_item(self, make, clock):
        cache = make(hotset.TLRUCache, 10, ttu=lambda key, value, now: now + value, timer=clock)
        cache.update(a=1, b=2, c=3)
        for alive in ("abc", "bc", "c", ""):
            assert set(cache) == set(alive)
            clock.advance(1)

    def test_arguments(self, make, clock):
        seen = []

        def ttu(key, value, now):
            seen.append((key, value, now))
            return now + 1

        cache = make(hotset.TLRUCache, 10, ttu=ttu, timer=clock)
        cache["k"] = "v"
        assert seen == [("k", "v", clock.now)]

    def test_an_entry_that_is_dead_on_arrival_removes_its_elder(self, make, clock):
        cache = make(hotset.TLRUCache, 10, ttu=lambda key, value, now: now + value, timer=clock)
        cache["k"] = 5
        cache["k"] = 0
        assert "k" not in cache
        cache["n"] = -1
        assert "n" not in cache
        assert len(cache) == 0

    def test_a_raising_ttu_changes_nothing(self, make, clock):
        def ttu(key, value, now):
            if value == "bad":
                raise ZeroDivisionError
            return now + 5

        cache = make(hotset.TLRUCache, 2, ttu=ttu, timer=clock)
        cache.update(a=1, b=2)
        for key in "ac":
            with pytest.raises(ZeroDivisionError):
                cache[key] = "bad"
        assert contents(cache) == {"a": 1, "b": 2}

    def test_datetime(self, make, calendar):
        cache = make(
            hotset.TLRUCache, 10, ttu=lambda key, value, now: now + datetime.timedelta(hours=value), timer=calendar
        )
        cache.update(a=1, b=2)
        calendar.advance(3600)
        assert set(cache) == {"b"}

    def test_own_ttl_goes_before_ttu(self, make, clock):
        cache = make(hotset.TLRUCache, 10, ttu=never, timer=clock)
        cache.set("k", 1, ttl=5)
        clock.advance(5)
        assert "k" not in cache


def test_ttl_cache_is_an_lru_cache(make, clock):
    """TTLCache and TLRUCache evict by recency when nothing has expired."""
    for cls in (hotset.TTLCache, hotset.TLRUCache):
        cache = make(cls, 3, timer=clock)
        cache.update(a=1, b=2, c=3)
        assert cache["a"] == 1
        cache["d"] = 4
        assert set(cache) == {"a", "c", "d"}


@pytest.mark.parametrize("moment", [float("inf"), float("-inf"), 1e300, -1e300])
def test_a_moment_beyond_all_others(make, policy_class, clock, moment):
    """At the end of time all that has a deadline is dead, before its beginning nothing is; then the clock goes on."""
    cache = make(policy_class, 10, timer=clock)
    cache.set("dying", 1, ttl=5)
    cache.set("immortal", 2, ttl=float("inf"))
    dead = dict(cache.expire(moment))
    assert dead == ({"dying": 1} if moment > 0 else {}) or "immortal" in dead  # TTLCache, TLRUCache: FAR is finite
    cache._validate()
    cache.set("later", 3, ttl=5)
    clock.advance(4)
    assert cache.get("later") == 3
    clock.advance(1)
    assert "later" not in set(cache)
    assert cache.get("later") is None
    cache._validate()
