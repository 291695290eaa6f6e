"""cachetools: pure-Python caches over dict and OrderedDict."""

from __future__ import annotations

import cachetools

from hotset.bench.clients._contract import Client, Memoizer

_HOUR = 3600.0

CLIENTS = [
    Client("cachetools LRU", "lru", cachetools.LRUCache, distribution="cachetools", exact=True),
    Client("cachetools LFU", "lfu", cachetools.LFUCache, distribution="cachetools"),
    Client("cachetools FIFO", "fifo", cachetools.FIFOCache, distribution="cachetools", exact=True),
    Client("cachetools RR", "rr", cachetools.RRCache, distribution="cachetools"),
    Client(
        "cachetools TTL",
        "lru",
        lambda n: cachetools.TTLCache(n, _HOUR),
        distribution="cachetools",
        ttl=True,
        exact=True,
    ),
]
MEMOIZERS = [
    Memoizer("cachetools.cached", lambda n: cachetools.cached(cachetools.LRUCache(n)), distribution="cachetools"),
    Memoizer(
        "cachetools.cached TTL",
        lambda n: cachetools.cached(cachetools.TTLCache(n, _HOUR)),
        distribution="cachetools",
        ttl=True,
    ),
]
