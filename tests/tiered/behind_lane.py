"""Processes that write behind, one after another on one journal, each killed in the middle of it.

python behind_lane.py FOLDER SEED RUNS

Each run is a fork of this process, which has imported everything: it opens the journal that the last one has left, and
writes as fast as it can until it gets SIGKILL; in some runs as soon as it opens it. What was acknowledged it notes in a
file. The last run is let finish.
"""

import os
import pathlib
import random
import signal
import sqlite3
import sys
import threading
import time

from hotset import MemoryTier, TieredCache, WriteBehind

SECONDS = 0.02, 0.08  # from the first write, or the start, to the kill
EARLY = 0.2  # the share of runs that are killed that soon after their start
COUNTERS = 6


class Origin:
    """A table in which each row has the number of its last write; and a log of what took effect."""

    def __init__(self, path):
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value INTEGER, seq INTEGER)")
        self.database.execute("CREATE TABLE IF NOT EXISTS log (key TEXT, value INTEGER, seq INTEGER)")
        self.database.execute("CREATE TABLE IF NOT EXISTS given (key TEXT, seq INTEGER, repeated INTEGER)")

    def save_many(self, items, seq):
        self.database.execute("BEGIN IMMEDIATE")
        for key, value in items.items():
            done = self.database.execute(
                "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, "
                "seq = excluded.seq WHERE excluded.seq > rows.seq",
                (key, value, seq[key]),
            )
            if done.rowcount:
                self.database.execute("INSERT INTO log VALUES (?, ?, ?)", (key, value, seq[key]))
            self.database.execute("INSERT INTO given VALUES (?, ?, ?)", (key, seq[key], not done.rowcount))
        self.database.execute("COMMIT")


def write(folder, run, ready, *, finish):
    """Be one process of the lane."""
    origin = Origin(folder / "origin")
    behind = WriteBehind(folder / "journal", batch=20, interval=0.002, close_timeout=60)
    cache = TieredCache("lane", [MemoryTier(100)], save_many=origin.save_many, write="behind", behind=behind)
    if finish:
        cache.close()
        return
    noted = os.open(folder / "acknowledged", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def work(number):
        turn = 0
        while True:
            turn += 1
            if turn == 2:
                os.write(ready, b".")
            value = run * 1_000_000 + turn
            if turn % 3:
                items = {f"counter {number}": value, f"once {run} {number} {turn}": value}
                cache.set_many(items)
            else:
                items = {f"counter {number}": value}
                cache.set(f"counter {number}", value)
            os.write(noted, "".join(f"{key}\t{value}\n" for key in items).encode())

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(COUNTERS)]
    for thread in threads:
        thread.start()
    threads[0].join()


def main(folder, seed, runs):
    folder, rng = pathlib.Path(folder), random.Random(seed)
    for run in range(1, int(runs) + 2):
        finish = run > int(runs)
        told, ready = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                write(folder, run, ready, finish=finish)
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
                os._exit(1)
            os._exit(0)
        os.close(ready)
        if not finish:
            if rng.random() > EARLY:
                os.read(told, 1)  # nothing if it has died
            time.sleep(rng.uniform(*SECONDS))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(told)
        if os.waitstatus_to_exitcode(status) != (0 if finish else -signal.SIGKILL):
            raise SystemExit(f"run {run} ended with status {status}")


if __name__ == "__main__":
    main(*sys.argv[1:])
