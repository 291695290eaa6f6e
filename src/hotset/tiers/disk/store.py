"""The directory of a disk level: opened, checked, shared by the processes of a host, and replaced when it is damaged.

=====================  ========================================================================================
``entries-N.mdb``      the entries of generation N (`file`), and ``-lock`` beside it, LMDB's table of readers
``marks``              marks of use, and how the last session ended (`marks`)
``opening``            locked by who opens or closes, for as long as that takes
``using``              locked by all who have the entries open, together
``writing``            locked by who writes, one at a time
``*.damaged``          a file that was set aside; the newest of them is kept
=====================  ========================================================================================

**Before it is used** a file that nobody has open is judged. It is taken as it is if it was closed in order and has not
been changed since. Else it may have been caught in the middle of something:

- the processes died, but the machine went on: LMDB never overwrites what a commit has made visible, and the kernel has
  everything that was written. Still every page is looked at (`lmdb.verify`, in Python, some 2 s a GB), because a page
  that is out of order could end the process that reads it;
- the machine went down: without `sync` nobody knows which pages reached the disk. A file may be in order and say what
  was invalidated long ago. It is set aside.

**Setting aside** renames the file, counts, and begins a new one. The number of the generation in `marks` tells all
processes, which leave the old file at their next operation.

Opening happens in a thread of its own, so that nobody waits for it longer than he wants to.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import lmdb
import lmdb.verify

from hotset.errors import TierError, TierTimeout, TierUnavailable
from hotset.tiers.disk.file import EntryFile, lock_path, signature
from hotset.tiers.disk.locks import FileLock
from hotset.tiers.disk.marks import FIRST_SLOT, Marks, slots_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotset.tiers.disk.marks import Head

__all__ = ["DAMAGE", "LEAST_BYTES", "Store", "abandon", "attach", "detach"]

LEAST_BYTES: Final = 1 << 20
_PAGE: Final = 4096
# LMDB's lock file for 1,000 readers, and the files that are locked.
_LOCK_BYTES: Final = 96 * 1024
# After a failure nobody tries to open again for so long, in seconds.
_PAUSE: Final = 1.0
# How long the opening thread waits for other processes that open or write.
_OPENING: Final = 30.0
_FORK_WAIT: Final = 0.25
_GLANCE: Final = 50e-6

_log: Final = logging.getLogger(__name__)

# Damage, as LMDB tells of it; everything else is a failure of the moment.
DAMAGE: Final = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
)


class Store:
    """A directory as this process has it: one for all tiers of the process that use it."""

    def __init__(self, path: Path, max_bytes: int, *, sync: bool) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.sync = sync
        self.users = 0
        self.file: EntryFile | None = None
        self.marks: Marks | None = None
        self._locks()
        self._opening = FileLock(path / "opening")
        self._using = FileLock(path / "using")
        self._writing = FileLock(path / "writing")
        # An environment of before a fork, which must be closed before the file can be opened again.
        self._inherited: EntryFile | None = None
        self._forking: EntryFile | None = None
        self._held_for_fork = False
        self._closed = False

    def _locks(self) -> None:
        # Held by who writes; before the lock between processes is taken.
        self.writer = threading.Lock()
        # Guards what is below. Nothing that waits is done under it.
        self._state = threading.Lock()
        self._opener: threading.Thread | None = None
        self._opener_begun = 0.0
        # Clear while the process forks: nobody must be reading then.
        self._running = threading.Event()
        self._running.set()
        self._error: TierError | None = None
        self._retry_at = 0.0

    def __repr__(self) -> str:
        return f"<Store {str(self.path)!r}>"

    # Opening

    def current(self, deadline: float) -> EntryFile:
        """Return the entries, opened if need be. Raises TierError."""
        while True:
            file = self.file
            if file is not None and file.present:
                return file
            if not self._running.is_set():
                if not self._running.wait(max(0.0, deadline - time.monotonic())):
                    raise TierTimeout(f"{self.path}: the process forks")
                continue
            with self._state:
                if self._closed:
                    raise TierUnavailable(f"{self.path} is closed")
                opener = self._opener
                if opener is None:
                    if self._error is not None and time.monotonic() < self._retry_at:
                        raise self._error.with_traceback(None)  # it would grow with each time
                    opener = threading.Thread(target=self._open, name="hotset-disk-open", daemon=True)
                    self._opener = opener
                    self._opener_begun = time.monotonic()
                    opener.start()
            # What takes long, such as looking through a file, is not waited for by every operation anew.
            opener.join(max(0.0, min(deadline, self._opener_begun + _PAUSE) - time.monotonic()))
            if opener.is_alive():
                raise TierUnavailable(f"{self.path} is being opened or checked")
            with self._state:
                if self._error is not None:
                    raise self._error.with_traceback(None)

    def _open(self) -> None:
        """Open the present file. In a thread of its own; the outcome is told by `file` or `_error`."""
        error: TierError | None = None
        try:
            self._open_now()
        except OSError as failure:
            error = TierUnavailable(f"{self.path}: {failure}")
        except (lmdb.Error, ValueError) as failure:
            error = TierUnavailable(f"{self.path} cannot be opened: {failure}")
        except TierError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - nobody waits in this thread: who does is told
            _log.exception("%s cannot be opened", self.path)
            error = TierError(f"{self.path} cannot be opened: {failure}")
        with self._state:
            self._error = error
            self._retry_at = time.monotonic() + _PAUSE
            if self._opener is threading.current_thread():
                self._opener = None
            late = self.file if self._closed else None
        if late is not None:
            late.close()  # who closed the store did not wait so long

    def _open_now(self) -> None:
        inherited, self._inherited = self._inherited, None
        if inherited is not None:
            inherited.close()  # may wait for threads that only the parent has: then it waits here, and nobody else does
        if self.file is not None:
            self.drop(self.file)  # another process has set it aside
        deadline = time.monotonic() + _OPENING
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._held(self._opening, deadline, "opened"):
            alone = self._using.take_now()
            try:
                marks = self._judged() if alone else Marks.join(self.path / "marks")
                self.marks = marks
                if not alone and not self.sync and marks.head.synced:
                    marks.head = marks.head._replace(synced=False)
                self.file = self._opened(marks, deadline)
            except BaseException:
                self._using.close()
                raise
            self._using.take_now(shared=True)

    @contextlib.contextmanager
    def _held(self, lock: FileLock, deadline: float, what: str) -> Iterator[None]:
        if not lock.take(deadline):
            raise TierTimeout(f"{self.path} is being {what} by another process")
        try:
            yield
        finally:
            lock.give()

    def _opened(self, marks: Marks, deadline: float) -> EntryFile:
        """Return the file of the present generation, open; a damaged one is set aside for a new one."""
        for _ in range(2):
            head = marks.head
            path = self.entries(head.generation)
            try:
                self.begin_writing(deadline)  # py-lmdb opens databases in a transaction that writes
                try:
                    file = EntryFile(path, marks, sync=self.sync)
                finally:
                    self.end_writing()
            except DAMAGE as error:
                self._set_aside(marks, head.generation, str(error))
                continue
            file.env.reader_check()
            return file
        raise TierUnavailable(f"{self.path}: a new file is damaged, too")

    def entries(self, generation: int) -> Path:
        """Return where the entries of a generation are."""
        return self.path / f"entries-{generation}.mdb"

    # Judging

    def _judged(self) -> Marks:
        """Return the marks, after what nobody has open was looked at. The caller is alone with the directory."""
        slots = slots_for(self.max_bytes)
        marks, sound = Marks.open(self.path / "marks", slots)
        head = marks.head
        generations = self._generations()
        if generations and (not sound or head.generation not in generations):
            head = head._replace(generation=generations[-1], size=0, boot=b"")
            marks.head = head
        for generation in generations:
            if generation != head.generation:  # left behind by a rename that was cut off
                self._set_aside(marks, generation, "it is not the newest")
        head = marks.head
        map_bytes = (self.max_bytes - FIRST_SLOT - slots - _LOCK_BYTES) // _PAGE * _PAGE
        path = self.entries(head.generation)
        if path.exists():
            why = self._trouble(path, head)
            if why:
                self._set_aside(marks, head.generation, why)
            elif path.stat().st_size > map_bytes:
                _log.warning("%s has more than the %d bytes of max_bytes now: it is deleted", path, self.max_bytes)
                path.unlink()
        lock_path(self.entries(marks.head.generation)).unlink(missing_ok=True)  # nobody reads
        marks.head = marks.head._replace(map_bytes=map_bytes, size=0, modified=0, synced=self.sync, boot=_boot())
        # Before the first change: a machine that goes down must not leave behind that all was in order.
        marks.flush()
        return marks

    def _generations(self) -> list[int]:
        """Return the generations of which there are entries, in order."""
        numbers = [path.stem.removeprefix("entries-") for path in self.path.glob("entries-*.mdb")]
        return sorted(int(number) for number in numbers if number.isascii() and number.isdigit())

    def _trouble(self, path: Path, head: Head) -> str:
        """Return why a file must not be used, or ""."""
        size, modified = signature(path)
        if not size:
            return "it is empty"
        if head.size and (size, modified) == (head.size, head.modified):
            return ""
        boot = _boot()
        if not head.synced and (not boot or head.boot != boot):
            return "it was not closed before the machine went down"
        try:
            problems = lmdb.verify.verify(str(path), subdir=False)  # type: ignore[no-untyped-call]
        except (lmdb.verify.VerifyError, OSError, ValueError, ArithmeticError) as error:
            return str(error) or type(error).__name__
        return str(problems[0]) if problems else ""

    def _set_aside(self, marks: Marks, generation: int, why: str) -> None:
        """Rename a file, count it, and have all processes begin the next one. The caller holds `opening`."""
        path = self.entries(generation)
        aside = path.with_name(path.name + ".damaged")
        older = [old for old in self.path.glob("*.damaged") if old != aside]
        with contextlib.suppress(FileNotFoundError):
            path.replace(aside)
        head = marks.head
        following = max(head.generation, generation + 1)
        marks.head = head._replace(generation=following, set_aside=head.set_aside + 1, size=0, modified=0)
        _log.warning("%s is set aside as %s: %s", path, aside.name, why)
        lock_path(path).unlink(missing_ok=True)
        for old in older:
            _log.warning("%s, set aside before, is deleted", old)
            with contextlib.suppress(OSError):
                old.unlink()

    def replace(self, file: EntryFile, why: str, deadline: float) -> None:
        """Set a file aside that proved to be damaged, unless somebody did it before. Raises TierError, OSError."""
        with self._held(self._opening, deadline, "opened"):
            marks = self.marks
            if marks is not None and marks.head.generation == file.generation:
                self._set_aside(marks, file.generation, why)
        self.drop(file)

    def drop(self, file: EntryFile) -> None:
        """Use a file no longer. Who still reads it gets an error. Raises lmdb.Error."""
        with self._state:
            if self.file is file:
                self.file = None
        file.close()

    @contextlib.contextmanager
    def reader(self, deadline: float) -> Iterator[tuple[EntryFile, Any]]:
        """Read, in a transaction. Raises TierError, lmdb.Error."""
        while True:
            file = self.current(deadline)
            file.reading.append(None)
            try:
                if self.file is not file:  # the process is about to fork
                    continue
                with file.begin() as txn:
                    yield file, txn
                return
            finally:
                file.reading.pop()

    # Writing

    def begin_writing(self, deadline: float) -> None:
        """Be the one who writes. Raises TierTimeout, OSError."""
        if not self.writer.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TierTimeout(f"{self.path} is being written to by another thread")
        try:
            if not self._writing.take(deadline):
                raise TierTimeout(f"{self.path} is being written to by another process")  # noqa: TRY301
        except BaseException:
            self.writer.release()
            raise

    def end_writing(self) -> None:
        """Let others write."""
        try:
            self._writing.give()
        finally:
            self.writer.release()

    # Closing

    def close(self) -> None:
        """Close the file; who is the last of all processes has it on the disk first, and says so."""
        with self._state:
            self._closed = True
            opener = self._opener
        if opener is not None:
            opener.join(_PAUSE)
        file, self.file = self.file, None
        marks, self.marks = self.marks, None
        if file is not None and marks is not None:
            try:
                self._close_in_order(file, marks)
            except (OSError, lmdb.Error, TierError) as error:
                _log.warning("%s is not closed in order: %s", self.path, error)
        if marks is not None:
            marks.close()
        for lock in (self._using, self._opening, self._writing):
            lock.close()

    def _close_in_order(self, file: EntryFile, marks: Marks) -> None:
        deadline = time.monotonic() + _PAUSE
        if not self.writer.acquire(timeout=_PAUSE):
            raise TierTimeout("a thread is writing")
        try:
            with self._held(self._opening, deadline, "opened"):
                last = self._using.take_now()
                if last:
                    file.env.sync(force=True)
                file.close()
                if last and marks.head.generation == file.generation:
                    size, modified = signature(file.path)
                    marks.head = marks.head._replace(size=size, modified=modified)
                    marks.flush()
        finally:
            self.writer.release()

    # Forking

    def before_fork(self) -> None:
        """Have no thread write or read while the process forks, if that can be had soon.

        The child must close the environment before it can open the file, and LMDB waits with that for operations that
        were under way: in the child they would never end.
        """
        self._held_for_fork = self.writer.acquire(timeout=_FORK_WAIT)
        self._running.clear()
        self._forking = file = self.file
        self.file = None
        deadline = time.monotonic() + _FORK_WAIT
        while file is not None and file.reading and time.monotonic() < deadline:
            time.sleep(_GLANCE)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self.file is None:
            self.file = self._forking
        self._forking = None
        self._running.set()
        if self._held_for_fork:
            self.writer.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: the locks and the environment are the parent's."""
        for lock in (self._using, self._opening, self._writing):
            lock.close()
        self._inherited = self._forking or self._inherited
        self._forking = self.file = self.marks = None
        self._locks()


