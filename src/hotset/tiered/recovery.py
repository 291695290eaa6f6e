"""What a shared tier has missed: operations that failed there, kept until it answers again, to be replayed then.

One operation a name, the latest; they leave in the order in which they came, the order in which the cache did them.
The queue is bounded: the oldest is dropped and counted. An operation that has outlived what it was about, such as the
write of an entry whose life is over, is dropped when its turn comes.

How it is used::

    put(name, operation)      an operation has failed
    drop(name)                a later one on the same name went through: what is pending is out of date
    failed(), answered()      the tier is away; is back. Replay begins `delay` after, when other processes are back, too
    take()                    the oldest operations, if it is time; each of them is then reported with
    done(item)                it was replayed. False if there was a later one on its name meanwhile: nobody knows which
                              of the two the tier did first, and the caller must remove the name there
    put_back(items)           it failed again: they go back to the front, and the whole queue pauses, longer every time

The queue pauses as a whole because an item that waited alone would be overtaken by those after it. One caller at a
time should replay; with several, no operation is lost, but their order is.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from hotset.durations import finite, seconds
from hotset.forks import tell_child

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from hotset.durations import Duration

__all__ = ["Item", "Recovery", "RecoveryStats"]

_T = TypeVar("_T")


class Item(Generic[_T]):
    """One operation on its way: what failed, under which name, when, and how often it was tried again."""

    __slots__ = ("moment", "name", "operation", "tries", "until")

    def __init__(self, name: Hashable, operation: _T, moment: float, until: float) -> None:
        self.name = name
        self.operation = operation
        self.moment = moment  # by the queue's clock
        self.until = until  # when it is too old to matter
        self.tries = 0

    def __repr__(self) -> str:
        return f"<Item {self.name!r}: {self.operation!r}>"


class RecoveryStats(NamedTuple):
    """Operations pending and being replayed now; and counts of what has become of the others."""

    pending: int
    replaying: int
    replayed: int
    superseded: int  # by a later operation on the same name
    expired: int
    overflowed: int
    retries: int


class Recovery(Generic[_T]):
    """A bounded queue of failed operations, the latest per name. Thread-safe; O(1) an operation.

    `delay` is the time before a replay, which doubles after each failed one, up to `longest`; no operation is replayed
    that failed longer ago than `max_age`.
    """

    def __init__(
        self,
        max_items: int = 10_000,
        *,
        delay: Duration = 2.0,
        longest: Duration = 60.0,
        max_age: Duration = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if type(max_items) is not int:
            raise TypeError(f"max_items must be an int, not {max_items!r}")
        if max_items < 1:
            raise ValueError(f"max_items must be 1 or more, not {max_items!r}")
        self.max_items = max_items
        self._delay = finite(delay, name="delay")
        self._longest = max(finite(longest, name="longest"), self._delay)
        self._max_age = seconds(max_age, name="max_age")
        self._clock = clock
        # Guards all below. Reentrant: a name's __eq__ or a finalizer may use the same cache.
        self._lock = threading.RLock()
        self._pending: OrderedDict[Hashable, Item[_T]] = OrderedDict()  # from the oldest to the latest
        self._replaying: dict[Hashable, Item[_T]] = {}
        self._from = -math.inf  # no replay before; infinite while the tier is away
        self._pause = self._delay  # after the next failed replay
        self._replayed = self._superseded = self._expired = self._overflowed = self._retries = 0
        tell_child(self)

    def __len__(self) -> int:
        """Count the operations that are pending or being replayed."""
        with self._lock:
            return len(self._pending) + len(self._replaying)

    def __contains__(self, name: object) -> bool:
        """Whether the tier has missed something on a name, or may have, as it is being replayed."""
        if not self.busy:
            return False
        with self._lock:
            return name in self._pending or name in self._replaying

    @property
    def busy(self) -> bool:
        """Whether anything is pending or being replayed. Takes no lock."""
        return bool(self._pending or self._replaying)

    def put(self, name: Hashable, operation: _T, *, life: float = math.inf) -> None:
        """Keep a failed operation that matters for `life` seconds, in place of an earlier one on the same name."""
        with self._lock:
            now = self._clock()
            self._supersede(name)
            if not self._pending:
                self._from = max(self._from, now + self._delay)
            elif len(self) >= self.max_items:
                self._pending.popitem(last=False)
                self._overflowed += 1
            self._pending[name] = Item(name, operation, now, now + min(life, self._max_age))

    def drop(self, name: Hashable) -> None:
        """Forget what is pending on a name, because a later operation on it went through."""
        if self.busy:  # else every write would take the lock, for nothing as a rule
            with self._lock:
                self._supersede(name)

    def clear(self) -> None:
        """Forget everything, because a later operation on all names went through."""
        with self._lock:
            self._superseded += len(self._pending) + len(self._replaying)
            self._pending.clear()
            self._replaying.clear()

    def failed(self) -> None:
        """Note that the tier is away: nothing is replayed until `answered`."""
        self._from = math.inf

    def answered(self) -> None:
        """Note that the tier is back: replay begins `delay` from now. Changes nothing if it was not away."""
        with self._lock:
            if self._from == math.inf:
                self._from = self._clock() + self._delay

    def due_in(self) -> float:
        """Return seconds until `take` returns something: infinite if nothing is pending or the tier is away."""
        with self._lock:
            return max(0.0, self._from - self._clock()) if self._pending else math.inf

    def take(self, most: int = 100) -> list[Item[_T]]:
        """Take the oldest operations out to replay them in this order; none if it is not time yet."""
        items: list[Item[_T]] = []
        with self._lock:
            now = self._clock()
            if now < self._from:
                return items
            while self._pending and len(items) < most:
                name, item = self._pending.popitem(last=False)
                if item.until <= now:
                    self._expired += 1
                else:
                    self._replaying[name] = item
                    items.append(item)
        return items

    def done(self, item: Item[_T]) -> bool:
        """Note that an operation was replayed; False if a later one on its name went through or failed meanwhile."""
        with self._lock:
            self._pause = self._delay
            if self._replaying.get(item.name) is not item:
                return False
            del self._replaying[item.name]
            self._replayed += 1
            return True

    def put_back(self, items: Iterable[Item[_T]]) -> None:
        """Keep operations that failed once more, in the order of `take`, unless a later one on the name has come."""
        with self._lock:
            items = [item for item in items if self._replaying.get(item.name) is item]
            if not items:
                return
            for item in items:
                del self._replaying[item.name]
            for item in reversed(items):
                item.tries += 1
                self._retries += 1
                if len(self) >= self.max_items:
                    self._overflowed += 1
                    continue
                self._pending[item.name] = item
                self._pending.move_to_end(item.name, last=False)
            self._from = max(self._from, self._clock() + self._pause)
            self._pause = min(self._pause * 2, self._longest)

    def stats(self) -> RecoveryStats:
        """Return the counts as of now."""
        with self._lock:
            return RecoveryStats(
                len(self._pending),
                len(self._replaying),
                self._replayed,
                self._superseded,
                self._expired,
                self._overflowed,
                self._retries,
            )

    def after_fork(self) -> None:
        """Begin anew in a forked child: the parent replays what it has missed."""
        self._lock = threading.RLock()
        self._pending = OrderedDict()
        self._replaying = {}

    def _supersede(self, name: Hashable) -> None:
        """Forget what is known of a name."""
        if self._pending.pop(name, None) is not None:
            self._superseded += 1
        if self._replaying.pop(name, None) is not None:
            self._superseded += 1
