"""What shared levels could not be told, and what must not be believed of them until they have been.

A write or removal that fails at a level stays pending there: reads of that name pass the level by, and it is told
later, the latest operation a name. A pending write is told as a removal: another process may have written something
newer meanwhile, and an older value on top of it would be a lie, where nothing at all is only a miss.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hotset.errors import TierError
from hotset.forks import tell_child
from hotset.tiered.effects import Ask
from hotset.tiered.recovery import Recovery
from hotset.tiers.contract import CLEAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hotset.tiered.effects import Flow
    from hotset.tiered.level import Level
    from hotset.tiered.recovery import Item
    from hotset.tiers.contract import Entry

__all__ = ["Doubts", "Pending"]

_TAG: Final = "tag"  # names of the queue that are tags are pairs: (_TAG, tag)


@dataclass(frozen=True, slots=True)
class Doubts:
    """Of which names, and of entries with which tags, a level may say something older than what was done here."""

    names: frozenset[str]
    tags: frozenset[str]

    def concern(self, name: str, entry: Entry | None) -> bool:
        """Whether what was read of a name is not to be believed."""
        if name in self.names or CLEAR in self.tags:
            return True
        return entry is not None and not self.tags.isdisjoint(entry.tags)


class Pending:
    """One cache's operations that shared levels have missed. `changed` is called when there is something to replay."""

    def __init__(
        self, levels: Iterable[Level], *, max_items: int = 10_000, delay: float = 1.0, changed: Callable[[], None]
    ) -> None:
        self.queues: dict[Level, Recovery[bytes | None]] = {
            level: Recovery(max_items, delay=delay, longest=max(10.0, delay)) for level in levels if level.tier.shared
        }
        self._changed = changed
        self._lock = threading.Lock()
        tell_child(self)
        # Level -> tags that it has not been told of.
        self._tags: dict[Level, set[str]] = {level: set() for level in self.queues}
        self.busy = False  # whether there may be anything

    def __len__(self) -> int:
        return sum(len(queue) for queue in self.queues.values())

    def doubts(self, level: Level, names: Sequence[str]) -> Doubts | None:
        """Return what a level cannot be believed about from now on; to be asked for before the level is.

        Asked for afterwards it would be too late: the level may have answered before it was told, and been told since.
        """
        if not self.busy or level not in self.queues:
            return None
        # What a lower level should have forgotten, other processes may have brought up again.
        levels = list(self.queues)
        doubtful = levels[levels.index(level) :]
        with self._lock:
            tags = frozenset().union(*(self._tags[one] for one in doubtful))
        queues = [self.queues[one] for one in doubtful]
        return Doubts(frozenset(name for name in names if any(name in queue for queue in queues)), tags)

    def writes(self, level: Level, items: Iterable[tuple[str, Entry]]) -> None:
        """A level may have missed writes."""
        for name, entry in items:
            self._put(level, name, entry.version)

    def removes(self, level: Level, names: Iterable[str]) -> None:
        """A level may have missed removals."""
        for name in names:
            self._put(level, name, None)

    def invalidates(self, level: Level, tags: Iterable[str]) -> None:
        """A level may have missed invalidations of tags."""
        for tag in tags:
            self._put(level, (_TAG, tag), None)

    def _put(self, level: Level, name: Any, version: bytes | None) -> None:
        queue = self.queues.get(level)
        if queue is None:
            return
        with self._lock:
            if len(queue) >= queue.max_items and name not in queue:
                # No more can be remembered singly: the level is to be cleared as a whole, and not believed till then.
                self._tags[level].clear()  # as the queue forgets them
                queue.clear()
                name, version = (_TAG, CLEAR), None
            if isinstance(name, tuple):
                self._tags[level].add(name[1])
            queue.put(name, version)
            self.busy = True
        self._changed()

    def done(self, level: Level, names: Iterable[str]) -> None:
        """A later operation on these names went through."""
        if self.busy:
            queue = self.queues.get(level)
            if queue is not None:
                for name in names:
                    queue.drop(name)
                self._settle()

    def due_in(self) -> float:
        """Return seconds until there is something to replay."""
        return min((queue.due_in() for queue in self.queues.values()), default=float("inf"))

    def replay(self) -> Flow:
        """Tell the levels what they have missed, as far as it is time; what fails again waits longer."""
        levels = list(self.queues)
        for place, (level, queue) in enumerate(self.queues.items()):
            items = queue.take()
            if not items:
                continue
            try:
                yield from self._tell(level, items)
                # Meanwhile other processes may have brought up what this level should have forgotten.
                for upper in reversed(levels[:place]):
                    yield from self._tell(upper, items, wrote=True)
            except TierError:
                queue.put_back(items)
            else:
                with self._lock:
                    for item in items:
                        if queue.done(item) and isinstance(item.name, tuple):
                            self._tags[level].discard(item.name[1])
        self._settle()

    def _tell(self, level: Level, items: list[Item[bytes | None]], *, wrote: bool = False) -> Flow:
        """Tell a level to forget. `wrote`: what has the version of a pending write was written there, and stays.

        Where the write failed it does not stay: it may have been done later than one that another process did after it.
        """
        tags = [item.name[1] for item in items if isinstance(item.name, tuple)]
        names: list[str] = [item.name for item in items if isinstance(item.name, str)]
        if tags:
            yield Ask(level, "invalidate", tags)
        versions = {item.name: item.operation for item in items if item.operation is not None}
        if wrote and versions:
            reading = yield Ask(level, "read", list(versions))
            for (name, version), found in zip(versions.items(), reading.found, strict=True):
                if found.entry is not None and found.entry.version == version:
                    names.remove(str(name))
        if names:
            yield Ask(level, "remove", names)

    def _settle(self) -> None:
        with self._lock:
            self.busy = any(queue.busy for queue in self.queues.values()) or any(self._tags.values())

    def after_fork(self) -> None:
        """Begin anew in a forked child: the parent tells the levels what they have missed."""
        self._lock = threading.Lock()
        self._tags = {level: set() for level in self.queues}
        self.busy = False

    def stats(self) -> dict[str, int]:
        """Return what is pending and what has become of the rest, over all levels."""
        totals: dict[str, int] = {}
        for queue in self.queues.values():
            for name, count in queue.stats()._asdict().items():
                totals[name] = totals.get(name, 0) + count
        return totals
