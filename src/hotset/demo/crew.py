"""The threads that make the requests, and check what they read.

The check: a read must not return a version of a user that is older than the last write of that user which had returned
when the read began. A write changes the origin and then tells the cache; it has returned when the cache has.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hotset.demo.windows import Timings

if TYPE_CHECKING:
    from hotset.demo.origin import Origin, User
    from hotset.demo.workload import Pace, Stream

__all__ = ["Crew", "UserCache", "key_of", "user_of"]

_PREFIX = "user:"
_STRIPES = 257  # locks for the writers of all users
_EXAMPLES = 5


class UserCache(Protocol):
    """What the crew does with a cache."""

    def get(self, key: str) -> User | None:
        """Read through."""

    def set(self, key: str, value: User) -> None:
        """Store at all levels."""

    def invalidate(self, *keys: str) -> None:
        """Drop from all levels."""


def key_of(user: int) -> str:
    """Return the key of a user in the cache."""
    return f"{_PREFIX}{user}"


def user_of(key: str) -> int:
    """Return the user whose key this is."""
    return int(key.removeprefix(_PREFIX))


@dataclass(slots=True)
class _Tally:
    """What one thread has done; written by that thread alone."""

    reads: int = 0
    writes: int = 0
    failures: int = 0
    violations: int = 0
    times: deque[float] = field(default_factory=deque)


class Crew:
    """`threads` threads that work off a stream at a pace.

    `latest` has the last completed version of each user; it is shared by crews that follow each other on one origin.
    """

    def __init__(
        self, cache: UserCache, origin: Origin, stream: Stream, pace: Pace, threads: int, latest: list[int]
    ) -> None:
        self._cache = cache
        self._origin = origin
        self._stream = stream
        self._pace = pace
        self._latest = latest
        # Two writers of one user must tell the cache in the order in which they changed the origin.
        self._writing = [threading.Lock() for _ in range(_STRIPES)]
        self._noting = threading.Lock()  # guards failures and violations
        self.failures: Counter[str] = Counter()
        self.violations: list[str] = []
        self._tallies = [_Tally() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._work, args=(tally,), name=f"demo-{number}", daemon=True)
            for number, tally in enumerate(self._tallies)
        ]

    def start(self) -> None:
        """Let the threads begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, patience: float) -> int:
        """Let the threads end after the request that they are at; return how many have not after `patience` seconds."""
        self._pace.stop()
        deadline = time.monotonic() + patience
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return sum(thread.is_alive() for thread in self._threads)

    @property
    def working(self) -> bool:
        """Whether any thread still has requests to make."""
        return any(thread.is_alive() for thread in self._threads)

    def counts(self) -> dict[str, int]:
        """Return reads, writes, failures and violations so far."""
        return {
            name: sum(getattr(tally, name) for tally in self._tallies)
            for name in ("reads", "writes", "failures", "violations")
        }

    def timings(self) -> Timings:
        """Take away and return how long the reads took since the last call."""
        times: list[float] = []
        for tally in self._tallies:
            # As many as there are now; the thread goes on appending.
            times += [tally.times.popleft() for _ in range(len(tally.times))]
        return Timings(times)

    def _work(self, tally: _Tally) -> None:
        while (number := self._pace.take()) is not None:
            user, writes = self._stream.request(number)
            try:
                if writes:
                    self._write(user, tally)
                else:
                    self._read(user, tally)
            except Exception as error:  # noqa: BLE001 - whatever a read raises is what the run is to find out
                tally.failures += 1
                self._failed(f"{'write' if writes else 'read'}: {type(error).__name__}: {error}")

    def _read(self, user: int, tally: _Tally) -> None:
        key = key_of(user)
        oldest = self._latest[user]
        began = time.perf_counter()
        try:
            found = self._cache.get(key)
        finally:
            tally.times.append(time.perf_counter() - began)
            tally.reads += 1
        if found is None:
            tally.failures += 1
            self._failed("read: no such user, although the origin has it")
        elif found["version"] < oldest or found["id"] != user:
            tally.violations += 1
            self._violated(f"{key}: read version {found['version']} of user {found['id']} after {oldest} was written")

    def _write(self, user: int, tally: _Tally) -> None:
        with self._writing[user % _STRIPES]:
            tally.writes += 1
            row = self._origin.save(user)
            # Half of the writers know the new value, the other half only that it has changed.
            if tally.writes % 2:
                self._cache.set(key_of(user), row)
            else:
                self._cache.invalidate(key_of(user))
            self._latest[user] = row["version"]

    def _failed(self, reason: str) -> None:
        with self._noting:
            self.failures[reason] += 1

    def _violated(self, reason: str) -> None:
        with self._noting:
            if len(self.violations) < _EXAMPLES and reason not in self.violations:
                self.violations.append(reason)
