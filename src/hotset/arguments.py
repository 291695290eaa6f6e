"""What callers may pass to the engine, and what they are told otherwise."""

from __future__ import annotations

import array
import math
from datetime import timedelta
from numbers import Real
from typing import Any

__all__ = ["as_number", "bound_of", "check_construction", "check_life", "count_one", "sizes_of", "view_of", "worth_of"]

_MOST_WORTH = 3e38  # the engine keeps it in a float of 32 bits, where more would be infinite
_INTEGER_FORMATS = "bBhHiIlLqQnN"


def bound_of(maxsize: Any) -> float:
    """Maxsize as a float, infinite where it is too large for one."""
    if not isinstance(maxsize, (int, float, Real)):
        raise TypeError(f"maxsize must be a number (math.inf for no bound), got {maxsize!r}")
    try:
        bound = float(maxsize)
    except OverflowError:
        bound = math.inf if maxsize > 0 else -math.inf  # type: ignore[operator] # typeshed's Real compares with no int
    if not bound >= 0:
        raise ValueError(f"maxsize must be non-negative, got {maxsize!r}")
    return bound


def as_number(weight: float) -> float:
    """Return a whole weight as the int that it mostly was."""
    return int(weight) if weight.is_integer() else weight


def count_one(_value: object, /) -> int:
    """Return the size of a value in a cache that counts entries."""
    return 1


def check_life(name: str, life: Any) -> None:
    """Raise if a time to live or to idle is neither None, a positive number nor a positive timedelta."""
    if life is None:
        return
    if not isinstance(life, (int, float, timedelta, Real)):
        raise TypeError(f"{name} must be a number, a timedelta or None, got {life!r}")
    if not (life.total_seconds() if isinstance(life, timedelta) else life) > 0:  # type: ignore[operator] # as above
        raise ValueError(f"{name} must be positive, got {life!r}")


def check_construction(getsizeof: Any, ttl: Any, tti: Any, on_evict: Any, timer: Any) -> None:
    """Raise if a cache cannot be made with these."""
    for name, function in (("getsizeof", getsizeof), ("on_evict", on_evict)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be callable or None, got {function!r}")
    if not callable(timer):
        raise TypeError(f"timer must be callable, got {timer!r}")
    check_life("ttl", ttl)
    check_life("tti", tti)


def worth_of(cost: Any, priority: Any) -> float:
    """Return what an entry is worth to its owner: infinite if it is pinned."""
    given = []
    for name, number in (("cost", cost), ("priority", priority)):
        if number is None:
            given.append(1.0)
            continue
        if not isinstance(number, (int, float, Real)):
            raise TypeError(f"{name} must be a number, got {number!r}")
        given.append(float(number))
        if not given[-1] >= 0 or (name == "cost" and given[-1] == math.inf):
            raise ValueError(f"{name} must be non-negative{' and finite' if name == 'cost' else ''}, got {number!r}")
    return math.inf if given[1] == math.inf else min(given[0] * given[1], _MOST_WORTH)


def view_of(name: str, numbers: Any) -> memoryview:
    """Return a one-dimensional array of integers as a view of its buffer."""
    view = _numbers_of(name, numbers)
    if view.format.lstrip("@=<>!") not in _INTEGER_FORMATS:
        raise TypeError(f"{name} must be an array of integers, got elements of format {view.format!r}")
    return view


def sizes_of(sizes: Any, count: int) -> array.array[float]:
    """Return sizes as a buffer of doubles, each checked."""
    view = _numbers_of("sizes", sizes)
    if len(view) != count:
        raise ValueError(f"sizes must be as many as keys, {count}, got {len(view)}")
    doubles = array.array("d", view)
    for size in doubles:
        if not size >= 0:
            raise ValueError(f"sizes must be non-negative, got {size!r}")
    return doubles


def _numbers_of(name: str, numbers: Any) -> memoryview:
    try:
        view = memoryview(numbers)
    except TypeError:
        raise TypeError(
            f"{name} must be an array of numbers, such as a NumPy one, got {type(numbers).__name__}"
        ) from None
    if view.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got {view.ndim}")
    return view
