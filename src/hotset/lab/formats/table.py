"""CSV with a line of names at its head: a column of keys, and where there are any of sizes, costs and times.

A recording of a live cache is one, with a line above that says which share of the keys it has.
"""

from __future__ import annotations

import csv
import math
import re
from typing import TYPE_CHECKING, NamedTuple

from hotset.lab.formats.source import Chunk, Source, non_negative, words
from hotset.recording import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotset.lab.trace import Floats, TraceError

NAME = "csv"
SUFFIXES = (".csv", ".tsv")
_STEP = 1 << 16
# What columns are often called, the likelier first.
_NAMES = {
    "key": ("key", "keys", "obj_id", "object_id", "objid", "object", "id", "lbn", "lba", "block", "path", "url"),
    "size": ("size", "sizes", "obj_size", "object_size", "objsize", "bytes", "length", "value_size"),
    "cost": ("cost", "costs", "penalty", "latency"),
    "time": ("time", "times", "timestamp", "ts", "seconds"),
}
_DELIMITERS = ",;\t|"


class _Head(NamedTuple):
    delimiter: str
    columns: dict[str, int]
    width: int


def fits(head: bytes, source: Source) -> bool:
    """Whether this can be such a file: its first line names a column of keys, and has another."""
    if b"\0" in head:
        return False
    if head.startswith(MARK.encode()):
        head = head.partition(b"\n")[2]
    first = head.partition(b"\n")[0].decode("utf-8-sig", "replace").strip()
    found = _understood(first, source) if first else None
    return found is not None and "key" in found.columns and (found.width > 1 or source.name.endswith(SUFFIXES))


def chunks(source: Source) -> Iterator[Chunk]:
    """Yield the requests. O(1) memory. Raises TraceError for a line that lacks a column or has no number there."""
    place = _Place()
    texts = place.texts(source)
    first = next(texts, "").lstrip("\ufeff").strip()
    if first.startswith(MARK):
        source.rate = _rate(first, source)
        first = next(texts, "").strip()
    if not first:
        raise source.error("has no line of names at its head", 1, 0)
    head = _understood(first, source)
    for kind, name in source.columns.items():
        if kind not in _NAMES:
            raise source.error(f"a column can be {', '.join(_NAMES)}, not {kind!r}")
        if kind not in head.columns:
            raise source.error(f"has no column {name!r}; its first line is {first[:80]!r}", 1, 0)
    if "key" not in head.columns:
        hint = "; name it: --columns key=NAME"
        raise source.error(f"no column of keys in the first line, {first[:80]!r}{hint}", 1, 0)
    rows: list[list[str]] = []
    reader = csv.reader(texts, delimiter=head.delimiter)
    try:
        for row in reader:
            if not row:
                continue
            if len(row) < head.width:
                raise place.error(source, f"expected {head.width} columns, not {len(row)}")
            rows.append(row)
            place.kept.append((place.number, place.offset))
            if len(rows) >= _STEP:
                yield _chunk(source, head, rows, place)
                rows = []
                place.kept = []
    except csv.Error as error:
        raise place.error(source, str(error)) from error
    if rows:
        yield _chunk(source, head, rows, place)


def _rate(line: str, source: Source) -> float:
    """Return the share of the keys that a recording has."""
    found = re.search(r"\bsample ([0-9.eE+-]+)", line)
    try:
        rate = float(found[1]) if found else math.nan
    except ValueError:
        rate = math.nan
    if not 0.0 < rate <= 1.0:
        raise source.error(f"a recording must say its sample, above 0 and at most 1, not {line[:80]!r}", 1, 0)
    return rate


class _Place:
    """Where reading is: the line that was given last, and those of the rows that are kept."""

    def __init__(self) -> None:
        self.number, self.offset = 0, 0
        self.kept: list[tuple[int, int]] = []

    def texts(self, source: Source) -> Iterator[str]:
        for lines in source.lines():
            offset = lines.offset
            for index, line in enumerate(lines.lines):
                self.number, self.offset = lines.number + index, offset
                yield line.decode("utf-8", "surrogateescape") + "\n"
                offset += len(line) + 1

    def error(self, source: Source, message: str) -> TraceError:
        return source.error(message, self.number, self.offset)


def _understood(first: str, source: Source) -> _Head:
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        names = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter))]
    except csv.Error:
        names = []  # a bare carriage return
    columns = {}
    for kind, known in _NAMES.items():
        wanted = (source.columns[kind].lower(),) if kind in source.columns else known
        found = next((name for name in wanted if name in names), None)
        if found is not None:
            columns[kind] = names.index(found)
    return _Head(delimiter, columns, len(names))


def _chunk(source: Source, head: _Head, rows: list[list[str]], place: _Place) -> Chunk:
    def floats(kind: str) -> Floats | None:
        column = head.columns.get(kind)
        if column is None:
            return None
        try:
            return non_negative([float(row[column]) for row in rows])
        except ValueError:
            for row, (number, offset) in zip(rows, place.kept, strict=True):
                try:
                    non_negative([float(row[column])])
                except ValueError:
                    message = f"a {kind} must be a number that is not negative, not {row[column][:60]!r}"
                    raise source.error(message, number, offset) from None
            raise

    at = head.columns["key"]
    keys = [row[at].strip().encode("utf-8", "surrogateescape") for row in rows]
    return Chunk(words(keys), floats("size"), floats("cost"), floats("time"), keys)
