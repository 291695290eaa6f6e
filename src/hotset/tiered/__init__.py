"""The tiered cache."""

from hotset.tiered.cache import TieredCache
from hotset.tiered.flow import ABSENT, Loaded
from hotset.tiered.stats import Explanation, LevelStats, LevelView, TieredStats

__all__ = ["ABSENT", "Explanation", "LevelStats", "LevelView", "Loaded", "TieredCache", "TieredStats"]
