"""A trace file as a stream: uncompressed, by lines, and with words for what is wrong in it."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import sys
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hotset._lab import words_of
from hotset.lab.trace import Floats, TraceError, Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

__all__ = ["Chunk", "Lines", "Source", "non_negative", "words"]

_BLOCK = 1 << 20
_LONGEST = 1 << 20
_HEAD = 1 << 16
# The first bytes of what gzip, xz, bzip2 and zstd write.
_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}


class Chunk(NamedTuple):
    """Some requests: a word that stands for each key, and what else is known, such as the key itself."""

    keys: Words
    sizes: Floats | None = None
    costs: Floats | None = None
    times: Floats | None = None
    names: Sequence[bytes] | None = None


class Lines(NamedTuple):
    """Some lines without their ends; the number of the first, from 1, and the byte that it begins at."""

    number: int
    offset: int
    lines: list[bytes]


def words(keys: list[bytes]) -> Words:
    """Return a word for each key."""
    found = np.empty(len(keys), np.uint64)
    words_of(keys, found)
    return found


def non_negative(values: Sequence[float]) -> Floats:
    """Return numbers as an array. Raises ValueError if one is negative or none."""
    found = np.array(values, np.float64)
    if len(found) and not found.min() >= 0:
        raise ValueError("negative")
    return found


@dataclass
class Source:
    """A file that is read from its beginning to its end, once."""

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    file: IO[bytes] = field(init=False)
    compressed: str | None = field(init=False, default=None)
    rate: float = field(init=False, default=1.0)  # the share of the keys that it has

    def __enter__(self) -> Self:
        """Open it, and look at how it begins."""
        if self.path.is_dir():
            raise TraceError(f"trace {self.path} is a folder, not a file")
        try:
            raw = self.path.open("rb", buffering=_HEAD)
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            begin = raw.peek(8)  # type: ignore[attr-defined] # opened with a buffer
            self.compressed = next((name for magic, name in _MAGIC.items() if begin.startswith(magic)), None)
            self.file = raw if self.compressed is None else self._opened(raw, self.compressed)
        except BaseException:
            raw.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.file.close()

    @property
    def name(self) -> str:
        """The name of the file without what tells of its compression."""
        name = self.path.name.lower()
        return name.rpartition(".")[0] if name.endswith((".gz", ".xz", ".bz2", ".zst", ".zstd")) else name

    def head(self) -> bytes:
        """Return how it begins, without reading on."""
        try:
            found: bytes = self.file.peek(_HEAD)  # type: ignore[attr-defined] # a BufferedReader in either case
        except (OSError, EOFError, zlib.error, lzma.LZMAError, _ZstdError) as error:
            raise self._unreadable(error) from error
        return found[:_HEAD]

    def blocks(self, size: int = _BLOCK) -> Iterator[bytes]:
        """Yield all bytes, some at a time."""
        done = 0
        while True:
            try:
                block = self.file.read(size)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, _ZstdError) as error:
                raise self._unreadable(error, done) from error
            if not block:
                return
            done += len(block)
            yield block

    def lines(self) -> Iterator[Lines]:
        """Yield all lines, many at a time. Raises TraceError for what is no text."""
        number, offset, rest = 1, 0, b""
        for read in self.blocks():
            block = rest + read
            if b"\0" in read:
                at = block.index(b"\0")
                line = number + block.count(b"\n", 0, at)
                raise self.error("a zero byte: this is no text", line, offset + at)
            end = block.rfind(b"\n") + 1
            if not end and len(block) > _LONGEST:
                raise self.error(f"a line of more than {_LONGEST:,} bytes: this is no text", number, offset)
            if end:
                found = block[: end - 1].split(b"\n")
                yield Lines(number, offset, found)
                number += len(found)
                offset += end
            rest = block[end:]
        if rest:
            yield Lines(number, offset, [rest])

    def error(self, message: str, line: int | None = None, offset: int | None = None) -> TraceError:
        """Return the error that says where it is."""
        place = ", ".join(
            part for part in (line and f"line {line:,}", None if offset is None else f"byte {offset:,}") if part
        )
        return TraceError(f"trace {self.path}{f', {place}' if place else ''}: {message}")

    def bad_line(self, lines: Lines, index: int, message: str) -> TraceError:
        """Return the error for one line of some."""
        offset = lines.offset + sum(len(line) + 1 for line in lines.lines[:index])
        shown = lines.lines[index][:60].decode("utf-8", "backslashreplace")
        return self.error(f"{message}, not {shown!r}", lines.number + index, offset)

    def _unreadable(self, error: Exception, done: int | None = None) -> TraceError:
        if isinstance(error, FileNotFoundError):
            return TraceError(f"trace {self.path} does not exist")
        reason = getattr(error, "strerror", None) or error
        if done is None or self.compressed is None:
            return self.error(f"cannot be read: {reason}")
        return self.error(f"the {self.compressed} data is cut off or damaged ({reason}); uncompressed", offset=done)

    def _opened(self, raw: IO[bytes], kind: str) -> IO[bytes]:
        opened: Any
        if kind == "gzip":
            opened = gzip.GzipFile(fileobj=raw)
        elif kind == "xz":
            opened = lzma.LZMAFile(raw)  # noqa: SIM115 - closed by what owns it
        elif kind == "bzip2":
            opened = bz2.BZ2File(raw)
        else:
            opened = _zstd_file(raw, self.path)
        return _Owning(opened, raw)


class _Owning(io.BufferedReader):
    """A buffered reader of what decompresses a file, which is closed with it."""

    def __init__(self, raw: Any, beneath: IO[bytes]) -> None:
        super().__init__(raw, _HEAD)
        self._beneath = beneath

    def close(self) -> None:
        super().close()
        self._beneath.close()


class _ZstdError(Exception):
    """What zstd finds wrong, whoever reads it."""


def _zstd_file(raw: IO[bytes], path: Path) -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - absent before

        return _ZstdStream(raw, zstd.ZstdDecompressor, zstd.ZstdError)
    try:
        zstandard: Any = importlib.import_module("zstandard")
    except ImportError:
        raise TraceError(f'trace {path} is compressed by zstd: install with pip install "hotset[lab]"') from None
    return _ZstdStream(raw, lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError)


class _ZstdStream(io.RawIOBase):
    """Frames one after the other; unlike zstandard's own reader it tells of one that is cut off."""

    def __init__(self, raw: IO[bytes], frame: Any, error: type[Exception]) -> None:
        self._raw, self._frame, self._error = raw, frame, error
        self._open: Any = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            left: bytes = self._open.unused_data if self._open is not None and self._open.eof else b""
            read = left or self._raw.read(1 << 17)
            if not read:
                if self._open is not None and not self._open.eof:
                    raise _ZstdError("the file ends within a frame")
                return 0
            if self._open is None or self._open.eof:
                self._open = self._frame()
            try:
                self._ready = self._open.decompress(read)
            except self._error as error:
                raise _ZstdError(str(error)) from error
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
