"""Durations as people write them: a number of seconds, a timedelta, or text such as "90s", "1h30m" and "never"."""

from __future__ import annotations

import datetime
import math
import re
import reprlib
from fractions import Fraction
from numbers import Real
from typing import Final, TypeAlias

__all__ = ["Duration", "finite", "seconds"]

Duration: TypeAlias = float | datetime.timedelta | str

# From the longest to the shortest, the order in which a text names them.
_UNITS: Final = {
    "w": Fraction(604_800),
    "d": Fraction(86_400),
    "h": Fraction(3_600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 1_000),
    "us": Fraction(1, 1_000_000),
}
_ORDER: Final = tuple(_UNITS)
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?([a-z]+) ?")
_FOREVER: Final = ("inf", "never")
# Longer text is no duration, and Python's own bound on the digits of a number is out of reach.
_LONGEST_TEXT: Final = 100


def seconds(value: Duration, *, zero: bool = False, name: str = "a duration") -> float:
    """Return a duration in seconds; `math.inf` for no end.

    Numbers are seconds. Text is one or more numbers with units (w, d, h, m, s, ms, us), the longest unit first and
    each at most once, spaces between them allowed: "90s", "1h30m", "1.5h", "2d 12h", "250ms"; or "inf" or "never".
    Zero is refused unless `zero` is true.

    Raises TypeError for other types (a bool is no duration) and ValueError for what is negative, NaN, zero or not
    understood; the message begins with `name`, the option that the value was given for.

    >>> seconds("1h30m"), seconds("250ms"), seconds("never")
    (5400.0, 0.25, inf)
    """
    if isinstance(value, datetime.timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        result = _parse(value, name)
    elif isinstance(value, Real) and not isinstance(value, bool):
        try:
            result = float(value)
        except OverflowError:
            raise ValueError(f"{name} is beyond all bounds: {reprlib.repr(value)}") from None
    else:
        raise TypeError(f"{name} must be seconds, a timedelta or text such as '1h30m', not {reprlib.repr(value)}")
    if not result >= 0:  # NaN is neither
        raise ValueError(f"{name} must not be negative or NaN: {reprlib.repr(value)}")
    if result == 0 and not zero:
        raise ValueError(f"{name} must be more than zero: {reprlib.repr(value)}")
    return result + 0.0  # no negative zero


def finite(value: Duration, *, name: str = "a duration") -> float:
    """Return a duration in seconds, as `seconds` does, that is neither zero nor endless; else raise ValueError."""
    result = seconds(value, name=name)
    if result == math.inf:
        raise ValueError(f"{name} must have an end: {reprlib.repr(value)}")
    return result


def _parse(text: str, name: str) -> float:
    """Read a duration from text."""
    plain = text.strip().lower()
    if plain in _FOREVER:
        return math.inf
    total = Fraction(0)
    position, rank = 0, -1
    while position < len(plain) <= _LONGEST_TEXT:
        part = _PART.match(plain, position)
        if part is None or part[2] not in _UNITS or _ORDER.index(part[2]) <= rank:
            break
        rank = _ORDER.index(part[2])
        total += Fraction(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not plain or position < len(plain):
        raise ValueError(
            f"{name} is not understood: {reprlib.repr(text)}; write text such as '90s', '1h30m', '250ms' or 'never' "
            f"(units, the longest first: {', '.join(_ORDER)})"
        )
    return float(total)
