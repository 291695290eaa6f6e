"""A Cluster of which primaries die, parts move and replicas lag, while it is in use."""

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter

import pytest
from subprocesses import run_script

from hotset import TieredCache
from hotset.errors import TierError
from hotset.testing.clusters import ValkeyCluster
from hotset.testing.driver import opened
from hotset.tiers import ClusterTier, MemoryTier
from hotset.tiers.nodes import View, _handed_over
from hotset.tiers.parts import TAGS, part_of, slot_of

KEYS = [f"key {number}" for number in range(60)]


@pytest.fixture
def drive(cluster):
    """Open tiers by their plain face, without a stream unless it is asked for."""
    with contextlib.ExitStack() as stack:

        def factory(namespace, **options):
            tier = ClusterTier(cluster.url, **{"stream": None, "timeout": 1.0, **options})
            return stack.enter_context(opened(tier, namespace, None))

        yield factory


def home(cluster, name):
    """The primary that has a name."""
    return cluster.owner(slot_of(TAGS[part_of(name)]))


def names_of(cluster, server, count):
    """So many names that a primary has."""
    slots = [slots for slots, nodes in cluster.slots() if nodes[0] is server]
    every = (f"name {number}" for number in range(100_000))
    of_it = (name for name in every if any(slot_of(TAGS[part_of(name)]) in some for some in slots))
    return [next(of_it) for _ in range(count)]


def replicas_of(cluster, primary):
    return next(nodes[1:] for _, nodes in cluster.slots() if nodes[0] is primary)


def settled(read, wanted, eventually):
    """Read until that does what it should."""

    def same():
        try:
            return read() == wanted
        except TierError:
            return False

    eventually(same)


