"""What a codec owes the envelope."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

__all__ = ["Codec"]


@runtime_checkable
class Codec(Protocol):
    """Makes bytes of values and values of bytes, for one declared type.

    May be called from several threads at once. Attributes are read once, when the envelope is built.
    """

    # Written into every envelope: 1 to 127 are Hotset's, 128 to 255 are free for others.
    id: int
    name: str
    # Whether bytes of unknown origin may be decoded. If not, the envelope insists on a seal.
    safe: bool
    # Says in words that are the same in all processes what shape the values have; "" for any shape. Bytes that were
    # written with other words are not decoded.
    schema: str
    # What `decode` raises if the bytes are sound but do not fit the declared type.
    mismatches: tuple[type[Exception], ...]

    def encode(self, value: Any, /) -> bytes:
        """Return the bytes of a value; raises whatever it likes if there are none."""

    def decode(self, data: bytes | memoryview, /) -> Any:
        """Return the value; raises whatever it likes for other bytes. Takes memory and time by their length only."""
