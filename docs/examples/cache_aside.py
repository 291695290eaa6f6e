"""Cache-aside: the application asks the cache, then the database, and tells the cache.

python cache_aside.py [redis://localhost:6379]
"""

import sqlite3
import sys

from hotset import MemoryTier, RedisTier, TieredCache


def main(url: str | None = None) -> list[object]:
    """Read a user twice, rename it, and read it again; return what was read and how often the database was asked."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
    database.execute("INSERT INTO users VALUES (1, 'Ann')")
    asked = 0

    def query(user_id: int) -> str:
        nonlocal asked
        asked += 1
        return str(database.execute("SELECT name FROM users WHERE id = ?", (user_id,)).fetchone()[0])

    tiers = [MemoryTier(1000)] if url is None else [MemoryTier(1000), RedisTier(url)]
    with TieredCache("aside", tiers, ttl="5m") as cache:
        cache.clear()

        # By hand, as it is mostly written. Between the two calls somebody may invalidate the key: what `set` stores
        # is old then, and stays until its life ends.
        def user(user_id: int) -> str:
            name = cache.get(user_id)
            if name is None:
                name = query(user_id)
                cache.set(user_id, name)
            return name

        seen = [user(1), user(1)]

        # In one call: threads that miss together load once, and a load that an invalidation has overtaken is not
        # stored.
        database.execute("UPDATE users SET name = 'Anna' WHERE id = 1")
        cache.invalidate(1)
        seen += [cache.get_or_load(1, query), cache.get_or_load(1, query)]
    return [*seen, asked]


if __name__ == "__main__":
    print(*main(*sys.argv[1:]))
