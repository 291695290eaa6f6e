"""The level on disk, for the processes of one host: an LMDB file in a directory.

- **Why LMDB**: a read is a look into memory that all processes map, without a lock, a system call or a parser in the
  way. It takes 0.5 us where SQLite takes 9 (both for 1 KB by py-lmdb and sqlite3, in the page cache), and a write of
  one entry 15 us where SQLite takes 43 (WAL, no fsync). Nothing that a killed process leaves behind is half done.
- **Reads of one name** are done in C, see `hotset._wire.Glance`; all that is not as it mostly is, Python's.
- **Fences, tags and times** as everywhere; see `shelf`. **Bounds and eviction**: see `room`. **What happens to a file
  that is damaged**: see `store`. **How other processes' changes are learned**: see `changes`.

It is coherent for the processes of one host. What other hosts change at a level beneath, that level's stream tells: see
`hotset.tiered.hearsay`. Beneath it, or above a level without a stream, `ttl` is how old a value may be.

Readers wait for nobody. Who writes waits `timeout` seconds at most for other writers, then gets TierTimeout; that is
how long a process may be stopped in the middle of a write without harm. Many names at once take several transactions,
of some milliseconds each. Full disks, missing rights and the like are
TierUnavailable, and tried again.

For asyncio, reads of a few names are done at once, because a thread would cost ten times what they do; all else is
done by a thread of the tier's own, in the order in which it was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import math
import os
import secrets
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import lmdb

from hotset.codecs.compression import compression_named
from hotset.durations import Duration, finite, seconds
from hotset.errors import TierError, TierTimeout, TierUnavailable
from hotset.forks import tell_child
from hotset.tiers.contract import Found, Reading
from hotset.tiers.disk.changes import SENDER_BYTES, Watch
from hotset.tiers.disk.holds import TOKEN_BYTES
from hotset.tiers.disk.marks import GENERATION_AT
from hotset.tiers.disk.room import Room
from hotset.tiers.disk.shelf import Put, Shelf, Turn, tidy
from hotset.tiers.disk.store import DAMAGE, LEAST_BYTES, abandon, attach, detach
from hotset.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from hotset._wire import Glance
    from hotset.codecs.contract import Codec
    from hotset.tiers.contract import Entry, Fence, Listener
    from hotset.tiers.disk.file import EntryFile
    from hotset.tiers.disk.store import Store

__all__ = ["DiskStats", "DiskTier"]

_T = TypeVar("_T")

# Up to so many names are read on the event loop.
_AT_ONCE: Final = 64
# How often a change is tried when the file is full, with more evicted each time.
_TRIES: Final = 8
_PAUSE: Final = 0.5e-3  # seconds before the second try, doubled with each
_TIDY: Final = 64  # changes between two looks at what is bounded otherwise
_MOST_BYTES: Final = 1 << 44
_SLOW: Final = 1e-3  # seconds a name, many times what one takes
_MOST_PAGES: Final = 4096  # that a transaction changes: 16 MiB, some milliseconds


@dataclass(frozen=True, slots=True)
class DiskStats:
    """What is in a directory, and what this process's tier has done to it. Sizes in bytes."""

    entries: int
    cold: int  # of these, frozen
    used: int  # pages in use; what is evicted makes room for others, the files do not shrink
    on_disk: int  # all files but those that were set aside
    max_bytes: int
    set_aside: int  # damaged files, by all processes since the directory was made
    evicted: int
    expired: int  # dropped because they were kept no longer
    frozen: int
    thawed: int


class Hold(NamedTuple):
    """By what names are held, and the epoch as of then."""

    token: bytes
    epoch: int


