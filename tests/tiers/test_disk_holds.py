"""Holds in a file: how they end, and what they outlive."""

import contextlib
import time

import pytest

from hotset.testing.driver import opened
from hotset.tiers import DiskTier
from hotset.tiers.disk import shelf

MiB = 1 << 20


@pytest.fixture
def make(tmp_path):
    """Open tiers on one directory."""
    with contextlib.ExitStack() as stack:

        def factory(**options):
            tier = DiskTier(tmp_path / "cache", **{"max_bytes": MiB, "timeout": 5.0, "heartbeat": None, **options})
            return stack.enter_context(opened(tier, "test", None))

        yield factory


def flood(driver):
    """Ask for more leases than there is room for, so that all are taken away."""
    for number in range(200):
        driver.lease([f"{number} {item} {'x' * 100}" for item in range(50)])


def test_a_flood_of_leases_ends_no_hold(make):
    driver = make(lease=3600)
    hold = driver.hold(["a"])
    lent = driver.lease(["b"]).found[0].fence
    flood(driver)
    assert not driver.end("b", driver.entry("loaded"), lent), "the leases are gone"
    assert driver.lease(["a"]).found[0].fence is None
    assert driver.settle([("a", driver.entry("new"))], hold) == [True]
    assert driver.serves("a") == "new"


def test_holds_that_are_the_flood_are_bounded(make, monkeypatch):
    """Who settles one of those that were taken away stores nothing."""
    monkeypatch.setattr(shelf, "_MOST_HOLDS", 3)
    driver = make(lease=3600)
    names = [f"name {number}" for number in range(4)]
    hold = driver.hold(names)
    flood(driver)
    assert driver.settle([(name, driver.entry("new")) for name in names], hold) == [False] * 4
    assert driver.values(names) == [None] * 4


def test_a_hold_that_has_run_out(make):
    driver, other = make(lease=0.05), make(lease=3600)
    hold = driver.hold(["a", "b"])
    assert driver.lease(["a"]).found[0].fence is None
    time.sleep(0.1)
    fence = other.lease(["a"]).found[0].fence
    assert other.end("a", other.entry("loaded"), fence)
    assert driver.settle([("a", driver.entry("new"))], hold) == [False]
    assert other.serves("a") is None, "it may have been loaded before the origin was changed"
    later = other.hold(["b"])
    assert driver.settle([("b", driver.entry("new"))], hold) == [False]
    assert other.lease(["b"]).found[0].fence is None, "others hold it by now"
    assert other.settle([("b", other.entry("newer"))], later) == [False], "and are not alone"
    assert other.lease(["b"]).found[0].fence is not None
