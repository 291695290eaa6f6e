"""Memoized methods: a cache for each instance, which keeps no instance alive."""

from __future__ import annotations

import weakref
from functools import _CacheInfo
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from hotset._engine import Cache
    from hotset.annotations import CacheParameters

__all__ = ["BoundMemo", "Stores", "info_of", "new_store"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_S = TypeVar("_S")
_V = TypeVar("_V")

# id of an instance -> (weak reference to it, its cache); instances need not be hashable
Stores = dict[int, "tuple[weakref.ref[object], Cache[Hashable, _V]]"]


class _Memo(Protocol[_P, _R_co]):
    """What a bound memoizer asks of the one that it binds. A coroutine function's cache holds what it awaits to."""

    def __call__(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    def cache_parameters(self) -> CacheParameters: ...
    def _store_of(self, instance: object, /) -> Cache[Hashable, Any]: ...
    def _clear(self, stores: list[Cache[Hashable, Any]], /) -> None: ...


def new_store(
    stores: Stores[_V], instance: object, make: Callable[[], Cache[Hashable, _V]]
) -> tuple[weakref.ref[object], Cache[Hashable, _V]]:
    """Give an instance a cache that goes with it, unless another thread has done so."""
    number = id(instance)
    try:
        reference = weakref.ref(instance, lambda _: stores.pop(number, None))
    except TypeError:
        raise TypeError(
            f"cannot cache a method of {type(instance).__name__}: its instances take no weak references "
            f"(add '__weakref__' to its __slots__)"
        ) from None
    return stores.setdefault(number, (reference, make()))


def info_of(stores: Iterable[Cache[Hashable, Any]], maxsize: float | None, misses: int = 0) -> _CacheInfo:
    """Return what functools' cache_info tells, of several caches together and of misses that none has counted."""
    stores = list(stores)
    stats = [store.stats() for store in stores]
    return _CacheInfo(
        sum(each.hits for each in stats),
        misses + sum(each.misses for each in stats),
        maxsize,  # type: ignore[arg-type] # as given: cached takes floats, too
        sum(store.currsize for store in stores),  # type: ignore[misc] # sizes may be floats, too
    )


class BoundMemo(Generic[_P, _R]):
    """A memoized method or coroutine method of one instance, with that instance's results."""

    def __init__(self, memo: _Memo[Concatenate[_S, _P], _R], instance: _S) -> None:
        self.__func__ = memo
        self.__self__ = instance

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Return what the instance has for these arguments, or call the method."""
        return self.__func__(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__func__, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BoundMemo):
            return NotImplemented
        return self.__self__ is other.__self__ and self.__func__ is other.__func__

    def __hash__(self) -> int:
        return hash((id(self.__self__), id(self.__func__)))

    def __repr__(self) -> str:
        return f"<bound {self.__func__!r} of {self.__self__!r}>"

    @property
    def cache(self) -> Cache[Hashable, Any]:
        """The instance's cache."""
        return self.__func__._store_of(self.__self__)  # noqa: SLF001

    def cache_info(self) -> _CacheInfo:
        """Hits, misses, maxsize and current size, of this instance."""
        return info_of([self.cache], self.__func__.cache_parameters()["maxsize"])

    def cache_clear(self) -> None:
        """Forget this instance's results and begin to count anew; a call on its way is not kept."""
        self.__func__._clear([self.cache])  # noqa: SLF001
