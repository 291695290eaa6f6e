from collections.abc import Callable
from typing import Any, Final, TypeAlias, final

__test__: Final[dict[str, str]]

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