class Checker:
    """An origin and a cache, and a look at each read whether it is older than what was made known before it began."""

    def __init__(self, cache, keys):
        self.cache = cache
        self.origin = dict.fromkeys(keys, 0)
        self.floor = dict.fromkeys(keys, 0)
        self.older = []
        self.counts = Counter()
        self.slowest = 0.0
        self.ending = threading.Event()

    def load(self, key):
        return self.origin[key]

    def change(self, key, number):
        self.origin[key] += 1
        value = self.origin[key]
        if number % 3:
            self.cache.invalidate(key)
        else:
            self.cache.set(key, value)
        self.floor[key] = value

    def look(self, key):
        floor = self.floor[key]
        begun = time.monotonic()
        value = self.cache.get(key)
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.counts["reads"] += 1
        if value < floor:
            self.older.append((key, value, floor))

    def write(self, keys, seed):
        rng = random.Random(seed)
        for number in range(1_000_000):
            if self.ending.is_set():
                return
            self.change(rng.choice(keys), number)
            self.counts["changes"] += 1
            time.sleep(0.001)

    def read(self, seed):
        rng = random.Random(seed)
        keys = list(self.origin)
        while not self.ending.is_set():
            self.look(rng.choice(keys))
            if rng.random() < 0.1:
                some = rng.sample(keys, 20)
                floors = {key: self.floor[key] for key in some}
                found = self.cache.get_many(some)
                self.older += [(key, found[key], floors[key]) for key in some if found[key] < floors[key]]
                self.counts["bulk reads"] += 1
            time.sleep(0.0005)

    @contextlib.contextmanager
    def running(self):
        """Two writers, each of its own keys, and two readers."""
        keys = list(self.origin)
        failures = []

        def guarded(work, *arguments):
            try:
                work(*arguments)
            except BaseException as error:
                failures.append(error)
                raise

        half = len(keys) // 2
        threads = [
            threading.Thread(target=guarded, args=(self.write, keys[:half], 1), daemon=True),
            threading.Thread(target=guarded, args=(self.write, keys[half:], 2), daemon=True),
            threading.Thread(target=guarded, args=(self.read, 3), daemon=True),
            threading.Thread(target=guarded, args=(self.read, 4), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.ending.set()
            for thread in threads:
                thread.join(20)
        assert not failures
        assert not any(thread.is_alive() for thread in threads)


@pytest.fixture
def checked(cluster):
    """Make a cache of two levels with an origin that it loads from, and a checker of it."""
    with contextlib.ExitStack() as stack:

        def factory(**options):
            tier = ClusterTier(cluster.url, **{"timeout": 0.5, **options})
            levels = [MemoryTier(1000), tier]
            namespace = f"failover-{time.monotonic_ns()}"
            cache = stack.enter_context(TieredCache(namespace, levels, lambda key: checker.load(key), ttl="5m"))
            checker = Checker(cache, KEYS)
            checker.tier, checker.namespace = tier, namespace
            return checker

        yield factory


def holder(cluster, checker):
    """The primary with the state of the checker's namespace."""
    return cluster.owner(slot_of(checker.namespace))


def works(tier):
    """Whether every part is served: changes are taken, and read back."""
    names = [f"probe {number}" for number in range(300)]
    try:
        tier.remove(names)
        return not tier.read(names).refused
    except TierError:
        return False


@pytest.mark.parametrize(
    ("victim", "options"),
    [("state", {}), ("other", {}), ("other", {"read_from": "replica"}), ("strict", {}), ("hung", {})],
)
def test_a_primary_that_is_killed_under_load(cluster, checked, eventually, victim, options):
    """No read is older than what was made known before it; what fails is counted, and the new primary is used."""
    checker = checked(**options)
    with contextlib.ExitStack() as stack, checker.running():
        if victim == "strict":  # then all nodes refuse everything until the failover
            for server in cluster.servers:
                stack.enter_context(server.configured(cluster_require_full_coverage=True))
        time.sleep(0.5)
        there = holder(cluster, checker)
        dead = there if victim == "state" else next(one for one in cluster.primaries() if one is not there)
        at_first = checker.counts.copy()
        (dead.stop if victim == "hung" else dead.kill)()
        cluster.wait_for_failover(dead)
        meanwhile = checker.counts - at_first
        if victim == "hung":
            dead.cont()  # and takes itself for a primary until it is told
        eventually(lambda: works(checker.tier))
        before = checker.cache.stats().levels[1].hits
        time.sleep(0.5)
    level = checker.cache.stats().levels[1]
    assert not checker.older, checker.older[:5]
    assert checker.counts["reads"] > 500, checker.counts
    assert checker.counts["changes"] > 300, checker.counts
    assert min(meanwhile["reads"], meanwhile["changes"]) >= 2, meanwhile  # nobody waited until there was a new primary
    assert level.errors + level.refused.get("unavailable", 0) > 0
    assert level.hits > before or level.state != "closed"
    # A read that finds nothing asks twice, for the entry and for a lease, and then fills.
    assert checker.slowest < 3 * 0.5 + 2.0
    if victim != "hung":
        cluster.revive(dead)


def test_tasks_of_a_loop_through_a_failover(cluster, checked, eventually):
    """The same by the face for asyncio."""
    checker = checked()

    async def write(keys):
        for number in range(1_000_000):
            if checker.ending.is_set():
                return
            key = keys[number % len(keys)]
            checker.origin[key] += 1
            value = checker.origin[key]
            await (checker.cache.ainvalidate(key) if number % 3 else checker.cache.aset(key, value))
            checker.floor[key] = value
            await asyncio.sleep(0.002)

    async def read():
        rng = random.Random(5)
        while not checker.ending.is_set():
            some = rng.sample(KEYS, rng.choice([1, 20]))
            floors = {key: checker.floor[key] for key in some}
            found = await checker.cache.aget_many(some)
            checker.older += [(key, found[key], floors[key]) for key in some if found[key] < floors[key]]
            checker.counts["reads"] += 1
            await asyncio.sleep(0.001)

    def kill():
        time.sleep(0.5)
        dead = cluster.primaries()[0]
        dead.kill()
        cluster.wait_for_failover(dead)
        eventually(lambda: works(checker.tier))
        time.sleep(0.5)
        checker.ending.set()

    async def main():
        killer = asyncio.create_task(asyncio.to_thread(kill))
        async with asyncio.timeout(60):
            await asyncio.gather(write(KEYS[:30]), write(KEYS[30:]), read(), read(), killer)
        await checker.cache.aclose()

    asyncio.run(main())
    assert not checker.older, checker.older[:5]
    assert checker.counts["reads"] > 200


def test_a_part_that_is_down_costs_its_own_names(cluster, drive):
    """The rest is served, and nobody waits for it more than once or twice."""
    tier = drive("down", timeout=0.5)
    state = cluster.owner(slot_of("down"))
    dead = next(server for server in cluster.primaries() if server is not state)
    alive = [name for server in cluster.primaries() if server is not dead for name in names_of(cluster, server, 20)]
    lost = names_of(cluster, dead, 20)
    tier.write([(name, tier.entry(name)) for name in alive + lost])
    dead.kill()
    begun = time.monotonic()
    reading = tier.read(alive + lost)
    if cluster.owner(slot_of(TAGS[part_of(lost[0])])) is dead:  # else a replica was very quick
        assert [found.entry and found.entry.value for found in reading.found] == alive + [None] * 20
        assert reading.refused == {"unavailable": 20}
        assert tier.lease(lost[:1]).found[0].fence is None
        with pytest.raises(TierError):
            tier.write([(lost[0], tier.entry("new"))])
    for _ in range(50):
        tier.read(alive + lost)
    assert time.monotonic() - begun < 50 * 0.5 / 2


@pytest.mark.parametrize("face", ["sync", "async"])
def test_who_waited_for_one_node_has_what_the_others_said(cluster, face):
    """The first that is listened to hangs, until after the deadline."""
    hung = cluster.owner(0)
    namespace = next(name for name in map(str, range(1000)) if cluster.owner(slot_of(name)) is not hung)
    names = [name for server in cluster.primaries() for name in names_of(cluster, server, 10)]
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner()) if face == "async" else None
        tier = stack.enter_context(opened(ClusterTier(cluster.url, timeout=0.4, stream=None), namespace, runner))
        tier.write([(name, tier.entry(name)) for name in names])
        assert tier.values(names) == names
        with hung.hung():
            begun = time.monotonic()
            reading = tier.read(names)
            assert time.monotonic() - begun < 2
            # From the second time on it is left alone, but for a try now and then.
            begun = time.monotonic()
            with contextlib.suppress(TierError):
                tier.read(names)
            for _ in range(30):
                tier.read(names)
            assert time.monotonic() - begun < 31 * 0.4 / 2
        assert reading.refused == {"unavailable": 10}
        found = [found.entry.value for found in reading.found if found.entry is not None]
        assert found == [name for name in names if home(cluster, name) is not hung]


def test_nothing_is_read_while_the_state_is_away(cluster, drive):
    """What was invalidated is not known then."""
    tier = drive("away", timeout=0.5)
    state = cluster.owner(slot_of("away"))
    elsewhere = names_of(cluster, next(server for server in cluster.primaries() if server is not state), 5)
    tier.write([(name, tier.entry(name)) for name in elsewhere])
    state.kill()
    with pytest.raises(TierError):
        tier.read(elsewhere)
    cluster.wait_for_failover(state)
    settled(lambda: tier.values(elsewhere), elsewhere, lambda condition: _within(20, condition))


def _within(seconds, condition):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("before", "now", "wanted"),
    [
        ("AB", "AB", True),  # A has given a part to B
        ("A", "AB", False),  # B was a replica, or new
        ("AB", "B", False),  # A is none any more: whoever B has the part from may have lost something
        ("A", "B", False),
    ],
)
def test_a_part_was_handed_over_or_its_primary_failed(before, now, wanted):
    views = [View((None,), (owner,), ((),), frozenset(ids)) for owner, ids in (("A", before), ("B", now))]
    assert _handed_over(*views, 0) is wanted


