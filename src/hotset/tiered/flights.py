"""Single flight: per key one load at a time in a process, over threads and event loops together.

A *flight* is one load on its way. Who asks for a key first leads its flight and loads; who asks meanwhile follows, and
waits as a thread or as a task, on any loop. It is over when the leader reports: `succeed` and `fail` reach all
followers at once; `abandon` (the leader was cancelled or interrupted) reaches one of them, who leads from there on, so
that nobody suffers for another one's cancellation. The table forgets a flight before its followers learn of the end.

How it is used::

    flight, leads = flights.join(key)
    if not leads:
        value = flight.wait(timeout)          # or: await flight.await_(timeout)
        if value is not LEAD:
            return value
    with flight.scope():                      # this caller leads, from the beginning or by now
        value = load(key)
        flight.succeed(value)
    return value

*Fencing* takes a flight out of the table, so that later callers begin a new one, and marks it: what it brings was read
before the fence and must not be stored. Its followers asked before the fence, too, and get it.

*Waiting for oneself* raises RuntimeError instead of hanging: a load that asks for its own key, loads that wait for
each other in a ring, a thread that waits for a load which only this thread can go on with, as it runs that load's
event loop. `scope` says which code belongs to a load; a context variable carries that into the tasks that the load
starts, and into threads that are given its context. Loads that wait make a graph, which is searched before every wait;
the search is linear in the loads that hang together by waits, as a rule one or two.

After a fork the child knows nothing of the parent's flights.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import math
import os
import reprlib
import threading
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from types import TracebackType

# ruff: noqa: SLF001 - table, flight and scope are one thing in three classes
__all__ = ["LEAD", "Flight", "Flights", "Lead", "Scope", "Scopes"]

_T = TypeVar("_T")


class Lead(enum.Enum):
    """The type of LEAD."""

    LEAD = enum.auto()


# What a wait returns if the leader has abandoned the flight: the one who waited leads it now, and must load.
LEAD: Final = Lead.LEAD


class _Turn(enum.Enum):
    """What has come of a wait."""

    DONE = enum.auto()  # the flight is over
    LEAD = enum.auto()  # it is led by the one who waited
    LATE = enum.auto()  # the time is up


class _Load:
    """What the graph knows of a flight. Contexts that outlive the load hold on to it, hence not to the value."""

    done = False
    lead = 0  # counts the leaders that gave up
    thread: int | None = None  # where it goes on

    def __init__(self) -> None:
        self.awaits: dict[_Waiter, _Load] = {}  # loads that it cannot end before, by the wait


# Seconds after which a follower takes the lead from one who has not begun, and sees what he was not woken for. An
# interrupt may come after any call: between the moment in which somebody is made the leader and the statement that
# would tell of the end, or in the middle of what is below.
_GRACE: Final = 1.0
# Guards all tables, flights and loads, because a ring of waits may go over several caches. Held for moments, by misses
# only. Reentrant: a key's __eq__ or a finalizer may use a cache here.
_lock = threading.RLock()
# Forks that led to this process. Flights and tables of an earlier number are the parent's.
_forks = 0
# Thread -> the load that it waits for and can do nothing else.
_blocked: Final[dict[int, _Load]] = {}
# A load, and the number of its leader whose code this is: of another one's load it is no part any more.
_Place: TypeAlias = tuple[_Load, int]
# The loads, the outermost first, that cannot end before the present code does.
_scopes: Final[contextvars.ContextVar[tuple[_Place, ...]]] = contextvars.ContextVar("hotset_scopes", default=())


class Flights(Generic[_T]):
    """The flights of one cache, by key. Thread-safe; O(1)."""

    __slots__ = ("_forks", "_table")

    def __init__(self) -> None:
        self._table: dict[Hashable, Flight[_T]] = {}
        self._forks = _forks

    def __len__(self) -> int:
        return len(self._table)

    def loading(self, key: Hashable) -> bool:
        """Whether a load of a key is under way that later callers would join."""
        with _lock:
            return self._forks == _forks and key in self._table

    def join(self, key: Hashable) -> tuple[Flight[_T], bool]:
        """Return the flight of a key, and whether the caller leads it: then it must load, else it should wait."""
        with _lock:
            if self._forks != _forks:
                self._table.clear()
                self._forks = _forks
            flight = self._table.get(key)
            if flight is None or flight._load.done:
                flight = self._table[key] = Flight(key, self._table)
                return flight, True
            if flight._leaderless:
                flight._leaderless = False
                return flight, True
            flight._arriving += 1
            return flight, False

    def fence(self, key: Hashable) -> None:
        """Let later callers for a key begin a new flight, and mark the one under way: its value is out of date."""
        if self._table:  # else every write would take the lock of all caches
            with _lock:
                flight = self._table.pop(key, None)
                if flight is not None:
                    flight.fenced = flight.detached = True

    def detach(self, key: Hashable) -> None:
        """Let later callers for a key begin a new flight; what the one under way brings may be up to date or not."""
        if self._table:
            with _lock:
                flight = self._table.pop(key, None)
                if flight is not None:
                    flight.detached = True

    def fence_all(self) -> None:
        """Fence every key. O(flights)."""
        with _lock:
            for flight in self._table.values():
                flight.fenced = flight.detached = True
            self._table.clear()


class Flight(Generic[_T]):
    """One load, and those who wait for it. Made by `Flights.join`."""

    # What few flights change is the class's till then: every miss makes a flight.

    # The key was written or invalidated since the flight began: what it brings must not be stored.
    fenced = False
    detached = False  # later callers have begun another one, or will
    _begun = False  # the present one has entered its scope
    _leaderless = False
    # Who have joined and do not wait yet: they may be given the lead when they do. Where the count is too low, by a
    # leader that waits, or too high, by one who never does, and only if nobody leads, it costs a second load or an
    # entry in the table.
    _arriving = 0
    _value: Any = None
    _error: BaseException | None = None
    _traceback: TracebackType | None = None

    def __init__(self, key: Hashable, table: dict[Hashable, Flight[_T]]) -> None:
        self.key = key
        self._table = table
        self._forks = _forks
        self._load = _Load()
        self._waiters: dict[_Waiter, None] = {}  # in order

    def __repr__(self) -> str:
        state = "done" if self.done else "fenced" if self.fenced else "under way"
        return f"<Flight of {reprlib.repr(self.key)}, {state}>"

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return self._load.done

    @property
    def failed(self) -> bool:
        """Whether its end was an error."""
        return self._load.done and self._error is not None

    def scope(self, *, apart: bool = False) -> Scope:
        """Say that the code of a with statement is the load, and see to it that the flight ends when that does.

        An Exception that leaves the statement fails the flight; any other exception (cancellation, interrupt, exit)
        abandons it, and so does an end without a report. Tasks and copies of the context that are made inside belong
        to the load. With `apart`, the code around the statement is not taken to wait for this load: for one that runs
        in a task or thread of its own and may outlive its caller, who waits for the flight like others.
        """
        return Scope(self, apart=apart)

    def succeed(self, value: _T) -> bool:
        """Give all followers the value; False, and of no effect, if the flight was over."""
        return self._end(value, None)

    def fail(self, error: BaseException) -> bool:
        """Raise the error for all followers; False, and of no effect, if the flight was over."""
        return self._end(None, error)

    def abandon(self) -> None:
        """Give the lead up to the first follower in line, else to whoever comes next. Nothing if it is over."""
        self._abandon(self._load.lead)

    def wait(self, timeout: float | None = None) -> _T | Literal[Lead.LEAD]:
        """Wait as a thread for the value, up to `timeout` seconds; None for ever. LEAD if the caller leads from now on.

        Raises the error of the load, the same object for all, or TimeoutError; `done` tells them apart if the load
        raised one of these itself. Raises RuntimeError at once if the load waits for the caller.
        """
        waiter = _Waiter(None, threading.get_ident())
        try:
            turn = self._stand(waiter)
            if turn is None:
                left = math.inf if timeout is None else max(timeout, 0)
                while True:
                    overdue = None if self._begun else self._load.lead
                    if waiter.gate.acquire(timeout=min(left, _GRACE)):
                        break
                    left -= _GRACE
                    if left <= 0 or self._goes_on(waiter, overdue):
                        break
                turn = self._step_out(waiter)
        except BaseException:  # an interrupt of the main thread
            self._desert(waiter)
            raise
        return self._outcome(turn, timeout)

    async def await_(self, timeout: float | None = None) -> _T | Literal[Lead.LEAD]:  # noqa: ASYNC109 - may be None
        """Do the same as `wait` as a task, on whichever loop it runs."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), None)
        try:
            turn = self._stand(waiter)
            if turn is None:
                left = math.inf if timeout is None else timeout
                while waiter.future is not None:
                    overdue = None if self._begun else self._load.lead
                    timer = loop.call_later(min(left, _GRACE), _resolve, (waiter.future,))
                    try:
                        await waiter.future
                    finally:
                        timer.cancel()
                    left -= _GRACE
                    with _lock:
                        if left <= 0 or self._goes_on(waiter, overdue):
                            break
                        waiter.future = loop.create_future()
                turn = self._step_out(waiter)
        except BaseException:  # cancelled, or the loop has gone and the task is collected
            self._desert(waiter)
            raise
        return self._outcome(turn, timeout)

    def _outcome(self, turn: _Turn, timeout: float | None) -> _T | Literal[Lead.LEAD]:
        """Return or raise what a wait has come to."""
        if turn is _Turn.LEAD:
            return LEAD
        if turn is _Turn.LATE:
            raise TimeoutError(f"the load of key {reprlib.repr(self.key)} is under way after {timeout:g} s still")
        if self._error is None:
            return self._value  # type: ignore[no-any-return]
        # Raised as it is, its traceback would grow by every follower.
        raise self._error.with_traceback(self._traceback)

    def _stand(self, waiter: _Waiter) -> _Turn | None:
        """Begin a wait; a turn if there is nothing to wait for. Raises RuntimeError if it would wait for itself."""
        with _lock:
            self._arriving = max(0, self._arriving - 1)
            if self._load.done:
                return _Turn.DONE
            if self._leaderless or self._forks != _forks:
                self._leaderless = False
                return _Turn.LEAD
            waiter.chain = tuple(load for load, _ in _present())
            if _meets(self._load, waiter.chain, waiter.thread):
                raise RuntimeError(
                    f"the load of key {reprlib.repr(self.key)} waits for itself: its loader asks for the same key, "
                    "or for one whose loader does, or keeps the event loop from going on with it"
                )
            self._waiters[waiter] = None
            for load in waiter.chain:
                load.awaits[waiter] = self._load
            if waiter.thread is not None:
                waiter.before = _blocked.get(waiter.thread)
                _blocked[waiter.thread] = self._load
            return None

    def _goes_on(self, waiter: _Waiter, overdue: int | None) -> bool:
        """Whether a wait is over: also if the leader of that number has not begun still, whose lead it takes."""
        with _lock:
            if waiter.turn is _Turn.LATE:
                if self._load.done:
                    waiter.turn = _Turn.DONE
                elif not self._begun and self._load.lead == overdue:
                    self._waiters.pop(waiter, None)
                    self._leaderless = False
                    self._load.lead += 1
                    waiter.turn = _Turn.LEAD
            return waiter.turn is not _Turn.LATE

    def _step_out(self, waiter: _Waiter) -> _Turn:
        """End a wait, and return what has come of it; may be done twice."""
        with _lock:
            self._waiters.pop(waiter, None)
            for load in waiter.chain:
                load.awaits.pop(waiter, None)
            if waiter.thread is not None and _blocked.get(waiter.thread) is self._load:
                if waiter.before is None:
                    _blocked.pop(waiter.thread, None)
                else:
                    _blocked[waiter.thread] = waiter.before
            return waiter.turn

    def _desert(self, waiter: _Waiter) -> None:
        """End a wait whose caller cannot go on, and pass on the lead if it was given meanwhile."""
        with _lock:
            if self._step_out(waiter) is _Turn.LEAD:
                self._abandon(self._load.lead)

    def _abandon(self, lead: int) -> None:
        """Pass the lead on, unless the one of this number has been passed on."""
        with _lock:
            if self._load.done or self._load.lead != lead:
                return
            self._load.lead += 1
            self._begun = False
            self._load.thread = None
            while self._waiters and self._forks == _forks:
                first = next(iter(self._waiters))
                del self._waiters[first]
                first.turn = _Turn.LEAD
                if _wake([first]):
                    return
                first.turn = _Turn.LATE
            self._leaderless = True
            if not self._arriving:
                self._forget()

    def _end(self, value: Any, error: BaseException | None) -> bool:
        """End the flight, if that has not been done."""
        with _lock:
            if self._load.done:
                return False
            self._value = value
            if error is not None:
                self._error, self._traceback = error, error.__traceback__
            self._load.done = True
            if not self._waiters:
                self._forget()
                return True
            waiters = list(self._waiters) if self._forks == _forks else []
            self._waiters.clear()
            for waiter in waiters:
                waiter.turn = _Turn.DONE
            try:
                self._forget()  # calls the key's __eq__, perhaps
            finally:
                _wake(waiters)
        return True

    def _forget(self) -> None:
        """Take the flight out of its table, if it is still the one of its key."""
        if self._table.get(self.key) is self:
            del self._table[self.key]


