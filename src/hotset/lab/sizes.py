"""Sizes of caches as people write them: a share of the keys, a number of entries, bytes."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotset.lab.trace import Trace

__all__ = ["entries_of", "number_of", "sizes_of"]

_FORM = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(%|[kmgt]i?b?|b)?", re.IGNORECASE)
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def number_of(text: str, whole: float) -> float:
    """Return what `5%` (of the whole), `1000`, `10k`, `64MB` or `1GiB` stand for. Raises ValueError."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a size must be as 5%, 1000, 10k or 64MB, not {text!r}")
    number, unit = float(match[1]), (match[2] or "").lower()
    if unit == "%":
        return whole * number / 100
    return number * _UNITS.get(unit.removesuffix("b"), 1)


def entries_of(text: str, trace: Trace, *, weigh: bool = False) -> int:
    """Return a size in entries, or in bytes with `weigh`; a share is one of the distinct keys, and is at least 1.

    Raises ValueError for what is no size, for one of nothing, and for bytes where entries are counted.
    """
    if not weigh and text.strip().lower().endswith("b"):
        raise ValueError(f"{text!r} is in bytes, but entries are counted: use --weigh")
    # A sample stands for more keys than it has.
    whole = trace.volume / trace.rate if weigh else trace.distinct / trace.rate
    found = number_of(text, whole)
    if not found > 0 or math.isinf(found):
        raise ValueError(f"a size must be above 0, not {text!r}")
    return max(1, round(found))


def sizes_of(text: str, trace: Trace, *, weigh: bool = False) -> list[int]:
    """Return sizes that are separated by commas, each once, the smallest first. Raises ValueError, as entries_of."""
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError(f"expected sizes separated by commas, not {text!r}")
    return sorted({entries_of(part, trace, weigh=weigh) for part in parts})
