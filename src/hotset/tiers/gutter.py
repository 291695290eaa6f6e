"""A level with a small spare that takes its place while it is down: the gutter of Facebook's memcache (NSDI 2013).

While the main tier answers, it alone is read and filled. When it does not, the same operation is asked of the spare,
and as long as the main tier is away all others are, too. What is put there lives for `ttl` seconds at most: the spare
is small, and is to hold what is asked for just now.

The paper lets entries of the gutter grow stale for their short lives. Here they do not: whatever changes a name, or a
tag, is told to the spare at all times, side by side with the main tier, because some other process may be using it
that cannot reach the main one. What the main tier misses it is told when it is back; it is read again `settle` seconds
later, when other processes have told it, too.

Epochs are those of whichever of the two has answered; a fence says which one gave it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from hotset.durations import finite
from hotset.errors import CodecError, TierUnavailable
from hotset.tiered.breaker import Breaker
from hotset.tiers.combined import CombinedTier, Passed, agreed, as_of
from hotset.tiers.contract import Found, Reading
from hotset.tiers.members import Call, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hotset.durations import Duration
    from hotset.tiers.combined import Flow, Held, Returning
    from hotset.tiers.contract import Entry, Fence, Tier
    from hotset.tiers.members import Member

__all__ = ["GutterTier"]


class _Fence(NamedTuple):
    """What one of the two gave: its place, its fence, and its epoch."""

    place: int
    fence: Fence
    epoch: int


def _fence_of(place: int, epoch: int, fence: Fence) -> _Fence:
    return _Fence(place, fence, epoch)


class GutterTier(CombinedTier):
    """A tier with a spare that is used while it is down.

    - `tier`, `spare`: shared tiers. `ttl`: the longest that anything lives in the spare.
    - `settle`: seconds for which the main tier is not read after it has come back, so that all processes can tell it
      what it missed. The spare is used meanwhile.
    - `returning`: "told", or "cleared" to have a tier that comes back forget everything: what it missed is lost if the
      process dies that would have told it.
    - `max_missed`: names that a tier is told singly; one that has missed more is cleared.
    - `breaker` makes the breaker of each; that of the main tier decides how many operations try it first.

    A write or removal costs as long as the slower of the two. `spared` counts names that were read in the spare. An
    operation raises only if both fail. Raises TypeError, ValueError for arguments that make no sense.
    """

    def __init__(
        self,
        tier: Tier,
        spare: Tier,
        *,
        ttl: Duration = 10.0,
        name: str = "gutter",
        settle: Duration = 3.0,
        returning: Returning = "told",
        max_missed: int = 50_000,
        breaker: Callable[[], Breaker] = Breaker,
    ) -> None:
        super().__init__(
            {"main": tier, "spare": spare},
            name=name,
            what="tier and spare",
            least=2,
            breaker=breaker,
            settle=settle,
            returning=returning,
            max_missed=max_missed,
        )
        self._ttl = finite(ttl, name="ttl")
        self._main, self._spare = self._members
        self.spared = 0

    @property
    def sparing(self) -> bool:
        """Whether the spare is in use."""
        return not self._readable(self._main)

    def _first_of(self, call_of: Callable[[Member], Call]) -> Flow[Call]:
        """Ask the main tier, or if it fails the spare. Raises what the last one raised."""
        error: Exception | None = None
        for member in self._members:
            if not self._readable(member):
                continue
            call = call_of(member)
            yield Step([call])
            if call.succeeded:
                return call
            if isinstance(call.outcome, CodecError):
                raise call.outcome
            error = call.outcome
        raise error or TierUnavailable(f"{self!r}: neither of the two is there")

    # Reading

    def _read(self, names: Sequence[str]) -> Flow[Reading]:
        return (yield from self._look("read", names))

    def _lease(self, names: Sequence[str]) -> Flow[Reading]:
        return (yield from self._look("lease", names))

    def _look(self, operation: str, names: Sequence[str]) -> Flow[Reading]:
        doubts = {member: self._doubts(member, names) for member in self._members}
        call = yield from self._first_of(lambda member: Call(member, operation, names))
        member: Member = call.member
        reading: Reading = call.outcome
        member.note(reading)
        if member is self._spare:
            self.spared += len(names)
        self._saw(reading.epoch, {member.place: reading.epoch})
        doubt = doubts[member]
        if reading.opened is not None and doubt is None:
            return Passed(reading, functools.partial(_fence_of, member.place, reading.epoch))
        found = []
        for name, (entry, fence, taken) in zip(names, reading.found, strict=True):
            if doubt is not None and doubt.concern(name, entry):
                found.append(Found(None))
            else:
                given = None if fence is None else _Fence(member.place, fence, reading.epoch)
                found.append(Found(entry, given, taken))
        return Reading(found, reading.epoch, reading.refused)

    # Filling and touching

    def _fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> Flow[list[bool]]:
        stored = [False] * len(items)
        calls = []
        places = []
        for member in self._members:
            chosen = []
            kept = []
            for place, (name, entry, given) in enumerate(items):
                if given is None or given.place != member.place or name in member.notes.names:
                    continue
                # The older of the two: it may be as of before the fence, or count as the other tier does.
                timed = as_of(entry, min(entry.epoch, given.epoch))
                chosen.append((name, timed if member is self._main else timed.within(self._ttl), given.fence))
                kept.append(place)
            if chosen:
                calls.append(Call(member, "fill", chosen))
                places.append(kept)
        if calls:
            yield Step(calls)
        for call, kept in zip(calls, places, strict=True):
            if not call.succeeded:
                raise call.outcome
            for place, took in zip(kept, call.outcome, strict=True):
                stored[place] = bool(took)
        return stored

    def _touch(self, name: str, life: float, keep: float) -> Flow[bool]:
        def call_of(member: Member) -> Call:
            most = float("inf") if member is self._main else self._ttl
            return Call(member, "touch", name, min(life, most), min(keep, most))

        call = yield from self._first_of(call_of)
        return bool(call.outcome)

    # Changes

    def _write(self, items: Sequence[tuple[str, Entry]]) -> Flow[None]:
        names = [name for name, _ in items]
        sparing = self.sparing
        calls = self._writing(self._main, items)
        calls += (
            self._writing(self._spare, items)
            if sparing
            else [self._changing(Call(self._spare, "remove", names), names)]
        )
        yield Step(calls)
        self._check(calls)
        if not sparing and any(call.failed for call in calls if call.member is self._main):
            more = self._writing(self._spare, items)
            yield Step(more)
            self._check(more)

    def _writing(self, member: Member, items: Sequence[tuple[str, Entry]]) -> list[Call]:
        """Return the calls that write entries as of a member's epochs; what is dead there is removed."""
        timed = [(name, entry, self._epoch_at(member, entry.epoch)) for name, entry in items]
        alive = [(name, as_of(entry, epoch)) for name, entry, epoch in timed if epoch is not None]
        if member is self._spare:
            alive = [(name, entry.within(self._ttl)) for name, entry in alive]
        dead = [name for name, _, epoch in timed if epoch is None]
        calls = [self._changing(Call(member, "write", alive), [name for name, _ in alive])] if alive else []
        return [*calls, self._changing(Call(member, "remove", dead), dead)] if dead else calls

    def _remove(self, names: Sequence[str], *, expire: bool) -> Flow[None]:
        calls = [self._changing(Call(member, "remove", names, expire=expire), names) for member in self._members]
        yield Step(calls)
        self._check(calls)

    def _hold(self, names: Sequence[str], *, expire: bool) -> Flow[Held]:
        calls = [self._changing(Call(member, "hold", names, expire=expire), names) for member in self._members]
        yield Step(calls)
        self._check(calls)
        return {call.member.place: call.outcome for call in calls if call.succeeded}

    def _settle(self, items: Sequence[tuple[str, Entry | None]], held: Held, *, expire: bool) -> Flow[list[bool]]:
        names = [name for name, _ in items]
        # The spare gets what it would get by a write.
        sparing = self.sparing
        spared = [(name, entry.within(self._ttl) if sparing and entry is not None else None) for name, entry in items]
        calls = [
            self._changing(self._settled(member, some, held, expire=expire), names)
            for member, some in ((self._main, items), (self._spare, spared))
        ]
        yield Step(calls)
        self._check(calls)
        alone, disputed = agreed(items, calls)
        if disputed:
            yield from self._remove(disputed, expire=False)
        return alone

    def _invalidate(self, tags: Sequence[str]) -> Flow[int]:
        calls = [self._changing(Call(member, "invalidate", tags), (), tags) for member in self._members]
        sparing = self.sparing
        yield Step(calls)
        self._check(calls)
        done = [call for call in (reversed(calls) if sparing else calls) if call.succeeded]
        epoch: int = done[0].outcome
        self._saw(epoch, {done[0].member.place: epoch})
        return epoch

    @staticmethod
    def _check(calls: Iterable[Call]) -> None:
        """Raise what a call raised if a value is to blame, or if none has succeeded."""
        calls = list(calls)
        for call in calls:
            if isinstance(call.outcome, CodecError):
                raise call.outcome
        if not any(call.succeeded for call in calls):
            raise calls[0].outcome
