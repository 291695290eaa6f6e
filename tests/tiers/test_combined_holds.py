"""Holds of combined tiers of which a member misses some: what a reader may see then, and what is left."""

import contextlib

import pytest
from tiers.zones import Places, cut, looking_into, values_at

from hotset.errors import TierError
from hotset.testing.driver import opened
from hotset.tiered.breaker import Breaker
from hotset.tiers import GutterTier, RedisTier, ReplicatedTier, ShardedTier

NAMES = [f"name {number}" for number in range(12)]
MEMBERS = ["a", "b", "c"]
BOTH_FACES = pytest.mark.parametrize("runner", ["sync", "async"], indirect=True)


@pytest.fixture
def places(five_servers, make_proxy):
    return Places(five_servers, make_proxy, MEMBERS)


@pytest.fixture
def drive(runner):
    """Open tiers of members, by one of their faces; the breaker of a member leaves it in for this long."""
    with contextlib.ExitStack() as stack:

        def factory(tier_class, members, **options):
            options = {"settle": 0.0, "breaker": lambda: Breaker(consecutive=50, minimum=100), **options}
            if tier_class is GutterTier:
                tier = GutterTier(members["a"], members["b"], **options)
            else:
                tier = tier_class(members, **options)
            return stack.enter_context(opened(tier, "test", runner))

        yield factory


def warm(driver):
    driver.write([(name, driver.entry("old")) for name in NAMES])


def fresh(driver):
    return [(name, driver.entry("new")) for name in NAMES]


@BOTH_FACES
def test_a_zone_that_misses_a_hold_is_not_believed_and_stores_nothing(places, drive, eventually):
    proxies = {}
    driver = drive(ReplicatedTier, places.tiers(proxies), acknowledge="quorum", fallbacks=2, repair=False)
    warm(driver)
    eventually(lambda: values_at(places.servers["b"], NAMES) == ["old"] * len(NAMES))  # a quorum may be the others
    cut(proxies["b"])
    hold = driver.hold(NAMES)
    assert values_at(places.servers["b"], NAMES) == ["old"] * len(NAMES)
    assert driver.values(NAMES) == [None] * len(NAMES)
    for name in NAMES:
        assert driver.lease([name]).found[0].fence is None
    proxies["b"].accept()
    assert driver.values(NAMES) == [None] * len(NAMES), "though it can be reached again"
    assert driver.settle(fresh(driver), hold) == [True] * len(NAMES)
    assert values_at(places.servers["b"], NAMES) == [None] * len(NAMES), "somebody else may have written since"
    for zone in ("a", "c"):
        assert values_at(places.servers[zone], NAMES) == ["new"] * len(NAMES)
    assert driver.values(NAMES) == ["new"] * len(NAMES)


@BOTH_FACES
def test_what_zones_disagree_about_is_dropped(places, drive):
    """Who could not hold a zone has changed the origin last; what another one stored there is older."""
    proxies = {}
    first = drive(ReplicatedTier, places.tiers(), acknowledge="quorum", repair=False)
    second = drive(ReplicatedTier, places.tiers(proxies), acknowledge="quorum", repair=False, local="c")
    cut(proxies["a"])
    late = second.hold(NAMES)
    hold = first.hold(NAMES)
    assert second.settle(fresh(second), late) == [False] * len(NAMES)
    assert first.settle(fresh(first), hold) == [False] * len(NAMES)
    for server in places.servers.values():
        assert values_at(server, NAMES) == [None] * len(NAMES)


@BOTH_FACES
def test_a_hold_needs_as_many_zones_as_a_change(places, drive):
    proxies = {}
    driver = drive(ReplicatedTier, places.tiers(proxies), acknowledge="quorum")
    warm(driver)
    cut(proxies["b"])
    cut(proxies["c"])
    with pytest.raises(TierError):
        driver.hold(NAMES)
    lonely = {}
    nobody = drive(ReplicatedTier, places.tiers(lonely), acknowledge="none")
    for proxy in lonely.values():
        cut(proxy)
    with pytest.raises(TierError):
        nobody.hold(NAMES)


@BOTH_FACES
@pytest.mark.parametrize("acknowledge", ["none", "one", "quorum"])
def test_a_hold_waits_for_the_last_zone(places, drive, acknowledge):
    """Or it would keep what it has, if this process dies when it has told the origin."""
    proxies = {}
    driver = drive(ReplicatedTier, places.tiers(proxies, timeout=5.0), acknowledge=acknowledge)
    with looking_into(places.servers["c"]) as there:
        there.write([(name, there.entry("old")) for name in NAMES])
    assert values_at(places.servers["c"], NAMES) == ["old"] * len(NAMES)
    proxies["c"].delay(0.2, direction="up")
    driver.hold(NAMES)
    assert values_at(places.servers["c"], NAMES) == [None] * len(NAMES)


@BOTH_FACES
def test_a_node_that_misses_a_hold_stores_nothing(places, drive):
    proxies = {}
    driver = drive(ShardedTier, places.tiers(proxies))
    warm(driver)
    theirs = [name for name in NAMES if driver.tier.node_of(name) == "b"]
    assert 0 < len(theirs) < len(NAMES)
    cut(proxies["b"])
    hold = driver.hold(NAMES)
    assert driver.values(NAMES) == [None] * len(NAMES)
    proxies["b"].accept()
    assert driver.settle(fresh(driver), hold) == [name not in theirs for name in NAMES]
    assert driver.values(NAMES) == [None if name in theirs else "new" for name in NAMES]
    assert values_at(places.servers["b"], theirs) == [None] * len(theirs)


@BOTH_FACES
@pytest.mark.parametrize("lost", ["a", "b"], ids=["main", "spare"])
def test_one_of_two_that_misses_a_hold_stores_nothing(places, drive, lost):
    proxies = {}
    driver = drive(GutterTier, places.tiers(proxies))
    warm(driver)
    cut(proxies[lost])
    hold = driver.hold(NAMES)
    assert driver.values(NAMES) == [None] * len(NAMES)
    proxies[lost].accept()
    driver.settle(fresh(driver), hold)
    assert driver.values(NAMES) in ([None] * len(NAMES), ["new"] * len(NAMES))
    assert values_at(places.servers[lost], NAMES) == [None] * len(NAMES)


def test_it_holds_if_all_members_do():
    members = {name: RedisTier(stream=None) for name in ("a", "b")}
    for made in (ReplicatedTier(members), GutterTier(*members.values())):
        assert made.holds
    lame = RedisTier(stream=None)
    lame.holds = False
    assert not ReplicatedTier({**members, "c": lame}).holds