class DiskTier:
    """A level in a directory of a local file system, shared by all processes of the host that name it.

    - `path`: the directory; made if it is not there. Nothing else belongs into it. No network file system.
    - `max_bytes`: the most that its files ever take, one that was set aside not counted; 1 MiB at least. Three
      quarters of it are entries. Who opens the directory first decides, until all have closed it.
    - `ttl`: the longest that anything lives here, in seconds or as text such as "7d".
    - `wire`: how entries are written; or `codec` and `compress` ("zstd", "zlib" or None) with `compress_above`, in
      bytes, for `Wire`. A value may take an eighth of `max_bytes`.
    - `timeout`: seconds that other writers, and the opening, are waited for.
    - `lease`: seconds that a lease is good for, and a hold; a load that takes longer is not stored.
    - `heartbeat`: how often the log of other processes' changes is looked at, in seconds; None for not at all.
    - `sync`: have every change on the disk before it returns, some milliseconds. Without it the entries survive the end
      of processes, however sudden, but not that of the machine: then the file is set aside.

    Safe for threads, event loops and forks. Needs `hotset[disk]`. Every operation is O(log entries) a name or tag. The
    clock is time.time, the same for all processes of a host; set back, it lengthens lives by as much. Raises TypeError,
    ValueError for arguments that make no sense, ImportError for a compression that is not installed.
    """

    shared = True
    holds = True

    @property
    def streams(self) -> bool:
        """Whether the listener is told of changes by others."""
        return self._heartbeat is not None

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 1 << 30,
        ttl: Duration | None = None,
        name: str = "disk",
        wire: Wire | None = None,
        codec: Codec | str | None = None,
        compress: str | None = "zstd",
        compress_above: int = 4096,
        timeout: Duration = 0.25,
        lease: Duration = 30.0,
        heartbeat: Duration | None = 0.05,
        sync: bool = False,
        alone: bool = False,
    ) -> None:
        if wire is not None and codec is not None:
            raise ValueError("give a wire or a codec, not both")
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int):
            raise TypeError(f"max_bytes must be a number of bytes, not {max_bytes!r}")
        if not LEAST_BYTES <= max_bytes <= _MOST_BYTES:
            raise ValueError(f"max_bytes must be from {LEAST_BYTES} to {_MOST_BYTES}, not {max_bytes!r}")
        for what, value in (("sync", sync), ("alone", alone)):
            if not isinstance(value, bool):
                raise TypeError(f"{what} must be True or False, not {value!r}")
        self.path = Path(os.fsdecode(path)).absolute()
        self.name = name
        self.max_bytes = max_bytes
        self.timeout = finite(timeout, name="timeout")
        self.longest = math.inf if ttl is None else seconds(ttl, name="ttl")
        self._lease = self.held_for = finite(lease, name="lease")
        self._heartbeat = None if heartbeat is None else finite(heartbeat, name="heartbeat")
        self._sync = sync
        self.local = not alone
        self._limit = max_bytes // 8
        self._compression = None if compress is None else compression_named(compress)
        self._wire = (
            wire
            if wire is not None
            else Wire(
                "msgpack" if codec is None else codec,
                compress=compress,
                compress_above=compress_above,
                max_bytes=min(64 << 20, self._limit),
            )
        )
        self._store: Store | None = None
        self._shelf: Shelf | None = None
        self._room: tuple[EntryFile, Room] | None = None
        self._watch: Watch | None = None
        self._glance: Glance | None = None  # as of the last transaction that was read in by other means
        self._listener: Listener | None = None
        self._release: Any = None
        self._changes = 0
        self._counted = [0, 0, 0, 0]  # of rooms that are no more
        self._namespace = ""
        self._begin_anew()
        tell_child(self)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()  # guards the thread for asyncio; nothing that waits is done under it
        self._thread: ThreadPoolExecutor | None = None

    def __repr__(self) -> str:
        return f"<DiskTier {self.name!r} {str(self.path)!r}>"

    def open(self, namespace: str, listener: Listener) -> None:
        """Belong to one cache, and begin to listen to changes. If the directory cannot be used now, it may be later."""
        if self._listener is not None and self._listener is not listener:
            raise TierError(f"{self!r} belongs to another cache already: give {namespace!r} a tier of its own")
        self._listener = listener
        self._namespace = namespace
        if self._store is None:
            store = attach(self.path, self.max_bytes, sync=self._sync)
            self._store = store
            self._release = weakref.finalize(self, abandon, store)
            self._release.atexit = False
            self._have_shelf()
        self._start_watch()
        try:
            self._file()
        except TierError:
            return  # it is tried again with every operation

    def _have_shelf(self) -> None:
        """Make what signs its changes as this tier's."""
        sender = secrets.token_bytes(SENDER_BYTES)
        self._shelf = Shelf(self._namespace, self._wire, self._compression, sender, self._lease, self._limit)

    def _start_watch(self) -> None:
        if self._heartbeat is None or self._store is None or self._shelf is None or self._listener is None:
            return
        reader = functools.partial(_reader, weakref.ref(self._store), self.timeout)
        self._watch = Watch(reader, self._shelf.log, self._listener, self._heartbeat)
        self._watch.start()

    def close(self) -> None:
        """Give up the thread and the file, which is on the disk then if nobody else has it open."""
        watch, self._watch = self._watch, None
        self._glance = None
        if watch is not None:
            watch.stop()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)
        store, self._store = self._store, None
        if store is not None:
            self._release.detach()
            detach(store)

    async def aclose(self) -> None:
        """See close."""
        await asyncio.to_thread(self.close)

    def after_fork(self) -> None:
        """Begin anew in a forked child: with another sender, and without threads."""
        self._begin_anew()
        self._room = self._glance = None
        if self._shelf is not None:
            self._have_shelf()
        self._watch = None  # begins with the first operation: a child that does not use the tier needs no thread

    # Carrying operations out

    def _file(self) -> EntryFile:
        """Return the entries, opened if need be. Raises TierError."""
        store = self._store
        if store is None:
            if self._listener is None:
                raise TierError(f"{self!r} belongs to no cache: open() it first")
            raise TierUnavailable(f"{self!r} is closed")
        if self._watch is None and self._heartbeat is not None:
            with self._lock:
                if self._watch is None:
                    self._start_watch()
        return store.current(time.monotonic() + self.timeout)

    def _failed(self, error: Exception, file: EntryFile | None) -> TierError:
        """Return what an error is to the caller, and set aside what is damaged."""
        store = self._store
        if store is not None and file is not None and isinstance(error, DAMAGE):
            try:
                store.replace(file, str(error), time.monotonic() + self.timeout)
            except (OSError, TierError, lmdb.Error) as failure:
                return TierUnavailable(f"{self.path} is damaged and cannot be set aside: {failure}")
            return TierUnavailable(f"{self.path} was damaged and is set aside: {error}")
        if store is not None and file is not None and isinstance(error, (lmdb.PanicError, lmdb.BadRslotError)):
            store.drop(file)  # this process cannot use it any more, but opened again
        if isinstance(error, lmdb.MapFullError):
            return TierUnavailable(f"{self.path} is full, and what readers still see cannot be evicted")
        code = getattr(error, "code", 0) or getattr(error, "errno", 0)
        if code in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return TierUnavailable(f"the disk of {self.path} is full: {error}")
        return TierUnavailable(f"{self.path}: {error}")

    def _change(self, work: Callable[[Turn], _T]) -> _T:
        """Do something in a write transaction of its own. Raises TierError, CodecError."""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE * 2**attempt)
            store, file = self._store, self._file()
            if store is None:
                raise TierUnavailable(f"{self!r} is closed")
            try:
                store.begin_writing(time.monotonic() + self.timeout)
            except OSError as error:
                raise self._failed(error, None) from error
            try:
                if store.file is not file or not file.present:
                    continue  # replaced meanwhile
                try:
                    with file.begin(write=True) as txn:
                        return self._turn(txn, file, work)
                except lmdb.MapFullError as error:
                    if attempt == _TRIES - 1:
                        raise self._failed(error, file) from error
                    self._make_room(file, attempt)
            except (lmdb.Error, OSError) as error:
                raise self._failed(error, file) from error
            finally:
                store.end_writing()
        raise TierUnavailable(f"{self.path} is replaced again and again")

    def _turn(self, txn: Any, file: EntryFile, work: Callable[[Turn], _T]) -> _T:
        turn = Turn(txn, file, self._room_of(file), time.time())
        result = work(turn)
        self._changes += 1
        if not self._changes % _TIDY:
            tidy(turn)
        return result

    def _room_of(self, file: EntryFile) -> Room:
        if self._room is None or self._room[0] is not file:
            if self._room is not None:
                self._counted = self._counts()
            self._room = file, Room(file, self._compression, self._limit)
        return self._room[1]

    def _make_room(self, file: EntryFile, attempt: int) -> None:
        """Have pages that the next transaction may use. Raises lmdb.Error."""
        file.env.reader_check()  # of those who died while they were reading
        if not attempt:
            return  # a reader that is slow will do in a moment
        room = self._room_of(file)
        room.recount()
        with contextlib.suppress(lmdb.MapFullError), file.begin(write=True) as txn:
            room.evict(txn, 4 << attempt, time.time())

    # Reading

    def read(self, names: Sequence[str]) -> Reading:
        """Look names up. Raises TierError."""
        glance = self._glance
        if glance is not None and len(names) == 1:
            reading: Reading | None = glance.look(names[0])
            if reading is not None:
                return reading
        reading = self._read_now(names)
        if reading is None:  # nothing can be there
            state = self._change(self._opened().known_state)
            reading = Reading([_NOTHING] * len(names), state.epoch)
        return reading

    async def aread(self, names: Sequence[str]) -> Reading:
        """See read."""
        if len(names) <= _AT_ONCE and self._store is not None and self._store.file is not None:
            glance = self._glance
            reading: Reading | None = glance.look(names[0]) if len(names) == 1 and glance is not None else None
            if reading is None:
                reading = self._read_now(names)
            if reading is not None:
                return reading
        return await self._elsewhere(len(names), self.read, names)

    def _read_now(self, names: Sequence[str]) -> Reading | None:
        """Look names up without waiting, once the file is open; None if there is no state yet."""
        store, shelf = self._store, self._shelf
        while True:
            file = None if store is None else store.file
            if file is None or file.cells[GENERATION_AT] != file.low or self._watch is None:
                file = self._file()
            if store is None or shelf is None:
                raise TierUnavailable(f"{self!r} is closed")
            under_way = file.reading
            under_way.append(None)
            try:
                if store.file is not file:  # replaced, or the process is about to fork
                    continue
                txn = file.begin(file.warm)
                try:
                    glance = self._glance
                    if glance is None or glance.number != txn.id() or glance.file is not file:
                        self._glance = shelf.glance(txn, file, store)
                    return shelf.read(txn, file, names)
                finally:
                    txn.abort()
            except (lmdb.Error, OSError) as error:
                raise self._failed(error, file) from error
            finally:
                under_way.pop()

    def scan(self, cursor: str, count: int) -> tuple[str, list[str]]:
        """Return some names and where to go on; begin with "", which comes back at the end. O(count). Raises TierError.

        Names above 480 bytes are left out, and so may be what becomes warm again meanwhile.
        """
        shelf, store = self._opened(), self._store
        file = self._file()
        if store is None:
            raise TierUnavailable(f"{self!r} is closed")
        try:
            with store.reader(time.monotonic() + self.timeout) as (file, txn):
                return shelf.names(txn, file, cursor, count)
        except (lmdb.Error, OSError) as error:
            raise self._failed(error, file) from error

    async def ascan(self, cursor: str, count: int) -> tuple[str, list[str]]:
        """See scan."""
        return await self._elsewhere(count, self.scan, cursor, count)

    def lease(self, names: Sequence[str]) -> Reading:
        """Return a fence for each name that is not there, the same for all who ask; or the entry. Raises TierError."""
        shelf = self._opened()
        whole: Reading | None = None
        for some in _parts(names, [1] * len(names), self._pages()):
            reading = self._change(lambda turn, some=some: shelf.lease(turn, some))  # type: ignore[misc]
            if whole is None:
                whole = reading
            else:
                whole.found += reading.found
                for reason, count in reading.refused.items():
                    whole.refused[reason] = whole.refused.get(reason, 0) + count
        return self.read(names) if whole is None else whole

    async def alease(self, names: Sequence[str]) -> Reading:
        """See lease."""
        return await self._elsewhere(len(names), self.lease, names)

    # Writing

    def fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """Store loaded entries whose fence holds. Raises TierError; CodecError, and nothing is stored then."""
        shelf = self._opened()
        stored = [False] * len(items)
        puts = []
        places = []
        now = time.time()
        for place, (name, entry, fence) in enumerate(items):
            if fence is not None and entry.keep > 0:
                puts.append(Put(name, shelf.key(name), shelf.encoded(name, entry.within(self.longest), now), fence))
                places.append(place)
        order = iter(places)
        for some in self._by_pages(puts):
            told = self._change(lambda turn, some=some: shelf.fill(turn, some))  # type: ignore[misc]
            for done in told:
                stored[next(order)] = done
        return stored

    async def afill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """See fill."""
        return await self._elsewhere(len(items), self.fill, items)

    def write(self, items: Sequence[tuple[str, Entry]]) -> None:
        """Store entries whatever is there. Raises TierError; CodecError, and nothing is stored then."""
        if not items:
            return
        shelf = self._opened()
        present = self.read([]).epoch
        now = time.time()
        puts = []
        for name, given in items:
            # An epoch above is one of an older file, and would be dead for long.
            entry = (given if 0 < given.epoch <= present else replace(given, epoch=present)).within(self.longest)
            puts.append(Put(name, shelf.key(name), shelf.encoded(name, entry, now) if entry.keep > 0 else b""))
        for some in self._by_pages(puts):
            self._change(lambda turn, some=some: shelf.write(turn, some))  # type: ignore[misc]

    async def awrite(self, items: Sequence[tuple[str, Entry]]) -> None:
        """See write."""
        await self._elsewhere(len(items), self.write, items)

    def remove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """Drop names, or end their lives. Raises TierError."""
        shelf = self._opened()
        for some in _parts(names, [2] * len(names), self._pages()):
            self._change(lambda turn, some=some: shelf.remove(turn, some, expire=expire))  # type: ignore[misc]

    async def aremove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """See remove."""
        await self._elsewhere(len(names), functools.partial(self.remove, expire=expire), names)

    def hold(self, names: Sequence[str], *, expire: bool = False) -> Hold:
        """Remove names and hold them, until they are settled or for `lease` seconds at most. Raises TierError."""
        shelf = self._opened()
        token = secrets.token_bytes(TOKEN_BYTES)
        epochs = [
            self._change(lambda turn, some=some: shelf.hold(turn, some, token, expire=expire))  # type: ignore[misc]
            for some in _parts(names, [3] * len(names), self._pages())
        ]
        return Hold(token, min(epochs, default=0))

    async def ahold(self, names: Sequence[str], *, expire: bool = False) -> Hold:
        """See hold."""
        return await self._elsewhere(len(names), functools.partial(self.hold, expire=expire), names)

    def settle(self, items: Sequence[tuple[str, Entry | None]], hold: Hold, *, expire: bool = False) -> list[bool]:
        """End the hold of names, and store entries. Raises TierError; CodecError, and nothing is stored then."""
        shelf = self._opened()
        now = time.time()
        puts = []
        for name, given in items:
            entry = None if given is None else given.as_of(hold.epoch).within(self.longest)
            data = b"" if entry is None or entry.keep <= 0 else shelf.encoded(name, entry, now)
            puts.append(Put(name, shelf.key(name), data))
        alone: list[bool] = []
        for some in self._by_pages(puts):
            alone += self._change(lambda turn, some=some: shelf.settle(turn, some, hold.token, expire=expire))  # type: ignore[misc]
        return alone

    async def asettle(
        self, items: Sequence[tuple[str, Entry | None]], hold: Hold, *, expire: bool = False
    ) -> list[bool]:
        """See settle."""
        return await self._elsewhere(len(items), functools.partial(self.settle, expire=expire), items, hold)

    def touch(self, name: str, life: float, keep: float) -> bool:
        """Give an entry new times; whether it was there. Raises TierError, CodecError."""
        shelf = self._opened()
        life, keep = min(life, self.longest), min(keep, self.longest)
        return self._change(lambda turn: shelf.touch(turn, name, life, keep))

    async def atouch(self, name: str, life: float, keep: float) -> bool:
        """See touch."""
        return await self._elsewhere(1, self.touch, name, life, keep)

    def invalidate(self, tags: Sequence[str]) -> int:
        """End the lives of all older entries with one of these tags; the new epoch. Raises TierError."""
        shelf = self._opened()
        return self._change(lambda turn: shelf.invalidate(turn, tags))

    async def ainvalidate(self, tags: Sequence[str]) -> int:
        """See invalidate."""
        return await self._elsewhere(len(tags), self.invalidate, tags)

    def forget(self, names: Sequence[str], tags: Sequence[str]) -> None:
        """Drop names, and end the lives of entries with tags, and tell no other process. Raises TierError."""
        shelf = self._opened()
        for some in _parts(names, [2] * len(names), self._pages()):
            self._change(lambda turn, some=some: shelf.remove(turn, some, expire=False, quiet=True))  # type: ignore[misc]
        if tags:
            self._change(lambda turn: shelf.invalidate(turn, tags, quiet=True))

    async def aforget(self, names: Sequence[str], tags: Sequence[str]) -> None:
        """See forget."""
        await self._elsewhere(len(names), self.forget, names, tags)

    def _opened(self) -> Shelf:
        if self._shelf is None:
            raise TierError(f"{self!r} belongs to no cache: open() it first")
        return self._shelf

    def _pages(self) -> int:
        """Return how many pages one transaction may change."""
        return max(8, min(_MOST_PAGES, self._file().pages // 32))

    def _by_pages(self, puts: list[Put]) -> Iterator[list[Put]]:
        """Return puts in parts that one transaction may store."""
        if not puts:
            return iter(())
        page = self._file().page_bytes
        return _parts(puts, [3 + len(put.data) // page for put in puts], self._pages())

    # For asyncio

    async def _elsewhere(self, count: int, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do something with so many names in the tier's thread, unless it is given up before it begins."""
        if self._store is None:
            self._file()  # raises
        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="hotset-disk")
            future = self._thread.submit(work, *arguments)
        try:
            # The disk itself may be slow, for which nobody is to wait on a loop.
            return await asyncio.wait_for(asyncio.wrap_future(future), 2 * self.timeout + count * _SLOW)
        except TimeoutError as error:
            raise TierTimeout(f"{self!r} did not do it in time") from error

    # Looking inside

    def stats(self) -> DiskStats:
        """Return what is there. Raises TierError."""
        store, file = self._store, self._file()
        if store is None or store.marks is None:
            raise TierUnavailable(f"{self!r} is closed")
        try:
            with store.reader(time.monotonic() + self.timeout) as (file, txn):
                pages = file.pages_of_entries(txn) + file.pages_beside(txn)
                warm, cold = (txn.stat(database)["entries"] for database in (file.warm, file.cold))
        except lmdb.Error as error:
            raise self._failed(error, file) from error
        return DiskStats(
            warm + cold,
            cold,
            pages * file.page_bytes,
            _size_of(self.path),
            self.max_bytes,
            store.marks.head.set_aside,
            *self._counts(),
        )

    def _counts(self) -> list[int]:
        """Return what was evicted, expired, frozen and thawed."""
        if self._room is None:
            return self._counted
        room = self._room[1]
        counts = room.evicted, room.expired, room.frozen, room.thawed
        return [sum(pair) for pair in zip(self._counted, counts, strict=True)]


_NOTHING: Final = Found(None, None)


def _reader(store: weakref.ref[Store], timeout: float) -> AbstractContextManager[tuple[EntryFile, Any]]:
    """Have a store read by who must not keep it alive. Raises TierError."""
    there = store()
    if there is None:
        raise TierUnavailable("the tier is gone")
    return there.reader(time.monotonic() + timeout)


def _parts(items: Sequence[_T], pages: Sequence[int], most: int) -> Iterator[list[_T]]:
    """Cut items into parts of so many pages at most, of one item at least."""
    part: list[_T] = []
    left = most
    for item, takes in zip(items, pages, strict=True):
        if part and takes > left:
            yield part
            part, left = [], most
        part.append(item)
        left -= takes
    if part:
        yield part


def _size_of(path: Path) -> int:
    """Return what the files of a directory take, but for those that were set aside."""
    return sum(file.stat().st_blocks * 512 for file in path.iterdir() if file.suffix != ".damaged")
