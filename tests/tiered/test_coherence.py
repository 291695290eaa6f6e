"""Coherence with real threads, event loops, processes and servers, and with servers that fail.

The origin holds a number a key; a writer counts it up, then tells the cache; writers of one key take turns. A read that
begins after a change has returned gives that number or a later one: always in the cache that made the change, and in
other ones at the latest `max_staleness` after it.
"""

import asyncio
import bisect
import concurrent.futures
import contextlib
import json
import logging
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict

import pytest

from hotset.tiered import TieredCache
from hotset.tiers import MemoryTier, RedisTier

SECONDS = float(os.environ.get("HOTSET_COHERENCE_SECONDS", "1.5"))  # that a test goes on for
KEYS = 4
MAX_STALENESS = 1.0
PATIENCE = 20  # seconds beyond SECONDS that a busy machine gets for enough reads and changes
SLACK = 0.5  # for a machine that is busy with something else
HERE = pathlib.Path(__file__).resolve().parent


class Origin:
    """Numbers by key, which arrive a while after they were read; and what the caches were told of them."""

    def __init__(self, slowness=0.002):
        self.slowness = slowness
        self.numbers = defaultdict(int)
        self.turns = defaultdict(threading.Lock)
        self.loads = 0

    def load(self, key):
        self.loads += 1
        number = self.numbers[key]
        time.sleep(random.random() * self.slowness)
        return number

    async def aload(self, key):
        self.loads += 1
        number = self.numbers[key]
        await asyncio.sleep(random.random() * self.slowness)
        return number


class Watcher:
    """Reads and changes of one cache, checked against each other as they come."""

    def __init__(self, cache, origin):
        self.cache, self.origin = cache, origin
        self.floor = defaultdict(int)  # key -> number whose change has returned
        self.returned = defaultdict(list)  # key -> (moment, number), in order
        self.wrong = []
        self.reads = self.writes = 0
        self.longest = 0.0

    def read(self):
        key = random.randrange(KEYS)
        floor, began = self.floor[key], time.monotonic()
        number = self.cache.get(key)
        self.note(key, number, floor, began)

    async def aread(self):
        key = random.randrange(KEYS)
        floor, began = self.floor[key], time.monotonic()
        number = await self.cache.aget(key)
        self.note(key, number, floor, began)

    def note(self, key, number, floor, began):
        self.longest = max(self.longest, time.monotonic() - began)
        self.reads += 1
        if number is None or number < floor:
            self.wrong.append((key, number, floor))

    def write(self):
        key = random.randrange(KEYS)
        with self.origin.turns[key]:
            self.origin.numbers[key] = number = self.origin.numbers[key] + 1
            if random.random() < 0.5:
                self.cache.set(key, number)
            else:
                self.cache.invalidate(key)
            self.promise(key, number)

    async def awrite(self):
        key = random.randrange(KEYS)
        turn = self.origin.turns[key]
        while not turn.acquire(blocking=False):
            await asyncio.sleep(0.001)
        try:
            self.origin.numbers[key] = number = self.origin.numbers[key] + 1
            if random.random() < 0.5:
                await self.cache.aset(key, number)
            else:
                await self.cache.ainvalidate(key)
            self.promise(key, number)
        finally:
            turn.release()

    def enough(self):
        """Whether there was so much of everything that nothing wrong says something."""
        return self.reads > 100 and self.writes > 20 and self.origin.loads > 20

    def promise(self, key, number):
        self.returned[key].append((time.monotonic(), number))
        self.floor[key] = number
        self.writes += 1


def goes_on(seconds, enough):
    """Return what says whether to go on: for so many seconds, then until there is enough."""
    end = time.monotonic() + seconds
    return lambda: (now := time.monotonic()) < end or (now < end + PATIENCE and not enough())


def in_threads(*works, seconds=SECONDS, enough=lambda: True):
    """Do each work over and over, in a thread of its own; raises what one of them raised."""
    more = goes_on(seconds, enough)

    def repeat(work):
        while more():
            work()

    with concurrent.futures.ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(repeat, work) for work in works]:
            future.result(seconds + PATIENCE + 60)


