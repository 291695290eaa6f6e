"""The level on disk: the contract, and what is particular to it, within one process."""

import asyncio
import contextlib
import gc
import logging
import math
import os
import random
import threading
import time
from dataclasses import replace

import lmdb
import pytest

from hotset.errors import CodecError, TierError, TierTimeout, TierUnavailable, ValueTooLarge
from hotset.testing.driver import RecordingListener, entry, opened
from hotset.testing.tier_contract import TierContract
from hotset.tiers import DiskTier
from hotset.tiers.contract import CLEAR
from hotset.tiers.disk import changes, shelf, store
from hotset.tiers.disk.file import key_of, space_of
from hotset.tiers.disk.marks import Marks
from hotset.wire import Wire

MiB = 1 << 20
SLACK = 1.0  # seconds by which a slow machine may be late; what hangs takes much longer


class TestDisk(TierContract):
    """Two handles on one directory."""

    options = {"max_bytes": 64 * MiB}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def directory(self, tmp_path):
        self.path = tmp_path / "cache"

    def make_tier(self):
        return DiskTier(self.path, **self.options)

    make_peer = make_tier


class TestFullDisk(TestDisk):
    """In a file that is full of other entries, so that all of it is done while some are evicted, and compressed."""

    options = {"max_bytes": 8 * MiB, "compress": "zlib", "compress_above": 0}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def crowd(self, directory):
        tier = DiskTier(self.path, max_bytes=8 * MiB)
        with opened(tier, "crowd", None) as driver:
            for start in range(0, 10_000, 500):
                driver.write([(f"{start + n}", driver.entry(os.urandom(800))) for n in range(500)])
            assert tier.stats().evicted


@pytest.fixture(params=["sync", "async"])
def runner(request):
    if request.param == "sync":
        yield None
    else:
        with asyncio.Runner() as runner:
            yield runner


@pytest.fixture
def make(tmp_path, runner):
    """Open tiers on one directory, by one of their faces."""
    with contextlib.ExitStack() as stack:

        def factory(namespace="test", path=tmp_path / "cache", **options):
            tier = DiskTier(path, **{"max_bytes": 8 * MiB, "timeout": 5.0, **options})
            return stack.enter_context(opened(tier, namespace, runner))

        yield factory


@pytest.fixture
def make_plain(tmp_path):
    """The same by the plain face alone."""
    with contextlib.ExitStack() as stack:

        def factory(namespace="test", path=tmp_path / "cache", **options):
            tier = DiskTier(path, **{"max_bytes": 8 * MiB, "timeout": 5.0, **options})
            return stack.enter_context(opened(tier, namespace, None))

        yield factory


def size_of(path):
    """What all files of a directory take, by their lengths and by their blocks; the larger."""
    stats = [file.stat() for file in path.iterdir()]
    return max(sum(stat.st_size for stat in stats), sum(512 * stat.st_blocks for stat in stats))


def wait(condition, patience=20.0):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Arguments