class _Waiter:
    """One wait: of a thread that stands at a gate, or of a task that awaits a future."""

    __slots__ = ("before", "chain", "future", "gate", "thread", "turn")

    def __init__(self, future: asyncio.Future[None] | None, thread: int | None) -> None:
        self.turn = _Turn.LATE  # unless something comes
        self.future = future
        self.thread = thread
        self.gate = threading.Lock()
        self.gate.acquire()
        self.chain: tuple[_Load, ...] = ()
        self.before: _Load | None = None  # what its thread waited for already


class Scope:
    """The part of a program that is a flight's load, for one leader. Made by `Flight.scope`; entered once or never."""

    __slots__ = ("_apart", "_flight", "_lead", "_token")

    def __init__(self, flight: Flight[Any], *, apart: bool) -> None:
        self._flight = flight
        self._apart = apart
        self._lead = flight._load.lead

    def give_up(self) -> None:
        """Abandon the flight: the statement was not entered and will not be, or was broken off where it begins or ends.

        Does nothing if the flight is over or led by somebody else by now.
        """
        self._flight._abandon(self._lead)

    def __enter__(self) -> None:
        flight = self._flight
        load = flight._load
        place = load, self._lead
        try:
            thread = threading.get_ident()
            around = () if self._apart else _present()
            self._token = _scopes.set((*around, place) if around else (place,))
        except BaseException:  # an interrupt: there will be no end
            self.give_up()
            raise
        flight._begun = True
        load.thread = thread

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        flight = self._flight
        try:
            if isinstance(error, Exception):
                flight.fail(error)
            if not flight._load.done:
                flight._abandon(self._lead)
        finally:
            _leave(self._token)


