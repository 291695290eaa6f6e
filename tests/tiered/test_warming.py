"""Warming: what each strategy brings, what is reported, its bounds, and that nothing old comes of it."""

import asyncio
import contextlib
import gc
import io
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from tiered.drivers import (
    PATIENCE,
    Origin,
    eventually,
    listening,
    loop_thread,
    opened,
    own_server,
    redis_tier,
    runner,
    shared_server,
)
from tiered.warming import ran, remembered, served_alone, store, two

from hotset import MemoryTier, RedisTier
from hotset.errors import TierError, TierTimeout, WarmingError, WarmingStopped
from hotset.tiered.breaker import Breaker
from hotset.warming import CacheWarmer, from_keys
from hotset.warming.pace import Pace

__all__ = ["loop_thread", "opened", "own_server", "ran", "runner", "shared_server", "store", "two"]


# What is reported


class TestReports:
    def test_strategies_succeed_and_fail_each_for_itself(self, opened, ran):
        cache = opened([MemoryTier(1000)], load_many=Origin().many)

        async def broken_later(warm):
            await asyncio.sleep(0.01)
            raise LookupError("no such table")

        async def good_later(warm):
            return await warm.aload(range(100, 110))

        warmer = (
            CacheWarmer(cache)
            .add("keys", from_keys(range(100)))
            .add("broken", lambda warm: 1 / 0)
            .add("leaves", lambda warm: sys.exit(3))
            .add("broken later", broken_later)
            .add("own", lambda warm: warm.load(["a", "b"]))
            .add("own later", good_later)
            .add("counts", lambda warm: 7)
            .add("silent", lambda warm: None)
        )
        report = ran(warmer)
        assert report is not None
        assert [one.name for one in report.strategies] == [
            *("keys", "broken", "leaves", "broken later", "own", "own later", "counts", "silent")
        ]
        assert {one.name: (one.success, one.items, type(one.error)) for one in report.strategies} == {
            "keys": (True, 100, type(None)),
            "broken": (False, 0, ZeroDivisionError),
            "leaves": (False, 0, SystemExit),
            "broken later": (False, 0, LookupError),
            "own": (True, 2, type(None)),
            "own later": (True, 10, type(None)),
            "counts": (True, 7, type(None)),
            "silent": (True, 0, type(None)),
        }
        assert not report.success
        assert report.items == 119
        assert report["broken later"].duration >= 0.01
        assert "broken later: failed, 0 items" in str(report)
        assert "LookupError: no such table" in str(report)
        assert report.as_dict()["strategies"][1]["error"] == "ZeroDivisionError: division by zero"
        assert warmer.report == report
        with pytest.raises(KeyError):
            report["other"]

    def test_all_well_is_a_success(self, opened, ran):
        cache = opened([MemoryTier(1000)], load_many=Origin().many)
        report = ran(CacheWarmer(cache).add("a", from_keys([1])).add("b", from_keys([2])))
        assert report.success
        assert report.items == 2

    def test_they_run_side_by_side(self, opened, ran):
        """Each waits for all others."""
        cache = opened([MemoryTier(1000)])
        barrier = threading.Barrier(4)

        def plain(warm):
            barrier.wait(PATIENCE)

        async def coroutine(warm):
            await asyncio.to_thread(barrier.wait, PATIENCE)

        warmer = CacheWarmer(cache).add("a", plain).add("b", plain).add("c", coroutine).add("d", coroutine)
        assert ran(warmer).success

    def test_a_function_may_return_an_awaitable(self, opened, ran):
        cache = opened([MemoryTier(1000)])

        async def later():
            return 3

        assert ran(CacheWarmer(cache).add("a", lambda warm: later())).items == 3

    def test_what_it_counts_itself_is_not_counted_twice(self, opened, ran):
        def strategy(warm):
            warm.done(5)
            return 5

        assert ran(CacheWarmer(opened([MemoryTier(10)])).add("a", strategy)).items == 5

    def test_one_that_raises_a_cancellation_has_failed(self, opened, ran):
        async def strategy(warm):
            raise asyncio.CancelledError

        report = ran(CacheWarmer(opened([MemoryTier(10)])).add("a", strategy).add("b", lambda warm: 1))
        assert (report["a"].outcome, report["b"].outcome) == ("failed", "done")
        assert isinstance(report["a"].error, WarmingError)

    def test_one_that_raises_stop_iteration_has_failed(self, opened, ran):
        report = ran(CacheWarmer(opened([MemoryTier(10)])).add("a", lambda warm: next(iter(()))))
        assert isinstance(report["a"].error, RuntimeError)

    def test_the_same_warmer_runs_again(self, opened, ran):
        origin = Origin()
        cache = opened([MemoryTier(1000)], load_many=origin.many)
        warmer = CacheWarmer(cache).add("a", from_keys([1, 2]))
        first, second = ran(warmer), ran(warmer)
        assert (first["a"].loaded, second["a"].loaded) == (2, 0)
        assert first["a"].items == second["a"].items == 2
        assert len(origin.calls) == 1


