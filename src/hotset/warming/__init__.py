"""Warming: a cache that is filled before it is asked."""

from hotset.warming.report import StrategyReport, WarmingReport
from hotset.warming.strategies import from_file, from_hot, from_keys, from_peer, from_tier
from hotset.warming.warmer import CacheWarmer
from hotset.warming.warmup import Warmup

__all__ = [
    "CacheWarmer",
    "StrategyReport",
    "WarmingReport",
    "Warmup",
    "from_file",
    "from_hot",
    "from_keys",
    "from_peer",
    "from_tier",
]
