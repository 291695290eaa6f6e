"""What a tiered cache says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotset.tiered.latency import Latency

__all__ = ["BehindStats", "Explanation", "LevelStats", "LevelView", "TieredStats"]


@dataclass(frozen=True, slots=True)
class LevelStats:
    """One level since the cache was made. Latencies in seconds a round trip; those of memory are of its slower path."""

    name: str
    reads: int  # names looked up
    hits: int  # that could be served
    misses: int
    errors: int  # round trips that failed, timeouts among them
    timeouts: int
    writes: int
    fills: int
    fills_refused: int  # because the name had changed meanwhile
    refused: dict[str, int]  # entries that could not be used, by reason
    latency: Latency
    state: str  # "closed": in use; "open" and "half-open": its breaker; "off": its switch
    # Whether it tells of changes by others now: "alive", or "lost", when memory is served unchecked for `max_staleness`
    # only; "" if it never does.
    stream: str = ""

    @property
    def hit_rate(self) -> float:
        """Hits among the reads of this level, 0 without reads."""
        return self.hits / self.reads if self.reads else 0.0


@dataclass(frozen=True, slots=True)
class BehindStats:
    """The writes behind of a cache since it was made."""

    depth: int  # keys of which the origin does not have the latest write, dead letters apart
    lag: float  # seconds since the oldest of these was made
    dead: int  # dead letters
    acknowledged: int
    coalesced: int  # writes that a later one of the same key has replaced before the origin had them
    saved: int  # writes that the origin has taken
    batches: int  # calls in which it did
    failures: int  # calls that failed
    given_up: int  # writes that became dead letters
    commits: int  # of the journal, for all that was acknowledged


@dataclass(frozen=True, slots=True)
class TieredStats:
    """A whole cache since it was made."""

    name: str
    requests: int
    levels: tuple[LevelStats, ...]
    loads: int
    load_failures: int
    load_latency: Latency
    stale_served: int
    negative_served: int
    refreshes: int  # loads in the background
    recovery: dict[str, int] = field(default_factory=dict)
    behind: BehindStats | None = None  # None: nothing is written behind

    @property
    def response_time(self) -> float:
        """Expected seconds a request: for each level the share of requests that reach it, times its latency."""
        if not self.requests:
            return 0.0
        total = 0.0
        reach = 1.0
        for level in self.levels:
            total += reach * level.latency.mean
            reach *= 1.0 - level.hit_rate
        return total + min(1.0, self.loads / self.requests) * self.load_latency.mean


@dataclass(frozen=True, slots=True)
class LevelView:
    """What a level has under one key. Times in seconds."""

    level: str
    state: str  # "fresh", "stale" (kept for fail-safe), "absent" (known not to exist), "nothing", "unavailable"
    why: str = ""
    age: float | None = None
    life: float | None = None
    keep: float | None = None
    version: str | None = None
    writer: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a key stands."""

    key: Any
    name: str
    served_by: str | None  # the level that a read would be answered from, None: the loader or nobody
    levels: tuple[LevelView, ...]
    loading: bool

    def __str__(self) -> str:
        lines = [f"{self.key!r}: " + (f"served by {self.served_by}" if self.served_by else "not in any level")]
        for view in self.levels:
            line = f"  {view.level}: {view.state}"
            if view.life is not None and view.age is not None:
                line += f", {view.age:.3g} s old, {view.life:.3g} s left, written by {view.writer or 'unknown'}"
            lines.append(line + (f" ({view.why})" if view.why else ""))
        if self.loading:
            lines.append("  a load is under way")
        return "\n".join(lines)
