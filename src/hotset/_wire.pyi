from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final, Self, TypeAlias, TypeVar, final

from typing_extensions import disjoint_base

__test__: Final[dict[str, str]]

_K = TypeVar("_K")
_V = TypeVar("_V")
_T = TypeVar("_T")
_Origins: TypeAlias = list[tuple[str, tuple[str, ...]]]

def plan_opening(entry: type, found: type, codec: int, schema: int, limit: int) -> bytes: ...
def open_envelopes(
    plan: bytes,
    places: list[str],
    envelopes: list[Any],
    now: float,
    cleared: int,
    epoch: int,
    decode: Callable[[bytes], Any],
    origins: dict[bytes, tuple[str, tuple[str, ...]]],
    nothing: tuple[Any, ...],
    odd: Callable[[str, bytes], Any],
) -> tuple[list[Any] | None, list[Any] | None, _Origins]: ...
def drive(self: Any, flow: Generator[Any, Any, _T]) -> _T: ...
def advanced(operation: Generator[_K, _V, _T], value: _V | None) -> tuple[bool, Any]: ...

@final
class Histogram:
    def __new__(cls, n: int, scale: float, per_e_fold: float) -> Self: ...
    def add(self, number: float) -> None: ...
    def counts(self) -> list[int]: ...

def packed(commands: list[tuple[str | bytes, ...]]) -> bytes: ...

@disjoint_base
class Asker:
    tier: Any
    breaker: Any
    latencies: Any
    on: bool
    def __init__(self, tier: Any, breaker: Any, latencies: Any) -> None: ...
    def ask(self, operation: str, *arguments: Any, **named: Any) -> Any: ...

@final
class Talk:
    def __init__(
        self,
        file: int,
        buffer: bytearray,
        feed: Callable[[bytearray, int, int], Any],
        take: Callable[[], Any],
        left: Callable[[], bool],
        more: object,
    ) -> None: ...
    def ask(self, request: bytes, replies: list[Any], count: int) -> bool | None: ...

@final
class Glance:
    @property
    def file(self) -> Any: ...
    @property
    def number(self) -> Any: ...
    def __init__(
        self,
        plan: bytes,
        decode: Callable[[bytes], Any],
        origins: dict[bytes, tuple[str, tuple[str, ...]]],
        reading: type,
        file: tuple[Any, Any, Callable[..., Any], Any, list[None], Callable[[], float]],
        marks: tuple[Any, int, int, int, int, int],
        names: tuple[bytes, bytes, int],
        state: tuple[int, int, int],
    ) -> None: ...
    def look(self, name: str) -> Any: ...

def close_envelope(plan: bytes, name: str, entry: Any, now: float, extra: bytes, body: bytes) -> bytes | None: ...
def found_in(plan: bytes, envelopes: list[Any], values: list[Any], origins: _Origins, now: float) -> list[Any]: ...
def plain_names(keys: list[Any]) -> dict[str, Any] | None: ...
def values_by_key(named: dict[str, _K], values: list[_V]) -> dict[_K, _V]: ...
def part_of(name: str, parts: int) -> int: ...
def spread_names(names: Iterable[str], prefixes: tuple[str, ...]) -> tuple[bytes, dict[int, bytes]]: ...
def placed_names(names: Sequence[str], order: bytes, prefixes: tuple[str, ...]) -> list[str]: ...
def open_part(
    plan: bytes,
    order: bytes,
    part: int,
    names: list[str],
    front: int,
    group: list[Any],
    now: float,
    cleared: int,
    epoch: int,
    decode: Callable[[bytes], Any],
    origins: dict[bytes, Any],
    envelopes: list[Any],
    values: list[Any],
    whose: list[Any],
) -> bool: ...
def gather_values(order: bytes, groups: list[list[_V] | None]) -> list[_V | None]: ...
