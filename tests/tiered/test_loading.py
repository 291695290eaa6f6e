"""Loading: once a key, by whoever asks; ahead of time, in the background, within a budget; and when it fails."""

import asyncio
import gc
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from subprocesses import run_script
from tiered.drivers import (  # noqa: F401 - fixtures
    Origin,
    build,
    counted,
    eventually,
    levels,
    listening,
    loop_thread,
    make,
    make_two,
    namespace,
    opened,
    own_server,
    redis_tier,
    runner,
    shared_server,
)

from hotset import ABSENT, Loaded, MemoryTier, RedisTier
from hotset.errors import LoadError, LoadRefused, LoadTimeout

WAIT = 15.0  # for a thread or a future to end


def in_threads(count, work):
    """Call something in so many threads at once; what each returned or raised."""
    barrier = threading.Barrier(count)
    outcomes = []

    def run():
        barrier.wait(WAIT)
        try:
            outcomes.append(work())
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in threads)
    return outcomes


class TestOnce:
    """One load a key at a time."""

    def test_of_200_threads(self, make):
        origin = Origin(delay=0.1)
        cache = make(origin).cache
        assert in_threads(200, lambda: cache.get("a")) == ["of a"] * 200
        assert origin.calls == ["a"]

    def test_of_1000_tasks(self, make, loop_thread):
        origin = Origin(delay=0.1)
        cache = make(origin.aload).cache

        async def all_at_once():
            return await asyncio.gather(*(cache.aget("a") for _ in range(1000)))

        assert loop_thread.run(all_at_once()) == ["of a"] * 1000
        assert origin.calls == ["a"]

    @pytest.mark.parametrize("fails", [False, True], ids=["a value", "a failure"])
    def test_of_200_threads_and_1000_tasks(self, make, loop_thread, fails):
        """One load, or one failure, for all of them, whoever was first."""
        origin = Origin()
        origin.gate.clear()
        if fails:
            origin.failure = OSError("the origin is away")
        cache = make(origin).cache
        asked = threading.Semaphore(0)

        async def ask():
            asked.release()
            return await cache.aget("a")

        async def all_at_once():
            return await asyncio.gather(*(ask() for _ in range(1000)), return_exceptions=True)

        def get():
            asked.release()
            return cache.get("a")

        tasks = asyncio.run_coroutine_threadsafe(all_at_once(), loop_thread.loop)
        with ThreadPoolExecutor(1) as pool:
            threads = pool.submit(in_threads, 200, get)
            for _ in range(1200):
                assert asked.acquire(timeout=WAIT)
            eventually(lambda: origin.calls)
            time.sleep(0.3)  # those who have begun to ask wait by now
            origin.gate.set()
            outcomes = threads.result(WAIT) + tasks.result(WAIT)
        assert len(outcomes) == 1200
        assert set(outcomes) == ({origin.failure} if fails else {"of a"})
        assert origin.calls == ["a"]
        assert cache.stats().loads == 1
        assert cache.stats().load_failures == fails

    def test_of_threads_and_tasks_together(self, make, loop_thread):
        origin = Origin()
        origin.gate.clear()
        cache = make(origin).cache
        with ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(cache.get, "a") for _ in range(20)]
            waiting += [asyncio.run_coroutine_threadsafe(cache.aget("a"), loop_thread.loop) for _ in range(20)]
            eventually(lambda: origin.calls)
            time.sleep(0.05)
            origin.gate.set()
            assert [future.result(WAIT) for future in waiting] == ["of a"] * 40
        assert origin.calls == ["a"]

    def test_of_bulk_and_single_gets_together(self, make, loop_thread):
        origin = Origin()
        origin.gate.clear()
        cache = make(origin, load_many=origin.many).cache
        with ThreadPoolExecutor(20) as pool:
            many = pool.submit(cache.get_many, ["a", "b"])
            eventually(lambda: origin.calls)
            one = pool.submit(cache.get, "a")
            other = asyncio.run_coroutine_threadsafe(cache.aget_many(["b", "a"]), loop_thread.loop)
            time.sleep(0.05)
            origin.gate.set()
            assert many.result(WAIT) == other.result(WAIT) == {"a": "of a", "b": "of b"}
            assert one.result(WAIT) == "of a"
        assert origin.calls == [["a", "b"]]

    def test_bulk_gets_in_opposite_order_do_not_wait_for_each_other(self, make):
        origin = Origin(delay=0.001)
        cache = make(load_many=origin.many).cache
        keys = list(range(50))
        orders = [keys, keys[::-1]] * 10
        outcomes = in_threads(20, lambda: cache.get_many(orders.pop()))
        assert outcomes == [{key: f"of {key}" for key in keys}] * 20
        assert sum(map(len, origin.calls)) == 50

    def test_a_failure_reaches_all_once(self, make):
        origin = Origin(delay=0.5)
        origin.failure = OSError("the origin is away")
        cache = make(origin).cache
        outcomes = in_threads(50, lambda: cache.get("a"))
        assert set(outcomes) == {origin.failure}
        assert len(outcomes) == 50
        assert origin.calls == ["a"]
        assert cache.stats().load_failures == 1

    def test_different_keys_are_loaded_side_by_side(self, make):
        origin = Origin(delay=0.2)
        cache = make(origin).cache
        keys = list(range(10))
        begun = time.monotonic()
        assert sorted(in_threads(10, lambda: cache.get(keys.pop()))) == sorted(f"of {key}" for key in range(10))
        assert time.monotonic() - begun < 1.5

    def test_two_caches_on_one_server_without_a_lock_may_load_twice_and_agree(self, make_two):
        origin = Origin(delay=0.1)
        one = make_two(origin)
        caches = [one.cache, make_two(origin, name=one.name).cache] * 5
        assert in_threads(10, lambda: caches.pop().get("a")) == ["of a"] * 10
        assert 1 <= len(origin.calls) <= 2


