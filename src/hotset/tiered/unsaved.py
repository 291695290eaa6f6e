"""Writes that have been acknowledged and that the origin does not have yet: which of them are given to it next.

Of each name there is the latest; a later write takes the place of an earlier one, in its place of the queue. What is
*flying* is being given to the origin; it is not replaced, but followed. What is *put off* has failed alone and waits
for a time of its own. What is *dead* has failed too often; it is no longer served, and a later write of its name makes
an end of it, be it one behind or one that the origin has got by another policy. Each write has one place in these four,
so that no two of one name are under way at once, and none overtakes another.

Knows no thread; whoever uses it holds a lock.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import TYPE_CHECKING, Any

from hotset.tiered.journal import Changes, Row
from hotset.tiered.values import ABSENT, Loaded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hotset.tiers.contract import Entry

__all__ = ["Chunk", "Queue", "Unsaved"]


class Chunk:
    """A chunk of the journal, and how many of its writes are not done with."""

    __slots__ = ("first", "left")

    def __init__(self, first: int, left: int) -> None:
        self.first = first
        self.left = left


class Unsaved:
    """One write. Moments are of time.monotonic."""

    __slots__ = (
        "chunk",
        "data",
        "ended",
        "entry",
        "error",
        "given",
        "key",
        "made",
        "name",
        "overtaken",
        "replayed",
        "retry_at",
        "seq",
        "tries",
    )

    def __init__(self, key: Any, name: str, entry: Entry | None, data: bytes, made: float) -> None:
        self.key = key
        self.name = name
        self.entry = entry  # `absent` for a removal; None if it cannot be decoded any more
        self.data = data  # as the journal has it
        self.made = made  # of the first write that it has replaced
        self.seq = 0
        self.chunk: Chunk | None = None  # None: a row of its own, or none
        self.tries = 0  # that failed, alone
        self.retry_at = -math.inf
        self.error: str | None = None
        self.given = 0.0  # when it was given up, seconds since 1970
        self.replayed = False  # it was dead
        self.ended = False  # the origin has a later one; it is not tried again
        self.overtaken = False  # a later write of its name was acknowledged before the levels had this one

    def __repr__(self) -> str:
        return f"<Unsaved {self.key!r} {self.seq}>"

    def loaded(self) -> Any:
        """Return what a loader of the origin would, if the origin had it."""
        entry = self.entry
        return ABSENT if entry is None or entry.absent else Loaded(entry.value, tags=entry.tags)

    def row(self) -> Row:
        """Return it as a stray of the journal."""
        return Row(self.seq, self.name, self.data, self.tries, self.error, self.given)


class Queue:
    """The writes of one cache that the origin does not have."""

    def __init__(self) -> None:
        self.latest: dict[str, Unsaved] = {}  # of each name that is not dead
        self.waiting: dict[str, Unsaved] = {}
        self.put_off: dict[str, Unsaved] = {}
        self.flying: dict[str, Unsaved] = {}
        self.dead: dict[str, Unsaved] = {}
        self.coalesced = 0
        self._spreading: dict[str, Unsaved] = {}  # the latest of each name that the levels do not have yet
        self._chunks: deque[Chunk] = deque()
        self._strays: dict[int, Row] = {}
        self._gone: list[int] = []
        self._done_below = 0
        self._last = 0

    def __len__(self) -> int:
        """Count the names of which the origin does not have the latest, dead ones apart."""
        return len(self.latest)

    def find(self, name: str) -> Unsaved | None:
        """Return the latest write of a name that the origin does not have. Needs no lock."""
        return self.latest.get(name)

    def __iter__(self) -> Iterator[Unsaved]:
        for part in (self.flying, self.put_off, self.waiting):
            yield from part.values()

    def restore(self, items: Iterable[Unsaved]) -> None:
        """Take in what a journal had of another process, where each is a row of its own."""
        for item in items:
            if item.error is None:
                self.latest[item.name] = self.waiting[item.name] = item
            else:
                self.dead[item.name] = item

    def add(self, items: Iterable[Unsaved], chunk: Chunk | None = None) -> None:
        """Take writes in, in their order, which the journal has in a chunk."""
        if chunk is not None:
            self._chunks.append(chunk)
            self._last = max(self._last, chunk.first + chunk.left - 1)
        for item in items:
            item.chunk = chunk
            earlier = self._spreading.get(item.name)
            if earlier is not None:
                earlier.overtaken = True
            self._spreading[item.name] = item
            self._add(item)

    def spread(self, items: Iterable[Unsaved]) -> None:
        """The levels have been told of these."""
        for item in items:
            if self._spreading.get(item.name) is item:
                del self._spreading[item.name]

    def _add(self, item: Unsaved) -> None:
        name = item.name
        dead = self.dead.pop(name, None)
        if dead is not None:
            self.done(dead)
        older = self.waiting.get(name)
        place = self.waiting
        if older is None and (older := self.put_off.get(name)) is not None:
            place = self.put_off
            item.retry_at = older.retry_at
        if older is not None:
            item.made = older.made
            self.coalesced += 1
            self.done(older)
        place[name] = self.latest[name] = item

    def take(self, most: int, now: float) -> list[Unsaved]:
        """Take the oldest writes out for the origin; `returned`, `delay`, `bury` or `landed` ends their flight."""
        items = [item for item in self.put_off.values() if item.retry_at <= now][:1]
        if items:
            # It is tried alone: what it comes to is its own doing.
            del self.put_off[items[0].name]
        else:
            items = list(itertools.islice(self.waiting.values(), most))
            for item in items:
                del self.waiting[item.name]
        self.flying.update((item.name, item) for item in items)
        return items

    def landed(self, items: Iterable[Unsaved]) -> None:
        """The origin has them."""
        for item in items:
            del self.flying[item.name]
            self._forget(item)
            self.done(item)

    def _forget(self, item: Unsaved) -> None:
        if self.latest.get(item.name) is item:
            del self.latest[item.name]

    def returned(self, items: Iterable[Unsaved]) -> None:
        """The origin has refused them together: they go back to the front."""
        front: dict[str, Unsaved] = {}
        for item in items:
            del self.flying[item.name]
            if not self._followed(item):
                front[item.name] = item
        self.waiting = front | self.waiting

    def delay(self, item: Unsaved, until: float) -> None:
        """It has failed alone, and waits."""
        del self.flying[item.name]
        item.retry_at = until
        if not self._followed(item):
            self.put_off[item.name] = item
            self._stray(item)

    def bury(self, item: Unsaved) -> None:
        """It has failed too often."""
        del self.flying[item.name]
        if not self._followed(item):
            self._forget(item)
            self.dead[item.name] = item
            self._stray(item)

    def revive(self, item: Unsaved, now: float) -> None:
        """Have a dead one tried again."""
        del self.dead[item.name]
        item.error, item.given, item.tries, item.retry_at, item.made = None, 0.0, 0, -math.inf, now
        item.replayed = True
        self.latest[item.name] = self.waiting[item.name] = item
        self._stray(item)

    def discard(self, item: Unsaved) -> None:
        """Forget a dead one."""
        del self.dead[item.name]
        self.done(item)

    def supersede(self, name: str, last: int) -> bool:
        """Drop a dead one of a name up to this number: the origin has a later one, by another policy. Whether any was.

        Also one that is tried again since, which would bring the older value back. The others are waited for before a
        write by another policy, or are as late as it is.
        """
        item = self.dead.get(name)
        if item is not None and item.seq <= last:
            self.discard(item)
            return True
        item = self.latest.get(name)
        if item is None or item.seq > last or not item.replayed:
            return False
        if self.flying.get(name) is item:
            item.ended = True
        else:
            place = self.waiting if self.waiting.get(name) is item else self.put_off
            del place[name]
            self._forget(item)
            self.done(item)
        return True

    def _followed(self, item: Unsaved) -> bool:
        """Whether there is a later write of its name, which then stands for it, too."""
        if item.ended:
            self._forget(item)
            self.done(item)
            return True
        later = self.waiting.get(item.name)
        if later is None:
            return False
        later.made = min(later.made, item.made)
        self.coalesced += 1
        self.done(item)
        return True

    # What the journal is to be told

    def _stray(self, item: Unsaved) -> None:
        """Have the journal keep it by itself, so that it holds up no chunk."""
        if item.chunk is not None:
            item.chunk.left -= 1
            item.chunk = None
        self._strays[item.seq] = item.row()

    def done(self, item: Unsaved) -> None:
        """Have the journal forget it."""
        if item.chunk is not None:
            item.chunk.left -= 1
            item.chunk = None
        else:
            self._strays.pop(item.seq, None)
            self._gone.append(item.seq)

    @property
    def untold(self) -> bool:
        """Whether the journal has anything to be told."""
        return bool(self._strays or self._gone or (self._chunks and not self._chunks[0].left))

    def changes(self) -> Changes:
        """Return what the journal is to be told; `told` or `not_told` says what came of it."""
        while self._chunks and not self._chunks[0].left:
            self._chunks.popleft()
            self._done_below = self._chunks[0].first if self._chunks else self._last + 1
        changes = Changes(done_below=self._done_below, strays=list(self._strays.values()), gone=self._gone)
        self._strays, self._gone, self._done_below = {}, [], 0
        return changes

    def not_told(self, changes: Changes) -> None:
        """The journal was not changed: it is told another time."""
        self._strays = {row.seq: row for row in changes.strays} | self._strays
        self._gone += changes.gone  # which are forgotten after strays have come
        self._done_below = max(self._done_below, changes.done_below)
