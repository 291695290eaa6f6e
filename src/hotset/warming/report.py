"""What a warming came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Outcome", "StrategyReport", "WarmingReport"]

Outcome = Literal["waiting", "running", "done", "failed", "late", "stopped"]


@dataclass(frozen=True, slots=True)
class StrategyReport:
    """One strategy: how far it came, in how many seconds, and what kept it from coming further.

    `outcome`: "done"; "failed", by `error`; "late", its time was up; "stopped", by a cancellation or Ctrl-C; before the
    end of the run also "waiting" and "running".
    """

    name: str
    outcome: Outcome
    items: int  # keys that can be served now; for a strategy of one's own, what it has counted
    loaded: int  # those of them that the origin was asked for
    missing: int  # keys that nobody has
    failed: int  # keys whose load failed
    duration: float
    error: BaseException | None = None  # if keys failed: the first one's

    @property
    def success(self) -> bool:
        """Whether it came to its end, and no key failed."""
        return self.outcome == "done" and self.error is None

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {
            "name": self.name,
            "success": self.success,
            "outcome": self.outcome,
            "items": self.items,
            "loaded": self.loaded,
            "missing": self.missing,
            "failed": self.failed,
            "seconds": round(self.duration, 6),
            "error": None if self.error is None else _in_words(self.error),
        }

    def __str__(self) -> str:
        counts = [f"{self.items:,} items"]
        counts += [f"{number:,} {what}" for number, what in self._rest() if number]
        text = f"{self.name}: {self.outcome}, {', '.join(counts)} in {self.duration:.3g} s"
        return text if self.error is None else f"{text}: {_in_words(self.error)}"

    def _rest(self) -> tuple[tuple[int, str], ...]:
        return (self.loaded, "loaded"), (self.missing, "missing"), (self.failed, "failed")


@dataclass(frozen=True, slots=True)
class WarmingReport:
    """All strategies of a run, in the order in which they were added."""

    strategies: tuple[StrategyReport, ...]
    duration: float

    @property
    def success(self) -> bool:
        """Whether all of them succeeded."""
        return all(one.success for one in self.strategies)

    @property
    def items(self) -> int:
        """The sum over the strategies."""
        return sum(one.items for one in self.strategies)

    def __getitem__(self, name: str) -> StrategyReport:
        for one in self.strategies:
            if one.name == name:
                return one
        raise KeyError(name)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {
            "success": self.success,
            "items": self.items,
            "seconds": round(self.duration, 6),
            "strategies": [one.as_dict() for one in self.strategies],
        }

    def __str__(self) -> str:
        return "\n".join(map(str, self.strategies))


def _in_words(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