async def in_tasks(*works, seconds=SECONDS, enough=lambda: True):
    """Do each work over and over, in a task of its own."""
    more = goes_on(seconds, enough)

    async def repeat(work):
        while more():
            await work()
            await asyncio.sleep(0)

    async with asyncio.timeout(seconds + PATIENCE + 60):
        await asyncio.gather(*(repeat(work) for work in works))


def paused(work, pause):
    def paused_work():
        work()
        time.sleep(random.random() * pause)

    return paused_work


def apaused(work, pause):
    async def paused_work():
        await work()
        await asyncio.sleep(random.random() * pause)

    return paused_work


@pytest.fixture(params=[False, True], ids=["memory", "memory and server"])
def tiers(request, server):
    """The levels of a cache: memory alone, and memory above a server."""
    return [MemoryTier(1000), RedisTier(server.url)] if request.param else [MemoryTier(1000)]


@pytest.mark.stress
class TestOneProcess:
    def test_threads(self, tiers):
        origin = Origin()
        with TieredCache("threads", tiers, load=origin.load) as cache:
            watcher = Watcher(cache, origin)
            in_threads(*[watcher.read] * 6, *[paused(watcher.write, 0.004)] * 2, enough=watcher.enough)
        assert not watcher.wrong
        assert watcher.enough()

    def test_tasks(self, tiers):
        origin = Origin()

        async def main():
            async with TieredCache("tasks", tiers, load=origin.aload) as cache:
                watcher = Watcher(cache, origin)
                await in_tasks(*[watcher.aread] * 190, *[apaused(watcher.awrite, 0.02)] * 10, enough=watcher.enough)
            return watcher

        watcher = asyncio.run(main())
        assert not watcher.wrong
        assert watcher.enough()

    def test_threads_and_loops(self, tiers):
        origin = Origin()
        with TieredCache("both", tiers, load=origin.load) as cache:
            watcher = Watcher(cache, origin)

            def loop():
                works = [watcher.aread] * 40 + [apaused(watcher.awrite, 0.02)] * 4
                asyncio.run(in_tasks(*works, enough=watcher.enough))

            loops = [threading.Thread(target=loop) for _ in range(2)]
            for thread in loops:
                thread.start()
            in_threads(*[watcher.read] * 3, paused(watcher.write, 0.004), enough=watcher.enough)
            for thread in loops:
                thread.join(60)
                assert not thread.is_alive()
        assert not watcher.wrong
        assert watcher.enough()


# Other processes


def staleness_of(reads, returned):
    """Return by how many seconds reads, (key, number, began), came after a change that they do not show.

    `returned` is by key (moment, number) of changes, in order.
    """
    worst = 0.0
    for key, number, began in reads:
        changes = returned[key]
        newer = bisect.bisect_right(changes, number, key=lambda change: change[1])
        if newer < len(changes):
            worst = max(worst, began - changes[newer][0])
    return worst


