"""Five levels together: memory, a server, a Cluster, a replica of the database, the database.

Two caches stand for two processes: each has memory, connections and a way to the servers of its own.
"""

import contextlib
import math
import random
import threading
import time
from collections import deque

import pytest
from tiers.databases import Database, marks_on
from tiers.zones import restored

from hotset.tiered import TieredCache
from hotset.tiered.breaker import Breaker
from hotset.tiers import ClusterTier, MemoryTier, RedisTier, ReplicaTier
from hotset.tiers.contract import CLEAR

KEYS = [f"k{number}" for number in range(60)]


class Ladder:
    """The levels below memory, and caches on top of them."""

    def __init__(self, database, servers, cluster, stack):
        self.database = database
        self.server, self.marks = servers
        self.cluster = cluster
        self._stack = stack
        self.away = threading.Event()  # the database answers nobody

    def load(self, key):
        if self.away.is_set():
            raise ConnectionError("the database is away")
        return self.database.load(key)

    def load_many(self, keys):
        if self.away.is_set():
            raise ConnectionError("the database is away")
        return self.database.load_many(keys)

    def cache(self, number=0, *, max_staleness=20.0, **options):
        """Return a cache with a replica of its own."""
        path = self.database.replicas[number]
        replica = ReplicaTier(
            lambda key: self.database.load(key, path),
            load_many=lambda keys: self.database.load_many(keys, path),
            lag=lambda: self.database.lag(number),
            max_staleness=max_staleness,
            check_every=0,
            timeout=0.5,
            marks=marks_on(self.marks),
        )
        tiers = [
            MemoryTier(100),
            RedisTier(self.server.url, name="server", timeout=0.3),
            ClusterTier(self.cluster.url, name="cluster", timeout=0.3),
            replica,
        ]
        options = {"breaker": lambda: Breaker(consecutive=3, open_for=0.3, longest=0.3, probes=1), **options}
        options = {"recovery_delay": 0.2, "load": self.load, "load_many": self.load_many, **options}
        return self._stack.enter_context(TieredCache("test", tiers, **options))


@pytest.fixture
def ladder(tmp_path, five_servers, cluster):
    database = Database(tmp_path, replicas=2)
    for key in KEYS:
        database.save(key, 0)
    database.replicate()
    cluster.flush()
    with contextlib.ExitStack() as stack:
        yield Ladder(database, restored(five_servers[:2]), cluster, stack)


def answered(cache):
    """Return who has answered so far: hits by level, the loads last."""
    stats = cache.stats()
    return [level.hits for level in stats.levels] + [stats.loads]


def who(cache, key, expected):
    """Read a key, which must have this value; the place of the level that answered, 4 for the database."""
    before = answered(cache)
    assert cache.get(key) == expected
    (place,) = (place for place, (old, new) in enumerate(zip(before, answered(cache), strict=True)) if new > old)
    return place


def forget(cache):
    cache._logic.memory.store.clear()


def hearing(cache):
    """Return what the cache is told of invalidated tags from now on."""
    heard, told = [], cache._logic.told

    def listen(tags):
        told(tags)
        heard.extend(tags)

    cache._logic.told = listen
    return heard


def test_each_level_answers_in_its_turn_and_fills_those_above(ladder, eventually):
    cache = ladder.cache()
    assert who(cache, "k0", 0) == 3, "the replica, and not the database"
    assert who(cache, "k0", 0) == 0
    forget(cache)
    assert who(cache, "k0", 0) == 1, "what the replica had was put there"
    heard = hearing(cache)
    ladder.server.command("FLUSHALL")
    eventually(lambda: heard.count(CLEAR) == 1)
    forget(cache)
    assert who(cache, "k0", 0) == 2, "and in the Cluster"
    forget(cache)
    assert who(cache, "k0", 0) == 1
    ladder.server.command("FLUSHALL")
    ladder.cluster.flush()
    # Each of the four servers tells of it, and what is loaded until then is not stored.
    eventually(lambda: heard.count(CLEAR) == 5)
    forget(cache)
    assert who(cache, "k0", 0) == 3
    ladder.database.save("late", "L")
    assert who(cache, "late", "L") == 4, "the replica has not heard of it"
    forget(cache)
    assert who(cache, "late", "L") == 1
    assert cache.get_many([*KEYS, "late"]) == {**dict.fromkeys(KEYS, 0), "late": "L"}
    assert ladder.database.queries[ladder.database.primary] == 1


