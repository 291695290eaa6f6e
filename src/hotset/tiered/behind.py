"""Writes behind: acknowledged by a durable journal, given to the origin later, in batches.

Two threads do it. The *clerk* has all writes that have come while it was at it on the disk by one commit (group
commit), takes them into the queue, and only then are they acknowledged. The *carrier* gives the queue to the origin:
`batch` writes at a time, the latest of each key, when there are so many or the oldest is `interval` old.

A batch that fails is halved, with a pause that doubles each time, until the origin takes one or a write fails alone.
That one is put off for a time of its own, which doubles too, while the others go on; after `retries` failures alone it
is a dead letter: listed by `dead`, tried anew by `replay`, dropped by `discard`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import threading
import time
import warnings
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hotset.durations import finite, seconds
from hotset.errors import JournalError, WriteError, WriteRefused
from hotset.forks import tell_child
from hotset.names import key_of, name_of
from hotset.tiered.journal import Changes, Journal, chunk_of
from hotset.tiered.stats import BehindStats
from hotset.tiered.unsaved import Chunk, Queue, Unsaved

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from hotset.codecs.contract import Codec
    from hotset.durations import Duration
    from hotset.tiered.origin import Call, Origin
    from hotset.tiers.contract import Entry
    from hotset.wire import Wire

__all__ = ["DeadLetter", "Owner", "WriteBehind"]

_LAST_SECONDS: Final = 2.0  # that `close` waits for each of its threads
# The threads look this often whether there is anything to do: a Ctrl-C that breaks off whoever wakes one may lose that.
_GLANCE: Final = 1.0
_MOST_AT_ONCE: Final = 20_000  # writes of one commit
_IDLE: Final = 0.05  # seconds after which the journal is told of what is done with, if no write comes along
_GATHER: Final = 0.0005  # seconds that a commit waits for as many writers as the last one had


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A write that the origin has refused too often."""

    key: Any
    value: Any  # None for a removal
    removal: bool
    seq: int
    tries: int
    error: str
    given_up: float  # seconds since 1970


class Owner:
    """What a cache lends to its writes behind."""

    def __init__(
        self,
        name: str,
        origin: Origin,
        call: Callable[[Callable[[], Any]], Any],
        saved: Callable[[list[Unsaved]], None],
        dropped: Callable[[list[Any]], None],
    ) -> None:
        self.name = name
        self.origin = origin
        self.call = call  # of a plain or coroutine function
        self.saved = saved  # tells the levels that the origin has them
        self.dropped = dropped  # tells the levels that it will not


