"""A trace: what was asked for, in order, with its keys numbered by first appearance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hotset import _lab

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Floats", "Groups", "Ids", "Trace", "TraceError", "Words", "spread"]

Ids = npt.NDArray[np.uint32]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

# Sampling must not depend on what else is made of a word's hash.
_SALT = 0x5EED_5EED_5EED_5EED


class TraceError(ValueError):
    """A trace that cannot be used; the message says which, where and why."""


def spread(words: Words) -> Words:
    """Return pseudo-random words, one for each, always the same (the finalizer of SplitMix64)."""
    mixed = words ^ np.uint64(_SALT)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


class Groups(NamedTuple):
    """How keys begin: the name of each group, and the group of each key."""

    names: tuple[str, ...]
    of: npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests: `keys[i]` is the number of the key of request i.

    Where they are known, `sizes` are in bytes, `costs` in any unit, and `times` in seconds and never fall. Of a sample
    of the keys, `rate` is the share of all keys, `requests` how many requests there were of all, and `weights`, where
    all were known when it was drawn, how many keys each of its keys stands for. Takes 4 bytes a request, and 8 for
    each of the others that it has.
    """

    name: str
    keys: Ids
    distinct: int
    sizes: Floats | None = None
    costs: Floats | None = None
    times: Floats | None = None
    groups: Groups | None = None
    rate: float = 1.0
    requests: float = 0.0
    weights: Floats | None = None

    def __post_init__(self) -> None:
        if not self.requests:
            object.__setattr__(self, "requests", float(len(self.keys)))

    def __len__(self) -> int:
        """Requests that are here."""
        return len(self.keys)

    @classmethod
    def of(cls, name: str, keys: npt.NDArray[Any], **arrays: Any) -> Self:
        """Number integer keys by first appearance."""
        words = np.ascontiguousarray(keys).astype(np.int64, copy=False).view(np.uint64)
        coder, ids = _lab.Coder(), np.empty(len(words), np.uint32)
        coder.code(words, ids)
        return cls(name, ids, coder.distinct, **arrays)

    @cached_property
    def uses(self) -> npt.NDArray[np.int64]:
        """How often each key is asked for."""
        return np.bincount(self.keys, minlength=self.distinct)

    @cached_property
    def firsts(self) -> npt.NDArray[np.int64]:
        """The request in which each key is asked for first."""
        # The numbers grow by one with each first use.
        tops = np.maximum.accumulate(self.keys)
        return np.flatnonzero(np.concatenate(([True], tops[1:] != tops[:-1])))

    @cached_property
    def following(self) -> Ids:
        """The next request for the key of each; 0xFFFFFFFF where there is none."""
        found = np.empty(len(self.keys), np.uint32)
        _lab.next_uses(self.keys, self.distinct, found)
        return found

    @cached_property
    def volume(self) -> float:
        """Bytes of all distinct keys together, each as large as when it was asked for first."""
        return float(self.sizes[self.firsts].sum()) if self.sizes is not None else 0.0

    def head(self, requests: int) -> Trace:
        """Return the first requests only."""
        if requests >= len(self):
            return self
        return self._where(slice(0, requests), self.rate, self.requests * requests / len(self))

    def sample(self, rate: float, seed: int = 0) -> Trace:
        """Return the requests for a share of the keys, drawn by their hash. The same seed draws the same keys.

        Raises ValueError for a rate that is not in (0, 1], and TraceError where no key is drawn.
        """
        if not 0.0 < rate <= 1.0:
            raise ValueError(f"rate must be above 0 and at most 1, got {rate!r}")
        if rate == 1.0:
            return self
        drawn = spread(np.arange(self.distinct, dtype=np.uint64) ^ np.uint64(seed << 33)) < np.uint64(rate * 2.0**64)
        if not drawn.any():
            raise TraceError(f"trace {self.name} has too few keys, {self.distinct:,}, for a sample of {rate:g}")
        groups = None if self.groups is None else Groups(self.groups.names, self.groups.of[drawn])
        found = self._where(drawn[self.keys], self.rate * rate, self.requests)
        return replace(found, weights=self._stand_for(drawn), groups=groups)

    def _stand_for(self, drawn: npt.NDArray[np.bool_]) -> Floats | None:
        """Return how many keys each key that is drawn stands for: those that are asked for about as often as it is.

        Few keys are asked for very often, and a sample has too many or too few of them: most of a sample's error. A
        class is a factor of the root of 2 in uses; one of which no key was drawn joins that below.
        """
        if self.rate < 1.0 and self.weights is None:
            return None
        classes = np.floor(2 * np.log2(self.uses)).astype(np.int64)
        there = np.bincount(classes, self.weights).astype(np.float64)
        here = np.bincount(classes[drawn], None if self.weights is None else self.weights[drawn], len(there))
        share = np.zeros(len(there))
        pending = 0.0
        for at in range(len(there) - 1, -1, -1):
            pending += there[at]
            if here[at]:
                share[at] = pending / here[at]
                pending = 0.0
        share *= there.sum() / max(float((share * here).sum()), 1e-9)  # of the lowest classes, if none was drawn
        weights: Floats = share[classes[drawn]]
        return weights if self.weights is None else weights * self.weights[drawn]

    def _where(self, chosen: slice | npt.NDArray[np.bool_], rate: float, requests: float) -> Trace:
        keys = self.keys[chosen]
        coder, ids = _lab.Coder(), np.empty(len(keys), np.uint32)
        coder.code(keys.astype(np.uint64), ids)
        return replace(
            self,
            keys=ids,
            distinct=coder.distinct,
            sizes=None if self.sizes is None else self.sizes[chosen],
            costs=None if self.costs is None else self.costs[chosen],
            times=None if self.times is None else self.times[chosen],
            rate=rate,
            requests=requests,
            weights=None if self.weights is None else self.weights[: coder.distinct],
            groups=None if self.groups is None else Groups(self.groups.names, self.groups.of[: coder.distinct]),
        )
