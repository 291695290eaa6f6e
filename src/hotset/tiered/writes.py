"""Writing and removing: what the origin is told first, then the levels from the bottom up, then memory."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from hotset.errors import TierError
from hotset.names import name_of
from hotset.tiered.books import Books
from hotset.tiered.effects import Ask, Load

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from hotset.tiered.effects import Effect, Flow
    from hotset.tiered.level import Level
    from hotset.tiered.options import Options

__all__ = ["Writes"]


class Writes(Books):
    """The flows of a change."""

    def write(self, items: dict[Any, Any], options: Options, tags: tuple[str, ...], save: Any) -> Flow:
        """Store values: at the origin, if there is a `save`, then in all levels."""
        named = {name_of(key): (key, value) for key, value in items.items()}
        memory = self._memory()
        # Of two changes at once, here or in another process, nobody knows which is the later at the levels below, or
        # at the origin: then memory gets nothing.
        fences = memory.claim(named) if memory is not None else {}
        refusal: Exception | None = None
        if save is not None:
            for count, (key, value) in enumerate(list(named.values())):
                try:
                    yield Load(save, key, value)
                except Exception as error:
                    if not count:
                        raise
                    # What was saved before is the origin's value now.
                    named = dict(itertools.islice(named.items(), count))
                    refusal = error
                    break
        self._detach(named)
        asked = time.monotonic()
        entries = {name: self.entry_of(value, options, tags=tags) for name, (_, value) in named.items()}
        stored = [(name, entry) for name, entry in entries.items() if entry.life > 0]
        gone = [name for name, entry in entries.items() if entry.life <= 0]
        told = False
        left = list(reversed(self.below))
        try:
            while left:
                level = left[0]
                # Between a write beneath and one here, another host may have changed it: a read will bring it here.
                write, drop = ([], list(entries)) if level in self.pending.hearsay else (stored, gone)
                for name, entry in write:
                    self.own.set(name, entry.version)
                try:
                    if write:
                        yield Ask(level, "write", write)
                        told |= level.streams
                    if drop:
                        yield Ask(level, "remove", drop)
                    level.writes += len(entries)
                except TierError:
                    self.pending.writes(level, write)
                    self.pending.removes(level, drop)
                else:
                    self.pending.done(level, entries)
                left.pop(0)
        except BaseException:
            self._broken_off(named, left)
            raise
        self._detach(named)
        for name in named:
            self.departed.pop(name, None)
        self._forget(gone if memory is not None else named)
        if memory is not None:
            items_of_memory = [(name, entry, fences[name]) for name, entry in stored]
            for record in memory.put_many(items_of_memory, asked, own=True):
                if record is not None:
                    record.loose = self.streamed and not told
                    self._arm(record, options, None)
        if refusal is not None:
            raise refusal

    def _broken_off(self, names: Iterable[str], levels: Iterable[Level]) -> None:
        """A write or removal was cancelled, or its value cannot be encoded: nobody may believe in what there was."""
        names = list(names)
        self._detach(names)
        self._forget(names)
        for level in levels:
            self.pending.removes(level, names)

    def remove(self, keys: Iterable[Any], *, expire: bool = False, delete: Any = None) -> Flow:
        """Remove keys from all levels, or end their lives; from the origin first, if there is a `delete`."""
        keys = list(keys)
        if delete is not None:
            for key in keys:
                yield Load(delete, key)
        names = [name_of(key) for key in keys]
        self._detach(names, "expired by hand" if expire else "invalidated")
        self._forget(names, expire=expire)
        left = list(reversed(self.below))
        for name in names:
            self.own.set(name, b"")
        try:
            while left:
                level = left[0]
                try:
                    yield Ask(level, "remove", names, expire=expire)
                    level.writes += len(names)
                except TierError:
                    self.pending.removes(level, names)
                else:
                    self.pending.done(level, names)
                left.pop(0)
        except BaseException:
            self._broken_off(names, left)
            raise
        self._detach(names)
        self._forget(names, expire=expire)

    def invalidate(self, tags: Sequence[str]) -> Flow:
        """End the lives of all entries with one of these tags; CLEAR for all there are."""
        self._forget_tags(tags)
        left = list(reversed(self.below))
        try:
            while left:
                try:
                    yield Ask(left[0], "invalidate", tags)
                    left[0].writes += 1
                except TierError:
                    self.pending.invalidates(left[0], tags)
                left.pop(0)
        finally:  # also if it was cancelled
            for level in left:
                self.pending.invalidates(level, tags)
            self._forget_tags(tags)

    def touch(self, key: Any, options: Options) -> Generator[Effect, Any, bool]:
        """Give an entry a new time to live in all levels; whether any had it."""
        name = name_of(key)
        there = False
        for level in reversed(self.below):
            try:
                there |= yield Ask(level, "touch", name, options.ttl, options.ttl + options.kept)
            except TierError:
                continue
        if self.memory is not None:
            there |= self.memory.touch(name, options.ttl, options.ttl + options.kept)
        return there
