"""Hosts with disks of their own above one server: what one host changes, the disk of another one must not serve.

Each cache here is a host: it has a directory of its own. Most have no memory, so that it is the disk that is read.
"""

import sys
import time

import pytest
from subprocesses import run_script
from tiered.test_coherence import KEYS, MAX_STALENESS, SECONDS, SLACK, Origin, Watcher, in_threads, paused, staleness_of
from tiered.test_forks import PRELUDE

from hotset import TieredCache, WriteBehind
from hotset.testing.driver import RecordingListener, entry
from hotset.tiers import MemoryTier, RedisTier
from hotset.warming import CacheWarmer, from_tier

if sys.platform == "win32":
    pytest.skip("Windows has no flock, and so no DiskTier", allow_module_level=True)

from hotset.tiers import DiskTier


@pytest.fixture
def host(tmp_path):
    """Make the cache of a host, closed with the test."""
    made = []

    def make(name, url, *, memory=False, load=None, disk=None, **options):
        tiers = [DiskTier(tmp_path / name, max_bytes=8 << 20, **(disk or {})), RedisTier(url)]
        options = {"ttl": "5m", **options}
        made.append(TieredCache("hosts", [MemoryTier(100), *tiers] if memory else tiers, load=load, **options))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def settled(cache):
    """Whether what is stored on the disk from now on is believed, and nothing heard is left to do."""
    level = cache._logic.below[0]  # the disk
    return cache._pending.hearsay.since(level) < float("inf") and not cache._pending


def reads_from(cache, level, key):
    """Whether a key is served by a level now."""
    return cache.explain(key).served_by == level


def test_what_another_host_changes_leaves_the_disk(host, server, eventually):
    near, far = host("near", server.url), host("far", server.url)
    eventually(lambda: settled(near) and settled(far))
    near.set("a", 1)
    assert far.get("a") == 1
    eventually(lambda: settled(far) and far.get("a") == 1 and reads_from(far, "disk", "a"))
    near.set("a", 2)
    eventually(lambda: far.get("a") == 2, patience=MAX_STALENESS + SLACK)
    near.invalidate("a")
    eventually(lambda: far.get("a") is None, patience=MAX_STALENESS + SLACK)


@pytest.mark.filterwarnings("ignore:disk cannot hold:RuntimeWarning")
@pytest.mark.parametrize(
    ("write", "left"), [("through", "nothing"), ("around", "stale"), ("invalidate", "nothing"), ("behind", "nothing")]
)
def test_a_write_at_the_origin_is_not_put_on_the_disk(host, server, eventually, write, left):
    """Nor is what was there kept for a failing origin, but by `around`: beneath there is something newer."""
    rows = {"a": 1}
    options = {"load": rows.get, "save": rows.__setitem__, "write": write, "keep": "1m"}
    if write == "behind":
        options["behind"] = WriteBehind(durable=False)
    near, far = host("near", server.url, **options), host("far", server.url, load=rows.get)
    for cache in (near, far):
        eventually(lambda cache=cache: settled(cache))
        eventually(lambda cache=cache: cache.get("a") == 1 and reads_from(cache, "disk", "a"))
    near.set("a", 2)
    assert {view.level: view.state for view in near.explain("a").levels}["disk"] == left
    assert near.get("a") == 2
    if write != "behind":
        eventually(lambda: far.get("a") == 2, patience=MAX_STALENESS + SLACK)
    eventually(lambda: near.get("a") == 2 and reads_from(near, "disk", "a"))


@pytest.mark.parametrize("change", [lambda cache: cache.invalidate(tags=["t"]), lambda cache: cache.clear()])
def test_tags_and_clear_reach_the_disk(host, server, eventually, change):
    near, far = host("near", server.url), host("far", server.url)
    eventually(lambda: settled(near) and settled(far))
    near.set("a", 1, tags=["t"])
    eventually(lambda: settled(far) and far.get("a") == 1 and reads_from(far, "disk", "a"))
    change(near)
    eventually(lambda: far.get("a") is None, patience=MAX_STALENESS + SLACK)


