"""cachebox: caches in Rust."""

from __future__ import annotations

import cachebox

from hotset.bench.clients._contract import Client, Memoizer

_HOUR = 3600.0

CLIENTS = [
    Client("cachebox LRU", "lru", cachebox.LRUCache, distribution="cachebox", exact=True),
    Client("cachebox LFU", "lfu", cachebox.LFUCache, distribution="cachebox"),
    Client("cachebox FIFO", "fifo", cachebox.FIFOCache, distribution="cachebox", exact=True),
    Client("cachebox RR", "rr", cachebox.RRCache, distribution="cachebox"),
    # Its TTLCache evicts in order of insertion.
    Client("cachebox TTL", "fifo", lambda n: cachebox.TTLCache(n, _HOUR), distribution="cachebox", ttl=True),
]
MEMOIZERS = [
    Memoizer("cachebox.cached", lambda n: cachebox.cached(cachebox.LRUCache(n)), distribution="cachebox"),
    Memoizer(
        "cachebox.cached TTL",
        lambda n: cachebox.cached(cachebox.TTLCache(n, _HOUR)),
        distribution="cachebox",
        ttl=True,
    ),
]
