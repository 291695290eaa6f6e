"""Write-through: the cache writes to the database and to its levels, and returns when all of them have it.

python write_through.py [redis://localhost:6379]
"""

import sqlite3
import sys

from hotset import MemoryTier, RedisTier, TieredCache


def main(url: str | None = None) -> list[object]:
    """Rename a user, and one that cannot be renamed; return what was read and how often the database was asked."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    database.execute("INSERT INTO users VALUES (1, 'Ann')")
    asked = 0

    def load(user_id: int) -> str:
        nonlocal asked
        asked += 1
        return str(database.execute("SELECT name FROM users WHERE id = ?", (user_id,)).fetchone()[0])

    def save(user_id: int, name: str | None) -> None:
        with database:
            database.execute("UPDATE users SET name = ? WHERE id = ?", (name, user_id))

    tiers = [MemoryTier(1000)] if url is None else [MemoryTier(1000), RedisTier(url)]
    with TieredCache("write-through", tiers, load=load, save=save, ttl="5m") as cache:
        cache.clear()
        seen: list[object] = [cache.get(1)]
        # The server lets go of the key first, and takes nothing of it until the database has the new name: a process
        # that dies in between leaves no old name there.
        cache.set(1, "Anna")
        seen.append(cache.get(1))  # without asking the database
        try:
            cache.set(1, None)
        except sqlite3.IntegrityError:
            seen.append(cache.get(1))  # asked again: of a write that fails nobody knows what it has done
    return [*seen, asked]


if __name__ == "__main__":
    print(*main(*sys.argv[1:]))