def test_a_host_that_was_away_asks_again(host, server, eventually):
    near, far = host("near", server.url), host("far", server.url)
    eventually(lambda: settled(near) and settled(far))
    near.set("a", 1)
    near.set("b", 1)
    eventually(lambda: settled(far) and far.get("a") == far.get("b") == 1 and reads_from(far, "disk", "b"))
    far.close()
    near.set("a", 2)
    far = host("far", server.url)
    assert far.get("a") == 2, "at once: nobody has told it anything yet"
    eventually(lambda: settled(far))
    assert "to be confirmed" in far.explain("b").levels[0].why
    assert far.explain("b").served_by == far._levels[1].name
    assert far.get("b") == 1
    assert reads_from(far, "disk", "b"), "what the server confirms is believed from then on"


def test_a_host_that_is_alone_believes_its_disk(host, make_server, eventually):
    server = make_server()
    cache = host("one", server.url, disk={"alone": True})
    cache.set("a", 1)
    eventually(lambda: reads_from(cache, "disk", "a"))
    cache.close()
    server.kill()
    again = host("one", server.url, disk={"alone": True})
    assert again.get("a") == 1


def test_forgetting_is_not_told(tmp_path, eventually):
    """Each process of a host hears by itself; a memory that has the new value must not lose it for a sibling's sake."""
    one, two = (DiskTier(tmp_path / "cache", max_bytes=8 << 20) for _ in range(2))
    listener = RecordingListener()
    one.open("hosts", RecordingListener())
    two.open("hosts", listener)
    try:
        one.write([("a", entry("old")), ("b", entry("old", tags=("t",))), ("c", entry("old"))])
        lease = one.lease(["d"]).found[0].fence
        eventually(lambda: set("abc") <= set(listener.names))
        one.forget(["a", "d"], ["t"])
        assert [found.entry is None for found in two.read(["a", "b", "c"]).found] == [True, True, False]
        assert one.fill([("d", entry("late"), lease)]) == [False]
        one.write([("last", entry("new"))])
        eventually(lambda: "last" in listener.names)
        assert listener.names[3:] == ["last"]
        assert not listener.tags
    finally:
        one.close()
        two.close()


class TestStaleness:
    """Two hosts read and change the same keys; the far one reaches the server by a proxy."""

    @pytest.fixture(params=[False, True], ids=["disk", "memory and disk"])
    def pair(self, request, host, server, proxy, eventually):
        origin = Origin()
        near = host("near", server.url, memory=request.param, load=origin.load)
        far = host("far", proxy.url, memory=request.param, load=origin.load)
        for cache in (near, far):
            level = cache._logic.below[0]
            eventually(lambda cache=cache, level=level: cache._pending.hearsay.since(level) < float("inf"))
        return Watcher(near, origin), Watcher(far, origin)

    def staleness(self, pair, fault, pause=0.02):
        near, far = pair
        reads = []

        def reader(key):
            def read():
                began = time.monotonic()
                reads.append((key, far.cache.get(key), began))
                time.sleep(0.001)

            return read

        # One a key: who asks for a key that the disk was rid of just before waits for a server that is stalled.
        readers = [reader(key) for key in range(KEYS)]
        in_threads(*readers, paused(near.write, pause), once(fault), seconds=max(SECONDS, 2.2))
        assert len(reads) > 50
        assert near.writes > 10
        disk = next(level for level in far.cache.stats().levels if level.name == "disk")
        assert disk.hits > 0, "a disk that is not read shows nothing"
        return staleness_of(reads, near.returned)

    def test_streams_that_are_well(self, pair):
        worst = self.staleness(pair, lambda: None)
        print(f"stale for up to {worst * 1000:.1f} ms")
        assert worst < MAX_STALENESS

    def test_a_stall_and_cuts(self, pair, proxy):
        def fault():
            time.sleep(0.2)
            proxy.stall()
            time.sleep(1.3)
            proxy.resume()
            for _ in range(3):
                time.sleep(0.1)
                proxy.cut()

        worst = self.staleness(pair, fault)
        print(f"stale for up to {worst * 1000:.1f} ms")
        assert 0.1 < worst < MAX_STALENESS + SLACK, "a stall that nothing is stale by shows nothing"


