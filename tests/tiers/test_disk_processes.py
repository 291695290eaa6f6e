"""The level on disk among real processes, that are stopped, killed and forked; and on disks that are full."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from subprocesses import TESTS, run_script

from hotset.errors import TierTimeout
from hotset.testing.driver import opened
from hotset.tiers import DiskTier

MiB = 1 << 20
SLACK = 1.5  # seconds by which a slow machine may be late; what hangs takes much longer
PATIENCE = 30.0

# What the scripts below begin with.
PRELUDE = """
import contextlib, os, random, signal, sys, time, traceback, warnings
from hotset.errors import CodecError, TierError, TierTimeout, TierUnavailable
from hotset.testing.driver import RecordingListener, entry, opened
from hotset.tiers import DiskTier
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
MiB = 1 << 20
path = sys.argv[1]

def wait(condition, patience=30.0):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)

def forked(work):
    "Run something in a child; return its process id."
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return child

def ended(child, patience=30.0):
    "Wait for a child, which must not hang; whether it ended well."
    deadline = time.monotonic() + patience
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.002)
"""


def script(source, *arguments, **options):
    return run_script(PRELUDE + textwrap.dedent(source), *arguments, **options)


@pytest.fixture
def process(tmp_path):
    """Start scripts that speak by lines, and end them with the test."""
    started = []

    def start(source, *arguments):
        one = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", PRELUDE + textwrap.dedent(source), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        )
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
        one.wait()
        one.stdin.close()
        one.stdout.close()


# Killed


@pytest.mark.stress
@pytest.mark.parametrize(("mib", "count"), [(16, 40), (1, 400)], ids=["room for all", "evicting"])
def test_killed_in_the_middle_of_writes_a_hundred_times(tmp_path, mib, count):
    """The file opens each time, no value is torn, and what was acknowledged before the kill is there.

    Where there is not room for all, what was evicted or compressed meanwhile may be gone, but not older.
    """
    report = script(
        """
        rng = random.Random(1)
        roomy = int(sys.argv[2]) > 1
        kills, names = 100, [f"name {number}" for number in range(int(sys.argv[3]))]
        options = {"max_bytes": int(sys.argv[2]) * MiB, "timeout": 10.0, "heartbeat": 0.02}

        def value(name, turn):
            # Of one page or several; made so that a part of another one would show.
            return {"name": name, "turn": turn, "text": f"{turn}," * random.Random(turn).choice([5, 300, 3000])}

        def write_for_ever(first, out):
            with opened(DiskTier(path, **options), "crash", None) as driver:
                turn = first
                while True:
                    turn += 1
                    some = random.Random(turn).sample(names, 4)
                    kind = turn % 5
                    if kind == 4:
                        driver.remove([some[0]], expire=True)
                    elif kind == 3:
                        fence = driver.begin(some[0])[0].fence
                        driver.end(some[0], driver.entry(value(some[0], turn)), fence)
                    else:
                        driver.write([(name, driver.entry(value(name, turn))) for name in some])
                        os.write(out, b"%d\\n" % turn)

        acknowledged, checked, gone = 0, 0, 0
        latest = {}  # by name, of what was acknowledged
        for kill in range(kills):
            ours, theirs = os.pipe()
            child = forked(lambda: write_for_ever(acknowledged, theirs))
            os.close(theirs)
            said = os.read(ours, 20)  # it has begun
            time.sleep(rng.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            while more := os.read(ours, 1 << 16):
                said += more
            os.close(ours)
            lines = said.decode().split("\\n")[:-1]
            assert lines, "it wrote something"
            acknowledged = int(lines[-1])
            for turn in map(int, lines):
                latest.update((name, turn) for name in random.Random(turn).sample(names, 4))
            with opened(DiskTier(path, **options), "crash", None) as driver:
                reading = driver.read(names)
                assert not reading.refused, reading.refused
                turns = {}
                for name, found in zip(names, reading.found):
                    if found.entry is not None:
                        assert found.entry.value == value(name, found.entry.value["turn"]), "torn"
                        turns[name] = found.entry.value["turn"]
                        checked += 1
                for name in random.Random(acknowledged).sample(names, 4):
                    assert turns.get(name, 0 if roomy else acknowledged) >= acknowledged, (kill, name, turns.get(name))
                older = {name: (turn, latest[name]) for name, turn in turns.items() if turn < latest.get(name, 0)}
                assert not older, (kill, older)
                gone += len(latest) - len(turns)
                driver.write([("name 0", driver.entry(value("name 0", acknowledged)))])
                latest["name 0"] = acknowledged
                assert driver.serves("name 0")["turn"] == acknowledged
                assert driver.tier.stats().set_aside == 0
        print("kills", kills, "turns", acknowledged, "checked", checked, "gone", max(gone, 0))
        """,
        tmp_path / "cache",
        mib,
        count,
        timeout=300,
    ).stdout
    kills, turns, checked, gone = map(int, re.findall(r"\d+", report))
    assert kills == 100
    assert turns > 300
    assert checked > 1000
    assert gone > 0 or mib > 1


def test_killed_while_it_is_opened_and_closed(tmp_path):
    """Whatever is half done then is done, or done again, by the next."""
    script(
        """
        rng = random.Random(7)
        options = {"max_bytes": MiB, "timeout": 10.0}
        with opened(DiskTier(path, **options), "n", None) as driver:
            driver.write([("a", driver.entry("A"))])

        def open_and_close():
            while True:
                with opened(DiskTier(path, **options), "n", None) as driver:
                    driver.write([("b", driver.entry("B"))])

        for kill in range(40):
            child = forked(open_and_close)
            time.sleep(rng.uniform(0.005, 0.05))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            with opened(DiskTier(path, **options), "n", None) as driver:
                assert driver.serves("a") == "A"
                assert driver.tier.stats().set_aside == 0
        """,
        tmp_path / "cache",
    )


def test_a_writer_that_is_killed_leaves_no_lock(tmp_path):
    """Neither the gate nor LMDB's own lock, in the middle of a transaction."""
    script(
        """
        tier = DiskTier(path, max_bytes=MiB, timeout=5.0)
        with opened(tier, "n", None) as driver:
            driver.write([("a", driver.entry("A"))])

            def die_writing():
                mine = DiskTier(path, max_bytes=MiB, timeout=5.0)
                mine.open("n", RecordingListener())
                mine.read(["a"])
                store = mine._store
                store.begin_writing(time.monotonic() + 5)
                txn = store.file.begin(write=True)
                txn.put(b"half", b"done", db=store.file.warm)
                os.kill(os.getpid(), signal.SIGKILL)

            for _ in range(5):
                assert not ended(forked(die_writing))
                begun = time.monotonic()
                driver.write([("a", driver.entry("B"))])
                assert time.monotonic() - begun < 2
                assert driver.serves("a") == "B"
            file = tier._store.file
            with file.begin() as txn:
                assert txn.get(b"half", db=file.warm) is None
        """,
        tmp_path / "cache",
    )


def test_readers_that_are_killed_do_not_hold_the_file(tmp_path):
    """What they saw would be kept for ever."""
    script(
        """
        tier = DiskTier(path, max_bytes=MiB, timeout=5.0)
        with opened(tier, "n", None) as driver:
            driver.write([("a", driver.entry("A"))])

            def die_reading():
                mine = DiskTier(path, max_bytes=MiB, timeout=5.0)
                mine.open("n", RecordingListener())
                mine.read(["a"])
                txn = mine._store.file.begin()
                os.kill(os.getpid(), signal.SIGKILL)

            for _ in range(3):
                assert not ended(forked(die_reading))
            for number in range(2000):
                driver.write([(f"{number}", driver.entry(os.urandom(2000)))])
            assert driver.look("1999") is not None
        """,
        tmp_path / "cache",
    )


def test_a_writer_that_is_stopped_is_not_waited_for(tmp_path, process):
    """Others get an error in time, readers notice nothing, and all goes on when it does."""
    other = process(
        """
        tier = DiskTier(path, max_bytes=MiB)
        tier.open("n", RecordingListener())
        tier.read(["a"])
        print("open", flush=True)
        sys.stdin.readline()
        tier._store.begin_writing(time.monotonic() + 5)
        print("writing", flush=True)
        sys.stdin.readline()
        tier._store.end_writing()
        print("done", flush=True)
        sys.stdin.readline()
        """,
        tmp_path / "cache",
    )
    assert other.stdout.readline() == "open\n"
    with opened(DiskTier(tmp_path / "cache", max_bytes=MiB, timeout=0.2), "n", None) as driver:
        driver.tier.read(["a"])
        other.stdin.write("\n")
        assert other.stdout.readline() == "writing\n"
        other.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(TierTimeout):
            driver.tier.remove(["a"])
        assert time.monotonic() - begun < 0.2 + SLACK
        other.send_signal(signal.SIGCONT)
        other.stdin.write("\n")
        assert other.stdout.readline() == "done\n"
        driver.write([("a", driver.entry("A"))])
        assert driver.serves("a") == "A"


# Several at once


@pytest.mark.stress
def test_several_processes_at_once(tmp_path):
    """Each sees its own writes, of all that fill a name one succeeds, and nobody fails."""
    script(
        """
        options = {"max_bytes": 8 * MiB, "timeout": 20.0}
        rounds, count = 60, 4

        def work(number):
            with opened(DiskTier(path, **options), "n", None) as driver:
                rng = random.Random(number)
                for turn in range(rounds):
                    names = [f"{number} {turn} {item}" for item in range(5)]
                    driver.write([(name, driver.entry(rng.randbytes(rng.choice([10, 1000, 9000])))) for name in names])
                    assert None not in driver.values(names)
                    found, _ = driver.begin(f"turn {turn}")
                    if found.entry is None and driver.end(f"turn {turn}", driver.entry(number), found.fence):
                        driver.write([(f"won {turn} {number}", driver.entry(number))])

        children = [forked(lambda number=number: work(number)) for number in range(count)]
        assert all([ended(child, 60.0) for child in children])
        with opened(DiskTier(path, **options), "n", None) as driver:
            for turn in range(rounds):
                winners = [n for n in range(count) if driver.look(f"won {turn} {n}") is not None]
                assert winners == [driver.serves(f"turn {turn}")], turn
            assert driver.tier.stats().set_aside == 0
        """,
        tmp_path / "cache",
        timeout=200,
    )


def test_another_process_learns_of_changes_in_time(tmp_path, process):
    """Within some heartbeats, and never later than it says that it is up to date."""
    other = process(
        """
        with opened(DiskTier(path, max_bytes=8 * MiB, timeout=5.0), "n", None) as driver:
            print("open", flush=True)
            for line in sys.stdin:
                verb, _, name = line.strip().partition(" ")
                if verb == "write":
                    driver.write([(name, driver.entry(name))])
                elif verb == "invalidate":
                    driver.invalidate([name])
                print(f"{verb} {name}", flush=True)
        """,
        tmp_path / "cache",
    )
    assert other.stdout.readline() == "open\n"

    def tell(line):
        other.stdin.write(line + "\n")
        assert other.stdout.readline() == line + "\n"

    with opened(DiskTier(tmp_path / "cache", max_bytes=8 * MiB, timeout=5.0), "n", None) as driver:
        listener = driver.listener
        wait(lambda: listener.moments)
        for turn in range(20):
            tell(f"write name {turn}")
            done = time.monotonic()
            wait(lambda: max(listener.moments) > done)
            assert f"name {turn}" in listener.names
            assert time.monotonic() - done < SLACK
        tell("invalidate tag")
        done = time.monotonic()
        wait(lambda: max(listener.moments) > done)
        assert [tag for tag, _ in listener.tags] == ["tag"]


def test_a_file_that_another_process_sets_aside(tmp_path, process):
    """Whoever has it open goes on with the new one, too."""
    other = process(
        """
        with opened(DiskTier(path, max_bytes=8 * MiB, timeout=5.0), "n", None) as driver:
            driver.write([("a", driver.entry("old"))])
            print("open", flush=True)
            sys.stdin.readline()
            driver.tier._store.replace(driver.tier._store.file, "a test says so", time.monotonic() + 5)
            driver.write([("b", driver.entry("new"))])
            print("replaced", flush=True)
            sys.stdin.readline()
        """,
        tmp_path / "cache",
    )
    assert other.stdout.readline() == "open\n"
    with opened(DiskTier(tmp_path / "cache", max_bytes=8 * MiB, timeout=5.0), "n", None) as driver:
        assert driver.serves("a") == "old"
        wait(lambda: driver.listener.moments)
        losses = driver.listener.losses
        other.stdin.write("\n")
        assert other.stdout.readline() == "replaced\n"
        assert driver.look("a") is None
        assert driver.serves("b") == "new"
        driver.write([("a", driver.entry("again"))])
        assert driver.tier.stats().set_aside == 1
        wait(lambda: driver.listener.losses > losses)


def wait(condition, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# Forked


def test_a_fork(tmp_path):
    """The child opens the file for itself, and the parent goes on."""
    script(
        """
        import asyncio
        tier = DiskTier(path, max_bytes=MiB, timeout=5.0)
        with opened(tier, "n", None) as driver:
            driver.write([("a", driver.entry("A"))])
            asyncio.run(tier.awrite([("loop", driver.entry(1))]))
            wait(lambda: driver.listener.moments)

            def work():
                known = len(driver.listener.moments)
                time.sleep(0.2)
                assert len(driver.listener.moments) == known, "there is no thread in the child yet"
                assert driver.serves("a") == "A"
                wait(lambda: len(driver.listener.moments) > known)
                driver.write([("child", driver.entry("C"))])
                assert asyncio.run(tier.aread(["child"])).found[0].entry.value == "C"
                assert driver.end("leased", driver.entry("L"), driver.lease(["leased"]).found[0].fence)
                driver.close()

            for _ in range(3):
                assert ended(forked(work))
                wait(lambda: "child" in driver.listener.names)
                driver.listener.names.clear()
                assert driver.serves("child") == "C"
                driver.write([("a", driver.entry("A"))])
                driver.remove(["child", "leased"])
                assert driver.tier._store.file.env.reader_check() == 0
        with opened(DiskTier(path, max_bytes=MiB), "n", None) as driver:
            assert driver.serves("a") == "A"
            assert driver.tier.stats().set_aside == 0
        """,
        tmp_path / "cache",
    )


@pytest.mark.stress
def test_forks_while_threads_read_and_write(tmp_path):
    """No child hangs, whatever the other threads of its parent were doing; nearly all can use the disk."""
    report = script(
        """
        import threading
        tier = DiskTier(path, max_bytes=4 * MiB, timeout=1.0)
        stop = threading.Event()
        failed = []
        with opened(tier, "n", None) as driver:
            driver.write([("a", driver.entry("A"))])

            def write(number):
                try:
                    while not stop.is_set():
                        driver.write([(f"{number} {n}", driver.entry(os.urandom(1000))) for n in range(20)])
                except BaseException as error:
                    failed.append(error)

            def read():
                try:
                    while not stop.is_set():
                        assert driver.serves("a") == "A"
                except BaseException as error:
                    failed.append(error)

            threads = [threading.Thread(target=write, args=(1,)), threading.Thread(target=read)]
            for thread in threads:
                thread.start()

            def work():
                try:
                    assert driver.serves("a") == "A"
                    driver.write([("child", driver.entry(os.getpid()))])
                except TierError:
                    os.write(1, b"no disk\\n")

            fine = [ended(forked(work)) for _ in range(30)]
            print("forked", flush=True)
            stop.set()
            for thread in threads:
                thread.join(20)
                assert not thread.is_alive()
            assert all(fine), fine
            assert not failed, failed
        """,
        tmp_path / "cache",
        timeout=200,
    ).stdout
    assert report.count("no disk") <= 3


# Full, forbidden, damaged


def test_a_disk_that_is_full(tmp_path):
    """A limit on the length of files: writes are refused, readers go on, and so do writes when there is room."""
    script(
        """
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        with opened(DiskTier(path, max_bytes=8 * MiB, timeout=1.0), "n", None) as driver:
            driver.write([("a", driver.entry("A"))])
            resource.setrlimit(resource.RLIMIT_FSIZE, (MiB, hard))
            refused = stored = 0
            for number in range(400):
                try:
                    driver.write([(f"{number}", driver.entry(os.urandom(8000)))])
                    stored += 1
                except TierUnavailable as error:
                    assert "full" in str(error), error
                    refused += 1
                assert driver.serves("a") == "A"
            assert stored and refused, (stored, refused)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            driver.write([("b", driver.entry("B"))])
            assert driver.serves("a") == "A"
            assert driver.serves("b") == "B"
            assert driver.tier.stats().set_aside == 0
        with opened(DiskTier(path, max_bytes=8 * MiB, timeout=1.0), "n", None) as driver:
            assert driver.serves("b") == "B"
        """,
        tmp_path / "cache",
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB of its own, where one may be had."""
    place = tmp_path / "small"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "hotset-test", str(place)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"no file system can be mounted: {mount.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_file_system_that_is_full(small_disk):
    """The same with a real one, whose room another file takes and gives back."""
    script(
        """
        ballast = os.path.join(path, "..", "ballast")
        with opened(DiskTier(path, max_bytes=8 * MiB, timeout=1.0), "n", None) as driver:
            driver.write([("a", driver.entry("A"))])
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            refused = 0
            for number in range(50):
                try:
                    driver.write([(f"{number}", driver.entry(os.urandom(8000)))])
                except TierUnavailable as error:
                    assert "full" in str(error), error
                    refused += 1
                assert driver.serves("a") == "A"
            assert refused > 40
            os.unlink(ballast)
            driver.write([("b", driver.entry("B"))])
            assert driver.serves("b") == "B"
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        other = os.path.join(path, "..", "other")
        with opened(DiskTier(other, max_bytes=8 * MiB, timeout=1.0), "n", None) as driver:
            try:
                driver.read(["a"])
            except TierUnavailable:
                pass
            else:
                raise AssertionError("there was no room for it")
        """,
        small_disk / "cache",
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_directory_that_is_somebody_elses(tmp_path):
    """It is unavailable, to read and to write, and no error of another kind comes out."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        if str(parent) != "/tmp":
            parent.chmod(0o755)
    with opened(DiskTier(tmp_path / "cache", max_bytes=MiB), "n", None) as driver:
        driver.write([("a", driver.entry("A"))])
    script(
        """
        DiskTier(path)  # imports what it needs from where nobody else may look
        os.setgid(65534)
        os.setuid(65534)
        for place in (path, path + "-new"):
            with opened(DiskTier(place, max_bytes=MiB, timeout=1.0), "n", None) as driver:
                for call in (driver.tier.read, driver.tier.lease, driver.tier.remove, driver.tier.invalidate):
                    try:
                        call(["a"])
                    except TierUnavailable as error:
                        assert "ermission" in str(error), error
                    else:
                        raise AssertionError("it could be used")
        """,
        tmp_path / "cache",
    )
    with opened(DiskTier(tmp_path / "cache", max_bytes=MiB), "n", None) as driver:
        assert driver.serves("a") == "A"


@pytest.mark.stress
@pytest.mark.parametrize("seen", ["seen", "unseen"])
@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes(tmp_path, seed, seen):
    """Of a closed file: no process ends by them, no wrong value is served, and what cannot be used is set aside.

    What is unseen left size and time of the file as they were, as a disk does that goes bad: it shows in use.
    """
    report = script(
        """
        rng = random.Random(int(sys.argv[2]))
        options = {"max_bytes": 4 * MiB, "timeout": 10.0}
        names = [f"{n}" for n in range(600)]
        values = {name: rng.randbytes(rng.choice([20, 500, 1500, 6000])) for name in names}
        with opened(DiskTier(path, **options), "n", None) as driver:
            for start in range(0, 600, 50):
                driver.write([(name, driver.entry(values[name])) for name in names[start : start + 50]])
            driver.remove(names[::7])
            there = [name for name in names if driver.look(name) is not None]
        (file,) = [os.path.join(path, one) for one in os.listdir(path) if one.endswith(".mdb")]
        whole = open(file, "rb").read()
        marks = open(os.path.join(path, "marks"), "rb").read()
        left = os.stat(file)
        used = len(whole.rstrip(b"\\0"))
        aside = refused = missing = 0
        for turn in range(25):
            spoilt = bytearray(whole)
            for _ in range(rng.choice([1, 3, 30])):
                if rng.random() < 0.5:
                    place = rng.randrange(used)
                else:  # where LMDB's own numbers are
                    place = min(used - 1, rng.randrange(used // 4096) * 4096 + rng.randrange(200))
                spoilt[place] ^= 1 << rng.randrange(8)
            for one in os.listdir(path):  # begin anew each time
                os.unlink(os.path.join(path, one))
            open(os.path.join(path, "marks"), "wb").write(marks)
            open(file, "wb").write(spoilt)
            if sys.argv[3] == "unseen":
                os.utime(file, ns=(left.st_atime_ns, left.st_mtime_ns))
            with opened(DiskTier(path, **options), "n", None) as driver:
                reading = driver.read([])
                for name in there:
                    try:
                        reading = driver.read([name])
                    except TierUnavailable as error:
                        assert "damaged" in str(error), error
                        continue
                    found = reading.found[0].entry
                    missing += found is None
                    assert found is None or found.value == values[name], name
                    refused += sum(reading.refused.values())
                for attempt in range(3):
                    with contextlib.suppress(TierUnavailable):
                        driver.write([(name, driver.entry(values[name])) for name in names[:100]])
                        break
                assert driver.serves("3") == values["3"]
                aside += driver.tier.stats().set_aside
        print("aside", aside, "refused", refused, "missing", missing)
        """,
        tmp_path / "cache",
        seed,
        seen,
        timeout=200,
    ).stdout
    aside, _, missing = map(int, re.findall(r"\d+", report))
    assert aside > (seen == "seen")
    assert missing > 10


def test_it_needs_its_extra(tmp_path):
    """And says which."""
    script(
        """
        import builtins, sys
        for module in [name for name in sys.modules if name.startswith(("lmdb", "hotset.tiers.disk"))]:
            del sys.modules[module]
        sys.modules["lmdb"] = None
        import hotset.tiers
        try:
            hotset.tiers.DiskTier
        except ImportError as error:
            assert "hotset[disk]" in str(error), error
        else:
            raise AssertionError("it came without LMDB")
        """,
        tmp_path,
    )