@contextlib.contextmanager
def unheard(cluster, primary):
    """Have the replicas of a primary not hear of what happens in a `with` block, at the end of which it dies."""
    replicas = replicas_of(cluster, primary)
    for replica in replicas:
        replica.stop()
    try:
        yield
    finally:
        primary.kill()
        for replica in replicas:
            replica.cont()
    cluster.wait_for_failover(primary)


@pytest.mark.parametrize("stream", [None, "tracking"])
def test_what_a_failover_undid_is_a_miss(cluster, drive, eventually, stream):
    """For the process that did it: it has been told that it is done."""
    tier = drive(f"undone-{stream}", stream=stream)
    primary = next(server for server in cluster.primaries() if server is not cluster.owner(slot_of(f"undone-{stream}")))
    written, removed, ended, kept = names_of(cluster, primary, 4)
    tier.write([(name, tier.entry("old")) for name in (written, removed, ended, kept)])
    primary.command("WAIT", 1, 5000)
    tier.tier._done = tier.tier._nodes._done = type(tier.tier._done)()  # as if that was long ago
    with unheard(cluster, primary):
        tier.write([(written, tier.entry("new"))])
        tier.remove([removed])
        tier.remove([ended], expire=True)
    eventually(lambda: works(tier.tier))
    assert [tier.serves(name) for name in (written, removed, ended, kept)] == [None, None, None, "old"]


