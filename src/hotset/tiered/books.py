"""What the flows of one cache share: its levels and counts, and the rules by which memory is believed and filled.

Nothing here waits. Memory is believed as long as the streams of changes are known to be alive, or for `max_staleness`;
it is filled where a fence holds that was taken before the levels below were asked.
"""

from __future__ import annotations

import math
import os
import random
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from hotset._engine import Fresh, LRUCache
from hotset.names import is_name
from hotset.tiered.flights import Flights
from hotset.tiered.latency import Latencies
from hotset.tiered.values import ABSENT, Loaded
from hotset.tiers.contract import Entry
from hotset.versions import new_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotset._engine import Record
    from hotset.tiered.behind import WriteBehind
    from hotset.tiered.level import Level
    from hotset.tiered.options import Options
    from hotset.tiered.pending import Doubts, Pending
    from hotset.tiered.unsaved import Unsaved
    from hotset.tiers.contract import Fence, Found
    from hotset.tiers.memory import MemoryTier

__all__ = ["Books", "Kept", "Lent", "believed"]

_OWN_WRITES: Final = 10_000  # names whose last version written here is remembered
_OWN_SECONDS: Final = 30.0
_UNLIKELY: Final = 0.5  # the share of readings in vain from which on the first look at a level is its load's


def believed(doubts: Doubts | None, name: str, found: Found) -> tuple[Entry | None, Fence]:
    """What was read, unless the level had not been told yet of what was done to the name.

    Of an entry that others may have changed since it was stored, the fence: it may be stored anew.
    """
    if doubts is None:
        return found.entry, found.fence
    if doubts.forbid(name, found.entry):
        return None, None
    return None if doubts.concern(name, found.entry) else found.entry, found.fence


class Lent(NamedTuple):
    """What a level that has nothing may be filled by: its fence, if it gave one, and its epoch of before."""

    level: Level
    fence: Fence
    epoch: int


class Kept(NamedTuple):
    """What may be served in place of a load that fails or takes too long, and what memory may keep it by meanwhile."""

    entry: Entry
    fence: Fence
    told: bool  # a level has it that tells of changes
    confirmed: float  # when that was so


class Books:
    """One cache's levels and counts. Knows no thread and no loop."""

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
        self.behind: WriteBehind | None = None  # what writes behind, if anything does
        self.pending = pending
        self.options = options
        self.guard = guard
        self.writer = writer or f"{socket.gethostname()}:{os.getpid()}"
        self.guarded = any(level.tier.shared for level in below)
        streams = [getattr(level.tier, "streams", False) for level in below if level.tier.shared]
        self.streamed = any(streams)
        self.polled = not all(streams)  # some level tells nothing: memory is confirmed by looking again
        self.leased = all(getattr(level.tier, "leases", True) for level in below)  # a lease finds what a reading does
        # Records confirmed before this moment may have missed changes while the stream was cut.
        self.since = math.inf if self.guarded else -math.inf
        self.flights: Flights[Entry] = Flights()
        self.own: LRUCache[str, bytes] = LRUCache(_OWN_WRITES, ttl=_OWN_SECONDS)
        self.leases: LRUCache[tuple[str, str], Fence] = LRUCache(_OWN_WRITES, ttl=_OWN_SECONDS)  # by level and name
        # Without memory: which version of a name is served, and until when, before the origin is asked again.
        self.throttled: LRUCache[str, tuple[bytes, float]] = LRUCache(_OWN_WRITES)
        self.departed: LRUCache[str, str] = LRUCache(1024)  # why names went lately, for `explain`
        self.load_latencies = Latencies()
        self.slow_reads = 0  # names looked up in memory by Python
        self.not_fresh = 0  # of the engine's hits: could not be served as they were
        self.loads = self.load_failures = self.stale_served = self.negative_served = self.refreshes = 0

    def _unlikely(self) -> bool:
        """Whether the levels below mostly have nothing: then the load, which looks there too, may as well begin."""
        for level in self.below:
            if level.missing <= _UNLIKELY:
                return False
        return self.leased

    def _memory(self) -> MemoryTier | None:
        """Memory, unless it is switched off."""
        level = self.memory_level
        return self.memory if level is not None and level.on else None

    def _served(self, value: Any, absent: bool) -> Any:  # noqa: FBT001
        if absent:
            self.negative_served += 1
            return ABSENT
        return value

    def _taken(self, level: Level, name: str, found: Found) -> bool:
        """Whether another process has a lease, and may be loading; or this one, if it asked before it began to load."""
        place = level.name, name
        if not found.taken:
            if found.fence is not None:
                self.leases[place] = found.fence
            return False
        return found.entry is None and self.leases.peek(place) != found.fence

    def _trusted(self, record: Record, now: float) -> bool:
        """Whether a record may be served without looking whether a shared level has another one by now."""
        if not self.guarded:
            return True
        if not self.polled and not record.loose and self.guard.until > now and record.confirmed >= self.since:
            return True
        return record.confirmed + self.options.max_staleness > now

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

    def _arm(self, record: Record, options: Options, loader: Any) -> None:
        """Set the moment until which a record is served without Python."""
        if record.absent:
            return
        until = record.deadline
        if options.early and loader is not None and until < math.inf and not record.refreshing:
            until = self._refresh_at(record, options)
        confirmed = record.confirmed
        if self.polled or record.loose or confirmed < self.since:
            until = min(until, confirmed + self.options.max_staleness)
        record.until = until
        if confirmed < self.since and until > confirmed + self.options.max_staleness:
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

    def _throttle(self, name: str, kept: Kept, options: Options) -> None:
        """Serve what is kept for a while before the origin is asked again, unless it was invalidated meanwhile."""
        life = min(options.fail_safe_throttle, kept.entry.keep)
        if self.memory is None:
            self.throttled[name] = kept.entry.version, time.monotonic() + life
            return
        if kept.fence is None:
            return
        # What nobody tells of is not served for long in any case.
        now = time.monotonic()
        confirmed = kept.confirmed if kept.told else now
        record = self.memory.put(name, replace(kept.entry, life=life), confirmed, kept.fence, made=now)
        if record is not None:
            record.loose = self.streamed and not kept.told
            self._arm(record, options, None)

    def _is_throttled(self, name: str, entry: Entry) -> bool:
        """Whether this entry, whose life is over, is to be served once more without asking the origin."""
        version, until = self.throttled.get(name, (b"", -math.inf))
        return until > time.monotonic() and version == entry.version

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

    def _unsaved(self, key: Any, name: str, item: Unsaved, fence: Fence, options: Options, loader: Any) -> Any:
        """Serve a write that the origin does not have yet, whatever the levels say, and have memory keep it."""
        entry = item.entry
        if entry is None or entry.absent:
            return self._served(None, absent=True)
        now = time.monotonic()
        kept = replace(self.entry_of(entry.value, options, tags=entry.tags), version=entry.version)
        self._remember(key, name, kept, now, fence, options, loader, told=False, own=True)
        return self._served(entry.value, absent=False)

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