# Keys


class TestKeys:
    def test_a_batch_is_one_load(self, two, ran):
        origin = Origin()
        cache = two(load_many=origin.many)
        report = ran(CacheWarmer(cache, batch=100).add("a", from_keys(range(250))))
        assert [len(call) for call in origin.calls] == [100, 100, 50]
        assert (report["a"].items, report["a"].loaded, report["a"].missing) == (250, 250, 0)
        assert served_alone(listening(cache), range(250)) == {key: f"of {key}" for key in range(250)}

    def test_what_a_shared_level_has_is_not_loaded(self, two, store, ran):
        origin = Origin()
        name = store({key: f"stored {key}" for key in range(0, 200, 2)})
        cache = two(name, load_many=origin.many)
        report = ran(CacheWarmer(cache).add("a", from_keys(range(200))))
        assert (report["a"].items, report["a"].loaded) == (200, 100)
        assert sorted(key for call in origin.calls for key in call) == list(range(1, 200, 2))
        assert cache.get(4) == "stored 4"
        assert cache.get(5) == "of 5"

    @pytest.mark.parametrize("keys", [list, tuple, set, iter, lambda keys: (key for key in keys), dict.fromkeys])
    def test_any_iterable_will_do(self, opened, ran, keys):
        cache = opened([MemoryTier(1000)], load_many=Origin().many)
        assert ran(CacheWarmer(cache, batch=10).add("a", from_keys(keys(range(25))))).items == 25
        assert len(remembered(cache, range(25))) == 25

    def test_a_slow_iterable_holds_up_no_event_loop(self, opened, loop_thread):
        def keys():
            time.sleep(0.3)
            yield 1

        cache = opened([MemoryTier(10)], load_many=Origin().many)
        turns = 0

        async def main():
            nonlocal turns
            task = asyncio.create_task(CacheWarmer(cache).add("a", from_keys(keys())).arun())
            while not task.done():
                turns += 1
                await asyncio.sleep(0.01)
            return task.result()

        assert loop_thread.run(main()).items == 1
        assert turns > 5

    def test_an_iterable_that_fails_fails_the_strategy(self, opened, ran):
        def keys():
            yield from range(20)
            raise OSError("the cursor is gone")

        cache = opened([MemoryTier(100)], load_many=Origin().many)
        report = ran(CacheWarmer(cache, batch=10).add("a", from_keys(keys())))
        assert report["a"].outcome == "failed"
        assert report["a"].items == 20
        assert str(report["a"].error) == "the cursor is gone"

    def test_what_is_no_key_fails_the_strategy(self, opened, ran):
        cache = opened([MemoryTier(100)], load_many=Origin().many)
        report = ran(CacheWarmer(cache).add("a", from_keys([1.5])))
        assert isinstance(report["a"].error, TypeError)
        assert "1.5" in str(report["a"].error)

    def test_without_a_loader_the_others_are_missing(self, two, store, ran):
        cache = two(store({1: "one"}))
        report = ran(CacheWarmer(cache).add("a", from_keys([1, 2, 3])))
        assert report.success
        assert (report["a"].items, report["a"].missing) == (1, 2)

    def test_keys_have_their_own_loaders(self, opened, ran):
        cache = opened([MemoryTier(100)])
        cache.register_loader("user:", lambda key: "a user")
        report = ran(CacheWarmer(cache).add("a", from_keys(["user:1", "item:1"])))
        assert (report["a"].items, report["a"].missing) == (1, 1)
        assert cache.get("user:1") == "a user"

    def test_what_the_origin_does_not_have_is_missing(self, opened, ran):
        origin = Origin({1: "one"})
        cache = opened([MemoryTier(100)], load_many=origin.many, negative_ttl=60)
        report = ran(CacheWarmer(cache).add("a", from_keys([1, 2])))
        assert (report["a"].items, report["a"].missing) == (1, 1)
        assert report.success

    def test_a_cache_without_memory_is_warmed_at_its_levels(self, opened, shared_server, ran):
        origin = Origin()
        cache = opened([redis_tier(shared_server.url)], load_many=origin.many)
        assert ran(CacheWarmer(cache).add("a", from_keys(range(10)))).items == 10
        assert ran(CacheWarmer(cache).add("a", from_keys(range(10))))["a"].loaded == 0
        assert len(origin.calls) == 1

    def test_a_coroutine_loads(self, opened, ran):
        async def load_many(keys):
            await asyncio.sleep(0)
            return {key: key for key in keys}

        cache = opened([MemoryTier(100)], load_many=load_many)
        assert ran(CacheWarmer(cache).add("a", from_keys(range(10)))).items == 10

    def test_an_async_loader_runs_on_the_loop_that_warms(self, opened, loop_thread):
        loops = []

        async def load(key):
            loops.append(asyncio.get_running_loop())
            return key

        cache = opened([MemoryTier(100)], load=load)
        loop_thread.run(CacheWarmer(cache).add("a", from_keys([1, 2])).arun())
        assert loops == [loop_thread.loop] * 2


