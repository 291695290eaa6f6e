"""The connections of a process's threads to one server: taken, given back, and room for so many."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from hotset.errors import TierTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.tiers.links import Link

__all__ = ["Pool"]

_LATELY: Final = 0.005  # seconds; a look whether a link is closed costs a twentieth of a round trip


class _Place:
    """Room for one link of a pool: taken as long as anybody holds on to it, however that ends."""

    __slots__ = ("__weakref__",)


class Pool:
    """Up to `size` links, the one that was used last first. All operations are O(1)."""

    def __init__(self, connect: Callable[[float], Link], size: int) -> None:
        self._connect = connect
        self._size = size
        self._idle: list[Link] = []
        self.closed = False
        self.after_fork()

    def after_fork(self) -> None:
        """Forget what belongs to the parent, in a child that has one thread yet."""
        for link in self._idle:
            link.close()
        self._idle.clear()
        # Guards places and waiting; links are made outside. A link goes to and from `_idle` without it. Entered itself,
        # as an interrupt may leave a condition locked that is being entered.
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._places: WeakSet[_Place] = WeakSet()
        self._waiting = 0

    def take(self, deadline: float, now: float | None = None) -> Link:
        """Return a link for one thread; if it is told what time it is, one that is not known to be closed.

        Raises TierTimeout, TierUnavailable.
        """
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                link = self._made(deadline)
            if now is None or not link.used or now - link.used < _LATELY or not link.readable():
                return link
            self.drop(link)

    def give(self, link: Link, used: float) -> None:
        """Take a link back that was used at a moment; one with a reply outstanding is of no use any more."""
        if self.closed or not link.clean:
            self.drop(link)
            return
        link.used = used
        self._idle.append(link)
        # Who waits has said so before looking at what is idle.
        if self._waiting:
            self._tell()

    def drop(self, link: Link) -> None:
        """Close a link that was taken. Does nothing the second time."""
        link.close()
        link.place = None
        self._tell()

    def _tell(self) -> None:
        """Have who waits look again."""
        with self._lock:
            self._freed.notify()

    def another(self, link: Link, deadline: float) -> Link:
        """Close a link that the server has closed, and those that were idle with it; return another one, as `take`."""
        self.drop(link)
        self.clear()
        return self.take(deadline, math.inf)

    def close(self) -> None:
        """Close what is idle, and what is in use when it is given back."""
        self.closed = True
        self.clear()

    def clear(self) -> None:
        """Close what is idle."""
        with contextlib.suppress(IndexError):
            while True:
                self.drop(self._idle.pop())

    def _made(self, deadline: float) -> Link:
        """Make a link, or wait for one."""
        with self._lock:
            self._waiting += 1
            try:
                while True:
                    try:
                        return self._idle.pop()
                    except IndexError:
                        pass
                    if len(self._places) < self._size:
                        place = _Place()
                        self._places.add(place)
                        break
                    if not self._freed.wait(deadline - time.monotonic()):
                        raise TierTimeout(f"all {self._size} connections are in use")
            finally:
                self._waiting -= 1
        try:
            link = self._connect(deadline)
        except BaseException:
            del place
            self._tell()
            raise
        link.place = place
        return link
