"""A read-only source that lags behind the origin, such as a regional replica of a database, in the place of a level.

It is asked on a miss of the levels above it, and what it has not, or must not say, is loaded from the origin. It takes
no fills. Several replicas stand in for each other in the order in which they are given.

**Lag.** `lag` says by how many seconds a replica is behind. A measurement of L seconds that was made d seconds ago
counts as L + d, since replication may have stopped right after it. A replica is asked only while that is within
`max_staleness`: so what it says has all that was committed `max_staleness` ago.

**What was changed here.** A replica within its lag would bring back the old value of a name that was just changed. So a
name that is written or removed is *barred*: not answered for `max_staleness` seconds, after which the replica has the
change, and as much longer as an answer may take. The same holds for entries with an invalidated tag, as far as `load`
says their tags, and after `clear` for everything. An answer that has taken longer than that, in a process that was
stopped, say, may be older than a bar that has ended, and is not believed. The list of barred names is bounded; when it
overflows, nothing is answered until it would have drained.

**What other processes change.** They bar names for themselves only. Where several processes use a replica below a
shared level, one that has not heard of a change would put the old value into that level; so give them `marks`, a shared
tier in which they leave marks of what is barred. Without it, an old value may be served for the lag and `ttl` together.
Whoever reads them looks for an anchor, too, which lives for ever: if it has gone, so have the marks, and replicas are
not believed until a new one is as old as marks live.

What is promised of the process that made a change, and with `marks` of all: a change that was committed at the origin
before the cache was told of it is not undone by a replica, if `lag` tells no less than the truth.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from hotset.durations import finite, seconds
from hotset.errors import TierError, TierTimeout, TierUnavailable
from hotset.forks import tell_child
from hotset.names import key_of
from hotset.tiered.breaker import Breaker
from hotset.tiered.budget import Budget
from hotset.tiered.driving import adrive, drive
from hotset.tiered.shell import Shell
from hotset.tiered.values import ABSENT, Loaded
from hotset.tiers.contract import CLEAR, Entry, Found, Reading, Tier
from hotset.tiers.members import breaker_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hotset.durations import Duration
    from hotset.tiers.contract import Fence, Listener

__all__ = ["Lag", "Replica", "ReplicaStats", "ReplicaTier"]

_T = TypeVar("_T")
Lag: TypeAlias = "float | Callable[[], Any]"

_THREADS: Final = 32
_NOTHING: Final = Found(None)
_MARK: Final = "barred"
_ANCHOR: Final = "marks are kept since"


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica: `load(key)` gets a value, or ABSENT; `load_many(keys)` several, as a dict of those there are.

    Plain or coroutine functions. `lag` is a number of seconds, or a function that tells it: None, NaN or an error if it
    cannot be told, and the replica is not asked then.
    """

    load: Callable[[Any], Any] | None = None
    lag: Lag = 0.0
    load_many: Callable[[Sequence[Any]], Any] | None = None
    name: str = "replica"

    def __post_init__(self) -> None:
        if self.load is None and self.load_many is None:
            raise TypeError("a replica needs load or load_many")
        _check_name(self.name)
        for what in ("load", "load_many"):
            function = getattr(self, what)
            if function is not None and not callable(function):
                raise TypeError(f"{what} must be callable or None, got {function!r}")
        if callable(self.lag):
            return
        if isinstance(self.lag, bool) or not isinstance(self.lag, (int, float)):
            raise TypeError(f"lag must be seconds or a function that tells them, got {self.lag!r}")
        if not self.lag >= 0:
            raise ValueError(f"lag must not be negative or NaN, got {self.lag!r}")


class ReplicaStats(NamedTuple):
    """Counts of one replica: names asked for and found; times that it was left out for its lag, and that it failed."""

    name: str
    asked: int
    found: int
    lagging: int
    errors: int
    lag: float  # seconds as of now; infinite if it is not known
    state: str  # of its breaker


