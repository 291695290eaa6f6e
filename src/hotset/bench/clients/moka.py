"""moka-py: W-TinyLFU and LRU, a binding to a concurrent cache in Rust.

Maintenance runs late: until `run_pending_tasks()` the cache holds more than its capacity, which flatters
its hit ratio. Timed loops leave it alone, as users do; `replay` settles it after each write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moka_py import Moka, cached

from hotset.bench.clients._contract import Memoizer, MethodClient

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

_HOUR = 3600.0


class _Moka(MethodClient):
    lags = True

    def settle(self, cache: Any) -> None:
        cache.run_pending_tasks()

    def replay(self, cache: Any, keys: Iterable[Hashable]) -> int:
        get, put, settle = cache.get, cache.set, cache.run_pending_tasks
        misses = 0
        for key in keys:
            if get(key) is None:
                put(key, key)
                settle()
                misses += 1
        return misses


CLIENTS = [
    _Moka("moka-py W-TinyLFU", "tinylfu", Moka, distribution="moka-py"),
    _Moka("moka-py LRU", "lru", lambda n: Moka(n, policy="lru"), distribution="moka-py"),
    _Moka("moka-py W-TinyLFU + ttl", "tinylfu", lambda n: Moka(n, ttl=_HOUR), distribution="moka-py", ttl=True),
]
MEMOIZERS = [
    Memoizer("moka_py.cached", lambda n: cached(maxsize=n), distribution="moka-py"),
    Memoizer("moka_py.cached TTL", lambda n: cached(maxsize=n, ttl=_HOUR), distribution="moka-py", ttl=True),
]