def test_invalidations_that_a_failover_undid(cluster, drive, eventually):
    """By tag and of everything: they hold on, for whoever reads."""
    tier, other = drive("tagged"), drive("tagged")
    primary = cluster.owner(slot_of("tagged"))
    names = names_of(cluster, next(server for server in cluster.primaries() if server is not primary), 3)
    tagged, untouched, plain = names
    tier.write([(tagged, tier.entry("old", tags=("a",))), (untouched, tier.entry("old")), (plain, tier.entry("old"))])
    primary.command("WAIT", 1, 5000)
    with unheard(cluster, primary):
        tier.invalidate(["a"])
    for reader in (other, tier):
        eventually(lambda reader=reader: works(reader.tier))
        assert [reader.serves(name) for name in names] == [None, "old", "old"]
    cluster.revive(primary)
    primary = cluster.owner(slot_of("tagged"))
    primary.command("WAIT", 1, 5000)
    with unheard(cluster, primary):
        tier.invalidate(["*"])
    for reader in (tier, other):
        eventually(lambda reader=reader: works(reader.tier))
        assert [reader.serves(name) for name in names] == [None, None, None]


def test_changes_that_must_be_on_replicas(cluster, drive):
    """With `wait_replicas` they fail if they are not."""
    tier = drive("waited", wait_replicas=1)
    tier.write([("a", tier.entry("A"))])
    assert tier.serves("a") == "A"
    replicas = replicas_of(cluster, home(cluster, "a"))
    with contextlib.ExitStack() as stack:
        for replica in replicas:
            stack.enter_context(replica.hung())
        with pytest.raises(TierError, match="replicas"):
            tier.write([("a", tier.entry("B"))])
        with pytest.raises(TierError, match="replicas"):
            tier.remove(["a"])
    cluster.wait_until_well()
    tier.remove(["a"])
    assert tier.look("a") is None


# Parts that move


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_part_on_its_way(cluster, face):
    """What is asked for is found on either side, and changes are not lost."""
    name = "moving"
    slot = slot_of(TAGS[part_of(name)])
    names = [name, *[each for each in (f"n{number}" for number in range(3000)) if part_of(each) == part_of(name)][:30]]
    source = cluster.owner(slot)
    target = next(server for server in cluster.primaries() if server is not source)
    runner = asyncio.Runner() if face == "async" else None
    with contextlib.ExitStack() as stack:
        if runner is not None:
            stack.enter_context(runner)
        tier = stack.enter_context(opened(ClusterTier(cluster.url, timeout=1.0, stream=None), f"move-{face}", runner))
        tier.write([(each, tier.entry(each)) for each in names])
        with cluster.migrating(slot, target):
            cluster.migrate(slot, source, target, 12)
            assert tier.values(names) == names
            tier.write([(each, tier.entry(each.upper())) for each in names[:20]])
            tier.remove(names[20:25])
            assert tier.values(names) == [each.upper() for each in names[:20]] + [None] * 5 + names[25:]
        assert tier.values(names) == [each.upper() for each in names[:20]] + [None] * 5 + names[25:]
        found, _ = tier.begin(names[20])
        assert tier.end(names[20], tier.entry("filled"), found.fence)
        assert tier.serves(names[20]) == "filled"
    with cluster.migrating(slot, source):
        pass


