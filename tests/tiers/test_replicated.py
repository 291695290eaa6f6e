"""Three zones of real servers: the contract, fences and repairs over zones, and zones that are lost and come back."""

import asyncio
import contextlib
import os
import threading
import time

import pytest
from tiers.zones import Places, cut, looking_into, restored, values_at

from hotset.errors import TierError, TierUnavailable
from hotset.testing.driver import RecordingListener, entry, opened
from hotset.testing.tier_contract import TierContract
from hotset.tiered.breaker import Breaker
from hotset.tiers import MemoryTier, RedisTier, ReplicatedTier
from hotset.tiers.contract import CLEAR
from hotset.tiers.keys import Keys
from hotset.tiers.scripts import FLOOR_FIELD

ZONES = ["a", "b", "c"]
LOOKED_AT = 0.7  # seconds for which what must not happen is watched; most of it in the first tenth
BOTH_FACES = pytest.mark.parametrize("runner", ["sync", "async"], indirect=True)


class TestContract(TierContract):
    """With all zones told before a change returns, so that whoever looks next sees it, and a peer in another zone.

    Epochs are a zone's own, and the suite compares them: here they are alike. A fill by what one zone gave is found in
    that one: here all are looked into.
    """

    @pytest.fixture(autouse=True)
    def namespace(self, five_servers):
        self.servers = restored(five_servers[:3])
        namespace = f"contract-{os.urandom(6).hex()}"
        for one in (namespace, f"{namespace}-other"):
            keys = Keys(one)
            for server in self.servers:
                server.command("SET", keys.state, "1000 1000 1000 -")
                server.command("HSET", keys.tags, FLOOR_FIELD, "1000")
        return namespace

    def make_tier(self, **options):
        zones = {name: RedisTier(server.url, timeout=1.0) for name, server in zip(ZONES, self.servers, strict=True)}
        return ReplicatedTier(zones, acknowledge="all", fallbacks=2, **options)

    def make_peer(self):
        return self.make_tier(local="c")


@pytest.fixture
def places(five_servers, make_proxy):
    return Places(five_servers, make_proxy, ZONES)


@pytest.fixture
def drive(runner):
    """Open tiers over zones, by one of their faces."""
    with contextlib.ExitStack() as stack:

        def factory(zones, *, runner=runner, **options):
            options = {"settle": 0.3, "breaker": lambda: Breaker(consecutive=2, open_for=60), **options}
            return stack.enter_context(opened(ReplicatedTier(zones, **options), "test", runner))

        yield factory


def told(driver):
    """Whether all zones have been told everything. Lets the background of a loop go on, which else stands still."""
    if driver.runner is not None:
        driver.runner.run(asyncio.sleep(0.005))
    return not any(driver.tier.pending().values())


# Arguments


def test_nonsense_is_refused():
    zones = {name: RedisTier(stream=None) for name in ZONES}
    for wrong in (7, "zones", zones["a"], {"a": "redis://"}, {1: zones["a"]}, {"": zones["a"]}):
        with pytest.raises(TypeError):
            ReplicatedTier(wrong)
    for wrong in ([], {}, {"a": MemoryTier(1)}, [zones["a"], zones["b"]], {"a": zones["a"], "b": zones["a"]}):
        with pytest.raises(ValueError):
            ReplicatedTier(wrong)
    for options in (
        {"local": "d"},
        {"acknowledge": "most"},
        {"acknowledge": 2},
        {"acknowledge": ["one"]},
        {"local": ["a"]},
        {"returning": []},
        {"fallbacks": -1},
        {"settle": -1},
        {"linger": -1},
        {"returning": "home"},
        {"max_missed": 0},
        {"name": ""},
    ):
        with pytest.raises(ValueError):
            ReplicatedTier(zones, **options)
    for options in ({"breaker": 7}, {"breaker": dict}, {"repair": "no"}, {"settle": None}):
        with pytest.raises(TypeError, match=next(iter(options))):
            ReplicatedTier(zones, **options)


def test_tiers_with_names_need_no_others():
    tier = ReplicatedTier([RedisTier(name="west"), RedisTier(name="east")], local="east")
    assert [zone.name for zone in tier.stats()] == ["west", "east"]
    assert "west" in repr(tier)


