"""Warming: a process that starts has what it will be asked for, before it is asked.

python warming.py [redis://localhost:6379]
"""

import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hotset import CacheWarmer, MemoryTier, RedisTier, TieredCache
from hotset.warming import Warmup, from_hot, from_keys


def main(url: str | None = None) -> list[object]:
    """Warm a cache, and the next one with what was hot; return what was reported, and the queries of the first."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
    database.executemany("INSERT INTO users VALUES (?, ?)", [(number, f"user {number}") for number in range(1000)])
    queries = 0

    def load_many(user_ids: Sequence[int]) -> dict[int, str]:
        nonlocal queries
        queries += 1
        marks = ",".join("?" * len(user_ids))
        return dict(database.execute(f"SELECT id, name FROM users WHERE id IN ({marks})", list(user_ids)))

    def newest(warm: Warmup) -> int:
        (last,) = database.execute("SELECT max(id) FROM users").fetchone()
        return warm.load(range(last - 9, last + 1))

    def opened() -> TieredCache[int, str]:
        tiers = [MemoryTier(1000)] if url is None else [MemoryTier(1000), RedisTier(url)]
        return TieredCache("warming", tiers, load_many=load_many, ttl="1h")

    with tempfile.TemporaryDirectory() as folder:
        hot = Path(folder) / "hot"
        with opened() as cache:
            cache.clear()
            warmer = CacheWarmer(cache, rate=5000, timeout="1m")
            first = warmer.add("favourites", from_keys(range(300))).add("newest", newest).run()
            asked = queries
            warmer.save(hot)  # at shutdown; keys only, their values are read anew
        with opened() as cache:
            second = CacheWarmer(cache, rate=5000).add("hot", from_hot(hot)).run()
            name = cache.get(999)
    return [first.success, first["favourites"].items, first["newest"].items, second["hot"].success, name, asked]


if __name__ == "__main__":
    print(*main(*sys.argv[1:]))