# Origins that fail


class TestFailures:
    def test_one_bad_key_harms_no_other(self, two, ran):
        def load(key):
            if key % 5 == 3:
                raise LookupError(f"row {key} is damaged")
            return key

        cache = two(load=load)
        report = ran(CacheWarmer(cache, batch=20).add("a", from_keys(range(100))))
        one = report["a"]
        assert (one.items, one.failed, one.outcome) == (80, 20, "done")
        assert not one.success
        assert str(one.error) == "row 3 is damaged"
        assert len(remembered(cache, range(100))) == 80

    def test_an_origin_that_is_down_is_left_in_peace(self, opened, ran):
        origin = Origin()
        origin.failure = ConnectionError("refused")
        cache = opened([MemoryTier(1000)], load_many=origin.many)
        report = ran(CacheWarmer(cache, batch=10).add("a", from_keys(range(1000))))
        assert len(origin.calls) == 3
        assert (report["a"].outcome, report["a"].items, report["a"].failed) == ("failed", 0, 30)
        assert report["a"].error is origin.failure

    def test_an_origin_that_fails_now_and_then_is_asked_on(self, opened, ran):
        calls = 0

        def load_many(keys):
            nonlocal calls
            calls += 1
            if calls % 3:
                raise ConnectionError("refused")
            return dict.fromkeys(keys, 1)

        cache = opened([MemoryTier(1000)], load_many=load_many)
        report = ran(CacheWarmer(cache, batch=10).add("a", from_keys(range(120))))
        assert (report["a"].outcome, report["a"].items, report["a"].failed) == ("done", 40, 80)

    def test_a_dead_level_is_told_and_the_origin_asked(self, own_server, two, ran):
        origin = Origin()
        cache = two(url=own_server.url, load_many=origin.many, tier=redis_tier(own_server.url, timeout=0.2))
        own_server.kill()
        report = ran(CacheWarmer(cache, batch=10).add("a", from_keys(range(30))))
        assert (report["a"].outcome, report["a"].items) == ("done", 30)
        assert isinstance(report["a"].error, TierError)
        assert not report.success

    def test_a_dead_level_without_an_origin_fails_the_keys(self, own_server, two, ran):
        cache = two(tier=redis_tier(own_server.url, timeout=0.2))
        own_server.kill()
        report = ran(CacheWarmer(cache).add("a", from_keys(range(30))))
        assert (report["a"].items, report["a"].missing, report["a"].failed) == (0, 0, 30)
        assert isinstance(report["a"].error, TierError)

    def test_a_level_that_fails_for_a_moment_is_asked_again(self, store, opened, shared_server, ran):
        class Fails(RedisTier):
            left = 2

            async def aread(self, names):
                if self.left:
                    self.left -= 1
                    raise TierError("for a moment")
                return await super().aread(names)

        name = store({key: key for key in range(10)})
        tier = Fails(shared_server.url, timeout=5.0)
        report = ran(CacheWarmer(opened([MemoryTier(100), tier], name=name)).add("a", from_keys(range(10))))
        assert report.success
        assert report.items == 10
        assert tier.left == 0

    def test_a_level_that_stays_away_is_not_asked_again_and_again(self, opened, shared_server, ran):
        class Away(RedisTier):
            asked = 0

            async def aread(self, names):
                self.asked += 1
                raise TierError("away")

        tier = Away(shared_server.url, timeout=5.0)
        cache = opened([MemoryTier(100), tier], breaker=lambda: Breaker(minimum=1000, consecutive=1000))
        report = ran(CacheWarmer(cache, batch=10).add("a", from_keys(range(50))))
        assert report["a"].failed == 50
        assert tier.asked == 3 + 4

    def test_what_is_too_much_at_once_is_asked_for_in_parts(self, store, opened, shared_server, ran):
        class Slow(RedisTier):
            asked = ()

            async def aread(self, names):
                self.asked = (*self.asked, len(names))
                if len(names) > 20:
                    raise TierTimeout("too much")
                return await super().aread(names)

        origin = Origin()
        name = store({key: key for key in range(150)})
        tier = Slow(shared_server.url, timeout=5.0)
        cache = opened([MemoryTier(1000), tier], name=name, load_many=origin.many)
        report = ran(CacheWarmer(cache, batch=200).add("a", from_keys(range(160))))
        assert tier.asked[:4] == (160, 40, 10, 10)
        assert report.success
        assert (report["a"].items, report["a"].loaded) == (160, 10)
        assert origin.calls == [list(range(150, 160))]

    def test_only_a_few_single_loads_are_under_way(self, opened, ran):
        under_way = most = 0

        async def load(key):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.001)
            under_way -= 1
            return key

        cache = opened([MemoryTier(1000)], load=load)
        assert ran(CacheWarmer(cache).add("a", from_keys(range(100)))).items == 100
        assert 2 <= most <= 8


