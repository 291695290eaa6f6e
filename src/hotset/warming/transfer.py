"""Entries of shared levels into memory, in bulk and without a load.

What a `get` would do for each of the names, in one round trip a level and one step of memory for all: the fence of each
name is taken before a level is asked, and what comes back is stored only where it holds. So nothing that was
invalidated meanwhile, by anybody, gets into memory.

The levels between are filled if that is asked for, as a `get` does it: each lends a fence for what it has not, before
those beneath it are asked, and takes only what its fence still holds for. That is two round trips more a level.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from hotset.errors import CodecError, TierError
from hotset.names import named
from hotset.tiered.books import believed
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
    short: int = 0  # of those that are there, how many a level between has not taken
    trouble: TierError | None = None  # why


class _Gap(NamedTuple):
    """A level that has not all, what it may be filled by, and its epoch of before."""

    level: Level
    fences: dict[str, Fence]
    epoch: int


def transfer(
    logic: Logic,
    levels: Sequence[Level],
    keys: Sequence[Any],
    loader_of: Callable[[Any], Any],
    *,
    between: int = 0,
    tries: int = 3,
) -> Generator[Effect, Any, Transfer]:
    """Bring what these levels have of keys into memory. A level that fails is passed by, as in a `get`.

    The first `between` of the levels are filled with what those beneath them have. What memory or a level refuses is
    read again, so many tries in all: names share fences, and what is loaded meanwhile breaks those of others. Raises
    TypeError for what is no key.
    """
    memory = logic._memory()
    left = named(keys)
    fences: Fences | None = None
    there = 0
    if logic.behind is not None and logic.behind.depth:
        # What levels have of a write that is on its way to the origin may be older.
        for name in [name for name in left if logic.behind.find(name) is not None]:
            there += 1
            del left[name]
    if memory is not None:
        now = time.monotonic()
        peek, trusted = memory.store.peek, logic._trusted
        fences = memory.fences()
        for name, key in list(left.items()) if not between else ():
            record = peek(key)
            if record is not None and record.deadline > now and trusted(record, now):
                there += 1
                del left[name]
    failure = trouble = None
    refused: list[Any] = []
    gaps: list[_Gap] = []
    short: set[str] = set()
    asked = time.monotonic()
    for number, level in enumerate(levels):
        if not left:
            break
        names = list(left)
        doubts = logic.pending.doubts(level, names)
        try:
            reading = yield Ask(level, "read", names)
        except TierError as error:
            if number < between:
                trouble = error
                short.update(names)
            else:
                failure = error
            continue
        level.note(reading)
        if reading.opened is not None and doubts is None and not gaps:  # all of it
            there += len(left)
            if memory is not None and fences is not None:
                logic._remember_many(left, reading, asked, fences, logic.options, loader_of, told=level.streams)
                if memory._changes != fences.changes:
                    refused += [key for key in left.values() if peek(key) is None]
            left = {}
            break
        found: dict[str, Entry] = {}
        lent: dict[str, Fence] = {}
        for name, each in zip(names, reading.found, strict=True):
            entry, fence = believed(doubts, name, each)
            if entry is not None and entry.life > 0:
                found[name] = entry
            else:
                lent[name] = fence
        there += len(found)
        if gaps and found:
            filled = yield from _fill(logic, gaps, found)
            short.update(filled.failed)
            trouble = filled.trouble or trouble
            refused += [left.pop(name) for name in filled.refused]
            for name in filled.refused:
                del found[name]
        items = [(name, entry, None if fences is None else fences[name]) for name, entry in found.items()]
        records = [None] * len(items) if memory is None else memory.put_many(items, asked, own=bool(gaps))
        loose = logic.streamed and not level.streams
        options, arm, departed = logic.options, logic._arm, logic.departed
        for name, record in zip(found, records, strict=True):
            key = left.pop(name)
            if record is None:
                if memory is not None:
                    refused.append(key)
                continue
            record.loose = loose
            arm(record, options, loader_of(key))
            if departed:
                departed.pop(name, None)
        if number < between and left:
            try:
                yield from _borrow(logic, level, lent)
            except TierError as error:
                trouble = error
                short.update(name for name, fence in lent.items() if fence is None)
            gaps.append(_Gap(level, lent, reading.epoch))
    missing = list(left.values())
    lacking = len(short.difference(left))
    if refused and tries > 1 and (memory is not None or between):
        again = yield from transfer(logic, levels, refused, loader_of, between=between, tries=tries - 1)
        return Transfer(
            there - len(refused) + again.there,
            missing + again.missing,
            failure or again.failure,
            lacking + again.short,
            trouble or again.trouble,
        )
    return Transfer(there, missing, failure, lacking, trouble)


def _borrow(logic: Logic, level: Level, lent: dict[str, Fence]) -> Generator[Effect, Any, None]:
    """Have a level lend fences for names that have none. Raises TierError."""
    names = [name for name, fence in lent.items() if fence is None]
    if not names:
        return
    doubts = logic.pending.doubts(level, names)
    leased = yield Ask(level, "lease", names)
    for name, each in zip(names, leased.found, strict=True):
        lent[name] = believed(doubts, name, each)[1]


class _Filled(NamedTuple):
    """What came of filling levels: names that one has refused, those that one has failed to take, and why."""

    refused: list[str]
    failed: set[str]
    trouble: TierError | None


def _fill(logic: Logic, gaps: Sequence[_Gap], found: dict[str, Entry]) -> Generator[Effect, Any, _Filled]:
    """Fill levels with what one beneath them has, from the bottom up; what one refuses goes no further."""
    wanted = dict(found)
    result = _Filled([], set(), None)
    for level, fences, epoch in reversed(gaps):
        items = [
            (name, entry.as_of(epoch), fences[name]) for name, entry in wanted.items() if fences.get(name) is not None
        ]
        for name, entry, _ in items:
            logic.own.set(name, entry.version)
        try:
            accepted = yield from _accepted(level, items)
        except TierError as error:
            result.failed.update(name for name, _, _ in items)
            result = result._replace(trouble=error)
            continue
        except BaseException:
            logic._forget(wanted)  # nobody tells of what this process has stored itself
            raise
        level.fills += len(items)
        for (name, _, _), stored in zip(items, accepted, strict=True):
            if not stored:
                level.fills_refused += 1
                result.refused.append(name)
                del wanted[name]
                logic._forget((name,))
    return result


def _accepted(level: Level, items: list[tuple[str, Entry, Fence]]) -> Generator[Effect, Any, list[bool]]:
    """Fill a level; what it cannot take, such as too large a value, keeps nothing else from it. Raises TierError."""
    if not items:
        return []
    try:
        return list((yield Ask(level, "fill", items)))
    except CodecError:
        if len(items) == 1:
            return [True]  # a level may do without it
    half = len(items) // 2
    first = yield from _accepted(level, items[:half])
    return first + (yield from _accepted(level, items[half:]))