class Scopes:
    """The scopes of several flights that one caller leads and loads together; see `Flight.scope`."""

    __slots__ = ("_apart", "_flights", "_token")

    def __init__(self, flights: Iterable[Flight[Any]], *, apart: bool = False) -> None:
        self._flights = [(flight, flight._load.lead) for flight in flights]
        self._apart = apart

    def give_up(self) -> None:
        """Abandon the flights; see `Scope.give_up`."""
        for flight, lead in self._flights:
            flight._abandon(lead)

    def __enter__(self) -> None:
        try:
            thread = threading.get_ident()
            for flight, _ in self._flights:
                flight._begun = True
                flight._load.thread = thread
            places = tuple((flight._load, lead) for flight, lead in self._flights)
            self._token = _scopes.set(places if self._apart else (*_present(), *places))
        except BaseException:  # an interrupt: there will be no end
            self.give_up()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for flight, lead in self._flights:
                if isinstance(error, Exception):
                    flight.fail(error)
                flight._abandon(lead)
        finally:
            _leave(self._token)


def _leave(token: contextvars.Token[tuple[_Place, ...]]) -> None:
    """Belong again to the loads of before."""
    try:  # noqa: SIM105 - `suppress` takes as long as the rest of a scope
        _scopes.reset(token)
    except ValueError:  # a coroutine that is collected is closed in whatever context the collector runs in
        pass


