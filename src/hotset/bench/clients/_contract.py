"""What the benchmark asks of a contestant: one `Client` a cache, one `Memoizer` a decorator.

A client never wraps the library in a layer of its own: the timed loops call the bound method that the
library's users call. A library whose protocol differs (`get` returns a pair, a miss raises) overrides the
loop, not the call.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Keys = Sequence[Hashable]
Function = TypeVar("Function", bound=Callable[..., Any])


def isolated(function: Function) -> Function:
    """Copy a function together with its bytecode.

    The interpreter specialises bytecode for the objects it meets. A loop that contestants share would be
    specialised for the first of them and slow down the next, so each gets a copy of its own.
    """
    return types.FunctionType(  # type: ignore[return-value]
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


class Client:
    """One cache of one library, driven the way its users drive it.

    `policy` is the eviction policy by the short names of `hotset.POLICIES`, or "none" for a store that never
    evicts; `exact` tells whether that policy is followed to the letter. Every value that the benchmark
    stores is the key itself, so None always means a miss.
    """

    # True for a memoizer: it has no get and no set of its own.
    calls_only = False

    # True if it holds more than its capacity for a while; `replay` then differs from `read_through`.
    lags = False

    # The name of its file on the command line, set when it is loaded.
    rival = ""

    def __init__(
        self,
        name: str,
        policy: str,
        make: Callable[[int], Any],
        *,
        distribution: str = "",
        ttl: bool = False,
        exact: bool = False,
    ) -> None:
        self.name = name
        self.policy = policy
        self.make = make
        self.distribution = distribution
        self.ttl = ttl
        self.exact = exact

    def __repr__(self) -> str:
        return f"<client {self.name}>"

    def getter(self, cache: Any) -> Callable[[Hashable], Any]:
        """Return the bound method for the timed hit loop."""
        return cache.get  # type: ignore[no-any-return]

    def holds(self, cache: Any, key: Hashable) -> bool:
        """Tell whether the key is there; may count as a use."""
        return cache.get(key) is not None

    def settle(self, cache: Any) -> None:
        """Finish maintenance that the library has put off."""

    @staticmethod
    def fill(cache: Any, keys: Iterable[Hashable]) -> None:
        """Store every key with itself as value."""
        for key in keys:
            cache[key] = key

    @staticmethod
    def touch(cache: Any, keys: Iterable[Hashable]) -> None:
        """Read every key, found or not."""
        get = cache.get
        for key in keys:
            get(key)

    @staticmethod
    def read_through(cache: Any, keys: Iterable[Hashable]) -> int:
        """Read every key, store those that are missing, return the number of misses."""
        get = cache.get
        misses = 0
        for key in keys:
            if get(key) is None:
                cache[key] = key
                misses += 1
        return misses

    def replay(self, cache: Any, keys: Iterable[Hashable]) -> int:
        """Read through at the capacity that was asked for, whatever that costs, and return the misses."""
        return self.read_through(cache, keys)

    def operations(self, cache: Any) -> tuple[Callable[[Hashable], Any], Callable[[Hashable, Any], Any]]:
        """Return the bound methods for one read and one write, for loops that time each call."""
        return self.getter(cache), cache.__setitem__


class MethodClient(Client):
    """A cache that is written by `set(key, value)` instead of `cache[key] = value`."""

    @staticmethod
    def fill(cache: Any, keys: Iterable[Hashable]) -> None:
        put = cache.set
        for key in keys:
            put(key, key)

    @staticmethod
    def read_through(cache: Any, keys: Iterable[Hashable]) -> int:
        get, put = cache.get, cache.set
        misses = 0
        for key in keys:
            if get(key) is None:
                put(key, key)
                misses += 1
        return misses

    def operations(self, cache: Any) -> tuple[Callable[[Hashable], Any], Callable[[Hashable, Any], Any]]:
        return self.getter(cache), cache.set


@dataclass(frozen=True, slots=True)
class Memoizer:
    """One memoizing decorator: `decorate(capacity)` returns the decorator for a function of one argument."""

    name: str
    decorate: Callable[[int], Any]
    distribution: str = ""
    ttl: bool = False
