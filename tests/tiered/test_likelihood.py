"""Where misses are common, the first look below is that of the load: a round trip less, and all else the same."""

import threading
import time

import pytest
from tiered.drivers import (  # noqa: F401 - fixtures
    Origin,
    build,
    counted,
    eventually,
    listening,
    loop_thread,
    make_two,
    namespace,
    opened,
    own_server,
    redis_tier,
    runner,
    shared_server,
)

from hotset import ABSENT, MemoryTier
from hotset.errors import LoadTimeout
from hotset.names import name_of
from hotset.tiers.keys import Keys

MISSES = 40  # that make the next one likely
WAIT = 15.0


@pytest.fixture
def server(shared_server):
    return shared_server


@pytest.fixture
def make(build, server):
    """Make caches of Valkey alone, or with memory, that nobody tells anything: the server hears from flows only."""

    def factory(*args, name=None, memory=False, **options):
        tiers = [MemoryTier(1000, policy="lru")] if memory else []
        return build([*tiers, redis_tier(server.url, stream=None)], *args, name=name, **options)

    return factory


@pytest.fixture
def commands(server):
    """What a server is asked by a call: how many looks, and how many leases and fills."""

    def count(call, *args, **kwargs):
        before = counted(server, "mget"), counted(server, "evalsha")
        result = call(*args, **kwargs)
        return result, counted(server, "mget") - before[0], counted(server, "evalsha") - before[1]

    return count


def miss(cache, times=MISSES):
    """Have a cache look for what is not there."""
    for number in range(times):
        cache.get(f"miss {number} {time.monotonic()}")
    return cache


def below(cache):
    return cache.stats().levels[-1]


@pytest.fixture
def leased(server):
    """How many of these keys of a cache are leased."""

    def count(cache, *keys):
        return server.command("EXISTS", *(Keys(cache.name).lease(name_of(key)) for key in keys))

    return count


class TestRoundTrips:
    @pytest.mark.parametrize("memory", [False, True])
    def test_a_look_less(self, make, commands, memory):
        cache = make(Origin(), memory=memory)
        cache.get("first")  # makes the state of the namespace
        assert commands(cache.get, "second") == ("of second", 1, 2)
        miss(cache)
        assert commands(cache.get, "next") == ("of next", 0, 2)
        assert commands(cache.get, "after that") == ("of after that", 0, 2)
        assert cache.stats().loads == MISSES + 4

    def test_not_before_misses_are_common(self, make, commands):
        cache = make(Origin())
        other = make(name=cache.name)
        other.set_many(dict.fromkeys(range(MISSES), 1))
        miss(cache, 3)
        assert commands(cache.get, "a")[1] == 1
        for key in range(MISSES):
            assert cache.get(key) == 1
        assert commands(cache.get, "b") == ("of b", 1, 2)

    def test_hits_bring_the_first_look_back(self, make, commands):
        cache = miss(make(Origin()))
        make(name=cache.name).set_many(dict.fromkeys(range(MISSES), 1))
        assert commands(cache.get, 0) == (1, 0, 1)
        assert [cache.get(key) for key in range(MISSES)] == [1] * MISSES
        assert commands(cache.get, 0) == (1, 1, 0)

    def test_bulk_reads_count_too(self, make, commands):
        cache = make(Origin())
        make(name=cache.name).set_many(dict.fromkeys(range(10), 1))
        for number in range(MISSES):
            assert cache.get_many([f"{number}"]) == {f"{number}": f"of {number}"}
        assert commands(cache.get, "a") == ("of a", 0, 2)
        for _ in range(MISSES):
            assert cache.get_many(range(10)) == dict.fromkeys(range(10), 1)
        assert commands(cache.get, "b") == ("of b", 1, 2)

    def test_without_a_loader_there_is_but_one_look(self, make, commands, leased):
        cache = miss(make())
        assert commands(cache.get, "a") == (None, 1, 0)
        assert leased(cache, "a") == 0

    def test_what_may_be_served_when_the_load_fails_is_looked_for_first(self, make, commands):
        origin = Origin()
        cache = miss(make(origin, ttl=0.05, jitter=0, keep=60))
        assert commands(cache.get, "a") == ("of a", 1, 2)
        time.sleep(0.1)
        origin.failure = OSError("the origin is away")
        assert cache.get("a") == "of a"
        assert cache.stats().stale_served == 1


