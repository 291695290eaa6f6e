"""A database in a file, and replicas of it that are as old as one likes."""

import contextlib
import sqlite3
import time

from hotset.testing.driver import opened
from hotset.tiered import ABSENT
from hotset.tiers import RedisTier
from hotset.tiers.replica import _ANCHOR, Replica


class Database:
    """A primary in a file, and copies of it in others that are as old as the last `replicate`."""

    def __init__(self, folder, replicas=1):
        self.primary = folder / "primary.db"
        self.replicas = [folder / f"replica{number}.db" for number in range(replicas)]
        self.queries = dict.fromkeys((self.primary, *self.replicas), 0)
        with self.connected(self.primary) as database:
            database.execute("CREATE TABLE items (key TEXT PRIMARY KEY, value)")
            database.execute("CREATE TABLE heartbeat (moment REAL)")
        self.replicate()

    @contextlib.contextmanager
    def connected(self, path):
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as database, database:
            yield database

    def save(self, key, value):
        with self.connected(self.primary) as database:
            database.execute("INSERT OR REPLACE INTO items VALUES (?, ?)", (key, value))

    def replicate(self, *numbers):
        """Bring replicas, by default all, up to date."""
        with self.connected(self.primary) as database:
            database.execute("DELETE FROM heartbeat")
            database.execute("INSERT INTO heartbeat VALUES (?)", (time.time(),))
        for number in numbers or range(len(self.replicas)):
            with self.connected(self.primary) as database, self.connected(self.replicas[number]) as copy:
                database.backup(copy)

    def load(self, key, path=None):
        path = path or self.primary
        self.queries[path] += 1
        with self.connected(path) as database:
            row = database.execute("SELECT value FROM items WHERE key = ?", (key,)).fetchone()
        return ABSENT if row is None else row[0]

    def load_many(self, keys, path=None):
        path = path or self.primary
        self.queries[path] += 1
        marks = ",".join("?" * len(keys))
        with self.connected(path) as database:
            return dict(database.execute(f"SELECT key, value FROM items WHERE key IN ({marks})", list(keys)))

    def replica(self, number=0, **options):
        path = self.replicas[number]
        return Replica(lambda key: self.load(key, path), lambda: self.lag(number), name=f"replica {number}", **options)

    def lag(self, number=0):
        """As replicas tell it: how old is the last heartbeat of the primary that has come through."""
        with self.connected(self.replicas[number]) as database:
            (moment,) = database.execute("SELECT moment FROM heartbeat").fetchone()
        return max(0.0, time.time() - moment)


def marks_on(server, namespace="test"):
    """Return a tier of marks that looks as if it had been kept for long."""
    with opened(RedisTier(server.url, stream=None), f"{namespace}:replica", None) as driver:
        if driver.look(_ANCHOR) is None:
            driver.write([(_ANCHOR, driver.entry("barred", age=3600.0))])
    return RedisTier(server.url, stream=None, name="marks")
