"""What all combined tiers have in common: members, two drivers, what they have missed, and what they tell.

- A member that fails is told later what it has missed (`notes`), and is not believed about it until then. A thread sees
  to that, which runs only while there is something to do: it asks whether a member that was away is there again, and
  tells it. Other processes do so at the same time; so a member that comes back is not read for `settle` seconds.
- A member that misses a hold has missed a removal. When the others are settled it is told to remove the names, now that
  the origin has changed: it stores nothing that it has not held, since somebody else may have written meanwhile.
- The listener is told the changes of all members. It is told that they are alive as far as the worst of those says that
  are read; a member whose stream is lost is not read any more, if others' streams are alive.
- Operations are flows (see `members`), driven by the threads of a pool a member, or as tasks of the running loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from hotset.durations import seconds
from hotset.errors import TierError, TierUnavailable
from hotset.forks import tell_child
from hotset.tiers.contract import CLEAR, Entry, Found, Reading, Tier
from hotset.tiers.members import BEGIN_WITHIN, Call, Member, Step, breaker_by, one_of
from hotset.tiers.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from hotset.durations import Duration
    from hotset.tiered.breaker import Breaker
    from hotset.tiered.stats import LevelStats
    from hotset.tiers.contract import Fence, Listener
    from hotset.tiers.notes import Due, Note

__all__ = ["CombinedTier", "Doubts", "Flow", "Held", "Passed", "Returning", "agreed", "as_of"]

_T = TypeVar("_T")
Flow: TypeAlias = Generator[Step, None, _T]
Returning: TypeAlias = Literal["told", "cleared"]
Held: TypeAlias = dict[int, Any]  # by the place of a member, what it says of a hold; those that missed it are not there

_THREADS: Final = 16  # a member
_STARTING: Final = 2.0  # seconds in which the streams of all members are waited for
_ROUND: Final = 0.01  # seconds between two looks at what there is to do, so that much of it is done at once
_PROBE: Final = "hotset: are you there"
_EPOCHS: Final = 64  # remembered


class Doubts:
    """What must not be believed of what one member says. To be made before it is asked: it may be told meanwhile."""

    __slots__ = ("_asked", "_names", "_others", "_own", "_tags")

    def __init__(self, own: Notes, others: Iterable[Notes], names: Iterable[str]) -> None:
        self._asked = time.monotonic()
        names = list(names)
        self._own = {name for name in names if name in own.names}
        self._tags = own.tags.copy()
        self._names: dict[str, list[Note]] = {}
        self._others: dict[str, list[Note]] = {}
        for notes in others:
            for name in names:
                note = notes.names.get(name)
                if note is not None:
                    self._names.setdefault(name, []).append(note)
            for tag, note in notes.tags.copy().items():
                self._others.setdefault(tag, []).append(note)

    def about(self, name: str) -> bool:
        """Whether the member has not been told of a change of this name, or of all."""
        return name in self._own or CLEAR in self._tags

    def concern(self, name: str, entry: Entry | None) -> bool:
        """Whether what it said of a name is not to be believed."""
        if self.about(name):
            return True
        if entry is None:
            return False
        if any(tag in self._tags for tag in entry.tags):
            return True
        notes = self._names.get(name, ())
        tagged = (note for tag in (CLEAR, *entry.tags) for note in self._others.get(tag, ()))
        return any(note.excludes(entry, self._asked) for note in (*notes, *tagged))


class Passed(Reading):
    """A member's reading that is opened, passed on as it is; its fences are wrapped when they are asked for."""

    __slots__ = ("_reading", "_wrap")

    def __init__(self, reading: Reading, wrap: Callable[[Fence], Fence]) -> None:
        # `found` stays empty, so that __getattr__ is asked for it the first time.
        self.epoch = reading.epoch
        self.refused = reading.refused
        self.opened = reading.opened
        self._reading = reading
        self._wrap = wrap

    def __getattr__(self, name: str) -> Any:
        if name != "found":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        wrap = self._wrap
        self.found = [Found(entry, wrap(fence)) for entry, fence, _ in self._reading.found]
        return self.found