# The budget


@pytest.mark.parametrize("rate", [0.5, 1, 7, 10, 99.5, 1000, 1e6])
def test_a_pace_is_kept_in_every_stretch_of_time(rate, rng):
    """However draws come: those granted to begin within any stretch are its share and the burst at most."""
    now = 0.0
    pace = Pace(rate, clock=lambda: now)
    assert pace.burst == max(1, int(rate / 10))
    granted = []
    for _ in range(400):
        now += rng.choice((0.0, 0.0, rng.random() / rate, rng.random() * 20 / rate))
        count = rng.randint(1, pace.burst)
        wait = pace.draw(count)
        assert wait >= 0
        granted.append((now + wait, count))
    assert [moment for moment, _ in granted] == sorted(moment for moment, _ in granted)
    for first in range(0, 400, 7):
        total = 0
        for moment, count in granted[first:]:
            total += count
            assert total <= rate * (moment - granted[first][0]) + pace.burst + 1e-6


def test_a_pace_that_was_idle_grants_a_burst_and_no_more():
    now = 0.0
    pace = Pace(100, clock=lambda: now)
    now = 1000.0
    assert [pace.draw(10), pace.draw(10), pace.draw(5)] == pytest.approx([0.0, 0.1, 0.15])


def test_without_a_rate_nobody_waits():
    pace = Pace(None)
    assert pace.most(12345) == 12345
    assert [pace.draw(10_000) for _ in range(3)] == [0.0] * 3


