"""A level spread over independent servers: each name lives on one of them, chosen by consistent hashing.

The continuum is that of libketama (160 points a node of weight 1, MD5), as uhashring draws it: other clients that know
the nodes by the same names find the same names on them. A node that is added or removed moves its share of the names
and no others. A name that moves away and back again may find what was there before: clear a node before it joins.

**A node that fails costs its own names.** They read as nothing, without a fence, and so are not filled; what was
written or removed there is told to it when it is back, and until then it is not believed about that. Only when no node
can be reached does an operation raise. Tags, and `clear`, go to every node.

**Epochs.** Each node counts its own. What is told to the cache is what the first node counts; what the others counted
then is remembered, and all are asked again when one has counted on: a second round trip after an invalidation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from hashlib import md5
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from hotset.errors import CodecError, TierUnavailable
from hotset.tiered.breaker import Breaker
from hotset.tiers.combined import CombinedTier, as_of
from hotset.tiers.contract import Found, Reading
from hotset.tiers.members import Call, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hotset.durations import Duration
    from hotset.tiers.combined import Doubts, Flow, Held, Returning
    from hotset.tiers.contract import Entry, Fence, Tier
    from hotset.tiers.members import Member

__all__ = ["ShardedTier"]

_T = TypeVar("_T")
_NOTHING: Final = Found(None)
_PROBE: Final = "hotset: what do you count"


class _Fence(NamedTuple):
    """What a node gave: its fence and its epoch; `epoch` is what the cache was told."""

    fence: Fence
    counted: int
    epoch: int


class ShardedTier(CombinedTier):
    """A level spread over nodes by consistent hashing. Needs `hotset[sharded]`.

    - `nodes`: shared tiers by the names of their nodes, which place them on the continuum ("10.0.0.1:6379" for what
      other clients call so); a sequence of tiers that have different names does, too. The first one's epochs are told.
    - `weights`: by node, ints; 1 where there is none.
    - `settle`: seconds for which a node that comes back is not read, so that all processes can tell it what it missed.
    - `returning`: "told", or "cleared" to have a node that comes back forget everything: what it missed is lost if the
      process dies that would have told it.
    - `max_missed`: names that a node is told singly; one that has missed more is cleared.
    - `breaker` makes the breaker of a node.

    Operations on several nodes are made side by side. `passed_by` counts names that were looked up while their node
    was away. Raises TypeError, ValueError for arguments that make no sense, ImportError without uhashring. Placing a
    name is O(log(points)).
    """

    def __init__(
        self,
        nodes: Mapping[str, Tier] | Sequence[Tier],
        *,
        name: str = "sharded",
        weights: Mapping[str, int] | None = None,
        settle: Duration = 3.0,
        returning: Returning = "told",
        max_missed: int = 50_000,
        breaker: Callable[[], Breaker] = Breaker,
    ) -> None:
        try:
            from uhashring import HashRing  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ImportError("ShardedTier needs uhashring: pip install 'hotset[sharded]'") from error
        super().__init__(
            nodes,
            name=name,
            what="nodes",
            least=1,
            breaker=breaker,
            settle=settle,
            returning=returning,
            max_missed=max_missed,
        )
        self._nodes = {node.name: node for node in self._members}
        if weights is not None and not isinstance(weights, Mapping):
            raise TypeError(f"weights must be a dict by the names of nodes, or None, got {weights!r}")
        weights = dict(weights or {})
        for node, weight in weights.items():
            if node not in self._nodes:
                raise ValueError(f"weights must be of the nodes {', '.join(self._nodes)}, got {node!r}")
            if type(weight) is not int or weight < 1:
                raise ValueError(f"a weight must be an int of 1 or more, got {weight!r} for {node!r}")
        ring = HashRing({node: weights.get(node, 1) for node in self._nodes}, hash_fn="ketama")
        points = ring.get_points()
        self._points = [point for point, _ in points]
        self._owners = [self._nodes[node] for _, node in points]
        self._counts: dict[int, int] = {}  # place -> what its node counted last
        self.passed_by = 0

    def node_of(self, name: str) -> str:
        """Return the name of the node on which a name lives."""
        return self._node_of(name).name

    def _node_of(self, name: str) -> Member:
        """Find the next point clockwise. The library's own way is five times as long."""
        digest = md5(name.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
        place = bisect_left(self._points, int.from_bytes(digest[:4], "little"))
        return self._owners[place if place < len(self._owners) else 0]

    def _split(self, items: Iterable[_T], name_of: Callable[[_T], str]) -> dict[Member, list[tuple[int, _T]]]:
        """Return for each node what is its, with the places that it had."""
        parts: dict[Member, list[tuple[int, _T]]] = {}
        for place, item in enumerate(items):
            parts.setdefault(self._node_of(name_of(item)), []).append((place, item))
        return parts

    def _check(self, calls: Sequence[Call]) -> None:
        """Raise what a call raised if a value is to blame, or if no node is left that might serve other names."""
        for call in calls:
            if isinstance(call.outcome, CodecError):
                raise call.outcome
        if any(call.succeeded for call in calls):
            return
        asked = {call.member for call in calls}
        if all(node.away for node in self._members if node not in asked):
            for call in calls:
                if call.failed:
                    raise call.outcome
            raise TierUnavailable(f"{self!r}: no node is there")

    # Reading

    def _read(self, names: Sequence[str]) -> Flow[Reading]:
        return (yield from self._look("read", names))

    def _lease(self, names: Sequence[str]) -> Flow[Reading]:
        return (yield from self._look("lease", names))

    def _look(self, operation: str, names: Sequence[str]) -> Flow[Reading]:
        parts = self._split(names, str)
        doubts: dict[Member, Doubts | None] = {}
        calls = []
        for node, part in parts.items():
            if self._readable(node):
                wanted = [name for _, name in part]
                doubts[node] = self._doubts(node, wanted)
                calls.append(Call(node, operation, wanted))
        if calls:
            yield Step(calls)
        self._check(calls)
        answers: list[tuple[Member, Reading]] = [(call.member, call.outcome) for call in calls if call.succeeded]
        epoch = yield from self._epoch_of(answers)
        found = [_NOTHING] * len(names)
        refused: dict[str, int] = {}
        served = 0
        for node, reading in answers:
            node.note(reading)
            for reason, count in reading.refused.items():
                refused[reason] = refused.get(reason, 0) + count
            doubt = doubts[node]
            # Nodes count alike, from different numbers.
            ahead = epoch - reading.epoch
            for (place, name), (entry, fence, taken) in zip(parts[node], reading.found, strict=True):
                served += 1
                if doubt is not None and doubt.concern(name, entry):
                    continue
                told = as_of(entry, entry.epoch + ahead) if entry is not None and ahead else entry
                given = None if fence is None else _Fence(fence, reading.epoch, epoch)
                found[place] = Found(told, given, taken)
        self.passed_by += len(names) - served
        return Reading(found, epoch, refused)

    def _epoch_of(self, answers: Sequence[tuple[Member, Reading]]) -> Flow[int]:
        """Return the epoch to be told, after asking all nodes if one has counted on."""
        first = self._members[0]
        counts = {node.place: reading.epoch for node, reading in answers}
        if any(self._counts.get(place) != count for place, count in counts.items()):
            others = [Call(node, "read", [_PROBE]) for node in self._members if node.place not in counts]
            others = [call for call in others if not call.member.away]
            if others:
                yield Step(others)
            counts |= {call.member.place: call.outcome.epoch for call in others if call.succeeded}
            self._counts = {**self._counts, **counts}
        epoch = self._counts.get(first.place, 0)
        self._saw(epoch, counts)
        return epoch

    # Filling

    def _fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> Flow[list[bool]]:
        stored = [False] * len(items)
        parts = self._split(items, _first)
        places: list[list[int]] = []
        calls = []
        for node, part in parts.items():
            chosen = []
            kept = []
            for place, (name, entry, given) in part:
                if given is None or name in node.notes.names:
                    continue
                count = given.counted
                if entry.epoch < given.epoch:
                    count = self._epoch_at(node, entry.epoch)
                if count is not None:
                    chosen.append((name, as_of(entry, count), given.fence))
                    kept.append(place)
            if chosen:
                calls.append(Call(node, "fill", chosen))
                places.append(kept)
        if calls:
            yield Step(calls)
            self._check(calls)
        for call, kept in zip(calls, places, strict=True):
            if call.succeeded:
                for place, took in zip(kept, call.outcome, strict=True):
                    stored[place] = bool(took)
        return stored

    # Changes

    def _write(self, items: Sequence[tuple[str, Entry]]) -> Flow[None]:
        calls = []
        for node, part in self._split(items, _first).items():
            timed = [(name, entry, self._epoch_at(node, entry.epoch)) for _, (name, entry) in part]
            alive = [(name, as_of(entry, epoch)) for name, entry, epoch in timed if epoch is not None]
            dead = [name for name, _, epoch in timed if epoch is None]
            if alive:
                calls.append(self._changing(Call(node, "write", alive), [name for name, _ in alive]))
            if dead:
                calls.append(self._changing(Call(node, "remove", dead), dead))
        yield Step(calls)
        self._check(calls)

    def _remove(self, names: Sequence[str], *, expire: bool) -> Flow[None]:
        calls = []
        for node, part in self._split(names, str).items():
            wanted = [name for _, name in part]
            calls.append(self._changing(Call(node, "remove", wanted, expire=expire), wanted))
        yield Step(calls)
        self._check(calls)

    def _hold(self, names: Sequence[str], *, expire: bool) -> Flow[Held]:
        calls = []
        for node, part in self._split(names, str).items():
            wanted = [name for _, name in part]
            calls.append(self._changing(Call(node, "hold", wanted, expire=expire), wanted))
        yield Step(calls)
        self._check(calls)
        return {call.member.place: call.outcome for call in calls if call.succeeded}

    def _settle(self, items: Sequence[tuple[str, Entry | None]], held: Held, *, expire: bool) -> Flow[list[bool]]:
        alone = [False] * len(items)
        parts = self._split(items, _first)
        calls = []
        for node, part in parts.items():
            some = [item for _, item in part]
            calls.append(self._changing(self._settled(node, some, held, expire=expire), [name for name, _ in some]))
        yield Step(calls)
        self._check(calls)
        for call in calls:
            if call.succeeded and call.member.place in held:
                for (place, _), mine in zip(parts[call.member], call.outcome, strict=True):
                    alone[place] = mine
        return alone

    def _touch(self, name: str, life: float, keep: float) -> Flow[bool]:
        call = Call(self._node_of(name), "touch", name, life, keep)
        yield Step([call])
        self._check([call])
        return bool(call.succeeded and call.outcome)

    def _invalidate(self, tags: Sequence[str]) -> Flow[int]:
        calls = [self._changing(Call(node, "invalidate", tags), (), tags) for node in self._members]
        yield Step(calls)
        self._check(calls)
        counts = {call.member.place: call.outcome for call in calls if call.succeeded}
        self._counts = {**self._counts, **counts}
        epoch = self._counts.get(self._members[0].place, 0)
        self._saw(epoch, counts)
        return epoch


def _first(item: tuple[str, object] | tuple[str, object, object]) -> str:
    return item[0]
