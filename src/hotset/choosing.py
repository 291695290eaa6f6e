"""Eviction by a choice of the user's, which may be any function of a list of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from hotset._engine import RRCache

__all__ = ["pop_chosen"]

_K = TypeVar("_K", bound="Hashable")
_V = TypeVar("_V")

_MISSING: Final[Any] = object()


def pop_chosen(cache: RRCache[_K, _V], choose: Callable[[list[_K]], _K]) -> tuple[_K, _V]:
    """Remove and return a pair of which a function has chosen the key. Raises KeyError when empty. O(n)."""
    while True:
        keys = list(cache)
        if not keys:
            raise KeyError(f"{type(cache).__name__} is empty")
        key = choose(keys)
        value = cache.pop(key, _MISSING)
        if value is not _MISSING:  # else another thread was quicker
            return key, value
