"""Replicas of a real SQLite database that lag behind it: when they are asked, and what they are not believed about."""

import asyncio
import contextlib
import math
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from tiers.databases import Database, marks_on
from tiers.zones import values_at

from hotset.errors import TierError, TierTimeout, TierUnavailable
from hotset.testing.driver import RecordingListener, entry, opened
from hotset.testing.tier_contract import TierContract
from hotset.tiered import ABSENT, Loaded, TieredCache
from hotset.tiered.breaker import Breaker
from hotset.tiers import MemoryTier, RedisTier, ReplicatedTier, ReplicaTier
from hotset.tiers.contract import CLEAR
from hotset.tiers.replica import Replica

BOTH_FACES = pytest.mark.parametrize("runner", ["sync", "async"], indirect=True)


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path, replicas=2)
    for key in "abc":
        made.save(key, key.upper())
    made.replicate()
    return made


@pytest.fixture
def drive(runner):
    """Open tiers by one of their faces."""
    with contextlib.ExitStack() as stack:

        def factory(*args, runner=runner, **options):
            options = {"check_every": 0, "max_staleness": 60, **options}
            return stack.enter_context(opened(ReplicaTier(*args, **options), "test", runner))

        yield factory


class TestForm(TierContract):
    """It stores nothing: what the suite says of form, of what is missing and of fences is all that applies."""

    def make_tier(self):
        return ReplicaTier(lambda key: ABSENT, max_staleness=1)


APPLIES = {
    "test_it_is_a_tier",
    "test_it_belongs_to_one_cache",
    "test_it_can_be_closed_twice",
    "test_it_can_be_closed_unused",
    "test_a_missing_name",
    "test_touch_of_a_missing_name",
}
for name in dir(TierContract):
    if name.startswith("test_") and name not in APPLIES:
        setattr(TestForm, name, None)


# Arguments


def test_nonsense_is_refused(server):
    def load(key):
        return key

    for wrong in (7, "load", [load], {"a": load}):
        with pytest.raises(TypeError):
            ReplicaTier(wrong, max_staleness=1)
    for options in (
        {"marks": MemoryTier(1)},
        {"marks": "redis://"},
        {"lag": "1s"},
        {"lag": True},
        {"timeout": None},
        {"breaker": 7},
        {"jitter": "x"},
    ):
        with pytest.raises(TypeError):
            ReplicaTier(load, **{"max_staleness": 1, **options})
    with pytest.raises(TypeError, match="load or load_many"):
        ReplicaTier(max_staleness=1)
    with pytest.raises(TypeError):
        Replica(load, load_many=7)
    for options in (
        {"max_staleness": 0},
        {"max_staleness": math.inf},
        {"lag": -1},
        {"lag": math.nan},
        {"ttl": 0},
        {"jitter": 2},
        {"name": 7},
        {"name": ""},
    ):
        with pytest.raises(ValueError):
            ReplicaTier(load, **{"max_staleness": 1, **options})
    for options in ({"max_barred": 0}, {"timeout": -1}):
        with pytest.raises(ValueError):
            ReplicaTier(load, max_staleness=1, **options)
    for wrong, options in (([], {}), ([Replica(load)], {"lag": 1}), (Replica(load), {"load_many": load})):
        with pytest.raises(ValueError):
            ReplicaTier(wrong, max_staleness=1, **options)


def test_it_must_be_open(database):
    tier = ReplicaTier(database.replica(), max_staleness=60)
    with pytest.raises(TierError):
        tier.read(["a"])
    tier.open("test", RecordingListener())
    tier.close()
    with pytest.raises(TierUnavailable):
        tier.read(["a"])
    tier.open("test", tier._listener)
    assert tier.read(["a"]).found[0].entry.value == "A"
    tier.close()


# What is read


@BOTH_FACES
def test_what_is_there_is_found_and_the_rest_is_not(database, drive):
    tier = drive(database.replica())
    assert tier.values(["b", "none", "a", "b"]) == ["B", None, "A", "B"]
    seen = tier.look("a")
    assert 270.0 <= seen.life == seen.keep <= 300.0
    assert seen.age >= 0
    assert seen.writer == "replica 0"
    assert tier.read(["a"]).found[0].fence is None


