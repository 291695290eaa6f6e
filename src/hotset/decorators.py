"""Memoizing decorators: ``cached`` with everything a cache has, ``lru_cache`` and ``cache`` as in functools."""

from __future__ import annotations

import functools
import inspect
import math
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from hotset._engine import LRUCache, Memo
from hotset.coroutines import AsyncMemo
from hotset.policies import policy_class

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from hotset._engine import Cache
    from hotset.annotations import CacheParameters, Cause, Lifetime, Memoized, PolicyName, Timer

__all__ = ["CacheInfo", "cache", "cached", "lru_cache"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

CacheInfo = functools._CacheInfo  # noqa: SLF001 - the very type that functools' users compare with


@overload
def lru_cache(maxsize: Callable[_P, _R], typed: bool = False) -> Memoized[_P, _R]: ...  # noqa: FBT001, FBT002
@overload
def lru_cache(
    maxsize: int | None = 128,
    typed: bool = False,  # noqa: FBT001, FBT002
) -> Callable[[Callable[_P, _R]], Memoized[_P, _R]]: ...
def lru_cache(maxsize: int | Callable[..., object] | None = 128, typed: bool = False) -> object:  # noqa: FBT001, FBT002
    """``functools.lru_cache``, faster: same arguments, attributes and behaviour.

    ``maxsize=None`` means no bound, 0 keeps nothing. Threads that miss the same key at once each call the function, as
    in functools; ``cached`` calls it once.

    Raises TypeError for a maxsize that is neither an integer, a function nor None.
    """
    if isinstance(maxsize, int):
        maxsize = max(maxsize, 0)
    elif callable(maxsize) and isinstance(typed, bool):
        return lru_cache(typed=typed)(maxsize)
    elif maxsize is not None:
        msg = f"Expected first argument to be an integer, a callable, or None, got {maxsize!r}"
        raise TypeError(msg)

    bound = maxsize

    def make_store() -> Cache[Hashable, object] | None:
        if bound == 0:
            return None
        return LRUCache(math.inf if bound is None else bound)

    def decorate(function: Callable[..., object]) -> object:
        memo = Memo(function, make_store, typed=typed, shared=False)
        memo.cache_parameters = lambda: {"maxsize": bound, "typed": typed}
        return memo

    return decorate


def cache(function: Callable[_P, _R], /) -> Memoized[_P, _R]:
    """``functools.cache``: memoize without a bound."""
    return lru_cache(maxsize=None)(function)


@overload
def cached(function: Callable[_P, _R], /) -> Memoized[_P, _R]: ...
@overload
def cached(
    maxsize: float | None = 128,
    policy: PolicyName = "lru",
    ttl: Lifetime | None = None,
    typed: bool = False,  # noqa: FBT001, FBT002
    key: Callable[..., Hashable] | None = None,
    *,
    tti: Lifetime | None = None,
    getsizeof: Callable[[Any], float] | None = None,
    on_evict: Callable[[Any, Any, Cause], object] | None = None,
    timer: Timer = time.monotonic,
    cache: Cache[Any, Any] | None = None,
) -> Callable[[Callable[_P, _R]], Memoized[_P, _R]]: ...
def cached(
    maxsize: float | Callable[..., object] | None = 128,
    policy: PolicyName = "lru",
    ttl: Lifetime | None = None,
    typed: bool = False,  # noqa: FBT001, FBT002 - the place that functools.lru_cache's users know
    key: Callable[..., Hashable] | None = None,
    *,
    tti: Lifetime | None = None,
    getsizeof: Callable[[Any], float] | None = None,
    on_evict: Callable[[Any, Any, Cause], object] | None = None,
    timer: Timer = time.monotonic,
    cache: Cache[Any, Any] | None = None,
) -> object:
    """Memoize a function, a method or a coroutine function in a cache of any policy.

    Unlike ``functools.lru_cache``, one thread (or task) calls the function for a key at a time and the others wait for
    its result; an exception reaches all of them and is not kept. A function that calls itself with the very same
    arguments raises RuntimeError.

    A method has a cache of its own for each instance, of `maxsize` results each; instances are not kept alive and
    need not be hashable, but must take weak references. A coroutine function is called once per key in an event
    loop; it goes on when the caller that began it is cancelled, unless all who wait for it are.

    maxsize, policy, ttl, tti, getsizeof, on_evict, timer
        as for the cache classes; policy is one of auto, lru, lfu, arc, tinylfu, fifo, rr; maxsize None is no bound.
    typed
        keep results for arguments of different types apart, such as 3 and 3.0.
    key
        a function of the call's arguments (without ``self``) that gives its key.
    cache
        keep the results in this cache, in place of one made of the arguments above.

    The decorated function has ``cache_info()``, ``cache_clear()``, ``cache_parameters()``, ``cache`` and
    ``__wrapped__``.

    >>> @cached(maxsize=1000, ttl=60)
    ... def square(x):
    ...     return x * x
    >>> square(3), square(3)
    (9, 9)
    >>> square.cache_info()
    CacheInfo(hits=1, misses=1, maxsize=1000, currsize=1)
    """
    if callable(maxsize):
        return cached()(maxsize)
    if key is not None and not callable(key):
        msg = f"key must be callable or None, got {key!r}"
        raise TypeError(msg)
    make: Callable[[], Cache[Hashable, object]]
    bound: float | None
    if cache is not None:
        given = cache
        bound = given.maxsize

        def make() -> Cache[Hashable, object]:
            return given
    else:
        store_class = policy_class(policy)
        bound = maxsize
        limit = math.inf if maxsize is None else maxsize

        def make() -> Cache[Hashable, object]:
            return store_class(limit, getsizeof=getsizeof, ttl=ttl, tti=tti, on_evict=on_evict, timer=timer)

        make()  # a wrong argument is told of where it stands

    parameters: CacheParameters = {"maxsize": bound, "policy": policy, "ttl": ttl, "typed": typed}

    def decorate(function: Callable[..., object]) -> object:
        if not callable(function):
            msg = f"cached() decorates functions, got {function!r}"
            raise TypeError(msg)
        if inspect.iscoroutinefunction(function):
            return AsyncMemo(function, make, parameters, typed=typed, key=key)
        memo = Memo(function, make, typed=typed, key=key, shared=True)
        memo.cache_parameters = parameters.copy
        return memo

    return decorate
