"""Memoizing coroutine functions: one call per key in an event loop, whoever of its callers is cancelled."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from hotset.methods import BoundMemo, info_of, new_store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Self, TypeAlias

    from hotset._engine import Cache, Flight
    from hotset.annotations import CacheParameters
    from hotset.methods import Stores

__all__ = ["AsyncMemo"]

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_S = TypeVar("_S")
_T = TypeVar("_T")

_MISSING: Any = object()  # stands in the place of a result of any type


class _Load(Generic[_R]):
    """A call on its way, in a task of its own, so that it outlives the caller that began it."""

    __slots__ = ("awaits", "flight", "task", "waiters")

    def __init__(self, flight: Flight | None) -> None:
        self.flight = flight  # None: another thread's load of the key will be kept
        self.task: asyncio.Task[_R] | None = None
        self.waiters = 0
        self.awaits: set[_Load[Any]] = set()  # loads that this one's function waits for

    def reaches(self, other: _Load[Any]) -> bool:
        """Whether this load waits for the other one, over however many others."""
        seen: set[_Load[Any]] = {self}
        ahead: list[_Load[Any]] = [self]
        while ahead:
            load = ahead.pop()
            if load is other:
                return True
            ahead.extend(load.awaits - seen)
            seen |= load.awaits
        return False


_Place: TypeAlias = "tuple[asyncio.AbstractEventLoop, int, Hashable]"  # of a load: loop, id of the cache, key

# The load in whose task the present code runs: what finds loads that wait for each other.
_current: contextvars.ContextVar[_Load[Any] | None] = contextvars.ContextVar("hotset_load", default=None)


class AsyncMemo(Generic[_P, _R]):
    """A coroutine function whose results are kept in a cache. Made by ``hotset.cached``."""

    def __init__(
        self,
        function: Callable[_P, Coroutine[Any, Any, _R]],
        make_store: Callable[[], Cache[Hashable, _R]],
        parameters: CacheParameters,
        *,
        typed: bool,
        key: Callable[..., Hashable] | None,
    ) -> None:
        self._function = function
        self._make_store = make_store
        self._store = make_store()
        self._stores: Stores[_R] | None = None
        self._parameters = parameters
        self._typed = typed
        self._key = key
        self._loads: dict[_Place, _Load[_R]] = {}
        functools.update_wrapper(self, function)
        # What inspect takes a function to be: with its flags, iscoroutinefunction says what the function is.
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            setattr(self, name, getattr(function, name, None))

    def __set_name__(self, owner: type, name: str) -> None:
        if self._stores is None:
            self._stores = {}

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncMemo[Concatenate[_S, _Q], _T], instance: _S, owner: type | None = None
    ) -> BoundMemo[_Q, Coroutine[Any, Any, _T]]: ...
    def __get__(self: AsyncMemo[..., _R], instance: object, owner: type | None = None) -> object:
        return self if instance is None else BoundMemo(self, instance)

    def __reduce__(self) -> str:
        return self.__qualname__  # type: ignore[attr-defined,no-any-return] # set by update_wrapper

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<hotset.cached {self._function!r}>"

    @property
    def cache(self) -> Cache[Hashable, _R] | None:
        """The cache behind a function; None for a method, which has one an instance."""
        return self._store if self._stores is None else None

    def cache_info(self) -> functools._CacheInfo:
        """Hits, misses, maxsize and current size; for a method, of all instances together."""
        return info_of(self._all_stores(), self._parameters["maxsize"])

    def cache_clear(self) -> None:
        """Forget all results and begin to count anew. A call on its way ends, but its result is not kept."""
        self._clear(self._all_stores())

    def _clear(self, stores: list[Cache[Hashable, _R]]) -> None:
        numbers = {id(store) for store in stores}
        for place in list(self._loads):
            if place[1] in numbers:
                self._loads.pop(place, None)
        for store in stores:
            store.clear()
            store.stats(reset=True)

    def cache_parameters(self) -> CacheParameters:
        """What the decorator was given."""
        return self._parameters.copy()

    async def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Await the call that this one's key stands for, and begin it if none is kept or on its way."""
        store = self._store
        own: tuple[object, ...] = args
        if self._stores is not None and args:
            store, own = self._store_of(args[0]), args[1:]
        key = functools._make_key(own, kwargs, self._typed) if self._key is None else self._key(*own, **kwargs)  # noqa: SLF001
        value: _R = store.get(key, _MISSING)
        if value is not _MISSING:
            return value
        loop = asyncio.get_running_loop()
        place = (loop, id(store), key)
        load = self._loads.get(place)
        if load is None or (load.flight is not None and load.flight.fenced):  # or what it will bring is out of date
            load = self._begin(loop, place, store, *args, **kwargs)
        caller = _current.get()
        if caller is not None:
            if load.reaches(caller):
                msg = f"the call of {self.__name__}() for key {key!r} waits for itself"  # type: ignore[attr-defined]
                raise RuntimeError(msg)
            caller.awaits.add(load)
        load.waiters += 1
        assert load.task is not None  # noqa: S101 - for the type checker: _begin has set it
        try:
            return await asyncio.shield(load.task)
        finally:
            load.waiters -= 1
            if caller is not None:
                caller.awaits.discard(load)
            if load.waiters == 0 and not load.task.done():
                load.task.cancel()  # nobody waits for it any more
                if self._loads.get(place) is load:
                    del self._loads[place]

    def _begin(
        self,
        loop: asyncio.AbstractEventLoop,
        place: _Place,
        store: Cache[Hashable, _R],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _Load[_R]:
        load: _Load[_R] = _Load(store._open_flight(place[2]))  # noqa: SLF001
        context = contextvars.copy_context()
        context.run(_current.set, load)
        load.task = loop.create_task(self._run(load, place, store, *args, **kwargs), context=context)
        load.task.add_done_callback(functools.partial(_ended, store, place[2], load))
        self._loads[place] = load
        return load

    async def _run(
        self,
        load: _Load[_R],
        place: _Place,
        store: Cache[Hashable, _R],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _R:
        """The task of a load: call the function and keep its result, unless the key was written meanwhile."""
        key = place[2]
        flight = load.flight
        value: _R = _MISSING
        try:
            value = await self._function(*args, **kwargs)
            return value
        finally:
            if self._loads.get(place) is load:
                del self._loads[place]
            if flight is not None and value is _MISSING:
                store._close_flight(key, flight)  # noqa: SLF001
            elif flight is not None:
                store._close_flight(key, flight, value)  # noqa: SLF001

    def _all_stores(self) -> list[Cache[Hashable, _R]]:
        return [self._store] if self._stores is None else [store for _, store in list(self._stores.values())]

    def _store_of(self, instance: object, /) -> Cache[Hashable, _R]:
        """Return the cache of a method's instance."""
        stores = self._stores
        assert stores is not None  # noqa: S101 - for the type checker
        known = stores.get(id(instance))
        return (new_store(stores, instance, self._make_store) if known is None else known)[1]


def _ended(store: Cache[Hashable, Any], key: Hashable, load: _Load[Any], task: asyncio.Task[Any]) -> None:
    """See to what is left when a load's task has ended, be it before it began."""
    if load.flight is not None:
        store._close_flight(key, load.flight)  # noqa: SLF001
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not report one that all callers have left behind