class TestOnceInTheCluster:
    def test_of_two_caches(self, make_two):
        origin = Origin(delay=0.2)
        one = make_two(origin, lock_timeout=10)
        caches = [one.cache, make_two(origin, name=one.name, lock_timeout=10).cache] * 5
        assert in_threads(10, lambda: caches.pop().get("a")) == ["of a"] * 10
        assert origin.calls == ["a"]

    def test_the_other_is_waited_for_no_longer_than_that(self, make_two):
        origin, slow = Origin(), Origin()
        slow.gate.clear()
        one = make_two(slow, lock_timeout=10)
        other = make_two(origin, name=one.name, lock_timeout=0.2)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(one.get, "a")
            eventually(lambda: slow.calls)
            begun = time.monotonic()
            assert other.get("a") == "of a"
            assert 0.15 < time.monotonic() - begun < 2.5
            assert origin.calls == ["a"]
            slow.gate.set()
            assert first.result(WAIT) == "of a"

    def test_what_the_next_one_loads_after_an_invalidation_is_stored(self, make_two, build, shared_server):
        """The lease that was waited for is gone with the invalidation: the load needs one of its own."""
        origin = Origin()
        slow = Origin()
        slow.gate.clear()
        one = make_two(slow, lock_timeout=10)
        other = build([redis_tier(shared_server.url, stream=None)], origin, name=one.name, lock_timeout=10)
        third = make_two(name=one.name)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(one.get, "a")
            eventually(lambda: slow.calls)
            second = pool.submit(other.get, "a")
            time.sleep(0.1)
            third.invalidate("a")
            assert second.result(WAIT) == "of a"
            slow.gate.set()
            assert first.result(WAIT) == "of a"
        assert origin.calls == ["a"]
        assert third.get("a") == "of a"

    def test_many_of_two_caches(self, make_two):
        """What one is loading the other waits for, and loads the rest meanwhile, at once."""
        first, second = Origin(), Origin()
        first.gate.clear()
        one = make_two(load_many=first.many, lock_timeout=10)
        other = make_two(load_many=second.many, name=one.name, lock_timeout=10)
        with ThreadPoolExecutor(2) as pool:
            loading = pool.submit(one.get_many, "abc")
            eventually(lambda: first.calls)
            waiting = pool.submit(other.get_many, "bcdefg")
            eventually(lambda: second.calls)
            time.sleep(0.1)
            assert not waiting.done()
            first.gate.set()
            assert loading.result(WAIT) == {key: f"of {key}" for key in "abc"}
            assert waiting.result(WAIT) == {key: f"of {key}" for key in "bcdefg"}
        assert [sorted(keys) for keys in first.calls] == [list("abc")]
        assert [sorted(keys) for keys in second.calls] == [list("defg")]
        assert other.explain("b").levels[0].state == "fresh"

    def test_many_in_opposite_orders_do_not_wait_for_each_other(self, make_two):
        origin = Origin(delay=0.001)
        one = make_two(load_many=origin.many, lock_timeout=10)
        caches = [one.cache, make_two(name=one.name, load_many=origin.many, lock_timeout=10).cache]
        keys = list(range(50))
        work = [(cache, order) for cache in caches for order in (keys, keys[::-1])]

        def get():
            cache, order = work.pop()
            return [cache.get_many(order[begin : begin + 20]) for begin in range(0, 50, 10)]

        begun = time.monotonic()
        for outcome in in_threads(4, get):
            assert {key: value for some in outcome for key, value in some.items()} == {key: f"of {key}" for key in keys}
        assert time.monotonic() - begun < 8
        assert sorted(key for call in origin.calls for key in call) == keys

    def test_many_are_waited_for_no_longer_than_that(self, make_two):
        origin, slow = Origin(), Origin()
        slow.gate.clear()
        one = make_two(slow, lock_timeout=10)
        other = make_two(load_many=origin.many, name=one.name, lock_timeout=0.3)
        with ThreadPoolExecutor(2) as pool:
            first = [pool.submit(one.get, key) for key in "ab"]
            eventually(lambda: len(slow.calls) == 2)
            begun = time.monotonic()
            assert other.get_many("abc") == {"a": "of a", "b": "of b", "c": "of c"}
            assert 0.25 < time.monotonic() - begun < 2.5
            slow.gate.set()
            assert [future.result(WAIT) for future in first] == ["of a", "of b"]
        assert [sorted(keys) for keys in origin.calls] == [["c"], ["a", "b"]]

    def test_many_that_fail_do_not_fail_what_others_load(self, make_two):
        origin, slow = Origin(), Origin()
        slow.gate.clear()
        one = make_two(slow, lock_timeout=10)
        other = make_two(load_many=origin.many, name=one.name, lock_timeout=10)
        origin.failure = OSError("the origin is away")
        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(one.get, "a")
            eventually(lambda: slow.calls)
            many = pool.submit(other.get_many, "ab")
            eventually(lambda: origin.calls)
            follower = pool.submit(other.get, "a")
            time.sleep(0.1)
            slow.gate.set()
            assert first.result(WAIT) == follower.result(WAIT) == "of a"
            with pytest.raises(OSError, match="away"):
                many.result(WAIT)
        assert origin.calls == [["b"]]
        assert other.stats().load_failures == 1

    def test_many_that_were_invalidated_meanwhile_are_loaded(self, make_two):
        origin, slow = Origin(), Origin()
        slow.gate.clear()
        one = make_two(slow, lock_timeout=10)
        other = make_two(load_many=origin.many, name=one.name, lock_timeout=10)
        third = make_two(name=one.name)
        with ThreadPoolExecutor(3) as pool:
            first = [pool.submit(one.get, key) for key in "ab"]
            eventually(lambda: len(slow.calls) == 2)
            many = pool.submit(other.get_many, "ab")
            time.sleep(0.1)
            third.invalidate("a")
            eventually(lambda: origin.calls == [["a"]])
            assert not many.done()
            slow.gate.set()
            assert many.result(WAIT) == {"a": "of a", "b": "of b"}
            assert [future.result(WAIT) for future in first] == ["of a", "of b"]
        assert origin.calls == [["a"]]
        assert third.get_many("ab") == {"a": "of a", "b": "of b"}

    def test_nobody_waits_for_itself(self, build, shared_server, own_server):
        """A level that is not the last one lends before the next one is asked, and is asked again by the load."""
        origin = Origin()
        tiers = [redis_tier(server.url, name=server.url, stream=None) for server in (own_server, shared_server)]
        cache = build(tiers, origin, load_many=origin.many, lock_timeout=10)
        begun = time.monotonic()
        assert cache.get("a") == "of a"
        assert cache.get_many("bc") == {"b": "of b", "c": "of c"}
        assert time.monotonic() - begun < 5

    def test_of_processes(self, shared_server):
        script = """
            import sys, time
            from hotset import MemoryTier, RedisTier, TieredCache
            url, name, begin = sys.argv[1], sys.argv[2], float(sys.argv[3])

            def load(key):
                time.sleep(0.3)
                print("loaded", flush=True)
                return "value"

            with TieredCache(name, [MemoryTier(10), RedisTier(url, timeout=5)], load, lock_timeout=20) as cache:
                time.sleep(max(0, begin - time.time()))
                assert cache.get("a") == "value"
        """
        name = namespace()
        begin = time.time() + 1.0
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(run_script, script, shared_server.url, name, begin) for _ in range(3)]
            said = "".join(run.result(60).stdout for run in runs)
        assert said.count("loaded") == 1


