"""The textbook experiment: LRU wins where time decides, LFU where popularity does; or the reason why it is not so."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from hotset.lab.generators import generate
from hotset.lab.replays import replay_one

__all__ = ["Pattern", "lru_vs_lfu"]

_EXPECTED: Final = {"temporal": "lru", "frequency": "lfu"}
_POLICIES: Final = ("lru", "lfu", "belady")
# A lead below this share of the requests is chance.
_LEAD = 0.005


class Pattern(NamedTuple):
    """One pattern: hit ratios from 0 to 1, who should win, whether it does, and why not."""

    name: str
    requests: int
    distinct: int
    capacity: int
    hit_ratios: dict[str, float]
    expected: str
    shown: bool
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return self._asdict()


def lru_vs_lfu(keys: int = 2_000, requests: int = 200_000, capacity: int | None = None, seed: int = 1) -> list[Pattern]:
    """Replay both patterns through both policies, and Belady for the limit; capacity is a fifth of the keys by default.

    Raises ValueError for no keys, no requests or no capacity.
    """
    size = capacity if capacity is not None else max(1, keys // 5)
    if size < 1:
        raise ValueError(f"capacity must be at least 1, got {size!r}")
    found = []
    for name, expected in _EXPECTED.items():
        trace = generate(name, keys, requests, seed)
        ratios = {policy: replay_one(trace, policy, size).hit_ratio for policy in _POLICIES}
        other = "lfu" if expected == "lru" else "lru"
        shown = ratios[expected] - ratios[other] > _LEAD
        reason = "" if shown else _reason(expected, ratios, size, trace.distinct, keys, requests)
        found.append(Pattern(name, requests, trace.distinct, size, ratios, expected, shown, reason))
    return found


def _reason(expected: str, ratios: dict[str, float], size: int, distinct: int, keys: int, requests: int) -> str:
    """Say why a pattern does not show what it is for."""
    if size >= distinct:
        return f"all {distinct:,} keys fit into {size:,} entries: nothing is evicted, there is nothing to choose"
    if requests < 10 * keys:
        return f"{requests:,} requests for {keys:,} keys are too few: most are the first for their key, which all miss"
    needed = max(1, keys // 20) if expected == "lru" else max(1, keys // 5)
    if size < needed:
        what = "the working set" if expected == "lru" else "the popular keys"
        return f"{size:,} entries do not hold {what}, {needed:,} keys, so that either loses what it would need"
    if ratios["belady"] < 2 * _LEAD + max(ratios["lru"], ratios["lfu"]):
        return "both are as good as can be: the limit is hardly above them"
    return (
        f"{size:,} entries hold what matters to either, and the rest of the {distinct:,} keys comes too seldom "
        "for the victims to make a difference"
    )
