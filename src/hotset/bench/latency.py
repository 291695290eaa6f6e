"""Percentiles of single operations in a mixed workload, growth pauses included.

Every operation is timed on its own with `time.perf_counter_ns`, whose own cost is part of the figure and is
reported beside it. The cache starts empty, so the resizes of its table fall into the maximum.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hotset.bench.rows import int_keys
from hotset.lab.generators import zipf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hotset.bench.clients import Client
    from hotset.bench.timing import Advance

PERCENTILES = (50.0, 99.0, 99.9)
_READ, _WRITE = 0, 1


@dataclass(frozen=True, slots=True)
class Spread:
    """Nanoseconds of the operations of one kind: p50, p99, p99.9 and the slowest; medians over the rounds."""

    p50: float
    p99: float
    p999: float
    slowest: float
    operations: int

    def as_dict(self) -> dict[str, float]:
        """Return the spread for JSON."""
        return {
            "p50": self.p50,
            "p99": self.p99,
            "p99.9": self.p999,
            "max": self.slowest,
            "operations": self.operations,
        }


def clock_cost() -> float:
    """Return the median nanoseconds between two readings of the clock."""
    clock = time.perf_counter_ns
    readings = [clock() for _ in range(20_000)]
    return float(np.median(np.diff(np.array(readings))))


def workload(keys: int, operations: int, rng: np.random.Generator) -> tuple[list[int], list[Any]]:
    """Return kinds and keys: 80 % reads by zipf(1.0), a tenth overwrites, a tenth sets of a new key."""
    names = int_keys(rng, keys + operations)
    draws = rng.random(operations)
    ids = zipf(keys, operations, rng)
    fresh = draws >= 0.9
    ids[fresh] = keys + np.arange(int(fresh.sum()))
    kinds = np.where(draws < 0.8, _READ, _WRITE)
    return kinds.tolist(), [names[number] for number in ids.tolist()]


def _timed(
    get: Callable[[Any], Any],
    put: Callable[[Any, Any], Any],
    kinds: Sequence[int],
    keys: Sequence[Any],
    out: list[int],
) -> None:
    clock = time.perf_counter_ns
    for index, (kind, key) in enumerate(zip(kinds, keys, strict=True)):
        if kind:
            start = clock()
            put(key, key)
            out[index] = clock() - start
        else:
            start = clock()
            get(key)
            out[index] = clock() - start


def _spread(times: npt.NDArray[np.int64]) -> tuple[float, float, float, float]:
    p50, p99, p999 = np.percentile(times, PERCENTILES).tolist()
    return p50, p99, p999, float(times.max())


def latency(
    clients: Sequence[Client],
    capacity: int,
    operations: int,
    rounds: int,
    seed: int,
    advance: Advance | None = None,
) -> dict[str, dict[str, Spread]]:
    """Time the same operations on fresh caches of every client, in random order; reads and writes apart."""
    order = random.Random(seed)
    samples: dict[str, dict[str, list[tuple[float, float, float, float]]]] = {
        client.name: {"get": [], "set": []} for client in clients
    }
    counts = {"get": 0, "set": 0}
    was_enabled = gc.isenabled()
    for number in range(rounds):
        kinds, keys = workload(2 * capacity, operations, np.random.default_rng([seed, number]))
        reads = np.array(kinds) == _READ
        counts = {"get": int(reads.sum()), "set": int((~reads).sum())}
        for client in order.sample(list(clients), len(clients)):
            if advance is not None:
                advance(client.name)
            out = [0] * operations
            get, put = client.operations(client.make(capacity))
            gc.collect()
            gc.disable()
            try:
                _timed(get, put, kinds, keys, out)
            finally:
                if was_enabled:
                    gc.enable()
            times = np.array(out)
            samples[client.name]["get"].append(_spread(times[reads]))
            samples[client.name]["set"].append(_spread(times[~reads]))
    return {
        name: {kind: _median(rows, counts[kind]) for kind, rows in by_kind.items()} for name, by_kind in samples.items()
    }


def _median(rows: Sequence[tuple[float, float, float, float]], operations: int) -> Spread:
    p50, p99, p999, slowest = (statistics.median(column) for column in zip(*rows, strict=True))
    return Spread(p50, p99, p999, slowest, operations)
