"""The traces of the LIRS paper (Jiang and Zhang, SIGMETRICS 2002): a block number a line; stars say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotset.lab.formats.source import Chunk, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "lirs"
SUFFIXES = (".trace",)


def fits(head: bytes, source: Source) -> bool:
    """Whether this can be such a file: whole numbers, and a star among them or the name."""
    whole = [line for line in map(bytes.strip, head.split(b"\n")[:-1][:1000]) if line]
    numbers = [line for line in whole if line != b"*"]
    if not numbers or not all(line.isdigit() for line in numbers):
        return False
    return len(numbers) < len(whole) or source.name.endswith(SUFFIXES)


def chunks(source: Source) -> Iterator[Chunk]:
    """Yield the requests. O(1) memory."""
    for lines in source.lines():
        found = [line for line in map(bytes.strip, lines.lines) if line and line != b"*"]
        try:
            keys = np.array(list(map(int, found)), np.int64)
        except (ValueError, OverflowError):
            bad = next(i for i, line in enumerate(lines.lines) if not _is_number(line.strip()))
            raise source.bad_line(lines, bad, "expected a block number") from None
        yield Chunk(keys.view(np.uint64))


def _is_number(line: bytes) -> bool:
    if line in {b"", b"*"}:
        return True
    try:
        return -(1 << 63) <= int(line) < 1 << 63
    except ValueError:
        return False
