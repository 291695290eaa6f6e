"""How many writes a second does each write policy acknowledge? With one SQLite origin on disk.

python benchmarks/writes.py [--quick] [--rounds 5] [--folder DIR] [--json FILE]

The origin is a table in WAL mode with synchronous=FULL, the journal a file beside it: what is acknowledged is on the
disk, behind as through. `at the origin` counts until the origin has all of it, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from hotset import MemoryTier, TieredCache, WriteBehind
from hotset.bench import report
from hotset.bench.bars import Verdict
from hotset.bench.machine import machine, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 120.0
VALUE = "v" * 100


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    threads: int = 8
    tasks: int = 1000
    batch: int = 100
    one_by_one: int = 100  # writes of each thread
    batches: int = 100  # of each thread
    turns: int = 10  # of each task
    rounds: int = 5

    @classmethod
    def quick(cls) -> Sizes:
        """Return a first look."""
        return cls(one_by_one=30, batches=30, turns=4, rounds=3)

    @classmethod
    def tiny(cls) -> Sizes:
        """Return what shows that it runs."""
        return cls(threads=2, tasks=10, batch=10, one_by_one=3, batches=2, turns=2, rounds=1)


class Origin:
    """A table on disk, of which one connection is used in turns."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=FULL")
        self.database.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, value TEXT)")

    def save(self, key: str, value: str) -> None:
        """Store one, in a transaction of its own."""
        with self.lock:
            self.database.execute("REPLACE INTO rows VALUES (?, ?)", (key, value))

    def save_many(self, items: dict[str, str]) -> None:
        """Store several in one transaction."""
        with self.lock:
            self.database.execute("BEGIN")
            self.database.executemany("REPLACE INTO rows VALUES (?, ?)", items.items())
            self.database.execute("COMMIT")

    def count(self) -> int:
        """Return how many there are."""
        return int(self.database.execute("SELECT count(*) FROM rows").fetchone()[0])


