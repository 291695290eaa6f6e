"""A budget of loads per second: a token bucket that several strategies draw from, as threads or as tasks."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pace"]

_BURST_SECONDS: Final = 0.1  # of the rate may be drawn at once


class Pace:
    """At most `rate` loads per second; None for no bound.

    In any `t` seconds at most `rate * t + burst` are granted, where `burst` is a tenth of a second's share and one at
    least. Who draws is told how long to wait and waits by itself, outside of any lock; first come, first served.
    Thread-safe; O(1). Raises TypeError and ValueError for a rate that is no positive number.
    """

    def __init__(self, rate: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, (int, float))):
            raise TypeError(f"rate must be loads per second or None, got {rate!r}")
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(f"rate must be positive and finite, or None for no bound, got {rate!r}")
        self.rate = rate
        self.burst = 0 if rate is None else max(1, int(rate * _BURST_SECONDS))
        self._clock = clock
        self._lock = threading.Lock()  # guards _paid
        self._paid = -math.inf  # until when, at this rate, what was drawn is paid for

    def most(self, wanted: int) -> int:
        """Return how many may be drawn at once, out of so many."""
        return wanted if self.rate is None else min(wanted, self.burst)

    def draw(self, count: int) -> float:
        """Draw at most `burst` loads; return the seconds to wait before they are begun."""
        if self.rate is None or not count:
            return 0.0
        with self._lock:
            now = self._clock()
            self._paid = max(self._paid, now - self.burst / self.rate) + count / self.rate
            return max(0.0, self._paid - now)
