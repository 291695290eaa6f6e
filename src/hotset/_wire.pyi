from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, TypeVar, final

__test__: Final[dict[str, str]]

_K = TypeVar("_K")
_V = TypeVar("_V")
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
