"""A level that is kept several times over, in zones (data centres, availability zones), as Netflix's EVCache is.

- Writes and removals go to all zones side by side, and return when as many have done them as `acknowledge` says; the
  rest goes on in the background. A zone that misses one is told later, and is not believed about it until then.
- Reads go to the local zone, and for what it has not, or if it fails, to others. What was found there is put into the
  local zone, by a fence that it gave before the other one was asked.

**Fences.** A fence is what each zone gave; a fill is stored in each zone only where that zone's own fence holds. Of two
fills at once one is accepted: the first zone by name that is there decides, the others follow. A reading asks one zone
and so has only its fence; a fill by that ends the lives of older entries in the others.

**Repairs and changes.** A removal reaches zones one after another, if only by microseconds; a repair that reads the old
value in a zone that has not been told, and stores it in one that has, would bring it back for good. So a repair takes
the fence first, and waits for longer than a change takes from its first zone to its last before it reads. A change
that takes longer still is told to all zones once more.

**What a zone has missed** another process may copy to zones that have not. So as long as a zone has missed a change of
a name, this process believes the others only about what was loaded after that change, or is what it wrote itself; and
when the zone has been told, the others are told to drop what is not.

**Epochs.** Each zone counts its own. What is told to the cache is the local zone's; a fence knows those of all.
"""

from __future__ import annotations

import functools
import math
import time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from hotset._engine import LRUCache
from hotset.durations import seconds
from hotset.errors import CodecError, TierError, TierUnavailable
from hotset.tiered.breaker import Breaker
from hotset.tiers.combined import CombinedTier, Doubts, Passed, agreed, as_of
from hotset.tiers.contract import Found, Reading
from hotset.tiers.members import Call, Step, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hotset.durations import Duration
    from hotset.tiers.combined import Flow, Held, Returning
    from hotset.tiers.contract import Entry, Fence, Tier
    from hotset.tiers.members import Member
    from hotset.tiers.notes import Due, Flight

__all__ = ["Acknowledge", "ReplicatedTier"]

Acknowledge: TypeAlias = Literal["none", "one", "quorum", "all"]

_MOST_REPAIRS: Final = 1_000  # names that wait for it; what comes beyond comes again with the next read
_REPAIRS_AT_ONCE: Final = 250
_NOTHING: Final = Found(None)


class _Fences(NamedTuple):
    """What zones gave for a name: for each its place, its fence and its epoch. `epoch` is what the cache was told."""

    epoch: int
    numbering: int  # the place of the zone that counts so
    of: tuple[tuple[int, Fence, int], ...]


class _Leased(NamedTuple):
    """Names that the local zone has not, with its fences and its epoch, since when."""

    at: float
    zone: Member
    epoch: int
    fences: dict[str, Fence]


