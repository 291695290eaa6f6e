"""What caches and replays report."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CacheStats", "ReplayResult"]


class CacheStats(NamedTuple):
    """Counts since a cache was made or its statistics were reset.

    ``evictions``, ``expirations``, ``deletions`` and ``replacements`` count the entries that left by the causes "size",
    "expired", "explicit" and "replaced". Reads are ``get``, ``[]``, ``get_many`` and ``get_or_load``.
    """

    hits: int
    misses: int
    inserts: int
    updates: int
    evictions: int
    expirations: int
    deletions: int
    replacements: int
    loads: int
    load_failures: int

    @property
    def requests(self) -> int:
        """Reads in all."""
        return self.hits + self.misses

    @property
    def hit_ratio(self) -> float:
        """Share of the reads that hit, from 0 to 1; 0 when there were none."""
        return self.hits / self.requests if self.requests else 0.0

    @property
    def by_cause(self) -> dict[str, int]:
        """Entries that left, by the cause that a listener is told."""
        return {
            "explicit": self.deletions,
            "replaced": self.replacements,
            "expired": self.expirations,
            "size": self.evictions,
        }


class ReplayResult(NamedTuple):
    """What a replay counted; ratios from 0 to 1, by request and by size."""

    requests: int
    hits: int
    misses: int
    hit_ratio: float
    byte_hit_ratio: float