_registry_lock = threading.Lock()  # guards _registry and the counts of users
_registry: Final[dict[Path, Store]] = {}
# Stores whose users went without a word. The garbage collector may come upon them in any thread, with any lock held.
_abandoned: Final[deque[Store]] = deque()


def attach(path: Path, max_bytes: int, *, sync: bool) -> Store:
    """Return the store of a directory, for one user more."""
    path = path.resolve()
    with _registry_lock:
        while _abandoned:
            _leave(_abandoned.popleft())
        store = _registry.get(path)
        if store is None:
            store = _registry[path] = Store(path, max_bytes, sync=sync)
        store.users += 1
        return store


def detach(store: Store) -> None:
    """Have one user less; the last one closes it."""
    with _registry_lock:
        _leave(store)


def abandon(store: Store) -> None:
    """Have one user less, some time; may be called by the garbage collector."""
    _abandoned.append(store)


def _leave(store: Store) -> None:
    store.users -= 1
    if store.users:
        return
    # Under the registry's lock: LMDB files must not be opened twice in a process, so this one must be closed before
    # anybody opens it again.
    try:
        store.close()
    finally:
        _registry.pop(store.path, None)


@atexit.register
def _close_all() -> None:
    """Close what nobody closed, so that the next process need not look it through."""
    for store in list(_registry.values()):
        store.close()


def _boot() -> bytes:
    """Return what is another one after each start of the machine, b"" if that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes()[:40].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            found = subprocess.run(
                ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, check=True, timeout=5
            )
            return found.stdout.strip()[:40]
    return b""


def _before_fork() -> None:
    for store in list(_registry.values()):
        store.before_fork()


def _after_fork_in_parent() -> None:
    for store in list(_registry.values()):
        store.after_fork_in_parent()


def _after_fork_in_child() -> None:
    global _registry_lock  # noqa: PLW0603 - another thread of the parent may have held it
    _registry_lock = threading.Lock()
    for store in _registry.values():
        store.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