class TestJoined:
    """Gets of one turn of a loop."""

    def test_one_round_trip_for_single_gets(self, opened, own_server, loop_thread):
        name = namespace()
        writer = opened([redis_tier(own_server.url)], name=name)
        cache = opened([redis_tier(own_server.url)], name=name)
        keys = [f"user:{number}" for number in range(500)]
        writer.set_many({key: key for key in keys})

        async def all_at_once():
            await cache.aget("first")
            before = counted(own_server, "mget", "get")
            values = await asyncio.gather(*(cache.aget(key) for key in [*keys, keys[0], "missing"]))
            return values, counted(own_server, "mget", "get") - before

        values, commands = loop_thread.run(all_at_once())
        assert values == [*keys, keys[0], None]
        assert commands == 1
        assert cache.stats().levels[0].reads == 503

    def test_one_that_is_cancelled_harms_nobody(self, opened, shared_server, loop_thread):
        cache = opened([redis_tier(shared_server.url)])
        cache.set_many({"a": 1, "b": 2})

        async def cancelled():
            tasks = [asyncio.create_task(cache.aget(key)) for key in "abaab"]
            await asyncio.sleep(0)
            tasks[0].cancel()
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        one, two, *rest = loop_thread.run(cancelled())
        assert isinstance(one, asyncio.CancelledError)
        assert isinstance(two, asyncio.CancelledError)
        assert rest == [1, 1, 2]

    def test_a_failure_reaches_each(self, opened, own_server, loop_thread):
        cache = opened([RedisTier(own_server.url, timeout=0.2)])
        own_server.kill()

        async def all_at_once():
            return await asyncio.gather(*(cache.aget(key, "default") for key in range(20)))

        assert loop_thread.run(all_at_once()) == ["default"] * 20
        (level,) = cache.stats().levels
        assert level.errors == 1


