"""A spare in place of a server that is down: the contract with and without it, and what is not stale on either way."""

import contextlib
import functools
import os
import time

import pytest
from tiers.zones import Places, cut, looking_into, restored, under_load, values_at

from hotset.errors import TierError
from hotset.testing.driver import entry, opened
from hotset.testing.tier_contract import TierContract
from hotset.tiered import TieredCache
from hotset.tiered.breaker import Breaker
from hotset.tiers import GutterTier, MemoryTier, RedisTier
from hotset.tiers.contract import CLEAR

BOTH_FACES = pytest.mark.parametrize("runner", ["sync", "async"], indirect=True)


class TestSpared(TierContract):
    """While the main tier is not there; while it is, see test_combined."""

    @pytest.fixture(autouse=True)
    def namespace(self, five_servers):
        (self.server,) = restored(five_servers[:1])
        return f"contract-{os.urandom(6).hex()}"

    # What lives here lives for `ttl` at most.
    test_an_entry_comes_back_as_it_was = None
    test_a_new_entry_has_its_own_times = None
    test_touch_gives_new_times = None

    @pytest.fixture(autouse=True)
    def no_patience(self, monkeypatch):
        """The stream of the main tier, which never comes, is not waited for."""
        monkeypatch.setattr("hotset.tiers.combined._STARTING", 0.05)

    def make_tier(self):
        # The main tier is given up at its first failure, and so is not waited for when the tier is closed.
        breaker = functools.partial(Breaker, consecutive=1, open_for=60)
        main, spare = RedisTier("redis://127.0.0.1:1"), RedisTier(self.server.url, timeout=1.0)
        return GutterTier(main, spare, ttl="2h", breaker=breaker)

    make_peer = make_tier


@pytest.fixture
def places(five_servers, make_proxy):
    return Places(five_servers, make_proxy, ["main", "spare"])


@pytest.fixture
def drive(runner):
    """Open tiers with a spare, by one of their faces."""
    with contextlib.ExitStack() as stack:

        def factory(tiers, **options):
            options = {"settle": 0.3, "breaker": lambda: Breaker(consecutive=2, open_for=60), **options}
            return stack.enter_context(opened(GutterTier(tiers["main"], tiers["spare"], **options), "test", runner))

        yield factory


def load(tier, name, value):
    """Read a name, and fill it if there is nothing: what a cache does on a miss."""
    found, epoch = tier.begin(name)
    return found.entry.value if found.entry else tier.end(name, tier.entry(value, epoch=epoch), found.fence)


def test_nonsense_is_refused():
    main, spare = RedisTier(stream=None), RedisTier(stream=None)
    for wrong in ((main, 7), (7, spare)):
        with pytest.raises(TypeError):
            GutterTier(*wrong)
    for wrong in ((main, main), (main, MemoryTier(1))):
        with pytest.raises(ValueError):
            GutterTier(*wrong)
    for ttl in (0, -1, "never"):
        with pytest.raises(ValueError, match="ttl"):
            GutterTier(main, spare, ttl=ttl)


def test_the_spare_is_left_alone_while_the_main_tier_is_there(places, drive):
    tier = drive(places.tiers())
    tier.write([("n", tier.entry("N"))])
    assert load(tier, "m", "M") is True
    assert tier.values(["n", "m"]) == ["N", "M"]
    assert tier.tier.spared == 0
    assert not tier.tier.sparing
    assert places.servers["spare"].command("DBSIZE") == 0


@BOTH_FACES
def test_the_spare_takes_over_at_once_and_for_a_short_time(places, drive):
    tier = drive(places.tiers(), ttl=5)
    tier.write([("n", tier.entry("N"))])
    places.servers["main"].kill()
    assert tier.look("n") is None, "and no error"
    assert load(tier, "n", "loaded") is True
    tier.write([("m", entry("M"))])
    for name in ("n", "m"):
        seen = tier.look(name)
        assert 0 < seen.life <= 5
        assert seen.keep <= 5.1
    assert tier.tier.sparing
    assert tier.tier.spared > 0
    assert tier.touch("m", 3600.0, 3600.0)
    assert tier.look("m").keep <= 5.1


