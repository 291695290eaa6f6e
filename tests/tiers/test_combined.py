"""What all combined tiers have in common: forks, the end of the process, dropped objects, and each other as members."""

import asyncio
import contextlib
import gc
import os
import threading
import time
import weakref

import pytest
from subprocesses import run_script
from tiers.zones import Places, restored

from hotset.errors import CodecError, TierError, TierUnavailable
from hotset.testing.driver import RecordingListener, entry, opened
from hotset.testing.tier_contract import TierContract
from hotset.tiered import TieredCache
from hotset.tiers import GutterTier, MemoryTier, RedisTier, ReplicatedTier, ShardedTier, members
from hotset.tiers.contract import CLEAR
from hotset.tiers.notes import Note, Notes

MEMBERS = ["a", "b", "c"]

SCRIPT = """
import os, signal, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # the fork of a process with threads is the point
from hotset.testing.driver import RecordingListener, entry
from hotset.tiers import *
urls = {urls!r}
zones = lambda **options: [RedisTier(url, name=str(n), **options) for n, url in enumerate(urls)]
MAKERS = {{
    "replicated": lambda: ReplicatedTier(zones(), acknowledge="all"),
    "sharded": lambda: ShardedTier(zones()),
    "gutter": lambda: GutterTier(*zones()[:2]),
}}
tier = MAKERS[{kind!r}]()
tier.open("test", RecordingListener())
names = [f"name {{n}}" for n in range(20)]
tier.write([(name, entry("parent")) for name in names])
values = lambda: [found.entry and found.entry.value for found in tier.read(names).found]
assert values() == ["parent"] * 20
"""
KINDS = ["replicated", "sharded", "gutter"]


@pytest.fixture
def places(five_servers, make_proxy):
    return Places(five_servers, make_proxy, MEMBERS)


class TestZonesOfShardsWithAGutter(TierContract):
    """Combined tiers are tiers that can be combined: here three deep."""

    @pytest.fixture(autouse=True)
    def namespace(self, five_servers, monkeypatch):
        monkeypatch.setattr(members, "BEGIN_WITHIN", self.patience)  # a busy machine is no fault here
        self.urls = [server.url for server in restored(five_servers)]
        return f"contract-{os.urandom(6).hex()}"

    def make_tier(self):
        tiers = [RedisTier(url, name=str(number), timeout=5.0) for number, url in enumerate(self.urls)]
        zones = {"x": ShardedTier(tiers[:2]), "y": ShardedTier(tiers[2:4])}
        return GutterTier(ReplicatedTier(zones, acknowledge="all"), tiers[4])

    make_peer = make_tier


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", KINDS)
def test_a_forked_child_begins_anew(five_servers, kind):
    restored(five_servers)
    run_script(
        SCRIPT.format(urls=[server.url for server in five_servers], kind=kind)
        + """
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    status = 1
    try:
        assert values() == ["parent"] * 20
        tier.write([(name, entry("child")) for name in names])
        assert values() == ["child"] * 20
        tier.close()
        status = 0
    finally:
        os._exit(status)
assert os.waitpid(pid, 0)[1] == 0, "the child failed or hangs"
assert values() == ["child"] * 20
tier.close()
"""
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_process_ends_without_a_close(five_servers, kind):
    begun = time.monotonic()
    run_script(SCRIPT.format(urls=[server.url for server in restored(five_servers)], kind=kind))
    assert time.monotonic() - begun < 20


def test_a_dropped_tier_is_collected_with_its_threads(places):
    tier = ReplicatedTier(places.tiers(stream="tracking"), acknowledge="one")
    tier.open("test", RecordingListener())
    places.servers["c"].kill()
    tier.write([("n", entry())])
    reference = weakref.ref(tier)
    del tier
    end = time.monotonic() + 20
    while reference() is not None or any("keeper" in thread.name for thread in threading.enumerate()):
        gc.collect()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("face", ["plain", "async"])
def test_a_value_that_cannot_be_encoded_is_the_callers_affair(places, kind, face):
    tiers = places.tiers()
    tier = {
        "replicated": lambda: ReplicatedTier(tiers),
        "sharded": lambda: ShardedTier(tiers),
        "gutter": lambda: GutterTier(tiers["a"], tiers["b"]),
    }[kind]()
    with asyncio.Runner() as runner, opened(tier, "test", None if face == "plain" else runner) as driver:
        with pytest.raises(CodecError):
            driver.write([("n", driver.entry(object()))])
        found, epoch = driver.begin("m")
        with pytest.raises(CodecError):
            driver.end("m", driver.entry(object(), epoch=epoch), found.fence)
        assert set(tier.states().values()) == {"closed"}
        end = time.monotonic() + 20
        while any(tier.pending().values()):
            assert time.monotonic() < end
            driver.read(["n"])
        driver.write([("n", driver.entry("N"))])
        assert driver.serves("n") == "N"


def test_a_cancelled_change_is_made_up_for(places):
    async def run():
        tier = ReplicatedTier(places.tiers(timeout=2.0), acknowledge="all", settle=0)
        tier.open("test", RecordingListener())
        await tier.awrite([("n", entry("old"))])
        with places.servers["b"].hung():
            task = asyncio.create_task(tier.aremove(["n"]))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (found,) = (await tier.aread(["n"])).found
            assert found.entry is None
        async with asyncio.timeout(20):
            while any(tier.pending().values()):
                await asyncio.sleep(0.01)
        (found,) = (await tier.aread(["n"])).found
        assert found.entry is None
        await tier.aclose()

    asyncio.run(run())


def test_members_belong_to_one_cache(places):
    tiers = places.tiers()
    taken = RedisTier(places.servers["c"].url, stream=None)
    taken.open("other", RecordingListener())
    tier = ShardedTier({**tiers, "c": taken})
    with pytest.raises(TierError):
        tier.open("test", RecordingListener())
    with pytest.raises(TierUnavailable):
        tiers["a"].read(["n"])
    taken.close()


def test_in_a_cache_with_memory_and_asyncio(places):
    async def run():
        loads = []

        async def load(key):
            loads.append(key)
            return key * 2

        zones = ReplicatedTier(places.tiers(stream="tracking"))
        async with TieredCache("test", [MemoryTier(100), zones], load=load) as cache:
            assert await asyncio.gather(*(cache.aget(number) for number in range(50))) == list(range(0, 100, 2))
            assert await cache.aget_many(range(60)) == {number: 2 * number for number in range(60)}
            await cache.aset("a", "A", tags=["t"])
            assert await cache.aget("a") == "A"
            await cache.ainvalidate(tags=["t"])
            assert await cache.aget("a") == "aa"
            assert sorted(loads[:-1]) == list(range(60))

    asyncio.run(run())


@pytest.mark.parametrize("face", ["plain", "async"])
def test_a_close_ends_what_has_not_begun(places, face):
    """More calls than a member has threads: those that wait for one never get it, and nobody waits for them."""
    tier = ReplicatedTier(places.tiers(timeout=1.0), acknowledge="all")
    tier.open("test", RecordingListener())
    tier._flight = 0.0  # or it would wait for them, as long as they can take
    ended = []

    def remove(number):
        with contextlib.suppress(TierError):
            tier.remove([f"n{number}"])
        ended.append(number)

    async def run():
        tasks = [asyncio.create_task(tier.aremove([f"n{number}"])) for number in range(40)]
        await asyncio.sleep(0.2)
        await tier.aclose()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, TierError)
            ended.append(outcome)

    with contextlib.ExitStack() as stack:
        for server in places.servers.values():
            stack.enter_context(server.hung())
        if face == "plain":
            threads = [threading.Thread(target=remove, args=(number,), daemon=True) for number in range(40)]
            for thread in threads:
                thread.start()
            time.sleep(0.2)
            tier.close()
            for thread in threads:
                thread.join(10)
        else:
            asyncio.run(asyncio.wait_for(run(), 20))
    assert len(ended) == 40
    end = time.monotonic() + 10
    while any(member._waiting for member in tier._members):
        assert time.monotonic() < end, "each that was counted is counted out"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["replicated", "gutter"])
