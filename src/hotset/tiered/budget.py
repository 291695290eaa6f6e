"""A budget of concurrent loads: so many at most are at the origin at once, over threads and event loops together.

Who finds it spent waits in line, threads and tasks in one line, first come, first served; a place that comes free is
handed to the first in line, so nobody can take it from under them. The wait is bounded: who has not got a place by
then is refused with LoadRefused. A caller that leaves the line, because its time is up or its task was cancelled,
takes no place with it.

A load that waits for another load keeps its place meanwhile, and the other one needs a place of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from hotset.durations import seconds
from hotset.errors import LoadRefused
from hotset.forks import tell_child

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from hotset.durations import Duration

# ruff: noqa: SLF001 - a budget and its holds are one thing in two classes
__all__ = ["Budget", "BudgetStats"]

_UNLIMITED: Final[contextlib.nullcontext[None]] = contextlib.nullcontext()


class BudgetStats(NamedTuple):
    """Places taken and callers in line now; and callers refused so far."""

    in_use: int
    waiting: int
    refused: int


class Budget:
    """At most `limit` holders at once; None for no limit, which costs nothing and counts nothing.

    `wait` is how many seconds a caller waits in line at most if it does not say. Thread-safe; O(1).
    """

    def __init__(self, limit: int | None, wait: Duration = 1.0) -> None:
        if limit is not None and type(limit) is not int:
            raise TypeError(f"limit must be an int or None, not {limit!r}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be 1 or more, or None for no limit, not {limit!r}")
        self.limit = limit
        self.wait = seconds(wait, zero=True, name="wait")
        # Guards all below and the places in line. Reentrant: the collector may run a finalizer here that loads.
        self._lock = threading.RLock()
        self._line: dict[_Place, None] = {}  # in order
        self._in_use = self._refused = 0
        self._forks = 0  # times this process was forked since: what was taken before is counted no more
        tell_child(self)

    def hold(self, timeout: float | None = None) -> AbstractContextManager[None]:
        """Take a place for the length of a with statement; waits up to `timeout` seconds, by default `wait`.

        Raises LoadRefused on entry if no place came free in time.
        """
        timeout = self.wait if timeout is None else max(timeout, 0.0)
        return _UNLIMITED if self.limit is None else _Hold(self, timeout)

    def ahold(self, timeout: float | None = None) -> AbstractAsyncContextManager[None]:
        """Do the same as `hold` for an async with statement, on whichever loop it runs."""
        timeout = self.wait if timeout is None else max(timeout, 0.0)
        return _UNLIMITED if self.limit is None else _Hold(self, timeout)

    def stats(self) -> BudgetStats:
        """Return the counts as of now."""
        with self._lock:
            return BudgetStats(self._in_use, len(self._line), self._refused)

    def after_fork(self) -> None:
        """Begin anew in a forked child: the holders and those in line are the parent's."""
        self._lock = threading.RLock()
        self._line = {}
        self._in_use = 0
        self._forks += 1

    def _enter(self, hold: _Hold, timeout: float) -> None:
        """Take a place as a thread."""
        if self._take(hold, None):
            return
        place = _Place(None)
        if self._take(hold, place):
            return
        try:
            place.gate.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
        except BaseException:  # an interrupt of the main thread
            self._give_up(place)
            raise
        self._settle(hold, place, timeout)

    async def _aenter(self, hold: _Hold, timeout: float) -> None:  # noqa: ASYNC109 - ends in a refusal, cancels nothing
        """Take a place as a task."""
        if self._take(hold, None):
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        place = _Place(future)
        if self._take(hold, place):
            return
        timer = None if timeout == math.inf else loop.call_later(timeout, _resolve, future)
        try:
            await future
        except BaseException:  # cancelled, or the loop has gone and the task is collected
            self._give_up(place)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        self._settle(hold, place, timeout)

    def _take(self, hold: _Hold, place: _Place | None) -> bool:
        """Take a free place, or stand in line with this one; whether one was free."""
        with self._lock:
            # What comes free goes to the line first: while somebody waits, nothing is free.
            if self.limit is None or self._in_use < self.limit:
                self._in_use += 1
                hold.held = True
                return True
            if place is not None:
                self._line[place] = None
            return False

    def _settle(self, hold: _Hold, place: _Place, timeout: float) -> None:
        """End a wait: raise LoadRefused unless a place was handed over, be it at the last moment."""
        with self._lock:
            if place.granted:
                hold.held = True
                return
            self._line.pop(place, None)
            self._refused += 1
        raise LoadRefused(f"{self.limit} loads are under way, the most allowed; none ended within {timeout:g} s")

    def _give_up(self, place: _Place) -> None:
        """Leave the line without having been served, and hand on what was handed over meanwhile."""
        with self._lock:
            self._line.pop(place, None)
            if place.granted:
                self._give(self._forks)

    def _give(self, forks: int) -> None:
        """Hand a place on to the first in line who can be told, or make it free."""
        with self._lock:
            if forks != self._forks:
                return
            while self._line:
                first = next(iter(self._line))
                del self._line[first]
                if first.grant():
                    return
            self._in_use -= 1


class _Hold:
    """A place in a budget for the length of a statement.

    No generator: one that is collected after its loop has closed does not run its finally clause.
    """

    __slots__ = ("_budget", "_forks", "_timeout", "held")

    def __init__(self, budget: Budget, timeout: float) -> None:
        self._budget = budget
        self._timeout = timeout
        self._forks = budget._forks
        self.held = False

    def __enter__(self) -> None:
        self._budget._enter(self, self._timeout)

    def __exit__(self, *_: object) -> None:
        self._end()

    async def __aenter__(self) -> None:
        await self._budget._aenter(self, self._timeout)

    async def __aexit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self.held:
            self.held = False
            self._budget._give(self._forks)

    def __del__(self) -> None:
        self._end()  # an interrupt has come between the place and the statement


class _Place:
    """One caller in line: a thread that waits at its gate, or a task that waits for its future."""

    __slots__ = ("future", "gate", "granted")

    def __init__(self, future: asyncio.Future[None] | None) -> None:
        self.granted = False
        self.future = future
        self.gate = threading.Lock()
        self.gate.acquire()

    def grant(self) -> bool:
        """Hand a place over; False if there is nobody to take it any more."""
        if self.future is None:
            self.gate.release()
        else:
            try:
                self.future.get_loop().call_soon_threadsafe(_resolve, self.future)
            except RuntimeError:  # its loop is closed
                return False
        self.granted = True
        return True


def _resolve(future: asyncio.Future[None]) -> None:
    """Wake a task that waits, unless it is awake."""
    if not future.done():
        future.set_result(None)
