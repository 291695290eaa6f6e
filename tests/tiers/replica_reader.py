"""Reads through a lagging replica in a process of its own, and tells when it asked for what and what it got.

Arguments: the URLs of the shared level and of the marks, the file of the replica. Ends with its input.
"""

import sqlite3
import sys
import threading
import time

from hotset.tiered import TieredCache
from hotset.tiers import RedisTier, ReplicaTier

shared, marks, path = sys.argv[1:]


def query(statement, *values):
    connection = sqlite3.connect(path, timeout=10)
    try:
        return connection.execute(statement, values).fetchone()[0]
    finally:
        connection.close()


replica = ReplicaTier(
    lambda key: query("SELECT value FROM items WHERE key = ?", key),
    lag=lambda: max(0.0, time.time() - query("SELECT moment FROM heartbeat")),
    max_staleness=0.4,
    check_every=0,
    timeout=0.2,
    marks=RedisTier(marks, stream=None, name="marks", timeout=0.2),
)
ending = threading.Event()


def wait_for_the_end():
    sys.stdin.read()
    ending.set()


threading.Thread(target=wait_for_the_end, daemon=True).start()
with TieredCache("test", [RedisTier(shared, stream=None, timeout=0.5), replica]) as cache:
    number = 0
    while not ending.is_set():
        number += 1
        key = f"k{number % 5}"
        begun = time.monotonic()
        found = cache.get(key, None)
        if found is not None:
            print(begun, key, found, flush=True)
    print("found", replica.stats()[0].found, flush=True)