def test_a_change_is_told_to_every_level(ladder):
    """Whatever level the other process reads: nothing older than what was changed before."""
    cache, other = ladder.cache(), ladder.cache(1)
    for change in ("set", "invalidate", "tag", "clear"):
        for fresh in ("server", "cluster", "replica"):
            key = f"{change} {fresh}"
            ladder.database.save(key, "old")
            ladder.database.replicate()
            tags = {"tags": ["t"]} if change == "tag" else {}
            if tags:
                cache.set(key, "old", **tags)
            assert cache.get(key) == other.get(key) == "old"
            ladder.database.save(key, "new")
            if change == "set":
                cache.set(key, "new")
            elif change == "invalidate":
                cache.invalidate(key)
            elif change == "tag":
                cache.invalidate(key)  # a replica knows no tags
                cache.invalidate(tags=["t"])
            else:
                cache.clear()
            assert cache.get(key) == "new"
            if fresh != "server":
                ladder.server.command("FLUSHALL")
            if fresh == "replica":
                ladder.cluster.flush()
            forget(other)
            assert other.get(key) == "new", (change, fresh)
            forget(cache)
            assert cache.get(key) == "new", (change, fresh)


def test_with_all_shared_levels_and_the_database_away_the_replica_answers(ladder):
    cache = ladder.cache()
    ladder.database.replicate()
    assert cache.get("k1") == 0
    ladder.server.kill()
    for node in ladder.cluster.servers:
        node.stop()
    ladder.away.set()
    forget(cache)
    for _ in range(5):
        assert cache.get_many(KEYS) == dict.fromkeys(KEYS, 0)
    assert cache.get("k1") == 0
    cache.invalidate("k1")
    with pytest.raises(ConnectionError):
        cache.get("k1")  # what was invalidated the replica may not have heard of
    ladder.away.clear()
    ladder.database.save("k1", 1)
    assert cache.get("k1") == 1


@pytest.mark.stress
def test_levels_lost_and_back_under_load_serve_nothing_stale(ladder, eventually):
    """One after the other is lost and comes back. The writer reads its own; the other process what is 1.5 s old.

    Servers are killed, and so come back empty: with what it has missed a server would come back to a process that only
    the writer could tell. Of the Cluster a primary is killed, and its replica takes over. The replicas of the database
    are in and out of their bound all the time. While both shared levels are away there is nobody to tell the other
    process of a change, and who takes over in the Cluster has the old value until the writer has told it: what was
    written then is due 1.5 s after they are back.
    """
    caches = [ladder.cache(number, max_staleness=1.0) for number in (0, 1)]
    written = dict.fromkeys(KEYS, 0)
    failures, errors = [], []
    ending = threading.Event()
    alone = [math.inf, math.inf]  # from when to when the writer can tell nobody

    def ready(moment):
        # A change from just before may be lost with those who were to tell of it.
        began, ended = alone[0] - 0.1, alone[1]
        return time.monotonic() > 1.5 + (max(moment, ended) if moment >= began else moment)

    def write():
        rng = random.Random(2)
        number = 0
        try:
            while not ending.is_set():
                number += 1
                # One third is left alone for long enough that replicas may answer.
                key = KEYS[(20 * int(time.monotonic() / 2) + number % 40) % len(KEYS)]
                ladder.database.save(key, number)
                if number % 3:
                    caches[0].invalidate(key)
                else:
                    caches[0].set(key, number)
                written[key] = number
                for one in (key if number % 2 else rng.choice(KEYS), rng.choice(KEYS)):
                    if number % 5 == 0:
                        forget(caches[0])
                    try:
                        seen = caches[0].get(one)
                    except ConnectionError:
                        continue
                    if seen < written[one]:
                        failures.append(("writer", one, seen, written[one]))
                time.sleep(0.005)
        except Exception as error:
            errors.append(error)

    def read():
        rng = random.Random(3)
        due = deque()
        try:
            while not ending.is_set():
                key = rng.choice(KEYS)
                due.append((time.monotonic(), key, written[key]))
                while due and ready(due[0][0]):
                    _, key, least = due.popleft()
                    try:
                        seen = caches[1].get(key)
                    except ConnectionError:
                        continue
                    if seen < least:
                        failures.append(("other", key, seen, least))
                time.sleep(0.005)
        except Exception as error:
            errors.append(error)

    def replicate():
        pauses = random.Random(4)
        while not ending.wait(pauses.choice([0.1, 0.1, 0.1, 1.3])):
            ladder.database.replicate()

    threads = [threading.Thread(target=work) for work in (write, read, replicate)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    for server in (ladder.server, ladder.marks):
        server.kill()
        time.sleep(0.7)
        server.start()
        time.sleep(0.8)
    lost = ladder.cluster.primaries()[0]
    ladder.cluster.fail_over(lost)
    ladder.cluster.revive(lost)
    ladder.away.set()
    time.sleep(0.5)
    ladder.away.clear()
    lost = ladder.cluster.primaries()[1]
    alone[0] = time.monotonic()
    ladder.server.kill()
    ladder.cluster.fail_over(lost)
    ladder.server.start()
    alone[1] = time.monotonic()
    time.sleep(2.5)
    ending.set()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert failures == []
    for cache in caches:
        eventually(lambda cache=cache: not cache._pending)
        eventually(
            lambda cache=cache: (cache.get("k0"), [level.state for level in cache.stats().levels])[1] == ["closed"] * 4
        )
    for counts in zip(*map(answered, caches), strict=True):
        assert sum(counts) > 0, "each level has answered something"