def test_it_must_be_open(places):
    tier = ReplicatedTier(places.tiers())
    with pytest.raises(TierError):
        tier.read(["a"])
    tier.open("test", RecordingListener())
    tier.close()
    with pytest.raises(TierUnavailable):
        tier.read(["a"])


# Acknowledgement


@BOTH_FACES
@pytest.mark.parametrize(("acknowledge", "hung"), [("none", 3), ("one", 2), ("quorum", 1), ("all", 0)])
def test_a_change_waits_for_as_many_zones_as_it_is_told(places, drive, acknowledge, hung):
    tier = drive(places.tiers(timeout=2.0), acknowledge=acknowledge)
    tier.write([("n", tier.entry("old", epoch=0))])
    with contextlib.ExitStack() as stack:
        for name in ZONES[3 - hung :]:
            stack.enter_context(places.servers[name].hung())
        begun = time.monotonic()
        tier.write([("n", tier.entry("new", epoch=0))])
        tier.remove(["m"])
        assert time.monotonic() - begun < 1.5
    assert tier.serves("n") in {"new", None}


@pytest.mark.parametrize(("acknowledge", "lost"), [("one", 3), ("quorum", 2), ("all", 1)])
def test_a_change_that_too_few_zones_have_done_fails(places, drive, acknowledge, lost):
    tier = drive(places.tiers(), acknowledge=acknowledge)
    tier.write([("n", tier.entry("old"))])
    for name in ZONES[:lost]:
        places.servers[name].kill()
    for change in (
        lambda: tier.write([("n", entry("new"))]),
        lambda: tier.remove(["n"]),
        lambda: tier.invalidate(["t"]),
    ):
        with pytest.raises(TierError):
            change()
    if lost < 3:
        assert tier.look("n") is None, "it is not known what is there"


def test_every_zone_gets_what_is_written(places, drive):
    tier = drive(places.tiers(), acknowledge="all")
    tier.write([("n", tier.entry("N")), ("m", tier.entry("M"))])
    found, _ = tier.begin("o")
    assert tier.end("o", tier.entry("O"), found.fence)
    for server in places.servers.values():
        assert values_at(server, ["n", "m", "o"]) == ["N", "M", "O"]
    tier.remove(["n"])
    tier.remove(["m"], expire=True)
    for server in places.servers.values():
        assert values_at(server, ["n", "m", "o"]) == [None, None, "O"]


def test_the_background_goes_on_after_the_loop(places, eventually):
    tier = ReplicatedTier(places.tiers(), acknowledge="one")
    tier.open("test", RecordingListener())
    try:
        asyncio.run(tier.awrite([("n", entry("N"))]))
        eventually(lambda: not any(tier.pending().values()))
        asyncio.run(tier.aremove(["n"]))
        assert asyncio.run(tier.aread(["n"])).found[0].entry is None
        eventually(lambda: not any(tier.pending().values()))
        for server in places.servers.values():
            assert values_at(server, ["n"]) == [None]
    finally:
        tier.close()


# Reading


def test_only_the_local_zone_is_read(places, drive):
    tier = drive(places.tiers(), local="b")
    tier.write([("n", tier.entry("N"))])
    before = {zone.name: zone.reads for zone in tier.tier.stats()}
    assert tier.values(["n"] * 10) == ["N"] * 10
    assert {zone.name: zone.reads - before[zone.name] for zone in tier.tier.stats()} == {"a": 0, "b": 10, "c": 0}


@BOTH_FACES
def test_what_the_local_zone_has_not_is_read_elsewhere_and_repaired(places, drive, eventually):
    tier = drive(places.tiers(), acknowledge="all")
    tier.write([("n", tier.entry("N", tags=("t",), epoch=tier.epoch())), ("m", tier.entry("M"))])
    places.servers["a"].command("FLUSHALL")
    assert tier.values(["n", "none", "m"]) == ["N", None, "M"]
    assert tier.tier.fallen_back == 2
    eventually(lambda: values_at(places.servers["a"], ["n", "m"]) == ["N", "M"])
    assert tier.tier.repaired == 2
    tier.invalidate(["t"])
    assert tier.values(["n"]) == [None]
    assert values_at(places.servers["a"], ["n"]) == [None], "its tags and its epoch are right"


def test_a_lease_finds_what_any_zone_has(places, drive, eventually):
    tier = drive(places.tiers(), acknowledge="all", fallbacks=0)
    tier.write([("n", tier.entry("N"))])
    for name in "ab":
        places.servers[name].command("FLUSHALL")
    assert tier.look("n") is None
    assert tier.lease(["n"]).found[0].entry.value == "N"
    eventually(lambda: values_at(places.servers["a"], ["n"]) == ["N"])