class TestRate:
    def test_loads_keep_to_the_rate(self, opened, ran):
        moments = []

        def load_many(keys):
            moments.extend([time.monotonic()] * len(keys))
            return dict.fromkeys(keys, 1)

        cache = opened([MemoryTier(1000)], load_many=load_many)
        rate = 200
        warmer = CacheWarmer(cache, rate=rate).add("a", from_keys(range(80))).add("b", from_keys(range(80, 160)))
        report = ran(warmer)
        assert report["a"].loaded == report["b"].loaded == 80
        # In no stretch of time are there more than the rate allows, plus a tenth of a second's share. Loads may begin
        # late on a busy machine, which makes stretches shorter by a little.
        for first in range(160):
            for last in range(first, 160):
                taken = moments[last] - moments[first] + 0.1
                assert last - first + 1 <= rate * taken + rate / 10 + 1

    def test_what_levels_have_costs_nothing_of_it(self, two, store, ran):
        cache = two(store({key: key for key in range(3000)}), load_many=Origin().many)
        report = ran(CacheWarmer(cache, rate=1, timeout=30).add("a", from_keys(range(3000))))
        assert report.success
        assert report.items == 3000

    def test_nobody_waits_for_it(self, opened):
        """A read of a key that is to be warmed in an hour loads at once."""
        cache = opened([MemoryTier(1000)], load_many=Origin().many)
        warmer = CacheWarmer(cache, rate=1 / 3600).add("a", from_keys(range(100)))
        thread = threading.Thread(target=warmer.run)
        thread.start()
        try:
            eventually(lambda: remembered(cache, [0]))
            assert cache.get(1) == "of 1"
            assert cache.get_many([2, 99]) == {2: "of 2", 99: "of 99"}
        finally:
            warmer.stop()
            thread.join(PATIENCE)
        assert warmer.report["a"].outcome == "stopped"
        assert warmer.report["a"].loaded == 1

    def test_strategies_of_ones_own_draw_from_it(self, opened, ran):
        def plain(warm):
            for _ in range(5):
                warm.take(2)
                warm.done(2)

        async def coroutine(warm):
            for _ in range(5):
                await warm.atake(2)
                warm.done(2)

        begun = time.monotonic()
        report = ran(CacheWarmer(opened([MemoryTier(10)]), rate=40).add("a", plain).add("b", coroutine))
        assert report.items == 20
        assert time.monotonic() - begun >= (20 - 4) / 40 - 0.01


# Bounds, and an end before the end


