"""What no policy can beat: Belady's MIN where all entries count alike, and a bound where they have sizes.

Both know the future. MIN (Belady, IBM Systems Journal 1966) evicts what is used furthest in the future; as here each
miss is stored, a policy that declines entries can exceed it by a hair. With sizes the best is NP-hard; PFOO-U (Berger,
Beckmann, Harchol-Balter, SIGMETRICS 2018) is above it: a cache of C bytes over n requests has n * C of room and time,
a hit takes its bytes for as long as it waited for it, and the cheapest hits are taken until that is used up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotset import _lab
from hotset.stats import ReplayResult

if TYPE_CHECKING:
    from hotset.lab.trace import Trace

__all__ = ["belady", "bound"]

_NEVER = 0xFFFFFFFF


def belady(trace: Trace, size: float) -> ReplayResult:
    """Replay by what is used furthest in the future. With sizes in the trace: until the rest fits, which is no bound.

    O(log n) a request.
    """
    if trace.sizes is None:
        hits = _lab.belady_hits(trace.following, int(size))
        return _result(trace, hits, hits / len(trace) if len(trace) else 0.0)
    hits, hit_bytes = _lab.belady_sized(trace.keys, trace.distinct, trace.following, trace.sizes, size)
    total = float(trace.sizes.sum())
    return _result(trace, hits, hit_bytes / total if total else 0.0)


def bound(trace: Trace, size: float) -> ReplayResult:
    """Return what no policy exceeds, in hits and in hit bytes, each by itself (PFOO-U). O(n log n)."""
    asked = np.flatnonzero(trace.following != _NEVER)
    waits = (trace.following[asked] - asked).astype(np.float64)
    room = float(size) * len(trace)
    if trace.sizes is None:
        hits = _most(np.sort(waits), room)
        return _result(trace, hits, hits / len(trace) if len(trace) else 0.0)
    sizes = trace.sizes[asked]
    fits = sizes <= size
    waits, sizes = waits[fits], sizes[fits]
    hits = _most(np.sort(waits * sizes), room)
    # By bytes the hit that waits least is the cheapest; a part of the one that does not fit counts.
    order = np.argsort(waits, kind="stable")
    used, gained = np.cumsum((waits * sizes)[order]), np.cumsum(sizes[order])
    taken = int(np.searchsorted(used, room, side="right"))
    hit_bytes = float(gained[taken - 1]) if taken else 0.0
    if taken < len(used):
        hit_bytes += (room - (float(used[taken - 1]) if taken else 0.0)) / float(waits[order[taken]])
    total = float(trace.sizes.sum())
    return _result(trace, hits, hit_bytes / total if total else 0.0)


def _most(costs: np.ndarray[tuple[int], np.dtype[np.float64]], room: float) -> int:
    return int(np.searchsorted(np.cumsum(costs), room, side="right"))


def _result(trace: Trace, hits: int, byte_ratio: float) -> ReplayResult:
    requests = len(trace)
    return ReplayResult(requests, hits, requests - hits, hits / requests if requests else 0.0, byte_ratio)
