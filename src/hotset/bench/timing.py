"""The race: how a row of figures is measured.

Each entrant runs in several rounds; in a round the entrants come in random order, and each builds fresh
objects (cache and keys), because at 100k entries the placement in memory alone moves a median by a factor
of two. Within a round it times a few laps; the probe order is shuffled before each lap, and other keys
warm the cache up, because a fixed order is learnt by the processor. The garbage collector is off while
entrants run. A figure is the median over the rounds of the median lap; the for-loop is included (4-5 ns).
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Lap = tuple[Callable[[], object], int]
Advance = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entrant:
    """Who takes part in a row; `laps` builds fresh objects, warms up and yields `(call, operations)`."""

    name: str
    laps: Callable[[np.random.Generator], Iterator[Lap]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One entrant's result in nanoseconds an operation: the median, and the span of the rounds."""

    median: float
    fastest: float
    slowest: float
    rounds: int

    def as_dict(self) -> dict[str, float]:
        """Return the figure for JSON."""
        return {
            "median_ns": round(self.median, 3),
            "fastest_ns": round(self.fastest, 3),
            "slowest_ns": round(self.slowest, 3),
            "rounds": self.rounds,
        }


# Wall time is what a user waits for. The time of the process leaves out what other processes take away, which
# is the better guide on a busy machine; both count a library's own threads.
CLOCKS: dict[str, Callable[[], int]] = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}


def race(
    entrants: Sequence[Entrant], rounds: int, seed: int, advance: Advance | None = None, clock: str = "wall"
) -> dict[str, Figure]:
    """Time all entrants against each other; the result is keyed by name, in the order given."""
    samples: dict[str, list[float]] = {entrant.name: [] for entrant in entrants}
    order = random.Random(seed)
    was_enabled = gc.isenabled()
    for number in range(rounds):
        for entrant in order.sample(list(entrants), len(entrants)):
            if advance is not None:
                advance(entrant.name)
            # The same keys and probes for every entrant of the round.
            rng = np.random.default_rng([seed, number])
            gc.collect()
            gc.disable()
            try:
                samples[entrant.name].append(statistics.median(_times(entrant.laps(rng), CLOCKS[clock])))
            finally:
                if was_enabled:
                    gc.enable()
    return {
        name: Figure(statistics.median(times), min(times), max(times), len(times)) for name, times in samples.items()
    }


def _times(laps: Iterator[Lap], clock: Callable[[], int]) -> Iterator[float]:
    for call, operations in laps:
        start = clock()
        call()
        stop = clock()
        yield (stop - start) / operations


def call_each(call: Callable[[Any], Any], keys: Sequence[Any]) -> None:
    """Call once a key; the timed loop of hits and memoized calls."""
    for key in keys:
        call(key)


def shuffled(items: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """Return the items in a new random order."""
    return [items[index] for index in rng.permutation(len(items)).tolist()]
