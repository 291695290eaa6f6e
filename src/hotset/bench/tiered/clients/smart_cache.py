"""The textbook's multi-level cache: a dict, then Redis with JSON, then the loader; with hit counters, no more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import redis

from hotset.bench.tiered.clients._contract import Client, Stand

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.bench.tiered.place import Place

_SECONDS = 300


class SmartCache:
    """As it is written in posts and books: unbounded, unlocked, and stale in every other process."""

    def __init__(self, client: redis.Redis, load: Callable[[str], Any], *, keep: bool = True) -> None:
        self.local: dict[str, Any] = {}
        self.redis = client
        self.load = load
        self.keep = keep
        self.stats = {"l1_hits": 0, "l2_hits": 0, "misses": 0}

    def get(self, key: str) -> Any:
        """Return the value of a key from the first level that has it."""
        if key in self.local:
            self.stats["l1_hits"] += 1
            return self.local[key]
        data = self.redis.get(key)
        if data is not None:
            self.stats["l2_hits"] += 1
            value = json.loads(data)
            if self.keep:
                self.local[key] = value
            return value
        self.stats["misses"] += 1
        value = self.load(key)
        self.set(key, value)
        return value

    def set(self, key: str, value: Any) -> None:
        """Store a value in both levels."""
        self.redis.set(key, json.dumps(value), ex=_SECONDS)
        if self.keep:
            self.local[key] = value


def _none(_key: str) -> None:
    return None


class _SmartCache(Client):
    name = "SmartCache"
    distribution = "redis"

    def memory(self, place: Place, _entries: int) -> Stand:
        return self._stand(place, _none)

    def shared(self, place: Place) -> Stand:
        return self._stand(place, _none, keep=False)

    def through(self, place: Place, load: Callable[[str], Any]) -> Stand:
        return self._stand(place, load)

    @staticmethod
    def _stand(place: Place, load: Callable[[str], Any], *, keep: bool = True) -> Stand:
        client = redis.Redis.from_url(place.url)
        cache = SmartCache(client, load, keep=keep)
        return Stand(cache.get, cache.set, close=client.close)


CLIENTS = [_SmartCache()]