class ReplicatedTier(CombinedTier):
    """A level in several zones; each is a shared tier of its own, with the same contents.

    - `zones`: tiers by the names of their zones; a sequence of tiers that have different names does, too. All processes
      must use the same names. `local` is the zone that this process reads, by default the first.
    - `acknowledge`: how many zones must have done a write or removal before it returns; "none", "one", "quorum" (more
      than half) or "all". But for "none", the local zone is waited for as well, unless it fails. With less than "all",
      another process may read the old value in a zone that lags behind, for milliseconds as a rule; this process never
      does, but may find nothing for as long. If fewer can be reached, the operation fails.
    - `fallbacks`: how many other zones are read for what the local one has not. A load asks all of them in any case.
    - `repair`: whether what was found in another zone is put into the local one.
    - `linger`: seconds that a load waits for other zones when the local one, the first one by name and a majority have
      answered. One that has not by then does not get what is loaded, until it is repaired.
    - `settle`: seconds for which a zone that comes back is not read, so that all processes can tell it what it missed.
    - `returning`: "told", or "cleared" to have a zone that comes back forget everything: what it missed is lost if the
      process dies that would have told it.
    - `max_missed`: names that a zone is told singly; if one has missed more, all are cleared.
    - `breaker` makes the breaker of a zone.

    Operations take as long as those of the zones that they wait for. Raises TypeError, ValueError for arguments that
    make no sense.
    """

    def __init__(
        self,
        zones: Mapping[str, Tier] | Sequence[Tier],
        *,
        local: str | None = None,
        acknowledge: Acknowledge = "quorum",
        name: str = "replicated",
        fallbacks: int = 1,
        repair: bool = True,
        linger: Duration = 0.05,
        settle: Duration = 3.0,
        returning: Returning = "told",
        max_missed: int = 50_000,
        breaker: Callable[[], Breaker] = Breaker,
    ) -> None:
        super().__init__(
            zones,
            name=name,
            what="zones",
            least=1,
            breaker=breaker,
            settle=settle,
            returning=returning,
            max_missed=max_missed,
        )
        named = {zone.name: zone for zone in self._members}
        if local is None:
            local = self._members[0].name
        one_of(named, local, name="local")
        needs = {"none": 0, "one": 1, "quorum": len(named) // 2 + 1, "all": len(named)}
        one_of(needs, acknowledge, name="acknowledge")
        if type(fallbacks) is not int or fallbacks < 0:
            raise ValueError(f"fallbacks must be an int of 0 or more, got {fallbacks!r}")
        if type(repair) is not bool:
            raise TypeError(f"repair must be True or False, got {repair!r}")
        self._need = needs[acknowledge]
        self._fallbacks = fallbacks
        self._repair = repair
        self._linger = seconds(linger, zero=True, name="linger")
        first = named.pop(local)
        # In the order in which this process reads them, and in that which is the same for all.
        self._order = [first, *named.values()]
        self._deciders = sorted(self._members, key=lambda zone: zone.name)
        self.fallen_back = self.repaired = 0  # names read elsewhere than in the local zone; and put there
        self._repairs: dict[str, None] = {}
        self._leased: _Leased | None = None
        self._put_here: LRUCache[str, bytes] = LRUCache(1024, ttl=30.0)

    # Reading

    def _zone_doubts(self, zone: Member, names: Sequence[str]) -> Doubts | None:
        notes = [one.notes for one in self._members if one.notes.names or one.notes.tags]
        return Doubts(zone.notes, notes, names) if notes else None

    def _read(self, names: Sequence[str]) -> Flow[Reading]:
        count = len(names)
        best: list[Entry | None] = [None] * count
        fences: list[list[tuple[int, Fence, int]]] = [[] for _ in names]
        left = list(range(count))
        refused: dict[str, int] = {}
        local = self._order[0]
        numbering: Member | None = None
        epoch = answers = 0
        error: Exception | None = None
        local_missed: set[int] = set()
        for zone in self._order:
            if not left or answers > self._fallbacks:
                break
            if not self._readable(zone):
                continue
            doubts = self._zone_doubts(zone, names)
            call = Call(zone, "read", [names[place] for place in left])
            yield Step([call])
            if not call.succeeded:
                error = call.outcome
                continue
            reading: Reading = call.outcome
            zone.note(reading)
            answers += 1
            if numbering is None:
                numbering, epoch = zone, reading.epoch
                if reading.opened is not None and doubts is None:
                    self.fallen_back += 0 if zone is local else count
                    self._saw(epoch, {zone.place: epoch})
                    return Passed(reading, functools.partial(_fence_of_one, zone.place, epoch))
            _add(refused, reading.refused)
            served = []
            for place, (entry, fence, _) in zip(left, reading.found, strict=True):
                if doubts is not None and doubts.about(names[place]):
                    continue
                if fence is not None:
                    fences[place].append((zone.place, fence, reading.epoch))
                if entry is None or (doubts is not None and doubts.concern(names[place], entry)):
                    continue
                if _is_better(entry, best[place]):
                    best[place] = entry if zone is numbering else as_of(entry, epoch)
                if entry.life > 0:
                    served.append(place)
            if zone is local:
                local_missed = set(left).difference(served)
            elif served:
                self.fallen_back += len(served)
                self._to_repair([names[place] for place in served if place in local_missed])
            if served:
                gone = set(served)
                left = [place for place in left if place not in gone]
        if numbering is None:
            raise error or TierUnavailable(f"{self!r}: no zone can be read")
        self._saw(epoch, {numbering.place: epoch})
        found = [
            Found(entry, _Fences(epoch, numbering.place, tuple(given)) if given else None)
            if entry is not None or given
            else _NOTHING
            for entry, given in zip(best, fences, strict=True)
        ]
        return Reading(found, epoch, refused)

    def _lease(self, names: Sequence[str]) -> Flow[Reading]:
        zones = [zone for zone in self._order if not zone.away]
        if not zones:
            raise TierUnavailable(f"{self!r}: no zone is there")
        doubts = {zone: self._zone_doubts(zone, names) for zone in zones}
        readable = {zone for zone in zones if self._readable(zone)}
        calls = [Call(zone, "lease", names) for zone in zones]
        decider = min(zones, key=lambda zone: zone.name)
        majority = len(zones) // 2 + 1

        def enough(calls: Sequence[Call]) -> bool:
            """Whether those have answered that a load cannot do without. The others are not filled."""
            return sum(call.succeeded for call in calls) >= majority and all(
                call.done for call in calls if call.member in {zones[0], decider}
            )

        yield Step(calls, enough, linger=self._linger)
        answers: list[tuple[Member, Reading]] = [(call.member, call.outcome) for call in calls if call.succeeded]
        if not answers:
            raise calls[0].outcome
        numbering, epoch = answers[0][0], answers[0][1].epoch
        self._saw(epoch, {zone.place: reading.epoch for zone, reading in answers})
        refused: dict[str, int] = {}
        for _, reading in answers:
            _add(refused, reading.refused)
        found = []
        repairs = []
        for place, name in enumerate(names):
            best: Entry | None = None
            missed = False
            given = []
            takers = {}
            for zone, reading in answers:
                entry, fence, taken = reading.found[place]
                doubt = doubts[zone]
                if doubt is not None and doubt.about(name):
                    continue
                if doubt is not None and doubt.concern(name, entry):
                    entry = None
                if fence is not None:
                    given.append((zone.place, fence, reading.epoch))
                    takers[zone] = taken
                if entry is None or entry.life <= 0:
                    missed |= zone is self._order[0]
                if entry is None or zone not in readable:
                    continue
                if _is_better(entry, best):
                    best = entry if zone is numbering else as_of(entry, epoch)
            if best is not None and best.life > 0 and missed:
                repairs.append(name)
            taken = next((takers[zone] for zone in self._deciders if zone in takers), False)
            fences = _Fences(epoch, numbering.place, tuple(given)) if given else None
            found.append(Found(best, fences, taken and best is None))
        self._to_repair(repairs)
        return Reading(found, epoch, refused)

    # Filling

    def _fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> Flow[list[bool]]:
        stored = [False] * len(items)
        # What is to be decided: item -> place of a zone -> its fence, and the entry as of its epoch.
        open_: dict[int, dict[int, tuple[Entry, Fence]]] = {}
        for item, (name, entry, fences) in enumerate(items):
            if fences is None or any(zone.notes.flying(name) for zone in self._members):
                continue
            # A zone that has missed a change of the name would take what was loaded before it.
            noted = [zone.place for zone in self._members if name in zone.notes.names]
            options = _by_place(entry, fences)
            open_[item] = {place: pair for place, pair in options.items() if place not in noted}
        accepted: dict[int, dict[int, tuple[Entry, Fence]]] = {}
        decided: dict[int, int] = {}
        error: Exception | None = None
        judged = False
        begun = time.monotonic()
        while open_:
            by_zone: dict[Member, list[int]] = {}
            for item, options in list(open_.items()):
                zone = next((one for one in self._deciders if one.place in options and not one.away), None)
                if zone is None:
                    del open_[item]
                else:
                    by_zone.setdefault(zone, []).append(item)
            calls = [
                Call(zone, "fill", [(items[item][0], *open_[item][zone.place]) for item in chosen])
                for zone, chosen in by_zone.items()
            ]
            yield Step(calls)
            for call, (zone, chosen) in zip(calls, by_zone.items(), strict=True):
                if isinstance(call.outcome, CodecError):
                    raise call.outcome
                if not call.succeeded:
                    error = call.outcome
                    for item in chosen:
                        del open_[item][zone.place]
                    continue
                for item, took in zip(chosen, call.outcome, strict=True):
                    judged = True
                    options = open_.pop(item)
                    stored[item] = bool(took)
                    if took:
                        accepted[item] = options
                        decided[item] = zone.place
                        self._approve(*items[item][:2], begun)
        if error is not None and not judged:
            raise error
        if accepted:
            yield from self._follow(items, accepted, decided, stored)
        return stored

    def _approve(self, name: str, entry: Entry, begun: float) -> None:
        """A zone that was told of all changes has taken it by a fence: it was loaded after them."""
        for zone in self._members:
            if zone.notes.names:
                zone.notes.approve(name, entry.version, begun)

    def _follow(
        self,
        items: Sequence[tuple[str, Entry, Fence]],
        accepted: dict[int, dict[int, tuple[Entry, Fence]]],
        decided: dict[int, int],
        stored: list[bool],
    ) -> Flow[None]:
        """Have the other zones store what one has, or nobody; those that gave no fence have something older."""
        calls: list[Call] = []
        fills: dict[Call, list[int]] = {}
        for zone in self._members:
            if zone.away:
                continue
            others = [item for item in accepted if decided[item] != zone.place]
            chosen = [item for item in others if zone.place in accepted[item]]
            if chosen:
                call = Call(zone, "fill", [(items[item][0], *accepted[item][zone.place]) for item in chosen])
                call.ended = self._take_back
                fills[call] = chosen
                calls.append(call)
            older = [items[item][0] for item in others if zone.place not in accepted[item]]
            if older:
                calls.append(Call(zone, "remove", older, expire=True))
        if not calls:
            return
        needed = min(self._need - 1, len(calls))
        yield Step(calls, None if self._need == len(self._members) else _at_least(needed), near=False)
        for call, chosen in fills.items():
            if call.succeeded:
                for item, took in zip(chosen, call.outcome, strict=True):
                    stored[item] &= bool(took)

    def _take_back(self, fill: Call) -> None:
        """Have all zones drop what this one has refused: it was told of a change that others may not hear of for long.

        Which are those that whoever made the change cannot reach. Also if the answer comes when nobody waits any more.
        """
        if fill.succeeded:
            refused = [name for (name, _, _), took in zip(fill.arguments[0], fill.outcome, strict=True) if not took]
            if refused:
                for zone in self._members:
                    self._missed(zone, refused)

    # Changes

    def _write(self, items: Sequence[tuple[str, Entry]]) -> Flow[None]:
        def calls_of(zone: Member) -> list[tuple[Call, dict[str, bytes | None]]]:
            timed = [(name, entry, self._epoch_at(zone, entry.epoch)) for name, entry in items]
            alive = [(name, as_of(entry, epoch)) for name, entry, epoch in timed if epoch is not None]
            dead = [name for name, _, epoch in timed if epoch is None]
            calls: list[tuple[Call, dict[str, bytes | None]]] = []
            if alive:
                calls.append((Call(zone, "write", alive), {name: entry.version for name, entry in alive}))
            if dead:
                calls.append((Call(zone, "remove", dead), dict.fromkeys(dead)))
            return calls

        yield from self._change(calls_of)

    def _remove(self, names: Sequence[str], *, expire: bool) -> Flow[None]:
        def calls_of(zone: Member) -> list[tuple[Call, dict[str, bytes | None]]]:
            return [(Call(zone, "remove", names, expire=expire), dict.fromkeys(names))]

        yield from self._change(calls_of)

    def _hold(self, names: Sequence[str], *, expire: bool) -> Flow[Held]:
        def calls_of(zone: Member) -> list[tuple[Call, dict[str, bytes | None]]]:
            return [(Call(zone, "hold", names, expire=expire), dict.fromkeys(names))]

        # A zone that is held only when the origin has changed would keep what it has if this process dies before.
        calls = yield from self._change(calls_of, least=1, whole=True)
        return {call.member.place: call.outcome for call in calls if call.succeeded}

    def _settle(self, items: Sequence[tuple[str, Entry | None]], held: Held, *, expire: bool) -> Flow[list[bool]]:
        versions = {name: None if entry is None else entry.version for name, entry in items}

        def calls_of(zone: Member) -> list[tuple[Call, dict[str, bytes | None]]]:
            noted = versions if zone.place in held else dict.fromkeys(versions)
            return [(self._settled(zone, items, held, expire=expire), noted)]

        calls = yield from self._change(calls_of, least=1, whole=True)
        alone, disputed = agreed(items, calls)
        if disputed:
            yield from self._remove(disputed, expire=False)
        return alone

    def _invalidate(self, tags: Sequence[str]) -> Flow[int]:
        def calls_of(zone: Member) -> list[tuple[Call, dict[str, bytes | None]]]:
            return [(Call(zone, "invalidate", tags), {})]

        # The epoch that counts is the local zone's.
        calls = yield from self._change(calls_of, tags, least=1)
        done = [call for call in calls if call.succeeded]
        epoch: int = done[0].outcome
        self._saw(epoch, {call.member.place: call.outcome for call in done})
        return epoch

    def _change(
        self,
        calls_of: Callable[[Member], list[tuple[Call, dict[str, bytes | None]]]],
        tags: Sequence[str] = (),
        *,
        least: int = 0,
        whole: bool = False,
    ) -> Flow[list[Call]]:
        """Tell all zones of a change, and wait for as many as must have done it, and for the local one.

        With `whole` until all have done it or failed. Raises CodecError, TierError.
        """
        need = max(self._need, least)
        calls = []
        zones: list[list[Call]] = []
        # All are noted before the first is told: from then on another process may copy the old value.
        for zone in self._order:
            pairs = calls_of(zone)
            zones.append([call for call, _ in pairs])
            for call, versions in pairs:
                call.ended = self._landing(zone.notes.fly(versions, tags))
                calls.append(call)

        def done() -> int:
            return sum(all(call.succeeded for call in one) for one in zones)

        def enough(calls: Sequence[Call]) -> bool:
            if all(call.done for call in calls):
                return True
            # The local zone is the nearest, and the one that is read next.
            return done() >= need and (not need or all(call.done for call in zones[0]))

        yield Step(calls, None if whole else enough, near=need > 0)
        if need:
            for call in calls:
                if isinstance(call.outcome, CodecError):
                    raise call.outcome
            if done() < need:
                raise next(call.outcome for call in calls if call.failed)
        return calls

    def _landing(self, flight: Flight) -> Callable[[Call], None]:
        def ended(call: Call) -> None:
            if call.member.notes.land(flight, done=call.succeeded):
                self._wake()

        return ended

    def _touch(self, name: str, life: float, keep: float) -> Flow[bool]:
        calls = [Call(zone, "touch", name, life, keep) for zone in self._order if not zone.away]
        if calls:
            yield Step(calls)
        done = [call.outcome for call in calls if call.succeeded]
        if not done:
            raise calls[0].outcome if calls else TierUnavailable(f"{self!r}: no zone is there")
        return any(done)

    # In the background

    def _tell(self, member: Member, due: Due) -> None:
        super()._tell(member, due)
        # Meanwhile other processes may have copied what this zone should have forgotten.
        for zone in self._members:
            if zone is member:
                continue
            names = list(due.names)
            try:
                if due.tags:
                    zone.ask("invalidate", list(due.tags))
                if not names:
                    continue
                asked = time.monotonic()
                found = zone.ask("read", names).found
                older = [
                    name
                    for name, (entry, _, _) in zip(names, found, strict=True)
                    if entry is None or due.names[name].excludes(entry, asked)
                ]
                if older:
                    zone.ask("remove", older)
            except TierError:
                self._missed(zone, names, due.tags)

    def _to_repair(self, names: Sequence[str]) -> None:
        """Put names into the local zone in a while."""
        if not names or not self._repair or not self._readable(self._order[0]):
            return
        for name in names:
            if len(self._repairs) >= _MOST_REPAIRS:
                break
            self._repairs[name] = None
        self._wake()

    def _do_chores(self) -> float:
        leased = self._leased
        now = time.monotonic()
        if leased is None:
            if not self._repairs:
                return math.inf
            self._leased = self._begin_repairs()
            return self._flight if self._leased is not None else 0.0
        if now < leased.at + self._flight:
            return leased.at + self._flight - now
        self._leased = None
        self._end_repairs(leased)
        return 0.0 if self._repairs else math.inf

    def _begin_repairs(self) -> _Leased | None:
        """Take fences for names that the local zone has not."""
        names = list(self._repairs)[:_REPAIRS_AT_ONCE]
        for name in names:
            self._repairs.pop(name, None)
        zone = self._order[0]
        try:
            reading = zone.ask("lease", names)
        except TierError:
            return None
        fences = {
            name: found.fence
            for name, found in zip(names, reading.found, strict=True)
            if found.fence is not None and not (found.entry is not None and found.entry.life > 0)
        }
        # From the end of the question on: a change that reached the zone before it has reached the others by then.
        return _Leased(time.monotonic(), zone, reading.epoch, fences) if fences else None

    def _end_repairs(self, leased: _Leased) -> None:
        """Put what another zone has by now where the fences still hold."""
        names = list(leased.fences)
        for zone in self._order[1:]:
            if not names or not self._readable(zone):
                continue
            doubts = self._zone_doubts(zone, names)
            try:
                found = zone.ask("read", names).found
                items = [
                    (name, as_of(entry, leased.epoch), leased.fences[name])
                    for name, (entry, _, _) in zip(names, found, strict=True)
                    if entry is not None and entry.life > 0 and not (doubts is not None and doubts.concern(name, entry))
                ]
                for name, entry, _ in items:
                    self._put_here.set(name, entry.version)
                self.repaired += sum(leased.zone.ask("fill", items)) if items else 0
            except (TierError, CodecError):
                continue
            there = {name for name, _, _ in items}
            names = [name for name in names if name not in there]

    def _own_version(self, name: str) -> bytes | None:
        return super()._own_version(name) or self._put_here.peek(name)


def _fence_of_one(place: int, epoch: int, fence: Fence) -> _Fences:
    """Return what the only zone that was asked gave."""
    return _Fences(epoch, place, ((place, fence, epoch),))


def _is_better(entry: Entry, before: Entry | None) -> bool:
    """Whether to serve what a further zone has: not if there is something live; of what is not, the younger one."""
    return before is None or (before.life <= 0 and (entry.life > 0 or entry.age < before.age))


def _at_least(need: int) -> Callable[[Sequence[Call]], bool]:
    """Whether so many calls have succeeded, or all have ended."""

    def enough(calls: Sequence[Call]) -> bool:
        return sum(call.succeeded for call in calls) >= need or all(call.done for call in calls)

    return enough


def _by_place(entry: Entry, fences: _Fences) -> dict[int, tuple[Entry, Fence]]:
    """Return the fences of an entry, and the entry as of each zone's epoch."""
    places = {}
    for place, fence, epoch in fences.of:
        if entry.epoch < fences.epoch:
            # As of before the fence: only the zone that counts so knows when that was.
            if place == fences.numbering:
                places[place] = entry, fence
        else:
            places[place] = as_of(entry, epoch), fence
    return places


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for reason, count in more.items():
        counts[reason] = counts.get(reason, 0) + count