class TestAhead:
    def test_the_old_value_is_served_while_one_load_brings_the_new_one(self, make_two):
        origin = Origin({"a": 1})
        cache = make_two(origin, ttl=2.0, jitter=0, refresh_ahead=0.2)
        listening(cache)
        assert cache.get("a") == 1
        origin.values["a"] = 2
        assert cache.get("a") == 1
        time.sleep(0.45)
        origin.gate.clear()
        begun = time.monotonic()
        assert [cache.get("a") for _ in range(20)] == [1] * 20
        assert time.monotonic() - begun < 1.0
        eventually(lambda: len(origin.calls) == 2)
        origin.gate.set()
        eventually(lambda: cache.get("a") == 2)
        assert len(origin.calls) == 2
        assert cache.stats().refreshes == 1
        assert cache.explain("a").levels[0].life > 1.2

    def test_in_memory_alone(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], origin, ttl=1.0, jitter=0, refresh_ahead=0.2)
        assert cache.get("a") == 1
        origin.values["a"] = 2
        time.sleep(0.25)
        assert cache.get("a") == 1
        eventually(lambda: cache.get("a") == 2)
        assert len(origin.calls) == 2

    def test_by_get_many(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], load_many=origin.many, ttl=1.0, jitter=0, refresh_ahead=0.2)
        assert cache.get_many("a") == {"a": 1}
        origin.values["a"] = 2
        time.sleep(0.25)
        assert cache.get_many("a") == {"a": 1}
        eventually(lambda: cache.get_many("a") == {"a": 2})
        assert origin.calls == [["a"], ["a"]]

    def test_not_for_what_was_set(self, build):
        """Its first read has a loader, too: it is refreshed like all else."""
        origin = Origin({"a": 2})
        cache = build([MemoryTier(10)], origin, ttl=1.0, jitter=0, refresh_ahead=0.2)
        cache.set("a", 1)
        assert origin.calls == []
        time.sleep(0.25)
        assert cache.get("a") == 1
        eventually(lambda: cache.get("a") == 2)
        assert origin.calls == ["a"]

    def test_a_failed_refresh_leaves_the_old_value_for_the_rest_of_its_life(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], origin, ttl=2.0, jitter=0, refresh_ahead=0.1)
        assert cache.get("a") == 1
        origin.failure = OSError("the origin is away")
        time.sleep(0.25)
        for _ in range(20):
            assert cache.get("a") == 1
            time.sleep(0.01)
        assert len(origin.calls) == 2
        eventually(lambda: cache.stats().load_failures == 1)
        time.sleep(1.8)
        with pytest.raises(OSError, match="away"):
            cache.get("a")

    def test_what_is_gone_at_the_origin_goes(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], origin, ttl=60, jitter=0, refresh_ahead=0.002)
        assert cache.get("a") == 1
        origin.values["a"] = ABSENT
        time.sleep(0.2)
        assert cache.get("a") == 1
        eventually(lambda: cache.get("a", "default") == "default")

    def test_a_refresh_after_an_invalidation_does_not_bring_the_old_value(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], origin, ttl=2.0, jitter=0, refresh_ahead=0.1)
        assert cache.get("a") == 1
        time.sleep(0.25)
        slow = Origin({"a": 1})
        slow.gate.clear()
        assert cache.get_or_load("a", slow) == 1
        eventually(lambda: slow.calls)
        origin.values["a"] = 2
        cache.invalidate("a")
        assert cache.get("a") == 2
        slow.gate.set()
        time.sleep(0.1)
        assert cache.get("a") == 2

    def test_xfetch_refreshes_early_what_is_dear_to_load(self, build):
        cheap, dear = Origin(), Origin(delay=0.2)
        cache = build([MemoryTier(100)], ttl=1.0, jitter=0, xfetch=6.0)
        cache.register_loader("cheap", cheap)
        cache.register_loader("dear", dear)
        keys = [f"{kind}{number}" for kind in ("cheap", "dear") for number in range(8)]
        for key in keys:
            in_thread = threading.Thread(target=cache.cache.get, args=(key,))
            in_thread.start()
        eventually(lambda: len(dear.calls) == 8 and cache.stats().load_latency.count == 16)
        end = time.monotonic() + 0.55
        while time.monotonic() < end:
            for key in keys:
                assert cache.get(key) == f"of {key}"
            time.sleep(0.02)
        assert len(dear.calls) > 8
        assert len(cheap.calls) < len(dear.calls)  # on a busy machine what is cheap takes its time, too