def as_of(entry: Entry, epoch: int) -> Entry:
    """Return an entry as of an epoch of the tier that it is for. Quicker than dataclasses.replace, by much."""
    if entry.epoch == epoch:
        return entry
    return Entry(
        entry.value,
        entry.version,
        entry.life,
        entry.keep,
        entry.age,
        entry.cost,
        entry.absent,
        entry.tags,
        epoch,
        entry.writer,
    )


def agreed(items: Sequence[tuple[str, Entry | None]], calls: Iterable[Call]) -> tuple[list[bool], list[str]]:
    """Return which names nobody else has held at any of the members that all have them; and of which these disagree.

    One of them may have stored what another one knows somebody else to have changed, who could not reach the first.
    """
    answers = [call.outcome for call in calls if call.succeeded and call.operation == "settle"]
    if not answers:
        return [False] * len(items), []
    each = list(zip(*answers, strict=True))
    return [all(mine) for mine in each], [
        name for (name, _), mine in zip(items, each, strict=True) if any(mine) and not all(mine)
    ]


class CombinedTier:
    """A tier made of others. Subclasses say what goes where, as flows: _read, _lease, _fill and so on."""

    shared = True

    def __init__(
        self,
        members: Mapping[str, Tier] | Sequence[Tier],
        *,
        name: str,
        what: str,
        least: int,
        breaker: Callable[[], Breaker],
        settle: Duration,
        returning: Returning,
        max_missed: int,
    ) -> None:
        tiers = _named(members, what, least)
        if type(name) is not str or not name:
            raise ValueError(f"name must be a str that is not empty, got {name!r}")
        if type(max_missed) is not int or max_missed < 1:
            raise ValueError(f"max_missed must be an int of 1 or more, got {max_missed!r}")
        self.name = name
        self._settling = seconds(settle, zero=True, name="settle")
        self._returning = one_of(("told", "cleared"), returning, name="returning")
        # What a change may take from its first to its last member, as a rule; see the flows for why it matters.
        self._flight = BEGIN_WITHIN + max(float(getattr(tier, "timeout", 0.5)) for tier in tiers.values())
        self._members = [
            Member(place, member, tier, breaker_by(breaker), Notes(max_missed, self._flight), self._wake)
            for place, (member, tier) in enumerate(tiers.items())
        ]
        self.streams = all(member.streams for member in self._members)
        self.holds = all(getattr(tier, "holds", False) for tier in tiers.values())
        self.held_for = min(float(getattr(tier, "held_for", math.inf)) for tier in tiers.values())
        self._ears = [_Ear(self, member) for member in self._members]
        self._listener: Listener | None = None
        self._closed = False
        self._begin()
        # E, the epoch told -> place -> what the member there counted then, the lowest seen.
        self._epochs: OrderedDict[int, dict[int, int]] = OrderedDict()
        self._latest = 0
        tell_child(self)

    def _begin(self) -> None:
        """Have no threads yet, and know nothing of streams."""
        # Guards what follows, and what members say of their streams. Nothing that waits is done under it.
        self._lock = threading.Lock()
        self._pools: dict[int, ThreadPoolExecutor] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keeper: threading.Thread | None = None
        self._work = threading.Event()
        self._reporting = False  # the listener has been told that changes are told
        self._opened_at = time.monotonic()

    @property
    def longest(self) -> float:
        """How long anything lives at most, in seconds: the least that a member says of itself."""
        return min(getattr(member.tier, "longest", math.inf) for member in self._members)

    @longest.setter
    def longest(self, longest: float) -> None:
        for member in self._members:
            if hasattr(member.tier, "longest"):
                member.tier.longest = min(member.tier.longest, longest)

    def __repr__(self) -> str:
        members = ", ".join(f"{member.name} ({self._state(member)})" for member in self._members)
        return f"<{type(self).__name__} {self.name!r}: {members}>"

    def _state(self, member: Member) -> str:
        return "away" if member.away else "settling" if not member.settled else member.state

    def stats(self) -> tuple[LevelStats, ...]:
        """Return what has been counted of each member."""
        return tuple(member.stats() for member in self._members)

    def pending(self) -> dict[str, int]:
        """Return how many names and tags each member has not been told of yet."""
        return {member.name: len(member.notes) for member in self._members}

    def states(self) -> dict[str, str]:
        """Return for each member "away", "settling" (back, but not read yet), or what its breaker says."""
        return {member.name: self._state(member) for member in self._members}

    # Opening and closing

    def open(self, namespace: str, listener: Listener) -> None:
        """Belong to one cache, and have the members do so. No server need be there."""
        if self._listener is not None and self._listener is not listener:
            raise TierError(f"{self!r} belongs to another cache already: give {namespace!r} a tier of its own")
        self._listener = listener
        self._closed = False
        self._opened_at = time.monotonic()
        opened = []
        try:
            for member, ear in zip(self._members, self._ears, strict=True):
                member.tier.open(namespace, ear)
                opened.append(member)
        except BaseException:
            for member in opened:
                member.tier.close()
            raise

    def close(self) -> None:
        """Close all members, and end the threads.

        What is on its way to members is waited for, for about as long as they take. What they have missed and were not
        told by then is lost.
        """
        end = time.monotonic() + self._flight
        while self._busy() and time.monotonic() < end:
            time.sleep(_ROUND)
        pools = self._end()
        for member in self._members:
            member.tier.close()
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)

    async def aclose(self) -> None:
        """See close."""
        end = time.monotonic() + self._flight
        while self._busy() and time.monotonic() < end:  # noqa: ASYNC110 - threads have no asyncio.Event
            await asyncio.sleep(_ROUND)
        pools = self._end()
        for member in self._members:
            await member.tier.aclose()
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def _busy(self) -> bool:
        """Whether members that are there are still to be told something."""
        return not self._closed and any(not member.away and len(member.notes) for member in self._members)

    def _end(self) -> list[ThreadPoolExecutor]:
        with self._lock:
            self._closed = True
            pools, self._pools = list(self._pools.values()), {}
            keeper = self._keeper
        self._work.set()
        if keeper is not None and keeper is not threading.current_thread():
            keeper.join(1.0)
        return pools

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has none of its parent's threads."""
        self._begin()
        for member in self._members:
            member.after_fork()

    # The two drivers

    def _run(self, flow: Flow[_T]) -> _T:
        """Carry a flow out in this thread and those of the members."""
        self._check_open()
        try:
            step = next(flow)
            while True:
                self._make(step)
                step = next(flow)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _arun(self, flow: Flow[_T]) -> _T:
        """Carry a flow out on the running loop."""
        self._check_open()
        try:
            step = next(flow)
            while True:
                await self._amake(step)
                step = next(flow)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _check_open(self) -> None:
        if self._listener is None:
            raise TierError(f"{self!r} belongs to no cache: open() it first")
        if self._closed:
            raise TierUnavailable(f"{self!r} is closed")

    def _make(self, step: Step) -> None:
        calls = step.calls
        if len(calls) == 1 and step.near:
            calls[0].do()
            return
        news = threading.Event()
        near = 1 if step.near else 0  # in this thread
        for call in calls[near:]:
            self._submit(call, news)
        for call in calls[:near]:
            call.do()
        end = math.inf
        while True:
            news.clear()
            end = step.over(end)
            if not end:
                return
            news.wait(None if end == math.inf else max(0.0, end - time.monotonic()))

    def _submit(self, call: Call, news: threading.Event) -> None:
        """Have a call made in a thread, unless there are too many already."""
        member = call.member
        try:
            with self._lock:
                self._check_open()
                pool = self._pools.get(member.place)
                if pool is None:
                    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"hotset-{self.name}-{member.name}")
                    self._pools[member.place] = pool
            member.admit()
            try:
                future = pool.submit(call.do)
            except BaseException:
                member.dismiss()
                raise
        except (TierError, RuntimeError) as error:
            call.end(error if isinstance(error, TierError) else TierUnavailable(str(error)))
            return

        def ended(_: Future[None]) -> None:
            member.dismiss()
            call.break_off()  # a pool that is shut down drops what it has not begun
            news.set()

        future.add_done_callback(ended)

    async def _amake(self, step: Step) -> None:
        calls = step.calls
        if len(calls) == 1 and step.near:
            await calls[0].ado()
            return
        news = asyncio.Event()
        loop = asyncio.get_running_loop()
        for call in calls:
            try:
                call.member.admit()
            except TierUnavailable as error:
                call.end(error)
                continue
            # They go on if this is cancelled.
            task = loop.create_task(call.ado(), name=f"hotset {self.name} {call.member.name}")
            self._tasks.add(task)
            task.add_done_callback(self._ended(call, news))
        end = math.inf
        while True:
            news.clear()
            end = step.over(end)
            if not end:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if end == math.inf else max(0.0, end - time.monotonic())):
                    await news.wait()

    def _ended(self, call: Call, news: asyncio.Event) -> Callable[[asyncio.Task[None]], None]:
        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            call.member.dismiss()
            call.break_off()  # if it was cancelled before it began
            news.set()

        return ended

    # What members have missed

    def _doubts(self, member: Member, names: Iterable[str]) -> Doubts | None:
        """Return what is not to be believed of a member from now on; None if it has missed nothing."""
        notes = member.notes
        return Doubts(notes, (), names) if notes.names or notes.tags else None

    def _changing(self, call: Call, names: Sequence[str], tags: Sequence[str] = ()) -> Call:
        """Have a member told later of what it misses, and not believed until then."""
        notes = call.member.notes

        def ended(call: Call) -> None:
            if not call.succeeded:
                self._missed(call.member, names, tags)
            elif notes.names:
                notes.heard(names)  # of a later change than those that it missed

        call.ended = ended
        return call

    def _settled(self, member: Member, items: Sequence[tuple[str, Entry | None]], held: Held, *, expire: bool) -> Call:
        """Return the call that ends a hold; where there is none, the names are removed."""
        if member.place in held:
            return Call(member, "settle", items, held[member.place], expire=expire)
        return Call(member, "remove", [name for name, _ in items])

    def _missed(self, member: Member, names: Iterable[str], tags: Iterable[str] = ()) -> None:
        """A member was not told of a change: it is told later."""
        member.notes.miss(names, tags)
        self._wake()

    def _wake(self) -> None:
        """Have the keeper look what there is to do."""
        with self._lock:
            if self._closed:
                return
            if self._keeper is None or not self._keeper.is_alive():
                self._keeper = threading.Thread(
                    target=_keep, args=(weakref.ref(self), self._work), name=f"hotset-{self.name}-keeper", daemon=True
                )
                self._keeper.start()
            self._work.set()

    def _tend(self) -> float:
        """Look after the members; seconds until it is to be done again, infinite for not at all."""
        pause = math.inf
        for member in self._members:
            if member.away and time.monotonic() >= member.next_try:
                self._look_for(member)
            if member.away:
                pause = min(pause, member.next_try - time.monotonic())
                continue
            due = member.notes.due()
            if due and time.monotonic() >= member.next_try:
                try:
                    self._tell(member, due)
                except TierError:
                    member.try_later()
                else:
                    member.notes.told(due)
                    due = member.notes.due(1)
            if due:
                pause = min(pause, member.next_try - time.monotonic())
            elif len(member.notes):
                pause = min(pause, 1.0)
        return max(0.0, min(pause, self._do_chores()))

    def _look_for(self, member: Member) -> None:
        """Ask a member that was away whether it is there."""
        try:
            member.tier.read([_PROBE])
            if self._returning == "cleared":
                member.tier.invalidate([CLEAR])
        except Exception:  # noqa: BLE001 - whatever it is, the member is not well
            member.try_later()
        else:
            member.come_back(self._settling)

    def _tell(self, member: Member, due: Due) -> None:
        """Tell a member to forget. Raises TierError."""
        if due.tags:
            member.ask("invalidate", list(due.tags))
        if due.names:
            member.ask("remove", list(due.names))

    def _do_chores(self) -> float:
        """Do what else there is to do in the background; seconds until there is more."""
        return math.inf

    # What members tell

    def _readable(self, member: Member) -> bool:
        """Whether a member may be read: it is settled, and tells of changes if any does."""
        return member.settled and (member.told or not self._reporting)

    def _alive(self, member: Member, since: float) -> None:
        listener = self._listener
        with self._lock:
            member.told = member.ever_told = True
            member.since = since
            fresh = time.monotonic() < self._opened_at + _STARTING
            if fresh and any(not (one.ever_told or one.away) for one in self._members):
                return
            report = min(one.since for one in self._members if one.told)
            self._reporting = True
        if listener is not None and self.streams:
            listener.alive(report)

    def _lost(self, member: Member) -> None:
        listener = self._listener
        with self._lock:
            was_told, member.told = member.told, False
            if not any(one.told for one in self._members):
                self._reporting = False
        if was_told and not self._closed:
            member.leave()
        if listener is not None and self.streams:
            listener.lost()

    def _own_version(self, name: str) -> bytes | None:
        return None if self._listener is None else self._listener.own_version(name)

    # Epochs: each member counts its own

    def _saw(self, epoch: int, counts: Mapping[int, int]) -> None:
        """Remember what members counted when this epoch was told."""
        known = self._epochs.get(epoch)
        if known is None:
            known = self._epochs[epoch] = {}
            self._latest = epoch
            while len(self._epochs) > _EPOCHS:
                self._epochs.popitem(last=False)
        for place, count in counts.items():
            known.setdefault(place, count)

    def _epoch_at(self, member: Member, epoch: int) -> int | None:
        """Return what a member counted as of an epoch that was told; None if what is as old may be dead there."""
        if epoch == 0:
            return 0
        known = self._epochs.get(epoch, {}).get(member.place)
        return 0 if known is None and epoch >= self._latest else known

    # The two faces

    def _read(self, names: Sequence[str]) -> Flow[Reading]:
        raise NotImplementedError

    def _lease(self, names: Sequence[str]) -> Flow[Reading]:
        raise NotImplementedError

    def _fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> Flow[list[bool]]:
        raise NotImplementedError

    def _write(self, items: Sequence[tuple[str, Entry]]) -> Flow[None]:
        raise NotImplementedError

    def _remove(self, names: Sequence[str], *, expire: bool) -> Flow[None]:
        raise NotImplementedError

    def _hold(self, names: Sequence[str], *, expire: bool) -> Flow[Held]:
        raise NotImplementedError

    def _settle(self, items: Sequence[tuple[str, Entry | None]], held: Held, *, expire: bool) -> Flow[list[bool]]:
        raise NotImplementedError

    def _touch(self, name: str, life: float, keep: float) -> Flow[bool]:
        raise NotImplementedError

    def _invalidate(self, tags: Sequence[str]) -> Flow[int]:
        raise NotImplementedError

    def read(self, names: Sequence[str]) -> Reading:
        """See Tier."""
        return self._run(self._read(names)) if names else Reading([], self._latest)

    async def aread(self, names: Sequence[str]) -> Reading:
        """See Tier."""
        return await self._arun(self._read(names)) if names else Reading([], self._latest)

    def lease(self, names: Sequence[str]) -> Reading:
        """See Tier."""
        return self._run(self._lease(names)) if names else Reading([], self._latest)

    async def alease(self, names: Sequence[str]) -> Reading:
        """See Tier."""
        return await self._arun(self._lease(names)) if names else Reading([], self._latest)

    def fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """See Tier."""
        return self._run(self._fill(items)) if items else []

    async def afill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """See Tier."""
        return await self._arun(self._fill(items)) if items else []

    def write(self, items: Sequence[tuple[str, Entry]]) -> None:
        """See Tier."""
        if items:
            self._run(self._write(items))

    async def awrite(self, items: Sequence[tuple[str, Entry]]) -> None:
        """See Tier."""
        if items:
            await self._arun(self._write(items))

    def remove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """See Tier."""
        if names:
            self._run(self._remove(names, expire=expire))

    async def aremove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """See Tier."""
        if names:
            await self._arun(self._remove(names, expire=expire))

    def hold(self, names: Sequence[str], *, expire: bool = False) -> Held:
        """See HoldingTier."""
        return self._run(self._hold(names, expire=expire)) if names else {}

    async def ahold(self, names: Sequence[str], *, expire: bool = False) -> Held:
        """See HoldingTier."""
        return await self._arun(self._hold(names, expire=expire)) if names else {}

    def settle(self, items: Sequence[tuple[str, Entry | None]], hold: Held, *, expire: bool = False) -> list[bool]:
        """See HoldingTier."""
        return self._run(self._settle(items, hold, expire=expire)) if items else []

    async def asettle(
        self, items: Sequence[tuple[str, Entry | None]], hold: Held, *, expire: bool = False
    ) -> list[bool]:
        """See HoldingTier."""
        return await self._arun(self._settle(items, hold, expire=expire)) if items else []

    def touch(self, name: str, life: float, keep: float) -> bool:
        """See Tier."""
        return self._run(self._touch(name, life, keep))

    async def atouch(self, name: str, life: float, keep: float) -> bool:
        """See Tier."""
        return await self._arun(self._touch(name, life, keep))

    def invalidate(self, tags: Sequence[str]) -> int:
        """See Tier."""
        return self._run(self._invalidate(tags))

    async def ainvalidate(self, tags: Sequence[str]) -> int:
        """See Tier."""
        return await self._arun(self._invalidate(tags))


