"""The measuring code behind `hotset bench` and the scripts."""

import gc
import os
import pathlib
import subprocess
import sys

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("rich")

import hotset  # noqa: E402
from hotset.bench import bars, hit_ratio, latency, machine, memory, replay, rows, timing, workloads  # noqa: E402
from hotset.bench.clients import lineup  # noqa: E402
from hotset.lab import generators  # noqa: E402

ALONE = lineup(())
STANDARD = lineup(["functools", "ordereddict"])
TINY = rows.Sizes.tiny()
BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def rng():
    return np.random.default_rng(1)


# Workloads


def test_zipf_follows_its_law(rng):
    ids = generators.zipf(1000, 200_000, rng)
    counts = np.sort(np.bincount(ids, minlength=1000))[::-1]
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.15)
    assert ids.min() >= 0
    assert ids.max() < 1000


def test_a_shifting_zipf_moves_its_favourites(rng):
    ids = generators.shifting_zipf(1000, 100_000, rng, phases=10)
    assert len(ids) == 100_000
    first, last = (set(np.argsort(np.bincount(part, minlength=1000))[-50:]) for part in (ids[:10_000], ids[-10_000:]))
    assert len(first & last) < 40


def test_a_scan_mix_has_keys_that_never_return(rng):
    ids = generators.scan(1000, 50_000, rng)
    counts = np.bincount(ids)
    assert 0.15 < (counts[1000:] == 1).sum() / len(ids) < 0.25


def test_a_loop_goes_round():
    assert generators.loop(3, 7).tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("requests", [100, 1001, 20_000])
def test_the_service_workload_has_the_length_and_the_seed_asked_for(requests):
    work = workloads.service(requests, seed=4)
    assert len(work.ids) == len(work.requests) == requests
    assert len(work.distinct) == work.ids.max() + 1 == len(set(work.distinct))
    assert np.array_equal(work.ids, workloads.service(requests, seed=4).ids)


def test_the_service_workload_tells_policies_apart():
    work = workloads.service(60_000, seed=1)
    capacity = len(work.distinct) // 10
    ratios = {policy: hit_ratio.curve(policy, work, [capacity])[0] for policy in ("lru", "arc", "tinylfu")}
    assert ratios["lru"] + 0.03 < ratios["arc"]
    assert ratios["lru"] + 0.03 < ratios["tinylfu"]


@pytest.mark.parametrize("name", list(workloads.GENERATED))
def test_generated_workloads_are_numbered_by_first_appearance(name):
    work = workloads.generated(name, 3000, seed=2)
    seen = list(dict.fromkeys(work.ids.tolist()))
    assert seen == list(range(len(work.distinct)))


def test_the_head_of_a_workload_keeps_only_its_keys():
    work = workloads.from_keys("w", np.array([9, 4, 9, 7, 4]))
    assert work.ids.tolist() == [0, 1, 0, 2, 1]
    assert work.distinct == [9, 4, 7]
    head = work.head(3)
    assert head.ids.tolist() == [0, 1, 0]
    assert head.distinct == [9, 4]
    assert work.head(0) is work
    assert head.requests[0] is head.requests[2]


# The race


def test_the_race_builds_fresh_objects_each_round_and_restores_the_collector():
    built, states = [], []

    def laps(rng):
        built.append(object())
        for _ in range(3):
            states.append(gc.isenabled())
            yield (lambda: None), 10

    entrants = [timing.Entrant(name, laps) for name in "abc"]
    assert gc.isenabled()
    told = []
    figures = timing.race(entrants, rounds=4, seed=1, advance=told.append)
    assert gc.isenabled()
    assert len(built) == 12
    assert not any(states)
    assert list(figures) == ["a", "b", "c"]
    assert sorted(told) == sorted("abc" * 4)
    assert told != list("abc" * 4)
    assert all(0 <= figure.fastest <= figure.median <= figure.slowest for figure in figures.values())


def test_the_collector_is_restored_when_an_entrant_fails():
    def laps(rng):
        raise RuntimeError("broken")
        yield

    with pytest.raises(RuntimeError, match="broken"):
        timing.race([timing.Entrant("a", laps)], rounds=1, seed=1)
    assert gc.isenabled()