def test_what_one_member_has_opened_is_passed_on(places, kind):
    """All of it was read in one place, and is there: nothing is to be looked at singly, unless it is in doubt."""
    tiers = places.tiers()
    tier = ReplicatedTier(tiers) if kind == "replicated" else GutterTier(tiers["a"], tiers["b"])
    names = [f"name {number}" for number in range(20)]
    with opened(tier, "test", None) as driver:
        driver.write([(name, driver.entry(name)) for name in names])
        end = time.monotonic() + 20
        while any(tier.pending().values()):
            assert time.monotonic() < end
        assert driver.values(names) == names  # and learns who has written it
        reading = tier.read(names)
        assert reading.opened.values == names
        assert [found.entry.value for found in reading.found] == names
        assert tier.fill([(names[0], driver.entry("filled"), reading.found[0].fence)]) == [True]
        assert tier.fill([(names[0], driver.entry("late"), reading.found[0].fence)]) == [False]
        assert driver.serves(names[0]) == "filled"
        for name in ("a", "b"):
            driver.write([(names[1], entry("newer"))])
            with places.servers[name].read_only():
                tier.remove([names[1]])
                reading = tier.read(names)
                if name == "a":
                    assert reading.opened is None, "what it has missed must not be served"
                assert reading.found[1].entry is None


# Notes


def test_a_note_excludes_what_may_be_older():
    note = Note(100.0, b"own")
    assert note.excludes(entry(age=5.0), 104.0), "loaded before"
    assert not note.excludes(entry(age=1.0), 104.0), "loaded after"
    assert note.excludes(entry(age=1.0, cost=4.0), 104.0), "the load had begun before"
    own = entry(age=5.0)
    own.version = b"own"
    assert not note.excludes(own, 104.0)


def test_a_change_that_is_given_up_and_lands_after_all_is_told_again(monkeypatch):
    notes = Notes(10, 1.0)
    flight = notes.fly({"n": b"1"}, ["t"])
    assert not notes.due()
    assert notes.flying("n")
    monkeypatch.setattr("hotset.tiers.notes.time.monotonic", lambda: flight.begun + 100)
    due = notes.due()
    assert (set(due.names), set(due.tags)) == ({"n"}, {"t"})
    notes.told(due)
    assert len(notes) == 0
    assert notes.land(flight, done=True)
    assert set(notes.due().names) == {"n"}


def test_too_many_notes_become_one_but_for_those_on_their_way():
    notes = Notes(3, 1.0)
    flight = notes.fly({"flying": None})
    notes.miss(["a", "b"])
    assert len(notes) == 3
    notes.miss(["c"])
    assert set(notes.names) == {"flying"}
    assert set(notes.tags) == {CLEAR}
    assert not notes.land(flight, done=True)
    assert set(notes.due().tags) == {CLEAR}


def test_what_changes_again_while_it_is_told_stays():
    notes = Notes(10, 1.0)
    notes.miss(["n", "m"])
    due = notes.due()
    notes.miss(["n"])
    notes.told(due)
    assert set(notes.names) == {"n"}
