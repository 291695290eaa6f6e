"""The level on disk: what its ways of reading have in common, and the list of its names."""

import asyncio

from hotset.testing.driver import RecordingListener, entry
from hotset.tiers import DiskTier
from hotset.tiers.disk.marks import FIRST_SLOT
from hotset.tiers.disk.room import USED

MiB = 1 << 20


def test_a_use_is_marked_however_it_is_read(tmp_path):
    tier = DiskTier(tmp_path / "cache", max_bytes=8 * MiB)
    tier.open("ns", RecordingListener())
    try:
        tier.write([("a", entry("value")), ("b", entry("value"))])
        tier.read(["b"])  # from here on names are looked up by the engine
        cells = tier._store.file.cells
        for read in (lambda: tier.read(["a"]), lambda: tier.read(["a", "b"]), lambda: asyncio.run(tier.aread(["a"]))):
            cells[FIRST_SLOT:] = bytes(len(cells) - FIRST_SLOT)
            assert read().found[0].entry.value == "value"
            assert USED in cells[FIRST_SLOT:]
            assert tier._glance is not None
    finally:
        tier.close()


def test_names_are_listed(tmp_path):
    names = [f"k{number}" for number in range(250)] + ["é" * 20, "\udc80", "~x"]
    tier, other = (DiskTier(tmp_path / "cache", max_bytes=8 * MiB) for _ in range(2))
    tier.open("ns", RecordingListener())
    other.open("other", RecordingListener())
    try:
        assert tier.scan("", 100) == ("", [])
        tier.write([(name, entry("value")) for name in names])
        other.write([("elsewhere", entry("value"))])
        tier.write([("x" * 500, entry("kept under a digest"))])
        for count in (1, 7, 100, 1000):
            found, cursor = [], ""
            while True:
                cursor, some = tier.scan(cursor, count)
                found += some
                assert len(some) <= count
                if not cursor:
                    break
            assert sorted(found) == sorted(names)
        assert asyncio.run(tier.ascan("", 1000)) == tier.scan("", 1000)
    finally:
        tier.close()
        other.close()
