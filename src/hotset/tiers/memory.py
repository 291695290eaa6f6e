"""The level in this process: any policy of the engine, with the values themselves.

What is kept of a name is a `Record`: the value, until when it may be served without asking anyone (that is all that the
hit path looks at, in C), and what the slower paths want to know. Fills are guarded by generations: a write or removal
counts up the generation of its name (names share 4,096 of them, so that nothing has to be remembered for long), and a
fill that began under an older one is refused. An invalidation by tag does the same with one number for all tags.

Cost: the engine's bytes an entry, and about 200 for the record.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from array import array
from typing import TYPE_CHECKING, Any, Final

from hotset._engine import make_record, plan_recording, put_records
from hotset.durations import seconds
from hotset.errors import TierError
from hotset.forks import tell_child
from hotset.names import key_of, name_of
from hotset.policies import policy_class, uses_of
from hotset.tiers.contract import CLEAR, Entry, Found, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from hotset._engine import Cache, Record
    from hotset.annotations import Cause, PolicyName
    from hotset.durations import Duration
    from hotset.tiers.contract import Fence, Listener, Opened

__all__ = ["Fences", "MemoryTier", "entry_of"]

_GENERATIONS: Final = 4096
_MOST_TAGS: Final = 10_000  # invalidated ones that are remembered; then all fences are broken, and none is
_USED_AT_ONCE: Final = 200  # names, under the lock
_NEVER: Final = -math.inf


_PLAN: Final = plan_recording(Entry)


def entry_of(record: Record, now: float) -> Entry:
    """Return what a record holds, as tiers pass it on."""
    return Entry(
        record.value,
        record.version,
        record.deadline - now,
        record.gone - now,
        now - record.born,
        record.cost,
        record.absent,
        record.tags,
        record.epoch,
        record.writer,
    )


class Fences:
    """The fences of all names, as of one moment."""

    __slots__ = ("_epoch", "_generations", "changes")

    def __init__(self, generations: array[int], epoch: int, changes: int) -> None:
        self._generations = generations
        self._epoch = epoch
        self.changes = changes

    def __getitem__(self, name: str) -> Fence:
        return self._generations[hash(name) % _GENERATIONS], self._epoch


class MemoryTier:
    """A bounded level in memory, of this process alone.

    `maxsize` entries by any policy of the engine; with `getsizeof` the bound of the sum of what it says of each value,
    such as bytes. `ttl` (seconds, a timedelta or text such as "5m") is the longest that anything lives here, whatever
    the levels below say. Values are not copied: who changes one changes it for all. All operations are O(1) a name and
    thread-safe.
    """

    shared = False

    def __init__(
        self,
        maxsize: float,
        policy: PolicyName = "auto",
        *,
        ttl: Duration | None = None,
        getsizeof: Callable[[Any], float] | None = None,
        name: str = "memory",
    ) -> None:
        self.name = name
        self.policy = policy
        self.longest = math.inf if ttl is None else seconds(ttl, name="ttl")
        self._sized = getsizeof is not None
        sizeof = None if getsizeof is None else _of_value(getsizeof)
        # The values are Records; `ttl` is given an entry at a time.
        self.store: Cache[Hashable, Record] = policy_class(policy)(maxsize, getsizeof=sizeof, on_evict=self._left)
        # Guards generations, epoch and tagged, and makes "look at the generation and store" one step. The engine's own
        # operations are called under it; nothing that waits is.
        self._lock = threading.RLock()
        self._generations = array("Q", bytes(8 * _GENERATIONS))
        self._changes = 0  # of generations and epoch
        self._epoch = 0
        self._epochs: dict[str, int] = {}
        self._tagged: dict[str, set[Hashable]] = {}
        self._owner: Listener | None = None
        tell_child(self)

    def after_fork(self) -> None:
        """Begin anew in a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<MemoryTier {self.name!r} {self.policy} {self.store.currsize}/{self.store.maxsize}>"

    def open(self, namespace: str, listener: Listener) -> None:
        """Belong to one cache."""
        if self._owner is not None and self._owner is not listener:
            raise TierError(f"{self!r} belongs to another cache already: give {namespace!r} a tier of its own")
        self._owner = listener

    def close(self) -> None:
        """Forget everything."""
        self.store.clear()

    # Reading

    def fence(self, name: str) -> Fence:
        """Return a fence for whatever is there, or is not there, now."""
        return self._generations[hash(name) % _GENERATIONS], self._epoch

    def fences(self) -> Fences:
        """Return the fences of all names as they are now."""
        with self._lock:
            return Fences(self._generations[:], self._epoch, self._changes)

    def has(self, name: str) -> bool:
        """Whether there is anything of a name. No use of it."""
        return self.store.peek(key_of(name)) is not None

    def read(self, names: Sequence[str]) -> Reading:
        """Look names up; each counts as a use."""
        now = time.monotonic()
        found = []
        for name in names:
            fence = self.fence(name)
            record = self.store.get(key_of(name))
            found.append(Found(None if record is None or record.gone <= now else entry_of(record, now), fence))
        return Reading(found, self._epoch)

    lease = read

    def hottest(self, most: int | None = None) -> dict[str, int]:
        """Return the names of what lives here and their uses (see uses_of), what the policy would evict last first.

        No use of them. O(n).
        """
        now = time.monotonic()
        hottest = reversed(uses_of(self.policy, self.store))
        alive = ((key, uses) for key, record, uses in hottest if record.deadline > now and not record.absent)
        return {name_of(key): uses for key, uses in itertools.islice(alive, most)}

    def use(self, uses: Sequence[tuple[str, int]]) -> None:
        """Count so many uses of each name, in this order, as reads do; for the policy, not for the statistics."""
        now = time.monotonic()
        peek, touch = self.store.peek, self.store.touch
        for start in range(0, len(uses), _USED_AT_ONCE):
            with self._lock:
                for name, count in uses[start : start + _USED_AT_ONCE]:
                    key = name if name[:1] != "~" else key_of(name)
                    record = peek(key)
                    if record is not None and record.gone > now:
                        life = record.gone - now if record.gone < math.inf else None
                        for _ in range(count):
                            touch(key, life)

    # Writing

    def claim(self, names: Iterable[str]) -> dict[str, Fence]:
        """Break the fences of names, and return new ones."""
        with self._lock:
            for name in names:
                self._change(name)
            return {name: self.fence(name) for name in names}

    def _change(self, name: str) -> None:
        """Break the fences of a name."""
        self._generations[hash(name) % _GENERATIONS] += 1
        self._changes += 1

    def put(
        self,
        name: str,
        entry: Entry,
        confirmed: float,
        fence: Fence = None,
        *,
        own: bool = False,
        made: float | None = None,
    ) -> Record | None:
        """Store one entry; see put_many."""
        with self._lock:
            held = fence is None or self._holds(name, entry, fence)
            if fence is None or own:
                self._change(name)
            return self._put(name, entry, confirmed, confirmed if made is None else made, held, own)

    def put_many(
        self,
        items: Sequence[tuple[str, Entry, Fence]],
        confirmed: float,
        *,
        own: bool = False,
        made: float | None = None,
    ) -> list[Record | None]:
        """Store entries, those for which a fence is given only if it holds; the records, None for what was refused.

        `confirmed` is the moment at which the entries were asked for where they come from; their times are as of then,
        or as of `made`. `own`: a shared level was given them, too, of which this process is not told. So they break the
        fences of what was read before, and where one is refused itself, what is here may be older and goes.
        """
        with self._lock:
            # All before the first is stored: names that share a generation must not refuse each other.
            holds = [fence is None or self._holds(name, entry, fence) for name, entry, fence in items]
            for name, _, fence in items:
                if fence is None or own:
                    self._change(name)
            made = confirmed if made is None else made
            return [
                self._put(name, entry, confirmed, made, held, own)
                for (name, entry, _), held in zip(items, holds, strict=True)
            ]

    def _put(self, name: str, entry: Entry, confirmed: float, made: float, held: bool, own: bool) -> Record | None:  # noqa: FBT001
        """Store an entry if its fence has held; under the lock."""
        if held:
            record = make_record(_PLAN, entry, made, confirmed, self.longest)
            self._store(key_of(name), record, entry)
            return record
        if own:
            key = key_of(name)
            self._untag(key)
            self.store.pop(key, None)
        return None

    def put_opened(
        self,
        keys: Iterable[Hashable],
        opened: Opened,
        confirmed: float,
        fences: Fences,
        *,
        until: float,
        loose: bool,
    ) -> bool:
        """Store what was read and opened together; False if it takes put_many to do it.

        They are served until that moment at most. Cheap, because nothing has changed since the fences were taken.
        """
        with self._lock:
            if fences.changes != self._changes or self._tagged or self._sized:
                return False
            put_records(self.store, list(keys), *opened, confirmed, self.longest, until, loose)
        return True

    def _store(self, key: Hashable, record: Record, entry: Entry) -> None:
        if self._tagged:
            self._untag(key)
        keep = entry.keep
        if keep <= 0:
            self.store.pop(key, None)
            return
        try:
            if keep < math.inf:
                self.store.set(key, record, ttl=keep)
            else:
                self.store[key] = record
        except BaseException as error:
            self.store.pop(key, None)  # what was there is older and goes
            if isinstance(error, ValueError):  # larger than the whole tier
                return
            raise
        for tag in entry.tags:
            self._tagged.setdefault(tag, set()).add(key)

    def _holds(self, name: str, entry: Entry, fence: Fence) -> bool:
        generation, epoch = fence
        if generation != self._generations[hash(name) % _GENERATIONS]:
            return False
        return epoch == self._epoch or all(self._epochs.get(tag, 0) <= epoch for tag in (*entry.tags, CLEAR))

    def fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """Store loaded entries whose fence holds."""
        now = time.monotonic()
        return [fence is not None and self.put(name, entry, now, fence) is not None for name, entry, fence in items]

    def write(self, items: Sequence[tuple[str, Entry]]) -> None:
        """Store entries whatever is there."""
        now = time.monotonic()
        for name, entry in items:
            self.put(name, entry, now)

    def remove(self, names: Iterable[str], *, expire: bool = False) -> None:
        """Drop names, or end their lives."""
        with self._lock:
            for name in names:
                self._change(name)
                key = key_of(name)
                record = self.store.peek(key)
                if record is None:
                    continue
                if expire:
                    record.until = _NEVER
                    record.deadline = _NEVER
                else:
                    self._untag(key)
                    self.store.pop(key, None)

    def touch(self, name: str, life: float, keep: float, *, longer: bool = True) -> bool:
        """Give an entry new times, unless they are not to be longer and would be. A life that was ended stays so."""
        now = time.monotonic()
        life = min(life, self.longest)
        with self._lock:
            record = self.store.peek(key_of(name))
            if record is None:
                return False
            if not longer and now + life > record.deadline:
                return False
            if record.deadline > _NEVER:
                record.deadline = now + life
            record.gone = now + keep
            record.until = _NEVER  # whoever reads it next finds out how long it may be served
            self.store.touch(key_of(name), ttl=keep)
        return True

    def invalidate(self, tags: Iterable[str]) -> int:
        """End the lives of all entries with one of these tags, and break the fences of loads that may bring one."""
        with self._lock:
            self._epoch += 1
            self._changes += 1
            if len(self._epochs) > _MOST_TAGS:
                self._epochs = {CLEAR: self._epoch}
            for tag in tags:
                self._epochs[tag] = self._epoch
                if tag == CLEAR:
                    self._epochs = {CLEAR: self._epoch}
                    self._tagged.clear()
                    self.store.clear()
                    continue
                for key in self._tagged.pop(tag, ()):
                    self._untag(key)
                    self.store.pop(key, None)
        return self._epoch

    def doubt(self) -> None:
        """Have every entry looked at before it is served again."""
        for _, record in self.store.coldest():
            record.until = _NEVER

    def _untag(self, key: Hashable) -> None:
        if self._tagged:
            record = self.store.peek(key)
            if record is not None and record.tags:
                self._forget_tags(key, record)

    def _forget_tags(self, key: Hashable, record: Record) -> None:
        for tag in record.tags:
            keys = self._tagged.get(tag)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._tagged[tag]

    def _left(self, key: Hashable, record: Record, cause: Cause) -> None:
        # An entry that the engine evicts or that expires leaves its tags; the others have been seen to.
        if record.tags and cause in {"size", "expired"}:
            with self._lock:
                current = self.store.peek(key)
                if current is None or not current.tags:
                    self._forget_tags(key, record)

    # For asyncio: nothing here waits

    async def aclose(self) -> None:
        """See close."""
        self.close()

    async def aread(self, names: Sequence[str]) -> Reading:
        """See read."""
        return self.read(names)

    async def alease(self, names: Sequence[str]) -> Reading:
        """See lease."""
        return self.read(names)

    async def afill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """See fill."""
        return self.fill(items)

    async def awrite(self, items: Sequence[tuple[str, Entry]]) -> None:
        """See write."""
        self.write(items)

    async def aremove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """See remove."""
        self.remove(names, expire=expire)

    async def atouch(self, name: str, life: float, keep: float) -> bool:
        """See touch."""
        return self.touch(name, life, keep)

    async def ainvalidate(self, tags: Sequence[str]) -> int:
        """See invalidate."""
        return self.invalidate(tags)


def _of_value(getsizeof: Callable[[Any], float]) -> Callable[[Record], float]:
    def size(record: Record) -> float:
        return getsizeof(record.value)

    return size
