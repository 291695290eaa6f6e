"""Miss-ratio curves: exact for LRU and Belady, and from a sample of the keys for any policy.

Exact: the distance of a request is the number of distinct keys since its key's last use (Mattson and others, IBM
Systems Journal 1970); LRU hits it from that size on, so that one pass gives all sizes. Sampled: SHARDS (Waldspurger
and others, FAST 2015) keeps the requests for keys whose hash is below a threshold, and stretches distances by the
sample's rate; other policies are replayed over the sample at sizes that are as much smaller (Waldspurger and others,
USENIX ATC 2017).

Different from the papers:
- Misses are counted, for as many keys as each key of the sample stands for (Trace.sample); what is no miss is a hit.
  Where the whole trace was not known when the sample was drawn, each stands for 1 / rate: that is SHARDS-adj, which
  adds the requests that a sample lacks to the hits of the smallest size.
- "Fixed size" lowers the threshold before the pass over the sample, as all keys are known by then: no key leaves it
  half-way and no count is rescaled.
- Another policy's misses in the sample are told as a multiple of LRU's at that size in the same sample, which errs in
  the same direction, and that multiple is taken of the LRU curve.
- LFU is never sampled: newcomers to a full LFU cache have one place, however large it is, which does not scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hotset import _lab
from hotset.lab.replays import Replays, replay_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hotset.lab.trace import Floats, Trace

__all__ = ["UNSCALABLE", "Curve", "default_sizes", "lru_curve", "policy_curve", "sample_of"]

# Policies whose mini-simulation says nothing.
UNSCALABLE = frozenset(["lfu"])

_POINTS = 24


@dataclass(frozen=True, eq=False)
class Curve:
    """Miss ratios, from 0 to 1, at sizes in entries that grow. `rate` is the share of the keys that it is made of.

    Between its sizes an exact curve has steps; one of a sample, whose sizes lie far apart, is straight there.
    """

    policy: str
    sizes: npt.NDArray[np.int64]
    miss_ratios: Floats
    rate: float = 1.0

    def at(self, size: float) -> float:
        """Return the miss ratio at a size; 1 below all."""
        if self.rate < 1.0 and size >= self.sizes[0]:
            return float(np.interp(size, self.sizes, self.miss_ratios))
        place = int(np.searchsorted(self.sizes, size, side="right")) - 1
        return float(self.miss_ratios[place]) if place >= 0 else 1.0

    def thinned(self, points: int = 512) -> Curve:
        """Return the curve at so many sizes, spread evenly over their logarithm."""
        if len(self.sizes) <= points:
            return self
        places = np.unique(np.geomspace(1, len(self.sizes), points).astype(np.int64)) - 1
        return Curve(self.policy, self.sizes[places], self.miss_ratios[places], self.rate)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON, thinned."""
        thin = self.thinned()
        ratios = [round(float(ratio), 6) for ratio in thin.miss_ratios]
        return {"policy": self.policy, "rate": self.rate, "sizes": thin.sizes.tolist(), "miss_ratios": ratios}


def lru_curve(trace: Trace) -> Curve:
    """Return the LRU curve in one pass: exact of a whole trace, by SHARDS of a sample.

    O(1) a request but for a small sum; 8 bytes a distinct key and 0.13 bytes a request, 12 more of a sample.
    """
    counts = np.zeros(trace.distinct + 1, np.uint64)
    if trace.rate == 1.0:
        _lab.reuse_distances(trace.keys, trace.distinct, counts)
        hits = np.cumsum(counts[1:]).astype(np.float64)
        return Curve("lru", np.arange(1, trace.distinct + 1), 1.0 - hits / max(1, len(trace)))
    distances = np.empty(len(trace), np.uint32)
    _lab.reuse_distances(trace.keys, trace.distinct, counts, distances)
    weights = np.full(trace.distinct, 1.0 / trace.rate) if trace.weights is None else trace.weights
    weighed = np.bincount(distances, weights[trace.keys], trace.distinct + 1)
    misses = weighed.sum() - np.cumsum(weighed[1:])
    # A request counts itself, and of the others between it and its key's last use a share of `rate` is here.
    sizes = 1 + np.round(np.arange(trace.distinct) / trace.rate).astype(np.int64)
    return Curve("lru", sizes, np.clip(misses / max(trace.requests, 1.0), 0.0, 1.0), trace.rate)


def sample_of(trace: Trace, *, rate: float | None = None, keys: int | None = None, seed: int = 0) -> Trace:
    """Return a sample by SHARDS: of a fixed rate, or of a fixed size, which is about so many keys.

    Raises ValueError unless one of both is given, and TraceError where no key is drawn.
    """
    if (rate is None) == (keys is None):
        raise ValueError("give either a rate or a number of keys")
    if keys is not None:
        if keys < 1:
            raise ValueError(f"keys must be at least 1, got {keys!r}")
        rate = min(1.0, keys / max(1, trace.distinct))
    return trace.sample(rate if rate is not None else 1.0, seed)


def default_sizes(trace: Trace, points: int = _POINTS) -> list[int]:
    """Return sizes from a thousandth of the keys to all of them, evenly over their logarithm.

    Of a sample, none of which fewer than ten entries would be left.
    """
    whole = trace.distinct / trace.rate
    least = max(1.0, whole / 1000, (10 / trace.rate) if trace.rate < 1.0 else 1.0)
    return sorted({max(1, round(size)) for size in np.geomspace(min(least, whole), whole, points)})


def policy_curve(
    trace: Trace,
    policies: Sequence[str],
    sizes: Sequence[int] | None = None,
    *,
    lru: Curve | None = None,
    workers: int | None = None,
    advance: Callable[[str], object] | None = None,
) -> list[Curve]:
    """Return a curve for each policy by replay at some sizes: exact of a whole trace, by mini-simulation of a sample.

    `lru` is the exact curve, where it is known: it makes those of a sample better. Raises ValueError for an unknown
    policy or a size below 1.
    """
    chosen = sorted(set(sizes)) if sizes is not None else default_sizes(trace)
    places = np.array(chosen, np.int64)
    if trace.rate == 1.0:
        replays = replay_all(trace, policies, chosen, workers=workers, advance=advance)
        return [
            Curve(policy, places, np.array([1.0 - cell.hit_ratio for cell in replays.of(policy)]))
            for policy in policies
        ]
    replays = replay_all(trace, list(dict.fromkeys((*policies, "lru"))), chosen, workers=workers, advance=advance)
    measure = lru if lru is not None else lru_curve(trace)
    expected = np.array([measure.at(size) for size in chosen])
    base = _misses(replays, "lru")
    return [
        Curve(policy, places, np.clip(expected * _misses(replays, policy) / np.maximum(base, 1), 0.0, 1.0), trace.rate)
        for policy in policies
    ]


def _misses(replays: Replays, policy: str) -> Floats:
    return np.array([cell.requests - cell.hits for cell in replays.of(policy)], np.float64)