class _Source:
    """A replica in use."""

    def __init__(self, replica: Replica, breaker: Breaker) -> None:
        self.replica = replica
        self.breaker = breaker
        # What it measured, and when; replaced as a whole.
        self.measured: tuple[float, float] = (math.inf, -math.inf)
        self.measuring = False
        self.asked = self.found = self.lagging = self.errors = 0

    def complete(self, now: float) -> float:
        """Return the moment before which all that was committed is known to be there."""
        lag = self.replica.lag
        if not callable(lag):
            return now - lag
        told, moment = self.measured
        return moment - told

    def lag(self) -> float:
        """Return by how much it may be behind now."""
        now = time.monotonic()
        return now - self.complete(now)

    def stats(self) -> ReplicaStats:
        return ReplicaStats(
            self.replica.name, self.asked, self.found, self.lagging, self.errors, self.lag(), self.breaker.state
        )


class _Answer(NamedTuple):
    """What a replica has, and the moment (time.monotonic) before which all that was committed is in it."""

    entry: Entry
    complete: float


class _Each:
    """Call a function of the user's with each of these, side by side; the outcomes, errors among them."""

    def __init__(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> None:
        self.function = function
        self.calls = calls

    def block(self, tier: ReplicaTier) -> list[Any]:
        return tier._call_each(self.function, self.calls)  # noqa: SLF001 - this module's own

    async def wait(self, tier: ReplicaTier) -> list[Any]:
        return await tier._acall_each(self.function, self.calls)  # noqa: SLF001 - as above


class _Mark:
    """Ask the tier of marks. Raises TierError."""

    def __init__(self, tier: Tier, operation: str, items: Any) -> None:
        self.marks = tier
        self.operation = operation
        self.items = items

    def block(self, _: ReplicaTier) -> Any:
        return getattr(self.marks, self.operation)(self.items)

    async def wait(self, _: ReplicaTier) -> Any:
        return await getattr(self.marks, f"a{self.operation}")(self.items)


class _Wait:
    """Wait for what another caller looks up: an answer, None or an error."""

    def __init__(self, future: Future[_Answer | None]) -> None:
        self.future = future

    def block(self, tier: ReplicaTier) -> Any:
        try:
            return self.future.exception(tier.patience) or self.future.result()
        except TimeoutError:
            return TierTimeout("no answer in time")

    async def wait(self, tier: ReplicaTier) -> Any:
        future = asyncio.wrap_future(self.future)
        future.add_done_callback(_looked_at)
        await asyncio.wait([future], timeout=tier.patience)
        if not future.done():
            return TierTimeout("no answer in time")
        return future.exception() or future.result()


_Effect: TypeAlias = "_Each | _Mark | _Wait"
_Flow: TypeAlias = Generator[_Effect, Any, _T]


class _Ear:
    """Whoever leaves marks need not hear of them."""

    def changed(self, names: Iterable[str]) -> None:
        pass

    def invalidated(self, tags: Iterable[str], epoch: int) -> None:
        pass

    def own_version(self, _name: str) -> bytes | None:
        return None

    def alive(self, since: float) -> None:
        pass

    def lost(self) -> None:
        pass


class ReplicaTier:
    """A level that reads from replicas of the origin while they are not too far behind.

    - `load`, `lag` and `load_many`: see `Replica`; or one or several Replica objects in place of `load`, of which the
      first that is well and not too far behind is asked.
    - `max_staleness`: seconds by which a replica may be behind. Also how long a changed name is not answered.
    - `check_every`: seconds for which a measured lag is used; it counts as growing meanwhile.
    - `ttl`: the life of what is read here, shortened at random by up to the share `jitter`; `Loaded(value, ttl=...,
      tags=...)` says it of one value.
    - `timeout`: seconds that each replica has for an operation; plain functions are called in threads for that.
    - `marks`: a shared tier of its own that does not evict, such as another RedisTier with `stream=None`, by which
      processes tell each other what is barred: a round trip more for what is read here, and for every change. When it
      is new or was emptied, nothing is answered for `max_staleness` and the timeouts.
    - `max_barred`: names that are barred singly.
    - `breaker` makes the breaker of a replica.

    What a replica has not, the origin is asked for. Concurrent reads of a name are one. Raises TypeError, ValueError
    for arguments that make no sense.
    """

    shared = False
    streams = False
    leases = False

    def __init__(
        self,
        load: Callable[[Any], Any] | Replica | Sequence[Replica] | None = None,
        *,
        lag: Lag = 0.0,
        max_staleness: Duration,
        load_many: Callable[[Sequence[Any]], Any] | None = None,
        name: str = "replica",
        check_every: Duration = 1.0,
        ttl: Duration | None = 300.0,
        jitter: float = 0.1,
        timeout: Duration = 2.0,
        marks: Tier | None = None,
        max_barred: int = 10_000,
        breaker: Callable[[], Breaker] = Breaker,
    ) -> None:
        if load is None or callable(load):
            replicas = [Replica(load, lag, load_many, name)]
        else:
            replicas = _checked([load] if isinstance(load, Replica) else load)
            if load_many is not None or lag != 0.0:
                raise ValueError("lag and load_many belong to the replicas that are given")
        if marks is not None and not _is_shared(marks):
            raise TypeError(f"marks must be a tier that processes share, or None, got {marks!r}")
        _check_name(name)
        if isinstance(jitter, bool) or not isinstance(jitter, (int, float)):
            raise TypeError(f"jitter must be a share from 0 to 1, got {jitter!r}")
        if not 0 <= jitter <= 1:
            raise ValueError(f"jitter must be a share from 0 to 1, got {jitter!r}")
        if type(max_barred) is not int or max_barred < 1:
            raise ValueError(f"max_barred must be an int of 1 or more, got {max_barred!r}")
        self.name = name
        self._bound = finite(max_staleness, name="max_staleness")
        self._check_every = seconds(check_every, zero=True, name="check_every")
        self._ttl = math.inf if ttl is None else seconds(ttl, name="ttl")
        self._jitter = jitter
        self._timeout = finite(timeout, name="timeout")
        self._sources = [_Source(replica, breaker_by(breaker)) for replica in replicas]
        self._marks = marks
        # How long names are barred: an answer may be on its way for a while, and so may what the marks say of it.
        self._hold = self._bound + self._timeout
        if marks is not None:
            self._hold += float(getattr(marks, "timeout", 0.5))
        self.lags = self._hold
        self._most = max_barred
        self._shell = Shell(name, Budget(None), 0.0)
        self._listener: Listener | None = None
        self._epoch = 1
        self._mark_ear = _Ear()
        self._begin()
        tell_child(self)

    def _begin(self) -> None:
        # Guards all below; nothing that waits is done under it.
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._barred: OrderedDict[str, float] = OrderedDict()  # name -> until when, the first to end first
        self._tags: dict[str, float] = {}
        self._silent_until = -math.inf
        self._flights: dict[str, Future[_Answer | None]] = {}  # names that are being looked up
        self._closed = False

    def __repr__(self) -> str:
        return f"<ReplicaTier {self.name!r}: {', '.join(source.replica.name for source in self._sources)}>"

    @property
    def patience(self) -> float:
        """How long an operation may take, in seconds."""
        return self._timeout * len(self._sources)

    def stats(self) -> tuple[ReplicaStats, ...]:
        """Return what has been counted of each replica."""
        return tuple(source.stats() for source in self._sources)

    def open(self, namespace: str, listener: Listener) -> None:
        """Belong to one cache."""
        if self._listener is not None and self._listener is not listener:
            raise TierError(f"{self!r} belongs to another cache already: give {namespace!r} a tier of its own")
        self._listener = listener
        if self._closed:
            self._shell = Shell(self.name, Budget(None), 0.0)
            self._closed = False
        if self._marks is not None:
            self._marks.open(f"{namespace}:replica", self._mark_ear)

    def close(self) -> None:
        """End the threads; what is being looked up is not waited for."""
        self._end()
        if self._marks is not None:
            self._marks.close()

    async def aclose(self) -> None:
        """See close."""
        self._end()
        if self._marks is not None:
            await self._marks.aclose()

    def _end(self) -> None:
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        self._shell.close()

    def after_fork(self) -> None:
        """Begin anew in a forked child; what the parent has barred stays so."""
        barred, tags, silent, closed = self._barred, self._tags, self._silent_until, self._closed
        self._begin()
        self._barred, self._tags, self._silent_until, self._closed = barred, tags, silent, closed

    # The two drivers

    def _run(self, flow: _Flow[_T]) -> _T:
        self._check_open()
        return drive(self, flow)

    async def _arun(self, flow: _Flow[_T]) -> _T:
        self._check_open()
        return await adrive(self, flow)

    def _check_open(self) -> None:
        if self._listener is None:
            raise TierError(f"{self!r} belongs to no cache: open() it first")
        if self._closed:
            raise TierUnavailable(f"{self!r} is closed")

    def _call_each(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        deadline = time.monotonic() + self._timeout
        context = contextvars.copy_context()
        futures: list[Future[Any]] = []
        with self._lock:
            self._check_open()
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"hotset-{self.name}")
            pool = self._pool
        outcomes: list[Any] = []
        try:
            futures = [pool.submit(context.copy().run, self._shell.call, function, *call) for call in calls]
            for future in futures:
                try:
                    outcomes.append(future.result(max(0.0, deadline - time.monotonic())))
                except TimeoutError as error:
                    late = not future.done()
                    outcomes.append(TierTimeout(f"{function!r}: no answer in time") if late else error)
                except CancelledError:
                    outcomes.append(TierUnavailable(f"{self!r} is closed"))
                except Exception as error:  # noqa: BLE001 - it is the replica's
                    outcomes.append(error)
        except RuntimeError as error:
            raise TierUnavailable(f"{self!r} is closed") from error
        finally:
            for future in futures:
                future.cancel()  # those that have not begun
        return outcomes

    async def _acall_each(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        async def one(call: tuple[Any, ...]) -> Any:
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._shell.acall(function, *call)
            except TimeoutError:
                return TierTimeout(f"{function!r}: no answer in time")
            except Exception as error:  # noqa: BLE001 - it is the replica's
                return error

        return list(await asyncio.gather(*(one(call) for call in calls)))

    # Reading

    def _read(self, names: Sequence[str]) -> _Flow[Reading]:
        """Look names up that may be answered: those that nobody else looks up just now, and what the others find."""
        wanted = [name for name in dict.fromkeys(names) if not self._is_barred(name)]
        answers: dict[str, _Answer] = {}
        error: Exception | None = None
        awaited: dict[str, Future[_Answer | None]] = {}
        led: dict[str, Future[_Answer | None]] = {}
        with self._lock:
            for name in wanted:
                future = self._flights.get(name)
                if future is None:
                    led[name] = self._flights[name] = Future()
                    led[name].set_running_or_notify_cancel()  # it cannot be cancelled by a waiter
                else:
                    awaited[name] = future
        if led:
            try:
                answers, error = yield from self._find(list(led))
            finally:
                with self._lock:
                    for name, future in led.items():
                        if self._flights.get(name) is future:
                            del self._flights[name]
                for name, future in led.items():
                    answer = answers.get(name)
                    if answer is None and error is not None:
                        future.set_exception(error)
                    else:
                        future.set_result(answer)
        for name, future in awaited.items():
            outcome = yield _Wait(future)
            if isinstance(outcome, _Answer):
                answers[name] = outcome
            elif isinstance(outcome, Exception):
                error = error or outcome
        answers = {name: answer for name, answer in answers.items() if not self._bars(name, answer.entry)}
        if self._marks is not None and answers:
            answers = yield from self._unmarked(answers)
        # A bar of its change may have ended since, however that was possible.
        oldest = time.monotonic() - self._hold
        entries = {name: answer.entry for name, answer in answers.items() if answer.complete >= oldest}
        if error is not None and not entries:
            raise error if isinstance(error, TierError) else TierUnavailable(f"{self!r}: {error}") from error
        return Reading([Found(entries[name]) if name in entries else _NOTHING for name in names], self._epoch)

    def _find(self, names: Sequence[str]) -> _Flow[tuple[dict[str, _Answer], Exception | None]]:
        """Ask one replica after the other; what was found, and an error if the last that was asked failed."""
        found: dict[str, _Answer] = {}
        left = list(names)
        error: Exception | None = None
        for source in self._sources:
            if not left:
                break
            if not source.breaker.allow():
                continue
            yield from self._measure(source)
            begun = time.monotonic()
            complete = source.complete(begun)
            lag = begun - complete
            if not lag <= self._bound:
                source.lagging += 1
                source.breaker.cancelled()
                continue
            outcomes = yield from self._ask(source, left)
            cost = time.monotonic() - begun
            source.asked += len(left)
            failed = []
            error = None
            for name, outcome in zip(left, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    failed.append(name)
                    error = outcome
                elif outcome is not ABSENT:
                    found[name] = _Answer(self._entry(source, outcome, cost, lag), complete)
                    source.found += 1
            if failed:
                source.errors += 1
                source.breaker.failure()
            else:
                source.breaker.success()
            left = failed
        return found, error

    def _measure(self, source: _Source) -> _Flow[None]:
        """Measure by how much a replica is behind, if it is time; infinite if it cannot tell."""
        measure = source.replica.lag
        if not callable(measure):
            return
        old = time.monotonic() - source.measured[1] >= self._check_every or source.lag() > self._bound
        # One caller measures; the others go by what is known.
        if not old or source.measuring:
            return
        source.measuring = True
        try:
            asked = time.monotonic()
            (told,) = yield _Each(measure, [()])
            number = isinstance(told, (int, float)) and not isinstance(told, bool) and told >= 0
            source.errors += isinstance(told, Exception)
            source.measured = (float(told) if number else math.inf), asked
        finally:
            source.measuring = False

    def _ask(self, source: _Source, names: Sequence[str]) -> _Flow[list[Any]]:
        """Return for each name what a replica has, ABSENT or an error."""
        keys = [key_of(name) for name in names]
        replica = source.replica
        if replica.load_many is not None and (len(names) > 1 or replica.load is None):
            (found,) = yield _Each(replica.load_many, [(keys,)])
            if isinstance(found, Exception):
                return [found] * len(names)
            if not isinstance(found, Mapping):
                return [TypeError(f"load_many must return a dict of the keys that there are, got {found!r}")] * len(
                    names
                )
            return [found.get(key, ABSENT) for key in keys]
        assert replica.load is not None  # noqa: S101 - a replica has one of the two
        outcomes: list[Any] = yield _Each(replica.load, [(key,) for key in keys])
        return outcomes

    def _entry(self, source: _Source, value: Any, cost: float, lag: float) -> Entry:
        life = self._ttl
        tags: tuple[str, ...] = ()
        if isinstance(value, Loaded):
            life = life if value.ttl is None else value.ttl
            value, tags = value.value, value.tags
        life *= 1.0 - self._jitter * random.random()  # noqa: S311 - spreads expiry, guards nothing
        # It is as old as what it may have missed.
        return Entry(
            value,
            secrets.token_bytes(12),
            life,
            life,
            lag,
            cost,
            tags=tags,
            epoch=self._epoch,
            writer=source.replica.name,
        )

    # What is barred

    def _is_barred(self, name: str) -> bool:
        now = time.monotonic()
        return now < self._silent_until or now < self._barred.get(name, -math.inf)

    def _bars(self, name: str, entry: Entry) -> bool:
        """Whether an entry must not be served: since it was asked for, too, it may have been changed."""
        now = time.monotonic()
        return self._is_barred(name) or any(now < self._tags.get(tag, -math.inf) for tag in entry.tags)

    def _bar(self, names: Iterable[str], tags: Iterable[str] = ()) -> None:
        """Answer none of these for as long as a replica may not have heard of their change."""
        now = time.monotonic()
        until = now + self._hold
        with self._lock:
            for name in names:
                self._barred[name] = until
                self._barred.move_to_end(name)
                self._flights.pop(name, None)
            for tag in tags:
                self._tags[tag] = until
                if tag == CLEAR:
                    self._silent_until = until
            while self._barred and next(iter(self._barred.values())) <= now:
                self._barred.popitem(last=False)
            if len(self._tags) > self._most:
                self._tags = {tag: end for tag, end in self._tags.items() if end > now}
            if len(self._barred) > self._most or len(self._tags) > self._most:
                self._silent_until = until
                self._barred.clear()
                self._tags.clear()

    def _unmarked(self, answers: dict[str, _Answer]) -> _Flow[dict[str, _Answer]]:
        """Return those answers that no other process has barred, asked after they were read. Raises TierError."""
        assert self._marks is not None  # noqa: S101 - the caller has looked
        tags = {tag for answer in answers.values() for tag in answer.entry.tags}
        asked = [_ANCHOR, _of_tag(CLEAR), *map(_of_name, answers), *map(_of_tag, tags)]
        reading: Reading = yield _Mark(self._marks, "read", asked)
        anchor = reading.found[0].entry
        if anchor is None:
            yield _Mark(self._marks, "write", [(_ANCHOR, Entry(_MARK, secrets.token_bytes(12)))])
        if anchor is None or anchor.age < self._hold:
            return {}
        marked = {
            name
            for name, found in zip(asked[1:], reading.found[1:], strict=True)
            if found.entry is not None and found.entry.life > 0
        }
        if _of_tag(CLEAR) in marked:
            return {}
        return {
            name: answer
            for name, answer in answers.items()
            if _of_name(name) not in marked and not any(_of_tag(tag) in marked for tag in answer.entry.tags)
        }

    def _change(self, names: Iterable[str], tags: Iterable[str] = ()) -> _Flow[None]:
        names, tags = list(names), list(tags)
        self._bar(names, tags)
        if self._marks is not None:
            items = [
                (mark, Entry(_MARK, secrets.token_bytes(12), self._hold, self._hold))
                for mark in (*map(_of_name, names), *map(_of_tag, tags))
            ]
            yield _Mark(self._marks, "write", items)

    # The two faces

    def read(self, names: Sequence[str]) -> Reading:
        """Ask a replica for names that may be answered. Raises TierError if none that might answer does."""
        return self._run(self._read(names))

    async def aread(self, names: Sequence[str]) -> Reading:
        """See read."""
        return await self._arun(self._read(names))

    def lease(self, names: Sequence[str]) -> Reading:
        """Nothing can be filled here, so there is no fence; and what is read by a load is the origin's affair."""
        return Reading([_NOTHING] * len(names), self._epoch)

    async def alease(self, names: Sequence[str]) -> Reading:
        """See lease."""
        return self.lease(names)

    def fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """Store nothing."""
        return [False] * len(items)

    async def afill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """See fill."""
        return self.fill(items)

    def write(self, items: Sequence[tuple[str, Entry]]) -> None:
        """Bar names: the origin has something that the replicas may not have. Raises TierError if marks fail."""
        if items:
            self._run(self._change(name for name, _ in items))

    async def awrite(self, items: Sequence[tuple[str, Entry]]) -> None:
        """See write."""
        if items:
            await self._arun(self._change(name for name, _ in items))

    def remove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """Bar names. Raises TierError if marks fail."""
        del expire  # there is nothing to be kept
        if names:
            self._run(self._change(names))

    async def aremove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """See remove."""
        del expire
        if names:
            await self._arun(self._change(names))

    def touch(self, _name: str, _life: float, _keep: float) -> bool:
        """Have no entries to touch."""
        return False

    async def atouch(self, name: str, life: float, keep: float) -> bool:
        """See touch."""
        return self.touch(name, life, keep)

    def invalidate(self, tags: Sequence[str]) -> int:
        """Bar entries with these tags; CLEAR bars everything. Raises TierError if marks fail."""
        self._epoch += 1
        self._run(self._change((), tags))
        return self._epoch

    async def ainvalidate(self, tags: Sequence[str]) -> int:
        """See invalidate."""
        self._epoch += 1
        await self._arun(self._change((), tags))
        return self._epoch


def _looked_at(future: asyncio.Future[Any]) -> None:
    """Look at an error, also if its waiter has gone."""
    if not future.cancelled():
        future.exception()


def _of_name(name: str) -> str:
    return f"n:{name}"


def _of_tag(tag: str) -> str:
    return f"t:{tag}"


def _check_name(name: Any) -> None:
    if type(name) is not str or not name:
        raise ValueError(f"name must be a str that is not empty, got {name!r}")


def _is_shared(tier: Any) -> bool:
    return isinstance(tier, Tier) and tier.shared


def _checked(replicas: Any) -> list[Replica]:
    """Return the replicas. Raises TypeError, ValueError for what cannot be some."""
    if not isinstance(replicas, Sequence) or isinstance(replicas, str):
        raise TypeError(f"load must be a function, a Replica or a sequence of them, got {replicas!r}")
    for replica in replicas:
        if not isinstance(replica, Replica):
            raise TypeError(f"replicas must be Replica objects, got {replica!r}")
    if not replicas:
        raise ValueError("replicas must not be empty")
    return list(replicas)
