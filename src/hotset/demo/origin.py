"""The origin: a table of users in SQLite, on disk.

Each thread has a connection of its own. The database is in WAL mode, so that readers do not wait for the writer. Each
trip to it can be delayed, as a network would delay it.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Origin", "OriginError", "User", "connect", "create", "discard"]

# Marks the file as one that may be replaced: "HOTS" in the header of the database.
_APPLICATION_ID = 0x484F5453
_HEADER_BYTES, _APPLICATION_ID_AT = 100, 68
_BATCH = 5_000  # rows between two reports of progress
_VARIABLES = 500  # SQLite before 3.32 takes 999 in a statement
_BUSY_SECONDS = 10.0

_CREATE = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    city TEXT NOT NULL,
    plan TEXT NOT NULL,
    balance INTEGER NOT NULL,
    bio TEXT NOT NULL,
    version INTEGER NOT NULL
)
"""
_COLUMNS = "id, name, email, city, plan, balance, bio, version"
_FIRST = (
    "Ada",
    "Alan",
    "Barbara",
    "Donald",
    "Edsger",
    "Frances",
    "Grace",
    "John",
    "Katherine",
    "Niklaus",
    "Radia",
    "Tony",
)
_LAST = (
    "Allen",
    "Backus",
    "Dijkstra",
    "Hoare",
    "Hopper",
    "Johnson",
    "Knuth",
    "Liskov",
    "Lovelace",
    "Perlman",
    "Turing",
)
_CITIES = ("Accra", "Bogota", "Cairo", "Delhi", "Lagos", "Lima", "Oslo", "Paris", "Quito", "Seoul", "Tokyo", "Vienna")
_PLANS = ("free", "free", "free", "team", "business")
_WORDS = ("reads", "writes", "builds", "paints", "sails", "teaches", "travels", "sings", "plants", "cooks", "repairs")


class OriginError(Exception):
    """The database cannot be made or used; the message says which and why."""


class User(TypedDict):
    """A row. `version` counts its writes, from 1."""

    id: int
    name: str
    email: str
    city: str
    plan: str
    balance: int
    bio: str
    version: int


@dataclass(slots=True)
class _Desk:
    """What one thread holds: its connection, and what it did with it."""

    connection: sqlite3.Connection
    reads: int = 0
    rows: int = 0
    writes: int = 0


@dataclass(slots=True)
class Origin:
    """A database of users numbered from 0, on disk.

    Every operation takes `latency` seconds more than the database needs. Use from any number of threads; `close` when
    they have ended.
    """

    path: Path
    latency: float = 0.0
    _local: threading.local = field(default_factory=threading.local)
    _desks: list[_Desk] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # guards _desks

    def load(self, user: int) -> User | None:
        """Read a user, or None if there is none of that number."""
        desk = self._desk()
        desk.reads += 1
        self._travel()
        row = desk.connection.execute(f"SELECT {_COLUMNS} FROM users WHERE id = ?", (user,)).fetchone()  # noqa: S608
        desk.rows += 1
        return None if row is None else _user(row)

    def load_many(self, users: Sequence[int]) -> list[User]:
        """Read those of these users that there are, in one trip; in no order."""
        desk = self._desk()
        desk.reads += 1
        self._travel()
        found: list[User] = []
        for start in range(0, len(users), _VARIABLES):
            part = users[start : start + _VARIABLES]
            marks = ",".join("?" * len(part))
            rows = desk.connection.execute(f"SELECT {_COLUMNS} FROM users WHERE id IN ({marks})", part)  # noqa: S608
            found += map(_user, rows)
        desk.rows += len(users)
        return found

    def save(self, user: int) -> User:
        """Change a user: another balance, the next version. Returns the row as it is then; raises KeyError."""
        desk = self._desk()
        desk.writes += 1
        self._travel()
        connection = desk.connection
        # Not RETURNING: SQLite before 3.35 does not know it.
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(
                "UPDATE users SET balance = (balance + 97) % 100000, version = version + 1 WHERE id = ?", (user,)
            )
            row = connection.execute(f"SELECT {_COLUMNS} FROM users WHERE id = ?", (user,)).fetchone()  # noqa: S608
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        if row is None:
            raise KeyError(user)
        return _user(row)

    @property
    def reads(self) -> int:
        """Trips to the database to read, from all threads."""
        with self._lock:
            return sum(desk.reads for desk in self._desks)

    @property
    def writes(self) -> int:
        """Trips to the database to write, from all threads."""
        with self._lock:
            return sum(desk.writes for desk in self._desks)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for desk in self._desks:
                desk.connection.close()

    def _travel(self) -> None:
        """Take as long as the way to a database on another host."""
        if self.latency:
            time.sleep(self.latency)

    def _desk(self) -> _Desk:
        found: _Desk | None = getattr(self._local, "desk", None)
        if found is None:
            # Used by this thread alone; but another one closes it.
            found = _Desk(connect(self.path))
            self._local.desk = found
            with self._lock:
                self._desks.append(found)
        return found


def create(path: Path, users: int, seed: int, advance: Callable[[int], None] = lambda _done: None) -> None:
    """Make the database anew, with `users` rows; the same seed makes the same rows.

    A database of an earlier run is replaced; raises OriginError if the file is something else, or cannot be written.
    `advance` is told how many rows are done.
    """
    discard(path)
    try:
        with contextlib.closing(connect(path)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute("BEGIN")
            connection.execute(_CREATE)
            rows = _rows(users, seed)
            for start in range(0, users, _BATCH):
                batch = [next(rows) for _ in range(min(_BATCH, users - start))]
                connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch)
                advance(start + len(batch))
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise OriginError(f"cannot make the database {path}: {error}") from error


def connect(path: Path) -> sqlite3.Connection:
    """Open the database for one thread at a time; every statement is a transaction of its own."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    # In WAL mode a crash of the machine may lose the last commits, and never harms the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def discard(path: Path) -> None:
    """Remove an earlier database; raises OriginError for a file that is none of ours."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        header = None
    except OSError as error:
        raise OriginError(f"cannot read {path}: {error.strerror or error}") from error
    if header:
        mark = header[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4]
        if not header.startswith(b"SQLite format 3\0") or mark != _APPLICATION_ID.to_bytes(4, "big"):
            raise OriginError(f"{path} is there and was not made by this command; remove it or use another folder")
    try:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise OriginError(f"cannot replace {path}: {error.strerror or error}") from error


def _rows(users: int, seed: int) -> Iterator[tuple[int, str, str, str, str, int, str, int]]:
    draw = random.Random(seed)  # noqa: S311 - rows, no secrets
    for user in range(users):
        first, last = draw.choice(_FIRST), draw.choice(_LAST)
        name = f"{first} {last}"
        email = f"{first}.{last}.{user}@example.org".lower()
        bio = f"{name} " + ", ".join(draw.choices(_WORDS, k=8))
        yield user, name, email, draw.choice(_CITIES), draw.choice(_PLANS), draw.randrange(100_000), bio, 1


def _user(row: tuple[int, str, str, str, str, int, str, int]) -> User:
    number, name, email, city, plan, balance, bio, version = row
    return {
        "id": number,
        "name": name,
        "email": email,
        "city": city,
        "plan": plan,
        "balance": balance,
        "bio": bio,
        "version": version,
    }
