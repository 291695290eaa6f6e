"""The log of changes in the file, and the thread by which a process learns what the others have changed.

Every change of a name and every invalidation is written to the log in the transaction that makes it, under the next
number. A thread looks every `heartbeat` seconds, in about 5 us if there is nothing new. What it sees is a snapshot that
was taken after the moment that it reports as `alive`: every change that was committed before is in it, in order and
without a gap, and only then does a memory above serve its entries unasked. That is why the tier streams: the level is
asked 20 times a second altogether, instead of once in `max_staleness` for each entry in memory.

A fill of a name that nobody had is not logged, and neither is an eviction: what others have in memory stays right by
either, and whatever changes a name later is logged whether the name is in the file or not.

The log keeps the last changes, some thousands. Who finds that the number after his last one is gone already tells the
listener that changes were lost; so he does when the file was replaced or could not be read.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

import lmdb

from hotset.errors import TierError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from hotset.tiers.contract import Listener
    from hotset.tiers.disk.file import EntryFile

    # Begins a transaction that reads.
    Reader = Callable[[], AbstractContextManager[tuple[EntryFile, Any]]]

__all__ = ["INVALIDATED", "NAMES", "SENDER_BYTES", "Log", "Watch"]

SENDER_BYTES: Final = 8
NAMES: Final = b"n"
INVALIDATED: Final = b"t"

_NUMBER: Final = struct.Struct(">Q")
_EPOCH: Final = struct.Struct("<Q")
_KIND_AT: Final = 16
_MOST: Final = 65_536
_FEWEST: Final = 256
_BYTES_A_CHANGE: Final = 2048  # of the map, for each change that is kept

_log: Final = logging.getLogger(__name__)


class Log:
    """Writes changes of one space, as one sender."""

    __slots__ = ("_front", "_kept", "sender", "space")

    def __init__(self, sender: bytes, space: bytes) -> None:
        self.sender = sender
        self.space = space
        self._front = sender + space

    def names(self, txn: Any, file: EntryFile, names: Iterable[str]) -> None:
        """Log that names have changed."""
        self._append(txn, file, [NAMES + name.encode("utf-8", "surrogatepass") for name in names])

    def invalidated(self, txn: Any, file: EntryFile, tags: Iterable[str], epoch: int) -> None:
        """Log that tags were invalidated."""
        front = INVALIDATED + _EPOCH.pack(epoch)
        self._append(txn, file, [front + tag.encode("utf-8", "surrogatepass") for tag in tags])

    def _append(self, txn: Any, file: EntryFile, said: list[bytes]) -> None:
        kept = max(_FEWEST, min(_MOST, file.pages * file.page_bytes // _BYTES_A_CHANGE))
        changes = file.changes
        number = last_number(txn, file)
        for one in said:
            number += 1
            txn.put(_NUMBER.pack(number), self._front + one, append=True, db=changes)
            if number > kept:
                txn.delete(_NUMBER.pack(number - kept), db=changes)


def last_number(txn: Any, file: EntryFile) -> int:
    """Return the number of the last change, 0 if there was none."""
    cursor = txn.cursor(file.changes)
    number = int.from_bytes(cursor.key(), "big") if cursor.last() else 0
    cursor.close()
    return number


def cut(txn: Any, file: EntryFile) -> None:
    """Forget all changes but the last one."""
    number = last_number(txn, file)
    if number:
        last = txn.get(_NUMBER.pack(number), db=file.changes)
        txn.drop(file.changes, delete=False)
        txn.put(_NUMBER.pack(number), last, db=file.changes)


class Watch:
    """Tells a listener what others change, from a thread that ends when nobody else holds listener or tier."""

    def __init__(self, reader: Reader, log: Log, listener: Listener, heartbeat: float) -> None:
        self._reader = reader
        self._log = log
        self._heartbeat = heartbeat
        try:
            self._listener: Callable[[], Listener | None] = weakref.ref(listener)
        except TypeError:
            self._listener = lambda: listener
        self._lock = threading.Lock()  # guards _thread
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.running = False
        self._file: EntryFile | None = None
        self._last = 0

    def start(self) -> None:
        """Have a thread look, if none does."""
        with self._lock:
            if self.running or self._ending.is_set():
                return
            self.running = True
            self._thread = threading.Thread(target=self._run, name="hotset-disk-watch", daemon=True)
            self._thread.start()

    def stop(self, wait: float = 1.0) -> None:
        """End the thread, waiting for it for so many seconds at most."""
        self._ending.set()
        with self._lock:
            thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join(wait)

    def _run(self) -> None:
        alive = False
        while not self._ending.is_set():
            listener = self._listener()
            if listener is None:
                break
            try:
                self._look(listener)
                alive = True
            except Exception as error:  # noqa: BLE001 - a listener's fault must not end the thread
                if not isinstance(error, (TierError, lmdb.Error, OSError)):
                    _log.exception("a listener failed")
                self._file = None
                if alive:
                    alive = False
                    listener.lost()
            del listener
            self._ending.wait(self._heartbeat)
        self._file = None

    def _look(self, listener: Listener) -> None:
        """Tell what is new, and report."""
        since = time.monotonic()
        names: list[str] = []
        tags: dict[int, list[str]] = {}
        with self._reader() as (file, txn):
            cursor = txn.cursor(file.changes)
            last = int.from_bytes(cursor.key(), "big") if cursor.last() else 0
            lost = file is not self._file or last < self._last
            if not lost and last > self._last:
                lost = not cursor.set_key(_NUMBER.pack(self._last + 1))
                if not lost:
                    for said in cursor.iternext(keys=False, values=True):
                        self._take(said, names, tags)
        self._file, self._last = file, last
        if lost:
            listener.lost()
        if names:
            listener.changed(names)
        for epoch, those in tags.items():
            listener.invalidated(those, epoch)
        listener.alive(since)

    def _take(self, said: bytes, names: list[str], tags: dict[int, list[str]]) -> None:
        """Take one change of the log, unless it is this process's own or of another space."""
        if said[:SENDER_BYTES] == self._log.sender or said[SENDER_BYTES:_KIND_AT] != self._log.space:
            return
        kind, rest = said[_KIND_AT : _KIND_AT + 1], said[_KIND_AT + 1 :]
        if kind == NAMES:
            names.append(rest.decode("utf-8", "surrogatepass"))
        elif kind == INVALIDATED:
            tags.setdefault(_EPOCH.unpack_from(rest)[0], []).append(rest[8:].decode("utf-8", "surrogatepass"))
