"""Hotset: fast, small, bounded caches for Python, and memoizing decorators on top of them.

>>> from hotset import LRUCache
>>> cache = LRUCache(maxsize=2)
>>> cache["a"], cache["b"], cache["c"] = 1, 2, 3
>>> cache.get("a"), cache.get("c")
(None, 3)
"""

from hotset._engine import (
    ARCCache,
    Cache,
    FIFOCache,
    LFUCache,
    LRUCache,
    RRCache,
    TinyLFUCache,
    TLRUCache,
    TTLCache,
)
from hotset._version import __version__
from hotset.decorators import CacheInfo, cache, cached, lru_cache
from hotset.policies import POLICIES
from hotset.replaying import replay
from hotset.stats import CacheStats, ReplayResult

__all__ = [
    "POLICIES",
    "ARCCache",
    "Cache",
    "CacheInfo",
    "CacheStats",
    "FIFOCache",
    "LFUCache",
    "LRUCache",
    "RRCache",
    "ReplayResult",
    "TLRUCache",
    "TTLCache",
    "TinyLFUCache",
    "__version__",
    "cache",
    "cached",
    "lru_cache",
    "replay",
]
