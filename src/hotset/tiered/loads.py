"""Reading one key: from memory, from the levels below, or by a load that fills them."""

from __future__ import annotations

import functools
import math
import time
from typing import TYPE_CHECKING, Any, Final, cast

from hotset.errors import CodecError, LoadTimeout, TierError
from hotset.names import name_of
from hotset.tiered.books import Books, Kept, Lent, believed
from hotset.tiered.effects import Ask, Load, Run, Sleep, Spawn, Wait
from hotset.tiered.flights import LEAD
from hotset.tiered.values import MISSING
from hotset.tiers.memory import entry_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from hotset._engine import Record
    from hotset.tiered.effects import Effect, Flow
    from hotset.tiered.flights import Flight, Scope
    from hotset.tiered.level import Level
    from hotset.tiered.options import Options
    from hotset.tiers.contract import Entry, Fence, Reading
    from hotset.tiers.memory import MemoryTier

__all__ = ["POLL", "Loads"]

POLL: Final = 0.01  # seconds between two looks whether another process has loaded


class Loads(Books):
    """The flows of a read."""

    def get(self, key: Any, options: Options, loader: Any, *, looked: bool = False) -> Generator[Effect, Any, Any]:
        """The value of a key, or ABSENT or MISSING. `looked` tells that the engine has counted this look already."""
        name = name_of(key)
        fence = None
        stale: Entry | None = None
        told, confirmed = False, 0.0
        version: bytes | None = None
        memory = self._memory()
        if memory is not None:
            fence = memory.fence(name)
            record = memory.store.peek(key) if looked else memory.store.get(key)
            self.slow_reads += 1
            if record is not None:
                now = time.monotonic()
                if record.deadline > now:
                    if self._trusted(record, now):
                        if record.until <= now:
                            yield from self._awaken(key, name, record, options, loader, now)
                        return self._served(record.value, record.absent)
                    version = record.version
                    stale = entry_of(record, now)
                    self.not_fresh += 1
                elif record.gone > now:
                    self.not_fresh += 1
                    stale = entry_of(record, now)
                    told, confirmed = not record.loose, record.confirmed
                    revalidated = loader is not None and stale.life > -options.stale_while_revalidate
                    if revalidated and self._trusted(record, now):
                        yield from self._refresh(key, name, record, options, loader)
                        self.stale_served += 1
                        return self._served(record.value, record.absent)
        if self.behind is not None and (unsaved := self.behind.find(name)) is not None:
            return self._unsaved(key, name, unsaved, fence, options, loader)
        if loader is not None and stale is None and not options.keep and self._unlikely():
            return (yield from self._loaded(key, name, options, loader, None, first=True))
        asked = time.monotonic()
        missed: list[Lent] = []
        for number, level in enumerate(self.below):
            doubts = self.pending.doubts(level, (name,))
            try:
                reading = yield Ask(level, "read", (name,))
            except TierError:
                continue
            level.note(reading)
            entry, lease = believed(doubts, name, reading.found[0])
            if entry is not None and entry.life > 0:
                if (yield from self._promote(name, entry, missed)):
                    own = bool(missed)
                    told = level.streams
                    self._remember(key, name, entry, asked, fence, options, loader, version, told=told, own=own)
                return self._served(entry.value, entry.absent)
            if entry is not None:
                if stale is None or entry.life > stale.life:
                    stale = entry
                told, confirmed = level.streams and entry.version == stale.version, asked
            if lease is None and number + 1 < len(self.below) and level.tier.shared:
                lease = yield from self._lease(level, name, options)
            missed.append(Lent(level, lease, reading.epoch))
        if loader is None:
            return MISSING
        kept = None
        if stale is not None and stale.keep > 0 and options.keep > 0:
            kept = Kept(stale, fence, told, confirmed)
            if self.throttled and self._is_throttled(name, stale):
                self.stale_served += 1
                return self._served(stale.value, stale.absent)
        return (yield from self._loaded(key, name, options, loader, kept))

    def _lease(self, level: Level, name: str, options: Options) -> Generator[Effect, Any, Fence]:
        doubts = self.pending.doubts(level, (name,))
        try:
            reading = yield Ask(level, "lease", (name,))
        except TierError:
            return None
        if options.lock_timeout:
            self._taken(level, name, reading.found[0])
        return believed(doubts, name, reading.found[0])[1]

    def _promote(self, name: str, entry: Entry, missed: Sequence[Lent]) -> Generator[Effect, Any, bool]:
        """Store what a lower level had in the levels above it; whether none refused."""
        for lent in reversed(missed):
            if (yield from self._fill(lent, name, entry)) is False:
                return False
        return True

    def _fill(self, lent: Lent, name: str, entry: Entry) -> Generator[Effect, Any, bool | None]:
        """Store an entry where a level has lent a fence for it; whether it did, None if it failed or has lent none.

        Nobody tells of what this process has stored itself: where memory does not get the same, it must have nothing.
        """
        level, fence, epoch = lent
        if fence is None:
            return None
        self.own.set(name, entry.version)
        try:
            (accepted,) = yield Ask(level, "fill", [(name, entry.as_of(epoch), fence)])
        except (TierError, CodecError):
            return None
        except BaseException:
            self._forget((name,))
            raise
        level.fills += 1
        if not accepted:
            level.fills_refused += 1
            self._forget((name,))
        return bool(accepted)

    def _awaken(self, key: Any, name: str, record: Record, options: Options, loader: Any, now: float) -> Flow:
        """Find out why a record that is fine is not served as it is: is it time to refresh, or was it in doubt."""
        idle = not record.absent and not record.refreshing and loader is not None and record.deadline < math.inf
        if idle and options.early and self._refresh_at(record, options) <= now:
            yield from self._refresh(key, name, record, options, loader)
        self._arm(record, options, loader)

    def _refresh(self, key: Any, name: str, record: Record, options: Options, loader: Any) -> Flow:
        """Have a newer value loaded in the background, once."""
        if record.refreshing:
            return
        flight, leads = self.flights.join(name)
        if not leads:
            return
        record.refreshing = True
        self.refreshes += 1
        now = time.monotonic()
        kept = None
        if record.deadline <= now and self.memory is not None:
            kept = Kept(entry_of(record, now), self.memory.fence(name), not record.loose, record.confirmed)
        scope = flight.scope(apart=True)

        def ended() -> None:
            record.refreshing = False
            scope.give_up()

        yield Spawn(self._load(key, name, options, loader, flight, record.version, kept, scope=scope), ended)

    def _loaded(
        self, key: Any, name: str, options: Options, loader: Any, kept: Kept | None, *, first: bool = False
    ) -> Generator[Effect, Any, Any]:
        """The value by one load a key, or what is kept if that fails or takes too long.

        With `first` nobody has looked at the levels below yet.
        """
        timeout = options.hard_timeout if kept is None or options.soft_timeout is None else options.soft_timeout
        flight, leads = self.flights.join(name)
        try:
            entry = LEAD if leads else (yield Wait(flight, timeout))
            while entry is LEAD:
                flow = functools.partial(self._load, key, name, options, loader, flight, kept=kept, first=first)
                entry = yield Run(flow, flight, timeout)
        except TimeoutError as error:
            late = not flight.done  # else it is the loader's own
            if kept is None and late:
                raise LoadTimeout(f"the load of key {key!r} took longer than {timeout:g} s; it goes on") from error
            if kept is None:
                raise
        except Exception:
            late = False
            if kept is None:
                raise
        else:
            return self._served(entry.value, entry.absent)
        if not late:
            self._throttle(name, kept, options)
        self.stale_served += 1
        return self._served(kept.entry.value, kept.entry.absent)

    def _load(
        self,
        key: Any,
        name: str,
        options: Options,
        loader: Any,
        flight: Flight[Entry],
        known: bytes | None = None,
        kept: Kept | None = None,
        *,
        scope: Scope,
        first: bool = False,
    ) -> Generator[Effect, Any, Entry]:
        """Lead a flight to its end. A refresh wants a newer version than `known`; `kept` is there if it fails."""
        with scope:
            memory = self._memory()
            fence = memory.fence(name) if memory is not None else None
            # Another load may have ended between the caller's look and this flight.
            entry = self._present(key) if known is None and memory is not None else None
            asked = time.monotonic()
            fences: list[Lent] = []
            older: list[Level] = []  # have something that was
            for level in self.below if entry is None else ():
                doubts = self.pending.doubts(level, (name,)) if self.pending.busy else None
                try:
                    reading = yield Ask(level, "lease", (name,))
                    if first:
                        level.note(reading)
                    there, lease, _ = reading.found[0]
                    if doubts is not None:
                        there, lease = believed(doubts, name, reading.found[0])
                    if options.lock_timeout and self._taken(level, name, reading.found[0]) and there is None:
                        there, lease, reading = yield from self._awaited(level, name, options, reading)
                except TierError:
                    continue
                if there is not None and there.life > 0 and there.version != known:
                    entry = there
                    if (yield from self._promote(name, entry, fences)):
                        own = bool(fences)
                        self._remember(key, name, entry, asked, fence, options, loader, told=level.streams, own=own)
                    break
                if there is not None:
                    older.append(level)
                fences.append(Lent(level, lease, reading.epoch))
            if entry is None:
                try:
                    entry = yield from self._load_and_fill(key, name, options, loader, flight, fence, fences, older)
                except Exception:
                    if kept is not None:
                        self._throttle(name, kept, options)  # nobody else does if it fails in the background
                    raise
            flight.succeed(entry)
        return entry

    def _present(self, key: Any) -> Entry | None:
        """What memory has of a key, if it can be served."""
        record = cast("MemoryTier", self.memory).store.peek(key)
        if record is None:
            return None
        now = time.monotonic()
        return entry_of(record, now) if record.deadline > now and self._trusted(record, now) else None

    def _load_and_fill(
        self,
        key: Any,
        name: str,
        options: Options,
        loader: Any,
        flight: Flight[Entry],
        fence: Fence,
        fences: Sequence[Lent],
        older: Sequence[Level],
    ) -> Generator[Effect, Any, Entry]:
        """Ask the origin, and store what it says in the levels that have lent fences, and in memory."""
        started = time.monotonic()
        self.loads += 1
        unsaved = None if self.behind is None else self.behind.find(name)
        try:
            value = (yield Load(loader, key)) if unsaved is None else unsaved.loaded()
        except BaseException:
            self.load_failures += 1
            raise
        cost = time.monotonic() - started
        self.load_latencies.record(cost)
        entry = self.entry_of(value, options, cost, fences[-1].epoch if fences else 0)
        if flight.fenced:
            return entry
        if entry.life <= 0:
            yield from self._bury([name], older)
            return entry
        told = False
        for lent in reversed(fences):
            stored = yield from self._fill(lent, name, entry)
            if stored is False:
                return entry
            told |= bool(stored) and lent.level.streams
        if not flight.fenced:
            made = started + cost
            self._remember(key, name, entry, started, fence, options, loader, told=told, own=True, made=made)
        return entry

    def _bury(self, names: Sequence[str], levels: Sequence[Level]) -> Flow:
        """Drop what is not to be kept any more, as the origin says: else it would be served when that fails."""
        for level in reversed(levels):
            try:
                yield Ask(level, "remove", names)
            except TierError:
                self.pending.removes(level, names)
        self._forget(names)

    def _awaited(
        self, level: Level, name: str, options: Options, reading: Reading
    ) -> Generator[Effect, Any, tuple[Entry | None, Fence, Reading]]:
        """What another process loads, if it is there in time; and the last look, with what to fill the level by."""
        end = time.monotonic() + options.lock_timeout
        entry = None
        lease = reading.found[0].fence
        # What was invalidated meanwhile nobody loads any more: then the lease is this caller's.
        while entry is None and reading.found[0].taken and time.monotonic() < end:
            yield Sleep(POLL)
            doubts = self.pending.doubts(level, (name,))
            reading = yield Ask(level, "lease", (name,))
            entry, lease = believed(doubts, name, reading.found[0])
        return entry, lease, reading
