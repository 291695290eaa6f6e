"""The level on a real Cluster: what is particular to it while all is well."""

import asyncio
import contextlib
import gc
import random
import threading
import time

import pytest
import redis
import redis.cluster
from subprocesses import run_script

from hotset import TieredCache
from hotset.errors import TierError, TierUnavailable
from hotset.testing.clusters import ValkeyCluster
from hotset.testing.driver import NAMES, opened
from hotset.testing.ports import free_port
from hotset.tiers import ClusterTier, MemoryTier, RedisTier
from hotset.tiers.parts import PARTS, TAGS, part_of, slot_of
from hotset.warming import CacheWarmer, from_peer, from_tier

MANY = [f"name {number}" for number in range(500)]


@pytest.fixture(params=["sync", "async"])
def runner(request):
    """What runs the methods: nothing, or an event loop."""
    if request.param == "sync":
        yield None
    else:
        with asyncio.Runner() as runner:
            yield runner


@pytest.fixture
def drive(cluster, runner):
    """Open tiers by one of their faces; without a stream unless it is asked for."""
    cluster.flush()
    with contextlib.ExitStack() as stack:

        def factory(namespace="test", source=None, **options):
            tier = ClusterTier(source or cluster.url, **{"stream": None, "timeout": 1.0, **options})
            return stack.enter_context(opened(tier, namespace, runner))

        yield factory


def works(driver):
    """Whether a tier does all that it should."""
    driver.write([(name, driver.entry(name)) for name in MANY])
    driver.remove(MANY[::2])
    return driver.values(MANY) == [None if place % 2 == 0 else name for place, name in enumerate(MANY)]


# Arguments


def test_nonsense_is_refused():
    for wrong in (7, b"redis+cluster://localhost", None, redis.Redis(), object()):
        with pytest.raises(TypeError):
            ClusterTier(wrong)
    with pytest.raises(TypeError, match="wait_replicas"):
        ClusterTier(wait_replicas="1")
    with pytest.raises(TypeError, match="wait_replicas"):
        ClusterTier(wait_replicas=True)
    for options in (
        {"source": "http://localhost"},
        {"source": "redis+cluster://"},
        {"source": "redis+sentinel://localhost/service"},
        {"source": "redis+cluster://localhost:port"},
        {"source": "unix:///socket"},
        {"read_from": "everywhere"},
        {"wait_replicas": -1},
        {"timeout": 0},
        {"stream": "telepathy"},
        {"max_connections": 0},
    ):
        with pytest.raises(ValueError):
            ClusterTier(**options)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis+cluster://a,b:7001", [("a", 6379), ("b", 7001)]),
        ("redis://a:1", [("a", 1)]),
        ("rediss+cluster://user:secret@a:1,[::1]:2/0?ssl_cert_reqs=none", [("a", 1), ("::1", 2)]),
        ("redis+cluster://[::1]", [("::1", 6379)]),
    ],
)
def test_urls(url, wanted):
    tier = ClusterTier(url)
    assert tier._seeds == wanted
    assert "secret" not in repr(tier)


