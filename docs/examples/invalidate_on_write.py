"""Invalidate-on-write: the database is written to, and every level drops the key.

python invalidate_on_write.py [redis://localhost:6379]
"""

import sqlite3
import sys

from hotset import MemoryTier, RedisTier, TieredCache


def main(url: str | None = None) -> list[object]:
    """Change stock, by the cache and by a transaction of one's own; return what was read and the queries made."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE stock (item TEXT PRIMARY KEY, pieces INTEGER CHECK (pieces >= 0))")
    database.execute("INSERT INTO stock VALUES ('pen', 5), ('ink', 1)")
    database.commit()
    asked = 0

    def load(item: str) -> int:
        nonlocal asked
        asked += 1
        return int(database.execute("SELECT pieces FROM stock WHERE item = ?", (item,)).fetchone()[0])

    def save(item: str, pieces: int) -> None:
        with database:
            database.execute("UPDATE stock SET pieces = ? WHERE item = ?", (pieces, item))

    def sell(*items: str) -> None:
        """Sell one of each, or nothing: what is invalidated inside waits for the commit, and goes with a rollback."""
        with cache.invalidations(), database:
            for item in items:
                database.execute("UPDATE stock SET pieces = pieces - 1 WHERE item = ?", (item,))
                cache.invalidate(item)

    tiers = [MemoryTier(100)] if url is None else [MemoryTier(100), RedisTier(url)]
    with TieredCache("invalidate", tiers, load=load, save=save, write="invalidate", ttl="5m") as cache:
        cache.clear()
        seen: list[object] = [cache.get("pen")]
        cache.set("pen", 9)
        seen.append(cache.get("pen"))  # asked again
        sell("pen", "ink")
        seen += [cache.get("pen"), cache.get("ink")]  # asked again
        try:
            sell("pen", "ink")
        except sqlite3.IntegrityError:
            seen += [cache.get("pen"), cache.get("ink")]  # as they were, without asking
    return [*seen, asked]


if __name__ == "__main__":
    print(*main(*sys.argv[1:]))
