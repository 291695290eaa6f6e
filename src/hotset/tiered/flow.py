"""The logic of the tiered cache as flows: generators that yield effects (see effects), for threads and loops alike.

The order of steps is what keeps the levels coherent:

- A read takes the fence of its name in memory before it asks the levels below, and a lease where a shared level has
  nothing before it asks further down. What it finds is stored, from the bottom up, only where the fence holds, and no
  further up than the first level that refuses.
- A write or removal first detaches the load that is under way and breaks the fences in memory, then changes the levels
  from the bottom up, then breaks the fences in memory again: a reader that came in between had read a level that was
  not changed yet.
- What a shared level could not be told is pending: until it has been, that level is not believed about that name.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import operator
import os
import random
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from hotset._engine import Fresh, LRUCache
from hotset.errors import CodecError, LoadTimeout, TierError
from hotset.names import is_name, key_of, name_of, names_of
from hotset.tiered.effects import Ask, Load, LoadEach, Run, Sleep, Spawn, Wait
from hotset.tiered.flights import LEAD, Flights, Scopes
from hotset.tiered.latency import Latencies
from hotset.tiered.stats import Explanation, LevelView
from hotset.tiers.contract import CLEAR, Entry
from hotset.versions import new_version

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from hotset.tiered.effects import Effect, Flow
    from hotset.tiered.flights import Flight, Scope
    from hotset.tiered.level import Level
    from hotset.tiered.options import Options
    from hotset.tiered.pending import Doubts, Pending
    from hotset.tiers.contract import Fence, Found, Opened, Reading
    from hotset.tiers.memory import Fences, MemoryTier, Record

__all__ = ["ABSENT", "MISSING", "Loaded", "Logic", "one_by"]

_UNLIKELY: Final = 0.5  # the share of readings in vain from which on the first look at a level is its load's
_POLL: Final = 0.01  # seconds between two looks whether another process has loaded
_OWN_WRITES: Final = 10_000  # names whose last version written here is remembered
_OWN_SECONDS: Final = 30.0


class _Sentinel:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name


ABSENT: Final[Any] = _Sentinel("ABSENT")  # what a loader returns to say that the origin has no such thing
MISSING: Final[Any] = _Sentinel("MISSING")  # no value was found


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a loader may return in place of a value, to say more about it than that."""

    value: Any
    ttl: float | None = None  # seconds; None for what the cache or the call says
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", checked_tags(self.tags))
        if self.ttl is not None and (isinstance(self.ttl, bool) or not isinstance(self.ttl, (int, float))):
            raise TypeError(f"ttl must be seconds or None, got {self.ttl!r}")


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags as a tuple. Raises TypeError, ValueError for what cannot be one."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise TypeError(f"tags must be a sequence of str, got {tags!r}")
    tags = tuple(tags)
    for tag in tags:
        if type(tag) is not str or not tag or tag == CLEAR:
            raise ValueError(f"a tag must be a str that is not empty and not {CLEAR!r}, got {tag!r}")
    return tags


def one_by(load_many: Any) -> Any:
    """A loader of one key by a loader of many."""

    def load(key: Any) -> Any:
        found = load_many([key])
        return _apicked(found, key) if inspect.isawaitable(found) else _picked(found, key)

    return load


def _picked(found: Any, key: Any) -> Any:
    """Return what a loader of many has found of one key."""
    if not isinstance(found, Mapping):
        raise TypeError(f"load_many must return a dict of the keys that there are, got {found!r}")
    return found.get(key, ABSENT)


async def _apicked(found: Any, key: Any) -> Any:
    return _picked(await found, key)


def _believed(doubts: Doubts | None, name: str, found: Found) -> tuple[Entry | None, Fence]:
    """What was read, unless the level had not been told yet of what was done to the name."""
    if doubts is not None and doubts.concern(name, found.entry):
        return None, None
    return found.entry, found.fence


class _Lent(NamedTuple):
    """What a level that has nothing may be filled by: its fence, if it gave one, and its epoch of before."""

    level: Level
    fence: Fence
    epoch: int


class _Loaders(NamedTuple):
    """What loads several keys."""

    of: Callable[[Any], Any]  # the loader of one key
    rest: Any  # the loader of those that `many` can load, too
    many: Any

    def together(self, key: Any) -> bool:
        """Whether a key is one of those that are loaded at once."""
        return self.many is not None and self.of(key) is self.rest

    def call(self, key: Any) -> Any:
        """Load one key."""
        return self.of(key)(key)


