"""Reading many keys: one round trip a level, and one load for all that none of them has."""

from __future__ import annotations

import functools
import math
import operator
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from hotset._wire import values_by_key
from hotset.errors import CodecError, LoadTimeout, TierError
from hotset.names import key_of, name_of, named
from hotset.tiered.books import Kept, Lent, believed
from hotset.tiered.effects import Ask, Load, LoadEach, Run, Sleep, Spawn, Wait
from hotset.tiered.flights import LEAD, Scopes
from hotset.tiered.loads import POLL, Loads
from hotset.tiered.values import ABSENT, one_by, picked
from hotset.tiers.memory import entry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from hotset._engine import Record
    from hotset.tiered.effects import Effect, Flow
    from hotset.tiered.flights import Flight
    from hotset.tiered.level import Level
    from hotset.tiered.options import Options
    from hotset.tiers.contract import Entry, Fence, Opened, Reading
    from hotset.tiers.memory import Fences, MemoryTier

__all__ = ["Bulk"]


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


class _Aged(NamedTuple):
    """What is served after its life, while it is loaded anew."""

    kept: Kept
    record: Record


class Bulk(Loads):
    """The flows of a read of many."""

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
        left = named(keys)
        stale: dict[str, Entry] = {}
        aged: dict[str, _Aged] = {}  # served while they are loaded anew
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
                    old = entry_of(record, now)
                    revalidated = old.life > -options.stale_while_revalidate and loader_of(key) is not None
                    if revalidated and self._trusted(record, now):
                        aged[name] = _Aged(Kept(old, fences[name], not record.loose, record.confirmed), record)
                        if self._served(record.value, record.absent) is not ABSENT:
                            values[key] = record.value
                    else:
                        stale[name] = old
            if aged:
                self.stale_served += len(aged)
                renewed = {name: left.pop(name) for name in aged}
                yield from self._renew(renewed, aged, options, _Loaders(loader_of, loader, load_many))
        if self.behind is not None and self.behind.depth:
            for name, key in list(left.items()):
                unsaved = self.behind.find(name)
                if unsaved is not None:
                    fence = fences[name] if fences is not None else None
                    value = self._unsaved(key, name, unsaved, fence, options, loader_of(key))
                    if value is not ABSENT:
                        values[key] = value
                    del left[name]
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
                below = values_by_key(left, reading.opened.values)
                values = {**values, **below} if values else below
                if fences is not None:
                    self._remember_many(left, reading, asked, fences, options, loader_of, told=level.streams)
                left = {}
                break
            leases: dict[str, Fence] = {}
            for found, name in zip(reading.found, names, strict=True):
                entry, lease = believed(doubts, name, found)
                if entry is not None and entry.life > 0:
                    key = left.pop(name)
                    if self._served(entry.value, entry.absent) is not ABSENT:
                        values[key] = entry.value
                    above = [Lent(higher, lent.get(name), epoch) for higher, lent, epoch in missed]
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
                        leases[name] = believed(doubts, name, found)[1]
                        if options.lock_timeout:
                            self._taken(level, name, found)
            missed.append((level, leases, reading.epoch))
        left = {name: key for name, key in left.items() if loader_of(key) is not None}
        if left:
            loaders = _Loaders(loader_of, loader, load_many)
            yield from self._load_rest(left, options, loaders, stale, fences, values)
        return values

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
        # Else each record has a moment of its own.
        alike = not options.early
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

    def _renew(self, keys: dict[str, Any], aged: dict[str, _Aged], options: Options, loaders: _Loaders) -> Flow:
        """Have newer values loaded in the background, all at once."""
        led: dict[str, Flight[Entry]] = {}
        for name in keys:
            if not aged[name].record.refreshing and not self.flights.loading(name):
                flight, leads = self.flights.join(name)
                if leads:
                    led[name] = flight
        if not led:
            return
        records = [aged[name].record for name in led]
        for record in records:
            record.refreshing = True
        self.refreshes += len(led)
        scopes = Scopes(led.values(), apart=True)

        def ended() -> None:
            for record in records:
                record.refreshing = False
            scopes.give_up()

        kept = {name: aged[name].kept for name in led}
        yield Spawn(self._load_anew({name: keys[name] for name in led}, kept, options, loaders, led, scopes), ended)

    def _load_anew(
        self,
        keys: dict[str, Any],
        kept: dict[str, Kept],
        options: Options,
        loaders: _Loaders,
        flights: dict[str, Flight[Entry]],
        scopes: Scopes,
    ) -> Flow:
        """Load, and go on serving what is kept where that fails."""
        try:
            yield from self._load_led(keys, options, loaders, flights, scopes)
        finally:
            for name, flight in flights.items():
                if flight.failed:
                    self._throttle(name, kept[name], options)

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
        stale = {name: entry for name, entry in stale.items() if entry.keep > 0 and options.keep > 0}
        if self.throttled:
            for name, entry in stale.items():
                if name in left and self._is_throttled(name, entry):
                    self.stale_served += 1
                    if self._served(entry.value, entry.absent) is not ABSENT:
                        values[left[name]] = entry.value
                    del left[name]
        led: dict[str, Flight[Entry]] = {}
        awaited: dict[str, Flight[Entry]] = {}
        for name in left:
            flight, leads = self.flights.join(name)
            (led if leads else awaited)[name] = flight
        failure: Exception | None = None
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
            except BaseException:
                scopes.give_up()  # an interrupt may have come just where they end
                raise
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
                    self._throttle(name, Kept(kept, fence, told=False, confirmed=0.0), options)
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
            for name, key in keys.items() if memory is not None else ():
                # Another load may have ended between the caller's look and this flight.
                entry = self._present(key)
                if entry is not None:
                    flights[name].succeed(entry)
            names = [name for name in keys if not flights[name].done]
            if not names:
                return
            older: dict[Level, set[str]] = {}
            lent: list[tuple[Level, dict[str, Fence], int]] = []
            taken: dict[Level, list[str]] = {}  # by another process
            asked = time.monotonic()
            for level in self.below:
                if not names:
                    break
                doubts = self.pending.doubts(level, names)
                try:
                    reading = yield Ask(level, "lease", names)
                except TierError:
                    continue
                leases = {}
                for name, found in zip(names, reading.found, strict=True):
                    entry, leases[name] = believed(doubts, name, found)
                    if entry is not None and entry.life > 0:
                        told = level.streams
                        fence, by = fences.get(name), loaders.of(keys[name])
                        self._remember(keys[name], name, entry, asked, fence, options, by, told=told)
                        flights[name].succeed(entry)
                    elif entry is not None:
                        older.setdefault(level, set()).add(name)
                    elif options.lock_timeout and self._taken(level, name, found):
                        taken.setdefault(level, []).append(name)
                lent.append((level, leases, reading.epoch))
                if level in taken:
                    names = [name for name in names if name not in set(taken[level])]
            names = [name for name in names if not flights[name].done]
            awaiting = self._load_taken(keys, taken, asked + options.lock_timeout, options, loaders, flights)
            if not names:
                yield from awaiting
                return
            started = time.monotonic()
            self.loads += len(names)
            results: dict[str, Any] = {}
            together = [name for name in names if loaders.together(keys[name])]
            apart = [name for name in names if not loaders.together(keys[name])]
            if together:
                try:
                    found_values = yield Load(loaders.many, [keys[name] for name in together])
                    results = {name: picked(found_values, keys[name]) for name in together}
                except BaseException as error:
                    if not taken or not isinstance(error, Exception):
                        self.load_failures += len(together)
                        raise
                    results = dict.fromkeys(together, error)  # what others load does not fail by it
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
            yield from awaiting

    def _load_taken(
        self,
        keys: dict[str, Any],
        taken: dict[Level, list[str]],
        end: float,
        options: Options,
        loaders: _Loaders,
        flights: dict[str, Flight[Entry]],
    ) -> Flow:
        """Take what other processes load as it comes; what is not there by `end`, and what nobody loads, load."""
        while taken:
            late = time.monotonic() >= end
            if not late:
                yield Sleep(POLL)
            ready: dict[str, Any] = {}
            for level, names in list(taken.items()):
                waiting: set[str] = set()
                try:
                    found = [] if late else (yield Ask(level, "lease", names)).found
                    waiting = {name for name, one in zip(names, found, strict=False) if one.taken}
                except TierError:
                    pass
                ready.update((name, keys[name]) for name in names if name not in waiting)
                taken[level] = [name for name in names if name in waiting]
                if not waiting:
                    del taken[level]
            if ready:
                scopes = Scopes(flights[name] for name in ready)
                yield from self._load_led(ready, replace(options, lock_timeout=0.0), loaders, flights, scopes)

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