def test_an_entry_is_as_old_as_the_replica_is_behind(database, drive):
    tier = drive(lambda key: key, lag=5.0)
    assert tier.look("a").age == 5.0


@BOTH_FACES
def test_a_loader_of_many_is_asked_once(database, drive):
    path = database.replicas[0]
    tier = drive(load_many=lambda keys: database.load_many(keys, path))
    assert tier.values(["b", "none", "a"]) == ["B", None, "A"]
    assert database.queries[path] == 1


@BOTH_FACES
def test_a_loader_may_tell_life_and_tags(drive):
    tier = drive(lambda key: Loaded(key, ttl=7, tags=("t",)), jitter=0)
    seen = tier.look("a")
    assert (seen.value, seen.life, seen.tags) == ("a", 7, ("t",))
    tier.invalidate(["other"])
    assert tier.look("a") is not None
    tier.invalidate(["t"])
    assert tier.look("a") is None


@BOTH_FACES
def test_it_takes_nothing(drive):
    tier = drive(lambda key: ABSENT)
    found = tier.lease(["a"]).found[0]
    assert found == (None, None, False)
    assert tier.fill([("a", entry(), found.fence)]) == [False]
    tier.write([("a", entry())])
    assert tier.look("a") is None


@BOTH_FACES
def test_coroutine_functions_work_by_both_faces(drive):
    async def load(key):
        await asyncio.sleep(0.001)
        return key.upper()

    async def lag():
        await asyncio.sleep(0)
        return 0.5

    tier = drive(load, lag=lag)
    assert tier.values(["a", "b"]) == ["A", "B"]
    assert tier.tier.stats()[0].lag < 60


# Lag


def test_a_replica_beyond_its_bound_is_not_asked(database, drive):
    tier = drive([database.replica(0)], max_staleness=2)
    database.replicate()
    assert tier.look("a").value == "A"
    time.sleep(2.1)
    assert tier.look("a") is None
    stats = tier.tier.stats()[0]
    assert stats.lagging == 1
    assert stats.lag > 2
    database.replicate()
    assert tier.look("a").value == "A"
    assert stats.state == "closed"


def test_the_first_one_within_its_bound_is_asked(database, drive):
    tier = drive([database.replica(0), database.replica(1)], max_staleness=2)
    time.sleep(2.1)
    database.save("a", "new")
    database.replicate(1)
    seen = tier.look("a")
    assert (seen.value, seen.writer) == ("new", "replica 1")
    database.replicate(0)
    assert tier.look("a").writer == "replica 0"


@pytest.mark.parametrize("told", [None, math.nan, "0", -1.0, True, RuntimeError("no heartbeat")])
def test_a_replica_that_does_not_know_its_lag_is_not_asked(drive, told):
    asked = []

    def lag():
        if isinstance(told, Exception):
            raise told
        return told

    tier = drive(asked.append, lag=lag)
    assert tier.look("a") is None
    assert asked == []


def test_a_measured_lag_counts_as_growing(drive):
    told = [0.1]
    tier = drive(lambda key: key, lag=lambda: told.pop(), max_staleness=2, check_every=3600)
    assert tier.look("a").value == "a"
    first = tier.look("a").age
    time.sleep(0.02)
    assert tier.look("a").age > first >= 0.1
    time.sleep(1.9)
    assert tier.look("a") is None, "and cannot be measured again"


# Failover


@BOTH_FACES
def test_a_failing_replica_is_stood_in_for(database, drive):
    database.replicas[0].unlink()
    tier = drive([database.replica(0), database.replica(1)], breaker=lambda: Breaker(consecutive=2, open_for=60))
    assert tier.values(["a", "none"]) == ["A", None]
    with database.connected(database.replicas[0]) as broken:
        broken.execute("CREATE TABLE heartbeat (moment REAL)")
        broken.execute("INSERT INTO heartbeat VALUES (?)", (time.time(),))
    for _ in range(3):
        assert tier.values(["a", "b"]) == ["A", "B"]
    first, second = tier.tier.stats()
    assert (first.state, second.state) == ("open", "closed")
    assert first.errors >= 2
    assert second.errors == 0


