"""A tier in its place in a cache: with its breaker, its switch and what is counted of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hotset._wire import Asker
from hotset.errors import CodecError, TierError, TierTimeout, TierUnavailable
from hotset.tiered.latency import Latencies
from hotset.tiered.stats import LevelStats

if TYPE_CHECKING:
    from hotset.tiered.breaker import Breaker
    from hotset.tiers.contract import Reading, Tier

__all__ = ["Level"]

_RECENT = 1 / 16  # the weight of the latest reading


class Level(Asker):
    """Asks a tier, unless its breaker or its switch (`on`) keeps it out, and keeps count."""

    tier: Tier
    breaker: Breaker
    latencies: Latencies

    def __init__(self, tier: Tier, breaker: Breaker) -> None:
        super().__init__(tier, breaker, Latencies())
        self.name = tier.name
        self.streams = bool(getattr(tier, "streams", False))  # whether it tells of changes by others
        self.stream = "lost" if self.streams else ""  # until it says that it is alive
        self.local = bool(getattr(tier, "local", False))  # whether it is of this host alone
        self.reads = self.hits = self.errors = self.timeouts = 0
        self.writes = self.fills = self.fills_refused = 0
        self.missing = 0.0  # the share of the latest readings that found nothing
        self.refused: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Level {self.name!r} {self.state}>"

    @property
    def state(self) -> str:
        """What keeps the tier out, or "closed"."""
        return self.breaker.state if self.on else "off"

    @property
    def described(self) -> str:
        """Its name, and what keeps the tier out if anything does."""
        if not self.on:
            return f"{self.name} (off)"
        state = self.breaker.state
        return self.name if state == "closed" else f"{self.name} (breaker {state})"

    async def aask(self, operation: str, *arguments: Any, **named: Any) -> Any:
        """Have the tier do something, as `ask`, on the running loop. Raises TierError."""
        if not self.on or not self.breaker.closed:
            self._let_through()
        start = time.perf_counter()
        try:
            answer = await getattr(self.tier, f"a{operation}")(*arguments, **named)
        except BaseException as error:
            self._failed(error)
            raise
        self.latencies.record(time.perf_counter() - start)
        self.breaker.success()
        return answer

    def _let_through(self) -> None:
        """Raise TierUnavailable if switch or breaker let no round trip through."""
        if not self.on:
            raise TierUnavailable(f"{self.name} is switched off")
        if not self.breaker.allow():
            raise TierUnavailable(f"{self.name} is kept out by its breaker")

    def _failed(self, error: BaseException) -> None:
        """Tell the breaker what a round trip came to. Raises TierError for what no tier may raise."""
        if isinstance(error, TierError):
            self.errors += 1
            self.timeouts += isinstance(error, TierTimeout)
            self.breaker.failure()
        elif isinstance(error, CodecError):
            self.breaker.cancelled()  # the value is to blame, not the tier
        elif isinstance(error, Exception):
            # A tier that breaks its contract is treated as a tier that failed, but not silently.
            self.errors += 1
            self.breaker.failure()
            raise TierError(f"{self.name} raised {type(error).__name__}: {error}") from error
        else:
            self.breaker.cancelled()

    def note(self, reading: Reading) -> None:
        """Count what a reading found."""
        if reading.opened is not None:
            reads = hits = len(reading.opened.values)
        else:
            reads, hits = len(reading.found), 0
            for entry, _, _ in reading.found:
                if entry is not None and entry.life > 0:
                    hits += 1
        self.reads += reads
        if hits:
            self.hits += hits
        if reads:
            self.missing += _RECENT * (1 - hits / reads - self.missing)
        if reading.refused:
            for reason, count in reading.refused.items():
                self.refused[reason] = self.refused.get(reason, 0) + count

    def stats(self) -> LevelStats:
        """Return what has been counted."""
        return LevelStats(
            self.name,
            self.reads,
            self.hits,
            self.reads - self.hits,
            self.errors,
            self.timeouts,
            self.writes,
            self.fills,
            self.fills_refused,
            dict(self.refused),
            self.latencies.snapshot(),
            self.state,
            self.stream,
        )