def once(work):
    """Return what does something the first time, and nothing then."""
    left = [work]

    def work_once():
        if left:
            left.pop()()
        time.sleep(0.01)

    return work_once


@pytest.mark.stress
def test_both_hosts_write(host, server, eventually):
    """Writers of one key take turns, on both hosts; each sees its own changes at once, and the other's in time."""
    origin = Origin()
    caches = [host(name, server.url, memory=name == "b", load=origin.load) for name in "ab"]
    eventually(lambda: all(settled(cache) for cache in caches))
    watchers = [Watcher(cache, origin) for cache in caches]
    works = [work for watcher in watchers for work in (watcher.read, watcher.read, paused(watcher.write, 0.02))]
    in_threads(*works)
    assert not any(watcher.wrong for watcher in watchers)
    assert all(watcher.writes > 10 for watcher in watchers)
    eventually(lambda: all(settled(cache) for cache in caches))
    time.sleep(MAX_STALENESS)
    for cache in caches:
        assert [cache.get(key) for key in range(KEYS)] == [origin.numbers[key] for key in range(KEYS)]


@pytest.mark.parametrize("alone", [False, True])
def test_memory_is_warmed_from_the_disk(host, server, eventually, alone):
    """What the disk had before the restart; confirmed by the server, where other hosts may have changed it."""
    near, far = host("near", server.url), host("far", server.url, memory=True, disk={"alone": alone})
    eventually(lambda: settled(near))
    near.set_many({f"k{number}": number for number in range(90)})
    if not alone:
        eventually(lambda: settled(far))

    def all_on_disk():
        far._logic.memory.store.clear()
        before = far.stats().levels[1].hits
        far.get_many([f"k{number}" for number in range(90)])
        return far.stats().levels[1].hits - before == 90

    eventually(all_on_disk)
    far.close()
    if not alone:
        near.set("k7", "new")
    far = host("far", server.url, memory=True, disk={"alone": alone}, load=None)
    report = CacheWarmer(far, batch=20).add("disk", from_tier("disk")).run()
    assert report.success
    assert report["disk"].items == 90
    assert len(far._logic.memory.store) == 90
    assert far.get("k7") == (7 if alone else "new")
    server_hits = far.stats().levels[2].hits
    assert server_hits == (0 if alone else 90)


def test_a_forked_child_hears_for_itself(server, tmp_path):
    """What its parent has stored on the disk it believes when it has heard, and then no longer than that."""
    run_script(
        PRELUDE
        + f"""
from hotset import DiskTier, RedisTier, TieredCache

def make(name):
    tiers = [DiskTier({str(tmp_path)!r} + "/" + name, max_bytes=8 << 20), RedisTier({server.url!r})]
    return TieredCache("hosts", tiers, ttl="5m")

def on_disk(cache):
    return cache.get("a") is not None and cache.explain("a").served_by == "disk"

near, far = make("near"), make("far")
near.set("a", 1)
until(lambda: on_disk(far))

def child():
    assert not far._pending.hearsay.busy
    assert far._pending.hearsay.since(far._logic.below[0]) == float("inf")
    until(lambda: on_disk(far))
    with open({str(tmp_path / "ready")!r}, "w"):
        pass
    until(lambda: far.get("a") == 2)
    until(lambda: on_disk(far))

def change():
    until(lambda: os.path.exists({str(tmp_path / "ready")!r}))
    near.set("a", 2)

start(change)
fork(child)
"""
    )
