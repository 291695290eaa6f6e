"""How fast are replays and curves of a trace? Million requests a second, beside libCacheSim's.

python benchmarks/lab.py [--trace P3.npz] [--quick] [--seed N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hotset import POLICIES, replay
from hotset.lab import Trace, belady, lru_curve, read_trace, replay_all, sample_of
from hotset.lab.generators import zipf
from hotset.lab.replays import all_policies

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZES = (0.005, 0.01, 0.05, 0.1, 0.2, 0.5)


def best(run: Callable[[], object], rounds: int = 3) -> float:
    """Return the median of a few runs, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def libcachesim(trace: Trace, capacity: int) -> tuple[float, int] | None:
    """Return seconds and hits of libCacheSim's LRU, from the file format that it reads fastest."""
    try:
        import libcachesim as rival  # noqa: PLC0415 - optional
    except ImportError:
        return None
    record = np.dtype([("time", "<u4"), ("key", "<u8"), ("size", "<u4"), ("next", "<i8")])
    records = np.zeros(len(trace), record)
    records["key"] = trace.keys.astype(np.uint64) + 1
    records["size"] = 1
    records["next"] = -1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zipf.oracleGeneral.bin"
        records.tofile(path)
        times, ratio = [], 0.0
        for _ in range(3):
            reader = rival.TraceReader(trace=str(path), trace_type=rival.TraceType.ORACLE_GENERAL_TRACE)
            cache = rival.LRU(cache_size=capacity)
            start = time.perf_counter()
            ratio, _ = cache.process_trace(reader)
            times.append(time.perf_counter() - start)
    return statistics.median(times), round((1 - ratio) * len(trace))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="a trace for replays of all policies, and for curves"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    scale = 10 if args.quick else 1
    figures: dict[str, Any] = {}
    keys = zipf(1_000_000 // scale, 10_000_000 // scale, np.random.default_rng(args.seed))
    made, capacity = Trace.of("zipf", keys), 100_000 // scale
    for policy in POLICIES:
        figures[f"replay {policy}, M requests/s"] = len(keys) / best(lambda: replay(policy, capacity, keys)) / 1e6  # noqa: B023 - called here
    rival = libcachesim(made, capacity)
    if rival is not None:
        seconds, hits = rival
        figures["libcachesim lru, M requests/s"] = len(keys) / seconds / 1e6
        figures["lru, times libcachesim"] = figures["replay lru, M requests/s"] * seconds / len(keys) * 1e6
        figures["hits, more than libcachesim's"] = replay("lru", capacity, keys).hits - hits
    figures["exact curve of zipf, M requests/s"] = len(keys) / best(lambda: lru_curve(made)) / 1e6
    figures["belady of zipf, M requests/s"] = len(keys) / best(lambda: belady(made, capacity)) / 1e6
    if args.trace is not None:
        trace = read_trace(args.trace)
        figures["reading, M requests/s"] = len(trace) / best(lambda: read_trace(args.trace)) / 1e6
        figures["exact curve, M requests/s"] = len(trace) / best(lambda: lru_curve(trace)) / 1e6
        sizes = [max(1, round(trace.distinct * share)) for share in _SIZES]
        figures["all policies at six sizes, s"] = best(lambda: replay_all(trace, all_policies(), sizes), 1)
        exact = lru_curve(trace)
        errors = []
        for seed in range(6):
            sampled = lru_curve(sample_of(trace, rate=0.01, seed=seed))
            places = np.geomspace(1_000, trace.distinct, 100)
            errors.append(100 * float(np.mean([abs(exact.at(size) - sampled.at(size)) for size in places])))
        figures["error of a sample of 1 %, points: worst of six seeds"] = max(errors)
        figures["error of a sample of 1 %, points: median"] = statistics.median(errors)
    for name, figure in figures.items():
        print(f"{name:56} {figure:10.2f}")
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