def test_an_entry_that_has_expired_here_is_looked_for_elsewhere(places, drive):
    tier = drive(places.tiers(), acknowledge="all", repair=False)
    tier.write([("n", tier.entry("N"))])
    with looking_into(places.servers["a"]) as here:
        here.remove(["n"], expire=True)
    seen = tier.look("n")
    assert (seen.value, seen.life > 0) == ("N", True)
    tier.remove(["n"], expire=True)
    seen = tier.look("n")
    assert (seen.value, seen.life > 0) == ("N", False), "what is kept is found if there is no better"


@BOTH_FACES
@pytest.mark.parametrize("lost", ["killed", "hung"])
def test_a_lost_zone_costs_nothing_but_its_timeout(places, drive, lost):
    """Also the local one, which is asked first."""
    tier = drive(places.tiers(), local="a")
    tier.write([("n", tier.entry("N"))])
    with contextlib.ExitStack() as stack:
        if lost == "hung":
            stack.enter_context(places.servers["a"].hung())
        else:
            places.servers["a"].kill()
        slowest = 0.0
        for _ in range(5):
            begun = time.monotonic()
            assert tier.serves("n") == "N"
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 0.2 + 1.0  # its timeout, and what a busy machine takes
        begun = time.monotonic()
        found, epoch = tier.begin("m")
        assert tier.end("m", tier.entry("M", epoch=epoch), found.fence)
        assert tier.serves("m") == "M"
        assert time.monotonic() - begun < 3 * (0.2 + 1.0)
        assert tier.tier.states()["a"] == "away"
        for name in "bc":
            places.servers[name].kill()
        with pytest.raises(TierError):
            tier.read(["n"])


@BOTH_FACES
@pytest.mark.parametrize("slow", ["b", "c"])
def test_a_load_does_not_wait_for_a_slow_zone(places, drive, eventually, slow):
    proxies = {}
    tier = drive(places.tiers(proxies, timeout=3.0), local="a" if slow == "c" else "c", linger=0.02)
    tier.write([("warm", tier.entry("W"))])
    tier.lease(["warm"])
    eventually(lambda: told(tier))
    with looking_into(places.servers[slow]) as there:
        there.write([("n", there.entry("older"))])
        there.remove(["n"], expire=True)
    proxies[slow].delay(0.5, direction="up")
    begun = time.monotonic()
    found, epoch = tier.begin("n")
    assert tier.end("n", tier.entry("loaded", epoch=epoch), found.fence)
    assert time.monotonic() - begun < 0.4
    proxies[slow].heal()
    others = set(ZONES) - {slow}
    assert [values_at(places.servers[zone], ["n"]) for zone in sorted(others)] == [["loaded"]] * 2
    eventually(lambda: told(tier))
    assert tier.serves("n") == "loaded"
    assert values_at(places.servers[slow], ["n"]) == [None]


@BOTH_FACES
def test_a_load_waits_a_while_for_the_other_zones(places, drive):
    proxies = {}
    tier = drive(places.tiers(proxies, timeout=3.0), local="a", linger=2.0)
    tier.lease(["warm"])
    proxies["c"].delay(0.1, direction="up")
    found, _ = tier.begin("n")
    assert {place for place, _, _ in found.fence.of} == {0, 1, 2}


def test_a_load_waits_for_the_zone_that_decides(places, drive):
    """However slow it is: else two loads at once could each win in some zones."""
    proxies = {}
    tier = drive(places.tiers(proxies, timeout=3.0), local="c", linger=0)
    tier.lease(["warm"])
    proxies["a"].delay(0.2, direction="up")
    begun = time.monotonic()
    found, _ = tier.begin("n")
    assert time.monotonic() - begun >= 0.2
    assert {place for place, _, _ in found.fence.of} == {0, 1, 2}


# Fences


