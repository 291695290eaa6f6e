"""Hotset: fast, small, bounded caches for Python, and memoizing decorators on top of them.

>>> from hotset import LRUCache
>>> cache = LRUCache(maxsize=2)
>>> cache["a"], cache["b"], cache["c"] = 1, 2, 3
>>> cache.get("a"), cache.get("c")
(None, 3)
"""

import importlib
from typing import TYPE_CHECKING, Any

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
    TLRUCache,
    TTLCache,
    TwoQCache,
)
from hotset._version import __version__
from hotset.decorators import CacheInfo, cache, cached, lru_cache
from hotset.policies import POLICIES
from hotset.replaying import replay
from hotset.stats import CacheStats, ReplayResult

if TYPE_CHECKING:
    from hotset.tiered import ABSENT, Loaded, TieredCache, WriteBehind, WritePolicy
    from hotset.tiers import ClusterTier, DiskTier, MemoryTier, RedisTier
    from hotset.warming import CacheWarmer

__all__ = [
    "ABSENT",
    "POLICIES",
    "ARCCache",
    "Cache",
    "CacheInfo",
    "CacheStats",
    "CacheWarmer",
    "ClockCache",
    "ClusterTier",
    "DiskTier",
    "FIFOCache",
    "GDSFCache",
    "LFUCache",
    "LIRSCache",
    "LRUCache",
    "Loaded",
    "MemoryTier",
    "RRCache",
    "RedisTier",
    "ReplayResult",
    "S3FIFOCache",
    "SLRUCache",
    "SieveCache",
    "TLRUCache",
    "TTLCache",
    "TieredCache",
    "TinyLFUCache",
    "TwoQCache",
    "WriteBehind",
    "WritePolicy",
    "__version__",
    "cache",
    "cached",
    "lru_cache",
    "replay",
]

# Found when they are first asked for: who only wants the engine need not wait for them.
_LATER = {
    "ABSENT": "hotset.tiered",
    "Loaded": "hotset.tiered",
    "TieredCache": "hotset.tiered",
    "WriteBehind": "hotset.tiered",
    "WritePolicy": "hotset.tiered",
    "ClusterTier": "hotset.tiers",
    "DiskTier": "hotset.tiers",
    "MemoryTier": "hotset.tiers",
    "RedisTier": "hotset.tiers",
    "CacheWarmer": "hotset.warming",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
    return value