def test_parts_that_move_under_load(cluster, checked, eventually):
    """No read is older than what was made known before it."""
    checker = checked()
    slots = [*sorted({slot_of(TAGS[part_of(key)]) for key in KEYS})[:6], slot_of(checker.namespace)]
    homes = {slot: cluster.owner(slot) for slot in slots}
    with checker.running():
        for slot in slots:
            target = next(server for server in cluster.primaries() if server is not homes[slot])
            with cluster.migrating(slot, target) as source:
                time.sleep(0.05)
                cluster.migrate(slot, source, target, 5)
                time.sleep(0.05)
        eventually(lambda: works(checker.tier))
        time.sleep(0.3)
    assert not checker.older, checker.older[:5]
    assert checker.counts["reads"] > 200
    for slot, primary in homes.items():
        with cluster.migrating(slot, primary):
            pass


# Replicas


@contextlib.contextmanager
def lagging(primary, replica):
    """Have a replica hear nothing of its primary, and answer all the same."""
    replica.command("CONFIG", "SET", "masterauth", "wrong", "masteruser", "nobody")
    primary.command("CLIENT", "KILL", "TYPE", "REPLICA")
    try:
        yield
    finally:
        replica.command("CONFIG", "SET", "masterauth", "", "masteruser", "")


def test_replicas_are_read_from(cluster, drive, eventually):
    """But for what this process has changed lately."""
    writer, reader = drive("near"), drive("near", read_from="replica")
    name = "name"
    primary = home(cluster, name)
    (replica,) = replicas_of(cluster, primary)
    writer.write([(name, writer.entry("one"))])
    primary.command("WAIT", 1, 5000)

    def asked(server):
        stats = server.command("INFO", "commandstats").decode()
        line = next((line for line in stats.splitlines() if line.startswith("cmdstat_mget:")), "calls=0,")
        return int(line.partition("calls=")[2].partition(",")[0])

    assert reader.serves(name) == "one"
    before = asked(primary), asked(replica)
    assert [reader.serves(name) for _ in range(5)] == ["one"] * 5
    assert (asked(primary), asked(replica)) == (before[0], before[1] + 5)
    with replica.hung():
        reader.write([(name, reader.entry("two"))])
        assert reader.serves(name) == "two"
    before = asked(primary)
    assert reader.serves(name) == "two"
    assert asked(primary) == before + 1


def test_a_replica_that_lags(cluster, drive):
    """What was ended by a tag is dead there too, and no fence of its holds."""
    writer, reader = drive("lag"), drive("lag", read_from="replica")
    name = "name"
    primary = home(cluster, name)
    (replica,) = replicas_of(cluster, primary)
    writer.write([(name, writer.entry("one", tags=("t",)))])
    primary.command("WAIT", 1, 5000)
    with lagging(primary, replica):
        writer.write([(name, writer.entry("two", tags=("t",)))])
        old = reader.read([name]).found[0]
        assert old.entry.value == "one"
        assert reader.fill([(name, reader.entry("late"), old.fence)]) == [False]
        writer.invalidate(["t"])
        assert reader.serves(name) is None
        assert writer.look(name) is None


def test_what_was_heard_is_not_read_from_a_replica_that_lags(cluster, drive, eventually):
    """Memory would get what it has just been told is old."""
    writer, reader = drive("heard"), drive("heard", read_from="replica", stream="tracking")
    name = "name"
    primary = home(cluster, name)
    (replica,) = replicas_of(cluster, primary)
    eventually(lambda: reader.listener.moments)
    writer.write([(name, writer.entry("one"))])
    eventually(lambda: name in reader.listener.names)
    primary.command("WAIT", 1, 5000)
    with lagging(primary, replica):
        writer.write([(name, writer.entry("two"))])
        eventually(lambda: reader.listener.names.count(name) > 1)
        assert reader.serves(name) == "two"