def test_a_fill_is_stored_only_where_the_zones_own_fence_holds(places, drive, eventually):
    tier = drive(places.tiers(), acknowledge="all", repair=False)
    for changed in ZONES:
        name = f"changed in {changed}"
        found, epoch = tier.begin(name)
        with looking_into(places.servers[changed]) as there:
            there.write([(name, there.entry("written"))])
        assert not tier.end(name, tier.entry("loaded", epoch=epoch), found.fence), changed
        # The first zone decides: none has taken it. What others refuse, all drop, for they may have copied it.
        assert values_at(places.servers[changed], [name]) in (
            [["written"]] if changed == "a" else (["written"], [None])
        )
        eventually(lambda: told(tier))
        assert all(values_at(server, [name]) != ["loaded"] for server in places.servers.values())


@BOTH_FACES
@pytest.mark.parametrize("acknowledge", ["one", "all"])
def test_a_fill_that_one_zone_refuses_is_left_in_none(places, drive, eventually, acknowledge):
    """The zone that decides has not heard of a change: who made it cannot reach that one, and the filler can."""
    proxies = {}
    writer = drive(places.tiers(proxies), local="c")
    filler = drive(places.tiers(), acknowledge=acknowledge, local="a")
    found, epoch = filler.begin("n")
    cut(proxies["a"])
    writer.remove(["n"])
    stored = filler.end("n", filler.entry("old", epoch=epoch), found.fence)
    assert not (stored and acknowledge == "all")
    eventually(lambda: (told(filler), values_at(places.servers["a"], ["n"]))[1] == [None])
    for server in places.servers.values():
        assert values_at(server, ["n"]) == [None]
    end = time.monotonic() + LOOKED_AT
    while time.monotonic() < end:
        assert filler.serves("n") is None
        assert writer.serves("n") is None
    assert writer.tier.pending()["a"] == 1


def test_a_fill_by_what_one_zone_gave_ends_what_the_others_have(places, drive):
    tier = drive(places.tiers(), acknowledge="all", repair=False)
    tier.write([("n", tier.entry("old"))])
    found, epoch = tier.begin("n")
    assert tier.end("n", tier.entry("new", epoch=epoch), found.fence)
    assert [values_at(places.servers[zone], ["n"]) for zone in ZONES] == [["new"], [None], [None]]
    other = drive(places.tiers(), local="c", acknowledge="all")
    assert other.serves("n") == "new"


def test_a_fill_without_the_first_zone_is_decided_by_the_next(places, drive):
    tier, other = (drive(places.tiers(), local=local, acknowledge="one") for local in "ab")
    leased = [each.lease(["n"]).found[0] for each in (tier, other)]
    assert [found.taken for found in leased] == [False, True]
    places.servers["a"].kill()
    ends = zip((tier, other), leased, strict=True)
    stored = [each.end("n", each.entry(place), found.fence) for place, (each, found) in enumerate(ends)]
    assert stored == [True, False]
    assert values_at(places.servers["b"], ["n"]) == [0]


