"""What `hotset demo` tells of a run: figures, tables, progress, picture."""

import io
import json
import re

import numpy as np
import pytest
from cli.demo_runs import PNG
from rich.console import Console

from hotset.demo import picture, report, workload
from hotset.demo.outcome import Outcome, Plan, Standing
from hotset.demo.windows import Level, Snapshot, Timings, between, total

USERS = 200


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
