"""The level on disk in its place, beneath memory; and a cache whose disk is gone."""

import time

import pytest

from hotset import TieredCache
from hotset.errors import TierUnavailable
from hotset.testing.driver import RecordingListener, entry, opened
from hotset.tiers import DiskTier, MemoryTier
from hotset.tiers.disk import store

MiB = 1 << 20


def wait(condition, patience=20.0):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_memory_evicts_is_kept_below(tmp_path):
    loads = []

    def load(key):
        loads.append(key)
        return f"value of {key}"

    disk = DiskTier(tmp_path / "cache", max_bytes=8 * MiB)
    with TieredCache("users", [MemoryTier(10), disk], load=load, ttl="5m") as cache:
        for number in range(200):
            assert cache.get(number) == f"value of {number}"
        assert len(loads) == 200
        assert [cache.get(number) for number in range(200)] == [f"value of {number}" for number in range(200)]
        assert len(loads) == 200
        _, below = cache.stats().levels
        assert below.hits >= 180
        assert cache.explain(0).levels[1].state == "fresh"
        cache.get(5)
        assert cache.explain(5).served_by == "memory", "what is used is promoted"
    with TieredCache("users", [MemoryTier(10), DiskTier(tmp_path / "cache")], load=load, ttl="5m") as cache:
        assert cache.get(7) == "value of 7"
        assert len(loads) == 200, "and it is warm after a restart"


def test_a_memory_is_told_of_what_another_one_changes(tmp_path):
    """Two caches as two processes would have them, by their tiers' log alone."""
    make_tiers = lambda: [MemoryTier(100), DiskTier(tmp_path / "cache", max_bytes=8 * MiB)]  # noqa: E731
    options = {"ttl": "5m", "max_staleness": 20}
    with TieredCache("users", make_tiers(), **options) as one, TieredCache("users", make_tiers(), **options) as two:
        one.set("a", 1, tags=["t"])
        one.set("b", 1)
        wait(lambda: two.get("a") == 1)
        wait(lambda: two.explain("a").served_by == "memory")
        one.set("a", 2, tags=["t"])
        wait(lambda: two.get("a") == 2, patience=10)
        one.invalidate(tags=["t"])
        wait(lambda: two.get("a") is None, patience=10)
        assert two.get("b") == 1
        one.clear()
        wait(lambda: two.get("b") is None, patience=10)


def test_a_reader_never_sees_that_the_disk_is_gone(tmp_path):
    (tmp_path / "cache").write_text("a file where a directory should be")
    disk = DiskTier(tmp_path / "cache", timeout=0.2)
    with TieredCache("users", [MemoryTier(10), disk], load=str, ttl="5m") as cache:
        begun = time.monotonic()
        assert [cache.get(number) for number in range(50)] == [str(number) for number in range(50)]
        cache.set(1, "one")
        cache.delete(2)
        assert cache.get(1) == "one"
        assert time.monotonic() - begun < 5
    with pytest.raises(TierUnavailable, match="cache"):
        disk_read(tmp_path / "cache")


def disk_read(path):
    tier = DiskTier(path)
    tier.open("n", RecordingListener())
    try:
        tier.read(["a"])
    finally:
        tier.close()


def test_a_directory_that_comes_back(tmp_path):
    """It is tried again, after a pause."""
    path = tmp_path / "cache"
    path.write_text("in the way")
    with opened(DiskTier(path, max_bytes=MiB), "n", None) as driver:
        with pytest.raises(TierUnavailable):
            driver.read(["a"])
        path.unlink()

        def works():
            try:
                driver.write([("a", entry(1))])
            except TierUnavailable:
                return False
            return True

        wait(works)
        assert driver.serves("a") == 1
    assert store._PAUSE < 5