class _Ear:
    """What one member tells, as a Listener."""

    def __init__(self, owner: CombinedTier, member: Member) -> None:
        self._owner = owner
        self._member = member

    def changed(self, names: Iterable[str]) -> None:
        listener = self._owner._listener  # noqa: SLF001 - this module's own
        if listener is not None:
            listener.changed(names)

    def invalidated(self, tags: Iterable[str], epoch: int) -> None:
        listener = self._owner._listener  # noqa: SLF001 - as above
        if listener is not None:
            listener.invalidated(tags, epoch)

    def own_version(self, name: str) -> bytes | None:
        return self._owner._own_version(name)  # noqa: SLF001 - as above

    def alive(self, since: float) -> None:
        self._owner._alive(self._member, since)  # noqa: SLF001 - as above

    def lost(self) -> None:
        self._owner._lost(self._member)  # noqa: SLF001 - as above


def _keep(reference: weakref.ref[CombinedTier], work: threading.Event) -> None:
    """Look after the members of a combined tier as long as there is something to do."""
    while True:
        work.clear()
        owner = reference()
        if owner is None or owner._closed:  # noqa: SLF001 - this module's own
            return
        pause = owner._tend()  # noqa: SLF001 - as above
        if pause == math.inf:
            with owner._lock:  # noqa: SLF001 - as above
                if not work.is_set():
                    owner._keeper = None  # noqa: SLF001 - as above
                    return
        del owner
        work.wait(min(pause, 5.0))
        time.sleep(_ROUND)


def _named(members: Any, what: str, least: int) -> dict[str, Tier]:
    """Return the members by name. Raises TypeError, ValueError for what cannot be members."""
    if isinstance(members, Mapping):
        named = dict(members)
    elif isinstance(members, Sequence) and not isinstance(members, str):
        named = {getattr(tier, "name", repr(tier)): tier for tier in members}
        if len(named) < len(members):
            raise ValueError(f"{what} must have different names, or be given as a dict by name, got {members!r}")
    else:
        raise TypeError(f"{what} must be a dict of tiers by name, or a sequence of tiers, got {members!r}")
    if len(named) < least:
        raise ValueError(f"{what} must be {least} or more, got {len(named)}")
    for name, tier in named.items():
        if type(name) is not str or not name:
            raise TypeError(f"{what} must be named by str that are not empty, got {name!r}")
        if not isinstance(tier, Tier):
            raise TypeError(f"{what} must be Tier objects, got {tier!r} under {name!r}")
        if not tier.shared:
            raise ValueError(f"{what} must be tiers that processes share, got {tier!r} under {name!r}")
    if len({id(tier) for tier in named.values()}) < len(named):
        raise ValueError(f"{what} must be different objects, got {named!r}")
    return named
