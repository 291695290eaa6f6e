"""The levels of a tiered cache."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hotset.tiers.contract import Entry, Found, Listener, Reading, Tier
from hotset.tiers.memory import MemoryTier

if TYPE_CHECKING:
    from hotset.tiers.redis import RedisTier

__all__ = ["Entry", "Found", "Listener", "MemoryTier", "Reading", "RedisTier", "Tier"]


def __getattr__(name: str) -> Any:
    # Its client is an extra that not everybody has.
    if name == "RedisTier":
        return importlib.import_module("hotset.tiers.redis").RedisTier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
