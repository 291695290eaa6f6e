"""The policies by their names."""

from __future__ import annotations

from typing import Any, Final

from hotset._engine import ARCCache, Cache, FIFOCache, LFUCache, LRUCache, RRCache, TinyLFUCache

__all__ = ["POLICIES", "policy_class"]

# Each makes caches of any keys and values.
POLICIES: Final[dict[str, type[Cache[Any, Any]]]] = {
    "lru": LRUCache,
    "lfu": LFUCache,
    "arc": ARCCache,
    "tinylfu": TinyLFUCache,
    "fifo": FIFOCache,
    "rr": RRCache,
}


def policy_class(policy: str) -> type[Cache[Any, Any]]:
    """Return the cache class of a policy's name, or raise ValueError."""
    try:
        return POLICIES[policy]
    except (KeyError, TypeError):
        raise ValueError(f"unknown policy {policy!r}: use one of {', '.join(POLICIES)}") from None
