"""Views of a cache: looking at values and pairs through them is no use of the entries."""

from __future__ import annotations

from collections.abc import ItemsView, ValuesView
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotset._engine import Cache

__all__ = ["CacheItems", "CacheValues"]

_K_co = TypeVar("_K_co", covariant=True)
_V_co = TypeVar("_V_co", covariant=True)

_MISSING = object()


class CacheValues(ValuesView[_V_co]):
    """The values of a cache."""

    __slots__ = ()
    _mapping: Cache[object, _V_co]

    def __iter__(self) -> Iterator[_V_co]:
        return self._mapping._iterate(1)  # noqa: SLF001

    def __contains__(self, value: object) -> bool:
        return any(each is value or each == value for each in self)


class CacheItems(ItemsView[_K_co, _V_co]):
    """The (key, value) pairs of a cache."""

    __slots__ = ()
    _mapping: Cache[_K_co, _V_co]

    def __iter__(self) -> Iterator[tuple[_K_co, _V_co]]:
        return self._mapping._iterate(2)  # noqa: SLF001

    def __contains__(self, item: object) -> bool:
        if not (isinstance(item, tuple) and len(item) == 2):
            return False
        found = self._mapping.peek(item[0], _MISSING)
        return found is item[1] or bool(found == item[1])
