"""Recording what a live cache is asked for, and advice from it."""

import contextlib
import csv
import os
import pathlib
import random
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from caches import build

import hotset
from hotset import MemoryTier, TieredCache
from hotset.recording import Recording

PATIENCE = 30.0


def until(condition):
    """Wait until a condition holds, for half a minute at most."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def lines_of(path):
    """The head and the keys of a recording."""
    head, names, *lines = path.read_text().splitlines()
    assert names == "time,key"
    return head, [key for _, key in csv.reader(lines)]


class TestEachRequestOnce:
    """Whatever is counted as a hit or a miss is recorded, once."""

    @pytest.fixture
    def recorded(self, tmp_path):
        """Make a recording of all requests; at the end tell its keys."""

        def begin(cache):
            recording = cache.record(tmp_path / "all.csv", sample=1.0, keys="plain")

            def end():
                recording.stop()
                assert recording.lost == 0
                return lines_of(recording.path)[1]

            return end

        return begin

    def test_of_every_class(self, plain_class, recorded):
        cache = build(plain_class, 10)
        cache["there"], cache[7], cache[(1, 2)] = 1, 2, 3
        end = recorded(cache)
        before = cache.stats().requests
        equal = str(b"there", "ascii")  # not the same object
        for key in ("there", equal, 7, 8, (1, 2), "away", -1, 2**80, b"there"):
            cache.get(key)
            cache.get(key, 5)
        assert cache["there"] == 1
        with pytest.raises(KeyError):
            cache["nobody"]
        cache.get_many(["there", "away", 7])
        cache.get_or_load("loaded", lambda key: 1)
        cache.get_or_load("loaded", lambda key: 1)
        asked = [
            str(key) if isinstance(key, (str, int)) else repr(key)
            for key in ("there", equal, 7, 8, (1, 2), "away", -1, 2**80, b"there")
            for _ in range(2)
        ]
        keys = end()
        assert keys[: len(asked)] == asked
        assert keys[len(asked) : len(asked) + 5] == ["there", "nobody", "there", "away", "7"]
        assert set(keys[len(asked) + 5 :]) == {"loaded"}
        assert len(keys) == cache.stats().requests - before

    def test_of_what_expires(self, recorded, clock):
        cache = hotset.LRUCache(10, ttl=10, tti=5, timer=clock)
        cache["a"] = 1
        end = recorded(cache)
        cache.get("a")
        clock.now += 6
        cache.get("a")
        assert end() == ["a", "a"]

    @pytest.mark.parametrize("policy", list(hotset.POLICIES))
    def test_of_functions(self, policy, recorded):
        made = []

        def store(*args, **options):
            made.append(hotset.POLICIES[policy](*args, **options))
            return made[0]

        function = hotset._engine.Memo(lambda key: key, lambda: store(10))
        function("a")
        end = recorded(made[0])
        before = made[0].stats().requests
        for key in ("a", "b", "a", 3, 3, "b"):
            function(key)
        assert end() == ["a", "b", "a", "3", "3", "b"]
        assert made[0].stats().requests - before == 6

    def test_of_memory_of_a_tiered_cache(self, tmp_path):
        cache = TieredCache("recorded", [MemoryTier(100)], load=lambda key: 1)
        with cache, cache.record(tmp_path / "all.csv", sample=1.0, keys="plain") as recording:
            for key in ("a", "b", "a", "a", 3, 3):
                cache.get(key)
            cache.get_many(["a", "c"])
            requests = cache.stats().requests
        keys = lines_of(recording.path)[1]
        assert [key for key in keys if key in {"a", "b", "3"}][:6] == ["a", "b", "a", "a", "3", "3"]
        assert len(keys) == requests


class TestSamples:
    def test_all_uses_of_some_keys(self):
        cache = hotset.LRUCache(100)
        with cache.record(sample=0.1) as recording:
            for _ in range(7):
                for key in range(10_000):
                    cache.get(key)
        trace = recording.trace()
        assert 800 < trace.distinct < 1200
        assert set(trace.uses.tolist()) == {7}
        assert trace.rate == 0.1
        assert trace.requests == pytest.approx(70_000, rel=0.2)

    def test_a_file_is_a_trace(self, tmp_path):
        from hotset.lab import read_trace

        cache = hotset.LRUCache(100)
        path = tmp_path / "one.csv"
        begun = time.time()
        with cache.record(path, sample=0.25) as recording:
            for key in range(1000):
                cache.get(f"user {key}")
                cache.get(f"user {key}")
        trace = read_trace(path)
        assert len(trace) == recording.requests == 2 * trace.distinct
        assert trace.rate == 0.25
        assert trace.requests == 4 * len(trace)
        assert begun - 1 < trace.times[0] <= trace.times[-1] < time.time() + 1
        assert "user" not in path.read_text()
        half = read_trace(path, sample=0.5)
        assert half.rate == 0.125

    def test_hashed_keys_of_two_recordings_have_nothing_in_common(self, tmp_path):
        found = []
        for name in "ab":
            cache = hotset.LRUCache(100)
            with cache.record(tmp_path / name, sample=1.0):
                cache.get_many(list(range(100)))
            found.append(set(lines_of(tmp_path / name)[1]))
        assert len(found[0]) == len(found[1]) == 100
        assert not found[0] & found[1]

    def test_plain_keys_are_given_up_afterwards(self, tmp_path):
        key = str(b"some key", "ascii")
        cache = hotset.LRUCache(100)
        before = sys.getrefcount(key)
        with cache.record(tmp_path / "plain", sample=1.0, keys="plain"):
            for _ in range(10):
                cache.get(key)
        assert sys.getrefcount(key) == before

    def test_a_key_of_several_lines_is_one(self, tmp_path):
        from hotset.lab import read_trace

        cache = hotset.LRUCache(100)
        with cache.record(tmp_path / "plain", sample=1.0, keys="plain"):
            cache.get('a\nb,"c"')
            cache.get("d")
        assert len(read_trace(tmp_path / "plain")) == 2


class TestBounds:
    def test_memory_keeps_the_latest(self):
        cache = hotset.LRUCache(10)
        with cache.record(sample=1.0, limit=100) as recording:
            for key in range(1000):
                cache.get(key)
                if key % 50 == 0:
                    assert len(recording.trace()) <= 100
        assert recording.requests == 1000
        assert 75 <= len(recording.trace()) <= 100

    def test_a_full_file_takes_no_more(self, tmp_path):
        cache = hotset.LRUCache(10)
        recording = cache.record(tmp_path / "full", sample=1.0, limit=100)
        for key in range(250):
            cache.get(key)
        until(lambda: not recording.running)
        recording.stop()
        assert recording.requests == len(lines_of(tmp_path / "full")[1]) == 100

    def test_what_comes_too_fast_is_counted(self):
        cache = hotset.LRUCache(10)
        with cache.record(sample=1.0) as recording:
            for key in range(300_000):
                cache.get(key)
        assert recording.requests + recording.lost == 300_000

    def test_threads(self):
        cache = hotset.LRUCache(10)

        def ask():
            for key in range(20_000):
                cache.get(key)

        with cache.record(sample=0.1) as recording:
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        trace = recording.trace()
        assert trace.uses.sum() + recording.lost == pytest.approx(8000, rel=0.2)


class TestLife:
    def test_again_after_the_end(self):
        cache = hotset.LRUCache(10)
        first = cache.record()
        with pytest.raises(RuntimeError, match="recorded already"):
            cache.record()
        assert first.running
        first.stop()
        first.stop()
        with cache.record(sample=1.0) as second:
            cache.get(1)
        assert cache.recording is second
        assert second.requests == 1
        assert first.requests == 0

    def test_nothing_after_the_end(self):
        cache = hotset.LRUCache(10)
        with cache.record(sample=1.0) as recording:
            cache.get(1)
        cache.get(1)
        assert len(recording.trace()) == 1

    def test_goes_on_when_nobody_holds_it(self, tmp_path):
        cache = hotset.LRUCache(10)
        cache.record(tmp_path / "one", sample=1.0)
        cache.get("a")
        until(lambda: len(lines_of(tmp_path / "one")[1]) == 1)
        cache.resize(20)
        cache.clear()
        cache.get("a")
        cache.recording.stop()
        assert len(lines_of(tmp_path / "one")[1]) == 2

    def test_ends_with_its_cache(self):
        cache = hotset.LRUCache(10)
        recording = cache.record(sample=1.0)
        del cache
        until(lambda: not recording.running)
        recording.stop()

    def test_what_is_left_is_written_at_exit(self, tmp_path):
        script = f"""
            import hotset
            cache = hotset.LRUCache(10)
            cache.record({str(tmp_path / "one")!r}, sample=1.0)
            for key in range(1000): cache.get(key)
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=PATIENCE)
        assert len(lines_of(tmp_path / "one")[1]) == 1000

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_forked_child_records_nothing(self, tmp_path):
        cache = hotset.LRUCache(10)
        with cache.record(tmp_path / "one", sample=1.0):
            cache.get("parent")
            pid = os.fork()
            if not pid:
                with contextlib.suppress(BaseException):
                    for _ in range(1000):
                        cache.get("child")
                    os._exit(1 if cache.recording.running else 0)
                os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert len(lines_of(tmp_path / "one")[1]) == 1


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"sample": 0}, ValueError, "above 0 and at most 1, got 0"),
            ({"sample": 1.5}, ValueError, "at most 1, got 1.5"),
            ({"sample": float("nan")}, ValueError, "got nan"),
            ({"sample": "1 %"}, TypeError, "a number, got '1 %'"),
            ({"keys": "raw"}, ValueError, "'hashed' or 'plain', not 'raw'"),
            ({"limit": 0}, ValueError, "1 or more, got 0"),
        ],
    )
    def test_arguments(self, options, error, words):
        cache = hotset.LRUCache(10)
        with pytest.raises(error, match=words):
            cache.record(**options)
        assert cache.recording is None
        cache.record().stop()

    def test_a_file_that_is_there_stays(self, tmp_path):
        (tmp_path / "one").write_text("precious")
        with pytest.raises(FileExistsError):
            hotset.LRUCache(10).record(tmp_path / "one")
        assert (tmp_path / "one").read_text() == "precious"

    def test_a_folder_that_is_not_there(self, tmp_path):
        cache = hotset.LRUCache(10)
        with pytest.raises(FileNotFoundError):
            cache.record(tmp_path / "no" / "one")
        cache.record().stop()

    def test_no_second_file_of_a_cache_that_is_recorded(self, tmp_path):
        cache = hotset.LRUCache(10)
        with cache.record(), pytest.raises(RuntimeError):
            cache.record(tmp_path / "one")
        assert not (tmp_path / "one").exists()

    @pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no device that is always full")
    def test_a_full_disk(self, monkeypatch):
        """Nobody who asks the cache hears of it; who stops the recording does."""
        monkeypatch.setattr("pathlib.Path.open", lambda path, mode, **options: open(path, "w", **options))  # noqa: PTH123, SIM115
        cache = hotset.LRUCache(10)
        try:
            recording = cache.record("/dev/full", sample=1.0)
        except OSError:
            return  # the head did not fit
        cache.get(1)
        until(lambda: not recording.running)
        with pytest.raises(OSError, match="No space"):
            recording.stop()

    @pytest.mark.parametrize("sample", ["", "0", "2", "x"])
    def test_a_head_without_a_sample(self, tmp_path, sample):
        from hotset.lab import TraceError, read_trace

        path = tmp_path / "one.csv"
        path.write_text(f"# hotset recording, sample {sample}, keys hashed\ntime,key\n1,a\n")
        with pytest.raises(TraceError, match=r"line 1, byte 0: a recording must say its sample"):
            read_trace(path)


