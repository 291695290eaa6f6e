"""The requests: which user each one is for, whether it writes, and when it is due.

A stream is the same for the same seed, whatever the threads do: they take its requests in order from one `Pace`. A
stream that is used up starts again.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hotset.bench.workloads import load_trace
from hotset.lab.generators import shifting_zipf

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from hotset.bench.workloads import Ids

__all__ = ["MOST_USERS", "Pace", "Stream", "generated", "traced"]

# Each is a row in the database, made before the run.
MOST_USERS = 1_000_000
# Enough for a minute of most machines at full speed; the stream is repeated then.
_LONGEST = 4_000_000
_SECONDS_A_FASHION = 5.0
# A request that is later than this is not caught up with: the rate has been missed, and no burst follows.
_LATEST = 0.1


@dataclass(frozen=True, slots=True)
class Stream:
    """Request i is for user `ids[i]`, of the users numbered below `users`, and writes if `writes[i]`."""

    name: str
    ids: Ids
    writes: npt.NDArray[np.bool_]
    users: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def distinct(self) -> int:
        """How many different users it asks for."""
        return len(np.unique(self.ids))

    def request(self, number: int) -> tuple[int, bool]:
        """Return user and whether to write, of any request however late; O(1)."""
        number %= len(self.ids)
        return int(self.ids[number]), bool(self.writes[number])


def generated(users: int, rate: float, seconds: float, write_share: float, seed: int) -> Stream:
    """Draw requests by Zipf's law (exponent 1.0) whose favourites move on every few seconds.

    A rate of 0 means as fast as it goes.
    """
    rng = np.random.default_rng(seed)
    requests = max(1_000, min(_LONGEST, int(rate * seconds * 1.1))) if rate else _LONGEST // 2
    fashions = max(2, round(seconds / _SECONDS_A_FASHION))
    ids = shifting_zipf(users, requests, rng, 1.0, fashions)
    return Stream("zipf(1.0), favourites move on", ids, rng.random(requests) < write_share, users)


def traced(path: Path, write_share: float, seed: int, most: int = MOST_USERS) -> tuple[Stream, int]:
    """Read a trace; each distinct key is a user. Returns the requests that were left out, too.

    The trace is cut before its distinct keys are more than `most`. Raises TraceError.
    """
    workload = load_trace(path)
    whole = len(workload.ids)
    if len(workload.distinct) > most:
        # Numbered by first appearance: the first request for key `most` is where they become too many.
        workload = workload.head(int(np.argmax(workload.ids == most)))
    writes = np.random.default_rng(seed).random(len(workload.ids)) < write_share
    return Stream(workload.name, workload.ids, writes, len(workload.distinct)), whole - len(workload.ids)


class Pace:
    """Hands out the numbers of the requests, in order and each when it is due, to any number of threads.

    `rate` is in requests a second, 0 for no waiting. After `limit` requests, if given, and after `stop`, there are no
    more.
    """

    def __init__(self, rate: float = 0.0, limit: int | None = None) -> None:
        self._gap = 1.0 / rate if rate else 0.0
        self._limit = limit
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # guards _next and _due
        self._next = 0
        self._due = time.perf_counter()

    def take(self) -> int | None:
        """Wait until a request is due and return its number, or None if there are no more."""
        if self._stopped.is_set():
            return None
        with self._lock:
            number = self._next
            if number == self._limit:
                return None
            self._next = number + 1
            if not self._gap:
                return number
            now = time.perf_counter()
            due = self._due = max(self._due + self._gap, now - _LATEST)
        if due > now and self._stopped.wait(due - now):
            return None
        return number

    def stop(self) -> None:
        """Let all threads know, also those that wait, that there are no more."""
        self._stopped.set()

    @property
    def taken(self) -> int:
        """Requests handed out so far."""
        return self._next
