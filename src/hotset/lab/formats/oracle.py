"""libCacheSim's oracleGeneral: records of 24 bytes, which are seconds, key, bytes, and the key's next request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotset.lab.formats.source import Chunk, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "oracle"
SUFFIXES = (".oraclegeneral", ".oraclegeneral.bin")
_RECORD = np.dtype([("time", "<u4"), ("key", "<u8"), ("size", "<u4"), ("next", "<i8")])
# Of what has no next request: -1 in old files, the largest number in newer ones.
_NONE = (-1, (1 << 63) - 1)


def fits(head: bytes, source: Source) -> bool:
    """Whether this can be such a file: times do not fall, and a next request comes later or never."""
    count = min(len(head) // _RECORD.itemsize, 1000)
    if not count:
        return bool(head) and source.name.endswith(SUFFIXES)
    records = np.frombuffer(head, _RECORD, count)
    return _sound(records, 0, int(records["time"][0])) is None


def chunks(source: Source) -> Iterator[Chunk]:
    """Yield the requests. O(1) memory. Raises TraceError where a record is cut off or cannot be."""
    done, latest = 0, 0
    rest = b""
    for block in source.blocks(_RECORD.itemsize << 15):
        whole = rest + block
        count = len(whole) // _RECORD.itemsize
        records = np.frombuffer(whole, _RECORD, count)
        rest = whole[count * _RECORD.itemsize :]
        if count:
            bad = _sound(records, done, latest)
            if bad is not None:
                raise source.error(
                    "no oracleGeneral record: times must not fall, and the next request must come later",
                    offset=(done + bad) * _RECORD.itemsize,
                )
            latest = int(records["time"][-1])
            done += count
            times = records["time"].astype(np.float64)
            yield Chunk(records["key"].astype(np.uint64), records["size"].astype(np.float64), None, times)
    if rest:
        raise source.error(
            f"the last record is cut off: {len(rest)} of {_RECORD.itemsize} bytes", offset=done * _RECORD.itemsize
        )


def _sound(records: np.ndarray[tuple[int], np.dtype[np.void]], done: int, latest: int) -> int | None:
    """Return the first record that cannot be, or None."""
    times, later = records["time"].astype(np.int64), records["next"]
    fell = np.diff(times, prepend=latest) < 0
    # Some writers count from 0 and some from 1.
    early = (later < np.arange(done, done + len(records))) & ~np.isin(later, _NONE)
    bad = np.flatnonzero(fell | early)
    return int(bad[0]) if len(bad) else None
