"""Write-behind: a write returns when a journal on disk has it; the database gets it later, in batches.

python write_behind.py [redis://localhost:6379]
"""

import sqlite3
import sys
import tempfile
from pathlib import Path

from hotset import MemoryTier, RedisTier, TieredCache, WriteBehind


class Scores:
    """A table that keeps with each row the number of the write that made it: a repeated write has no effect."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:", check_same_thread=False)
        self.database.execute("CREATE TABLE scores (player TEXT PRIMARY KEY, score INTEGER, seq INTEGER)")
        self.transactions = 0

    def load(self, player: str) -> int | None:
        """Return a score."""
        row = self.database.execute("SELECT score FROM scores WHERE player = ?", (player,)).fetchone()
        return None if row is None else int(row[0])

    def save_many(self, scores: dict[str, int], seq: dict[str, int]) -> None:
        """Store scores in one transaction; what has a higher number already stays as it is."""
        with self.database:
            self.database.executemany(
                "INSERT INTO scores VALUES (?, ?, ?) ON CONFLICT (player) DO UPDATE "
                "SET score = excluded.score, seq = excluded.seq WHERE excluded.seq > scores.seq",
                [(player, score, seq[player]) for player, score in scores.items()],
            )
        self.transactions += 1


def main(url: str | None = None) -> list[object]:
    """Count two players' points; return what was read at once, what the database has, and its transactions."""
    scores = Scores()
    tiers = [MemoryTier(1000)] if url is None else [MemoryTier(1000), RedisTier(url)]
    with tempfile.TemporaryDirectory() as folder:
        # Of one process at a time. What a killed process has left in it, the next one gives to the database.
        behind = WriteBehind(Path(folder) / "scores.journal", interval="10s")
        save_many = scores.save_many
        cache: TieredCache[str, int] = TieredCache(
            "write-behind", tiers, load=scores.load, save_many=save_many, write="behind", behind=behind, ttl="5m"
        )
        with cache:
            cache.clear()
            for point in range(1, 101):
                cache.set("ann", point)
                cache.set("bob", 2 * point)
            seen: list[object] = [cache.get("ann"), cache.get("bob")]  # what was written, wherever the database is
            # The latest of each player goes to the database; here because it is asked for, else after the interval.
            behind.flush("10s")
            seen += [scores.load("ann"), scores.load("bob")]
            scores.save_many({"ann": 1}, seq={"ann": 1})  # an old write that comes again
            seen.append(scores.load("ann"))
    return [*seen, scores.transactions - 1]


if __name__ == "__main__":
    print(*main(*sys.argv[1:]))
