"""The traces of the ARC paper (Megiddo and Modha, FAST 2003), `.lis`: four numbers a line.

They are the first block, how many blocks, and two that say nothing. A line stands for as many requests as it has
blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotset.lab.formats.source import Chunk, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "arc"
SUFFIXES = (".lis",)
_COLUMNS = 4
# More blocks in one request than any disk reads: the line is no request, or not whole.
_MOST_BLOCKS = 1 << 20


def fits(head: bytes, _source: Source) -> bool:
    """Whether this can be such a file: four whole numbers a line."""
    whole = [line for line in map(bytes.split, head.split(b"\n")[:-1][:1000]) if line]
    return bool(whole) and all(len(line) == _COLUMNS and all(map(bytes.isdigit, line)) for line in whole)


def chunks(source: Source) -> Iterator[Chunk]:
    """Yield the requests. Memory O(1)."""
    for lines in source.lines():
        try:
            rows = [list(map(int, parts)) for parts in map(bytes.split, lines.lines) if parts]
            table = np.array(rows, np.int64).reshape(-1, _COLUMNS)
            good = all(len(row) == _COLUMNS for row in rows) and not (
                len(table) and (table[:, :2].min() < 0 or table[:, 1].max() > _MOST_BLOCKS)
            )
        except (ValueError, OverflowError):
            good = False
        if not good:
            bad = next(i for i, line in enumerate(lines.lines) if not _is_request(line.split()))
            raise source.bad_line(
                lines, bad, "expected four whole numbers: first block, blocks, and two more"
            ) from None
        first, count = table[:, 0], table[:, 1]
        for start in range(0, len(first), 1 << 14):
            some = count[start : start + (1 << 14)]
            ends = np.cumsum(some)
            within = np.arange(int(ends[-1])) - np.repeat(ends - some, some)
            yield Chunk((np.repeat(first[start : start + (1 << 14)], some) + within).view(np.uint64))


def _is_request(parts: list[bytes]) -> bool:
    if not parts:
        return True
    try:
        numbers = list(map(int, parts))
    except ValueError:
        return False
    sound = len(numbers) == _COLUMNS and all(-(1 << 63) <= number < 1 << 63 for number in numbers)
    return sound and numbers[0] >= 0 and 0 <= numbers[1] <= _MOST_BLOCKS
