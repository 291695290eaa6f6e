"""Read-through: the cache knows how to load, and the application only asks.

python read_through.py [redis://localhost:6379]
"""

import sqlite3
import sys
from collections.abc import Sequence

import hotset
from hotset import MemoryTier, RedisTier, TieredCache


def main(url: str | None = None) -> list[object]:
    """Read users one by one and together, and one that there is not; return what was read and the queries made."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
    database.executemany("INSERT INTO users VALUES (?, ?)", [(1, "Ann"), (2, "Bob"), (3, "Cid")])
    queries = 0

    def load(user_id: int) -> object:
        return load_many([user_id]).get(user_id, hotset.ABSENT)

    def load_many(user_ids: Sequence[int]) -> dict[int, str]:
        nonlocal queries
        queries += 1
        marks = ",".join("?" * len(user_ids))
        return dict(database.execute(f"SELECT id, name FROM users WHERE id IN ({marks})", list(user_ids)))

    tiers = [MemoryTier(1000)] if url is None else [MemoryTier(1000), RedisTier(url)]
    with TieredCache("through", tiers, load=load, load_many=load_many, ttl="5m", negative_ttl="10s") as cache:
        cache.clear()
        seen = [cache.get(1), cache.get(1)]  # one query
        together = cache.get_many([1, 2, 3])  # one more, for both that were missing
        nobody = [cache.get(9, "nobody"), cache.get(9, "nobody")]  # one: that there is nobody is remembered
    return [*seen, together, *nobody, queries]


if __name__ == "__main__":
    print(*main(*sys.argv[1:]))