def test_one_node_that_answers_is_enough(cluster, drive):
    assert works(drive(source=f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{cluster.servers[1].port}"))


def test_nobody_listens(drive):
    tier = drive(source=f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}", timeout=0.25)
    begun = time.monotonic()
    for _ in range(5):
        with pytest.raises(TierError):
            tier.read(["a"])
    assert time.monotonic() - begun < 5 * 0.25 + 2.0


def test_a_server_that_is_no_cluster(drive, server):
    tier = drive(source=server.url)
    with pytest.raises(TierUnavailable, match="cluster"):
        tier.read(["a"])


def test_a_client_lends_its_nodes(cluster, drive):
    host, port = cluster.servers[0].address
    client = redis.cluster.RedisCluster(host=host, port=port)
    try:
        assert works(drive(source=client))
    finally:
        client.close()


def test_a_password(drive):
    with ValkeyCluster(1, 0, password="secret") as closed:
        assert works(drive(source=closed.url))
        with pytest.raises(TierUnavailable, match="NOAUTH"):
            drive(source=closed.url.replace(":secret@", ""), namespace="another").read(["a"])


def test_it_can_be_opened_again(cluster):
    """By who has it, after it was closed."""
    tier = ClusterTier(cluster.url, timeout=1.0)
    with opened(tier, "again", None) as driver:
        assert works(driver)
        tier.close()
        with pytest.raises(TierUnavailable, match="closed"):
            tier.read(["a"])
        tier.open("again", driver.listener)
        before = len(driver.listener.moments)
        assert works(driver)
        deadline = time.monotonic() + 10
        while len(driver.listener.moments) == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


# Names


def listed(tier, runner, until=None, during=None):
    """Return the names that a tier lists; `during` is called once, when `until` of the cursor holds."""
    cursor, names, first, steps = "", [], True, 0
    while cursor or first:
        if during is not None and until(cursor):
            during()
            during = None
        step = tier.scan(cursor, 40) if runner is None else runner.run(tier.ascan(cursor, 40))
        cursor, names, first, steps = step[0], names + step[1], False, steps + 1
        assert steps < 1000
    assert during is None
    return names


@pytest.mark.parametrize("namespace", ["test", "a:b{c}", "x[1-9]?*\\^-"])
def test_names_of_all_primaries_are_listed(drive, runner, namespace):
    driver = drive(namespace)
    names = [*MANY, *NAMES, "~x", "\ud800"]
    driver.write([(name, driver.entry(1)) for name in names])
    for other in (f"{namespace}x", f"x{namespace}", "x1a*^-", namespace.replace("?", "b")):
        if other != namespace:
            theirs = drive(other)
            theirs.write([("theirs", theirs.entry(1))])
    found = listed(driver.tier, runner)
    assert sorted(found, key=ascii) == sorted({*names} - {"~x"}, key=ascii)


def test_what_no_key_of_a_name_is_is_not_listed(cluster, drive, runner):
    driver = drive()
    driver.write([("there", driver.entry(1))])
    driver.read(["leased"])
    driver.tier.lease(["leased"])
    assert listed(driver.tier, runner) == ["there"]


@pytest.mark.parametrize("when", ["walked over", "in the middle", "to come"])
@pytest.mark.parametrize("told", [False, True])
def test_a_part_that_moves_is_listed_where_it_is(cluster, drive, runner, when, told):
    """Nobody but the list itself would notice that it has moved, unless it is told."""
    driver = drive()
    driver.write([(name, driver.entry(name)) for name in MANY])
    tier = driver.tier
    first = tier._nodes.ids()[0]
    source = next(server for server in cluster.primaries() if cluster.id_of(server) == first)
    target = next(server for server in cluster.primaries() if server is not source)
    if when == "to come":
        source, target = target, source
    part = tier._nodes.ids().index(cluster.id_of(source))
    moved = [name for name in MANY if part_of(name) == part]

    def until(cursor):
        node = cursor.partition(":")[0]
        return bool(cursor) and (when != "walked over" or node != first)

    def move():
        with cluster.migrating(slot_of(TAGS[part]), target):
            pass
        if told:
            driver.read(moved)

    try:
        names = listed(tier, runner, until, move)
    finally:
        with cluster.migrating(slot_of(TAGS[part]), source):
            pass
    assert set(names) == set(MANY)
    twice = {name for name in MANY if names.count(name) > 1}
    assert twice <= set(moved)
    assert len(names) == len(MANY) + len(twice)


def test_nothing_is_listed_while_a_primary_does_not_serve(cluster, drive, runner):
    driver = drive(timeout=0.5)
    driver.write([(name, driver.entry(name)) for name in MANY])
    cluster.owner(slot_of(TAGS[0])).stop()
    with pytest.raises(TierError):
        listed(driver.tier, runner)


def test_memory_and_a_level_between_are_warmed_from_it(cluster, drive, runner, server):
    driver = drive("warmed", stream="tracking")
    driver.write([(name, driver.entry(name, life=100.0, keep=100.0)) for name in MANY])
    loads = []
    between = RedisTier(server.url, name="between", timeout=5.0)
    levels = [MemoryTier(1000), between, ClusterTier(cluster.url, timeout=5.0)]
    cache = TieredCache("warmed", levels, load=loads.append, ttl=1000)
    warmer = CacheWarmer(cache, batch=64).add("all", from_tier("cluster"))
    try:
        report = warmer.run() if runner is None else runner.run(warmer.arun())
        assert (report.success, report["all"].items) == (True, len(MANY))
        assert len(cache._logic.memory.hottest()) == len(MANY)
        assert cache.get_many(MANY) == dict(zip(MANY, MANY, strict=True))
        found = [each.entry for each in between.read(MANY).found]
        assert [entry.value for entry in found] == MANY
        assert max(entry.life for entry in found) <= 100
        assert loads == []
    finally:
        cache.close() if runner is None else runner.run(cache.aclose())


def test_hot_keys_of_a_peer_are_at_it(cluster, drive):
    with TieredCache("peers", [MemoryTier(100), ClusterTier(cluster.url, timeout=5.0)], load=str.upper) as cache:
        cache.get_many(["a", "b"])
        assert CacheWarmer(cache).publish() == 2
    with TieredCache("peers", [MemoryTier(100), ClusterTier(cluster.url, timeout=5.0)]) as cache:
        assert CacheWarmer(cache).add("peer", from_peer()).run().items == 2
        assert sorted(cache._logic.memory.hottest()) == ["a", "b"]


# Commands


def test_every_node_has_its_share(cluster, drive):
    tier = drive()
    tier.write([(name, tier.entry(name)) for name in MANY])
    counts = [server.command("DBSIZE") for server in cluster.primaries()]
    assert min(counts) > len(MANY) / 3 / 2
    assert sum(counts) >= len(MANY)


def test_a_read_is_one_mget_a_part(cluster, drive):
    tier = drive()
    tier.write([(name, tier.entry(name)) for name in MANY])
    tier.read(["a"])

    def calls():
        stats = "".join(server.command("INFO", "commandstats").decode() for server in cluster.primaries())
        lines = [line.partition(":") for line in stats.splitlines() if line.startswith("cmdstat_")]
        counts = {}
        for name, _, rest in lines:
            counts[name] = counts.get(name, 0) + int(rest.partition("calls=")[2].partition(",")[0])
        return counts

    before = calls()
    tier.read(["a"])
    tier.read(MANY)
    after = calls()
    done = {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}
    done.pop("cmdstat_info")
    done = {name: count for name, count in done.items() if "cluster" not in name and name != "cmdstat_ping"}
    assert {name: count for name, count in done.items() if "replconf" not in name} == {
        "cmdstat_mget": 1 + PARTS,
        "cmdstat_get": 2,
    }


class _Slow:
    """A codec that takes its time."""

    id, name, safe, schema, mismatches = 200, "slow", True, "", ()

    def encode(self, value, /):
        return str(value).encode()

    def decode(self, data, /):
        time.sleep(0.002)
        return bytes(data).decode()


def test_time_that_decoding_takes_is_not_the_nodes(cluster, drive):
    """What one node has said is opened while others are at work, and may take longer than they have."""
    driver = drive(timeout=0.3, codec=_Slow())
    driver.write([(name, driver.entry(name)) for name in MANY])
    for _ in range(2):  # who writes is known after the first time
        assert driver.values(MANY) == MANY


def test_what_was_cleared_by_others(cluster, drive):
    """What was opened by a state that is none any more is worth nothing."""
    reader, other = drive(), drive()
    reader.write([(name, reader.entry(name)) for name in MANY])
    assert reader.values(MANY) == MANY
    other.invalidate(["*"])
    assert reader.values(MANY) == [None] * len(MANY)
    reader.write([(name, reader.entry(name)) for name in MANY])
    assert other.values(MANY) == reader.values(MANY) == MANY


def test_scripts_that_a_node_forgot(cluster, drive):
    tier = drive()
    assert works(tier)
    for call in (
        lambda: all(tier.fill([(n, tier.entry(), tier.lease([n]).found[0].fence) for n in MANY[:50:2]])),
        lambda: tier.remove(MANY[:50], expire=True) is None,
        lambda: tier.invalidate(["t"]) > 0,
        lambda: tier.touch(MANY[1], 1, 2),
    ):
        for server in cluster.primaries():
            server.command("SCRIPT", "FLUSH")
        assert call()


def test_what_is_published_comes_after_the_change(cluster, drive):
    """Also when the node has to learn the script first."""
    driver = drive(stream="pubsub")
    driver.write([("a", driver.entry("A"))])
    node = cluster.owner(slot_of(TAGS[part_of("a")]))
    with node.configured(slowlog_log_slower_than=0, slowlog_max_len=1000):
        node.command("SCRIPT", "FLUSH")
        node.command("SLOWLOG", "RESET")
        driver.remove(["a"], expire=True)
        log = [entry[3][0] for entry in reversed(node.command("SLOWLOG", "GET", 200))]
    commands = [bytes(command).upper() for command in log]
    assert b"PUBLISH" in commands[commands.index(b"EVAL") :]
    assert driver.look("a").life <= 0


def test_a_node_that_is_emptied(cluster, drive):
    """Its names are gone, the state with it: then everything that was there before is dead."""
    tier = drive()
    tier.write([(name, tier.entry(name)) for name in MANY])
    state = cluster.owner(slot_of("test"))
    other = next(server for server in cluster.primaries() if server is not state)
    other.command("FLUSHALL")
    left = sum(value is not None for value in tier.values(MANY))
    assert 0 < left < len(MANY)
    state.command("FLUSHALL")
    assert tier.values(MANY) == [None] * len(MANY)
    assert works(tier)


def test_a_loop_that_is_closed_leaves_no_connection(cluster, eventually):
    tier = ClusterTier(cluster.url, stream=None, timeout=1.0)
    with opened(tier, "loops", None):

        def clients():
            lists = (server.command("CLIENT", "LIST", "TYPE", "normal") for server in cluster.primaries())
            return sum(len(list_.splitlines()) for list_ in lists)

        before = clients()
        asyncio.run(tier.aread(MANY))
        eventually(lambda: clients() <= before + 3)


def test_a_tier_that_is_closed_leaves_no_connection(cluster, eventually):
    mark = "closed-tier-of-a-test"
    source = f"{cluster.url}?client_name={mark}"

    def clients():
        lists = (server.command("CLIENT", "LIST").decode() for server in cluster.primaries())
        return sum(list_.count(mark) for list_ in lists)

    tier = ClusterTier(source, timeout=1.0)
    with opened(tier, "left", None) as driver:
        eventually(lambda: driver.listener.moments)
        driver.read(MANY)
        assert clients() >= 6
    eventually(lambda: not clients())


def test_a_crowd_at_the_start_asks_for_the_slots_once(cluster):
    """Whether threads or tasks."""
    servers = cluster.primaries()

    def asked():
        stats = "".join(server.command("INFO", "commandstats").decode() for server in servers)
        lines = [line for line in stats.splitlines() if line.startswith("cmdstat_cluster|slots:")]
        return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines)

    async def tasks(tier):
        await asyncio.gather(*[tier.aread([name]) for name in MANY[:200]])
        await tier.aclose()

    def threads(tier):
        crowd = [threading.Thread(target=tier.read, args=([name],)) for name in MANY[:50]]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join(30)

    for crowd in (lambda tier: asyncio.run(tasks(tier)), threads):
        with opened(ClusterTier(cluster.url, stream=None, timeout=10.0), "crowd", None) as driver:
            before = asked()
            crowd(driver.tier)
            assert asked() - before == 1


def test_who_is_cancelled_harms_nobody(cluster, eventually):
    tier = ClusterTier(cluster.url, stream=None, timeout=2.0)

    async def main():
        await tier.aread(MANY)
        for turn in range(30):
            task = asyncio.create_task(tier.aread(MANY))
            other = asyncio.create_task(tier.aread(MANY[:7]))
            for _ in range(turn % 7):
                await asyncio.sleep(0)
            task.cancel()
            assert len((await other).found) == 7
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await tier.aclose()

    with opened(tier, "cancelled", None):
        asyncio.run(main())


def test_several_threads_and_a_loop(cluster):
    """One tier, everybody's names apart."""
    tier = ClusterTier(cluster.url, stream=None, timeout=5.0)
    failures = []
    with opened(tier, "threads", None) as driver:

        def work(number):
            rng = random.Random(number)
            names = [f"{number}:{name}" for name in MANY[:100]]
            try:
                for _ in range(10):
                    value = rng.random()
                    tier.write([(name, driver.entry(value, epoch=0)) for name in names])
                    assert [found.entry.value for found in tier.read(names).found] == [value] * len(names)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()

        async def main():
            names = [f"loop:{name}" for name in MANY[:100]]
            for value in range(10):
                await tier.awrite([(name, driver.entry(value, epoch=0)) for name in names])
                assert [found.entry.value for found in (await tier.aread(names)).found] == [value] * len(names)

        asyncio.run(main())
        for thread in threads:
            thread.join(30)
    assert not failures


# Streams


@pytest.mark.parametrize("stream", ["tracking", "pubsub"])
def test_changes_by_others_at_every_node(cluster, eventually, stream):
    """Each name, each tag; and what is told once as alive has been told."""
    cluster.flush()
    with (
        opened(ClusterTier(cluster.url, stream=stream, timeout=1.0), "heard", None) as driver,
        opened(ClusterTier(cluster.url, stream=stream, timeout=1.0), "heard", None) as other,
    ):
        eventually(lambda: driver.listener.moments and other.listener.moments)
        other.write([(name, other.entry(name)) for name in MANY])
        eventually(lambda: set(driver.listener.names) >= set(MANY))
        driver.listener.names.clear()
        other.remove(MANY[:100])
        eventually(lambda: set(driver.listener.names) >= set(MANY[:100]))
        driver.listener.names.clear()
        other.remove(MANY[100:200], expire=True)
        eventually(lambda: set(driver.listener.names) >= set(MANY[100:200]))
        epoch = other.invalidate(["red", "green"])
        eventually(lambda: {("red", epoch), ("green", epoch)} <= set(driver.listener.tags))
        epoch = other.invalidate(["*"])
        eventually(lambda: ("*", epoch) in driver.listener.tags)
        assert not other.listener.tags


@pytest.mark.parametrize("stream", ["tracking", "pubsub"])
def test_own_changes_are_not_told(cluster, eventually, stream):
    tier = ClusterTier(cluster.url, stream=stream, timeout=1.0)
    with opened(tier, f"own-{stream}", None) as driver:
        eventually(lambda: driver.listener.moments)
        entries = [(name, driver.entry(name)) for name in MANY]
        driver.listener.written.update((name, entry.version) for name, entry in entries)
        driver.write(entries)
        driver.remove(MANY[:50])
        driver.invalidate(["t"])
        begun = time.monotonic()
        eventually(lambda: driver.listener.moments[-1] > begun)
        assert not driver.listener.names
        assert not driver.listener.tags


def test_a_node_that_is_flushed_is_heard(cluster, eventually):
    """Nobody knows which names there were: all are told to be gone."""
    with opened(ClusterTier(cluster.url, timeout=1.0), "flushed", None) as driver:
        eventually(lambda: driver.listener.moments)
        for server in cluster.primaries():
            driver.listener.tags.clear()
            server.command("FLUSHALL")
            eventually(lambda: "*" in [tag for tag, _ in driver.listener.tags])


def test_one_node_that_is_not_heard_is_enough_to_be_lost(cluster, eventually):
    """And all of them must be heard again."""
    with opened(ClusterTier(cluster.url, timeout=0.5), "unheard", None) as driver:
        eventually(lambda: driver.listener.moments)
        for server in cluster.primaries():
            losses = driver.listener.losses
            with server.configured(cluster_node_timeout=30_000), contextlib.ExitStack() as stack:
                for other in cluster.servers:
                    if other is not server:
                        stack.enter_context(other.configured(cluster_node_timeout=30_000))
                with server.hung():
                    eventually(lambda losses=losses: driver.listener.losses > losses)
                    before = len(driver.listener.moments)
                    time.sleep(0.6)
                    assert len(driver.listener.moments) == before
                eventually(lambda before=before: len(driver.listener.moments) > before)
            cluster.wait_until_well()


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_the_threads_end_with_the_tier(cluster, eventually, how):
    def threads():
        return [thread for thread in threading.enumerate() if thread.name.startswith("hotset-stream")]

    assert not threads()
    tier = ClusterTier(cluster.url, timeout=1.0)
    cache = TieredCache("threads-end", [MemoryTier(10), tier], ttl="1m")
    cache.set("a", 1)
    eventually(lambda: len(threads()) == 4)
    if how == "closed":
        cache.close()
    del cache, tier
    eventually(lambda: gc.collect() >= 0 and not threads())


def test_a_fork(cluster):
    """The child has connections and streams of its own, and the parent's go on."""
    run_script(
        """
        import os, sys, time, warnings
        from hotset.testing.driver import opened
        from hotset.tiers import ClusterTier
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

        def wait(condition):
            deadline = time.monotonic() + 20
            while not condition():
                assert time.monotonic() < deadline
                time.sleep(0.01)

        def tier():
            return ClusterTier(sys.argv[1], timeout=5, connect_timeout=5)

        names = [str(number) for number in range(50)]
        with opened(tier(), "fork", None) as driver, opened(tier(), "fork", None) as other:
            driver.write([(name, driver.entry(name)) for name in names])
            wait(lambda: driver.listener.moments)
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    time.sleep(0.3)
                    known = len(driver.listener.moments)
                    time.sleep(0.5)
                    assert len(driver.listener.moments) == known, "there is no thread in the child yet"
                    for _ in range(200):
                        assert driver.values(names) == names
                    wait(lambda: len(driver.listener.moments) > known)
                    driver.close()
                    status = 0
                except BaseException:
                    import traceback
                    traceback.print_exc()
                finally:
                    os._exit(status)
            ended = 0
            while not ended:
                assert driver.values(names) == names
                ended, status = os.waitpid(child, os.WNOHANG)
            assert status == 0, status
            moments = len(driver.listener.moments)
            wait(lambda: len(driver.listener.moments) > moments)
            other.write([("b", other.entry("B"))])
            wait(lambda: "b" in driver.listener.names)
        """,
        cluster.url,
    )


def test_five_levels_of_which_two_are_servers(cluster, server):
    """A Cluster below a server below memory: what one cache changes, the other one serves."""
    with contextlib.ExitStack() as stack:

        def cache():
            levels = [MemoryTier(1000), RedisTier(server.url, timeout=1.0), ClusterTier(cluster.url, timeout=1.0)]
            return stack.enter_context(TieredCache("levels", levels, ttl="1m"))

        one, two = cache(), cache()
        one.set_many(dict.fromkeys(MANY, 1))
        assert set(two.get_many(MANY).values()) == {1}
        one.invalidate(*MANY[:10])
        server.command("FLUSHALL")
        deadline = time.monotonic() + 10
        while (found := [two.get(name) for name in MANY[:20]]) != [None] * 10 + [1] * 10:
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
