"""Names for types: what the annotations of this package are made of, and those of code that uses it may be.

Nothing here is needed to run anything: the package itself imports it for type checkers only.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Literal, ParamSpec, Protocol, TypeAlias, TypedDict, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from functools import _CacheInfo
    from typing import Any, NotRequired, Self

    from typing_extensions import Buffer

    from hotset._engine import Cache

__all__ = [
    "Array",
    "BoundMemoized",
    "CacheParameters",
    "Cause",
    "Decorated",
    "Lifetime",
    "Memoized",
    "Moment",
    "PolicyName",
    "Timer",
]

# Why an entry left, as a listener is told.
Cause = Literal["explicit", "replaced", "expired", "size"]

# The keys of hotset.POLICIES.
PolicyName = Literal[
    "auto", "lru", "lfu", "arc", "tinylfu", "sieve", "clock", "slru", "s3fifo", "twoq", "lirs", "gdsf", "fifo", "rr"
]

# What a timer may return, and the timer.
Moment = float | datetime
Timer = Callable[[], Moment]

# A time to live or to idle: in the unit of the timer, or as a timedelta.
Lifetime = float | timedelta

# An array of numbers: any buffer. NumPy's stubs tell of theirs from Python 3.12 on, and before by another attribute.
Array: TypeAlias = "Buffer | _NumPyArray"

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_S = TypeVar("_S")
_S_contra = TypeVar("_S_contra", contravariant=True)
_R_co = TypeVar("_R_co", covariant=True)


class _NumPyArray(Protocol):
    @property
    def __array_interface__(self) -> Mapping[str, object]: ...


class CacheParameters(TypedDict):
    """What a decorator was given; `policy` and `ttl` by ``cached`` only."""

    maxsize: float | None
    typed: bool
    policy: NotRequired[PolicyName]
    ttl: NotRequired[Lifetime | None]


class _CacheOfFunction(Protocol):
    """The attribute ``cache`` of a decorated function: a coroutine function's cache holds what it awaits to."""

    @overload
    def __get__(
        self, instance: Memoized[..., Coroutine[object, object, _R]], owner: type | None = None, /
    ) -> Cache[Hashable, _R] | None: ...
    @overload
    def __get__(self, instance: Memoized[..., _R], owner: type | None = None, /) -> Cache[Hashable, _R] | None: ...


class _CacheOfMethod(Protocol):
    """The attribute ``cache`` of a decorated method of one instance."""

    @overload
    def __get__(
        self, instance: BoundMemoized[..., Coroutine[object, object, _R]], owner: type | None = None, /
    ) -> Cache[Hashable, _R]: ...
    @overload
    def __get__(self, instance: BoundMemoized[..., _R], owner: type | None = None, /) -> Cache[Hashable, _R]: ...


class _Takes(Protocol[_S_contra, _P, _R_co]):
    """A function by its first argument and the others."""

    def __call__(self, first: _S_contra, /, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...


class Memoized(Protocol[_P, _R_co]):
    """What ``cached``, ``lru_cache`` and ``cache`` make of a function.

    One type for functions and coroutine functions, which return coroutines: two overloads of a decorator would both fit
    a function that returns Any, and a type checker would then know nothing of it.
    """

    # None for a method, which has a cache for each instance, and where nothing is kept.
    cache: ClassVar[_CacheOfFunction]
    __name__: str
    __qualname__: str

    @property
    def __wrapped__(self) -> Callable[_P, _R_co]:
        """The function that was decorated."""

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Return what is kept for these arguments, or call the function and keep what it returns."""

    # For a class method, whose first argument is the class; for what is looked up on the class; for a method; and for a
    # static method, whose first argument is not the instance. By _Takes, not Memoized[Concatenate[...], ...], of which
    # mypy does not compare the first argument.
    @overload
    def __get__(self: _Takes[type[_S], _Q, _R], instance: object, owner: type[_S], /) -> BoundMemoized[_Q, _R]: ...
    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self: _Takes[_S, _Q, _R], instance: _S, owner: type, /) -> BoundMemoized[_Q, _R]: ...
    @overload
    def __get__(self, instance: object, owner: type, /) -> Self: ...

    def cache_info(self) -> _CacheInfo:
        """Hits, misses, maxsize and current size; for a method, of all instances together."""

    def cache_clear(self) -> None:
        """Forget all results and begin to count anew."""

    def cache_parameters(self) -> CacheParameters:
        """What the decorator was given."""


class BoundMemoized(Protocol[_P, _R_co]):
    """A decorated method of one instance."""

    cache: ClassVar[_CacheOfMethod]
    __name__: str
    __qualname__: str

    @property
    def __self__(self) -> object: ...
    @property
    def __func__(self) -> Memoized[..., _R_co]: ...

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Return what is kept for these arguments, or call the method and keep what it returns."""

    def cache_info(self) -> _CacheInfo:
        """Hits, misses, maxsize and current size, of this instance."""

    def cache_clear(self) -> None:
        """Forget this instance's results and begin to count anew."""

    def cache_parameters(self) -> CacheParameters:
        """What the decorator was given."""


class Decorated(Protocol[_P, _R_co]):
    """What `TieredCache.cached` makes of a function; of a coroutine function, which returns coroutines, too."""

    __name__: str
    __qualname__: str

    @property
    def __wrapped__(self) -> Callable[_P, _R_co]:
        """The function that was decorated."""

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Return what a level has under the key of these arguments, or call the function and keep what it returns."""

    # As those of Memoized.
    @overload
    def __get__(self: _Takes[type[_S], _Q, _R], instance: object, owner: type[_S], /) -> Callable[_Q, _R]: ...
    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self: _Takes[_S, _Q, _R], instance: _S, owner: type, /) -> Callable[_Q, _R]: ...
    @overload
    def __get__(self, instance: object, owner: type, /) -> Self: ...

    def key_of(self, *args: _P.args, **kwargs: _P.kwargs) -> Any:
        """Return the key of a call."""