class TestBounds:
    def test_time_is_bounded_for_each_and_for_all(self, opened, ran):
        async def sleeps(warm):
            warm.done(2)
            await asyncio.sleep(3600)

        released, over = threading.Event(), threading.Event()

        def takes_no_notice(warm):
            warm.done(3)
            released.wait(PATIENCE)
            warm.done(1000)
            over.set()

        told = []
        warmer = CacheWarmer(opened([MemoryTier(10)]), timeout=0.5, progress=lambda *what: told.append(what))
        warmer.add("sleeps", sleeps, timeout=0.1).add("no notice", takes_no_notice).add("quick", lambda warm: 1)
        report = ran(warmer)
        released.set()
        over.wait(PATIENCE)
        assert ("no notice", 1003, None) not in told
        assert report.duration < 4.5
        assert {one.name: (one.outcome, one.items, type(one.error)) for one in report.strategies} == {
            "sleeps": ("late", 2, TimeoutError),
            "no notice": ("late", 3, TimeoutError),
            "quick": ("done", 1, type(None)),
        }
        assert report["sleeps"].duration < 0.4 < report["no notice"].duration
        assert str(report["sleeps"].error) == "it took longer than 0.1 s"
        assert warmer.report == report

    def test_a_timeout_of_its_own_is_its_failure(self, opened, ran):
        def strategy(warm):
            raise TimeoutError("the socket's")

        report = ran(CacheWarmer(opened([MemoryTier(10)])).add("a", strategy))
        assert (report["a"].outcome, str(report["a"].error)) == ("failed", "the socket's")

    def test_what_takes_no_notice_of_a_cancellation_is_left_alone(self, opened, ran):
        async def stubborn(warm):
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.05)
                    if over.is_set():
                        return

        over = threading.Event()
        report = ran(CacheWarmer(opened([MemoryTier(10)]), timeout=0.1).add("a", stubborn))
        over.set()
        assert report["a"].outcome in {"late", "stopped"}

    def test_stop_ends_a_run_which_tells_how_far_it_came(self, opened, ran):
        def load_many(keys):
            if 50 in keys:
                threading.Thread(target=warmer.stop).start()
                assert stopped.wait(PATIENCE)
            return dict.fromkeys(keys, 1)

        def notices(warm):
            assert not warm.stopping
            eventually(lambda: warm.stopping)
            stopped.set()
            warm.load([1])

        stopped = threading.Event()
        cache = opened([MemoryTier(1000)], load_many=load_many)
        warmer = CacheWarmer(cache, batch=10).add("keys", from_keys(range(1000))).add("notices", notices)
        report = ran(warmer)
        assert report["keys"].outcome == "stopped"
        assert report["keys"].items in {50, 60}
        assert report["notices"].outcome == "stopped"
        assert not report.success

    def test_load_in_a_stopped_run_raises(self, opened):
        raised = []

        def strategy(warm):
            begun.set()
            eventually(lambda: warm.stopping)
            for call in (lambda: warm.load(range(10)), warm.take):
                with pytest.raises(WarmingStopped):
                    call()
                raised.append(call)

        begun = threading.Event()
        warmer = CacheWarmer(opened([MemoryTier(10)], load=Origin())).add("a", strategy)
        thread = threading.Thread(target=warmer.run)
        thread.start()
        assert begun.wait(PATIENCE)
        warmer.stop()
        thread.join(PATIENCE)
        eventually(lambda: len(raised) == 2)

    def test_a_cancelled_task_stops_it_and_leaves_a_report(self, opened, loop_thread):
        cache = opened([MemoryTier(1000)], load_many=Origin().many)
        warmer = CacheWarmer(cache, rate=100, batch=10).add("a", from_keys(range(1000)))

        async def main():
            task = asyncio.create_task(warmer.arun())
            while not remembered(cache, [15]):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        loop_thread.run(main())
        assert warmer.report["a"].outcome == "stopped"
        assert 10 < warmer.report["a"].items < 1000
        assert warmer.report["a"].items == len(remembered(cache, range(1000)))

    def test_a_cache_that_is_closed_ends_it(self, opened):
        cache = opened([MemoryTier(1000)], load_many=Origin().many)
        warmer = CacheWarmer(cache, rate=10).add("a", from_keys(range(1000)))
        thread = threading.Thread(target=warmer.run)
        thread.start()
        eventually(lambda: remembered(cache, [0]))
        cache.close()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert warmer.report["a"].outcome == "stopped"

    def test_a_closed_cache_is_not_warmed(self, opened):
        cache = opened([MemoryTier(10)], load=Origin())
        cache.close()
        with pytest.raises(RuntimeError, match="closed"):
            CacheWarmer(cache).add("a", from_keys([1])).run()

    def test_one_run_at_a_time(self, opened):
        cache = opened([MemoryTier(10)])
        gate = threading.Event()
        warmer = CacheWarmer(cache).add("a", lambda warm: gate.wait(PATIENCE))
        thread = threading.Thread(target=warmer.run)
        thread.start()
        try:
            eventually(lambda: warmer._run is not None)
            with pytest.raises(RuntimeError, match="at work"):
                warmer.run()
        finally:
            gate.set()
            thread.join(PATIENCE)
        assert warmer.run().success

    def test_run_is_refused_on_a_loop(self, opened, loop_thread):
        warmer = CacheWarmer(opened([MemoryTier(10)])).add("a", lambda warm: 1)

        async def main():
            with pytest.raises(RuntimeError, match=r"await arun\(\)"):
                warmer.run()
            return await warmer.arun()

        assert loop_thread.run(main()).success


