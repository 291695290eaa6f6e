"""What a cold entry looks like: as `hotset.wire` writes it, but in less space.

A frozen entry has another signature, and what follows its fixed head is compressed; the bytes of the head are where
they always are, so that a life can be ended, a fence compared and a time looked at without thawing.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from hotset.wire import KIND_AT, PREFIX_BYTES, lease_marker

if TYPE_CHECKING:
    from hotset.codecs.compression import Compression

__all__ = ["drops_at", "freeze", "front", "is_frozen", "thaw"]

_WARM: Final = lease_marker(bytes(12))[:KIND_AT]
_FROZEN: Final = b"\xc1Z\x01"
# The fixed part of the envelope, see `hotset.wire`.
_HEAD_BYTES: Final = 68
_FLAGS_AT: Final = 21
_DROPS: Final = struct.Struct("<Q")
_DROPS_AT: Final = 60
# Compressed or encrypted already.
_DENSE: Final = 0x23
# Below, or where it saves less than a quarter, freezing is not worth thawing.
_LEAST_BYTES: Final = 256


def is_frozen(data: bytes) -> bool:
    """Whether an entry must be thawed to be read."""
    return data[:3] == _FROZEN


def front(data: bytes) -> bytes:
    """Return the fence of an entry."""
    return _WARM + data[KIND_AT:PREFIX_BYTES] if data[:3] == _FROZEN else data[:PREFIX_BYTES]


def drops_at(data: bytes) -> float:
    """Return when an entry is to be dropped, in seconds of the Unix epoch; 0 for never, or if this is none."""
    return float(_DROPS.unpack_from(data, _DROPS_AT)[0]) / 1000 if len(data) >= _HEAD_BYTES else 0.0


def freeze(data: bytes, compression: Compression) -> bytes | None:
    """Return an entry in less space, or None if that is not to be had."""
    if len(data) < _LEAST_BYTES or data[:3] != _WARM or data[_FLAGS_AT] & _DENSE:
        return None
    smaller = compression.compress(data[_HEAD_BYTES:])
    if len(smaller) > 0.75 * (len(data) - _HEAD_BYTES):
        return None
    return b"".join((_FROZEN, data[KIND_AT:_HEAD_BYTES], smaller))


def thaw(data: bytes, compression: Compression, limit: int) -> bytes:
    """Return a frozen entry as it was; what cannot be thawed as it is."""
    try:
        rest: Any = compression.decompress(data[_HEAD_BYTES:], limit)
    except Exception:  # noqa: BLE001 - each library has errors of its own, and the reader refuses what this returns
        return data
    return b"".join((_WARM, data[KIND_AT:_HEAD_BYTES], rest))
