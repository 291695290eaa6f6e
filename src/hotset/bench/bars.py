"""Bars: limits that figures are held against, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit on the ratio of one entrant to another, or to the fastest of several."""

    entrant: str
    against: tuple[str, ...]
    limit: float
    label: str = ""
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a bar: the limit in words, and the measured value (None: nothing to compare)."""

    entrant: str
    limit: str
    value: float | None
    met: bool | None

    @property
    def outcome(self) -> str:
        """Say "met", "missed" or "not measured"."""
        return "not measured" if self.met is None else "met" if self.met else "missed"

    def as_dict(self) -> dict[str, str | float | None]:
        """Return the verdict for JSON."""
        return {"entrant": self.entrant, "bar": self.limit, "value": self.value, "outcome": self.outcome}


def judge(bars: Sequence[Bar], figures: Mapping[str, float]) -> list[Verdict]:
    """Compare the figures with the bars."""
    verdicts = []
    for bar in bars:
        present = [name for name in bar.against if name in figures]
        ratio = met = None
        against = bar.label or ", ".join(bar.against)
        if present and bar.entrant in figures:
            best = min(present, key=lambda name: figures[name])
            ratio = figures[bar.entrant] / figures[best]
            met = ratio < bar.limit if bar.strict else ratio <= bar.limit
            against = f"{bar.label} ({best})" if bar.label else best
        limit = f"faster than {against}" if bar.strict else f"<= {bar.limit:g} x {against}"
        verdicts.append(Verdict(bar.entrant, limit, ratio, met))
    return verdicts