@BOTH_FACES
def test_all_failing_is_an_error(drive):
    def fail(key):
        raise sqlite3.OperationalError("gone")

    tier = drive([Replica(fail), Replica(fail, name="other")])
    with pytest.raises(TierUnavailable, match="gone"):
        tier.read(["a", "b"])


def test_one_failing_name_costs_that_one(drive):
    def load(key):
        if key == "bad":
            raise ValueError(key)
        return key

    assert drive(load).values(["a", "bad", "b"]) == ["a", None, "b"]


@BOTH_FACES
def test_a_slow_replica_costs_its_timeout(drive):
    let_go = threading.Event()
    try:
        tier = drive([Replica(lambda key: let_go.wait(20)), Replica(lambda key: "quick", name="other")], timeout=0.2)
        begun = time.monotonic()
        assert tier.look("a").value == "quick"
        assert time.monotonic() - begun < 5
        alone = drive(lambda key: let_go.wait(20), timeout=0.2, name="alone")
        with pytest.raises(TierTimeout):
            alone.read(["a"])
    finally:
        let_go.set()


@BOTH_FACES
def test_a_wrong_answer_is_an_error(drive):
    with pytest.raises(TierUnavailable, match="must return a dict"):
        drive(load_many=lambda keys: list(keys)).read(["a"])


# What was changed here


@pytest.mark.parametrize("change", ["write", "remove", "expire", "clear"])
def test_a_changed_name_is_not_answered_until_the_replica_must_have_it(database, drive, change):
    tier = drive(database.replica(), max_staleness=1, timeout=0.5)
    database.replicate()
    assert tier.look("a").value == "A"
    database.save("a", "new")
    begun = time.monotonic()
    if change == "write":
        tier.write([("a", entry("new"))])
    elif change == "clear":
        tier.invalidate([CLEAR])
    else:
        tier.remove(["a"], expire=change == "expire")
    assert (tier.look("b") is None) == (change == "clear")
    while True:
        asked = time.monotonic()
        if asked - begun > 0.6:
            database.replicate()
        seen = tier.look("a")
        if seen is not None:
            assert seen.value == "new"
            assert time.monotonic() - begun >= 1
            break
        assert asked - begun < 10


def test_a_change_while_the_replica_is_asked_is_heeded(drive):
    began, go_on = threading.Event(), threading.Event()

    def load(key):
        began.set()
        assert go_on.wait(10)
        return "old"

    tier = drive(load)
    reader = threading.Thread(target=lambda: seen.append(tier.tier.read(["a"]).found[0].entry))
    seen = []
    reader.start()
    assert began.wait(10)
    tier.remove(["a"])
    go_on.set()
    reader.join(10)
    assert seen == [None]


def test_an_answer_that_has_outlived_its_bar_is_not_believed(drive):
    """The process stands still between the answer and the look at what is barred, for longer than names are."""
    tier = drive(lambda key: "old", max_staleness=0.2, timeout=0.1, runner=None).tier
    flow = tier._read(["a"])
    answer = next(flow).block(tier)
    tier.remove(["a"])
    time.sleep(0.35)
    with pytest.raises(StopIteration) as ended:
        flow.send(answer)
    assert ended.value.value.found[0].entry is None
    assert tier.read(["a"]).found[0].entry.value == "old", "the bar is over"


def test_too_many_changes_silence_it(drive):
    tier = drive(lambda key: key, max_staleness=0.2, timeout=0.1, max_barred=3)
    tier.remove(["a", "b", "c"])
    assert tier.look("x").value == "x"
    tier.remove(["d"])
    assert tier.values(["x", "a", "d"]) == [None, None, None]
    deadline = time.monotonic() + 10
    while tier.look("x") is None:
        assert time.monotonic() < deadline
    assert tier.look("a").value == "a"


def test_too_many_tags_silence_it(drive):
    tier = drive(lambda key: key, max_barred=3)
    tier.invalidate(["1", "2", "3"])
    assert tier.look("x").value == "x"
    tier.invalidate(["4"])
    assert tier.look("x") is None


