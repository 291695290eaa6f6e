"""Replay of request streams through the policies that ship."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotset._engine import run_replay
from hotset.arguments import bound_of, sizes_of, view_of
from hotset.policies import policy_class
from hotset.stats import ReplayResult

if TYPE_CHECKING:
    from hotset.annotations import Array

__all__ = ["replay"]


def replay(policy: str, maxsize: float, keys: Array, sizes: Array | None = None) -> ReplayResult:
    """Request keys one after the other from an empty cache and count the hits: a miss stores its key.

    Runs the code of the cache class of that policy, without the GIL and without objects. `keys` is a one-dimensional
    array of integers (NumPy or any other buffer), `sizes` one of as many non-negative numbers, each what storing its
    request's key counts against maxsize; a key of a size above maxsize is not stored.

    A cache that is filled by the same ints through get and set has the same hits. Random replacement has a fixed seed
    here. O(1) a request.

    Raises ValueError for an unknown policy, a bad maxsize, or arrays that do not fit; TypeError for keys that are not
    integers.

    >>> from array import array
    >>> replay("lru", 2, array("q", [1, 2, 1, 3, 2])).hits
    1
    """
    store_class = policy_class(policy)
    limit = bound_of(maxsize)
    view = view_of("keys", keys)
    requests = len(view)
    weights = None if sizes is None else sizes_of(sizes, requests)
    hits, byte_hits, total = run_replay(store_class.__new__(store_class), limit, view, weights)
    hit_ratio = hits / requests if requests else 0.0
    byte_hit_ratio = hit_ratio if weights is None else byte_hits / total if total else 0.0
    return ReplayResult(requests, hits, requests - hits, hit_ratio, byte_hit_ratio)
