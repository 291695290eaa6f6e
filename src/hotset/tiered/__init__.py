"""The tiered cache."""

from hotset.tiered.cache import TieredCache
from hotset.tiered.stats import Explanation, LevelStats, LevelView, TieredStats
from hotset.tiered.values import ABSENT, Loaded

__all__ = ["ABSENT", "Explanation", "LevelStats", "LevelView", "Loaded", "TieredCache", "TieredStats"]