class TestFound:
    """What somebody else has stored meanwhile is no reason to load."""

    @pytest.mark.parametrize("memory", [False, True])
    def test_what_another_cache_has_put(self, make, memory, leased):
        origin = Origin()
        cache = miss(make(origin, memory=memory))
        before, loads = below(cache), cache.stats().loads
        other = make(name=cache.name)
        other.set_many({key: f"set {key}" for key in range(5)}, ttl=60)
        for key in range(5):
            assert cache.get(key) == f"set {key}"
        assert cache.stats().loads == loads
        assert not set(origin.calls) & set(range(5))
        after = below(cache)
        assert (after.reads - before.reads, after.hits - before.hits) == (5, 5)
        assert after.fills == before.fills
        assert leased(cache, *range(5)) == 0

    def test_each_miss_is_counted_once(self, make):
        cache = miss(make(Origin()))
        assert (below(cache).reads, below(cache).misses, below(cache).fills) == (MISSES, MISSES, MISSES)

    def test_it_is_remembered_in_memory(self, make_two):
        cache = make_two(Origin())
        listening(cache.cache)
        miss(cache)
        make_two(name=cache.name).set("a", 7, ttl=60)

        def served_by_memory():
            reads = below(cache).reads
            assert [cache.get("a") for _ in range(10)] == [7] * 10
            return below(cache).reads == reads

        eventually(served_by_memory)  # once it has been told of the write
        assert cache.cache.explain("a").served_by == "memory"

    def test_what_is_known_not_to_exist(self, make):
        origin = Origin()
        cache = miss(make(origin, negative_ttl=60))
        make(lambda key: ABSENT, name=cache.name, negative_ttl=60).get("gone")
        assert cache.get("gone", "default") == "default"
        assert cache.stats().negative_served == 1
        assert "gone" not in origin.calls

    @pytest.mark.parametrize("end", ["invalidate", "delete", "clear", "expire"])
    def test_what_is_dead_is_loaded_and_replaced(self, make, end):
        cache = miss(make(Origin()))
        other = make(name=cache.name)
        other.set("a", "old", tags=("red",), ttl=60)
        {
            "invalidate": lambda: other.invalidate(tags=["red"]),
            "delete": lambda: other.delete("a"),
            "clear": other.clear,
            "expire": lambda: other.expire("a"),
        }[end]()
        assert cache.get("a") == "of a"
        assert other.get("a") == "of a"
        assert cache.stats().loads == MISSES + 1

    def test_a_level_further_down(self, build, server, own_server):
        """It is found there, and given to the level that had nothing."""
        origin = Origin()

        def tiers():
            near = redis_tier(own_server.url, name="near", stream=None)
            return [near, redis_tier(server.url, name="far", stream=None)]

        cache = miss(build(tiers(), origin))
        build(tiers()[1:], name=cache.name).set("a", 7, ttl=60)
        loads = cache.stats().loads
        assert cache.get("a") == 7
        assert cache.stats().loads == loads
        assert build(tiers()[:1], name=cache.name).get("a") == 7
        keys = Keys(cache.name)
        for each in (server, own_server):
            assert each.command("EXISTS", keys.lease("a"), keys.lease("miss")) == 0

    def test_no_lease_is_left_behind(self, make, server, leased):
        cache = miss(make(Origin()))
        cache.get("loaded")
        make(name=cache.name).set("there", 1)
        cache.get("there")
        assert leased(cache, "loaded", "there") == 0
        assert server.command("KEYS", f"hs:{cache.name}:l*") == []


class TestLoads:
    @pytest.mark.parametrize("memory", [False, True])
    def test_of_50_threads(self, make, memory):
        origin = Origin()
        cache = miss(make(origin, memory=memory))
        origin.delay = 0.1
        before = below(cache)
        got = together(50, lambda: cache.get("a"))
        assert got == ["of a"] * 50
        assert origin.calls.count("a") == 1
        assert below(cache).reads - before.reads == 1

    def test_of_50_threads_for_what_is_there(self, make):
        origin = Origin()
        cache = miss(make(origin, memory=True, max_staleness=60))
        make(name=cache.name).set("a", 7, ttl=60)
        assert together(50, lambda: cache.get("a")) == [7] * 50
        assert "a" not in origin.calls

    def test_that_fail(self, make):
        origin = Origin()
        cache = miss(make(origin))
        origin.failure = OSError("the origin is away")
        for _ in range(3):
            with pytest.raises(OSError, match="is away"):
                cache.get("a")
        assert cache.stats().load_failures == 3
        origin.failure = None
        assert cache.get("a") == "of a"
        assert make(name=cache.name).get("a") == "of a", "the lease was good for the next load"

    def test_that_take_too_long(self, make):
        origin = Origin()
        cache = miss(make(origin, hard_timeout=0.1))
        origin.gate.clear()
        with pytest.raises(LoadTimeout, match="'a'"):
            cache.get("a")
        origin.gate.set()
        eventually(lambda: make(name=cache.name).get("a") == "of a")

    def test_that_take_longer_than_what_is_kept_waits(self, make):
        origin = Origin()
        cache = make(origin, ttl=0.05, jitter=0, keep=60, soft_timeout=0.1)
        cache.get("a")
        miss(cache)
        time.sleep(0.1)
        origin.gate.clear()
        assert cache.get("a") == "of a"
        assert cache.stats().stale_served == 1
        origin.gate.set()

    def test_another_cache_that_loads_is_waited_for(self, make):
        origin, slow = Origin(), Origin()
        cache = miss(make(origin, lock_timeout=10))
        other = make(slow, name=cache.name, lock_timeout=10)
        slow.gate.clear()
        first = threading.Thread(target=other.get, args=("a",))
        first.start()
        eventually(lambda: slow.calls)
        got = []
        second = threading.Thread(target=lambda: got.append(cache.get("a")))
        second.start()
        time.sleep(0.1)
        assert not got
        slow.gate.set()
        first.join(WAIT)
        second.join(WAIT)
        assert got == ["of a"]
        assert "a" not in origin.calls

    def test_a_write_in_the_middle_wins(self, make):
        origin = Origin()
        cache = miss(make(origin, memory=True, max_staleness=60))
        other = make(name=cache.name)
        origin.gate.clear()
        thread = threading.Thread(target=cache.get, args=("a",))
        thread.start()
        eventually(lambda: "a" in origin.calls)
        other.set("a", "written", ttl=60)
        origin.gate.set()
        thread.join(WAIT)
        assert other.get("a") == "written"
        assert cache.get("a") == "written"

    def test_a_server_that_is_away(self, build, own_server):
        origin = Origin()
        cache = miss(build([redis_tier(own_server.url, stream=None, timeout=0.5)], origin))
        own_server.kill()
        assert cache.get("a") == "of a"
        assert below(cache).errors >= 1


def together(count, call):
    """Call something in so many threads at once."""
    barrier = threading.Barrier(count)
    got = []

    def run():
        barrier.wait(WAIT)
        got.append(call())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    return got
