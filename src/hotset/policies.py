"""The policies by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hotset._engine import (
    ARCCache,
    Cache,
    ClockCache,
    FIFOCache,
    GDSFCache,
    LFUCache,
    LIRSCache,
    LRUCache,
    RRCache,
    S3FIFOCache,
    SieveCache,
    SLRUCache,
    TinyLFUCache,
    TwoQCache,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MOST_USES", "POLICIES", "policy_class", "uses_of"]

# Each makes caches of any keys and values.
POLICIES: Final[dict[str, type[Cache[Any, Any]]]] = {
    "auto": Cache,
    "lru": LRUCache,
    "lfu": LFUCache,
    "arc": ARCCache,
    "tinylfu": TinyLFUCache,
    "sieve": SieveCache,
    "clock": ClockCache,
    "slru": SLRUCache,
    "s3fifo": S3FIFOCache,
    "twoq": TwoQCache,
    "lirs": LIRSCache,
    "gdsf": GDSFCache,
    "fifo": FIFOCache,
    "rr": RRCache,
}


MOST_USES: Final = 15  # as many as TinyLFU counts
# What a policy has counted for an entry, made of the rank that a snapshot of the engine has; else it counts nothing.
# A segment of SLRU and the heat of LIRS are no counts: a cache that fills gives them to what comes first.
_USES: Final[dict[str, Callable[[int], int]]] = {
    "lfu": lambda rank: rank,
    "arc": lambda rank: rank & 1,  # the list of those used once, or of those used again
    "tinylfu": lambda rank: max(1, rank >> 2),  # the region is below
    "sieve": lambda rank: 1 + (rank >> 32),  # whether it was used since it came
    "clock": lambda rank: 1 + (rank >> 32),
    "s3fifo": lambda rank: 1 + (rank >> 1),  # since it came to its queue
    "twoq": lambda rank: 1 + rank,  # the queue, or the list of those that came back
    "gdsf": lambda rank: rank >> 16 & 0xFFFF,  # below what is left of them
    "auto": lambda rank: max(1, (rank >> 32) + (rank >> 2 & 15)),  # what the sketch has counted, and hits since
}


def _once(_rank: int) -> int:
    return 1


def uses_of(policy: str, cache: Cache[Any, Any]) -> list[tuple[Any, Any, int]]:
    """Return keys, values and uses, the coldest first: who uses each so often, in this order, gives them their rank.

    Up to MOST_USES; 1 for all where the policy knows order only. No use of them. O(n).
    """
    counted = _USES.get(policy, _once)
    state: Any = cache.__reduce_ex__(2)[2]
    return [(key, value, min(MOST_USES, counted(rank))) for key, value, _, _, _, rank, _ in state["entries"]]


def policy_class(policy: str) -> type[Cache[Any, Any]]:
    """Return the cache class of a policy's name, or raise ValueError."""
    try:
        return POLICIES[policy]
    except (KeyError, TypeError):
        raise ValueError(f"unknown policy {policy!r}: use one of {', '.join(POLICIES)}") from None