@contextlib.contextmanager
def cache_of(kind: str, batch: int, folder: Path) -> Iterator[tuple[TieredCache[str, str], Origin]]:
    """A cache in memory over an origin of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        origin = Origin(Path(place) / "origin")
        options: dict[str, Any] = {"save": origin.save}
        if kind != "through, save":
            options["save_many"] = origin.save_many
        if kind == "behind":
            journal = Path(place) / "journal"
            options["behind"] = WriteBehind(journal, batch=batch, max_queue=1_000_000, close_timeout=PATIENCE)
        policy = kind.partition(",")[0]
        cache: TieredCache[str, str] = TieredCache("writes", [MemoryTier(1_000_000)], write=policy, **options)
        try:
            yield cache, origin
        finally:
            cache.close()
            origin.database.close()


def in_threads(work: Callable[[int], None], count: int) -> float:
    """Seconds that so many threads take for it."""
    gate = threading.Barrier(count + 1)

    def run(number: int) -> None:
        gate.wait(PATIENCE)
        work(number)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    gate.wait(PATIENCE)
    begun = time.perf_counter()
    for thread in threads:
        thread.join(PATIENCE)
    return time.perf_counter() - begun


def one_by_one(cache: TieredCache[str, str], sizes: Sizes) -> tuple[int, float]:
    def work(number: int) -> None:
        for turn in range(sizes.one_by_one):
            cache.set(f"key:{number}:{turn}", VALUE)

    return sizes.threads * sizes.one_by_one, in_threads(work, sizes.threads)


def in_batches(cache: TieredCache[str, str], sizes: Sizes) -> tuple[int, float]:
    def work(number: int) -> None:
        for turn in range(sizes.batches):
            cache.set_many({f"key:{number}:{turn}:{place}": VALUE for place in range(sizes.batch)})

    return sizes.threads * sizes.batches * sizes.batch, in_threads(work, sizes.threads)


def few_batches(cache: TieredCache[str, str], sizes: Sizes) -> tuple[int, float]:
    """What takes a transaction for each write is given fewer."""
    return in_batches(cache, replace(sizes, batches=max(1, sizes.one_by_one // sizes.batch)))


def in_tasks(cache: TieredCache[str, str], sizes: Sizes) -> tuple[int, float]:
    async def work(number: int) -> None:
        for turn in range(sizes.turns):
            await cache.aset(f"key:{number}:{turn}", VALUE)

    async def main() -> float:
        begun = time.perf_counter()
        await asyncio.gather(*[work(number) for number in range(sizes.tasks)])
        return time.perf_counter() - begun

    return sizes.tasks * sizes.turns, asyncio.run(main())


ONE, MANY, TASKS = "8 threads, one by one", "8 threads, 100 at a time", "1,000 tasks, one by one"
ROWS: dict[tuple[str, str], Callable[[TieredCache[str, str], Sizes], tuple[int, float]]] = {
    (ONE, "through, save"): one_by_one,
    (ONE, "behind"): one_by_one,
    (MANY, "through, save"): few_batches,
    (MANY, "through, save_many"): in_batches,
    (MANY, "behind"): in_batches,
    (TASKS, "behind"): in_tasks,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="each with all contestants in random order")
    parser.add_argument(
        "--folder", type=Path, help="on the disk that is to be measured; default: that of temporary files"
    )
    parser.add_argument("--quick", action="store_true", help="fewer writes; the bars are meant for the full run")
    parser.add_argument("--tiny", action="store_true", help="only see whether it runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sizes = Sizes.tiny() if args.tiny else Sizes.quick() if args.quick else Sizes()
    if args.rounds:
        sizes = replace(sizes, rounds=args.rounds)
    rng = random.Random(args.seed)
    out = report.console()
    report.heading(out, machine(), versions(("msgspec",)) | {"sqlite": sqlite3.sqlite_version}, {})
    acknowledged: dict[tuple[str, str], list[float]] = {row: [] for row in ROWS}
    arrived: dict[tuple[str, str], list[float]] = {row: [] for row in ROWS}
    with report.progress(len(ROWS) * sizes.rounds) as advance:
        for _ in range(sizes.rounds):
            for row in rng.sample(list(ROWS), len(ROWS)):
                advance(", ".join(row))
                with cache_of(row[1], sizes.batch, args.folder) as (cache, origin):
                    count, seconds = ROWS[row](cache, sizes)
                    begun = time.perf_counter()
                    if cache.behind is not None and not cache.behind.flush(PATIENCE):
                        raise SystemExit(f"the origin did not get all within {PATIENCE:g} s")
                    whole = seconds + time.perf_counter() - begun
                    if origin.count() != count:
                        raise SystemExit(f"{row}: the origin has {origin.count():,} of {count:,} writes")
                acknowledged[row].append(count / seconds)
                arrived[row].append(count / whole)
    figures = {row: statistics.median(found) for row, found in acknowledged.items()}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("writers", "policy"):
        table.add_column(title, no_wrap=True)
    for title in ("acknowledged/s", "slowest", "fastest", "at the origin/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for row, found in acknowledged.items():
        numbers = [figures[row], min(found), max(found), statistics.median(arrived[row])]
        style = "bold green" if row[1] == "behind" else ""
        table.add_row(*row, *[f"{number:,.0f}" for number in numbers], style=style)
    out.print(table)
    behind, through = figures[MANY, "behind"], figures[ONE, "through, save"]
    each, together = figures[MANY, "through, save"], figures[MANY, "through, save_many"]
    judged = [
        Verdict("behind, 100 at a time", ">= 30,000 acknowledged writes/s", behind, behind >= 30_000),
        Verdict("behind, 100 at a time", ">= 5 x through, one by one", behind / through, behind >= 5 * through),
        Verdict("behind, 100 at a time", ">= 5 x through, 100 at a time by save", behind / each, behind >= 5 * each),
        Verdict("behind, 100 at a time", "through, 100 at a time by save_many: no bar", behind / together, None),
    ]
    report.verdicts(out, judged)
    report.summary(out, judged, full=not (args.tiny or args.quick))
    if args.json:
        content = {
            "machine": machine(),
            "figures": {", ".join(row): round(figure) for row, figure in figures.items()},
            "bars": [verdict.as_dict() for verdict in judged],
        }
        report.write_json(args.json, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