def test_every_entrant_of_a_round_gets_the_same_random_numbers():
    drawn = []

    def laps(rng):
        drawn.append(rng.random())
        yield (lambda: None), 1

    timing.race([timing.Entrant(name, laps) for name in "abc"], rounds=2, seed=1)
    assert len(set(drawn)) == 2


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cannot pin a process here")
def test_pinning_is_undone():
    before = os.sched_getaffinity(0)
    with machine.pinned() as core:
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


def test_equal_copies_are_other_objects(rng):
    keys = rows.str_keys(rng, 20)
    copies = rows.equal_copies(keys)
    assert copies == keys
    assert not any(copy is key for copy, key in zip(copies, keys, strict=True))


@pytest.mark.parametrize("name", list(rows.ROWS))
def test_every_row_runs_and_judges_its_bars(name):
    row = rows.ROWS[name](STANDARD, TINY)
    found = rows.run(row, TINY, seed=1)
    assert row.base in found.figures
    assert found.ratio(row.base) == 1.0
    assert set(found.figures) == {entrant.name for entrant in row.entrants}
    assert {verdict.outcome for verdict in found.verdicts} <= {"met", "missed"}
    assert found.verdicts


def test_the_sizes_say_whether_the_bars_hold():
    assert rows.Sizes().is_full
    assert rows.Sizes(rounds=9).is_full
    assert not rows.Sizes.quick().is_full
    assert not TINY.is_full


def test_dict_insert_and_pop_pops_the_oldest_each_time(rng):
    for call, operations in rows.dict_insert_pop_laps(TINY, rows.int_keys, rng):
        store, new, old = call.args
        assert list(store)[: len(old)] == old[: len(store)]
        call()
        assert operations == len(new)
        assert len(store) == TINY.capacity
        assert list(store)[-1] == new[-1]


def test_the_clock_of_the_process_works_too():
    row = rows.ROWS["hit-int-hot"](ALONE, TINY)
    assert rows.run(row, TINY, seed=1, clock="cpu").figures


# Bars


def test_a_bar_is_held_against_the_best_of_several():
    bar = bars.Bar("us", ("slow", "fast", "absent"), 0.7, "best peer")
    (verdict,) = bars.judge([bar], {"us": 6.0, "slow": 20.0, "fast": 10.0})
    assert verdict.value == pytest.approx(0.6)
    assert verdict.outcome == "met"
    assert "fast" in verdict.limit
    (verdict,) = bars.judge([bar], {"us": 8.0, "slow": 20.0, "fast": 10.0})
    assert verdict.outcome == "missed"


def test_a_bar_without_a_peer_is_not_measured():
    (verdict,) = bars.judge([bars.Bar("us", ("absent",), 0.7)], {"us": 6.0})
    assert verdict.outcome == "not measured"
    assert verdict.value is None


def test_faster_means_faster():
    bar = bars.Bar("us", ("peer",), 1.0, strict=True)
    assert bars.judge([bar], {"us": 10.0, "peer": 10.0})[0].outcome == "missed"
    assert bars.judge([bar], {"us": 9.9, "peer": 10.0})[0].outcome == "met"


# Memory


def test_memory_is_measured_in_a_process_of_its_own():
    clients = [ALONE.named("dict"), ALONE.named("hotset LRU"), ALONE.named("hotset ARC")]
    found = memory.footprint(clients, 20_000, rounds=1)
    assert 20 < found["dict"].plain < 200
    assert found["dict"].churned is None
    for name in ("hotset LRU", "hotset ARC"):
        assert 10 < found[name].plain <= found[name].worst < 400


def test_a_failing_measurement_gives_the_reason():
    client = ALONE.named("dict")
    broken = type(client)("no such client", "none", dict)
    broken.rival = "dict"
    assert "no such client" in memory.footprint([broken], 10, rounds=1)["no such client"]


