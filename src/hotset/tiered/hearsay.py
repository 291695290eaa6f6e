"""What levels of one host have to be rid of, because others have changed it below.

A level that is `local`, such as one on disk, is of this host alone. What other hosts change at a level beneath reaches
it only by hearsay: that level's stream tells this process, which drops the name here, too. Until it is dropped, the
local level is not believed about it. Nobody waits for that: the stream's thread makes a note, and the cache's thread
for such things sees to it.

While a stream is cut or silent, and before this process was there, others may have changed anything. So each process
believes only those entries of a local level that were stored after its streams became alive last. The level's epoch
says which those are: it is counted up then, ending no life, and an entry carries the epoch as of before the levels
beneath were asked for it. An older entry counts for nothing, but its fence is good: who finds the entry beneath, the
same or another, stores it anew.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Final

from hotset.errors import TierError
from hotset.forks import tell_child
from hotset.tiered.effects import Ask
from hotset.tiers.contract import CLEAR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hotset.tiered.effects import Flow
    from hotset.tiered.level import Level

__all__ = ["Hearsay"]

# Seconds from a change that was heard to its drop: changes come in flocks, and one transaction does for many.
_DELAY: Final = 0.002
_LONGEST: Final = 10.0  # seconds between two tries at a level that fails
_NOTHING: Final[frozenset[str]] = frozenset()


class _Local:
    """What one local level depends on, and what it has to be rid of."""

    def __init__(self, tellers: Iterable[Level]) -> None:
        # Until when all that each level beneath has to tell is known.
        self.until = dict.fromkeys(tellers, -math.inf)
        self.since = math.inf  # the epoch from which on entries are believed
        self.anew = False  # a new epoch is to begin
        self.names: set[str] = set()
        self.tags: set[str] = set()
        # What the level is being told now.
        self.told_names = self.told_tags = _NOTHING
        self.due = math.inf
        self.pause = _DELAY

    @property
    def busy(self) -> bool:
        return bool(self.names or self.told_names or self.tags or self.told_tags)

    def deaf(self) -> None:
        """Believe nothing until a new epoch has begun."""
        self.since = math.inf
        self.anew = False


class Hearsay:
    """One cache's hearsay: `max_items` names a level at most, then all of it is dropped. Thread-safe; nothing waits."""

    def __init__(self, levels: Sequence[Level], *, max_items: int) -> None:
        self._max_items = max_items
        self._lock = threading.Lock()  # guards what is in the locals
        self._locals: dict[Level, _Local] = {}
        for place, level in enumerate(levels):
            tellers = [one for one in levels[place + 1 :] if one.streams and not one.local]
            if level.local and tellers:
                self._locals[level] = _Local(tellers)
        tell_child(self)

    def __contains__(self, level: object) -> bool:
        """Whether a level depends on hearsay."""
        return level in self._locals

    @property
    def busy(self) -> bool:
        """Whether some level is not to be believed about something. Takes no lock."""
        return any(local.busy for local in self._locals.values())

    @property
    def waits(self) -> bool:
        """Whether some level is to be told of something."""
        return any(local.busy or local.anew for local in self._locals.values())

    def since(self, level: Level) -> float:
        """Return from which epoch on a level's entries are to be believed now: 0 for all, infinite for none."""
        local = self._locals.get(level)
        if local is None:
            return 0
        now = time.monotonic()
        for until in local.until.values():
            if until <= now:
                return math.inf
        return local.since

    def doubts(self, levels: Iterable[Level], names: Iterable[str]) -> tuple[set[str], set[str]]:
        """Return which names, and entries with which tags, some of these levels may not have been rid of."""
        doubtful: set[str] = set()
        tags: set[str] = set()
        with self._lock:
            for level in levels:
                local = self._locals.get(level)
                if local is not None and local.busy:
                    doubtful.update(name for name in names if name in local.names or name in local.told_names)
                    tags |= local.tags | local.told_tags
        return doubtful, tags

    # What levels beneath tell

    def changed(self, teller: Level, names: Sequence[str]) -> bool:
        """Others have changed these names at a level; whether there is anything to do now."""
        with self._lock:
            locals_ = list(self._above(teller))
            for local in locals_:
                if len(local.names) + len(names) > self._max_items:
                    local.names.clear()
                    local.tags.add(CLEAR)
                else:
                    local.names.update(names)
                local.due = min(local.due, time.monotonic() + _DELAY)
        return bool(locals_)

    def invalidated(self, teller: Level, tags: Sequence[str]) -> bool:
        """Others have invalidated these tags at a level; see changed."""
        with self._lock:
            locals_ = list(self._above(teller))
            for local in locals_:
                local.tags.update((CLEAR,) if len(local.tags) + len(tags) > self._max_items else tags)
                local.due = min(local.due, time.monotonic() + _DELAY)
        return bool(locals_)

    def alive(self, teller: Level, until: float, *, anew: bool) -> bool:
        """A level has told all there was, and will until then; `anew` if it had not been heard before. See changed."""
        with self._lock:
            locals_ = list(self._above(teller))
            for local in locals_:
                local.until[teller] = until
                if anew:
                    local.deaf()
                    local.anew = True
                    local.due = -math.inf
        return anew and bool(locals_)

    def lost(self, teller: Level) -> None:
        """Changes at a level may have been missed from here on."""
        with self._lock:
            for local in self._above(teller):
                local.until[teller] = -math.inf
                local.deaf()

    def _above(self, teller: Level) -> Iterator[_Local]:
        return (local for local in self._locals.values() if teller in local.until)

    # What levels of this host are told

    def due_in(self) -> float:
        """Return seconds until there is something to do."""
        due = min((local.due for local in self._locals.values()), default=math.inf)
        return max(0.0, due - time.monotonic())

    def replay(self) -> Flow:
        """Rid the levels of what was heard, as far as it is time. For one thread at a time."""
        for level, local in self._locals.items():
            if local.due > time.monotonic():
                continue
            with self._lock:
                local.due = math.inf
                anew = local.anew
                local.told_names, local.told_tags = frozenset(local.names), frozenset(local.tags)
                local.names, local.tags = set(), set()
            try:
                if local.told_names or local.told_tags:
                    yield Ask(level, "forget", list(local.told_names), list(local.told_tags))
                epoch = (yield Ask(level, "invalidate", ())) if anew else 0
            except TierError:
                with self._lock:
                    local.names |= local.told_names
                    local.tags |= local.told_tags
                    local.due = time.monotonic() + local.pause
                    local.pause = min(2 * local.pause, _LONGEST)
            else:
                with self._lock:
                    local.pause = _DELAY
                    if anew and local.anew and local.due > -math.inf:  # else it was lost meanwhile
                        local.since, local.anew = epoch, False
            finally:
                with self._lock:
                    local.told_names = local.told_tags = _NOTHING

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has heard nothing yet."""
        self._lock = threading.Lock()
        for local in self._locals.values():
            local.until = dict.fromkeys(local.until, -math.inf)
            local.deaf()
            local.names, local.tags = set(), set()
            local.told_names = local.told_tags = _NOTHING
            local.due = math.inf