def test_nonsense_is_refused(tmp_path):
    for wrong in (7, None, [tmp_path]):
        with pytest.raises(TypeError):
            DiskTier(wrong)
    for options in (
        {"max_bytes": "1G"},
        {"max_bytes": 1e9},
        {"max_bytes": True},
        {"timeout": [1]},
        {"ttl": True},
        {"sync": 1},
        {"alone": 1},
    ):
        with pytest.raises(TypeError):
            DiskTier(tmp_path, **options)
    for options in (
        {"max_bytes": MiB - 1},
        {"max_bytes": -1},
        {"max_bytes": 1 << 60},
        {"timeout": 0},
        {"timeout": math.inf},
        {"lease": "never"},
        {"heartbeat": -1},
        {"ttl": 0},
        {"compress": "lzma"},
        {"compress_above": -1},
        {"codec": "pickle"},
        {"codec": "json", "wire": Wire()},
    ):
        with pytest.raises(ValueError):
            DiskTier(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_it_must_be_opened_and_not_be_closed(tmp_path):
    tier = DiskTier(tmp_path / "cache")
    for call in (tier.read, tier.lease, tier.remove, tier.invalidate):
        with pytest.raises(TierError, match="open"):
            call(["a"])
    with pytest.raises(TierError, match="open"):
        asyncio.run(tier.aread(["a"]))
    tier.open("n", RecordingListener())
    tier.close()
    for call in (tier.read, tier.lease, tier.remove, tier.invalidate):
        with pytest.raises(TierUnavailable, match="closed"):
            call(["a"])
    with pytest.raises(TierUnavailable, match="closed"):
        asyncio.run(tier.aremove(["a"]))
    assert repr(tier) == f"<DiskTier 'disk' {str(tmp_path / 'cache')!r}>"


# Bounds


@pytest.mark.parametrize("max_bytes", [MiB, 4 * MiB])
def test_it_never_takes_more_than_its_bytes(make, tmp_path, max_bytes):
    """Whatever the sizes: small ones, some of several pages, and all of them overwritten."""
    driver = make(max_bytes=max_bytes)
    rng = random.Random(max_bytes)
    sizes = [1, 100, 1000, 2500, 5000, 20_000, max_bytes // 20]
    written = 0
    while written < 5 * max_bytes:
        items = [(f"name {rng.randrange(5000)}", driver.entry(rng.randbytes(rng.choice(sizes)))) for _ in range(20)]
        driver.write(items)
        written += sum(len(each.value) for _, each in items)
        assert size_of(tmp_path / "cache") <= max_bytes
        last, each = items[-1]
        assert driver.look(last).value == each.value
    stats = driver.tier.stats()
    assert stats.evicted > 100
    assert stats.used <= stats.max_bytes == max_bytes
    assert max_bytes // 3 < stats.used, "room is not wasted"


def test_what_is_used_stays(make_plain):
    driver = make_plain(max_bytes=2 * MiB, compress=None)
    hot = [f"{number:04}" for number in range(0, 5000, 50)]
    driver.write([(name, driver.entry(os.urandom(500))) for name in hot])
    for start in range(0, 20_000, 100):
        driver.write([(f"{number:04}", driver.entry(os.urandom(500))) for number in range(start + 1, start + 50)])
        driver.read(hot)
    assert driver.tier.stats().evicted > 5000
    assert sum(value is not None for value in driver.values(hot)) > 90


def test_a_value_that_is_too_large_is_refused(make):
    driver = make(max_bytes=MiB)
    for value in (os.urandom(MiB // 8), "x" * (MiB // 8 + 1)):
        with pytest.raises(ValueTooLarge):
            driver.write([("small", driver.entry(1)), ("a", driver.entry(value))])
        fence = driver.lease(["a"]).found[0].fence
        with pytest.raises(ValueTooLarge):
            driver.end("a", driver.entry(value), fence)
    assert driver.values(["small", "a"]) == [None, None]
    bare = DiskTier(driver.tier.path, max_bytes=MiB, wire=Wire())
    with opened(bare, "bare", driver.runner) as other, pytest.raises(ValueTooLarge):
        other.write([("a", other.entry(os.urandom(MiB // 8)))])


def test_a_value_that_cannot_be_encoded_is_refused(make):
    driver = make()
    with pytest.raises(CodecError):
        driver.write([("small", driver.entry(1)), ("a", driver.entry(object()))])
    assert driver.values(["small", "a"]) == [None, None]


def test_what_is_kept_no_longer_goes_first(make_plain):
    driver = make_plain(max_bytes=2 * MiB, compress=None)
    driver.write([(f"old {n}", driver.entry(os.urandom(500), life=0.01, keep=0.01)) for n in range(1000)])
    driver.write([(f"keep {n}", driver.entry(os.urandom(500))) for n in range(500)])
    time.sleep(0.05)
    for start in range(0, 1500, 100):
        driver.write([(f"new {start + n}", driver.entry(os.urandom(500))) for n in range(100)])
    stats = driver.tier.stats()
    assert stats.expired > 500
    assert stats.evicted < stats.expired
    assert driver.values([f"old {n}" for n in range(1000)]) == [None] * 1000


def test_the_longest_life(make):
    driver = make(ttl="10s")
    driver.write([("a", driver.entry(1, life=math.inf, keep=math.inf)), ("b", driver.entry(1, life=1, keep=2))])
    a, b = (found.entry for found in driver.read(["a", "b"]).found)
    assert 9 < a.life <= 10
    assert 9 < a.keep <= 10
    assert b.keep <= 2
    assert driver.touch("b", 100, 100)
    assert driver.look("b").keep <= 10


def test_a_full_file_whose_pages_are_held(make_plain):
    """A reader that stands still keeps LMDB from using pages again: writes fail in time, and work when it has gone."""
    driver = make_plain(max_bytes=MiB, timeout=0.25)
    file = driver.tier._store.file
    with file.begin(file.warm) as reader:
        with pytest.raises(TierUnavailable, match="full"):
            for number in range(2000):
                begun = time.monotonic()
                driver.write([(f"{number}", driver.entry(os.urandom(2000)))])
        assert time.monotonic() - begun < SLACK
        assert driver.look(f"{number - 1}").life > 0, "who reads is not harmed"
        assert reader.get(b"x") is None
    wait(lambda: driver_writes(driver))
    for number in range(2000):
        driver.write([(f"{number}", driver.entry(os.urandom(2000)))])
    assert driver.serves("1999")


def driver_writes(driver):
    try:
        driver.write([("again", driver.entry(1))])
    except TierUnavailable:
        return False
    return True


# Cold entries


def compressible(number):
    return {"number": number, "text": "all work and no play " * 40}


@pytest.mark.parametrize("compress", ["zlib", "zstd"])
def test_what_is_not_used_is_frozen_before_it_goes(make, compress):
    driver = make(max_bytes=2 * MiB, compress=compress)
    names = [f"{number:05}" for number in range(4000)]
    for start in range(0, 4000, 100):
        driver.write([(name, driver.entry(compressible(int(name)))) for name in names[start : start + 100]])
    stats = driver.tier.stats()
    assert stats.frozen > 1000
    there = [name for name in names if driver.look(name) is not None]
    assert len(there) == stats.entries
    assert stats.cold > stats.entries / 2
    assert stats.entries > 2 * stats.used / 1000, "more of them than there would be room for otherwise"
    for name in there:
        assert driver.serves(name) == compressible(int(name))


def frozen(driver):
    """Return a driver's names whose entries are frozen."""
    file = driver.tier._store.file
    with file.begin(file.cold) as txn:
        return [key[8:].decode() for key, _ in txn.cursor()]


def test_a_cold_entry_that_is_read_stays_cold_until_the_hand_comes_by(make):
    driver = make(max_bytes=2 * MiB)

    def write(start):
        driver.write([(f"{number:05}", driver.entry(compressible(number))) for number in range(start, start + 100)])

    for start in range(0, 4000, 100):
        write(start)
    read = frozen(driver)[:20]
    thawed = driver.tier.stats().thawed
    for _ in range(3):
        assert driver.values(read) == [compressible(int(name)) for name in read]
    assert set(read) <= set(frozen(driver))
    assert driver.tier.stats().thawed == thawed
    for start in range(4000, 40_000, 100):
        if driver.tier.stats().thawed > thawed:
            break
        write(start)
    assert {name for name in read if driver.look(name) is not None} - set(frozen(driver))


def test_a_frozen_entry_is_like_any_other(make):
    driver = make(max_bytes=2 * MiB)
    epoch = driver.epoch()
    given = {
        f"{number:05}": driver.entry(compressible(number), tags=("t", f"tag {number}"), epoch=epoch, cost=0.5)
        for number in range(3000)
    }
    for start in range(0, 3000, 100):
        driver.write(list(given.items())[start : start + 100])
    names = frozen(driver)
    assert len(names) > 100
    name, ended, touched, filled, raced, tagged, *_ = names
    seen = driver.look(name)
    assert replace(seen, life=0, keep=0, age=0) == replace(given[name], life=0, keep=0, age=0)
    driver.remove([ended], expire=True)
    assert ended in frozen(driver)
    assert driver.look(ended).life <= 0
    assert driver.look(ended).value == given[ended].value
    assert driver.touch(touched, 50, 60)
    assert driver.look(touched).version == given[touched].version
    assert driver.look(touched).life <= 50
    fence = driver.read([filled]).found[0].fence
    assert driver.end(filled, driver.entry("new"), fence)
    assert driver.serves(filled) == "new"
    fence = driver.read([raced]).found[0].fence
    driver.remove([raced], expire=True)
    assert not driver.end(raced, driver.entry("late"), fence)
    driver.invalidate([f"tag {int(tagged)}"])
    assert driver.serves(tagged) is None
    assert driver.serves(name)
    driver.invalidate([CLEAR])
    assert driver.serves(name) is None


def test_a_frozen_entry_that_is_damaged_is_refused(make_plain):
    driver = make_plain(max_bytes=2 * MiB)
    for start in range(0, 3000, 100):
        driver.write([(f"{n:05}", driver.entry(compressible(n))) for n in range(start, start + 100)])
    names = frozen(driver)[:50]
    file = driver.tier._store.file
    rng = random.Random(1)
    with file.begin(file.cold, write=True) as txn:
        for name in names:
            key = key_of(space_of("test"), name)
            data = bytearray(txn.get(key))
            data[rng.randrange(68, len(data))] ^= 1 << rng.randrange(8)
            txn.put(key, bytes(data))
    reading = driver.read(names)
    assert [found.entry for found in reading.found] == [None] * 50
    assert sum(reading.refused.values()) == 50
    assert all(found.fence is not None for found in reading.found), "it can be replaced"


def test_large_values_are_compressed(make):
    driver = make(compress_above=1000)
    before = driver.tier.stats().used
    driver.write([(f"{number}", driver.entry("x" * 50_000)) for number in range(100)])
    assert driver.tier.stats().used - before < 200_000
    assert driver.serves("7") == "x" * 50_000
    none = make(compress=None, path=driver.tier.path.with_name("none"))
    before = none.tier.stats().used
    none.write([(f"{number}", none.entry("x" * 50_000)) for number in range(50)])
    assert none.tier.stats().used - before > 2_000_000


# Leases, tags and changes are bounded, too


def test_a_lease_ends(make):
    driver = make(lease=0.05)
    fence = driver.lease(["a"]).found[0].fence
    time.sleep(0.1)
    assert not driver.end("a", driver.entry("late"), fence)
    again = driver.lease(["a"]).found[0]
    assert not again.taken
    assert driver.end("a", driver.entry("in time"), again.fence)


def stat_of(driver, database):
    file = driver.tier._store.file
    with file.begin() as txn:
        return txn.stat(getattr(file, database))


def test_leases_that_ended_are_swept(make_plain):
    driver = make_plain(lease=0.001)
    for number in range(3000):
        driver.lease([f"{number}"])
    assert stat_of(driver, "leases")["entries"] < 300


def test_leases_never_fill_the_file(make_plain):
    """Nobody's lease is for ever: all are taken away when they are too many."""
    driver = make_plain(max_bytes=MiB, lease=3600)
    for number in range(200):
        driver.lease([f"{number} {item} {'x' * 100}" for item in range(50)])
    stat = stat_of(driver, "leases")
    assert stat["leaf_pages"] + stat["branch_pages"] < 256 // 4
    driver.write([("a", driver.entry(1))])
    assert driver.serves("a") == 1


def test_tags_are_bounded(make_plain, monkeypatch):
    """When they are too many, all older entries with tags are dead: that is safe, if early."""
    monkeypatch.setattr(shelf, "_MOST_TAGS", 100)
    driver = make_plain()
    driver.write([("a", driver.entry(1, tags=("t",), epoch=driver.epoch())), ("plain", driver.entry(1))])
    for number in range(300):
        driver.invalidate([f"tag {number}"])
    assert stat_of(driver, "tags")["entries"] <= 200
    assert driver.serves("a") is None
    assert driver.serves("plain") == 1
    driver.write([("a", driver.entry(2, tags=("t",), epoch=driver.epoch()))])
    assert driver.serves("a") == 2


def test_a_gap_in_the_log_is_told_as_a_loss(make_plain):
    slow = make_plain(max_bytes=MiB, heartbeat=0.5)
    other = make_plain(max_bytes=MiB)
    wait(lambda: slow.listener.moments)
    losses = slow.listener.losses
    for number in range(30):
        other.write([(f"{number} {item}", other.entry(1)) for item in range(100)])
    wait(lambda: slow.listener.losses > losses)
    moments = len(slow.listener.moments)
    slow.listener.names.clear()
    other.write([("later", other.entry(1))])
    wait(lambda: len(slow.listener.moments) > moments + 1)
    assert "later" in slow.listener.names
    assert stat_of(slow, "changes")["entries"] <= changes._FEWEST + 512


def test_without_a_heartbeat_nothing_is_told(make_plain):
    driver = make_plain(heartbeat=None)
    other = make_plain()
    assert not driver.tier.streams
    assert other.tier.streams
    other.write([("a", other.entry(1))])
    assert driver.serves("a") == 1
    assert not driver.listener.moments
    wait(lambda: other.listener.moments)


# Restart


def test_it_survives_a_restart(make, monkeypatch):
    driver = make()
    written = driver.entry({"n": 1}, tags=("t",), epoch=driver.epoch())
    driver.write([("a", written), ("b", driver.entry("B"))])
    fence = driver.lease(["c"]).found[0].fence
    epoch = driver.invalidate(["u"])
    driver.close()
    # A file that was closed in order is not looked through.
    monkeypatch.setattr(lmdb.verify, "verify", lambda *_, **__: pytest.fail("it was closed in order"))
    again = make()
    assert again.look("a").version == written.version
    assert again.look("a").tags == ("t",)
    assert again.serves("b") == "B"
    assert again.epoch() == epoch
    assert again.end("c", again.entry("C"), fence), "a lease is as good as it was"
    assert again.tier.stats().set_aside == 0


def rewind(path, **changes):
    """Change what the marks say of the last session."""
    marks = Marks.join(path / "marks")
    marks.head = marks.head._replace(**changes)
    marks.flush()
    marks.close()


def test_a_machine_that_went_down(make, caplog):
    """Nobody knows what of the file had reached the disk, unless every change was to be there before it returned."""
    driver = make()
    path = driver.tier.path
    driver.write([("a", driver.entry("A"))])
    driver.close()
    rewind(path, size=0, boot=b"another")
    with caplog.at_level(logging.WARNING):
        again = make(sync=True)
        assert again.look("a") is None
    assert "machine went down" in caplog.text
    assert again.tier.stats().set_aside == 1
    assert len(list(path.glob("*.damaged"))) == 1
    again.write([("a", again.entry("A"))])
    again.close()
    rewind(path, size=0, boot=b"another")
    third = make()
    assert third.serves("a") == "A"
    assert third.tier.stats().set_aside == 1


def test_a_machine_that_went_down_after_all_was_closed(make):
    driver = make()
    driver.write([("a", driver.entry("A"))])
    driver.close()
    rewind(driver.tier.path, boot=b"another")
    assert make().serves("a") == "A"


def test_who_comes_second_cannot_make_the_session_less_safe_unseen(make):
    driver = make(sync=True)
    head = driver.tier._store.marks.head
    assert head.synced
    other = DiskTier(driver.tier.path, max_bytes=8 * MiB)  # of this process: the same file, opened as it was
    with opened(other, "other", driver.runner):
        assert driver.tier._store.marks.head.synced


def test_the_bound_can_be_changed(make, caplog):
    driver = make(max_bytes=8 * MiB)
    driver.write([(f"{n}", driver.entry(os.urandom(1000))) for n in range(2000)])
    driver.close()
    more = make(max_bytes=16 * MiB)
    assert more.look("7") is not None
    more.write([(f"{n}", more.entry(os.urandom(1000))) for n in range(2000, 9000)])
    more.close()
    with caplog.at_level(logging.WARNING):
        less = make(max_bytes=2 * MiB)
        assert less.look("7") is None
    assert "deleted" in caplog.text
    less.write([(f"{n}", less.entry(os.urandom(1000))) for n in range(2000)])
    assert size_of(less.tier.path) <= 2 * MiB
    assert less.tier.stats().set_aside == 0


# Damage that shows when the file is opened


def entries_of(path):
    (file,) = path.glob("entries-*.mdb")
    return file


def truncate(path):
    """Cut off half of what is not the hole at its end."""
    os.truncate(path, len(path.read_bytes().rstrip(b"\0")) // 2)


def cut_short(path):
    os.truncate(path, 100)


def empty(path):
    os.truncate(path, 0)


def overwrite(path):
    with path.open("r+b") as file:
        file.write(random.Random(1).randbytes(3 * 4096))


def replace_it(path):
    path.write_bytes(b"not a database at all\n" * 10_000)


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def break_the_roots(path):
    """Point both meta pages at a page that is none."""
    with path.open("r+b") as file:
        for page in (0, 1):
            file.seek(page * 4096 + 128)
            file.write(b"\xee" * 8)


@pytest.mark.parametrize("damage", [truncate, cut_short, empty, overwrite, replace_it, zero, break_the_roots])
def test_a_damaged_file_is_set_aside(make, damage, caplog):
    driver = make()
    path = driver.tier.path
    driver.write([(f"{n}", driver.entry(os.urandom(1000))) for n in range(500)])
    driver.close()
    damage(entries_of(path))
    spoilt = entries_of(path).read_bytes()
    with caplog.at_level(logging.WARNING):
        again = make()
        assert again.look("7") is None
    assert "set aside" in caplog.text
    assert again.tier.stats().set_aside == 1
    (aside,) = path.glob("*.damaged")
    assert aside.read_bytes() == spoilt
    again.write([("a", again.entry("A"))])
    assert again.serves("a") == "A"
    again.close()
    assert make().serves("a") == "A"


def test_lost_marks(make):
    """Without them nobody knows whether the file can be believed."""
    driver = make()
    path = driver.tier.path
    for harm in (lambda file: file.unlink(), lambda file: file.write_bytes(b"junk"), lambda file: os.truncate(file, 0)):
        driver.write([("a", driver.entry("A"))])
        driver.close()
        harm(path / "marks")
        driver = make()
        assert driver.look("a") is None
        assert driver.tier.stats().set_aside == 1
        assert len(list(path.glob("*.damaged"))) == 1, "the newest is kept"


def test_lmdbs_own_lock_file_does_not_matter(make):
    driver = make()
    driver.write([("a", driver.entry("A"))])
    driver.close()
    lock = entries_of(driver.tier.path)
    lock.with_name(lock.name + "-lock").write_bytes(b"junk" * 5000)
    assert make().serves("a") == "A"


def test_damage_that_shows_while_it_is_in_use(make, monkeypatch):
    """Whoever meets it sets the file aside; all handles go on with the next."""
    driver = make()
    other = make("other")
    driver.write([("a", driver.entry("A"))])
    other.write([("a", other.entry("A"))])
    wait(lambda: driver.listener.moments)
    losses = driver.listener.losses
    failures = [lmdb.CorruptedError("page 7 is damaged")]
    read = driver.tier._shelf.read

    def failing(*arguments):
        if failures:
            raise failures.pop()
        return read(*arguments)

    monkeypatch.setattr(driver.tier._shelf, "read", failing)
    with pytest.raises(TierUnavailable, match="set aside"):
        driver.read(["a"])
    assert driver.look("a") is None
    assert other.look("a") is None
    driver.write([("a", driver.entry("new"))])
    assert driver.serves("a") == "new"
    assert driver.tier.stats().set_aside == 1
    wait(lambda: driver.listener.losses > losses)
    moments = len(driver.listener.moments)
    wait(lambda: len(driver.listener.moments) > moments)


# Waits have an end


def test_who_writes_is_waited_for_so_long_and_no_longer(make):
    driver = make(timeout=0.2)
    driver.write([("a", driver.entry("A"))])
    held = driver.tier._store
    held.begin_writing(time.monotonic() + 5)
    try:
        begun = time.monotonic()
        with pytest.raises(TierTimeout):
            driver.write([("a", driver.entry("B"))])
        assert time.monotonic() - begun < 0.4 + SLACK
        assert driver.serves("a") == "A", "readers wait for nobody"
    finally:
        held.end_writing()
    driver.write([("a", driver.entry("B"))])
    assert driver.serves("a") == "B"


def test_a_write_that_waits_does_not_block_the_loop(make_plain):
    tier = make_plain(timeout=0.3).tier

    async def run():
        worst = 0.0
        done = False

        async def tick():
            nonlocal worst
            while not done:
                begun = time.monotonic()
                await asyncio.sleep(0.001)
                worst = max(worst, time.monotonic() - begun)

        ticking = asyncio.create_task(tick())
        results = await asyncio.gather(
            tier.aread(["a"]),  # the first of its namespace, which is made by it
            tier.awrite([("a", entry(1))]),
            tier.aremove(["b"]),
            tier.alease(["c"]),
            return_exceptions=True,
        )
        done = True
        await ticking
        return results, worst

    tier._store.begin_writing(time.monotonic() + 5)
    try:
        begun = time.monotonic()
        results, worst = asyncio.run(run())
        assert time.monotonic() - begun < 0.6 + SLACK
    finally:
        tier._store.end_writing()
    assert [type(result) for result in results] == [TierTimeout] * 4
    time.sleep(0.1)
    assert worst < 0.2, "seconds that the loop stood still"
    assert tier.read(["a"]).found[0].entry is None, "what was given up is not done later"


def test_a_cancelled_write_harms_nobody(make_plain):
    tier = make_plain().tier

    async def run():
        tier._store.begin_writing(time.monotonic() + 5)  # or its thread may be done before it is cancelled
        try:
            task = asyncio.create_task(tier.awrite([(f"{n}", entry(n)) for n in range(500)]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            tier._store.end_writing()
        await tier.awrite([("a", entry("A"))])
        return await tier.aread(["a"])

    assert asyncio.run(run()).found[0].entry.value == "A"


def test_who_comes_late_does_not_open_a_closed_store(make_plain):
    """LMDB's files cannot be open twice in a process: nobody could use them any more."""
    driver = make_plain()
    held = driver.tier._store
    driver.write([("a", driver.entry("A"))])
    driver.close()
    with pytest.raises(TierUnavailable, match="closed"):
        held.current(time.monotonic() + 5)
    assert make_plain().serves("a") == "A"


def test_a_tier_that_nobody_closes(make_plain):
    """The garbage collector may find it with any lock held; what it holds is given up by the next that opens."""
    path = make_plain().tier.path.with_name("dropped")
    for turn in range(3):
        tier = DiskTier(path, max_bytes=MiB, timeout=5)
        tier.open("n", RecordingListener())
        tier.write([("a", entry(turn))])
        assert tier.read(["a"]).found[0].entry.value == turn
        del tier
        gc.collect()
    with opened(DiskTier(path.with_name("another"), max_bytes=MiB), "n", None):
        pass
    assert path.resolve() not in store._registry


def test_a_tier_can_be_opened_again(make):
    driver = make()
    driver.write([("a", driver.entry("A"))])
    driver.close()
    driver.tier.open("test", driver.listener)
    assert driver.serves("a") == "A"


@pytest.mark.stress
def test_threads_close_and_open_while_others_read(make_plain):
    """Every error on the way is a TierError."""
    path = make_plain().tier.path
    stop = threading.Event()
    errors = []

    def use(number):
        try:
            while not stop.is_set():
                tier = DiskTier(path, max_bytes=8 * MiB, timeout=5)
                with opened(tier, f"{number % 2}", None) as driver, contextlib.suppress(TierError):
                    for turn in range(20):
                        driver.write([(f"{turn}", driver.entry(turn))])
                        assert driver.serves(f"{turn}") in (turn, None)
                        if turn == 10 and number == 0:
                            threading.Thread(target=tier.close).start()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert not errors