def test_memory_bars_take_the_worse_of_plain_and_churned():
    figures = {
        "hotset LRU": memory.Footprint(40.0, 45.0, 10),
        "hotset LRU + ttl": memory.Footprint(50.0, 62.0, 10),
        "hotset LFU": memory.Footprint(57.0, 59.0, 10),
        "hotset ARC": "no figure: killed",
    }
    outcomes = {(one.entrant, one.limit): one.outcome for one in memory.judge(figures, ALONE.clients)}
    assert outcomes["hotset LRU", "<= 46 bytes"] == "met"
    assert outcomes["hotset LRU + ttl", "<= 16 bytes more"] == "missed"
    assert outcomes["hotset LFU", "<= 58 bytes"] == "missed"
    assert outcomes["hotset ARC", "<= 66 bytes"] == "not measured"


def test_resident_memory_grows_with_what_is_held():
    before = memory.resident_bytes()
    held = bytearray(64 << 20)
    held[::4096] = b"x" * len(held[::4096])
    assert memory.resident_bytes() - before > 32 << 20


# Latency, replay, hit ratio


def test_latency_has_ordered_percentiles():
    found = latency.latency([ALONE.named("dict"), ALONE.named("hotset TinyLFU")], 200, 2000, rounds=2, seed=1)
    for by_kind in found.values():
        for spread in by_kind.values():
            assert 0 < spread.p50 <= spread.p99 <= spread.p999 <= spread.slowest
    assert sum(spread.operations for spread in found["dict"].values()) == 2000
    assert latency.clock_cost() > 0


def test_replay_speed_covers_every_policy_and_capacity():
    figures = replay.speed(TINY, seed=1)
    assert len(figures) == len(replay.POLICIES) * 4
    assert all(figure.nanoseconds > 0 and 0 <= figure.hit_ratio <= 1 for figure in figures)
    assert [verdict.entrant for verdict in replay.judge(figures, TINY)] == ["replay lru", "replay tinylfu"]


def test_hit_ratios_of_replay_and_of_a_driven_cache_agree():
    work = workloads.generated("scan-mix", 4000, seed=1)
    ours = [ALONE.named("hotset LRU"), ALONE.named("hotset LFU"), ALONE.named("hotset FIFO")]
    cells = hit_ratio.table(work, ["lru", "lfu", "fifo"], ours)
    assert cells
    for cell in cells:
        for policy, name in (("lru", "hotset LRU"), ("lfu", "hotset LFU"), ("fifo", "hotset FIFO")):
            assert cell.ratios[f"hotset {policy}"] == pytest.approx(cell.ratios[name], abs=1e-12)
    assert 0 < hit_ratio.means(cells)["hotset lru"] < 1


def test_a_folder_of_traces_is_read_in_order(tmp_path):
    for name in ("b", "a"):
        np.savez(tmp_path / f"{name}.npz", keys=np.arange(50))
    assert [work.name for work in hit_ratio.workloads(tmp_path, 20, seed=1)] == ["a", "b"]
    assert [len(work.ids) for work in hit_ratio.workloads(tmp_path, 20, seed=1)] == [20, 20]


# The scripts


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the scripts are not part of the wheel")
@pytest.mark.parametrize(
    "command",
    [
        ["throughput.py", "--tiny", "--rows", "hit-str-hot,replay"],
        ["memory.py", "--entries", "500", "--rounds", "1"],
        ["latency.py", "--capacity", "200", "--operations", "2000", "--rounds", "1"],
        ["hit_ratio.py", "--requests", "3000"],
    ],
    ids=lambda command: command[0],
)
def test_a_script_runs_and_writes_json(tmp_path, command):
    out = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / command[0]), *command[1:], "--rivals", "none", "--json", str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"hotset {hotset.__version__}" in done.stdout
    assert out.stat().st_size > 100


# The scripts


@pytest.mark.skipif(not BENCHMARKS.exists(), reason="a copied tests folder has no benchmarks beside it")
@pytest.mark.parametrize(
    "name", ["disk", "hit_ratio", "latency", "memory", "throughput", "tiered", "warming", "writes"]
)
def test_every_script_begins(name):
    """What it imports is there; some of them nothing else runs."""
    if name == "disk" and sys.platform == "win32":
        pytest.skip("Windows has no flock, and so no DiskTier")
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