@pytest.mark.stress
@pytest.mark.parametrize("stream", ["tracking", "pubsub"])
def test_processes(server, tmp_path, stream):
    path = tmp_path / "origin"
    path.write_bytes(bytes(8 * KEYS))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    children = []
    with contextlib.ExitStack() as stack:
        for seed in range(3):
            task = {
                "path": str(path),
                "url": server.url,
                "keys": KEYS,
                "seconds": 2 * SECONDS,
                "seed": seed,
                "stream": stream,
            }
            child = subprocess.Popen(
                [sys.executable, str(HERE / "one_process.py"), json.dumps(task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
            )
            stack.callback(child.kill)
            stack.enter_context(child)
            children.append(child)
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        notes = [json.loads(child.communicate(timeout=60)[0]) for child in children]
    everything = defaultdict(list)
    for note in notes:
        assert not note["errors"]
        assert not note["older_below"], "the server has something older than what was just written"
        own = defaultdict(list)
        for key, number, moment in note["written"]:
            own[key].append((moment, number))
            everything[key].append((moment, number))
        assert staleness_of(note["suspicious"], own) <= 0, "a process reads something older than its own change"
        assert note["reads"] > 100
        assert note["memory_hits"] > note["reads"] / 10
        assert len(note["written"]) > 20
    for changes in everything.values():
        changes.sort(key=lambda change: change[1])
    worst = max(staleness_of(note["suspicious"], everything) for note in notes)
    print(f"stale for up to {worst * 1000:.1f} ms")
    assert worst < MAX_STALENESS + SLACK


class TestStreamThatIsCut:
    """One cache has the server by a proxy; another one goes straight to it and changes things."""

    @pytest.fixture(params=["tracking", "pubsub"])
    def pair(self, request, server, proxy):
        origin, stream = Origin(), request.param
        near = TieredCache("pair", [MemoryTier(100), RedisTier(server.url, stream=stream)], load=origin.load)
        far = TieredCache("pair", [MemoryTier(100), RedisTier(proxy.url, stream=stream)], load=origin.load)
        with near, far:
            yield Watcher(near, origin), Watcher(far, origin)

    def staleness(self, pair, fault):
        """Return how stale the far cache was while there was a fault."""
        near, far = pair
        reads = []

        def read():
            key = random.randrange(KEYS)
            began = time.monotonic()
            reads.append((key, far.cache.get(key), began))
            time.sleep(0.001)

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            faulty = pool.submit(fault)
            seconds = max(SECONDS, 2.2)
            in_threads(read, read, paused(near.write, 0.02), seconds=seconds, enough=lambda: near.writes > 20)
            faulty.result(60)
        assert len(reads) > 50
        assert near.writes > 20
        return staleness_of(reads, near.returned)

    def test_a_stream_that_is_well(self, pair):
        worst = self.staleness(pair, lambda: None)
        print(f"stale for up to {worst * 1000:.1f} ms")
        assert worst < MAX_STALENESS

    def test_a_stall(self, pair, proxy):
        def stall():
            time.sleep(0.3)
            proxy.stall()
            time.sleep(1.6)
            proxy.resume()

        worst = self.staleness(pair, stall)
        print(f"stale for up to {worst * 1000:.1f} ms")
        assert 0.1 < worst < MAX_STALENESS + SLACK, "a stall that nothing is stale by shows nothing"

    def test_cuts(self, pair, proxy):
        def cut():
            for _ in range(10):
                time.sleep(0.2)
                proxy.cut()

        worst = self.staleness(pair, cut)
        print(f"stale for up to {worst * 1000:.1f} ms")
        assert worst < MAX_STALENESS + SLACK

    def test_a_server_that_cannot_be_reached(self, pair, proxy):
        def refuse():
            time.sleep(0.3)
            proxy.refuse()
            proxy.cut()
            time.sleep(1.2)
            proxy.accept()

        worst = self.staleness(pair, refuse)
        print(f"stale for up to {worst * 1000:.1f} ms")
        assert worst < MAX_STALENESS + SLACK

    def test_a_message_of_another_format(self, server, eventually, caplog):
        """A process of another release may have told of any change: memory is confirmed before it is served again."""
        origin = Origin()
        tiers = [MemoryTier(100), RedisTier(server.url, stream="pubsub", heartbeat=0.2)]
        with TieredCache("formats", tiers, load=origin.load) as cache:
            eventually(lambda: cache.stats().levels[1].stream == "alive")
            cache.get(1)
            eventually(lambda: cache.explain(1).levels[0].state == "fresh")
            for _ in range(3):
                assert cache.get(1) == 0
            asked = cache.stats().levels[1].latency.count  # round trips
            time.sleep(1.1)  # longer than anything is believed that nobody vouches for
            assert cache.get(1) == 0
            assert cache.stats().levels[1].latency.count == asked
            (channel,) = server.command("PUBSUB", "CHANNELS", "*formats*")
            with caplog.at_level(logging.WARNING, "hotset.tiers.stream"):
                assert server.command("PUBLISH", channel, "2 somebody names [1]") == 1
                eventually(lambda: cache.stats().levels[1].stream == "lost")
                eventually(lambda: cache.stats().levels[1].stream == "alive")
            assert "is not understood: b'2 somebody names [1]'" in caplog.text
            assert cache.get(1) == 0
            assert cache.stats().levels[1].latency.count > asked
            assert cache.stats().loads == 1

    def test_a_server_that_refuses_tracking(self, make_server, eventually, caplog):
        """It is said once, with what to do; memory is served unchecked within its bound, and pub/sub does work."""
        server = make_server()
        server.command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-client|tracking")
        url = f"redis://limited:secret@127.0.0.1:{server.port}/0"
        origin = Origin()
        with caplog.at_level(logging.WARNING, "hotset.tiers.stream"):
            tiers = [MemoryTier(100), RedisTier(url)]
            with TieredCache("refused", tiers, load=origin.load, max_staleness=0.2) as cache:
                eventually(lambda: caplog.records)
                assert cache.get(1) == cache.get(1) == 0
                with TieredCache("refused", [RedisTier(server.url, stream=None)]) as other:
                    other.set(1, 7)
                began = time.monotonic()
                eventually(lambda: cache.get(1) == 7)
                assert time.monotonic() - began < 0.2 + SLACK
                time.sleep(0.5)  # further attempts
                assert cache.stats().levels[1].stream == "lost"
                assert cache.stats().levels[0].stream == ""
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert 'stream="pubsub"' in record.message
        assert "+client|tracking" in record.message
        with TieredCache("allowed", [MemoryTier(100), RedisTier(url, stream="pubsub")], load=origin.load) as cache:
            eventually(lambda: cache.stats().levels[1].stream == "alive")

    def test_a_write_that_arrives_after_a_later_one(self, server, proxy, eventually):
        """It took so long that its cache gave it up; what it leaves at the server is removed."""
        levels = {"recovery_delay": 0.2}
        slow = TieredCache("late", [RedisTier(proxy.url, stream=None, timeout=0.2)], **levels)
        fast = TieredCache("late", [RedisTier(server.url, stream=None)], **levels)
        with slow, fast:
            slow.set("k", 1)
            proxy.stall("up")
            slow.set("k", 2)
            fast.set("k", 3)
            assert fast.get("k") == 3
            proxy.resume("up")
            eventually(lambda: not slow.stats().recovery["pending"])
            assert fast.get("k") in {None, 3}
            assert slow.get("k") in {None, 3}


# A server that fails


def restarted(server):
    server.kill()
    time.sleep(0.3)
    server.restart()


def hung(server):
    with server.hung():
        time.sleep(0.7)


def read_only(server):
    with server.read_only():
        time.sleep(0.5)


def out_of_memory(server):
    with server.out_of_memory():
        time.sleep(0.5)


@pytest.mark.stress
@pytest.mark.parametrize("fault", [restarted, hung, read_only, out_of_memory])
def test_a_server_that_fails(fault, make_server, eventually):
    server = make_server()
    origin = Origin()
    tier = RedisTier(server.url)
    with TieredCache("faults", [MemoryTier(100), tier], load=origin.load, recovery_delay=0.2) as cache:
        watcher = Watcher(cache, origin)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            faulty = pool.submit(lambda: (time.sleep(0.2), fault(server)))
            works = [watcher.read] * 3 + [paused(watcher.write, 0.01)] * 2
            in_threads(*works, seconds=max(SECONDS, 1.5), enough=watcher.enough)
            faulty.result(60)
        print(f"a read took up to {watcher.longest * 1000:.1f} ms")
        assert not watcher.wrong
        assert watcher.reads > 100
        assert watcher.writes > 20
        # A read of the server, a lease and a fill take 0.25 s at most each, and a load some ms.
        assert watcher.longest < 3 * tier.timeout + SLACK
        stats = cache.stats()
        assert stats.levels[1].errors > 0, "a fault that nobody has met shows nothing"
        eventually(lambda: not cache.stats().recovery["pending"] and not cache.stats().recovery["replaying"])
        with TieredCache("faults", [RedisTier(server.url)]) as below:
            for key in range(KEYS):
                assert below.get(key) in {None, origin.numbers[key]}
        # What was known in process is no older.
        assert {key: cache.get(key) for key in range(KEYS)} == {key: origin.numbers[key] for key in range(KEYS)}


# One load


class LoaderError(Exception):
    pass


@pytest.mark.parametrize("fails", [False, True])
class TestStampede:
    def test_threads(self, tiers, fails):
        count = 200
        waiting, loads = threading.Semaphore(0), []

        def load(key):
            loads.append(key)
            for _ in range(count):
                assert waiting.acquire(timeout=30)
            time.sleep(0.5)  # the last one has said that it is about to ask, and asks
            if fails:
                raise LoaderError
            return 42

        def ask():
            waiting.release()
            try:
                return cache.get("cold")
            except LoaderError:
                return "failure"

        with TieredCache("stampede", tiers, load=load) as cache:
            with concurrent.futures.ThreadPoolExecutor(count) as pool:
                outcomes = [future.result(60) for future in [pool.submit(ask) for _ in range(count)]]
        assert outcomes == ["failure" if fails else 42] * count
        assert loads == ["cold"]

    def test_tasks(self, tiers, fails):
        count = 1000
        loads = []

        async def load(key):
            loads.append(key)
            await asyncio.sleep(0.3)
            if fails:
                raise LoaderError
            return 42

        async def main():
            async with TieredCache("stampede", tiers, load=load) as cache, asyncio.timeout(60):
                return await asyncio.gather(*(cache.aget("cold") for _ in range(count)), return_exceptions=True)

        outcomes = asyncio.run(main())
        if fails:
            assert {type(outcome) for outcome in outcomes} == {LoaderError}
        else:
            assert outcomes == [42] * count
        assert loads == ["cold"]


# Loads that never come to their end


def in_time(function):
    """Return what a function does within 10 s, in a thread that may be left behind."""
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(function()), daemon=True)
    thread.start()
    thread.join(10)
    assert outcome, "it hangs"
    return outcome[0]


def test_a_load_whose_loop_ends_before_it_begins():
    cache = TieredCache("ended", [MemoryTier(10)], load=lambda key: 42)

    async def main():
        task = asyncio.ensure_future(cache.aget("k"))
        await asyncio.sleep(0)
        return task

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main())
    assert in_time(lambda: cache.get("k")) == 42
    cache.close()