def test_it_comes_back_with_what_it_had(places, drive, eventually):
    proxies = {}
    tier = drive(places.tiers(proxies))
    tier.write([("n", tier.entry("N")), ("m", tier.entry("M"))])
    cut(proxies["main"])
    tier.read(["n"])
    tier.read(["n"])
    assert tier.tier.sparing
    proxies["main"].accept()
    eventually(lambda: not tier.tier.sparing)
    assert tier.values(["n", "m"]) == ["N", "M"]


@BOTH_FACES
@pytest.mark.parametrize("change", ["write", "remove", "expire", "invalidate", "clear"])
def test_what_the_main_tier_has_missed_it_is_told(places, drive, eventually, change):
    proxies = {}
    tier = drive(places.tiers(proxies), settle=0)
    tier.write([("n", tier.entry("old", tags=("t",), epoch=tier.epoch()))])
    cut(proxies["main"])
    {
        "write": lambda: tier.write([("n", entry("new"))]),
        "remove": lambda: tier.remove(["n"]),
        "expire": lambda: tier.remove(["n"], expire=True),
        "invalidate": lambda: tier.invalidate(["t"]),
        "clear": lambda: tier.invalidate([CLEAR]),
    }[change]()
    wanted = "new" if change == "write" else None
    for _ in range(3):
        assert tier.serves("n") == wanted
    assert values_at(places.servers["main"], ["n"]) == ["old"]
    proxies["main"].accept()
    end = time.monotonic() + 10
    while tier.tier.sparing or tier.tier.pending()["main"]:
        assert tier.serves("n") in {wanted, None}
        assert time.monotonic() < end
    assert tier.serves("n") is None
    assert values_at(places.servers["main"], ["n"]) == [None]


@pytest.mark.parametrize("refusing", ["main", "spare"])
@pytest.mark.parametrize("change", ["write", "remove", "expire", "invalidate", "clear"])
def test_neither_is_believed_about_what_it_has_missed(places, drive, change, refusing):
    """It answers, but takes no writes for a while."""
    tier = drive(places.tiers(), breaker=lambda: Breaker(consecutive=1000, minimum=1000))
    if refusing == "spare":
        places.servers["main"].kill()
    tier.write([("n", tier.entry("old", tags=("t",), epoch=tier.epoch())), ("m", entry("M"))])
    with places.servers[refusing].read_only():
        with contextlib.nullcontext() if refusing == "main" else pytest.raises(TierError):
            {
                "write": lambda: tier.write([("n", entry("new"))]),
                "remove": lambda: tier.remove(["n"]),
                "expire": lambda: tier.remove(["n"], expire=True),
                "invalidate": lambda: tier.invalidate(["t"]),
                "clear": lambda: tier.invalidate([CLEAR]),
            }[change]()
        assert values_at(places.servers[refusing], ["n"]) == ["old"]
        for _ in range(3):
            assert tier.serves("n") is None
            if refusing == "main":  # for a lease, the spare stands in
                assert tier.lease(["n"]).found[0].entry is None or tier.lease(["n"]).found[0].entry.value == "new"
        assert tier.serves("m") == (None if change == "clear" else "M")


