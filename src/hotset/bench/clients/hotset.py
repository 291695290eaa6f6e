"""Hotset itself, through its public classes and decorators."""

from __future__ import annotations

import functools
from typing import Any

import hotset
from hotset.bench.clients._contract import Client, Memoizer

_HOUR = 3600.0
_LABELS = {"auto": "Auto", "lru": "LRU", "lfu": "LFU", "arc": "ARC", "tinylfu": "TinyLFU", "fifo": "FIFO", "rr": "RR"}


def _make(policy: str, capacity: int, ttl: float | None = None) -> Any:
    cache_class: Any = hotset.POLICIES[policy]
    return cache_class(capacity, ttl=ttl)


CLIENTS = [
    Client(
        f"hotset {label}" + (" + ttl" if ttl else ""),
        policy,
        functools.partial(_make, policy, ttl=ttl),
        distribution="hotset",
        ttl=ttl is not None,
        exact=policy in {"lru", "lfu", "fifo"},
    )
    for policy, label in _LABELS.items()
    for ttl in (None, _HOUR)
]
MEMOIZERS = [
    Memoizer("hotset.lru_cache", lambda n: hotset.lru_cache(maxsize=n), distribution="hotset"),
    Memoizer("hotset.cached", lambda n: hotset.cached(maxsize=n), distribution="hotset"),
    Memoizer("hotset.cached + ttl", lambda n: hotset.cached(maxsize=n, ttl=_HOUR), distribution="hotset", ttl=True),
]
