"""What a strategy is given: the cache, the budget, and the count of what it has done.

All that takes time is a flow (see `hotset.tiered.effects`), so that threads and event loops share it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from hotset.errors import TierError
from hotset.warming.effects import Elsewhere, Pause
from hotset.warming.report import StrategyReport
from hotset.warming.transfer import Transfer, transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from hotset.tiered.cache import TieredCache
    from hotset.tiered.effects import Effect
    from hotset.tiered.level import Level
    from hotset.warming.pace import Pace
    from hotset.warming.report import Outcome

# ruff: noqa: SLF001 - warming is a part of the tiered cache
__all__ = ["Tell", "Warmup", "checked_keys"]

# Called with a strategy's name, what it has done, and how much there is to do if that is known.
Tell: TypeAlias = "Callable[[str, int, int | None], object]"

_PAUSES: Final = (0.1, 0.4)  # before a level that failed is asked again
_SMALLER: Final = 4  # times less at once, if it was too much for the level's timeout
_LOADS_AT_ONCE: Final = 8  # of single keys: as many queries as there are keys in a batch would be too many
_GIVE_UP: Final = 3  # loads in a row of which nothing came: the origin is down


class Warmup:
    """One strategy of a run.

    For a strategy of one's own: `cache`; `load` and `aload`, which warm keys within the budget; `take` and `atake`, to
    stay within it when the origin is asked by other means, and `done` to count what came of that. A long one looks at
    `stopping` now and then. Thread-safe.
    """

    def __init__(
        self, name: str, cache: TieredCache[Any, Any], pace: Pace, batch: int, limit: float, tell: Tell | None
    ) -> None:
        self.name = name
        self.cache: TieredCache[Any, Any] = cache
        self.batch = batch
        self.limit = limit  # seconds it may take
        self._pace = pace
        self._tell = tell
        self._stop = threading.Event()
        self._lock = threading.Lock()  # guards all below
        self._outcome: Outcome = "waiting"
        self._items = self._loaded = self._missing = self._failed = 0
        self._total: int | None = None
        self._error: BaseException | None = None
        self._begun = self._ended = 0.0
        self._in_a_row = 0  # failed loads
        self._patient = True  # the level that was asked last has answered

    def __repr__(self) -> str:
        return f"<Warmup {self.report()}>"

    # For strategies of one's own

    @property
    def stopping(self) -> bool:
        """Whether to come to an end: the run was stopped, or the time is up."""
        return self._stop.is_set()

    def load(self, keys: Iterable[Any]) -> int:
        """Warm keys: bring them up from the levels that have them, and load the others within the budget.

        Returns how many can be served now. Raises WarmingStopped if the run is stopped; TypeError for what is no key;
        and what the loader raises, if it fails several times in a row.
        """
        return self.cache._shell.drive(self.loading(keys))

    async def aload(self, keys: Iterable[Any]) -> int:
        """See load."""
        return cast("int", await self.cache._shell.adrive(self.loading(keys)))

    def take(self, count: int = 1) -> None:
        """Wait until the origin may be asked for so many more. Raises WarmingStopped."""
        self.cache._shell.drive(self._drawing(count))

    async def atake(self, count: int = 1) -> None:
        """See take."""
        await self.cache._shell.adrive(self._drawing(count))

    def done(self, count: int = 1) -> None:
        """Count items that the strategy has warmed by its own means."""
        self._count(items=count)

    # Flows

    def loading(self, keys: Iterable[Any], *, until_full: bool = False) -> Generator[Effect, Any, int]:
        """See load. With `until_full` it ends when memory begins to evict."""
        full = self.fullness() if until_full else None
        iterator = iter(checked_keys(keys))
        slow = not isinstance(keys, Collection)  # a generator may wait for a file or a database
        if not slow:
            self.expect(len(cast("Collection[Any]", keys)))
        there = 0
        while True:
            yield Pause(0.0, self._stop)
            if slow:
                batch = yield Elsewhere(_batch, iterator, self.batch)
            else:
                batch = _batch(iterator, self.batch)
            if not batch:
                break
            there += yield from self._warm(batch)
            if full is not None and self.fullness() != full:
                break
        return there

    def bringing(
        self, levels: Sequence[Level], keys: Sequence[Any], *, between: int = 0
    ) -> Generator[Effect, Any, int]:
        """Bring keys up from these levels, the first `between` of them too; how many are there. Nothing is loaded.

        Raises TierError. What a level between has not taken is counted as failed.
        """
        found = yield from self._transferred(levels, keys, between=between)
        if found.failure is not None:
            raise found.failure
        taken = found.there - found.short
        self._count(items=taken, missing=len(found.missing), failed=found.short, error=found.trouble)
        return taken

    def patiently(self, effect: Effect) -> Generator[Effect, Any, Any]:
        """Ask a tier, and again if it fails. Raises TierError."""
        for pause in _PAUSES:
            try:
                return (yield effect)
            except TierError:
                yield Pause(pause, self._stop)
        return (yield effect)

    def expect(self, total: int | None) -> None:
        """Say how much there is to do, for those who watch; None for unknown."""
        with self._lock:
            if total is not None:
                self._total = (self._total or 0) + total
        self._count()

    def fullness(self) -> int:
        """Return what changes when memory evicts."""
        memory = self.cache._logic._memory()
        return 0 if memory is None else memory.store.stats().evictions

    def _warm(self, keys: Sequence[Any]) -> Generator[Effect, Any, int]:
        loader_of = self.cache._loader_of
        found = yield from self._transferred(self.cache._logic.below, keys)
        left = [key for key in found.missing if loader_of(key) is not None]
        alone = len(found.missing) - len(left)  # nobody can load them
        if found.failure is None:
            self._count(items=found.there, missing=alone)
        else:  # the origin can do without the level; what it was asked for in vain is to be told
            self._count(items=found.there, failed=alone, error=found.failure)
        there = found.there
        together = [key for key in left if self._together(key)]
        apart = [key for key in left if not self._together(key)]
        for some, most in ((together, self.batch), (apart, min(self.batch, _LOADS_AT_ONCE))):
            size = max(1, self._pace.most(most))
            for start in range(0, len(some), size):
                chunk = some[start : start + size]
                yield from self._drawing(len(chunk))
                there += yield from self._fetch(chunk)
        return there

    def _together(self, key: Any) -> bool:
        """Whether a key is loaded by `load_many`."""
        return self.cache._load_many is not None and self.cache._loader_of(key) is self.cache._load

    def _fetch(self, keys: list[Any]) -> Generator[Effect, Any, int]:
        """Have keys loaded; how many there are."""
        try:
            values = yield from self.cache._get_many(keys, {})
        except Exception as error:
            # Some of them may have been loaded, and the others not.
            again = yield from transfer(self.cache._logic, self.cache._logic.below, keys, self.cache._loader_of)
            there = again.there
            self._count(items=there, loaded=there, failed=len(again.missing), error=error)
            self._in_a_row = 0 if there else self._in_a_row + 1
            if self._in_a_row >= _GIVE_UP:
                raise
        else:
            there = len(values)
            self._in_a_row = 0
            self._count(items=there, loaded=there, missing=len(keys) - there)
        return there

    def _transferred(
        self, levels: Sequence[Level], keys: Sequence[Any], *, between: int = 0
    ) -> Generator[Effect, Any, Transfer]:
        """Bring keys up. A level that fails is asked again for less at once, unless it failed the last time, too."""
        logic, loader_of = self.cache._logic, self.cache._loader_of
        found = yield from transfer(logic, levels, keys, loader_of, between=between)
        there, size = found.there, len(keys)
        short, trouble = found.short, found.trouble
        for pause in _PAUSES if self._patient else ():
            if found.failure is None:
                break
            yield Pause(pause, self._stop)
            left, size = found.missing, -(-size // _SMALLER)
            found = Transfer(0, [], None)
            for start in range(0, len(left), size):
                some = yield from transfer(logic, levels, left[start : start + size], loader_of, between=between)
                there += some.there
                short += some.short
                trouble = trouble or some.trouble
                found = Transfer(there, found.missing + some.missing, found.failure or some.failure)
                if some.failure is not None:
                    found.missing.extend(left[start + size :])
                    break
        self._patient = found.failure is None
        return found._replace(there=there, short=short, trouble=trouble)

    def _drawing(self, count: int) -> Generator[Effect, Any, None]:
        left = count
        while left > 0:
            some = max(1, self._pace.most(left))
            yield Pause(self._pace.draw(some), self._stop)
            left -= some

    # The run's side

    def begin(self) -> None:
        """Begin to count the time."""
        with self._lock:
            self._outcome, self._begun = "running", time.monotonic()

    def end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """Say what came of it; what has ended stays so."""
        with self._lock:
            if self._outcome in {"waiting", "running"}:
                self._ended = time.monotonic()
                self._begun = self._begun or self._ended
                self._outcome = outcome
                self._error = error or self._error
        self.stop()

    def stop(self) -> None:
        """Have it come to an end at its next step."""
        self._stop.set()

    def returned(self, result: Any) -> None:
        """Take in what a function returned: the number of its items, if it has counted none."""
        if type(result) is int and not self._items:
            self._count(items=result)

    def report(self) -> StrategyReport:
        """Return how far it has come."""
        with self._lock:
            until = time.monotonic() if self._outcome == "running" else self._ended
            return StrategyReport(
                self.name,
                self._outcome,
                self._items,
                self._loaded,
                self._missing,
                self._failed,
                until - self._begun if self._begun else 0.0,
                self._error,
            )

    def _count(
        self, *, items: int = 0, loaded: int = 0, missing: int = 0, failed: int = 0, error: BaseException | None = None
    ) -> None:
        with self._lock:
            if self._outcome != "running":
                return  # a thread that was left alone: the report is made
            self._items += items
            self._loaded += loaded
            self._missing += missing
            self._failed += failed
            self._error = self._error or error
            seen = self._items + self._missing + self._failed
            total = self._total
        if self._tell is not None:
            self._tell(self.name, seen, total)


def checked_keys(keys: Any) -> Iterable[Any]:
    """Return keys. Raises TypeError for what is no iterable of them; a str or bytes would be keys of one character."""
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        raise TypeError(f"keys must be an iterable of keys, got {keys!r}")
    return keys


def _batch(iterator: Iterator[Any], size: int) -> list[Any]:
    return list(itertools.islice(iterator, size))
