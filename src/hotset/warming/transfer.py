"""Entries of shared levels into memory, in bulk and without a load.

What a `get` would do for each of the names, in one round trip a level and one step of memory for all: the fence of each
name is taken before a level is asked, and what comes back is stored only where it holds. So nothing that was
invalidated meanwhile, by anybody, gets into memory. The levels between are read, and not filled.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from hotset.errors import TierError
from hotset.names import named
from hotset.tiered.effects import Ask

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from hotset.tiered.effects import Effect
    from hotset.tiered.flow import Logic
    from hotset.tiered.level import Level
    from hotset.tiers.contract import Entry, Fence
    from hotset.tiers.memory import Fences

# ruff: noqa: SLF001 - the logic's own view of its memory
__all__ = ["Transfer", "transfer"]


class Transfer(NamedTuple):
    """What came of the keys: `there` can be served now, `missing` are with no level."""

    there: int
    missing: list[Any]
    failure: TierError | None  # of a level that was passed by


def transfer(
    logic: Logic, levels: Sequence[Level], keys: Sequence[Any], loader_of: Callable[[Any], Any], *, tries: int = 3
) -> Generator[Effect, Any, Transfer]:
    """Bring what these levels have of keys into memory. A level that fails is passed by, as in a `get`.

    What memory refuses is read again, so many tries in all: names share fences, and what is loaded meanwhile breaks
    those of others. Raises TypeError for what is no key.
    """
    memory = logic._memory()
    left = named(keys)
    fences: Fences | None = None
    there = 0
    if memory is not None:
        now = time.monotonic()
        peek, trusted = memory.store.peek, logic._trusted
        fences = memory.fences()
        for name, key in list(left.items()):
            record = peek(key)
            if record is not None and record.deadline > now and trusted(record, now):
                there += 1
                del left[name]
    failure = None
    refused: list[Any] = []
    asked = time.monotonic()
    for level in levels:
        if not left:
            break
        names = list(left)
        doubts = logic.pending.doubts(level, names)
        try:
            reading = yield Ask(level, "read", names)
        except TierError as error:
            failure = error
            continue
        level.note(reading)
        if reading.opened is not None and doubts is None:  # all of it
            there += len(left)
            if memory is not None and fences is not None:
                logic._remember_many(left, reading, asked, fences, logic.options, loader_of, told=level.streams)
                if memory._changes != fences.changes:
                    refused += [key for key in left.values() if peek(key) is None]
            left = {}
            break
        found: list[tuple[str, Entry, Fence]] = []
        for name, (entry, _, _) in zip(names, reading.found, strict=True):
            if entry is not None and entry.life > 0 and (doubts is None or not doubts.concern(name, entry)):
                found.append((name, entry, None if fences is None else fences[name]))
        loose = logic.streamed and not level.streams
        records = [None] * len(found) if memory is None else memory.put_many(found, asked)
        options, arm, departed = logic.options, logic._arm, logic.departed
        for (name, _, _), record in zip(found, records, strict=True):
            key = left.pop(name)
            if record is None:
                refused.append(key)
                continue
            record.loose = loose
            arm(record, options, loader_of(key))
            if departed:
                departed.pop(name, None)
        there += len(found)
    missing = list(left.values())
    if refused and memory is not None and tries > 1:
        again = yield from transfer(logic, levels, refused, loader_of, tries=tries - 1)
        return Transfer(there - len(refused) + again.there, missing + again.missing, failure or again.failure)
    return Transfer(there, missing, failure)
