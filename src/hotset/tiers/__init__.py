"""The levels of a tiered cache."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from hotset.tiers.contract import Entry, Found, Listener, LocalTier, Reading, Tier
from hotset.tiers.memory import MemoryTier

if TYPE_CHECKING:
    from hotset.tiers.cluster import ClusterTier
    from hotset.tiers.disk import DiskTier
    from hotset.tiers.gutter import GutterTier
    from hotset.tiers.redis import RedisTier
    from hotset.tiers.replica import ReplicaTier
    from hotset.tiers.replicated import ReplicatedTier
    from hotset.tiers.sharded import ShardedTier

__all__ = [
    "ClusterTier",
    "DiskTier",
    "Entry",
    "Found",
    "GutterTier",
    "Listener",
    "LocalTier",
    "MemoryTier",
    "Reading",
    "RedisTier",
    "ReplicaTier",
    "ReplicatedTier",
    "ShardedTier",
    "Tier",
]

# Found when they are first asked for: they need extras that not everybody has, or parts of the tiered cache.
_LATER: Final = {
    "ClusterTier": "hotset.tiers.cluster",
    "DiskTier": "hotset.tiers.disk",
    "GutterTier": "hotset.tiers.gutter",
    "RedisTier": "hotset.tiers.redis",
    "ReplicaTier": "hotset.tiers.replica",
    "ReplicatedTier": "hotset.tiers.replicated",
    "ShardedTier": "hotset.tiers.sharded",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
