"""Write-around: the database is written to, and the cache loads the value when somebody asks for it.

python write_around.py [redis://localhost:6379]
"""

import sqlite3
import sys

from hotset import MemoryTier, RedisTier, TieredCache


def main(url: str | None = None) -> list[object]:
    """Import articles of which few are read; return what was read, before and after the database went away."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT)")
    asked = 0
    away = False

    def load(article_id: int) -> str:
        nonlocal asked
        asked += 1
        if away:
            raise ConnectionError("the database is away")
        return str(database.execute("SELECT title FROM articles WHERE id = ?", (article_id,)).fetchone()[0])

    def save_many(articles: dict[int, str]) -> None:
        with database:
            database.executemany("REPLACE INTO articles VALUES (?, ?)", list(articles.items()))

    tiers = [MemoryTier(100)] if url is None else [MemoryTier(100), RedisTier(url)]
    with TieredCache("write-around", tiers, load=load, save_many=save_many, write="around", keep="1h") as cache:
        cache.clear()
        cache.set_many({number: f"title {number}" for number in range(1000)})  # displaces nothing from the cache
        seen: list[object] = [cache.get(7), cache.get(7)]  # one query
        cache.set(7, "a better title")
        seen.append(cache.get(7))  # one more
        # The life of the old value has ended, but it is kept: if the database fails, it is better than nothing.
        cache.set(7, "the best title")
        away = True
        seen.append(cache.get(7))
    return [*seen, asked]


if __name__ == "__main__":
    print(*main(*sys.argv[1:]))
