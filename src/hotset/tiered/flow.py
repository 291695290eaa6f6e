"""The logic of the tiered cache as flows: generators that yield effects (see effects), for threads and loops alike.

The order of steps is what keeps the levels coherent:

- A read takes the fence of its name in memory before it asks the levels below, and a lease where a shared level has
  nothing before it asks further down. What it finds is stored, from the bottom up, only where the fence holds, and no
  further up than the first level that refuses.
- A change of the origin has the shared levels hold its names before (see writes).
- A write or removal first detaches the load that is under way and breaks the fences in memory, then changes the levels
  from the bottom up, then breaks the fences in memory again: a reader that came in between had read a level that was
  not changed yet.
- What a shared level could not be told is pending: until it has been, that level is not believed about that name.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from hotset.errors import TierError
from hotset.names import name_of
from hotset.tiered.bulk import Bulk
from hotset.tiered.effects import Ask
from hotset.tiered.stats import Explanation, LevelView
from hotset.tiered.writes import Writes
from hotset.tiers.memory import entry_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from hotset.tiered.effects import Effect
    from hotset.tiered.level import Level
    from hotset.tiers.contract import Entry

__all__ = ["Logic"]


class Logic(Bulk, Writes):
    """All flows of one cache, and a look inside. Knows no thread and no loop."""

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
                views.append(self._view(level, entry_of(record, now), why))
        unsaved = None if self.behind is None else self.behind.find(name)
        if unsaved is not None and unsaved.entry is not None:
            age = now - unsaved.made
            state = "absent" if unsaved.entry.absent else "fresh"
            version, by = unsaved.entry.version.hex(), unsaved.entry.writer
            why = "written behind: the origin does not have it yet"
            views.append(LevelView("behind", state, why, age, None, None, version, by, unsaved.entry.tags))
        for level in self.below:
            doubts = self.pending.doubts(level, (name,))
            try:
                reading = yield Ask(level, "read", (name,))
            except TierError as error:
                views.append(LevelView(level.name, "unavailable", str(error)))
                continue
            entry = reading.found[0].entry
            if doubts is not None and doubts.concern(name, entry):
                why = "stored before others' changes beneath were told: to be confirmed there"
                if doubts.forbid(name, entry):
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