def shifting(count, space, seed=1):
    """Zipf's keys, of which others are hot in each of some parts."""
    rng = random.Random(seed)
    for number in range(count):
        yield int(space ** rng.random()) + (number * 4 // count) * 100_000


class TestAdvice:
    def test_what_a_recording_says_is_what_the_trace_says(self):
        """All requests are recorded: the cache hits what its replay hits."""
        cache = hotset.LRUCache(300)
        with cache.record(sample=1.0):
            for number, key in enumerate(shifting(40_000, 3000)):
                if cache.get(key) is None:
                    cache[key] = 1
                if number % 1000 == 0:
                    cache.recording.trace()  # takes what is there
        found = cache.advise(l2=3000)
        assert found.size == 300
        assert found.policy == "lru"
        assert found.hit_ratio == pytest.approx(cache.stats().hit_ratio, abs=0.05)
        assert {finding.topic for finding in found.findings} >= {"size", "policy", "TTL", "one-hit wonders", "levels"}
        assert cache.recording.lost == 0

    def test_of_a_sample(self):
        """A tenth of the keys is enough to say within points what doubling does."""
        whole, sampled = hotset.LRUCache(1000), hotset.LRUCache(1000)
        with whole.record(sample=1.0), sampled.record(sample=0.1):
            for number, key in enumerate(shifting(60_000, 30_000)):
                for cache in (whole, sampled):
                    if cache.get(key) is None:
                        cache[key] = 1
                if number % 1000 == 0:
                    whole.recording.trace()
            exact, near = whole.advise(), sampled.advise()
        assert "sample of 10 %" in near.certainty
        assert "sample" not in exact.certainty
        gains = [next(f.gain for f in found.findings if f.text.startswith("double")) for found in (exact, near)]
        assert abs(gains[0] - gains[1]) < 3.0

    def test_of_a_tiered_cache(self):
        cache = TieredCache("advised", [MemoryTier(200)], load=lambda key: 1)
        with cache:
            cache.record(sample=1.0)
            for number, key in enumerate(shifting(5000, 2000)):
                cache.get(key)
                if number % 1000 == 0:
                    cache._first_store("test").recording.trace()
            found = cache.advise()
            counted = next(f for f in found.findings if f.topic == "levels, as counted")
            assert counted.text.startswith("memory misses what costs most: memory hits ")
            assert found.policy == "auto"
            assert str(found)
            cache._first_store("test").recording.stop()

    def test_nothing_recorded(self):
        with pytest.raises(RuntimeError, match=r"call record\(\)"):
            hotset.LRUCache(10).advise()

    def test_no_memory_to_look_at(self, tmp_path):
        pytest.importorskip("hiredis")
        from hotset import RedisTier

        cache = TieredCache("bare", [RedisTier("redis://127.0.0.1:1/0")], load=lambda key: 1)
        with pytest.raises(TypeError, match="the first level must be a MemoryTier"):
            cache.record()
        cache.close()

    def test_too_little(self):
        cache = hotset.LRUCache(100)
        with cache.record(sample=1.0) as recording:
            cache.get(1)
            with pytest.raises(ValueError, match="1 requests were recorded, 1,000 are needed"):
                cache.advise()
        assert isinstance(recording, Recording)

    def test_too_small_a_sample(self):
        cache = hotset.LRUCache(100)
        with cache.record(sample=0.1):
            for key in range(20_000):
                cache.get(key)
            with pytest.raises(ValueError, match=r"10 entries of 100, too few .* sample=0\.2 or more"):
                cache.advise()