class TestWhileRevalidating:
    def test_the_old_value_is_served_after_its_life(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], origin, ttl=0.1, jitter=0, stale_while_revalidate=60)
        assert cache.get("a") == 1
        origin.values["a"] = 2
        time.sleep(0.15)
        origin.gate.clear()
        begun = time.monotonic()
        assert [cache.get("a") for _ in range(20)] == [1] * 20
        assert time.monotonic() - begun < 1.0
        eventually(lambda: len(origin.calls) == 2)
        origin.gate.set()
        eventually(lambda: cache.explain("a").levels[0].state == "fresh")
        assert cache.stats().stale_served >= 20
        assert cache.stats().refreshes == 1

    def test_not_for_longer_than_that(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], origin, ttl=0.1, jitter=0, stale_while_revalidate=0.1)
        assert cache.get("a") == 1
        origin.values["a"] = 2
        time.sleep(0.3)
        assert cache.get("a") == 2

    @pytest.mark.filterwarnings("ignore:stale_while_revalidate has no effect")
    def test_not_what_was_expired_by_hand(self, make):
        origin = Origin({"a": 1})
        cache = make(origin, ttl=60, keep=60, stale_while_revalidate=60)
        assert cache.get("a") == 1
        origin.values["a"] = 2
        cache.expire("a")
        assert cache.get("a") == 2

    def test_with_a_shared_level(self, make_two):
        origin = Origin({"a": 1})
        cache = listening(make_two(origin, ttl=0.2, jitter=0, stale_while_revalidate=60))
        assert cache.get("a") == 1
        origin.values["a"] = 2
        time.sleep(0.25)
        assert cache.get("a") == 1
        eventually(lambda: cache.stats().refreshes == 1)
        eventually(lambda: len(origin.calls) >= 2)

    def test_a_failing_origin_is_not_asked_at_every_read(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], origin, ttl=0.1, jitter=0, keep=60, stale_while_revalidate=60)
        assert cache.get("a") == 1
        origin.failure = OSError("the origin is away")
        time.sleep(0.15)
        for _ in range(30):
            assert cache.get("a") == 1
            time.sleep(0.01)
        assert len(origin.calls) == 2

    def test_many_at_once_with_one_load(self, build):
        origin = Origin({"a": 1, "b": 2, "c": 3})
        cache = build([MemoryTier(10)], load_many=origin.many, ttl=0.1, jitter=0, stale_while_revalidate=60)
        assert cache.get_many("ab") == {"a": 1, "b": 2}
        origin.values.update(a=10, b=20)
        time.sleep(0.15)
        origin.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(lambda: [cache.get_many("ab") for _ in range(20)])
            try:
                assert waiting.result(WAIT / 3) == [{"a": 1, "b": 2}] * 20
                eventually(lambda: len(origin.calls) == 2)
            finally:
                origin.gate.set()
        eventually(lambda: all(cache.explain(key).levels[0].state == "fresh" for key in "ab"))
        assert [sorted(keys) for keys in origin.calls] == [["a", "b"]] * 2
        assert cache.stats().stale_served == 40
        assert cache.stats().refreshes == 2
        assert cache.get_many("abc") == {"a": 10, "b": 20, "c": 3}

    def test_many_with_a_shared_level(self, make_two):
        origin = Origin({"a": 1, "b": 2})
        cache = listening(make_two(origin, ttl=0.2, jitter=0, stale_while_revalidate=60))
        assert cache.get_many("ab") == {"a": 1, "b": 2}
        origin.values.update(a=10, b=20)
        time.sleep(0.25)
        assert cache.get_many("ab") == {"a": 1, "b": 2}
        eventually(lambda: cache.get_many("ab") == {"a": 10, "b": 20})
        assert cache.stats().stale_served >= 2

    def test_many_of_a_failing_origin_do_not_ask_it_at_every_read(self, build):
        origin = Origin({"a": 1, "b": 2})
        cache = build([MemoryTier(10)], load_many=origin.many, ttl=0.1, jitter=0, stale_while_revalidate=60)
        assert cache.get_many("ab") == {"a": 1, "b": 2}
        origin.failure = OSError("the origin is away")
        time.sleep(0.15)
        for _ in range(30):
            assert cache.get_many("ab") == {"a": 1, "b": 2}
            time.sleep(0.01)
        assert len(origin.calls) == 2

    @pytest.mark.filterwarnings("ignore:stale_while_revalidate has no effect")
    def test_many_but_what_was_expired_by_hand(self, make):
        origin = Origin({"a": 1, "b": 2})
        cache = make(origin, ttl=60, keep=60, stale_while_revalidate=60)
        assert cache.get_many("ab") == {"a": 1, "b": 2}
        origin.values.update(a=10, b=20)
        cache.expire("a")
        assert cache.get_many("ab") == {"a": 10, "b": 2}


