"""Reading a trace file: any kind, compressed or not, in one pass."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hotset._lab import Coder
from hotset.lab.formats import FORMATS, format_of
from hotset.lab.formats.source import Chunk, Source
from hotset.lab.trace import Groups, Ids, Trace, TraceError, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["read_trace"]


def read_trace(
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - what it is called everywhere
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    sample: float = 1.0,
    advance: Callable[[int], object] | None = None,
) -> Trace:
    """Read a trace: text, CSV, NumPy, ARC, LIRS, oracleGeneral, MONITOR, an access log; also by gzip, xz, bzip2, zstd.

    `format` names the kind, or else it is found out from the content; `columns` names the columns of a CSV or the
    arrays of an `.npz` that are called otherwise ({"key": "lbn", "size": "length"}). At most `limit` requests are
    read. With `sample` only the requests for so large a share of the keys are kept, so that what does not fit into
    memory can be read. `advance` is called with the number of requests so far.

    The file is read as a stream; in memory are 4 bytes a request, 8 more for each of sizes, costs and times, and while
    reading 20 to 40 bytes a distinct key.

    Raises TraceError, which says where in the file what is wrong; ValueError for an unknown format or a bad sample.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: use one of {', '.join(FORMATS)}")
    if not 0.0 < sample <= 1.0:
        raise ValueError(f"sample must be above 0 and at most 1, got {sample!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit!r}")
    gathered = _Gathered(sample)
    with Source(Path(path), columns or {}) as source:
        kind = FORMATS[format] if format is not None else format_of(source)
        try:
            for chunk in kind.chunks(source):
                gathered.add(chunk if limit is None else _cut(chunk, limit - int(gathered.seen)))
                if advance is not None:
                    advance(int(gathered.seen))
                if limit is not None and gathered.seen >= limit:
                    break
            return gathered.trace(source, kind.NAME)
        except MemoryError:
            raise source.error(
                f"memory is out after {int(gathered.seen):,} requests: read a share of the keys (--sample 0.01) "
                "or fewer requests (--requests)"
            ) from None


def _cut(chunk: Chunk, most: int) -> Chunk:
    return Chunk(*(None if array is None else array[:most] for array in chunk))  # type: ignore[arg-type] # keys are there


# What keys begin with up to the first separator, or the first part of a path.
_GROUP = re.compile(rb"/[^/?]*/?|[^:|/]*[:|/]")
_MOST_GROUPS = 1000


class _Gathered:
    """Chunks, as they come."""

    def __init__(self, sample: float) -> None:
        self.seen = 0.0
        self._coder = Coder()
        self._rate = sample
        self._threshold = None if sample == 1.0 else np.uint64(sample * 2.0**64)
        self._ids: list[npt.NDArray[Any]] = []
        self._group_of: list[int] = []
        self._groups: dict[bytes, int] = {}
        self._others: dict[str, list[npt.NDArray[Any]]] = {"sizes": [], "costs": [], "times": []}

    def add(self, chunk: Chunk) -> None:
        """Number the keys of a chunk and keep it, or the share that is drawn."""
        self.seen += len(chunk.keys)
        keys = chunk.keys
        drawn: slice | npt.NDArray[np.bool_] = slice(None)
        if self._threshold is not None:
            drawn = spread(keys) < self._threshold
            keys = keys[drawn]
        ids = np.empty(len(keys), np.uint32)
        known = self._coder.distinct
        self._coder.code(keys, ids)
        self._ids.append(ids)
        if chunk.names is not None:
            self._group(ids, known, chunk.names, drawn)
        for name, parts in self._others.items():
            values = getattr(chunk, name)
            if values is not None:
                parts.append(values[drawn])

    def _group(self, ids: Ids, known: int, names: Sequence[bytes], drawn: slice | npt.NDArray[np.bool_]) -> None:
        """Put the keys that are new into the group of how they begin."""
        places = np.arange(len(names)) if isinstance(drawn, slice) else np.flatnonzero(drawn)
        # A new key has a number above all before it.
        tops = np.maximum.accumulate(np.concatenate((np.array([known], np.int64), ids.astype(np.int64) + 1)))
        for place in places[np.flatnonzero(np.diff(tops))].tolist():
            match = _GROUP.match(names[place])
            begin = match[0] if match else b""
            if begin not in self._groups and len(self._groups) >= _MOST_GROUPS:
                begin = b""
            self._group_of.append(self._groups.setdefault(begin, len(self._groups)))

    def trace(self, source: Source, kind: str) -> Trace:
        """Return all of it as one. The parts are given up on the way, so that it is not twice in memory."""
        if not self.seen:
            raise source.error(f"no requests in it (read as {kind})")
        if not any(map(len, self._ids)):
            raise TraceError(f"trace {source.path}: no key of its {int(self.seen):,} requests is in the sample")
        arrays = {name: _joined(parts, np.float64) if parts else None for name, parts in self._others.items()}
        times = arrays["times"]
        if times is not None:
            np.maximum.accumulate(times, out=times)
        distinct = self._coder.distinct
        del self._coder
        ids = _joined(self._ids, np.uint32)
        groups = None
        if len(self._groups) > 1 and len(self._group_of) == distinct:
            named = tuple(begin.decode("utf-8", "backslashreplace") for begin in self._groups)
            groups = Groups(named, np.array(self._group_of, np.uint16))
        return Trace(
            source.path.name,
            ids,
            distinct,
            arrays["sizes"],
            arrays["costs"],
            times,
            groups,
            rate=self._rate * source.rate,
            requests=self.seen / source.rate,
        )


def _joined(parts: list[npt.NDArray[Any]], kind: Any) -> npt.NDArray[Any]:
    whole = np.empty(sum(map(len, parts)), kind)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole
