"""Recording: what a live cache is asked for, as a trace.

Kept are the requests for a sample of the keys, drawn by hash, with all their uses: what a cache of a hundredth of the
size does with a hundredth of the keys is what the whole one does with all of them. The engine notes them on a tape in
C; a thread takes them from there four times a second. Nobody who asks the cache waits for a file.
"""

from __future__ import annotations

import array
import atexit
import csv
import io
import random
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from hotset._engine import tape_start, tape_take
from hotset.forks import tell_child

if TYPE_CHECKING:
    import os
    from typing import Self

    from hotset._engine import Cache
    from hotset.lab.trace import Trace

__all__ = ["MARK", "Recording"]

MARK: Final = "# hotset recording"  # how the first line of a file begins, before its sample
_TURN: Final = 0.25  # seconds between two looks at the tape
_ROOM: Final = 1 << 16  # requests that the tape has room for: 24 bytes each
_KEPT: Final = 1_000_000  # requests in memory, without a file: 16 bytes each
_MOST: Final = 100_000_000  # requests in a file
_WORD: Final = (1 << 64) - 1

_all: Final[weakref.WeakSet[Recording]] = weakref.WeakSet()


class Recording:
    """The requests for a sample of the keys of a cache, since it was made. Stops at `stop` or at the end of a `with`.

    `path`: a new file, CSV with a line of its own above: seconds since the epoch (as of the system's last tick) and the
    key; `hotset.lab.read_trace` and the commands read it. Without a path the latest requests are kept in memory.
    `sample`: the share of the keys. `keys`: "hashed", 64 bits of which nobody can tell the key, or "plain".
    `limit`: how many requests are kept; a file that is full takes no more, memory drops the oldest quarter.

    Raises ValueError for a sample that is not in (0, 1] or a limit that is none, FileExistsError for a file that is
    there, OSError where it cannot be written, RuntimeError if the cache is being recorded already.
    """

    def __init__(
        self,
        cache: Cache[Any, Any],
        path: str | os.PathLike[str] | None = None,
        *,
        sample: float = 0.01,
        keys: Literal["hashed", "plain"] = "hashed",
        limit: int | None = None,
    ) -> None:
        given: Any = sample
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            raise TypeError(f"sample must be a number, got {sample!r}")
        if not 0.0 < sample <= 1.0:
            raise ValueError(f"sample must be above 0 and at most 1, got {sample!r}")
        if keys not in {"hashed", "plain"}:
            raise ValueError(f"keys must be 'hashed' or 'plain', not {keys!r}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be a number of requests, 1 or more, got {limit!r}")
        self.sample = float(sample)
        self.path = None if path is None else Path(path)
        self.requests = 0  # that were taken from the tape
        self.lost = 0  # requests for sampled keys that came faster than they could be taken
        self.error: OSError | None = None  # why a file takes no more
        self._plain = keys == "plain"
        self._limit = limit if limit is not None else _KEPT if path is None else _MOST
        self._salt = random.SystemRandom().getrandbits(64)
        self._epoch = time.time() - time.monotonic()
        self._words, self._moments = array.array("Q"), array.array("d")
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._cache = weakref.ref(cache)
        self._file = None if self.path is None else self.path.open("x", encoding="utf-8", newline="")
        try:
            if self._file is not None:
                self._file.write(f"{MARK}, sample {self.sample!r}, keys {keys}\ntime,key\n")
                self._file.flush()
            tape_start(cache, self.sample, _ROOM, self._plain)
        except BaseException:
            if self._file is not None and self.path is not None:
                self._file.close()
                self.path.unlink(missing_ok=True)
            raise
        self._running = True
        _all.add(self)
        tell_child(self)
        # It ends when the cache is gone, of which the last quarter of a second is lost then.
        self._thread = threading.Thread(target=self._turns, name="hotset-recording", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        place = "in memory" if self.path is None else f"in {self.path}"
        return f"<Recording {state}: {self.requests:,} requests for {100 * self.sample:g} % of the keys, {place}>"

    @property
    def running(self) -> bool:
        """Whether requests are still being noted."""
        return self._running

    def stop(self) -> None:
        """Take what is left and close the file. Again: nothing. Raises OSError if the file could not be written."""
        with self._lock:
            if self._running:
                self._take(last=True)
        self._over.set()
        if self._thread is not threading.current_thread():
            self._thread.join(10.0)
        if self.error is not None:
            raise self.error

    def trace(self) -> Trace:
        """Return what was recorded so far as a trace of the lab, of which `rate` is the sample. O(n).

        Raises ImportError without the extra `hotset[lab]`, and TraceError if there is nothing yet.
        """
        from hotset.lab import read_trace  # noqa: PLC0415 - needs NumPy, which recording does not
        from hotset.lab.live import trace_of  # noqa: PLC0415

        with self._lock:
            if self._running:
                self._take(last=False)
            if self.path is None:
                return trace_of(self._words, self._moments, self.sample)
        return read_trace(self.path)

    def after_fork(self) -> None:
        """In a forked child nobody takes what is noted: stop."""
        self._lock = threading.Lock()
        self._running = False
        cache = self._cache()
        if cache is not None:
            tape_take(cache, 0)
        self._file = None  # the parent's: what it has buffered is not to be written twice

    def _turns(self) -> None:
        """Take what has been noted, again and again: what the thread does."""
        while not self._over.wait(_TURN):
            with self._lock:
                if self._running:
                    self._take(last=False)
                if not self._running:
                    return

    def _take(self, *, last: bool) -> None:
        """Take the tape's marks, under the lock."""
        cache = self._cache()
        last = last or cache is None
        if cache is not None:
            self._keep(*tape_take(cache, 0 if last else _ROOM))
        full = self.path is not None and self.requests >= self._limit
        if (full or self.error is not None) and not last and cache is not None:
            tape_take(cache, 0)
            last = True
        if last:
            self._running = False
            if self._file is not None:
                try:
                    self._file.close()
                except OSError as error:
                    self.error = self.error or error

    def _keep(self, hashes: bytes, moments: bytes, keys: list[Any] | None, lost: int) -> None:
        self.lost += lost
        times = array.array("d", moments)
        if self._file is not None:
            spare = self._limit - self.requests
            told = (
                [_told(key) for key in keys] if keys is not None else [f"{word:016x}" for word in self._spread(hashes)]
            )
            self._write(times[:spare], told[:spare])
            self.requests += min(len(times), spare)
            return
        self.requests += len(times)
        self._words.extend(self._spread(hashes))
        self._moments.extend(moment + self._epoch for moment in times)
        if len(self._words) > self._limit:
            gone = max(len(self._words) - self._limit, self._limit // 4)
            del self._words[:gone]
            del self._moments[:gone]

    def _write(self, times: array.array[float], keys: list[str]) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows((f"{moment + self._epoch:.3f}", key) for moment, key in zip(times, keys, strict=True))
        try:
            if self._file is not None and self.error is None:
                self._file.write(text.getvalue())
                self._file.flush()
        except OSError as error:
            self.error = error

    def _spread(self, hashes: bytes) -> list[int]:
        """Return words that say nothing of what was hashed to whoever does not know the salt."""
        return [_mixed(hash_ ^ self._salt) for hash_ in array.array("I", hashes)]


def _mixed(word: int) -> int:
    """The finalizer of SplitMix64."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return word ^ (word >> 31)


def _told(key: Any) -> str:
    """A key as text, in one line."""
    text = str(key) if isinstance(key, (str, int)) else repr(key)
    return text.replace("\r", "\\r").replace("\n", "\\n")


@atexit.register
def _stop_all() -> None:
    """Write what is left when the interpreter exits."""
    for one in list(_all):
        try:
            one.stop()
        except OSError:
            continue
