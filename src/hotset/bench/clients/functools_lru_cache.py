"""`functools.lru_cache` of the standard library: a memoizer; read through, a miss calls the function."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from hotset.bench.clients._contract import Client, Memoizer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable


def _make(capacity: int) -> Callable[[Hashable], Hashable]:
    # A fresh function a cache: lru_cache shares nothing, but neither should the bytecode be shared.
    return functools.lru_cache(maxsize=capacity)(lambda key: key)


class _FunctoolsLRU(Client):
    """It has no get and no set: a call reads, and loads on a miss."""

    calls_only = True

    def getter(self, cache: Any) -> Callable[[Hashable], Any]:
        return cache  # type: ignore[no-any-return]

    def holds(self, cache: Any, key: Hashable) -> bool:
        before = cache.cache_info().misses
        cache(key)
        return bool(cache.cache_info().misses == before)

    @staticmethod
    def fill(cache: Any, keys: Iterable[Hashable]) -> None:
        for key in keys:
            cache(key)

    @staticmethod
    def touch(cache: Any, keys: Iterable[Hashable]) -> None:
        for key in keys:
            cache(key)

    @staticmethod
    def read_through(cache: Any, keys: Iterable[Hashable]) -> int:
        before = cache.cache_info().misses
        for key in keys:
            cache(key)
        return int(cache.cache_info().misses - before)

    def operations(self, cache: Any) -> tuple[Callable[[Hashable], Any], Callable[[Hashable, Any], Any]]:
        return cache, lambda key, _value: cache(key)


CLIENTS = [_FunctoolsLRU("functools.lru_cache", "lru", _make, exact=True)]
MEMOIZERS = [Memoizer("functools.lru_cache", lambda capacity: functools.lru_cache(maxsize=capacity))]
