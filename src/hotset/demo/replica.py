"""A copy of the origin in a file of its own that follows it some way behind, as a replica in another region does.

What the origin commits is read there every tenth of a second, and written here `delay` seconds later, in the same
order. So at any time the copy has all that was committed before one moment, which `lag` tells.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from hotset.demo.origin import Origin, OriginError, connect, discard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hotset.demo.origin import User

__all__ = ["Replica"]

_ROUND = 0.1  # seconds between two looks at the origin
_PATIENCE = 5.0  # seconds for the thread to come to an end
_LOG = """
CREATE TABLE changes (number INTEGER PRIMARY KEY, user INTEGER NOT NULL);
CREATE TRIGGER changed AFTER UPDATE ON users BEGIN INSERT INTO changes (user) VALUES (new.id); END;
"""
_NEWS = """
SELECT max(changes.number), users.* FROM changes JOIN users ON users.id = changes.user
WHERE changes.number > ? GROUP BY changes.user
"""


class Replica:
    """The copy at `path` of the database at `source`, `delay` seconds behind; each trip to it takes `latency` seconds.

    Reading is for any number of threads.
    """

    def __init__(self, source: Path, path: Path, *, delay: float, latency: float) -> None:
        self.path = path
        self.delay = delay
        self._source = source
        self._reader = Origin(path, latency)
        self._complete = time.monotonic()  # what was committed before is here
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="demo-replica", daemon=True)
        self.failure: Exception | None = None  # why it follows no more

    def start(self) -> None:
        """Copy all there is, and begin to follow. Raises OriginError."""
        discard(self.path)
        try:
            with contextlib.closing(connect(self._source)) as source, contextlib.closing(connect(self.path)) as copy:
                source.executescript(_LOG)
                self._complete = time.monotonic()
                source.backup(copy)
        except sqlite3.Error as error:
            raise OriginError(f"cannot copy {self._source} to {self.path}: {error}") from error
        self._thread.start()

    def load(self, user: int) -> User | None:
        """Read a user as of `lag()` seconds ago or later; None if there was none of that number."""
        return self._reader.load(user)

    def load_many(self, users: Sequence[int]) -> list[User]:
        """Read those of these users that there were, in one trip; in no order."""
        return self._reader.load_many(users)

    def lag(self) -> float:
        """Return seconds: all that was committed longer ago is here."""
        return time.monotonic() - self._complete

    def close(self) -> None:
        """End the thread, and close the connections of all threads."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)
        self._reader.close()

    def _follow(self) -> None:
        try:
            with contextlib.closing(connect(self._source)) as source, contextlib.closing(connect(self.path)) as copy:
                self._carry(source, copy)
        except sqlite3.Error as error:
            self.failure = error  # its lag grows from now on, and so nobody asks it

    def _carry(self, source: sqlite3.Connection, copy: sqlite3.Connection) -> None:
        on_their_way: deque[tuple[float, list[tuple[object, ...]]]] = deque()
        last = 0
        while not self._ended.wait(_ROUND):
            asked = time.monotonic()
            news = source.execute(_NEWS, (last,)).fetchall()
            last = max((number for number, *_ in news), default=last)
            on_their_way.append((asked, [row for _, *row in news]))
            while on_their_way and on_their_way[0][0] <= asked - self.delay:
                complete, rows = on_their_way.popleft()
                if rows:
                    copy.execute("BEGIN IMMEDIATE")
                    marks = ",".join("?" * len(rows[0]))
                    copy.executemany(f"INSERT OR REPLACE INTO users VALUES ({marks})", rows)  # noqa: S608
                    copy.execute("COMMIT")
                self._complete = complete