@pytest.mark.parametrize("change", ["write", "remove", "expire", "invalidate", "clear", "fill"])
def test_who_uses_the_main_tier_keeps_the_spare_honest(places, drive, change):
    """Another process cannot reach it, and so reads the spare."""
    proxies = {}
    tier = drive(places.tiers())
    spared = drive(places.tiers(proxies))
    cut(proxies["main"])
    assert load(spared, "n", Tagged) is True
    with looking_into(places.servers["spare"]) as there:
        there.write([("n", there.entry("old", tags=("t",), epoch=there.epoch()))])
    assert spared.serves("n") == "old"
    found, _ = spared.begin("n")
    {
        "write": lambda: tier.write([("n", entry("new"))]),
        "remove": lambda: tier.remove(["n"]),
        "expire": lambda: tier.remove(["n"], expire=True),
        "invalidate": lambda: tier.invalidate(["t"]),
        "clear": lambda: tier.invalidate([CLEAR]),
        "fill": lambda: load(tier, "n", "filled"),
    }[change]()
    if change == "fill":
        assert spared.serves("n") == "old", "a fill tells of no change"
        return
    assert spared.serves("n") is None
    stored = spared.end("n", spared.entry("late", tags=("t",), epoch=found.entry.epoch), found.fence)
    assert not stored or spared.serves("n") is None


Tagged = "loaded"


def test_a_fence_of_the_main_tier_is_none_of_the_spare(places, drive):
    tier = drive(places.tiers())
    found, epoch = tier.begin("n")
    places.servers["main"].kill()
    with pytest.raises(TierError):
        tier.end("n", tier.entry("loaded", epoch=epoch), found.fence)
    assert tier.look("n") is None


@BOTH_FACES
def test_both_down_is_an_error(places, drive):
    tier = drive(places.tiers())
    tier.write([("n", tier.entry("N"))])
    for server in places.servers.values():
        server.kill()
    for operation in (
        lambda: tier.read(["n"]),
        lambda: tier.lease(["n"]),
        lambda: tier.write([("n", entry())]),
        lambda: tier.remove(["n"]),
        lambda: tier.invalidate(["t"]),
        lambda: tier.touch("n", 1.0, 1.0),
    ):
        with pytest.raises(TierError):
            operation()


def test_a_lost_spare_costs_nothing(places, drive):
    tier = drive(places.tiers())
    places.servers["spare"].kill()
    tier.write([("n", tier.entry("N"))])
    assert tier.serves("n") == "N"
    tier.remove(["n"])
    assert tier.invalidate(["t"]) == tier.epoch()
    assert tier.look("n") is None


def test_changes_are_told_whichever_is_in_use(places, drive, eventually):
    tier = drive(places.tiers(stream="tracking"))
    eventually(lambda: tier.listener.moments)
    with looking_into(places.servers["main"]) as there:
        there.write([("in main", there.entry())])
    eventually(lambda: "in main" in tier.listener.names)
    losses = tier.listener.losses
    places.servers["main"].kill()
    lost = time.monotonic()
    eventually(lambda: tier.listener.losses > losses)
    eventually(lambda: max(tier.listener.moments) > lost)
    with looking_into(places.servers["spare"]) as there:
        there.write([("in spare", there.entry())])
    eventually(lambda: "in spare" in tier.listener.names)


@pytest.mark.stress
def test_in_and_out_under_load_serves_nothing_stale(places, eventually):
    """Two caches; one is cut off from the main tier, which comes back with what it had; then that is killed."""
    ways = [{}, {}]
    written = dict.fromkeys(range(20), 0)
    options = {"settle": 1.0, "ttl": 5, "breaker": lambda: Breaker(consecutive=2, open_for=60)}
    with contextlib.ExitStack() as stack:
        caches = []
        for way_of_one in ways:
            tiers = places.tiers(way_of_one, stream="tracking", timeout=0.5)
            gutter = GutterTier(tiers["main"], tiers["spare"], **options)
            caches.append(stack.enter_context(TieredCache("test", [MemoryTier(10), gutter], load=written.get)))

        with under_load(*caches, written):
            time.sleep(0.5)
            cut(ways[1]["main"])
            time.sleep(1.5)
            ways[1]["main"].accept()
            time.sleep(2.5)
            places.servers["main"].kill()
            time.sleep(1.5)
            places.servers["main"].start()
            time.sleep(2.5)
        spared = [cache._levels[1].tier.spared for cache in caches]
        eventually(lambda: not any(cache._levels[1].tier.sparing for cache in caches))
    assert min(spared) > 0
