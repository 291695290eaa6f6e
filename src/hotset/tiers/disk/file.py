"""One file of entries: an LMDB environment with its databases, of one generation.

============  ==============================  ==================================================================
database      key                             value
============  ==============================  ==================================================================
``warm``      space, name                     the entry, as `hotset.wire` writes it
``cold``      space, name                     the entry, frozen (`freezing`); a name is in one of the two at most
``leases``    space, name                     16 bytes of the lease or hold (`holds`), then its end: milliseconds, 8
``tags``      space, tag                      in which epoch it was invalidated last: 8 bytes
``spaces``    space                           epoch, cleared, floor: 8 bytes each; also what the file is up to
``changes``   number, 8 bytes, big-endian     sender, space, kind, name or tag (`changes`)
============  ==============================  ==================================================================

A space is 8 bytes of a namespace's digest. LMDB's keys have 511 bytes at most: a name that is longer is kept under its
digest, behind a byte that is no UTF-8.
"""

from __future__ import annotations

import contextlib
import os
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import lmdb

from hotset.tiers.disk.marks import FIRST_SLOT, GENERATION_AT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotset.tiers.disk.marks import Marks

__all__ = ["LONGEST_NAME", "EntryFile", "key_of", "lock_path", "pages_of", "signature", "space_of"]

_SPACE_BYTES: Final = 8
LONGEST_NAME: Final = 480
# Reads under way at once, in all processes. One takes 64 bytes of the lock file.
_READERS: Final = 1000
_DATABASES: Final = (b"warm", b"cold", b"leases", b"tags", b"spaces", b"changes")


def space_of(namespace: str) -> bytes:
    """Return what the keys of a namespace begin with."""
    return blake2b(namespace.encode("utf-8", "surrogatepass"), digest_size=_SPACE_BYTES).digest()


def key_of(space: bytes, name: str) -> bytes:
    """Return the key of a name or tag."""
    try:
        text = name.encode()
    except UnicodeEncodeError:
        text = name.encode("utf-8", "surrogatepass")
    if len(text) > LONGEST_NAME:
        return space + b"\xff" + blake2b(text, digest_size=32).digest()
    return space + text


def lock_path(path: Path) -> Path:
    """Return where LMDB keeps the locks and readers of a file."""
    return path.with_name(path.name + "-lock")


class EntryFile:
    """The environment, open in this process. It is closed by its last user's last reference, or by `close`."""

    __slots__ = (
        "begin",
        "cells",
        "changes",
        "cold",
        "env",
        "generation",
        "leases",
        "low",
        "mask",
        "page_bytes",
        "pages",
        "path",
        "reading",
        "spaces",
        "tags",
        "warm",
    )

    def __init__(self, path: Path, marks: Marks, *, sync: bool) -> None:
        """Open it, made if it is not there. The caller holds the lock of those who write. Raises lmdb.Error."""
        generation, _, map_bytes, *_ = marks.head
        self.path = path
        self.generation = generation
        self.low = generation & 0xFF
        self.cells = marks.cells
        self.mask = marks.mask
        self.env = lmdb.open(
            str(path),
            map_size=map_bytes,
            subdir=False,
            sync=sync,
            metasync=sync,
            readahead=False,  # entries are read at random, and neighbours are no more likely to be read
            mode=0o600,
            max_dbs=len(_DATABASES),
            max_readers=_READERS,
            max_spare_txns=0,  # a spare one would be shared with forked children
            lib_version=0,
        )
        try:
            with self.env.begin(write=True) as txn:
                self.warm, self.cold, self.leases, self.tags, self.spaces, self.changes = (
                    self.env.open_db(name, txn=txn) for name in _DATABASES
                )
            self.page_bytes: int = self.env.stat()["psize"]
            # As long as the map, by a hole: a damaged number of a page then leads to a page that is none, which LMDB
            # notices, and not beyond the end, which ends the process.
            with contextlib.suppress(OSError):
                if path.stat().st_size < map_bytes:
                    os.truncate(path, map_bytes)
        except BaseException:
            self.env.close()
            raise
        self.pages = map_bytes // self.page_bytes
        # Looked up once: it is called at every read.
        self.begin: Callable[..., Any] = self.env.begin
        # As long as the reads under way in this process; who forks waits until it is empty.
        self.reading: list[None] = []

    @property
    def present(self) -> bool:
        """Whether it was not replaced since."""
        return self.cells[GENERATION_AT] == self.low

    def use(self, key: bytes, mark: int) -> None:
        """Mark an entry, unless it has more marks already."""
        slot = FIRST_SLOT + (crc32(key) & self.mask)
        self.cells[slot] = max(self.cells[slot], mark)

    def pages_of_entries(self, txn: Any) -> int:
        """Return how many pages the entries have. O(1)."""
        return pages_of(txn, self.warm) + pages_of(txn, self.cold)

    def pages_beside(self, txn: Any) -> int:
        """Return how many pages all other databases have. O(1)."""
        return sum(pages_of(txn, database) for database in (self.leases, self.tags, self.spaces, self.changes))

    def close(self) -> None:
        """Close it; who is reading gets an error."""
        self.env.close()


def signature(path: Path) -> tuple[int, int]:
    """Return size and time of a file. Raises OSError."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def pages_of(txn: Any, database: Any) -> int:
    """Return how many pages a database has, as this transaction sees it. O(1)."""
    stat = txn.stat(database)
    return int(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])
