"""Hotset itself: the tiered cache with everything on, and its engine alone."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import hotset
from hotset.bench.tiered.clients._contract import Client, Stand
from hotset.tiered import TieredCache
from hotset.tiers import ClusterTier, MemoryTier, RedisTier

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.annotations import PolicyName
    from hotset.bench.tiered.place import Place

__all__ = ["CLIENTS", "POLICIES", "Engine", "Tiered", "all_on", "settle"]

POLICIES: tuple[PolicyName, ...] = ("tinylfu", "lru", "lfu", "arc")
_NAME = "bench"
_SETTLES = 10.0  # seconds


def _none(_key: str) -> Any:
    return None


def all_on(place: Place, entries: int, policy: PolicyName = "tinylfu") -> TieredCache[str, Any]:
    """Return a cache with all that a hit might have to look at: stream, breaker, lives, early refresh, fail-safe."""
    return TieredCache(
        _NAME,
        [MemoryTier(entries, policy), RedisTier(place.url)],
        load=_none,
        ttl="5m",
        keep="1h",
        refresh_ahead=0.8,
        xfetch=1.0,
        stale_while_revalidate="1m",
        soft_timeout=0.5,
        hard_timeout=5.0,
        max_loads=64,
    )


def settle(cache: TieredCache[str, Any], keys: list[str]) -> None:
    """Read the keys until the server is asked for none of them. Raises RuntimeError if it always is."""
    deadline = time.monotonic() + _SETTLES
    while time.monotonic() < deadline:
        before = cache.stats().levels
        for key in keys:
            cache.get(key)
        after = cache.stats().levels
        # Few keys take a second look, which is not counted as a hit.
        if after[1].reads == before[1].reads and after[0].hits - before[0].hits > 0.9 * len(keys):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{cache!r} does not answer all of {len(keys)} keys from memory: {cache.stats()}")


class Engine(Client):
    """The bare engine, as `hotset.POLICIES` has it, without a time to live."""

    setups = ("memory",)

    def __init__(self, policy: PolicyName) -> None:
        self.policy = policy
        self.name = f"engine {policy}"
        self.distribution = "hotset"

    def memory(self, _place: Place, entries: int) -> Stand:
        """See Client."""
        cache: Any = hotset.POLICIES[self.policy](entries)
        return Stand(cache.get, cache.__setitem__)


class Tiered(Client):
    """The tiered cache: plain, or with `asynchronous` by its coroutine methods."""

    distribution = "hotset"

    def __init__(self, policy: PolicyName = "tinylfu", *, asynchronous: bool = False) -> None:
        self.policy = policy
        self.asynchronous = asynchronous
        if policy != "tinylfu":
            self.setups = ("memory",)
        self.name = "hotset" if policy == "tinylfu" else f"hotset {policy}"
        if asynchronous:
            self.name += " (async)"

    def memory(self, place: Place, entries: int) -> Stand:
        """See Client."""
        return self._stand(all_on(place, entries, self.policy), tagged=True)

    def shared(self, place: Place) -> Stand:
        """See Client."""
        return self._stand(TieredCache(_NAME, [RedisTier(place.url)], ttl="5m"))

    def through(self, place: Place, load: Callable[[str], Any]) -> Stand:
        """See Client."""
        memory = MemoryTier(100_000, self.policy)
        return self._stand(TieredCache(_NAME, [memory, RedisTier(place.url)], load=load, ttl="5m"))

    def _stand(self, cache: TieredCache[str, Any], *, tagged: bool = False) -> Stand:
        tags = ("users", "all") if tagged else ()
        if self.asynchronous:

            async def aput(key: str, value: Any) -> None:
                await cache.aset(key, value, tags=tags)

            return Stand(cache.aget, aput, cache.aget_many, cache.aclose, functools.partial(settle, cache))

        def put(key: str, value: Any) -> None:
            cache.set(key, value, tags=tags)

        return Stand(cache.get, put, cache.get_many, cache.close, functools.partial(settle, cache))


class Below(Tiered):
    """Two levels, of which the memory knows none of the keys: what is read was stored by another cache object."""

    setups = ("shared",)

    def __init__(self, *, asynchronous: bool = False) -> None:
        super().__init__(asynchronous=asynchronous)
        self.name = "hotset, memory missed (async)" if asynchronous else "hotset, memory missed"

    def shared(self, place: Place) -> Stand:
        """See Client."""
        writer = super().shared(place)
        reader = self._stand(TieredCache(_NAME, [MemoryTier(100_000), RedisTier(place.url)], ttl="5m"))
        if self.asynchronous:

            async def aclose() -> None:
                await reader.close()
                await writer.close()

            return Stand(reader.get, writer.put, reader.get_many, aclose)

        def close() -> None:
            reader.close()
            writer.close()

        return Stand(reader.get, writer.put, reader.get_many, close)


class Clustered(Tiered):
    """One level, which is a Cluster."""

    setups = ("cluster",)

    def cluster(self, place: Place) -> Stand:
        """See Client."""
        return self._stand(TieredCache(_NAME, [ClusterTier(place.cluster.url)], ttl="5m"))


CLIENTS: list[Client] = [
    *(Engine(policy) for policy in POLICIES),
    *(Tiered(policy) for policy in POLICIES),
    Tiered(asynchronous=True),
    Below(),
    Below(asynchronous=True),
    Clustered(),
]
