"""dogpile.cache: regions over one backend each, memory or Redis with pickle; it has no levels."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from dogpile.cache import make_region

from hotset.bench.tiered.clients._contract import Client, Stand

if TYPE_CHECKING:
    from collections.abc import Callable

    from dogpile.cache import CacheRegion

    from hotset.bench.tiered.place import Place

_SECONDS = 300


class _Dogpile(Client):
    name = "dogpile.cache"
    distribution = "dogpile.cache"

    def memory(self, _place: Place, _entries: int) -> Stand:
        region = make_region().configure("dogpile.cache.memory", expiration_time=_SECONDS)
        return Stand(region.get, region.set, region.get_multi)

    def shared(self, place: Place) -> Stand:
        region = _on(place)
        return Stand(region.get, region.set, region.get_multi, _closer(region))

    def through(self, place: Place, load: Callable[[str], Any]) -> Stand:
        region = _on(place)

        def get(key: str) -> Any:
            return region.get_or_create(key, functools.partial(load, key))

        return Stand(get, region.set, close=_closer(region))


def _on(place: Place) -> CacheRegion:
    arguments = {"url": place.url, "redis_expiration_time": 2 * _SECONDS}
    return make_region().configure("dogpile.cache.redis", expiration_time=_SECONDS, arguments=arguments)


def _closer(region: CacheRegion) -> Callable[[], None]:
    def close() -> None:
        region.backend.writer_client.close()
        region.backend.reader_client.close()

    return close


CLIENTS = [_Dogpile()]
