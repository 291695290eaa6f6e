"""How long something takes: a histogram of fixed size whose buckets grow by 2 % each.

A duration is kept as the number of its bucket, so the mean and the percentiles are within 1 % of the truth, from 100
ns to 20 minutes; what is shorter or longer counts as the shortest or longest. `record` takes no lock and allocates
nothing: with the GIL no count is lost; without it one may be, when two threads meet in the same bucket. 9 kB a
histogram.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import mul
from typing import TYPE_CHECKING, Final

from hotset._wire import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Latencies", "Latency"]

_SHORTEST: Final = 1e-7
_LONGEST: Final = 1200.0
_PER_E_FOLD: Final = 1 / math.log(1.02)
_BUCKETS: Final = int(math.log(_LONGEST / _SHORTEST) * _PER_E_FOLD) + 1
_SCALE: Final = 1 / _SHORTEST
# What a bucket stands for: its geometric middle.
_MIDDLES: Final = tuple(_SHORTEST * math.exp((bucket + 0.5) / _PER_E_FOLD) for bucket in range(_BUCKETS))


@dataclass(frozen=True, slots=True)
class Latency:
    """How often something was timed, and how long it took: mean and percentiles in seconds, within 1 %."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p99: float = 0.0


class Latencies:
    """A histogram of durations. Any thread may record at any time.

    `record` counts one duration, in seconds. Negative ones, of a clock that was set back, count as the shortest; NaN is
    ignored.
    """

    __slots__ = ("_counts", "record")

    def __init__(self) -> None:
        self._counts = Histogram(_BUCKETS, _SCALE, _PER_E_FOLD)
        self.record: Callable[[float], None] = self._counts.add

    def snapshot(self) -> Latency:
        """Sum up what was recorded; all zero if nothing was. O(buckets)."""
        counts = self._counts.counts()
        total = sum(counts)
        if total == 0:
            return Latency()
        mean = sum(map(mul, counts, _MIDDLES)) / total
        return Latency(total, mean, _percentile(counts, total, 50), _percentile(counts, total, 99))


def _percentile(counts: list[int], total: int, percent: int) -> float:
    """Return the least duration that so many percent of all do not exceed (nearest rank)."""
    wanted = -(-total * percent // 100)
    for count, middle in zip(counts, _MIDDLES, strict=True):
        wanted -= count
        if wanted <= 0:
            return middle
    raise AssertionError("unreachable: the counts add up to the total")
