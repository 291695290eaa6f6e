"""Generated requests: arrays of keys, not numbered. `Trace.of` makes a trace of them.

The temporal and the frequency pattern are those of the textbook experiment of LRU against LFU: what was asked for a
moment ago is asked for again, and what is popular stays so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from hotset.lab.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "GENERATORS",
    "frequency",
    "generate",
    "loop",
    "scan",
    "shifting_zipf",
    "temporal",
    "uniform",
    "zipf",
]

Keys = npt.NDArray[np.int64]


def uniform(keys: int, requests: int, rng: np.random.Generator) -> Keys:
    """Draw each key as often as any other: no policy can choose well."""
    return rng.integers(0, keys, requests)


def zipf(keys: int, requests: int, rng: np.random.Generator, alpha: float = 1.0) -> Keys:
    """Draw keys by Zipf's law; popularity is spread over the keys at random."""
    cumulative = np.cumsum(np.arange(1, keys + 1, dtype=np.float64) ** -alpha)
    ranks = np.searchsorted(cumulative, rng.random(requests) * cumulative[-1])
    found: Keys = rng.permutation(keys)[np.minimum(ranks, keys - 1)]
    return found


def shifting_zipf(keys: int, requests: int, rng: np.random.Generator, alpha: float = 1.0, phases: int = 10) -> Keys:
    """Draw keys by Zipf's law, while favourites move on: each phase renames a third of all keys."""
    ranks = zipf(keys, requests, rng, alpha)
    names = np.arange(keys)
    length = max(1, -(-requests // phases))
    for start in range(0, requests, length):
        ranks[start : start + length] = names[ranks[start : start + length]]
        moved = rng.choice(keys, size=max(1, keys // 3), replace=False)
        names[moved] = names[np.roll(moved, 1)]
    return ranks


def loop(keys: int, requests: int, _rng: np.random.Generator | None = None) -> Keys:
    """Go round all keys in the same order: the worst case of LRU once they exceed its capacity."""
    return np.arange(requests, dtype=np.int64) % keys


def scan(keys: int, requests: int, rng: np.random.Generator, alpha: float = 1.0) -> Keys:
    """Draw keys by Zipf's law, broken by scans over keys that never come again: a fifth of all requests."""
    found = zipf(keys, requests, rng, alpha)
    length = max(1, keys // 20)
    fresh = keys
    for start in range(0, requests, 5 * length):
        stop = min(requests, start + length)
        found[start:stop] = np.arange(fresh, fresh + stop - start)
        fresh += stop - start
    return found


def temporal(keys: int, requests: int, rng: np.random.Generator, share: float = 0.8) -> Keys:
    """Draw from a twentieth of the keys, which moves on by one key every few requests; the rest from all alike."""
    window = max(1, keys // 20)
    begin = np.arange(requests) * (4 * keys) // max(1, requests)
    near = (begin + rng.integers(0, window, requests)) % keys
    return np.where(rng.random(requests) < share, near, rng.integers(0, keys, requests))


def frequency(keys: int, requests: int, rng: np.random.Generator, share: float = 0.8) -> Keys:
    """Draw four requests in five from a fifth of the keys, the same all the time; the rest from all others alike."""
    popular = max(1, keys // 5)
    hot = rng.integers(0, popular, requests)
    cold = rng.integers(min(popular, keys - 1), keys, requests)
    return np.where(rng.random(requests) < share, hot, cold)


GENERATORS: Final[dict[str, Callable[[int, int, np.random.Generator], Keys]]] = {
    "zipf": zipf,
    "uniform": uniform,
    "loop": loop,
    "scan": scan,
    "shifting-zipf": shifting_zipf,
    "temporal": temporal,
    "frequency": frequency,
}


def generate(name: str, keys: int, requests: int, seed: int = 1) -> Trace:
    """Return one of GENERATORS as a trace, the same one for the same seed.

    Raises ValueError for an unknown name, and for no keys or no requests.
    """
    if name not in GENERATORS:
        raise ValueError(f"unknown generator {name!r}: use one of {', '.join(GENERATORS)}")
    if keys < 1 or requests < 1:
        raise ValueError(f"keys and requests must be at least 1, got {keys!r} and {requests!r}")
    return Trace.of(name, GENERATORS[name](keys, requests, np.random.default_rng(seed)))