@pytest.mark.stress
def test_of_many_fills_at_once_one_is_stored_in_all_zones(places, drive):
    tiers = [drive(places.tiers(timeout=2.0), local=local, acknowledge="all", runner=None) for local in ZONES]
    barrier = threading.Barrier(6, timeout=20)
    wins = []

    def work(number):
        mine = tiers[number % 3]
        for turn in range(30):
            barrier.wait()
            found, epoch = mine.begin(f"turn {turn}")
            if found.entry is None and mine.end(f"turn {turn}", mine.entry(number, epoch=epoch), found.fence):
                wins.append(turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(wins) == list(range(30))
    names = [f"turn {turn}" for turn in range(30)]
    seen = [values_at(places.servers[zone], names) for zone in ZONES]
    assert seen[0] == seen[1] == seen[2]


# What a zone has missed


@pytest.mark.parametrize(
    ("lost", "change"), [("a", "write"), ("b", "remove"), ("c", "expire"), ("a", "invalidate"), ("b", "clear")]
)
def test_a_zone_that_comes_back_with_old_data_is_not_believed(places, drive, eventually, lost, change):
    proxies = {}
    tier = drive(places.tiers(proxies))
    tier.write([(name, tier.entry("old", tags=("t",), epoch=tier.epoch())) for name in ("n", "m")])
    eventually(lambda: told(tier))
    cut(proxies[lost])
    {
        "write": lambda: tier.write([("n", entry("new"))]),
        "remove": lambda: tier.remove(["n"]),
        "expire": lambda: tier.remove(["n"], expire=True),
        "invalidate": lambda: tier.invalidate(["t"]),
        "clear": lambda: tier.invalidate([CLEAR]),
    }[change]()
    expected = "new" if change == "write" else None
    assert values_at(places.servers[lost], ["n"]) == ["old"]
    assert tier.serves("n") == expected
    # The others go as well: only the old value is left.
    for zone in set(ZONES) - {lost}:
        places.servers[zone].command("FLUSHALL")
    proxies[lost].accept()
    end = time.monotonic() + LOOKED_AT
    while time.monotonic() < end:
        assert tier.serves("n") != "old"
        assert tier.lease(["n"]).found[0].entry is None or change == "expire"
    eventually(lambda: values_at(places.servers[lost], ["n"]) == [None])
    if change in {"write", "remove", "expire"}:
        assert values_at(places.servers[lost], ["m"]) == ["old"], "nothing else is lost"
    eventually(lambda: told(tier))


def test_a_zone_that_has_missed_too_much_is_cleared(places, drive, eventually):
    proxies = {}
    tier = drive(places.tiers(proxies), max_missed=5)
    names = [f"name {number}" for number in range(10)]
    tier.write([(name, tier.entry("old")) for name in [*names, "other"]])
    eventually(lambda: told(tier))
    cut(proxies["b"])
    tier.remove(names)
    eventually(lambda: (told(tier), tier.tier.pending()["b"])[1] == 1)
    proxies["b"].accept()
    eventually(lambda: values_at(places.servers["b"], [*names, "other"]) == [None] * 11)
    eventually(lambda: told(tier))
    assert tier.values([*names, "other"]) == [None] * 11
    tier.write([("other", entry("new"))])
    assert tier.serves("other") == "new"


def test_what_is_loaded_while_a_zone_is_away_is_served(places, drive, eventually):
    """A name that the lost zone has to forget is not out of use meanwhile."""
    tier = drive(places.tiers())
    tier.write([("n", tier.entry("old"))])
    eventually(lambda: told(tier))
    places.servers["c"].kill()
    tier.remove(["n"])
    found, epoch = tier.begin("n")
    # As old as a clock that is a second off would make it.
    assert tier.end("n", tier.entry("loaded", epoch=epoch, age=1.0), found.fence)
    assert tier.tier.pending()["c"] == 1
    assert tier.serves("n") == "loaded", "at once, whatever clocks are apart"
    other = drive(places.tiers(), local="b")
    found, epoch = other.begin("n")
    time.sleep(0.05)
    assert other.end("n", other.entry("by another one", epoch=epoch), found.fence)
    assert tier.serves("n") == "by another one"


def test_what_was_loaded_before_a_change_that_a_zone_missed_is_not_stored(places, drive):
    """That zone's fence holds still."""
    tier = drive(places.tiers(), acknowledge="one", breaker=lambda: Breaker(consecutive=1000, minimum=1000))
    found, epoch = tier.begin("n")
    with places.servers["a"].read_only():
        tier.remove(["n"])
        assert tier.tier.pending()["a"] == 1
        tier.tier._members[0].next_try = time.monotonic() + 3600  # it is told later than the load ends
        for name in "bc":
            places.servers[name].kill()
    with contextlib.suppress(TierError):
        assert not tier.end("n", tier.entry("late", epoch=epoch), found.fence)
    assert tier.look("n") is None
    assert values_at(places.servers["a"], ["n"]) == [None]


@pytest.mark.parametrize("face", ["plain", "async"])
def test_a_close_tells_what_was_missed_if_it_can(places, face):
    tier = ReplicatedTier(places.tiers())
    tier.open("test", RecordingListener())
    tier.write([("n", entry("old"))])
    with places.servers["b"].read_only():
        tier.remove(["n"])
    if face == "plain":
        tier.close()
    else:
        asyncio.run(tier.aclose())
    assert values_at(places.servers["b"], ["n"]) == [None]


@pytest.mark.parametrize("face", ["plain", "async"])
def test_a_close_waits_for_what_is_on_its_way(places, face):
    proxies = {}
    tier = ReplicatedTier(places.tiers(proxies), acknowledge="one")
    tier.open("test", RecordingListener())

    def delay():
        for proxy in proxies.values():
            proxy.delay(0.1, direction="up")

    async def run():
        await tier.awrite([("n", entry("old"))])
        await tier.alease(["m"])
        delay()
        await tier.aremove(["n"])
        await tier.aclose()

    if face == "plain":
        tier.write([("n", entry("old"))])
        tier.lease(["m"])
        delay()
        tier.remove(["n"])
        tier.close()
    else:
        asyncio.run(run())
    for server in places.servers.values():
        assert values_at(server, ["n"]) == [None]


@BOTH_FACES
def test_what_another_process_copies_from_such_a_zone_is_not_believed(places, drive, eventually):
    """The other one reaches all zones, and so brings back what one of them was not told to forget."""
    proxies = {}
    tier = drive(places.tiers(proxies), local="a")
    other = drive(places.tiers(), local="a", fallbacks=2)
    tier.write([("n", tier.entry("old"))])
    eventually(lambda: told(tier))
    cut(proxies["c"])
    tier.remove(["n"])
    eventually(lambda: (told(tier), tier.tier.pending())[1] == {"a": 0, "b": 0, "c": 1})
    assert other.serves("n") == "old", "nobody has told it"
    eventually(lambda: values_at(places.servers["a"], ["n"]) == ["old"])
    assert tier.serves("n") is None
    assert tier.lease(["n"]).found[0].entry is None
    proxies["c"].accept()
    eventually(lambda: told(tier))
    for server in places.servers.values():
        assert values_at(server, ["n"]) == [None]
    assert tier.serves("n") is None
    assert other.serves("n") is None


def test_a_repair_does_not_undo_a_removal_on_its_way(places, drive, eventually):
    """One zone has been told and another has not: a reader between the two must not copy the old value."""
    proxies = {}
    tier = drive(places.tiers(proxies, timeout=1.0), acknowledge="all", local="a")
    other = drive(places.tiers(timeout=1.0), acknowledge="all", local="a")
    tier.write([("n", tier.entry("old"))])
    tier.tier.read(["n"])
    tier.tier.lease(["m"])
    proxies["b"].delay(0.2, direction="up")
    removal = threading.Thread(target=lambda: tier.tier.remove(["n"]))
    removal.start()
    eventually(lambda: values_at(places.servers["a"], ["n"]) == [None])
    while removal.is_alive():
        other.look("n")  # the old value may be served as long as the removal has not returned
    assert other.tier.fallen_back > 0
    end = time.monotonic() + 1.8  # longer than repairs wait
    while time.monotonic() < end:
        assert values_at(places.servers["a"], ["n"]) == [None]
        assert other.serves("n") is None
        time.sleep(0.01)


def test_a_change_that_takes_long_is_told_once_more(places, drive, eventually):
    """Longer than repairs wait: somebody may have copied the old value into a zone that had been told."""
    proxies = {}
    tier = drive(places.tiers(proxies, timeout=3.0), acknowledge="all", local="a")
    tier.tier._flight = 0.1
    for zone in tier.tier._members:
        zone.notes._late = 0.1
    tier.write([("n", tier.entry("old"))])
    eventually(lambda: told(tier))
    tier.tier.lease(["m"])
    proxies["b"].delay(0.2, direction="up")
    removal = threading.Thread(target=lambda: tier.tier.remove(["n"]))
    removal.start()
    eventually(lambda: values_at(places.servers["a"], ["n"]) == [None])
    with looking_into(places.servers["a"]) as there:
        there.write([("n", there.entry("old", age=60.0))])  # as a repair would
    removal.join(20)
    assert tier.serves("n") is None
    proxies["b"].heal()
    eventually(lambda: told(tier))
    assert values_at(places.servers["a"], ["n"]) == [None]


def test_of_two_changes_on_their_way_at_once_the_older_one_does_not_stay(places, drive, eventually):
    proxies = {}
    tier = drive(places.tiers(proxies, timeout=3.0), acknowledge="one", local="a", runner=None)
    tier.write([("n", tier.entry("old"))])
    eventually(lambda: told(tier))
    proxies["b"].delay(0.4, direction="up")
    tier.write([("n", entry("first"))])
    time.sleep(0.1)
    proxies["b"].heal()
    tier.write([("n", entry("second"))])
    eventually(lambda: values_at(places.servers["b"], ["n"]) != ["old"])
    assert tier.serves("n") in {"second", None}
    eventually(lambda: told(tier))
    for server in places.servers.values():
        assert values_at(server, ["n"]) in (["second"], [None])


def test_a_zone_that_comes_back_is_not_read_at_once(places, drive, eventually):
    """Other processes may have something to tell it, too."""
    tier = drive(places.tiers(), settle=1.0)
    tier.write([("n", tier.entry("N"))])
    places.servers["a"].kill()
    tier.read(["n"])
    tier.read(["n"])
    eventually(lambda: tier.tier.states()["a"] == "away")
    places.servers["a"].start()
    eventually(lambda: tier.tier.states()["a"] != "away")
    back = time.monotonic()
    with looking_into(places.servers["a"]) as there:
        there.write([("n", there.entry("of before"))])
    while tier.tier.states()["a"] == "settling":
        assert tier.serves("n") == "N"
    assert time.monotonic() - back > 0.5
    eventually(lambda: tier.serves("n") == "of before")


def test_a_zone_can_be_cleared_when_it_comes_back(places, drive, eventually):
    """What it missed nobody may be left to tell."""
    proxies, others = {}, {}
    tier = drive(places.tiers(proxies), returning="cleared")
    dies = drive(places.tiers(others))
    tier.write([("n", tier.entry("old"))])
    eventually(lambda: told(tier))
    for way in (proxies, others):
        cut(way["a"])
    dies.remove(["n"])
    dies.close()
    assert tier.serves("n") is None
    eventually(lambda: (tier.serves("n"), tier.tier.states()["a"])[1] == "away")
    proxies["a"].accept()
    end = time.monotonic() + LOOKED_AT
    while time.monotonic() < end:
        assert tier.serves("n") is None
    assert tier.tier.states()["a"] == "closed"


# What is told


def test_changes_in_any_zone_are_told_and_the_worst_zone_counts(places, drive, eventually):
    tier = drive(places.tiers(stream="tracking"))
    eventually(lambda: tier.listener.moments)
    for zone in ZONES:
        with looking_into(places.servers[zone]) as there:
            there.write([(f"in {zone}", there.entry(zone))])
            there.invalidate([f"t{zone}"])
        eventually(lambda zone=zone: f"in {zone}" in tier.listener.names)
        eventually(lambda zone=zone: f"t{zone}" in [tag for tag, _ in tier.listener.tags])
    with places.servers["b"].hung():
        hung = time.monotonic()
        eventually(lambda: tier.listener.losses > 0 and tier.tier.states()["b"] == "away")
        eventually(lambda: max(tier.listener.moments) > hung)
        lost = tier.listener.losses
        assert lost > 0, "what it would have told is not told"
    eventually(lambda: tier.tier.states()["b"] == "closed")
    now = time.monotonic()
    eventually(lambda: max(tier.listener.moments) > now)


def test_nothing_is_reported_that_a_zone_may_not_have_told(places, drive, eventually):
    """From when a zone goes silent until its stream counts as lost."""
    proxies = {}
    tier = drive(places.tiers(proxies, stream="tracking"))
    eventually(lambda: tier.listener.moments)
    proxies["b"].stall("down")
    losses = tier.listener.losses
    with looking_into(places.servers["b"]) as there:
        there.write([("n", there.entry("N"))])
    changed = time.monotonic()
    while True:
        moment = max(tier.listener.moments)
        if tier.listener.losses > losses:
            break
        assert moment <= changed
        assert time.monotonic() < changed + 20
    eventually(lambda: max(tier.listener.moments) > changed)


def test_a_zone_that_tells_nothing_is_not_read(places, drive, eventually):
    """It answers, but lets nobody track what changes."""
    tier = drive(places.tiers(stream="tracking"), local="a", acknowledge="all")
    eventually(lambda: tier.listener.moments)
    tier.write([("n", tier.entry("N"))])
    server = places.servers["a"]
    server.command("ACL", "SETUSER", "default", "-client|tracking")
    for line in server.command("CLIENT", "LIST").decode().splitlines():
        client = dict(pair.partition("=")[::2] for pair in line.split())
        if "B" in client["flags"]:
            server.command("CLIENT", "KILL", "ID", client["id"])
    zone = tier.tier._members[0]
    eventually(lambda: not zone.told and zone.settled)
    before = tier.tier.stats()[0].reads
    assert tier.values(["n"] * 5) == ["N"] * 5
    assert tier.tier.stats()[0].reads == before
    server.command("ACL", "SETUSER", "default", "+client|tracking")
    eventually(lambda: zone.told)
    eventually(lambda: tier.values(["n"]) == ["N"] and tier.tier.stats()[0].reads > before)
