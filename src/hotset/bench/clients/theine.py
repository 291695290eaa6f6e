"""theine: W-TinyLFU, a Python face over a core in Rust.

`get` returns `(value, found)`: a loop that compares its result with None would never store anything.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from theine import Cache, Memoize

from hotset.bench.clients._contract import Memoizer, MethodClient

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

_HOUR = timedelta(hours=1)


class _Theine(MethodClient):
    def holds(self, cache: Any, key: Hashable) -> bool:
        return bool(cache.get(key)[1])

    @staticmethod
    def read_through(cache: Any, keys: Iterable[Hashable]) -> int:
        get, put = cache.get, cache.set
        misses = 0
        for key in keys:
            _, found = get(key)
            if not found:
                put(key, key)
                misses += 1
        return misses


class _TheineTTL(_Theine):
    @staticmethod
    def fill(cache: Any, keys: Iterable[Hashable]) -> None:
        put, ttl = cache.set, _HOUR
        for key in keys:
            put(key, key, ttl)

    @staticmethod
    def read_through(cache: Any, keys: Iterable[Hashable]) -> int:
        get, put, ttl = cache.get, cache.set, _HOUR
        misses = 0
        for key in keys:
            _, found = get(key)
            if not found:
                put(key, key, ttl)
                misses += 1
        return misses


CLIENTS = [
    _Theine("theine W-TinyLFU", "tinylfu", Cache, distribution="theine"),
    _TheineTTL("theine W-TinyLFU + ttl", "tinylfu", Cache, distribution="theine", ttl=True),
]
MEMOIZERS = [
    Memoizer("theine.Memoize", lambda n: Memoize(n, None), distribution="theine"),
    Memoizer("theine.Memoize TTL", lambda n: Memoize(n, _HOUR), distribution="theine", ttl=True),
]