class _Kept(NamedTuple):
    """What may be served in place of a load that fails or takes too long, and what memory may keep it by meanwhile."""

    entry: Entry
    fence: Fence
    told: bool  # a level has it that tells of changes
    confirmed: float  # when that was so


class Logic:
    """One cache's levels and the flows over them. Knows no thread and no loop."""

    def __init__(
        self,
        name: str,
        memory: Level | None,
        below: list[Level],
        pending: Pending,
        options: Options,
        guard: Fresh,
        writer: str = "",
    ) -> None:
        self.name = name
        self.memory_level = memory
        self.memory: MemoryTier | None = cast("MemoryTier", memory.tier) if memory is not None else None
        self.below = below
        self.pending = pending
        self.options = options
        self.guard = guard
        self.writer = writer or f"{socket.gethostname()}:{os.getpid()}"
        self.guarded = any(level.tier.shared for level in below)
        streams = [getattr(level.tier, "streams", False) for level in below if level.tier.shared]
        self.streamed = any(streams)
        self.polled = not all(streams)  # some level tells nothing: memory is confirmed by looking again
        # Records confirmed before this moment may have missed changes while the stream was cut.
        self.since = math.inf if self.guarded else -math.inf
        self.flights: Flights[Entry] = Flights()
        self.own: LRUCache[str, bytes] = LRUCache(_OWN_WRITES, ttl=_OWN_SECONDS)
        self.departed: LRUCache[str, str] = LRUCache(1024)  # why names went lately, for `explain`
        self.load_latencies = Latencies()
        self.slow_reads = 0  # names looked up in memory by Python
        self.not_fresh = 0  # of the engine's hits: could not be served as they were
        self.loads = self.load_failures = self.stale_served = self.negative_served = self.refreshes = 0

    # ---- reading ----

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
                    stale = record.entry(now)
                    self.not_fresh += 1
                elif record.gone > now:
                    self.not_fresh += 1
                    stale = record.entry(now)
                    told, confirmed = not record.loose, record.confirmed
                    revalidated = loader is not None and stale.life > -options.stale_while_revalidate
                    if revalidated and self._trusted(record, now):
                        yield from self._refresh(key, name, record, options, loader)
                        self.stale_served += 1
                        return self._served(record.value, record.absent)
        if loader is not None and stale is None and not options.keep and self._unlikely():
            return (yield from self._loaded(key, name, options, loader, None, first=True))
        asked = time.monotonic()
        missed: list[_Lent] = []
        for number, level in enumerate(self.below):
            doubts = self.pending.doubts(level, (name,))
            try:
                reading = yield Ask(level, "read", (name,))
            except TierError:
                continue
            level.note(reading)
            entry, lease = _believed(doubts, name, reading.found[0])
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
                lease = yield from self._lease(level, name)
            missed.append(_Lent(level, lease, reading.epoch))
        if loader is None:
            return MISSING
        kept = None
        if stale is not None and stale.keep > 0 and options.keep > 0:
            kept = _Kept(stale, fence, told, confirmed)
        return (yield from self._loaded(key, name, options, loader, kept))

    def _unlikely(self) -> bool:
        """Whether the levels below mostly have nothing: then the load, which looks there too, may as well begin."""
        return min([level.missing for level in self.below], default=1.0) > _UNLIKELY

    def _memory(self) -> MemoryTier | None:
        """Memory, unless it is switched off."""
        return self.memory if self.memory_level is not None and self.memory_level.on else None

    def _served(self, value: Any, absent: bool) -> Any:  # noqa: FBT001
        if absent:
            self.negative_served += 1
            return ABSENT
        return value

    def _trusted(self, record: Record, now: float) -> bool:
        """Whether a record may be served without looking whether a shared level has another one by now."""
        if not self.guarded:
            return True
        if not self.polled and not record.loose and self.guard.until > now and record.confirmed >= self.since:
            return True
        return record.confirmed + self.options.max_staleness > now

    def _lease(self, level: Level, name: str) -> Generator[Effect, Any, Fence]:
        doubts = self.pending.doubts(level, (name,))
        try:
            reading = yield Ask(level, "lease", (name,))
        except TierError:
            return None
        return _believed(doubts, name, reading.found[0])[1]

    def _promote(self, name: str, entry: Entry, missed: Sequence[_Lent]) -> Generator[Effect, Any, bool]:
        """Store what a lower level had in the levels above it; whether none refused."""
        for lent in reversed(missed):
            if (yield from self._fill(lent, name, entry)) is False:
                return False
        return True

    def _fill(self, lent: _Lent, name: str, entry: Entry) -> Generator[Effect, Any, bool | None]:
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

    def _remember(
        self,
        key: Any,
        name: str,
        entry: Entry,
        asked: float,
        fence: Fence,
        options: Options,
        loader: Any,
        version: bytes | None = None,
        *,
        told: bool,
        own: bool = False,
        made: float | None = None,
    ) -> None:
        """Store in memory what was found below, if its fence holds; `version` is what memory has, if anything.

        If no level that tells of changes has the entry (`told`), nobody will tell when another process invalidates it.
        `own` and `made` are for MemoryTier.put: levels were given the entry by this flow, as of then.
        """
        if self.memory is None or fence is None:
            return
        if version is not None and version == entry.version:
            record = self.memory.store.peek(key)
            if record is not None and record.version == version:
                record.confirmed = max(record.confirmed, asked)
                self._arm(record, options, loader)
                return
        record = self.memory.put(name, entry, asked, fence, own=own, made=made)
        if record is not None:
            if self.departed:
                self.departed.pop(name, None)
            record.loose = self.streamed and not told
            self._arm(record, options, loader)

    def _remember_many(
        self,
        keys: dict[str, Any],
        reading: Reading,
        asked: float,
        fences: Fences,
        options: Options,
        loader_of: Callable[[Any], Any],
        *,
        told: bool,
    ) -> None:
        """Do what _remember does, for a reading of which all has been opened."""
        memory = cast("MemoryTier", self.memory)
        since = self.since
        loose = self.streamed and not told
        until = asked + self.options.max_staleness if self.polled or loose or asked < since else math.inf
        # With either of these, each record has a moment of its own.
        alike = options.refresh_ahead is None and options.xfetch is None
        opened = cast("Opened", reading.opened)
        # What is not its own name may be of a class of its own.
        plain = keys.values() if all(map(operator.is_, keys, keys.values())) else map(key_of, keys)
        if alike and memory.put_opened(plain, opened, asked, fences, until=until, loose=loose):
            if self.since != since:
                memory.doubt()
            for name in keys if self.departed else ():
                self.departed.pop(name, None)
            return
        for (name, key), found in zip(keys.items(), reading.found, strict=True):
            entry = cast("Entry", found.entry)
            self._remember(key, name, entry, asked, fences[name], options, loader_of(key), told=told)

    def _arm(self, record: Record, options: Options, loader: Any) -> None:
        """Set the moment until which a record is served without Python."""
        if record.absent:
            return
        until = record.deadline
        early = options.refresh_ahead is not None or options.xfetch is not None
        if early and loader is not None and until < math.inf and not record.refreshing:
            until = self._refresh_at(record, options)
        if self.polled or record.loose or record.confirmed < self.since:
            until = min(until, record.confirmed + self.options.max_staleness)
        record.until = until
        if record.confirmed < self.since and record.until > record.confirmed + self.options.max_staleness:
            record.until = -math.inf  # changes may have been missed since the first look at `since`

    def _refresh_at(self, record: Record, options: Options) -> float:
        at = record.deadline
        if options.refresh_ahead is not None:
            at -= (1.0 - options.refresh_ahead) * (record.deadline - record.born)
        if options.xfetch is not None and record.cost:
            # XFetch draws at each read; drawn once for an entry and process, as here, the reads stay free.
            early = record.cost * options.xfetch * random.expovariate(1.0)
            at = min(at, record.deadline - early)
        return at

    def _awaken(self, key: Any, name: str, record: Record, options: Options, loader: Any, now: float) -> Flow:
        """Find out why a record that is fine is not served as it is: is it time to refresh, or was it in doubt."""
        if not record.absent and not record.refreshing and loader is not None and record.deadline < math.inf:
            wants = options.refresh_ahead is not None or options.xfetch is not None
            if wants and self._refresh_at(record, options) <= now:
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
            kept = _Kept(record.entry(now), self.memory.fence(name), not record.loose, record.confirmed)
        scope = flight.scope(apart=True)

        def ended() -> None:
            record.refreshing = False
            scope.give_up()

        yield Spawn(self._load(key, name, options, loader, flight, record.version, kept, scope=scope), ended)

    # ---- loading ----

    def _loaded(
        self, key: Any, name: str, options: Options, loader: Any, kept: _Kept | None, *, first: bool = False
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

    def _throttle(self, name: str, kept: _Kept, options: Options) -> None:
        """Serve what is kept for a while before the origin is asked again, unless it was invalidated meanwhile."""
        if self.memory is None or kept.fence is None:
            return
        life = min(options.fail_safe_throttle, kept.entry.keep)
        # What nobody tells of is not served for long in any case.
        now = time.monotonic()
        confirmed = kept.confirmed if kept.told else now
        record = self.memory.put(name, replace(kept.entry, life=life), confirmed, kept.fence, made=now)
        if record is not None:
            record.loose = self.streamed and not kept.told
            self._arm(record, options, None)

    def _load(
        self,
        key: Any,
        name: str,
        options: Options,
        loader: Any,
        flight: Flight[Entry],
        known: bytes | None = None,
        kept: _Kept | None = None,
        *,
        scope: Scope,
        first: bool = False,
    ) -> Generator[Effect, Any, Entry]:
        """Lead a flight to its end. A refresh wants a newer version than `known`; `kept` is there if it fails."""
        with scope:
            try:
                entry = yield from self._load_and_fill(key, name, options, loader, flight, known, first=first)
            except Exception:
                if kept is not None:
                    self._throttle(name, kept, options)  # nobody else does if it fails in the background
                raise
            flight.succeed(entry)
        return entry

    def _load_and_fill(
        self,
        key: Any,
        name: str,
        options: Options,
        loader: Any,
        flight: Flight[Entry],
        known: bytes | None,
        *,
        first: bool,
    ) -> Generator[Effect, Any, Entry]:
        memory = self._memory()
        fence = memory.fence(name) if memory is not None else None
        if known is None and memory is not None:
            # Another load may have ended between the caller's look and this flight.
            record = memory.store.peek(key)
            now = time.monotonic()
            if record is not None and record.deadline > now and self._trusted(record, now):
                return record.entry(now)
        asked = time.monotonic()
        fences: list[_Lent] = []
        older: list[Level] = []  # have something that was
        for level in self.below:
            doubts = self.pending.doubts(level, (name,))
            try:
                reading = yield Ask(level, "lease", (name,))
                if first:
                    level.note(reading)
                entry, lease = _believed(doubts, name, reading.found[0])
                if options.lock_timeout and entry is None and reading.found[0].taken:
                    entry, lease, reading = yield from self._awaited(level, name, options, reading)
            except TierError:
                continue
            if entry is not None and entry.life > 0 and entry.version != known:
                if (yield from self._promote(name, entry, fences)):
                    own = bool(fences)
                    self._remember(key, name, entry, asked, fence, options, loader, told=level.streams, own=own)
                return entry
            if entry is not None:
                older.append(level)
            fences.append(_Lent(level, lease, reading.epoch))
        started = time.monotonic()
        self.loads += 1
        try:
            value = yield Load(loader, key)
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
            yield Sleep(_POLL)
            doubts = self.pending.doubts(level, (name,))
            reading = yield Ask(level, "lease", (name,))
            entry, lease = _believed(doubts, name, reading.found[0])
        return entry, lease, reading

    def entry_of(
        self, value: Any, options: Options, cost: float = 0.0, epoch: int = 0, tags: tuple[str, ...] = ()
    ) -> Entry:
        """An entry of something loaded or written just now, with its times."""
        ttl = options.ttl
        if isinstance(value, Loaded):
            ttl = options.ttl if value.ttl is None else value.ttl
            tags = (*tags, *value.tags)
            value = value.value
        absent = value is ABSENT
        if absent:
            value, ttl = None, options.negative_ttl
        life = ttl * (1.0 - options.jitter * random.random())  # noqa: S311 - spreads expiry, guards nothing
        keep = life if absent else life + options.kept
        return Entry(value, new_version(), life, keep, 0.0, cost, absent, tags, epoch, self.writer)

    # ---- many ----

    def get_many(
        self, keys: Iterable[Any], options: Options, loader: Any, load_many: Any, loader_of: Any = None
    ) -> Generator[Effect, Any, dict[Any, Any]]:
        """The values of keys, those that are absent or missing left out: one round trip a level, one bulk load.

        With `loader_of(key)` some keys have other loaders, or none; `load_many` is for those that have `loader`.
        """
        if loader is None and load_many is not None:
            loader = one_by(load_many)
        if loader_of is None:

            def loader_of(_key: Any) -> Any:
                return loader

        values: dict[Any, Any] = {}
        left = dict(zip(names_of(keys), keys, strict=True))
        stale: dict[str, Entry] = {}
        now = time.monotonic()
        memory = self._memory()
        fences: Fences | None = None
        if memory is not None:
            fences = memory.fences()
            self.slow_reads += len(left)
            for key, record in memory.store.get_many(left.values()).items():
                name = name_of(key)
                if record.deadline > now and self._trusted(record, now):
                    if record.until <= now:
                        yield from self._awaken(key, name, record, options, loader_of(key), now)
                    if self._served(record.value, record.absent) is not ABSENT:
                        values[key] = record.value
                    del left[name]
                    continue
                self.not_fresh += 1
                if record.deadline <= now < record.gone:
                    stale[name] = record.entry(now)
        asked = time.monotonic()
        missed: list[tuple[Level, dict[str, Fence], int]] = []
        for number, level in enumerate(self.below):
            if not left:
                break
            names = list(left)
            doubts = self.pending.doubts(level, names)
            try:
                reading = yield Ask(level, "read", names)
            except TierError:
                continue
            level.note(reading)
            if reading.opened is not None and doubts is None and not missed:
                values.update(zip(left.values(), reading.opened.values, strict=True))
                if fences is not None:
                    self._remember_many(left, reading, asked, fences, options, loader_of, told=level.streams)
                left = {}
                break
            leases: dict[str, Fence] = {}
            for found, name in zip(reading.found, names, strict=True):
                entry, lease = _believed(doubts, name, found)
                if entry is not None and entry.life > 0:
                    key = left.pop(name)
                    if self._served(entry.value, entry.absent) is not ABSENT:
                        values[key] = entry.value
                    above = [_Lent(higher, lent.get(name), epoch) for higher, lent, epoch in missed]
                    if (yield from self._promote(name, entry, above)):
                        fence = fences[name] if fences is not None else None
                        by, told = loader_of(key), level.streams
                        self._remember(key, name, entry, asked, fence, options, by, told=told, own=bool(above))
                elif entry is not None:
                    stale.setdefault(name, entry)
                leases[name] = lease
            missing = [name for name in left if leases.get(name) is None]
            if missing and number + 1 < len(self.below) and level.tier.shared:
                doubts = self.pending.doubts(level, missing)
                try:
                    leased = yield Ask(level, "lease", missing)
                except TierError:
                    pass
                else:
                    for found, name in zip(leased.found, missing, strict=True):
                        leases[name] = _believed(doubts, name, found)[1]
            missed.append((level, leases, reading.epoch))
        left = {name: key for name, key in left.items() if loader_of(key) is not None}
        if left:
            loaders = _Loaders(loader_of, loader, load_many)
            yield from self._load_rest(left, options, loaders, stale, fences, values)
        return values

    def _load_rest(
        self,
        left: dict[str, Any],
        options: Options,
        loaders: _Loaders,
        stale: dict[str, Entry],
        fences: Fences | None,
        values: dict[Any, Any],
    ) -> Flow:
        """Load what no level had; keys whose load is under way elsewhere are waited for."""
        led: dict[str, Flight[Entry]] = {}
        awaited: dict[str, Flight[Entry]] = {}
        for name in left:
            flight, leads = self.flights.join(name)
            (led if leads else awaited)[name] = flight
        failure: Exception | None = None
        stale = {name: entry for name, entry in stale.items() if entry.keep > 0 and options.keep > 0}
        patience = dict.fromkeys(left, options.hard_timeout)
        if options.soft_timeout is not None:
            patience.update(dict.fromkeys(left.keys() & stale.keys(), options.soft_timeout))
        begun = time.monotonic()
        if led:
            bounded = any(patience[name] is not None for name in led)
            scopes = Scopes(led.values(), apart=bounded)
            loading = self._load_led({name: left[name] for name in led}, options, loaders, led, scopes)
            try:
                if bounded:
                    yield Spawn(loading, scopes.give_up)
                else:
                    yield from loading
            except Exception as error:  # noqa: BLE001 - each key is looked at below
                failure = error
        for name, flight in (led | awaited).items():
            limit = patience[name]
            timeout = None if limit is None else max(0.0, begun + limit - time.monotonic())
            try:
                entry = yield Wait(flight, timeout)
                while entry is LEAD:
                    flow = functools.partial(self._load, left[name], name, options, loaders.of(left[name]), flight)
                    entry = yield Run(flow, flight, timeout)
            except Exception as error:
                late = isinstance(error, TimeoutError) and not flight.done
                kept = stale.get(name)
                if kept is None and late:
                    message = f"the load of key {left[name]!r} took longer than {limit:g} s; it goes on"
                    raise LoadTimeout(message) from error
                if kept is None:
                    raise failure or error from None
                if not late:
                    fence = fences[name] if fences is not None else None
                    self._throttle(name, _Kept(kept, fence, told=False, confirmed=0.0), options)
                self.stale_served += 1
                entry = kept
            if self._served(entry.value, entry.absent) is not ABSENT:
                values[left[name]] = entry.value

    def _load_led(
        self,
        keys: dict[str, Any],
        options: Options,
        loaders: _Loaders,
        flights: dict[str, Flight[Entry]],
        scopes: Scopes,
    ) -> Flow:
        memory = self._memory()
        fences = {name: memory.fence(name) for name in keys} if memory is not None else {}
        with scopes:
            names = list(keys)
            older: dict[Level, set[str]] = {}
            lent: list[tuple[Level, dict[str, Fence], int]] = []
            asked = time.monotonic()
            for level in self.below:
                doubts = self.pending.doubts(level, names)
                try:
                    reading = yield Ask(level, "lease", names)
                except TierError:
                    continue
                leases = {}
                for name, found in zip(names, reading.found, strict=True):
                    entry, leases[name] = _believed(doubts, name, found)
                    if entry is not None and entry.life > 0:
                        told = level.streams
                        fence, by = fences.get(name), loaders.of(keys[name])
                        self._remember(keys[name], name, entry, asked, fence, options, by, told=told)
                        flights[name].succeed(entry)
                    elif entry is not None:
                        older.setdefault(level, set()).add(name)
                lent.append((level, leases, reading.epoch))
            names = [name for name in names if not flights[name].done]
            if not names:
                return
            started = time.monotonic()
            self.loads += len(names)
            results: dict[str, Any] = {}
            together = [name for name in names if loaders.together(keys[name])]
            apart = [name for name in names if not loaders.together(keys[name])]
            if together:
                try:
                    found_values = yield Load(loaders.many, [keys[name] for name in together])
                    results = {name: _picked(found_values, keys[name]) for name in together}
                except BaseException:
                    self.load_failures += len(together)
                    raise
            if apart:
                first = loaders.of(keys[apart[0]])
                call = first if all(loaders.of(keys[name]) is first for name in apart) else loaders.call
                each = yield LoadEach(call, [keys[name] for name in apart])
                results.update(zip(apart, each, strict=True))
            cost = time.monotonic() - started
            self.load_latencies.record(cost)
            entries: dict[str, Entry] = {}
            for name, result in results.items():
                if isinstance(result, Exception):
                    self.load_failures += 1
                    flights[name].fail(result)
                elif not isinstance(result, BaseException):  # cancelled: it is led by somebody else then
                    entries[name] = self.entry_of(result, options, cost)
            gone = [name for name, entry in entries.items() if entry.life <= 0 and not flights[name].fenced]
            if gone:
                for level, kept in older.items():
                    there = [name for name in gone if name in kept]
                    if there:
                        yield from self._bury(there, [level])
                self._forget(gone)
            heard = yield from self._fill_many(entries, lent, flights)
            alive = [name for name, entry in entries.items() if entry.life > 0 and not flights[name].fenced]
            if memory is not None:
                items = [(name, entries[name], fences[name]) for name in alive]
                records = memory.put_many(items, started, own=True, made=started + cost)
                for name, record in zip(alive, records, strict=True):
                    if record is not None:
                        record.loose = self.streamed and name not in heard
                        self._arm(record, options, loaders.of(keys[name]))
            for name, entry in entries.items():
                flights[name].succeed(entry)

    def _fill_many(
        self,
        entries: dict[str, Entry],
        lent: list[tuple[Level, dict[str, Fence], int]],
        flights: dict[str, Flight[Entry]],
    ) -> Generator[Effect, Any, set[str]]:
        """Fill all levels from the bottom up; what one refuses goes no further, and is fenced.

        Returns the names that a level has which tells of changes.
        """
        heard: set[str] = set()
        wanted = {name: entry for name, entry in entries.items() if entry.life > 0 and not flights[name].fenced}
        for level, leases, epoch in reversed(lent):
            held = [(name, entry, leases.get(name)) for name, entry in wanted.items()]
            items = [(name, entry.as_of(epoch), lease) for name, entry, lease in held if lease is not None]
            if not items:
                continue
            for name, entry, _ in items:
                self.own.set(name, entry.version)
            try:
                accepted = yield Ask(level, "fill", items)
            except (TierError, CodecError):
                continue
            except BaseException:
                self._forget(wanted)  # see _fill
                raise
            level.fills += len(items)
            for (name, _, _), stored in zip(items, accepted, strict=True):
                if not stored:
                    level.fills_refused += 1
                    del wanted[name]
                    flights[name].fenced = True
                    self._forget((name,))
                elif level.streams:
                    heard.add(name)
        return heard

    # ---- writing ----

    def write(self, items: dict[Any, Any], options: Options, tags: tuple[str, ...], save: Any) -> Flow:
        """Store values: at the origin, if there is a `save`, then in all levels."""
        named = {name_of(key): (key, value) for key, value in items.items()}
        memory = self._memory()
        # Of two changes at once, here or in another process, nobody knows which is the later at the levels below, or
        # at the origin: then memory gets nothing.
        fences = memory.claim(named) if memory is not None else {}
        refusal: Exception | None = None
        if save is not None:
            for count, (key, value) in enumerate(list(named.values())):
                try:
                    yield Load(save, key, value)
                except Exception as error:
                    if not count:
                        raise
                    # What was saved before is the origin's value now.
                    named = dict(itertools.islice(named.items(), count))
                    refusal = error
                    break
        self._detach(named)
        asked = time.monotonic()
        entries = {name: self.entry_of(value, options, tags=tags) for name, (_, value) in named.items()}
        stored = [(name, entry) for name, entry in entries.items() if entry.life > 0]
        gone = [name for name, entry in entries.items() if entry.life <= 0]
        told = False
        left = list(reversed(self.below))
        try:
            while left:
                level = left[0]
                for name, entry in stored:
                    self.own.set(name, entry.version)
                try:
                    if stored:
                        yield Ask(level, "write", stored)
                    if gone:
                        yield Ask(level, "remove", gone)
                    level.writes += len(entries)
                    told |= level.streams
                except TierError:
                    self.pending.writes(level, stored)
                    self.pending.removes(level, gone)
                else:
                    self.pending.done(level, entries)
                left.pop(0)
        except BaseException:
            self._broken_off(named, left)
            raise
        self._detach(named)
        for name in named:
            self.departed.pop(name, None)
        self._forget(gone if memory is not None else named)
        if memory is not None:
            items_of_memory = [(name, entry, fences[name]) for name, entry in stored]
            for record in memory.put_many(items_of_memory, asked, own=True):
                if record is not None:
                    record.loose = self.streamed and not told
                    self._arm(record, options, None)
        if refusal is not None:
            raise refusal

    def _broken_off(self, names: Iterable[str], levels: Iterable[Level]) -> None:
        """A write or removal was cancelled, or its value cannot be encoded: nobody may believe in what there was."""
        names = list(names)
        self._detach(names)
        self._forget(names)
        for level in levels:
            self.pending.removes(level, names)

    def remove(self, keys: Iterable[Any], *, expire: bool = False, delete: Any = None) -> Flow:
        """Remove keys from all levels, or end their lives; from the origin first, if there is a `delete`."""
        keys = list(keys)
        if delete is not None:
            for key in keys:
                yield Load(delete, key)
        names = [name_of(key) for key in keys]
        self._detach(names, "expired by hand" if expire else "invalidated")
        self._forget(names, expire=expire)
        left = list(reversed(self.below))
        for name in names:
            self.own.set(name, b"")
        try:
            while left:
                level = left[0]
                try:
                    yield Ask(level, "remove", names, expire=expire)
                    level.writes += len(names)
                except TierError:
                    self.pending.removes(level, names)
                else:
                    self.pending.done(level, names)
                left.pop(0)
        except BaseException:
            self._broken_off(names, left)
            raise
        self._detach(names)
        self._forget(names, expire=expire)

    def invalidate(self, tags: Sequence[str]) -> Flow:
        """End the lives of all entries with one of these tags; CLEAR for all there are."""
        self._forget_tags(tags)
        left = list(reversed(self.below))
        try:
            while left:
                try:
                    yield Ask(left[0], "invalidate", tags)
                    left[0].writes += 1
                except TierError:
                    self.pending.invalidates(left[0], tags)
                left.pop(0)
        finally:  # also if it was cancelled
            for level in left:
                self.pending.invalidates(level, tags)
            self._forget_tags(tags)

    def touch(self, key: Any, options: Options) -> Generator[Effect, Any, bool]:
        """Give an entry a new time to live in all levels; whether any had it."""
        name = name_of(key)
        there = False
        for level in reversed(self.below):
            try:
                there |= yield Ask(level, "touch", name, options.ttl, options.ttl + options.kept)
            except TierError:
                continue
        if self.memory is not None:
            there |= self.memory.touch(name, options.ttl, options.ttl + options.kept)
        return there

    def _detach(self, names: Iterable[str], why: str = "") -> None:
        """Nobody may wait any more for a load that began before; and memory must not take what it brings."""
        for name in names:
            self.flights.fence(name)
            if why:
                self.departed[name] = why

    def _forget(self, names: Iterable[str], *, expire: bool = False) -> None:
        if self.memory is not None:
            self.memory.remove(names, expire=expire)

    def _forget_tags(self, tags: Sequence[str]) -> None:
        self.flights.fence_all()
        if self.memory is not None:
            self.memory.invalidate(tags)

    # ---- looking inside ----

    def explain(self, key: Any) -> Generator[Effect, Any, Explanation]:
        """Where a key stands in each level. No use of it."""
        name = name_of(key)
        views = []
        served_by = None
        now = time.monotonic()
        if self.memory is not None:
            level = cast("Level", self.memory_level)
            record = self.memory.store.peek(key)
            if not level.on:
                views.append(LevelView(level.name, "unavailable", "switched off"))
            elif record is None:
                why = self.departed.peek(name, "never stored here, or evicted")
                views.append(LevelView(level.name, "nothing", why))
            else:
                why = "" if self._trusted(record, now) else "not confirmed lately: a read asks the next level"
                views.append(self._view(level, record.entry(now), why))
        for level in self.below:
            doubts = self.pending.doubts(level, (name,))
            try:
                reading = yield Ask(level, "read", (name,))
            except TierError as error:
                views.append(LevelView(level.name, "unavailable", str(error)))
                continue
            entry = reading.found[0].entry
            if doubts is not None and doubts.concern(name, entry):
                why = "a change that this level has not been told of is pending"
                views.append(LevelView(level.name, "nothing", why))
            elif entry is None:
                reasons = ", ".join(reading.refused)
                gone = self.departed.peek(name, "never stored here, evicted or expired")
                why = f"refused: {reasons}" if reasons else gone
                views.append(LevelView(level.name, "nothing", why))
            else:
                views.append(self._view(level, entry, ""))
        for view in views:
            if view.state in {"fresh", "absent"} and not view.why.startswith("not confirmed"):
                served_by = view.level
                break
        return Explanation(key, name, served_by, tuple(views), self.flights.loading(name))

    def _view(self, level: Level, entry: Entry, why: str) -> LevelView:
        state = "stale" if entry.life <= 0 else "absent" if entry.absent else "fresh"
        return LevelView(
            level.name, state, why, entry.age, entry.life, entry.keep, entry.version.hex(), entry.writer, entry.tags
        )

    # ---- what other processes did ----

    def changed(self, names: Iterable[str]) -> None:
        """Others have changed these names: memory must ask again, and must not take what is on its way."""
        names = [name for name in names if is_name(name)]  # anybody may write anything at a shared level
        for name in names:
            # Whether a load began before the change or after it, the level knows by its lease; memory does not.
            self.flights.detach(name)
        if self.memory is not None:
            for name in names:
                if self.memory.has(name):  # else it went before, for a reason of its own
                    self.departed[name] = "changed by another process"
        self._forget(names)

    def told(self, tags: Iterable[str]) -> None:
        """Others have invalidated these tags."""
        self._forget_tags(list(tags))

    def clear_tags(self) -> tuple[str, ...]:
        """Return what `clear` invalidates."""
        return (CLEAR,)