class TestFailSafe:
    def test_the_origin_is_asked_once_a_throttle(self, make):
        origin = Origin({"a": 1})
        cache = make(origin, ttl=0.1, keep=60, jitter=0, fail_safe_throttle=30, max_staleness=0.2)
        assert cache.get("a") == 1
        origin.failure = OSError("the origin is away")
        time.sleep(0.15)
        begun = time.monotonic()
        while time.monotonic() - begun < 0.6:
            assert cache.get("a") == 1
            assert cache.get_many("a") == {"a": 1}
            time.sleep(0.02)
        assert len(origin.calls) == 2

    def test_many_once_a_throttle(self, make):
        origin = Origin({"a": 1, "b": 2})
        cache = make(load_many=origin.many, ttl=0.1, keep=60, jitter=0, fail_safe_throttle=30, max_staleness=0.2)
        assert cache.get_many("ab") == {"a": 1, "b": 2}
        origin.failure = OSError("the origin is away")
        time.sleep(0.15)
        for _ in range(10):
            assert cache.get_many("ab") == {"a": 1, "b": 2}
        assert len(origin.calls) == 2
        origin.failure = None
        cache.invalidate("a")  # what is gone is not served, throttled or not
        origin.values["a"] = 10
        assert cache.get_many("ab") == {"a": 10, "b": 2}
        assert origin.calls[2:] == [["a"]]

    def test_and_again_after_it(self, make):
        origin = Origin({"a": 1})
        cache = make(origin, ttl=0.1, keep=60, jitter=0, fail_safe_throttle=0.3)
        assert cache.get("a") == 1
        origin.failure = OSError("the origin is away")
        time.sleep(0.15)
        begun = time.monotonic()
        while time.monotonic() - begun < 1.0:
            assert cache.get("a") == 1
            time.sleep(0.01)
        assert 3 <= len(origin.calls) <= 5
        origin.failure = None
        origin.values["a"] = 2
        eventually(lambda: cache.get("a") == 2)

    def test_a_timeout_of_the_loader_is_a_failure_like_others(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], origin, ttl=0.1, keep=60, jitter=0)
        assert cache.get("a") == 1
        origin.failure = TimeoutError("the origin is slow")
        time.sleep(0.15)
        assert [cache.get("a") for _ in range(10)] == [1] * 10
        assert len(origin.calls) == 2
        with pytest.raises(TimeoutError, match="the origin is slow"):
            cache.get("b")

    def test_what_was_invalidated_meanwhile_is_not_kept(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], origin, ttl=0.1, keep=60, jitter=0)
        assert cache.get("a") == 1
        time.sleep(0.15)
        origin.gate.clear()
        origin.failure = OSError("the origin is away")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(cache.get, "a")
            eventually(lambda: len(origin.calls) == 2)
            cache.invalidate("a")
            origin.gate.set()
            assert waiting.result(WAIT) == 1  # asked before
        with pytest.raises(OSError, match="away"):
            cache.get("a")

    def test_from_the_level_below(self, make_two):
        """Memory has lost it, and so has its process: another one has it of Valkey."""
        origin = Origin({"a": 1})
        one = make_two(origin, ttl=0.1, keep=60, jitter=0)
        assert one.get("a") == 1
        time.sleep(0.15)
        failing = Origin()
        failing.failure = OSError("the origin is away")
        other = make_two(failing, ttl=0.1, keep=60, jitter=0, name=one.name)
        assert [other.get("a") for _ in range(5)] == [1] * 5
        assert other.get_many("a") == {"a": 1}
        assert len(failing.calls) == 1


class TestInTime:
    def test_soft(self, make):
        origin = Origin({"a": 1})
        cache = make(origin, ttl=0.1, keep=60, jitter=0, soft_timeout=0.05)
        assert cache.get("a") == 1
        origin.values["a"] = 2
        origin.gate.clear()
        time.sleep(0.15)
        begun = time.monotonic()
        assert cache.get("a", ttl=60) == 1
        assert cache.get_many("a", ttl=60) == {"a": 1}
        assert time.monotonic() - begun < 2.0
        assert cache.stats().stale_served == 2
        origin.gate.set()
        eventually(lambda: cache.explain("a").levels[-1].state == "fresh")
        assert cache.get("a") == 2
        assert len(origin.calls) == 2

    def test_soft_is_for_what_is_kept_only(self, make):
        cache = make(Origin(delay=0.1), keep=60, soft_timeout=0.01)
        assert cache.get("a") == "of a"
        assert cache.get_many("b") == {"b": "of b"}

    def test_a_failure_after_the_soft_timeout_throttles_too(self, build):
        origin = Origin({"a": 1})
        cache = build([MemoryTier(10)], origin, ttl=0.1, keep=60, jitter=0, soft_timeout=0.02)
        assert cache.get("a") == 1
        origin.failure = OSError("the origin is away")
        origin.gate.clear()
        time.sleep(0.15)
        assert cache.get("a") == 1
        origin.gate.set()
        eventually(lambda: cache.stats().load_failures == 1)
        assert [cache.get("a") for _ in range(10)] == [1] * 10
        assert len(origin.calls) == 2

    def test_hard(self, make):
        origin = Origin()
        origin.gate.clear()
        cache = make(origin, hard_timeout=0.1)
        begun = time.monotonic()
        for _ in range(2):
            with pytest.raises(LoadTimeout, match="'a'"):
                cache.get("a")
        assert time.monotonic() - begun < 5
        assert origin.calls == ["a"]
        origin.gate.set()
        eventually(lambda: cache.explain("a").levels[-1].state == "fresh")
        assert cache.get("a") == "of a"
        assert origin.calls == ["a"]

    def test_hard_for_many(self, make):
        origin = Origin()
        cache = make(load_many=origin.many, hard_timeout=0.1)
        assert cache.get_many("ab") == {"a": "of a", "b": "of b"}
        origin.gate.clear()
        begun = time.monotonic()
        with pytest.raises(LoadTimeout):
            cache.get_many("abc")
        assert time.monotonic() - begun < 5
        origin.gate.set()
        eventually(lambda: cache.explain("c").levels[-1].state == "fresh")
        assert cache.get_many("abc") == {key: f"of {key}" for key in "abc"}
        assert origin.calls == [["a", "b"], ["c"]]

    def test_within_the_hard_timeout_errors_are_the_loaders(self, make):
        origin = Origin()
        origin.failure = LookupError("none")
        cache = make(origin, hard_timeout=10)
        with pytest.raises(LookupError, match="none"):
            cache.get("a")
        with pytest.raises(LookupError, match="none"):
            cache.get_many("a")
        origin.failure = None
        assert cache.get("a") == "of a"

    def test_for_one_call(self, make):
        origin = Origin(delay=0.15)
        cache = make(origin)
        with pytest.raises(LoadTimeout):
            cache.get("a", hard_timeout=0.02)
        assert cache.get("a") == "of a"
        assert origin.calls == ["a"]


