"""aiocache: asynchronous; memory, or Redis with JSON; it has no levels."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import aiocache
import redis.asyncio
from aiocache.serializers import JsonSerializer

from hotset.bench.tiered.clients._contract import Client, Stand

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.bench.tiered.place import Place

_SECONDS = 300


class _Aiocache(Client):
    name = "aiocache (async)"
    distribution = "aiocache"
    asynchronous = True
    sockets = False

    def memory(self, _place: Place, _entries: int) -> Stand:
        return _stand(aiocache.Cache(aiocache.Cache.MEMORY, ttl=_SECONDS))

    def shared(self, place: Place) -> Stand:
        return _stand(aiocache.Cache(aiocache.Cache.REDIS, ttl=_SECONDS, **_options(place)))

    def through(self, place: Place, load: Callable[[str], Any]) -> Stand:
        protected = aiocache.cached_stampede(
            lease=2, ttl=_SECONDS, cache=aiocache.Cache.REDIS, key_builder=lambda _function, key: key, **_options(place)
        )
        get = protected(load)
        return Stand(get, get.cache.set, close=get.cache.close)


def _options(place: Place) -> dict[str, Any]:
    # A pool that does not wait refuses the 101st caller.
    pool = {"connection_pool_class": redis.asyncio.BlockingConnectionPool, "pool_max_size": 100}
    return {"endpoint": "127.0.0.1", "port": place.server.port, "serializer": JsonSerializer(), **pool}


def _stand(cache: Any) -> Stand:
    return Stand(cache.get, functools.partial(cache.set, ttl=_SECONDS), cache.multi_get, cache.close)


CLIENTS = [_Aiocache()]
