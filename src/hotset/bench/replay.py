"""The speed of `hotset.replay` on a zipf(1.0) trace, and how its cost moves with the capacity."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import hotset
from hotset.bench.bars import Verdict
from hotset.bench.timing import CLOCKS
from hotset.lab.generators import zipf

if TYPE_CHECKING:
    from hotset.bench.rows import Sizes
    from hotset.bench.timing import Advance

POLICIES = ("lru", "lfu", "arc", "tinylfu", "fifo", "rr", "auto")
# Million requests a second at a capacity of 100k.
FLOORS = {"lru": 40.0, "tinylfu": 15.0}


@dataclass(frozen=True, slots=True)
class ReplayFigure:
    """One policy at one capacity: the median time a request, and the hit ratio."""

    policy: str
    capacity: int
    nanoseconds: float
    hit_ratio: float

    @property
    def millions(self) -> float:
        """Million requests a second."""
        return 1e3 / self.nanoseconds

    def as_dict(self) -> dict[str, float | str]:
        """Return the figure for JSON."""
        return {
            "policy": self.policy,
            "capacity": self.capacity,
            "ns_per_request": round(self.nanoseconds, 3),
            "million_requests_per_second": round(self.millions, 2),
            "hit_ratio": self.hit_ratio,
        }


def capacities(sizes: Sizes) -> list[int]:
    """Return the capacities from a hundredth of the standard one to ten times it: 1k to 1M."""
    return [max(2, sizes.capacity // 100), max(4, sizes.capacity // 10), sizes.capacity, 10 * sizes.capacity]


def steps(sizes: Sizes) -> int:
    """Return how many times `speed` will report progress."""
    return _rounds(sizes) * len(POLICIES) * len(capacities(sizes))


def _rounds(sizes: Sizes) -> int:
    return max(2, sizes.rounds // 2 + 1)


def speed(sizes: Sizes, seed: int, advance: Advance | None = None, clock: str = "wall") -> list[ReplayFigure]:
    """Time every policy at every capacity, in random order, each round on a trace of its own."""
    order, now = random.Random(seed), CLOCKS[clock]
    cells = [(policy, capacity) for policy in POLICIES for capacity in capacities(sizes)]
    times: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
    ratios: dict[tuple[str, int], float] = {}
    for number in range(_rounds(sizes)):
        keys = zipf(sizes.universe, sizes.replay, np.random.default_rng([seed, number]))
        for cell in order.sample(cells, len(cells)):
            policy, capacity = cell
            if advance is not None:
                advance(f"replay {policy} at {capacity:,}")
            start = now()
            found = hotset.replay(policy, capacity, keys)
            times[cell].append((now() - start) / len(keys))
            ratios[cell] = found.hits / found.requests
    return [ReplayFigure(*cell, statistics.median(times[cell]), ratios[cell]) for cell in cells]


def judge(figures: list[ReplayFigure], sizes: Sizes) -> list[Verdict]:
    """Hold the figures at the standard capacity against the floors."""
    at_standard = {figure.policy: figure.millions for figure in figures if figure.capacity == sizes.capacity}
    verdicts = []
    for policy, floor in FLOORS.items():
        found = at_standard.get(policy)
        limit = f">= {floor:g} M requests/s at {sizes.capacity:,}"
        verdicts.append(Verdict(f"replay {policy}", limit, found, None if found is None else found >= floor))
    return verdicts