class TestBudget:
    def test_so_many_at_once(self, make):
        running, most = [], []

        def load(key):
            running.append(key)
            most.append(len(running))
            time.sleep(0.02)
            running.remove(key)
            return key

        cache = make(load, max_loads=3).cache
        keys = list(range(30))
        assert sorted(in_threads(30, lambda: cache.get(keys.pop()))) == list(range(30))
        assert 2 <= max(most) <= 3

    def test_refused_after_the_wait(self, make):
        origin = Origin()
        origin.gate.clear()
        cache = make(origin, max_loads=1, max_loads_wait=0.05)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(cache.get, "a")
            eventually(lambda: origin.calls)
            begun = time.monotonic()
            with pytest.raises(LoadRefused):
                cache.get("b")
            with pytest.raises(LoadRefused):
                cache.get_many("cd")
            assert time.monotonic() - begun < 5
            origin.gate.set()
            assert first.result(WAIT) == "of a"
        assert cache.get("b") == "of b"
        assert "b" not in origin.calls[:1]

    def test_refused_is_kept_for(self, build):
        origin = Origin()
        cache = build([MemoryTier(10)], origin, ttl=0.1, keep=60, jitter=0, max_loads=1, max_loads_wait=0)
        assert cache.get("a") == "of a"
        time.sleep(0.15)
        origin.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(cache.get, "b")
            eventually(lambda: "b" in origin.calls)
            assert cache.get("a") == "of a"
            origin.gate.set()
            assert first.result(WAIT) == "of b"


