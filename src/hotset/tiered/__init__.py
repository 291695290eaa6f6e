"""The tiered cache."""

from hotset.tiered.behind import DeadLetter, WriteBehind
from hotset.tiered.cache import TieredCache
from hotset.tiered.held import Invalidations
from hotset.tiered.stats import BehindStats, Explanation, LevelStats, LevelView, TieredStats
from hotset.tiered.values import ABSENT, Loaded
from hotset.tiered.write_policy import WritePolicy

__all__ = [
    "ABSENT",
    "BehindStats",
    "DeadLetter",
    "Explanation",
    "Invalidations",
    "LevelStats",
    "LevelView",
    "Loaded",
    "TieredCache",
    "TieredStats",
    "WriteBehind",
    "WritePolicy",
]
