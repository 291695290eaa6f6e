"""What time it is on a server, known within bounds, from questions over a slow wire.

A server that is asked at t0 and answers S, which arrives at t1 (both of time.monotonic), had the time S at some moment
between the two; so its clock is ahead of time.monotonic by S - t1 to S - t0. Each sample narrows these bounds down, and
between samples they widen by what clocks of computers drift. A sample that does not meet the bounds shows that the
clock was set, or belongs to another server, and replaces them.

Who reads a moment of expiry takes the latest time that it may be, who writes one takes the earliest: lives are then
shorter than they should be by the length of a round trip, never longer.
"""

from __future__ import annotations

import time
from typing import Final

__all__ = ["ServerTime"]

# Seconds a second: ten times what an ordinary quartz is off, and what NTP slews by at most.
DRIFT: Final = 500e-6
REFRESH: Final = 30.0


class ServerTime:
    """Bounds of a server's clock, in seconds since the Unix epoch. May be used by several threads at once."""

    __slots__ = ("_bounds",)

    def __init__(self) -> None:
        # Lower and upper bound of how far the server's clock is ahead of time.monotonic, and as of when. Replaced as a
        # whole: of two samples at the same time one may be lost, which does no harm.
        self._bounds = (0.0, 0.0, float("-inf"))

    def sample(self, asked: float, told: float, answered: float) -> None:
        """Take in that the server `told` its time; `asked` and `answered` are of time.monotonic, before and after."""
        low, high = told - answered, told - asked
        before_low, before_high, moment = self._bounds
        drift = DRIFT * max(0.0, answered - moment)
        if before_low - drift <= high and low <= before_high + drift:
            low, high = max(low, before_low - drift), min(high, before_high + drift)
        self._bounds = low, high, answered

    def due(self, now: float) -> bool:
        """Whether the server should be asked: never done, or half a minute ago."""
        return now - self._bounds[2] > REFRESH

    def latest(self) -> float:
        """Return what the server's time is at most."""
        now = time.monotonic()
        _, high, moment = self._bounds
        return now + high + DRIFT * (now - moment)

    def earliest(self) -> float:
        """Return what the server's time is at least."""
        now = time.monotonic()
        low, _, moment = self._bounds
        return now + low - DRIFT * (now - moment)