INTERRUPTED = """
    import sys, threading, time
    from hotset import MemoryTier, TieredCache
    from hotset.warming import CacheWarmer, from_keys

    def load_many(keys):
        if 50 in keys:
            print("at it", flush=True)
        return {key: 1 for key in keys}

    def hangs(warm):
        warm.done(4)
        time.sleep(3600)

    cache = TieredCache("c", [MemoryTier(1000)], load_many=load_many)
    warmer = CacheWarmer(cache, rate=100).add("keys", from_keys(range(1000))).add("hangs", hangs)
    try:
        warmer.run()
    except KeyboardInterrupt:
        for one in warmer.report.strategies:
            print(one.name, one.outcome, one.items, flush=True)
        cache.close()
        sys.exit(7)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child there")
def test_ctrl_c_stops_a_run_and_leaves_a_report():
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "at it\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 7, err
    keys, hangs = [line.split() for line in out.splitlines()]
    assert keys[:2] == ["keys", "stopped"]
    assert 50 <= int(keys[2]) < 1000
    assert hangs == ["hangs", "stopped", "4"]
    assert err == ""


# Who watches, and what makes no sense


class TestProgress:
    def test_a_function_is_told(self, opened, ran):
        told = []
        cache = opened([MemoryTier(1000)], load_many=Origin(dict.fromkeys(range(90), 1)).many)
        warmer = CacheWarmer(cache, batch=40, progress=lambda *what: told.append(what))
        ran(warmer.add("list", from_keys(list(range(100)))).add("own", lambda warm: warm.done(5)))
        # Of a list it is known how long it is; the ten that the origin does not have are seen to, too.
        assert [what for what in told if what[0] == "list"][-1] == ("list", 100, 100)
        seen = [done for name, done, _ in told if name == "list"]
        assert seen == sorted(seen)
        assert len(set(seen)) > 3
        assert [what for what in told if what[0] == "own"] == [("own", 5, None)]

    def test_of_an_iterable_the_length_is_not_known(self, opened, ran):
        told = []
        cache = opened([MemoryTier(1000)], load_many=Origin().many)
        ran(CacheWarmer(cache, progress=lambda *what: told.append(what)).add("a", from_keys(iter([1, 2]))))
        assert told[-1] == ("a", 2, None)

    def test_one_that_fails_fails_the_strategy(self, opened, ran):
        cache = opened([MemoryTier(1000)], load_many=Origin().many)
        report = ran(CacheWarmer(cache, progress=lambda *what: 1 / 0).add("a", from_keys([1])))
        assert isinstance(report["a"].error, ZeroDivisionError)

    def test_a_bar_shows_each_strategy(self):
        pytest.importorskip("rich")
        from rich.console import Console

        from hotset.warming.progress import Bar

        out = io.StringIO()
        bar = Bar(Console(file=out, force_terminal=True, width=100))
        bar("[users]", 5, 10)
        bar("items", 7, None)
        bar("[users]", 10, 10)
        bar.close()
        bar.close()
        assert "[users]" in out.getvalue()
        assert "10/10" in out.getvalue()
        assert "7/?" in out.getvalue()

    def test_a_bar_is_shown_and_taken_away(self, opened, ran, capfd):
        pytest.importorskip("rich")
        cache = opened([MemoryTier(1000)], load_many=Origin().many)
        assert ran(CacheWarmer(cache, progress=True).add("a", from_keys([1]))).success
        assert ran(CacheWarmer(cache, progress=True).add("b", from_keys([1]))).success

    def test_without_rich_it_says_what_is_missing(self, opened, monkeypatch):
        monkeypatch.setitem(sys.modules, "rich.console", None)
        monkeypatch.delitem(sys.modules, "hotset.warming.progress", raising=False)
        warmer = CacheWarmer(opened([MemoryTier(10)]), progress=True).add("a", lambda warm: 1)
        with pytest.raises(ImportError, match=r"hotset\[progress\]"):
            warmer.run()
        monkeypatch.undo()
        assert CacheWarmer(warmer.cache).add("a", lambda warm: 1).run().success


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rate": 0}, ValueError, "rate must be positive and finite, or None for no bound, got 0"),
        ({"rate": float("nan")}, ValueError, "got nan"),
        ({"rate": float("inf")}, ValueError, "got inf"),
        ({"rate": "fast"}, TypeError, "rate must be loads per second or None, got 'fast'"),
        ({"rate": True}, TypeError, "got True"),
        ({"batch": 0}, ValueError, "batch must be from 1 to 100,000 keys, got 0"),
        ({"batch": 1.5}, TypeError, "batch must be an int, got 1.5"),
        ({"timeout": 0}, ValueError, "timeout must be more than zero"),
        ({"timeout": "never"}, ValueError, "timeout must have an end"),
        ({"progress": 5}, TypeError, "progress must be a bool or callable, got 5"),
    ],
)
def test_options_that_make_no_sense(opened, options, error, message):
    with pytest.raises(error, match=message):
        CacheWarmer(opened([MemoryTier(10)]), **options)


def test_what_is_no_cache_and_no_strategy(opened):
    with pytest.raises(TypeError, match="cache must be a TieredCache, got 5"):
        CacheWarmer(5)
    warmer = CacheWarmer(opened([MemoryTier(10)]))
    with pytest.raises(ValueError, match="nothing to run"):
        warmer.run()
    with pytest.raises(TypeError, match="strategy must be a ready-made one or callable, got 5"):
        warmer.add("a", 5)
    with pytest.raises(TypeError, match="strategy must take one argument, a Warmup"):
        warmer.add("a", lambda: 1)
    with pytest.raises(ValueError, match="name must be a str that is not empty, got ''"):
        warmer.add("", lambda warm: 1)
    with pytest.raises(ValueError, match="timeout must not be negative"):
        warmer.add("a", lambda warm: 1, timeout=-1)
    warmer.add("a", lambda warm: 1)
    with pytest.raises(ValueError, match="there is a strategy 'a' already"):
        warmer.add("a", lambda warm: 1)
    assert repr(warmer) == f"<CacheWarmer of {warmer.cache.name!r}: a>"


def test_connections_of_its_loop_end_with_the_cache(two):
    """ResourceWarning is an error here."""
    for _ in range(20):
        cache = two(load_many=Origin().many)
        assert CacheWarmer(cache).add("a", from_keys([1])).run().success
        cache.close()
        del cache
        gc.collect()
