"""Compression that no reader can be blown up with: what comes out is bounded before it is made.

zlib is always there. zstd is Python's own from 3.14 on, or the package `zstandard` (extra ``hotset[zstd]``); both write
the same bytes. Readers take both, whichever they write.
"""

from __future__ import annotations

import zlib
from importlib import import_module
from typing import Any, Final, Protocol

from hotset.errors import ValueTooLarge

__all__ = ["Compression", "compression_named", "compression_numbered"]


class Compression(Protocol):
    """Makes bytes shorter. May be called from several threads at once."""

    # In the flags of the envelope; 1 to 3.
    id: int

    def compress(self, data: bytes, /) -> bytes:
        """Return them compressed."""

    def decompress(self, data: bytes | memoryview, limit: int, /) -> bytes:
        """Undo it. Raises ValueTooLarge if more than `limit` bytes come out, anything else if the data is damaged."""


class _Zlib:
    """The fastest level: a cache compresses on somebody's time."""

    id = 1

    def compress(self, data: bytes, /) -> bytes:
        return zlib.compress(data, 1)

    def decompress(self, data: bytes | memoryview, limit: int, /) -> bytes:
        stream = zlib.decompressobj()
        plain = stream.decompress(data, limit + 1)
        if len(plain) > limit:
            raise ValueTooLarge(f"decompresses to more than {limit} bytes")
        if not stream.eof or stream.unused_data:
            raise ValueError("the compressed data is cut short or has a tail")
        return plain


class _Zstd:
    """One frame that tells its size, as both implementations write it; frames that do not are refused unread."""

    id = 2

    def __init__(self) -> None:
        self._native: Any = None
        try:
            self._native = import_module("compression.zstd")
        except ImportError:
            try:
                self._package: Any = import_module("zstandard")
            except ImportError as error:
                raise ImportError("compression 'zstd' needs Python 3.14 or: pip install 'hotset[zstd]'") from error

    def compress(self, data: bytes, /) -> bytes:
        compressed: bytes = self._native.compress(data) if self._native else self._package.compress(data)
        return compressed

    def decompress(self, data: bytes | memoryview, limit: int, /) -> bytes:
        if self._native:
            size = self._native.get_frame_info(data).decompressed_size
        else:
            size = self._package.frame_content_size(data)
        if size is None or size < 0:
            raise ValueError("the compressed data does not tell its size")
        if size > limit:
            raise ValueTooLarge(f"decompresses to {size} bytes, more than {limit}")
        if not self._native:
            whole: bytes = self._package.ZstdDecompressor().decompress(data, allow_extra_data=False)
            return whole
        stream = self._native.ZstdDecompressor()
        plain: bytes = stream.decompress(data, size + 1)
        if not stream.eof or stream.unused_data:
            raise ValueError("the compressed data is cut short or has a tail")
        return plain


_KINDS: Final[dict[str, type[_Zlib | _Zstd]]] = {"zlib": _Zlib, "zstd": _Zstd}
_made: dict[int, Compression] = {}


def compression_named(name: str) -> Compression:
    """Return "zlib" or "zstd". Raises ValueError for another name, ImportError if it is not installed."""
    try:
        kind = _KINDS[name]
    except (KeyError, TypeError):
        raise ValueError(f"compress must be one of {', '.join(map(repr, _KINDS))} or None, not {name!r}") from None
    return compression_numbered(kind.id)


def compression_numbered(number: int) -> Compression:
    """Return the one with an id. Raises LookupError if there is none, ImportError if it is not installed."""
    if number not in _made:
        kinds = {kind.id: kind for kind in _KINDS.values()}
        _made[number] = kinds[number]()
    return _made[number]
