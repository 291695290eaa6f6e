"""Eviction by a choice of the user's, which may be any function of a list of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from hotset._engine import RRCache

__all__ = ["pop_chosen"]

_K = TypeVar("_K", bound="Hashable")
_V = TypeVar("_V")


def pop_chosen(cache: RRCache[_K, _V], choose: Callable[[list[_K]], _K]) -> tuple[_K, _V]:
    """Remove and return a pair of which a function has chosen the key. O(n).

    Raises KeyError when empty, and for a key that is not there.
    """
    keys = list(cache)
    if not keys:
        raise KeyError(f"{type(cache).__name__} is empty")
    key = choose(keys)
    return key, cache.pop(key)
