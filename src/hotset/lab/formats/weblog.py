"""Access logs of web servers, common or combined: each GET that was answered is a request for its path, by its time.

The size is what was sent. An answer without a body (304) has the size that its path had before.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hotset.lab.formats.source import Chunk, Source, words

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "weblog"
SUFFIXES = (".log",)
_LINE = re.compile(
    rb'\S+ \S+ .*?\[([^\]]+)\] "(?:([A-Z]+) (\S+)(?: [^"]*)?|[^"]*(?:\\"[^"]*)*)" (\d{3}) (-?\d+|-)(?: .*)?\s*'
)
_CACHEABLE = frozenset([b"200", b"203", b"204", b"206", b"301", b"304", b"308", b"404", b"410"])


def fits(head: bytes, _source: Source) -> bool:
    """Whether this can be such a file, by its first line."""
    found = next((line for line in head.split(b"\n") if line.strip()), b"")
    return _LINE.fullmatch(found) is not None


def chunks(source: Source) -> Iterator[Chunk]:
    """Yield the requests. Memory: some 100 bytes a path, for its size. Raises TraceError for other lines."""
    known: dict[int, float] = {}
    for lines in source.lines():
        keys: list[bytes] = []
        sizes: list[float] = []
        times: list[float] = []
        for index, line in enumerate(lines.lines):
            match = _LINE.fullmatch(line)
            if match is None:
                if not line.strip():
                    continue
                raise source.bad_line(lines, index, "expected a line of an access log, common or combined")
            date, method, path, status, size = match.group(1, 2, 3, 4, 5)
            if method not in {b"GET", b"HEAD"} or status not in _CACHEABLE:
                continue
            if size.startswith(b"-") and size != b"-":
                raise source.bad_line(lines, index, "a size must not be negative")
            moment = _seconds(date)
            if moment is None:
                raise source.bad_line(lines, index, "expected a date as [10/Oct/2026:13:55:36 +0000]")
            keys.append(path)
            sizes.append(0.0 if size == b"-" else float(size))
            times.append(moment)
        found = words(keys)
        for place, (word, amount) in enumerate(zip(found.tolist(), sizes, strict=True)):
            if amount:
                known[word] = amount
            else:
                sizes[place] = known.get(word, 0.0)
        yield Chunk(found, np.array(sizes, np.float64), None, np.array(times, np.float64), keys)


@lru_cache(maxsize=64)
def _seconds(date: bytes) -> float | None:
    try:
        # %b knows English names in the C locale only, which is what a program has unless it asks for another.
        return datetime.strptime(date.decode("ascii"), "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        return None
