"""cashews: asynchronous; memory, Redis with pickle, and both together by client-side caching."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from cashews import Cache

from hotset.bench.tiered.clients._contract import Client, Stand

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.bench.tiered.place import Place

_SECONDS = 300


class _Cashews(Client):
    name = "cashews (async)"
    distribution = "cashews"
    asynchronous = True
    sockets = False

    def memory(self, place: Place, entries: int) -> Stand:
        from cashews.backends.memory import Memory  # noqa: PLC0415 - only where it is used

        cache = Cache()
        cache.setup(place.url, client_side=True, local_cache=Memory(size=2 * entries))
        return _stand(cache)

    def shared(self, place: Place) -> Stand:
        cache = Cache()
        cache.setup(place.url, max_connections=100)
        return _stand(cache)

    def through(self, place: Place, load: Callable[[str], Any]) -> Stand:
        cache = Cache()
        cache.setup(place.url, client_side=True)

        # lock=True: one load in all processes; `protected`, which is on by default, is for one process.
        get: Any = cache(ttl=_SECONDS, key="{key}", lock=True)(load)
        return Stand(get, functools.partial(cache.set, expire=_SECONDS), close=cache.close)


def _stand(cache: Cache) -> Stand:
    async def get_many(keys: list[str]) -> Any:
        return await cache.get_many(*keys)

    return Stand(cache.get, functools.partial(cache.set, expire=_SECONDS), get_many, cache.close)


CLIENTS = [_Cashews()]
