"""Text, one key a line: any bytes, blank lines apart, white space around a key dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotset.lab.formats.source import Chunk, Source, words

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "text"
SUFFIXES: tuple[str, ...] = ()  # it is what other kinds leave


def fits(head: bytes, _source: Source) -> bool:
    """Whether this can be such a file: it has no zero byte."""
    return b"\0" not in head


def chunks(source: Source) -> Iterator[Chunk]:
    """Yield the requests. O(1) memory."""
    for lines in source.lines():
        keys = list(filter(None, map(bytes.strip, lines.lines)))
        yield Chunk(words(keys), names=keys)