class _Request:
    """Writes that wait to be acknowledged, by a thread or a task. What changes is guarded by the queue's lock."""

    __slots__ = ("_done", "failure", "future", "items", "loop", "settled", "taken", "withdrawn")

    def __init__(self, items: list[Unsaved], loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.items = items
        self.taken = False  # the clerk is at it
        self.withdrawn = False  # nobody waits for it any more
        self.settled = False
        self.failure: Exception | None = None
        self.loop = loop
        self.future: asyncio.Future[None] | None = None
        self._done = threading.Lock()
        if loop is None:
            self._done.acquire()
        else:
            self.future = loop.create_future()

    def wait(self, timeout: float) -> bool:
        """Wait in this thread; whether it has been settled."""
        return self._done.acquire(timeout=timeout)

    def wake(self) -> None:
        """Wake the thread that waits."""
        self._done.release()


def _wake_tasks(requests: list[_Request]) -> None:
    """Wake the tasks that wait; on their loop."""
    for request in requests:
        if request.future is not None and not request.future.done():
            request.future.set_result(None)


class WriteBehind:
    """The writes behind of one cache: `TieredCache(..., write="behind", behind=WriteBehind("writes.journal"))`.

    - `journal`: path of a file on a local disk, of this process alone while it is open. What a killed process has left
      there, the next one that opens it gives to the origin. Values go there by `wire`, or `Wire(codec)`.
    - `durable=False` has no journal: a write is acknowledged when it is in the memory of this process, and whatever has
      not reached the origin is lost when the process ends otherwise than by `close`.
    - `batch`: writes given to the origin at once at most; `interval`: how long one waits at most for others.
    - `max_queue`: writes that may wait; then a caller waits up to `wait`, and gets WriteRefused.
    - `retries`, `backoff`, `longest`: how often a write may fail alone, the pause after the first failure, the longest.
    - `close_timeout`: how long `close` tries to have all given to the origin. The journal keeps the rest.
    - `max_bytes`: of the journal's file; None for what the disk has.

    All durations as seconds, a timedelta or a text. Raises TypeError, ValueError for arguments that make no sense;
    JournalTaken, JournalError when a cache opens it.
    """

    def __init__(
        self,
        journal: str | os.PathLike[str] | None = None,
        *,
        batch: int = 100,
        interval: Duration = 0.1,
        max_queue: int = 10_000,
        wait: Duration = 5.0,
        retries: int = 20,
        backoff: Duration = 0.1,
        longest: Duration = 10.0,
        durable: bool = True,
        wire: Wire | None = None,
        codec: Codec | str | None = None,
        close_timeout: Duration = 5.0,
        max_bytes: int | None = None,
    ) -> None:
        if durable and journal is None:
            raise ValueError("durable writes need the path of a journal; with durable=False a crash loses them")
        if not durable and journal is not None:
            raise ValueError(f"durable=False has no journal, got {journal!r}")
        if wire is not None and codec is not None:
            raise ValueError("give a wire or a codec, not both")
        for what, number in (
            ("batch", batch),
            ("max_queue", max_queue),
            ("retries", retries),
            ("max_bytes", max_bytes),
        ):
            if what == "max_bytes" and number is None:
                continue
            if type(number) is not int:
                raise TypeError(f"{what} must be an int, got {number!r}")
            if number < 1:
                raise ValueError(f"{what} must be 1 or more, got {number!r}")
        self.path = journal
        self.batch, self.max_queue, self.retries, self.max_bytes = batch, max_queue, retries, max_bytes
        self.interval = seconds(interval, zero=True, name="interval")
        self.wait = finite(wait, name="wait")
        self.backoff = finite(backoff, name="backoff")
        self.longest = max(self.backoff, finite(longest, name="longest"))
        self.close_timeout = seconds(close_timeout, zero=True, name="close_timeout")
        self._wire: Wire | None = None
        if durable:
            from hotset.wire import Wire  # noqa: PLC0415 - wants codecs

            self._wire = wire if wire is not None else Wire("msgpack" if codec is None else codec)
        # Guards all below. Nothing that waits for the disk, the origin or a level is done under it.
        self._lock = threading.Lock()
        self._begin_waiting()
        self._queue = Queue()
        self._requests: deque[_Request] = deque()
        self._owner: Owner | None = None
        self._journal: Journal | None = None
        self._threads: list[threading.Thread] = []
        self._closing = self._closed = self._forked = False
        self._hurry = -math.inf  # nothing that was made before waits for others
        self._wanted = 0  # requests that the clerk waits for
        self._last = 0
        self._size = batch
        self._failures = 0
        self._pause_until = -math.inf
        self._acknowledged = self._saved = self._batches = self._failed = self._commits = self._given_up = 0
        self._recovered: list[Unsaved] = []
        tell_child(self)

    def __repr__(self) -> str:
        where = "not durable" if self.path is None else repr(str(self.path))
        return f"<WriteBehind {where}, {len(self._queue)} waiting>"

    def _begin_waiting(self) -> None:
        """Make what is waited by: one condition each, so that a write wakes nobody whom it does not concern."""
        self._to_write = threading.Condition(self._lock)  # the clerk
        self._to_carry = threading.Condition(self._lock)  # the carrier
        self._landed = threading.Condition(self._lock)  # who flushes

    # What the cache uses

    def open(self, owner: Owner) -> None:
        """Belong to a cache, and go on with what a killed process has left. Raises JournalError, JournalTaken."""
        if self._owner is not None:
            raise ValueError(f"{self!r} belongs to the cache {self._owner.name!r} already")
        if self.path is not None:
            self._journal = Journal(self.path, max_bytes=self.max_bytes)
            try:
                self._recover(self._journal)
            except BaseException:
                self._journal.close()
                raise
        self._owner = owner

    def start(self, owner: Owner) -> None:
        """Begin, now that the levels are open; and not with the first write, which a Ctrl-C might break off in here."""
        self._threads = [
            threading.Thread(target=self._write_down, name=f"hotset-{owner.name}-clerk", daemon=True),
            threading.Thread(target=self._carry, name=f"hotset-{owner.name}-carrier", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _recover(self, journal: Journal) -> None:
        now, wall = time.monotonic(), time.time()
        rows = list(journal.rows())
        latest: dict[str, Unsaved] = {}
        for row in rows:
            assert self._wire is not None  # noqa: S101 - for the type checker: there is one with a journal
            entry = self._wire.decode(row.name, row.data, wall)
            readable = not isinstance(entry, str)
            made = now - entry.age if not isinstance(entry, str) else now
            item = Unsaved(key_of(row.name), row.name, None if isinstance(entry, str) else entry, row.data, made)
            item.seq, item.tries, item.error, item.given = row.seq, row.tries, row.error, row.given
            if not readable and item.error is None:
                item.error, item.given = f"it cannot be decoded any more: {entry}", wall
            latest[row.name] = item
        self._last = journal.last()
        self._queue.restore(latest.values())
        self._recovered = list(self._queue.waiting.values())
        if rows:
            # From here on each is a row of its own: what was left is little, and of chunks some writes are done with.
            kept = [item.row() for item in latest.values()]
            known = {row.seq for row in kept}
            gone = [row.seq for row in rows if row.seq not in known]
            journal.commit(Changes(done_below=self._last + 1, strays=kept, gone=gone))

    def find(self, name: str) -> Unsaved | None:
        """Return the latest write of a name that the origin does not have yet."""
        return self._queue.find(name)

    @property
    def last(self) -> int:
        """The number of the last write that was acknowledged."""
        return self._last

    def supersede(self, names: Iterable[str], last: int) -> bool:
        """Drop dead letters up to this number: the origin has later writes of their names. Whether there were any.

        The journal is told with its next commit: an empty one, by `submit([])`, returns when it has been.
        """
        with self._lock:
            found = [name for name in names if self._queue.supersede(name, last)]
            if found:
                self._landed.notify_all()
                self._to_write.notify()
        return bool(found)

    def prepare(self, key: Any, name: str, entry: Entry) -> Unsaved:
        """Return a write to submit. Raises CodecError for a value that cannot be written down."""
        data = b"" if self._wire is None else self._wire.encode(name, entry, time.time())
        return Unsaved(key, name, entry, data, time.monotonic())

    def submit(self, items: list[Unsaved]) -> None:
        """Have writes acknowledged. Raises WriteRefused, JournalError, and none of them is made then."""
        request = _Request(items)
        self._enter(request)
        if not request.wait(self.wait):
            self._withdraw(request)
            if not request.wait(self.wait):
                raise self._stuck()
        if request.failure is not None:
            raise request.failure

    def spread(self, items: list[Unsaved]) -> None:
        """The levels have been told of writes, or will not be."""
        with self._lock:
            self._queue.spread(items)

    async def asubmit(self, items: list[Unsaved]) -> None:
        """See submit."""
        loop = asyncio.get_running_loop()
        request = _Request(items, loop)
        self._enter(request)
        try:
            if not await self._settled(request):
                self._withdraw(request)
                with self._lock:
                    if not request.settled:
                        request.future = loop.create_future()
                if not request.settled and not await self._settled(request):
                    raise self._stuck()
        except asyncio.CancelledError:
            with self._lock:
                request.withdrawn = True
            raise
        if request.failure is not None:
            raise request.failure

    async def _settled(self, request: _Request) -> bool:
        """Wait in this task; whether it has been settled."""
        assert request.future is not None  # noqa: S101 - for the type checker: it has a loop
        try:
            async with asyncio.timeout(self.wait):
                await request.future
        except TimeoutError:
            return False
        return True

    def _enter(self, request: _Request) -> None:
        with self._lock:
            self._check_open()
            if request.items:
                self._requests.append(request)
            else:
                self._requests.appendleft(request)  # it needs no room
            if len(self._requests) >= self._wanted:
                self._to_write.notify()

    def _withdraw(self, request: _Request) -> None:
        """Raise WriteRefused, unless the clerk is at it already."""
        with self._lock:
            if request.taken:
                return
            request.withdrawn = True
        raise WriteRefused(
            f"{len(self._queue)} writes wait for the origin, of {self.max_queue} that may, and it took too few "
            f"within {self.wait:g} s"
        )

    def _stuck(self) -> WriteError:
        return WriteError(f"the disk has not taken a write within {self.wait:g} s; it is unknown whether it will")

    def _check_open(self) -> None:
        if self._forked:
            raise WriteRefused("these writes belong to the parent of this process: make the cache after the fork")
        if self._owner is None or self._closing:
            raise WriteRefused(f"{self!r} is {'closed' if self._closing else 'of no cache'}")

    # The clerk

    def _write_down(self) -> None:
        crowd = 0
        while True:
            with self._lock:
                while not self._requests and not self._closed:
                    untold = self._queue.untold
                    if not self._to_write.wait(_IDLE if untold else _GLANCE) and untold:
                        break
                self._gather(crowd)
                group = self._admit()
                closed = self._closed
                if not group and not closed and not self._queue.untold:
                    self._to_write.wait(_IDLE)  # for room, or for a request that was withdrawn
                    continue
                changes = self._queue.changes()
            crowd = len(group)
            self._commit(group, changes)
            if closed and not group:
                return

    def _gather(self, crowd: int) -> None:
        """Wait for those whose writes the last commit has acknowledged: they are about to write again."""
        if 0 < len(self._requests) < crowd:
            self._wanted = crowd
            self._to_write.wait(_GATHER)
            self._wanted = 0

    def _admit(self) -> list[_Request]:
        """Return the requests, in their order, that there is room for; under the lock."""
        group: list[_Request] = []
        room = self.max_queue - len(self._queue)
        count = 0
        while self._requests and count < _MOST_AT_ONCE:
            request = self._requests[0]
            size = len(request.items)
            # What is larger than the whole queue has it for itself.
            if size > max(room, 0) and (self._queue or group) and not request.withdrawn:
                break
            self._requests.popleft()
            if not request.withdrawn:
                request.taken = True
                group.append(request)
                room -= size
                count += size
        return group

    def _commit(self, group: list[_Request], changes: Changes) -> None:
        items = [item for request in group for item in request.items]
        failure: Exception | None = None
        chunk: Chunk | None = None
        try:
            if items and self._owner is not None:
                first = self._owner.origin.numbers.take(len(items), above=self._last)
                for seq, item in enumerate(items, first):
                    item.seq = seq
                chunk = Chunk(first, len(items))
                changes.last = first + len(items) - 1
                if self._journal is not None:
                    changes.chunk = first, chunk_of([(item.name, item.data) for item in items])
            if changes and self._journal is not None:
                self._journal.commit(changes)
        except Exception as error:  # noqa: BLE001 - the writers are told
            failure = error if isinstance(error, WriteError) else WriteError(f"not acknowledged: {error!r}")
        with self._lock:
            if failure is not None:
                changes.chunk = None
                self._queue.not_told(changes)
            else:
                self._commits += bool(items)
                self._last = max(self._last, changes.last)
                self._acknowledged += len(items)
                idle = not self._queue.waiting
                self._queue.add(items, chunk)
                if items and (idle or len(self._queue.waiting) >= self.batch):
                    self._to_carry.notify()
        self._acknowledge(group, failure)
        if failure is not None:
            self._mend()

    def _mend(self) -> None:
        """Begin a journal anew that has refused, as soon as nothing in it is needed."""
        with self._lock:
            needed = bool(self._queue or self._queue.dead)
            if not needed:
                self._queue.changes()  # which it need not be told any more
        if self._journal is not None and not needed:
            with contextlib.suppress(JournalError):
                self._journal.renew(self._last)
                return
        time.sleep(_IDLE)  # it is told later

    def _acknowledge(self, group: list[_Request], failure: Exception | None) -> None:
        """Tell those who wait, by one message a loop."""
        tasks: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
        with self._lock:
            for request in group:
                request.failure, request.settled = failure, True
        for request in group:
            if request.loop is None:
                request.wake()
            else:
                tasks.setdefault(request.loop, []).append(request)
        for loop, requests in tasks.items():
            with contextlib.suppress(RuntimeError):  # it is closed, and nobody waits any more
                loop.call_soon_threadsafe(_wake_tasks, requests)

    # The carrier

    def _carry(self) -> None:
        owner = self._owner
        assert owner is not None  # noqa: S101 - for the type checker: it is started for one
        recovered, self._recovered = self._recovered, []
        if recovered:
            # Levels may have something older than what was journalled by a process that did not live to tell them.
            self._tell(owner.saved, recovered)
        while True:
            with self._lock:
                while (delay := self._due_in()) > 0:
                    if self._closed:
                        return
                    self._to_carry.wait(min(delay, _GLANCE))
                items = self._queue.take(self._size, time.monotonic())
            if items:
                self._deliver(owner, items)

    def _due_in(self) -> float:
        """Return seconds until there is something to give to the origin; under the lock."""
        queue = self._queue
        now = time.monotonic()
        if self._closed:
            return math.inf
        due = min((item.retry_at for item in queue.put_off.values()), default=math.inf)
        if queue.waiting:
            oldest = next(iter(queue.waiting.values()))
            hurry = self._closing or len(queue.waiting) >= self.batch or oldest.made <= self._hurry
            due = min(due, now if hurry else oldest.made + self.interval)
        return max(due, self._pause_until) - now

    def _deliver(self, owner: Owner, items: list[Unsaved]) -> None:
        """Give writes to the origin, and see to what becomes of them."""
        of_key = {item.key: item for item in items}
        seqs = {item.key: item.seq for item in items}
        values = {item.key: item.entry.value for item in items if item.entry is not None and not item.entry.absent}
        removed = [item.key for item in items if item.key not in values]
        calls: list[Call] = owner.origin.calls_to_save(values, seqs) if values else []
        calls += owner.origin.calls_to_delete(removed, seqs) if removed else []
        failed: Call | None = None
        failure: Exception | None = None
        for call in calls:
            try:
                owner.call(call.function)
            except Exception as error:  # noqa: BLE001 - it is tried again, and listed in the end
                failed, failure = call, error
                break
            taken = [of_key.pop(key) for key in call.keys]
            # The levels before the queue: what it has is served before what they have.
            self._tell(owner.saved, taken)
            with self._lock:
                self._batches += 1
                self._saved += len(taken)
                self._failures = 0
                self._size = min(self.batch, self._size * 2)
                self._queue.landed(taken)
                self._landed.notify_all()
                self._to_write.notify()  # there is room, and something to be forgotten
        if failed is None or failure is None:
            return
        buried = False
        with self._lock:
            self._failed += 1
            self._failures += 1
            now = time.monotonic()
            self._pause_until = now + self._pause(self._failures)
            if len(failed.keys) == 1:
                buried = self._refused(of_key.pop(failed.keys[0]), failure, now)
            else:
                self._size = max(1, len(failed.keys) // 2)
            self._queue.returned(of_key.values())
            self._landed.notify_all()
        if buried:
            self._tell(owner.dropped, failed.keys)

    def _refused(self, item: Unsaved, failure: Exception, now: float) -> bool:
        """See to a write that has failed alone, under the lock; whether it was the last time."""
        item.tries += 1
        if item.tries < self.retries:
            self._queue.delay(item, now + self._pause(item.tries))
            return False
        item.error, item.given = f"{type(failure).__name__}: {failure}", time.time()
        self._given_up += 1
        self._queue.bury(item)
        return True

    def _pause(self, failures: int) -> float:
        longest = min(self.longest, self.backoff * 2.0 ** min(failures - 1, 60))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads tries, guards nothing

    def _tell(self, tell: Callable[[Any], None], what: Any) -> None:
        # What a level could not be told it is told later; there is nobody here to whom anything else could be said.
        with contextlib.suppress(Exception):
            tell(what)

    # What users see

    @property
    def depth(self) -> int:
        """How many writes the origin does not have yet, dead letters apart."""
        return len(self._queue)

    @property
    def lag(self) -> float:
        """Seconds since the oldest write that the origin does not have yet was made, 0 if it has all."""
        with self._lock:
            oldest = min((item.made for item in self._queue), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    def stats(self) -> BehindStats:
        """Return what has happened since it was opened, and what waits."""
        lag = self.lag
        with self._lock:
            queue = self._queue
            return BehindStats(
                len(queue),
                lag,
                len(queue.dead),
                self._acknowledged,
                queue.coalesced,
                self._saved,
                self._batches,
                self._failed,
                self._given_up,
                self._commits,
            )

    def flush(self, timeout: Duration | None = None, *, keys: Iterable[Any] | None = None) -> bool:
        """Have all writes made before, or the latest of some keys, given to the origin; whether it has them in time.

        A dead letter is waited for no longer. Raises RuntimeError in a `save` that is given what is to be flushed.
        """
        if threading.current_thread() in self._threads:
            raise RuntimeError("what gives writes to the origin cannot wait for that")
        deadline = math.inf if timeout is None else time.monotonic() + seconds(timeout, zero=True, name="timeout")
        names = None if keys is None else [name_of(key) for key in keys]
        before = time.monotonic()
        with self._lock:
            while self._ahead(before, names):
                if self._hurry < before:
                    self._hurry = before
                    self._to_carry.notify()
                left = deadline - time.monotonic()
                if self._closed or self._forked or left <= 0:
                    return False
                self._landed.wait(min(left, 1.0))
        return True

    async def aflush(
        self,
        timeout: Duration | None = None,  # noqa: ASYNC109 - as of flush, which says what came of it
        *,
        keys: Iterable[Any] | None = None,
    ) -> bool:
        """See flush."""
        return await asyncio.to_thread(self.flush, timeout, keys=keys)

    def _ahead(self, before: float, names: list[str] | None) -> bool:
        """Whether anything made before is not at the origin; under the lock."""
        if names is not None:
            return any(name in self._queue.latest for name in names)
        # A write that was coalesced is there when the later one is, which is as old.
        return any(item.made <= before for item in self._queue)

    def dead(self) -> list[DeadLetter]:
        """Return the writes that the origin has refused too often, the oldest first."""
        with self._lock:
            buried = sorted(self._queue.dead.values(), key=lambda item: item.seq)
        return [
            DeadLetter(
                item.key,
                None if item.entry is None else item.entry.value,
                item.entry is not None and item.entry.absent,
                item.seq,
                item.tries,
                item.error or "",
                item.given,
            )
            for item in buried
        ]

    def replay(self, *keys: Any) -> int:
        """Have dead letters, of some keys or all, tried anew; how many. What cannot be decoded stays."""
        with self._lock:
            self._check_open()
            items = [item for item in self._buried(keys) if item.entry is not None]
            for item in items:
                self._queue.revive(item, time.monotonic())
            self._wake()
        return len(items)

    def discard(self, *keys: Any) -> int:
        """Drop dead letters, of some keys or all; how many."""
        with self._lock:
            self._check_open()
            items = self._buried(keys)
            for item in items:
                self._queue.discard(item)
            self._wake()
        return len(items)

    def _buried(self, keys: tuple[Any, ...]) -> list[Unsaved]:
        dead = self._queue.dead
        return [dead[name] for name in map(name_of, keys) if name in dead] if keys else list(dead.values())

    def _wake(self) -> None:
        self._to_write.notify()
        self._to_carry.notify()

    def close(self) -> None:
        """Give the origin all within `close_timeout`; the journal keeps the rest. May be called twice."""
        with self._lock:
            if self._closing or self._forked:
                return
            self._closing = True
            self._wake()
        if self._threads:
            self.flush(self.close_timeout)
        with self._lock:
            self._closed = True
            left = len(self._queue)
            self._wake()
        for thread in self._threads:
            if thread is not threading.current_thread():
                # The origin may keep the carrier for long; what it comes to then is in the journal.
                thread.join(_LAST_SECONDS)
        with self._lock:
            requests, self._requests = list(self._requests), deque()
        self._acknowledge(requests, WriteRefused(f"{self!r} is closed"))
        if self._journal is not None:
            self._journal.close()
        elif left:
            warnings.warn(f"{left} writes that were not durable have not reached the origin", RuntimeWarning, 2)

    def after_fork(self) -> None:
        """Leave all to the parent: a forked child has none of it, and can write nothing behind."""
        self._lock = threading.Lock()
        self._begin_waiting()
        self._forked = self._owner is not None
        self._queue = Queue()
        self._requests = deque()
        self._threads = []
        if self._journal is not None:
            self._journal.leave()