class TestForItself:
    """A loader that asks for its own key."""

    def test_raises_at_once(self, make):
        cache = make(lambda key: cache.cache.get(key))
        with pytest.raises(RuntimeError, match="'a'"):
            cache.get("a")
        with pytest.raises(RuntimeError, match="'a'"):
            cache.get_many("a")

    def test_raises_at_once_in_a_coroutine_function(self, make):
        async def load(key):
            return await cache.cache.aget(key)

        cache = make(load)
        with pytest.raises(RuntimeError, match="'a'"):
            cache.get("a")

    def test_over_another_key(self, make):
        cache = make(lambda key: cache.cache.get({"a": "b", "b": "a"}[key]))
        with pytest.raises(RuntimeError, match="waits for itself"):
            cache.get("a")

    def test_for_another_key_is_fine(self, make):
        def load(key):
            return key if key == 0 else cache.cache.get(key - 1) + 1

        cache = make(load)
        assert cache.get(5) == 5
        assert cache.get_many([6, 2]) == {6: 6, 2: 2}

    def test_for_another_key_in_a_coroutine_function_is_fine(self, make):
        async def load(key):
            return key if key == 0 else await cache.cache.aget(key - 1) + 1

        cache = make(load)
        assert cache.get(5) == 5

    def test_a_coroutine_function_that_blocks_on_another_one_does_not_hang(self, make):
        async def load(key):
            return key if key == 0 else cache.cache.get(key - 1) + 1

        cache = make(load)
        done = []

        def use():
            try:
                done.append(cache.get(2))
            except RuntimeError as error:
                done.append(error)

        thread = threading.Thread(target=use, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        assert done == [2] or isinstance(done[0], RuntimeError)


class TestInterrupted:
    def test_a_cancelled_leader_harms_nobody(self, make, loop_thread):
        origin = Origin()
        origin.gate.clear()
        cache = make(origin.aload).cache

        async def cancelled():
            leader = asyncio.create_task(cache.aget("a"))
            while not origin.calls:
                await asyncio.sleep(0.005)
            followers = [asyncio.create_task(cache.aget("a")) for _ in range(5)]
            await asyncio.sleep(0.02)
            leader.cancel()
            await asyncio.sleep(0.02)
            origin.gate.set()
            values = await asyncio.gather(*followers)
            with pytest.raises(asyncio.CancelledError):
                await leader
            return values

        assert loop_thread.run(cancelled()) == ["of a"] * 5
        assert origin.calls == ["a"]

    def test_a_cancelled_leader_of_many_harms_nobody(self, make, loop_thread):
        origin = Origin()
        origin.gate.clear()
        cache = make(origin.aload).cache

        async def cancelled():
            leader = asyncio.create_task(cache.aget_many("ab"))
            while not origin.calls:
                await asyncio.sleep(0.005)
            followers = [asyncio.create_task(cache.aget("a")), asyncio.create_task(cache.aget_many("ba"))]
            await asyncio.sleep(0.02)
            leader.cancel()
            await asyncio.sleep(0.02)
            origin.gate.set()
            values = await asyncio.gather(*followers)
            with pytest.raises(asyncio.CancelledError):
                await leader
            return values

        assert loop_thread.run(cancelled()) == ["of a", {"a": "of a", "b": "of b"}]

    def test_a_loader_that_is_cancelled_by_itself(self, make, loop_thread):
        calls = []

        async def load(key):
            calls.append(key)
            if len(calls) == 1:
                raise asyncio.CancelledError
            return f"of {key}"

        cache = make(load).cache

        async def use():
            return await asyncio.wait_for(cache.aget_many("ab"), 10)

        with pytest.raises(LoadError, match="CancelledError"):
            loop_thread.run(use())
        assert loop_thread.run(use()) == {"a": "of a", "b": "of b"}

    def test_an_interrupt_in_a_loader_passes_the_lead_on(self, make):
        calls = []
        inside = threading.Event()

        def load(key):
            calls.append(key)
            if len(calls) == 1:
                inside.set()
                time.sleep(0.1)
                raise KeyboardInterrupt
            return f"of {key}"

        cache = make(load).cache
        outcomes = []

        def lead():
            try:
                cache.get("a")
            except KeyboardInterrupt:
                outcomes.append("interrupted")

        leader = threading.Thread(target=lead)
        leader.start()
        inside.wait(WAIT)
        with ThreadPoolExecutor(5) as pool:
            followers = [pool.submit(cache.get, "a") for _ in range(5)]
            assert [follower.result(WAIT) for follower in followers] == ["of a"] * 5
        leader.join(WAIT)
        assert outcomes == ["interrupted"]
        assert calls == ["a", "a"]

    def test_a_signal_in_the_main_thread(self, make):
        """Whoever waits for another's load can be interrupted, and nobody else is harmed."""
        origin = Origin()
        origin.gate.clear()
        cache = make(origin).cache
        with ThreadPoolExecutor(1) as pool:
            leader = pool.submit(cache.get, "a")
            eventually(lambda: origin.calls)
            before = signal.signal(signal.SIGALRM, signal.default_int_handler)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                with pytest.raises(KeyboardInterrupt):
                    cache.get("a")
            finally:
                signal.signal(signal.SIGALRM, before)
            origin.gate.set()
            assert leader.result(WAIT) == "of a"


class TestFenced:
    """What a load brings that began before a change is given to who asked before, and kept nowhere."""

    @pytest.mark.parametrize("change", ["set", "delete", "invalidate", "tags", "clear", "expire"])
    def test_a_change_in_the_middle_of_a_load(self, make, change):
        origin = Origin({"a": "old"})
        origin.gate.clear()
        cache = make(lambda key: Loaded(origin(key), tags=("red",)), keep=60)
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(cache.get, "a")
            eventually(lambda: origin.calls)
            origin.values = {"a": "new"}
            old = Origin({"a": "old"})
            origin.result = old.result  # of the load that is under way
            {
                "set": lambda: cache.set("a", "new"),
                "delete": lambda: cache.delete("a"),
                "invalidate": lambda: cache.invalidate("a"),
                "tags": lambda: cache.invalidate(tags=["red"]),
                "clear": cache.clear,
                "expire": lambda: cache.expire("a"),
            }[change]()
            origin.gate.set()
            assert load.result(WAIT) == "old"
        del origin.result
        assert cache.get("a") == "new"
        assert cache.get_many("a") == {"a": "new"}

    def test_by_another_cache(self, make_two):
        origin = Origin({"a": "old"})
        origin.gate.clear()
        one = make_two(origin)
        other = make_two(name=one.name)
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(one.get, "a")
            eventually(lambda: origin.calls)
            other.set("a", "new")
            origin.gate.set()
            assert load.result(WAIT) == "old"
        assert other.get("a") == "new"
        assert one.get("a") == "new"

    def test_by_another_cache_of_which_nobody_tells(self, build, shared_server):
        origin = Origin({"a": "old", "b": "old"})
        origin.gate.clear()
        one = build([redis_tier(shared_server.url, stream=None)], origin, load_many=origin.many)
        other = build([redis_tier(shared_server.url, stream=None)], name=one.name)
        with ThreadPoolExecutor(2) as pool:
            loads = [pool.submit(one.get, "a"), pool.submit(one.get_many, ["b"])]
            eventually(lambda: len(origin.calls) == 2)
            other.set_many({"a": "new", "b": "new"})
            origin.gate.set()
            assert [load.result(WAIT) for load in loads] == ["old", {"b": "old"}]
        assert one.get_many("ab") == {"a": "new", "b": "new"}
        assert one.stats().levels[0].fills_refused == 2


class TestClosed:
    def test_with_a_load_under_way(self, make):
        origin = Origin()
        origin.gate.clear()
        cache = make(origin)
        with ThreadPoolExecutor(3) as pool:
            loads = [pool.submit(cache.get, "a") for _ in range(3)]
            eventually(lambda: origin.calls)
            cache.close()
            origin.gate.set()
            for load in loads:
                assert load.exception(WAIT) is not None or load.result() == "of a"

    def test_with_a_load_by_a_coroutine_function_under_way(self, make):
        origin = Origin()
        origin.gate.clear()
        cache = make(origin.aload)
        with ThreadPoolExecutor(3) as pool:
            loads = [pool.submit(cache.get, "a") for _ in range(3)]
            eventually(lambda: origin.calls)
            cache.close()
            for load in loads:
                assert isinstance(load.exception(WAIT), RuntimeError) or load.result() == "of a"
            origin.gate.set()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gc.collect()

    def test_with_loads_in_the_background(self, make):
        origin = Origin()
        cache = make(origin, hard_timeout=0.02)
        origin.gate.clear()
        for key in "ab":
            with pytest.raises(LoadTimeout):
                cache.get(key)
        begun = time.monotonic()
        cache.close()
        assert time.monotonic() - begun < 5
        origin.gate.set()