def test_a_loader_that_is_cancelled_from_inside():
    loads = []

    async def load(key):
        loads.append(key)
        raise asyncio.CancelledError

    async def one():
        async with TieredCache("cancelled", [MemoryTier(10)], load=load) as cache:
            async with asyncio.timeout(2):
                return await cache.aget("k")

    async def many():
        async with TieredCache("cancelled", [MemoryTier(10)], load=load) as cache:
            async with asyncio.timeout(2):
                return await cache.aget_many(["k", "l"])

    for main in (one, many):
        loads.clear()
        try:
            value = asyncio.run(main())
        except (Exception, asyncio.CancelledError) as error:
            assert not isinstance(error, TimeoutError), "it is loaded over and over"
        else:
            pytest.fail(f"a load that was cancelled gives {value!r}")
        assert len(loads) <= 4


@pytest.mark.parametrize("remove", ["delete", "invalidate"])
def test_what_is_set_right_after_its_removal_stays_in_memory(server, eventually, remove):
    """The news of the removal comes late, and is this cache's own."""
    with TieredCache("again", [MemoryTier(1000), RedisTier(server.url, timeout=5, heartbeat=0.05)]) as cache:
        logic = cache._logic

        def heard():
            now = time.monotonic()
            eventually(lambda: logic.guard.until > now)

        heard()
        for number in range(200):
            cache.set(number, "old", ttl=60)
            time.sleep(number % 7 * 0.0002)
            getattr(cache, remove)(number)
            cache.set(number, "new", ttl=60)
        time.sleep(0.3)
        heard()
        reads = cache.stats().levels[-1].reads
        assert [cache.get(number) for number in range(200)] == ["new"] * 200
        assert cache.stats().levels[-1].reads == reads