def test_a_replica_that_is_dead_is_passed_by(cluster, drive):
    """Its primary is asked."""
    reader = drive("passed", read_from="replica", timeout=0.5)
    name = "name"
    (replica,) = replicas_of(cluster, home(cluster, name))
    drive("passed").write([(name, reader.entry("one"))])
    home(cluster, name).command("WAIT", 1, 5000)
    replica.kill()
    assert [reader.serves(name) for _ in range(20)] == ["one"] * 20


# Two processes


@pytest.mark.parametrize("stream", ["tracking", "pubsub"])
def test_memories_while_parts_move(server_binary, stream):
    """What one process changes, another one serves from memory for `max_staleness` at most, wherever it is by now.

    Here it goes to a node that nobody listens to before, for it has had no part.
    """
    bound = 1.0
    namespace = f"memories-{time.monotonic_ns()}"
    origin = dict.fromkeys(KEYS, 0)
    changed = {}  # key -> (value, when it was made known)
    late = []
    ending = threading.Event()
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(ValkeyCluster(2, 0, spare=1, binary=server_binary))
        target = cluster.servers[-1]

        def cache():
            tier = ClusterTier(cluster.url, timeout=0.5, stream=stream)
            return stack.enter_context(
                TieredCache(namespace, [MemoryTier(1000), tier], lambda key: origin[key], ttl="5m", max_staleness=bound)
            )

        writer, reader = cache(), cache()

        def write():
            rng = random.Random(7)
            while not ending.is_set():
                key = rng.choice(KEYS)
                origin[key] += 1
                writer.invalidate(key)
                changed[key] = origin[key], time.monotonic()
                time.sleep(0.02)

        def read():
            rng = random.Random(8)
            while not ending.is_set():
                key = rng.choice(KEYS)
                least, since = changed.get(key, (0, 0.0))
                begun = time.monotonic()
                value = reader.get(key)
                if value < least and begun - since > bound + 0.1:
                    late.append((key, value, least, begun - since))
                time.sleep(0.001)

        threads = [threading.Thread(target=work, daemon=True) for work in (write, read, read)]
        for thread in threads:
            thread.start()
        slots = sorted({slot_of(TAGS[part_of(key)]) for key in KEYS})[::8]
        for slot in slots:
            with cluster.migrating(slot, target):
                pass
        time.sleep(bound + 1.0)
        before = reader.stats().levels[0].hits
        time.sleep(0.5)
        ending.set()
        for thread in threads:
            thread.join(20)
        assert reader.stats().levels[0].hits > before + 50
    assert not late, late[:5]


def test_memories_of_two_processes(cluster, eventually):
    """What one changes, the other serves no more, whichever node it is at; also after a failover."""
    namespace = f"two-{time.monotonic_ns()}"
    origin = dict.fromkeys(KEYS, 0)
    tier = ClusterTier(cluster.url, timeout=1.0)
    other = """
        import sys
        from hotset import TieredCache
        from hotset.tiers import ClusterTier, MemoryTier
        url, namespace, *keys = sys.argv[1:]
        with TieredCache(namespace, [MemoryTier(1000), ClusterTier(url, timeout=1.0)], ttl="5m") as cache:
            cache.set_many(dict.fromkeys(keys, 1))
            cache.invalidate(tags=["none"])
    """
    with TieredCache(namespace, [MemoryTier(1000), tier], origin.__getitem__, ttl="5m") as cache:

        def from_memory():
            before = cache.stats().levels[0].hits
            values = [cache.get(key) for key in KEYS]
            return values if cache.stats().levels[0].hits - before >= len(KEYS) else None

        eventually(lambda: from_memory() == [0] * len(KEYS))
        run_script(other, cluster.url, namespace, *KEYS)
        eventually(lambda: [cache.get(key) for key in KEYS] == [1] * len(KEYS), patience=3)
        eventually(lambda: from_memory() == [1] * len(KEYS))
        dead = cluster.primaries()[0]
        cluster.fail_over(dead)
        eventually(lambda: works(tier))
        eventually(lambda: from_memory() is not None)
        cluster.revive(dead)
