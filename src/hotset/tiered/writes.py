"""Writing and removing: the shared levels let go, the origin is told, then the levels from the bottom up, then memory.

**Through**, around, invalidate, and removals at the origin: shared levels that can hold names do so before the origin
is told, and settle after. Whenever the process dies in between, they have nothing of these names, and take nothing from
anybody until the hold has run out: what was loaded before the origin changed cannot come back.

**Behind**: the journal first, then the levels. Until the origin has a write, it is served in place of what levels and
origin say; when it has, what the levels say is compared once more, because another process may have loaded the older
value in the meantime.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from hotset.errors import JournalError, TierError, WriteError, WriteRefused
from hotset.names import name_of
from hotset.tiered.books import Books
from hotset.tiered.effects import Acknowledge, Ask, Carried, Load
from hotset.tiered.values import ABSENT
from hotset.tiered.write_policy import WritePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Sequence

    from hotset.tiered.behind import WriteBehind
    from hotset.tiered.effects import Effect, Flow
    from hotset.tiered.level import Level
    from hotset.tiered.options import Options
    from hotset.tiered.origin import Call
    from hotset.tiered.unsaved import Unsaved
    from hotset.tiers.contract import Entry, Fence

__all__ = ["Writes"]

_NOBODY: Final[frozenset[str]] = frozenset()
_EARLY: Final = 0.05  # the share of its life in which nobody loads an entry anew


class Writes(Books):
    """The flows of a change."""

    def write(
        self,
        items: dict[Any, Any],
        options: Options,
        tags: tuple[str, ...],
        save: Callable[[dict[Any, Any]], list[Call]] | None,
        policy: WritePolicy = WritePolicy.THROUGH,
    ) -> Flow:
        """Store values: at the origin, if there are calls to `save` them, then in all levels as the policy says."""
        names = {name_of(key): key for key in items}
        memory = self._memory()
        # Of two changes at once, here or in another process, nobody knows which is the later at the levels below, or
        # at the origin: then memory gets nothing.
        fences = memory.claim(names) if memory is not None else {}
        if save is not None:
            yield from self._carried(list(items))
        refusal = yield from self._whole(list(names), self._write(items, names, fences, options, tags, save, policy))
        if refusal is not None:
            raise refusal

    def _write(
        self,
        items: dict[Any, Any],
        names: dict[str, Any],
        fences: dict[str, Fence],
        options: Options,
        tags: tuple[str, ...],
        save: Callable[[dict[Any, Any]], list[Call]] | None,
        policy: WritePolicy,
    ) -> Generator[Effect, Any, Exception | None]:
        """Do what write does; what the origin has raised."""
        held: dict[Level, Any] = {}
        refusal: Exception | None = None
        stored = set(items)
        # What is kept for the case that the origin fails is kept while it is written to, too.
        expire = policy is WritePolicy.AROUND or (policy is WritePolicy.THROUGH and options.kept > 0)
        if save is not None:
            held = yield from self._hold(list(names), expire=expire)
            stored, refusal = yield from self._told(save, items)
        if policy is not WritePolicy.THROUGH:
            stored = set()
        self._detach(names)
        asked = time.monotonic()
        entries = {name: self.entry_of(items[key], options, tags=tags) for name, key in names.items() if key in stored}
        expire = expire and save is not None
        told = False
        contested: Collection[str] = _NOBODY
        if self.below:
            told, contested = yield from self._spread(list(names), entries, held, expire=expire)
        self._keep(names, entries, fences, contested, asked, options, told=told, expire=expire)
        return refusal

    def _whole(self, names: list[str], flow: Generator[Effect, Any, Any]) -> Generator[Effect, Any, Any]:
        """Do a change to its end, and return its result; if it is broken off nobody may believe in what there was.

        By a cancellation, by a Ctrl-C at any moment, or by a value that cannot be encoded.
        """
        try:
            return (yield from flow)
        except BaseException:
            self._detach(names)
            self._forget(names)
            for level in self.below:
                self.pending.removes(level, names)
            raise

    def _carried(self, keys: list[Any]) -> Flow:
        """Wait until the origin has the earlier writes behind of these keys: it must not get them after this one."""
        behind = self.behind
        if behind is None or not any(behind.find(name_of(key)) for key in keys):
            return
        if not (yield Carried(behind, keys)):
            raise WriteRefused(f"earlier writes behind of {keys!r} have not reached the origin in {behind.wait:g} s")

    def _hold(self, names: list[str], *, expire: bool) -> Generator[Effect, Any, dict[Level, Any]]:
        """Have the shared levels let go of names, and hold them; by what each does."""
        held: dict[Level, Any] = {}
        for level in self.below:
            if not getattr(level.tier, "holds", False):
                continue
            for name in names:
                self.own.set(name, b"")
            try:
                held[level] = yield Ask(level, "hold", names, expire=expire)
            except TierError:
                self.pending.removes(level, names)
        return held

    def _told(
        self, tell: Callable[[Any], Sequence[Call]], what: Collection[Any]
    ) -> Generator[Effect, Any, tuple[set[Any], Exception | None]]:
        """Call the origin, until it refuses; the keys that it has taken, and what it has raised.

        Dead letters of what it has taken are older, and end.
        """
        behind = self.behind
        last = 0 if behind is None else behind.last
        taken: set[Any] = set()
        refusal: Exception | None = None
        for call in tell(what):
            try:
                yield Load(call.function)
            except Exception as error:  # noqa: BLE001 - raised when the levels have been told of the rest
                refusal = error
                break
            taken.update(call.keys)
        if behind is not None and behind.supersede(map(name_of, taken), last):
            # Or a process that takes the journal up could replay what is older than this.
            with contextlib.suppress(WriteError):  # it is told later
                yield Acknowledge(behind, [])
        return taken, refusal

    def _spread(
        self, names: list[str], entries: dict[str, Entry], held: dict[Level, Any], *, expire: bool = False
    ) -> Generator[Effect, Any, tuple[bool, set[str]]]:
        """Tell the levels below what there is of names now: entries, or nothing.

        Returns whether one of them tells of changes, and which names somebody else has changed at the same time.
        """
        stored = {name: entry for name, entry in entries.items() if entry.life > 0}
        gone = [name for name in names if name not in stored]
        told = False
        contested: set[str] = set()
        for level in reversed(self.below):
            write, drop, ending = stored, gone, expire
            if level in self.pending.hearsay:
                # Between a write beneath and one here, another host may have changed it: a read will bring it here.
                # What was there goes, too: it is older than what is beneath.
                write, drop, ending = {}, names, expire and not stored
            else:
                for name in names:
                    self.own.set(name, stored[name].version if name in stored else b"")
            try:
                if level in held:
                    items = [(name, write.get(name)) for name in names]
                    alone = yield Ask(level, "settle", items, held[level], expire=ending)
                    contested.update(name for name, mine in zip(names, alone, strict=True) if not mine)
                else:
                    if write:
                        yield Ask(level, "write", list(write.items()))
                    if drop:
                        yield Ask(level, "remove", drop, expire=ending)
                level.writes += len(names)
                told |= level.streams and bool(write)
            except TierError:
                self.pending.writes(level, write.items())
                self.pending.removes(level, drop)
            else:
                self.pending.done(level, names)
        return told, contested

    def _keep(
        self,
        names: Collection[str],
        entries: dict[str, Entry],
        fences: dict[str, Fence],
        contested: Collection[str],
        asked: float,
        options: Options,
        *,
        told: bool,
        expire: bool = False,
    ) -> None:
        """Have memory keep what the levels below have been told, as far as nobody else has changed it."""
        memory = self.memory if fences else None
        self._detach(names)
        if self.departed:
            for name in names:
                self.departed.pop(name, None)
        stored = {name: entry for name, entry in entries.items() if entry.life > 0 and name not in contested}
        if memory is None or len(stored) < len(names):
            self._forget([name for name in names if memory is None or name not in stored], expire=expire)
        if memory is None:
            return
        items = [(name, entry, fences[name]) for name, entry in stored.items()]
        for record in memory.put_many(items, asked, own=True):
            if record is not None:
                record.loose = self.streamed and not told
                self._arm(record, options, None)

    def write_behind(self, items: dict[Any, Any], options: Options, tags: tuple[str, ...]) -> Flow:
        """Store values in the journal, then in all levels; ABSENT stands for a removal."""
        behind = self.behind
        assert behind is not None  # noqa: S101 - for the type checker: no policy is "behind" without
        memory = self._memory()
        unsaved = []
        for key, value in items.items():
            name = name_of(key)
            unsaved.append(behind.prepare(key, name, self.entry_of(value, options, tags=tags)))
        names = [item.name for item in unsaved]
        fences = memory.claim(names) if memory is not None else {}
        refusal = yield from self._whole(names, self._write_behind(behind, unsaved, fences, options))
        if refusal is not None:
            raise refusal

    def _write_behind(
        self, behind: WriteBehind, unsaved: list[Unsaved], fences: dict[str, Fence], options: Options
    ) -> Generator[Effect, Any, WriteError | None]:
        """Do what write_behind does; why none of it was made."""
        names = [item.name for item in unsaved]
        try:
            try:
                yield Acknowledge(behind, unsaved)
            except (WriteRefused, JournalError) as error:
                return error
            self._detach(names)
            asked = time.monotonic()
            entries = {item.name: item.entry for item in unsaved if item.entry is not None and not item.entry.absent}
            told, _ = yield from self._spread(names, entries, {})
            overtaken = {item.name for item in unsaved if item.overtaken}
            if overtaken:
                # The later write may have come to the levels before this one.
                yield from self._spread(list(overtaken), {}, {})
            self._keep(names, entries, fences, overtaken, asked, options, told=told)
        finally:
            behind.spread(unsaved)
        return None

    def carried(self, items: Sequence[Unsaved]) -> Flow:
        """The origin has writes behind: levels that have something else of them have it from before, and lose it.

        So does what others are loading, or may be about to refresh: they may have asked the origin before.
        """
        behind = self.behind
        items = [item for item in items if behind is not None and behind.find(item.name) in {None, item}]
        names = [item.name for item in items]
        for level in reversed(self.below if names else []):
            if not level.tier.shared:
                continue
            try:
                reading = yield Ask(level, "read", names)
                others = [
                    item.name
                    for item, found in zip(items, reading.found, strict=True)
                    if found.entry is None or item.entry is None or not _surely(found.entry, item.entry)
                ]
                if others:
                    yield Ask(level, "remove", others)
            except TierError:
                self.pending.removes(level, names)

    def remove(
        self,
        keys: Iterable[Any],
        *,
        expire: bool = False,
        delete: Callable[[Iterable[Any]], list[Call]] | None = None,
    ) -> Flow:
        """Remove keys from all levels, or end their lives; from the origin before, if there are calls to `delete`."""
        keys = list(keys)
        names = [name_of(key) for key in keys]
        if delete is not None:
            yield from self._carried(keys)
        refusal = yield from self._whole(names, self._remove(keys, names, delete, expire=expire))
        if refusal is not None:
            raise refusal

    def _remove(
        self,
        keys: list[Any],
        names: list[str],
        delete: Callable[[Iterable[Any]], list[Call]] | None,
        *,
        expire: bool,
    ) -> Generator[Effect, Any, Exception | None]:
        """Do what remove does; what the origin has raised."""
        held: dict[Level, Any] = {}
        refusal: Exception | None = None
        if delete is not None:
            held = yield from self._hold(names, expire=expire)
            _, refusal = yield from self._told(delete, keys)
        yield from self._let_go(names, held, expire=expire)
        return refusal

    def _let_go(self, names: list[str], held: dict[Level, Any], *, expire: bool) -> Flow:
        """Have memory forget names, and the levels below, which may have been held, and what has come up meanwhile."""
        self._detach(names, "expired by hand" if expire else "invalidated")
        self._forget(names, expire=expire)
        yield from self._spread(names, {}, held, expire=expire)
        self._detach(names)
        self._forget(names, expire=expire)

    def remove_behind(self, keys: Iterable[Any], options: Options) -> Flow:
        """Remove keys from all levels, and have the journal remember that the origin is to remove them."""
        yield from self.write_behind(dict.fromkeys(keys, ABSENT), options, ())

    def hold(self, keys: Iterable[Any], *, expire: bool = False) -> Flow:
        """Remove keys from all levels, and have those that can hold them until `release`; by what they do."""
        names = [name_of(key) for key in keys]
        self._detach(names)
        self._forget(names, expire=expire)
        return (yield from self._whole(names, self._hold(names, expire=expire)))

    def release(self, keys: Iterable[Any], held: dict[Level, Any], *, expire: bool = False) -> Flow:
        """Remove keys again, now that the origin has changed, and end what `hold` has begun."""
        names = [name_of(key) for key in keys]
        yield from self._whole(names, self._let_go(names, held, expire=expire))

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
        everywhere = True
        for level in reversed(self.below):
            try:
                touched = yield Ask(level, "touch", name, options.ttl, options.ttl + options.kept)
            except TierError:
                touched = False
            there |= touched
            # What takes no fills has no lives of its own.
            everywhere &= touched or not level.tier.shared
        if self.memory is not None:
            extended = self.memory.touch(name, options.ttl, options.ttl + options.kept, longer=everywhere)
            there |= extended
        return there


def _surely(found: Entry, written: Entry) -> bool:
    """Whether a level has what was written, and nobody who refreshes it early has begun to."""
    return found.version == written.version and found.age <= _EARLY * (found.age + found.life)
