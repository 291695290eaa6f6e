"""A circuit breaker: keeps callers away from a level that fails, and lets a few try whether it is well again.

Closed, it counts calls and failures over a sliding window of time, in buckets, and opens when there are enough
failures and their share is too high; or when so many come in a row, whatever the window says, so that a dead server is
noticed that is seldom called. Open, it refuses all callers for a pause. Then it is half-open: it lets one caller
through at a time, and closes when so many of them have succeeded. One that fails opens it for twice as long, up to a
bound; each pause is cut by a random part, so that many processes do not come back at one moment. A probe whose caller
never reports, because it was cancelled, blocks the next one for one pause only.

`allow` costs an attribute test while it is closed. A report from a call that began before the breaker opened is ignored
while it is open, and taken as that of a probe while it is half-open.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import deque
from numbers import Real
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from hotset.durations import finite
from hotset.forks import tell_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.durations import Duration

__all__ = ["Breaker", "BreakerStats", "State"]

State: TypeAlias = Literal["closed", "open", "half-open"]

# A window slides in steps of this share of its length.
_BUCKETS: Final = 10
_log: Final = logging.getLogger(__name__)


class BreakerStats(NamedTuple):
    """Counts since the breaker was made: reports while closed or half-open, callers turned away, times it opened."""

    state: State
    successes: int
    failures: int
    refused: int
    opened: int


class Breaker:
    """Tells callers whether to try, from what they report. Thread-safe; all operations are O(1).

    Opens at `minimum` failures within `window` seconds that are the share `threshold` of the calls, or at
    `consecutive` failures without a success between them. Stays open for `open_for` seconds the first time, doubling
    up to `longest`, each pause shortened by up to the share `jitter`. Closes after `probes` successes.
    `on_change(state)` is called after every change, in the order of the changes, from a thread that reported or asked;
    what it raises is logged.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        window: Duration = 10.0,
        minimum: int = 20,
        consecutive: int = 5,
        open_for: Duration = 5.0,
        longest: Duration = 60.0,
        jitter: float = 0.2,
        probes: int = 3,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        on_change: Callable[[State], object] | None = None,
    ) -> None:
        _check_share("threshold", threshold, zero=False)
        _check_share("jitter", jitter, zero=True)
        for name, count in (("minimum", minimum), ("consecutive", consecutive), ("probes", probes)):
            if type(count) is not int:
                raise TypeError(f"{name} must be an int, not {count!r}")
            if count < 1:
                raise ValueError(f"{name} must be 1 or more, not {count!r}")
        self._threshold, self._minimum, self._consecutive = threshold, minimum, consecutive
        self._open_for = finite(open_for, name="open_for")
        self._longest = max(finite(longest, name="longest"), self._open_for)
        self._jitter, self._probes = jitter, probes
        self._clock, self._chance, self._on_change = clock, chance, on_change
        self._per_second = _BUCKETS / finite(window, name="window")
        # Guards all below. Reentrant: the collector may run a finalizer here that uses the same cache.
        self._lock = threading.RLock()
        self._state: State = "closed"
        self.closed = True  # `state == "closed"`, for callers to whom the call of `allow` is too much
        self._calls, self._fails = [0] * _BUCKETS, [0] * _BUCKETS  # of the window, in a ring
        self._streak = 0  # failures since the last success
        self._bucket = self._slot = 0  # the latest bucket, counted from the clock's zero, and its place in the ring
        self._ends = -math.inf  # when that bucket does, while closed
        self._latest = 0  # successes in that bucket that are not in the others' counts yet
        self._successes = self._failures = self._refused = self._opened = 0
        self._clear()
        self._pause = self._open_for  # the next one, before jitter
        self._until = 0.0  # open: end of the pause; half-open: when a probe counts as lost
        self._room = False  # half-open: whether a probe may start
        self._proven = 0  # half-open: probes that succeeded
        self._news: deque[State] = deque()
        self._telling = threading.Lock()  # held by the thread that calls on_change; nobody waits for it
        tell_child(self)

    def allow(self) -> bool:
        """Whether to try. A caller that is told so while the breaker is half-open is a probe and should report."""
        return self.closed or self._probe()

    def success(self) -> None:
        """Report a call that the level answered."""
        if self._clock() < self._ends:
            # The commonest report takes no lock: of two at the same moment one may be lost, which decides nothing.
            self._latest += 1
            return
        with self._lock:
            if self.closed:
                self._turn(int(self._clock() * self._per_second))
                self._calls[self._slot] += 1
                self._streak = 0
                self._successes += 1
            elif self._state == "half-open":
                self._successes += 1
                self._proven += 1
                self._room = True
                if self._proven >= self._probes:
                    self._close()
        if self._news:
            self._tell()

    def failure(self) -> None:
        """Report a call that the level did not answer, or not in time."""
        with self._lock:
            if self._state == "closed":
                self._turn(int(self._clock() * self._per_second))
                self._calls[self._slot] += 1
                self._fails[self._slot] += 1
                self._streak += 1
                self._failures += 1
                failed = sum(self._fails)
                enough = failed >= self._minimum and failed >= self._threshold * sum(self._calls)
                if enough or self._streak >= self._consecutive:
                    self._open()
            elif self._state == "half-open":
                self._failures += 1
                self._open()
        if self._news:
            self._tell()

    def cancelled(self) -> None:
        """Report a call that was broken off and says nothing of the level; as a probe, it makes room for another."""
        with self._lock:
            self._room = self._state == "half-open"

    def reset(self) -> None:
        """Close it and forget the window, as after a repair that is known of."""
        with self._lock:
            if self._state == "closed":
                self._clear()
            else:
                self._close()
        self._tell()

    @property
    def state(self) -> State:
        """Closed, open or half-open. A pause that is over ends with the next caller, not by itself."""
        return self._state

    def retry_in(self) -> float:
        """Return seconds until a caller is let through; 0 if the next one is."""
        with self._lock:
            if self._state == "closed" or self._room:
                return 0.0
            return max(0.0, self._until - self._clock())

    def stats(self) -> BreakerStats:
        """Return the counts as of now."""
        with self._lock:
            self._settle()
            return BreakerStats(self._state, self._successes, self._failures, self._refused, self._opened)

    def after_fork(self) -> None:
        """Give a forked child locks that nobody holds."""
        self._lock = threading.RLock()
        self._telling = threading.Lock()

    def _probe(self) -> bool:
        """Whether to try, if not closed."""
        with self._lock:
            if self._state == "closed":
                return True
            now = self._clock()
            if not self._room and now < self._until:
                self._refused += 1
                return False
            if self._state == "open":
                self._proven = 0
                self._change("half-open")
            self._room = False
            self._until = now + self._pause  # then this probe counts as lost
        if self._news:
            self._tell()
        return True

    def _open(self) -> None:
        """Refuse all callers for a pause, and make the next one longer."""
        self._until = self._clock() + self._pause * (1 - self._jitter * self._chance())
        self._pause = min(self._pause * 2, self._longest)
        self._room = False
        self._opened += 1
        self._change("open")

    def _close(self) -> None:
        """Let everybody through."""
        self._pause = self._open_for
        self._room = False
        self._change("closed")
        self._clear()

    def _change(self, state: State) -> None:
        self._state = state
        self.closed = state == "closed"
        if not self.closed:
            self._ends = -math.inf
        if self._on_change is not None:
            self._news.append(state)

    def _clear(self) -> None:
        """Forget the window and the failures in a row."""
        self._settle()
        self._calls = [0] * _BUCKETS
        self._fails = [0] * _BUCKETS
        self._streak = 0
        self._begin(int(self._clock() * self._per_second))

    def _turn(self, bucket: int) -> None:
        """Move the window on to a bucket, if that is a later one, and take out what has left it."""
        self._settle()
        if bucket <= self._bucket:
            return
        for passed in range(max(self._bucket, bucket - _BUCKETS) + 1, bucket + 1):
            self._calls[passed % _BUCKETS] = self._fails[passed % _BUCKETS] = 0
        self._begin(bucket)

    def _settle(self) -> None:
        """Count the latest successes."""
        latest, self._latest = self._latest, 0
        if latest:
            self._calls[self._slot] += latest
            self._successes += latest
            self._streak = 0

    def _begin(self, bucket: int) -> None:
        """Count in this bucket from now on."""
        self._bucket = bucket
        self._slot = bucket % _BUCKETS
        self._ends = (bucket + 1) / self._per_second if self.closed else -math.inf

    def _tell(self) -> None:
        """Call on_change for what has changed, outside the lock: it may use the breaker, or the level."""
        # A thread that finds another one telling leaves its news to it; the loop sees what came as it was about to go.
        while self._news and self._telling.acquire(blocking=False):
            try:
                while self._news:
                    state = self._news.popleft()
                    try:
                        if self._on_change is not None:
                            self._on_change(state)
                    except Exception:  # noqa: BLE001 - whatever it raises, the caller has done nothing wrong
                        _log.exception("on_change(%r) of a breaker failed", state)
            finally:
                self._telling.release()


def _check_share(name: str, share: float, *, zero: bool) -> None:
    """Raise unless a share is a number from 0, or above it, to 1."""
    if not isinstance(share, Real) or isinstance(share, bool):
        raise TypeError(f"{name} must be a number, not {share!r}")
    if not 0 <= share <= 1 or (share == 0 and not zero):
        raise ValueError(f"{name} must be a share {'from' if zero else 'above'} 0 to 1, not {share!r}")
