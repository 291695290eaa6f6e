"""What a stretch of the run has seen: counts, and times of the reads. Two stretches add up to one.

A window is the difference of two snapshots of the cache's own statistics, with what the threads have counted and
timed between them.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

__all__ = ["Level", "Snapshot", "Timings", "Window", "total"]

_SHORTEST = 1e-8
_BUCKETS_A_DECADE = 40  # 6 % wide
_BUCKETS = 11 * _BUCKETS_A_DECADE


@dataclass(frozen=True, slots=True)
class Level:
    """One level since the cache was made. Times in seconds; `state` is that of its breaker."""

    name: str
    reads: int
    hits: int
    timed: int
    mean: float
    p50: float
    p99: float
    errors: int
    timeouts: int
    fills: int
    fills_refused: int
    state: str

    @property
    def hit_rate(self) -> float:
        """Hits as a share of the reads that reached this level."""
        return self.hits / self.reads if self.reads else 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cache's statistics at one moment. `origin` is a level too: its reads are loads, its hits the good ones."""

    levels: tuple[Level, ...]
    origin: Level
    stale_served: int
    response_time: float

    @property
    def all(self) -> tuple[Level, ...]:
        """The levels and the origin."""
        return (*self.levels, self.origin)


class Timings:
    """How long the reads took: exact count and sum, and percentiles to within 6 %, in constant memory."""

    __slots__ = ("buckets", "count", "sum")

    def __init__(self, seconds: Sequence[float] = ()) -> None:
        times = np.asarray(seconds, np.float64)
        self.count = len(times)
        self.sum = float(times.sum())
        places = np.log10(np.maximum(times, _SHORTEST) / _SHORTEST) * _BUCKETS_A_DECADE
        self.buckets: npt.NDArray[np.int64] = np.bincount(
            np.minimum(places.astype(np.int64), _BUCKETS - 1), minlength=_BUCKETS
        )

    def __add__(self, other: Timings) -> Timings:
        both = Timings()
        both.count, both.sum = self.count + other.count, self.sum + other.sum
        both.buckets = self.buckets + other.buckets
        return both

    @property
    def mean(self) -> float:
        """Seconds, NaN if nothing was timed."""
        return self.sum / self.count if self.count else math.nan

    def quantile(self, share: float) -> float:
        """Return seconds that this share of the reads did not exceed, NaN if nothing was timed."""
        if not self.count:
            return math.nan
        place = int(np.searchsorted(np.cumsum(self.buckets), share * self.count))
        middle: float = _SHORTEST * 10 ** ((min(place, _BUCKETS - 1) + 0.5) / _BUCKETS_A_DECADE)
        return middle


@dataclass(frozen=True, slots=True)
class Window:
    """Counts of a stretch of `seconds`; the tuples have an item for each level and a last one for the origin."""

    phase: str
    start: float
    seconds: float
    reads: int
    writes: int
    failures: int
    violations: int
    answered: tuple[int, ...]
    timed: tuple[int, ...]
    spent: tuple[float, ...]
    level_reads: tuple[int, ...]
    queries: int
    stale_served: int
    states: tuple[str, ...]
    measured: Timings = field(repr=False)

    def __add__(self, other: Window) -> Window:
        """Add a later stretch; states are those at its end."""
        return Window(
            phase=self.phase if self.phase == other.phase else "all",
            start=self.start,
            seconds=self.seconds + other.seconds,
            reads=self.reads + other.reads,
            writes=self.writes + other.writes,
            failures=self.failures + other.failures,
            violations=self.violations + other.violations,
            answered=tuple(map(operator.add, self.answered, other.answered)),
            timed=tuple(map(operator.add, self.timed, other.timed)),
            spent=tuple(map(operator.add, self.spent, other.spent)),
            level_reads=tuple(map(operator.add, self.level_reads, other.level_reads)),
            queries=self.queries + other.queries,
            stale_served=self.stale_served + other.stale_served,
            states=other.states,
            measured=self.measured + other.measured,
        )

    @property
    def shares(self) -> tuple[float, ...]:
        """Which part of the reads each level answered, the origin last.

        They add up to less than 1 where reads have waited for the load of another one.
        """
        return tuple(count / self.reads if self.reads else 0.0 for count in self.answered)

    @property
    def hit_rates(self) -> tuple[float, ...]:
        """Which part of the reads that reached a level it answered, NaN if none did."""
        return tuple(
            hits / reads if reads else math.nan
            for hits, reads in zip(self.answered[:-1], self.level_reads[:-1], strict=True)
        )

    @property
    def latencies(self) -> tuple[float, ...]:
        """Mean seconds of an answer of each level, the origin last; NaN where nothing was timed."""
        return tuple(spent / timed if timed else math.nan for spent, timed in zip(self.spent, self.timed, strict=True))

    @property
    def formula(self) -> float:
        """The response time by the formula, in seconds: the sum over the levels of the share that gets there x latency.

        A level that is kept out by its breaker costs nothing: it is looked at, and no round trip is timed.
        """
        if not self.reads:
            return math.nan
        visits = map(min, (*self.level_reads[:-1], self.answered[-1]), self.timed)
        pairs = zip(visits, self.latencies, strict=True)
        return sum(count * latency for count, latency in pairs if count) / self.reads

    @property
    def read_rate(self) -> float:
        """Reads a second."""
        return self.reads / self.seconds if self.seconds else 0.0

    @property
    def query_rate(self) -> float:
        """Queries a second that reads cost the origin, as the origin counts them."""
        return self.queries / self.seconds if self.seconds else 0.0

    @property
    def spared(self) -> float:
        """Which part of the reads cost the origin no query."""
        return 1.0 - self.queries / self.reads if self.reads else 0.0


def between(
    before: Snapshot,
    after: Snapshot,
    *,
    phase: str,
    start: float,
    seconds: float,
    tallied: dict[str, int],
    measured: Timings,
) -> Window:
    """Return what happened between two snapshots; `tallied` has what the threads counted, by the name of the field."""
    pairs = list(zip(before.all, after.all, strict=True))
    return Window(
        phase=phase,
        start=start,
        seconds=seconds,
        answered=tuple(new.hits - old.hits for old, new in pairs),
        timed=tuple(new.timed - old.timed for old, new in pairs),
        spent=tuple(new.timed * new.mean - old.timed * old.mean for old, new in pairs),
        level_reads=tuple(new.reads - old.reads for old, new in pairs),
        stale_served=after.stale_served - before.stale_served,
        states=tuple(level.state for level in after.levels),
        measured=measured,
        **tallied,
    )


def total(windows: Iterable[Window]) -> Window | None:
    """Add up windows in the order of time; None if there are none."""
    whole = None
    for window in windows:
        whole = window if whole is None else whole + window
    return whole