def _present() -> tuple[_Place, ...]:
    """Return the loads that the present code belongs to, without those that it has outlived."""
    places = _scopes.get()
    return tuple(place for place in places if not place[0].done and place[0].lead == place[1]) if places else places


def _meets(load: _Load, chain: tuple[_Load, ...], thread: int | None) -> bool:
    """Whether a load waits for one of a chain or, if a thread is given, for that thread; over however many others."""
    if not chain and thread is None:
        return False
    seen: set[_Load] = set()
    ahead = [load]
    while ahead:
        load = ahead.pop()
        if load.done or load in seen:
            continue
        if load in chain or (thread is not None and load.thread == thread):
            return True
        seen.add(load)
        ahead.extend(load.awaits.values())
        if load.thread in _blocked:
            ahead.append(_blocked[load.thread])
    return False


def _wake(waiters: Iterable[_Waiter]) -> bool:
    """Wake waiters; False if the loop of one of them is closed, so that it has gone."""
    told = True
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for waiter in waiters:
        if waiter.future is None:
            waiter.gate.release()
        else:
            by_loop.setdefault(waiter.future.get_loop(), []).append(waiter.future)
    for loop, futures in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, futures)
        except RuntimeError:
            told = False
    return told


def _resolve(futures: Iterable[asyncio.Future[None]]) -> None:
    """Wake tasks of the running loop, unless they are awake."""
    for future in futures:
        if not future.done():
            future.set_result(None)


def _after_fork() -> None:
    """Give a forked child a lock that nobody holds; none of the parent's threads waits in it."""
    global _lock, _forks  # noqa: PLW0603 - the state of the process
    _lock = threading.RLock()
    _forks += 1
    _blocked.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
