"""The memory that a hit takes: bytes asked of the allocator, at any moment, while hits go on."""

from __future__ import annotations

import collections
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np

from hotset.bench.bars import Verdict
from hotset.bench.tiered.clients.hotset import all_on, settle
from hotset.bench.tiered.values import user, user_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.bench.tiered.place import Place
    from hotset.bench.tiered.rows import Sizes

__all__ = ["allocation"]

_TRIES = 20


def allocation(place: Place, sizes: Sizes, seed: int) -> Verdict:
    """Return whether hits in memory allocate nothing: the least of several tries, as the stream has its own thread."""
    place.empty()
    keys = user_keys(np.random.default_rng(seed), sizes.hot)
    with all_on(place, 2 * sizes.hot) as cache:
        for key in keys:
            cache.set(key, user(key), tags=("users",))
        settle(cache, keys)
        least = min(_bytes(cache.get, keys) for _ in range(_TRIES))
    return Verdict("hotset", f"allocates nothing in {len(keys):,} hits (bytes)", float(least), least == 0)


def _bytes(get: Callable[[str], object], keys: list[str]) -> int:
    """Return by how much memory grew at the worst moment of these calls."""
    calls = map(get, keys)
    nowhere: collections.deque[object] = collections.deque(maxlen=0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        nowhere.extend(calls)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return most - before