# At once


@BOTH_FACES
def test_concurrent_reads_of_a_name_are_one(drive, runner):
    asked = []

    def load(key):
        asked.append(key)
        time.sleep(0.1)
        return key

    tier = drive(load)
    if runner is None:
        seen = []
        threads = [threading.Thread(target=lambda: seen.append(tier.look("a").value)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    else:

        async def read_all():
            readings = await asyncio.gather(*(tier.tier.aread(["a"]) for _ in range(8)))
            return [reading.found[0].entry.value for reading in readings]

        seen = runner.run(read_all())
    assert seen == ["a"] * 8
    assert len(asked) == 1


def test_a_cancelled_reader_harms_nobody(database):
    async def run():
        tier = ReplicaTier(slow, max_staleness=60)
        tier.open("test", RecordingListener())
        first = asyncio.create_task(tier.aread(["a"]))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(tier.aread(["a"]))
        await asyncio.sleep(0.05)
        first.cancel()
        async with asyncio.timeout(10):
            (found,) = (await second).found
            assert found.entry is None, "it is the origin's affair then"
            assert (await tier.aread(["a"])).found[0].entry.value == "a"
        await tier.aclose()

    async def slow(key):
        await asyncio.sleep(0.2)
        return key

    asyncio.run(run())


# In a cache


@contextlib.contextmanager
def cache_of(database, server, *, marks=True, number=0, max_staleness=20, **options):
    replica = ReplicaTier(
        database.replica(number),
        max_staleness=max_staleness,
        timeout=0.5,
        check_every=0,
        marks=marks_on(server) if marks is True else marks or None,
    )
    tiers = [MemoryTier(1000), RedisTier(server.url), replica]
    with TieredCache("test", tiers, load=database.load, save=database.save, **options) as cache:
        yield cache


def forgets(cache):
    """Have memory hold nothing."""
    cache._logic.memory.store.clear()
    return cache


def test_a_miss_is_answered_by_the_replica(database, server):
    with cache_of(database, server) as cache:
        assert cache.get("a") == "A"
        assert cache.get_many(["a", "b"]) == {"a": "A", "b": "B"}
        assert database.queries[database.primary] == 0
        database.save("late", "here")
        assert cache.get("late") == "here", "a replica that has not heard of it does not hide it"
        assert database.queries[database.primary] == 1


def test_an_invalidation_is_not_undone_by_the_replica(database, server):
    with cache_of(database, server) as cache:
        assert cache.get("a") == "A"
        database.save("a", "new")
        cache.invalidate("a")
        assert cache.get("a") == "new"
        cache.set("b", "newer")
        forgets(cache)
        server.command("FLUSHALL")
        assert cache.get("b") == "newer"


def test_an_invalidation_is_not_undone_by_another_process(database, server):
    with cache_of(database, server) as cache, cache_of(database, server, number=1) as other:
        assert other.get("a") == "A"
        database.save("a", "new")
        cache.invalidate("a")
        assert forgets(other).get("a") == "new"
        assert cache.get("a") == "new"


def test_without_marks_another_process_undoes_it(database, server):
    with cache_of(database, server, marks=False) as cache, cache_of(database, server, marks=False, number=1) as other:
        database.save("a", "new")
        cache.invalidate("a")
        assert other.get("a") == "A"
        assert cache.get("a") == "A", "which is what marks are for"


def test_marks_that_were_lost_are_missed(database, server, make_server):
    """Their server has come back empty: nobody knows what was barred."""
    marks = make_server()
    bound = {"max_staleness": 1.0}
    with (
        cache_of(database, server, marks=marks_on(marks), **bound) as cache,
        cache_of(database, server, marks=marks_on(marks), number=1, **bound) as other,
    ):
        database.replicate()
        assert other.get("b") == "B"
        assert database.queries[database.primary] == 0, "marks that were kept for long are believed"
        database.save("a", "new")
        cache.invalidate("a")
        marks.restart()
        began = time.monotonic()
        while time.monotonic() - began < 0.8:  # the replica is within its bound, and has the old value
            server.command("FLUSHALL")
            assert forgets(other).get("a") == "new"
        assert database.load("a", database.replicas[1]) == "A"
        assert database.queries[database.replicas[1]] > 3, "it was asked, and not believed"
        while other._levels[2].hits < 2:  # "b" was the first
            database.replicate()
            server.command("FLUSHALL")
            assert forgets(other).get("a") == "new"
            assert time.monotonic() - began < 20


def test_a_change_that_marks_have_missed_is_told_later(database, server, make_server, eventually):
    """Meanwhile another process has brought the old value up to the level that both share."""
    marks = make_server()
    with (
        cache_of(database, server, marks=marks_on(marks), recovery_delay=0.2) as cache,
        cache_of(database, server, marks=marks_on(marks), number=1) as other,
    ):
        database.save("a", "new")
        with marks.read_only():
            cache.invalidate("a")
            assert forgets(other).get("a") == "A", "nobody has told it"
            assert values_at(server, ["a"]) == ["A"]
            for _ in range(3):
                assert forgets(cache).get("a") == "new"
        eventually(lambda: not cache._pending)
        assert forgets(other).get("a") == "new"
        assert forgets(cache).get("a") == "new"


def test_a_change_while_the_level_is_kept_out_is_told_later(database, server, eventually):
    """Its breaker is open: it does not hear of what must be barred."""
    broken = threading.Event()

    def load(key):
        if broken.is_set():
            raise OSError("gone")
        return database.load(key, database.replicas[0])

    replica = ReplicaTier(load, lag=database.lag, max_staleness=20, check_every=0)
    # A lease always succeeds here, so half of what it is asked does.
    options = {"breaker": lambda: Breaker(minimum=2, threshold=0.4, open_for=0.3), "recovery_delay": 0.2}
    with TieredCache("test", [MemoryTier(9), RedisTier(server.url), replica], load=database.load, **options) as cache:
        broken.set()
        for number in range(4):
            assert cache.get(f"none {number}", None) is None
        assert cache.stats().levels[2].state == "open"
        database.save("a", "new")
        cache.invalidate("a")
        broken.clear()
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            server.command("FLUSHALL")
            assert forgets(cache).get("a") == "new"
        assert cache.stats().levels[2].state == "closed"
        found = cache.stats().levels[2].hits
        assert cache.get("b") == "B"
        assert cache.stats().levels[2].hits == found + 1
        eventually(lambda: not cache._pending)


def test_a_replica_that_has_found_nothing_for_long_is_asked_again(database, server):
    """The levels have mostly nothing, so that a load need not look first; but this one never answers to a load."""
    behind = [math.inf]
    replica = ReplicaTier(
        lambda key: f"replica's {key}", lag=lambda: behind[0], max_staleness=5, check_every=0, breaker=Breaker
    )
    with TieredCache("test", [MemoryTier(10), RedisTier(server.url), replica], load=lambda key: key) as cache:
        assert [cache.get(number) for number in range(100)] == list(range(100))
        behind[0] = 0.1
        assert cache.get("late") == "replica's late"


@pytest.mark.stress
def test_nothing_older_is_read_than_what_was_written(database, make_server):
    """Several caches read and write through a lagging replica, for seconds; each read is at least as new as the writes.

    That holds for all caches at the shared level, once the write has returned.
    """
    server = make_server()
    written = dict.fromkeys("abc", 0)
    for key in written:
        database.save(key, 0)
    database.replicate()
    ending = threading.Event()
    failures = []

    def read(cache, seed):
        rng = random.Random(seed)
        while not ending.is_set():
            key = rng.choice("abc")
            least = written[key]
            seen = forgets(cache).get(key)
            if seen < least:
                failures.append((key, seen, least))

    def replicate():
        while not ending.wait(0.3):
            database.replicate()

    with contextlib.ExitStack() as stack:
        caches = [stack.enter_context(cache_of(database, server, number=number, max_staleness=1)) for number in (0, 1)]
        threads = [threading.Thread(target=read, args=(cache, seed)) for seed, cache in enumerate(caches)]
        threads.append(threading.Thread(target=replicate))
        for thread in threads:
            thread.start()
        end = time.monotonic() + 3.5
        number = 0
        while time.monotonic() < end:
            number += 1
            key = "abc"[number % 3]
            if number % 2:
                caches[0].set(key, number)
            else:
                database.save(key, number)
                caches[0].invalidate(key)
            written[key] = number
            time.sleep(0.02 if number % 20 else 1.5)
        ending.set()
        for thread in threads:
            thread.join(30)
        found = sum(source.found for cache in caches for source in cache._levels[2].tier.stats())
    assert failures == []
    assert found > 0, "no replica was ever asked"


@pytest.mark.stress
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops processes")
def test_processes_that_stand_still_bring_nothing_old_back(database, server, make_server):
    """Readers that are stopped at any point for longer than anything is barred, and then go on where they were."""
    marks = make_server()
    keys = [f"k{number}" for number in range(5)]
    for key in keys:
        database.save(key, 0)
    database.replicate()
    history = {key: [(-math.inf, 0)] for key in keys}  # when a change had been told, and what was written
    ending = threading.Event()
    rng = random.Random(5)

    def replicate():
        while not ending.wait(0.15):
            database.replicate()

    arguments = [server.url, marks.url]
    script = pathlib.Path(__file__).with_name("replica_reader.py")
    with contextlib.ExitStack() as stack:
        tier = ReplicaTier(lambda key: ABSENT, lag=math.inf, max_staleness=0.4, timeout=0.2, marks=marks_on(marks))
        tiers = [RedisTier(server.url, stream=None), tier]
        cache = stack.enter_context(TieredCache("test", tiers))
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)]
        readers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, script, *arguments, database.replicas[number]],
                    stdin=subprocess.PIPE,
                    stdout=output,
                )
            )
            for number, output in enumerate(outputs)
        ]
        stack.callback(lambda: [reader.kill() for reader in readers])
        replicating = threading.Thread(target=replicate)
        replicating.start()
        try:
            time.sleep(1.0)
            end = time.monotonic() + 4.5
            version = 0
            while time.monotonic() < end:
                stopped = rng.choice(readers)
                stopped.send_signal(signal.SIGSTOP)
                for key in keys:
                    version += 1
                    database.save(key, version)
                    cache.invalidate(key)
                    history[key].append((time.monotonic(), version))
                time.sleep(rng.choice([0.05, 1.0]))
                stopped.send_signal(signal.SIGCONT)
                time.sleep(rng.choice([0.05, 0.9]))
        finally:
            ending.set()
            replicating.join(10)
            for reader in readers:
                reader.send_signal(signal.SIGCONT)
                reader.stdin.close()
        assert [reader.wait(20) for reader in readers] == [0, 0]
        found = 0
        for output in outputs:
            output.seek(0)
            *lines, last = output.read().splitlines()
            found += int(last.split()[1])
            for line in lines:
                begun, key, value = line.split()
                least = max(version for moment, version in history[key] if moment < float(begun))
                assert int(value) >= least, (line, history[key])
        assert found > 20, "replicas were read"


def test_a_replica_that_may_be_further_behind_than_keys_are_held(server):
    """A writer that is killed would leave it to be believed."""

    def levels(bound, **options):
        return [RedisTier(server.url, stream=None, **options), ReplicaTier(str, max_staleness=bound)]

    with pytest.warns(RuntimeWarning, match=r"62 s behind, and keys are held for 30 s.* a lease of 62 s"):
        TieredCache("far", levels(60), load=str, save=print).close()
    zones = {"near": RedisTier(server.url, stream=None, lease=7), "far": RedisTier(server.url, stream=None)}
    held = [ReplicatedTier(zones, local="near"), levels(60)[1]]
    with pytest.warns(RuntimeWarning, match="held for 7 s"):  # the member that lets go first decides
        TieredCache("zones", held, load=str, save=print).close()
    TieredCache("reads_only", levels(60), load=str).close()
    TieredCache("near", levels(20), load=str, save=print).close()
    TieredCache("held", levels(60, lease="62s"), load=str, save=print).close()
