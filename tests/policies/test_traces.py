"""Real traces: the engine against the oracles, the reference table and the ARC paper.

The traces are no part of the package. They are looked for in HOTSET_TRACES, or beside the checkout.
"""

import csv
import functools
import json
import os
import pathlib
import subprocess
import sys

import pytest
from oracles import EFFICIENT, count_hits

import hotset

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRACES = pathlib.Path(os.environ.get("HOTSET_TRACES") or ROOT.parent / "shared" / "traces")
REFERENCE = TRACES.parent / "reference" / "hit_ratios.csv"
SCORE = TRACES.parent / "tools" / "score_hit_ratio.py"

NAMES = (
    "2_pools",
    "OLTP",
    "P3",
    "adaptsize",
    "backf",
    "cloudphysics_sample",
    "cpp",
    "cs",
    "gcc",
    "gli",
    "gzip",
    "loop",
    "multi1",
    "multi2",
    "multi3",
    "sprite",
    "web07",
)
SIMULATED = {"sieve": "Sieve", "slru": "SLRU", "s3fifo": "S3FIFO", "twoq": "TwoQ", "lirs": "LIRS"}  # as the table says
LONG = {"P3"}  # seconds a policy in plain Python: one capacity only
ARC_PAPER = {1000: 38.93, 2000: 46.08, 5000: 55.25, 10000: 61.87, 15000: 65.40}  # OLTP, table 5 of the paper, percent

pytestmark = pytest.mark.skipif(not TRACES.is_dir(), reason=f"no traces in {TRACES}; set HOTSET_TRACES")


@functools.lru_cache(maxsize=1)
def load(name):
    """Keys of a trace as an array; the last one is kept, because the tests go trace by trace."""
    import numpy as np

    path = TRACES / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"no trace {path}")
    return np.ascontiguousarray(np.load(path)["keys"])


@functools.lru_cache(maxsize=1)
def as_list(name):
    """The same as plain integers."""
    return load(name).tolist()


@functools.lru_cache(maxsize=1)
def reference():
    """Every row of the reference table."""
    if not REFERENCE.exists():
        pytest.skip(f"no reference table {REFERENCE}")
    with REFERENCE.open(newline="") as file:
        return list(csv.DictReader(file))


@functools.lru_cache(maxsize=1)
def table():
    """{(trace, size): hit ratio of LRU as printed}."""
    return {
        (row["trace"], int(row["cache_size"])): row["hit_ratio"]
        for row in reference()
        if (row["policy"], row["engine"], row["size_unit"]) == ("LRU", "libcachesim-0.3.5", "objects")
    }


def capacities(name):
    """A small and a large capacity of a trace, in distinct keys; one for the long ones."""
    distinct = int(load(name).max()) + 1
    return [distinct // 20] if name in LONG else [max(4, distinct // 100), distinct // 8]


@pytest.mark.parametrize("name", NAMES)
def test_lru_is_the_reference_table(name):
    """To the last digit that the table prints."""
    sizes = {size: ratio for (trace, size), ratio in table().items() if trace == name}
    assert sizes
    for size, ratio in sizes.items():
        assert f"{hotset.replay('lru', size, load(name)).hit_ratio:.6f}" == ratio, size


@pytest.mark.parametrize("policy", EFFICIENT)
@pytest.mark.parametrize("name", NAMES)
def test_replay_is_the_oracle(name, policy):
    for capacity in capacities(name):
        expected = count_hits(EFFICIENT[policy](capacity), capacity, as_list(name))
        assert hotset.replay(policy, capacity, load(name)).hits == expected, capacity


@pytest.mark.parametrize("policy", [policy for policy in hotset.POLICIES if policy != "rr"])
@pytest.mark.parametrize("name", NAMES)
def test_replay_is_the_cache(make, name, policy):
    capacity = capacities(name)[-1]
    cache = make(hotset.POLICIES[policy], capacity)
    get, put = cache.get, cache.set
    for key in as_list(name):
        if get(key) is None:
            put(key, True)
    assert cache.stats().hits == hotset.replay(policy, capacity, load(name)).hits
    cache._validate()


@pytest.mark.parametrize("name", ["2_pools", "OLTP", "sprite", "web07"])
def test_rr_is_near_fifo(name):
    """Random replacement has no oracle; in the mean it hits what FIFO hits, give or take."""
    capacity = capacities(name)[-1]
    random_, fifo = (hotset.replay(policy, capacity, load(name)).hit_ratio for policy in ("rr", "fifo"))
    assert random_ == pytest.approx(fifo, abs=0.05)


@pytest.mark.parametrize("capacity", ARC_PAPER)
def test_arc_is_the_paper(capacity):
    ratio = hotset.replay("arc", capacity, load("OLTP")).hit_ratio
    assert 100 * ratio == pytest.approx(ARC_PAPER[capacity], abs=0.1)


@pytest.mark.parametrize("policy", SIMULATED)
def test_the_better_simulator_is_met(policy):
    """Within 0.3 points of the better of libCacheSim and Caffeine's simulator, or above, in 90 % of the cells."""
    cells = {}
    for row in reference():
        if row["policy"] == SIMULATED[policy] and row["size_unit"] == "objects" and row["trace"] in NAMES:
            cell = row["trace"], int(row["cache_size"])
            cells[cell] = max(cells.get(cell, 0.0), float(row["hit_ratio"]))
    assert len(cells) == 97
    met = [hotset.replay(policy, size, load(name)).hit_ratio >= best - 0.003 for (name, size), best in cells.items()]
    assert sum(met) >= 0.9 * len(met)


@pytest.mark.parametrize("name", ["adaptsize", "cloudphysics_sample"])
def test_gdsf_is_the_simulator(name):
    """By sizes in bytes."""
    import numpy as np

    rows = [row for row in reference() if (row["policy"], row["trace"], row["size_unit"]) == ("GDSF", name, "bytes")]
    assert len(rows) == 6
    with np.load(TRACES / f"{name}.npz") as trace:
        keys, sizes = trace["keys"], trace["sizes"]
    for row in rows:
        ratio = hotset.replay("gdsf", int(row["cache_size"]), keys, sizes).hit_ratio
        assert ratio == pytest.approx(float(row["hit_ratio"]), abs=0.003)


def score(policy):
    """Return what the scoring tool says of a policy over all traces and capacities of the table."""
    if not SCORE.exists():
        pytest.skip(f"no scoring tool {SCORE}")
    process = subprocess.run(
        [sys.executable, SCORE, policy, "--json", "--traces", TRACES],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_tinylfu_scores():
    found = score("tinylfu")
    assert found["mean"] >= 45.6, found


def test_auto_scores():
    found = score("auto")
    assert found["mean"] >= 46.9, found
    assert found["gap"] >= 0.55, found
    assert found["near_best"] >= 0.60, found
    assert found["below_lru"] >= -4.2, found
