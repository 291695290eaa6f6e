"""The warmer: strategies side by side, bounded in time, and a report of each."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import math
import threading
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, Final

from hotset.durations import finite, seconds
from hotset.errors import WarmingError, WarmingStopped
from hotset.tiered.cache import TieredCache
from hotset.warming.desk import board_of
from hotset.warming.effects import Both, in_thread
from hotset.warming.lists import dump_hot, write_whole
from hotset.warming.pace import Pace
from hotset.warming.report import WarmingReport
from hotset.warming.strategies import KEEP, Strategy, checked_limit, level_that
from hotset.warming.warmup import Warmup

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator
    from concurrent.futures import Future
    from typing import Self

    from hotset.durations import Duration
    from hotset.tiered.effects import Effect

# ruff: noqa: SLF001 - warming is a part of the tiered cache
__all__ = ["CacheWarmer"]

_GRACE: Final = 1.0  # seconds for functions in threads to notice that they are to stop
_POLL: Final = 0.1  # between two looks at whether a run is over that nobody can end any more
_STREAM_WAIT: Final = 2.0  # for the streams of shared levels, without which memory is not trusted
_LARGEST_NOTE: Final = 4 << 20  # bytes of names that are left for peers


class CacheWarmer:
    """Fills a cache before it is asked, by named strategies that run side by side.

    - `rate`: loads from the origin per second, of all strategies together; None for no bound.
    - `batch`: keys in a round trip, and in a `load_many` if the rate allows for so many in a tenth of a second. Without
      a `load_many` each strategy has at most 8 loads under way.
    - `timeout`: how long a run takes at most.
    - `progress`: True for a bar on standard error (needs `hotset[progress]`), or a function that is called, from any
      thread, with the name of a strategy, how many keys it has seen to, and how many there are or None.

    What a strategy brings is subject to all that holds for a `get`: fences, one load a key, the budget of loads. A
    strategy that fails stops no other. One run at a time. Raises TypeError, ValueError for arguments that make no
    sense.

    >>> from hotset import MemoryTier, TieredCache
    >>> cache = TieredCache("squares", [MemoryTier(1000)], load_many=lambda keys: {key: key * key for key in keys})
    >>> report = CacheWarmer(cache).add("small", from_keys(range(100))).run()
    >>> report.success, report["small"].items, cache.get(9)
    (True, 100, 81)
    >>> cache.close()
    """

    def __init__(
        self,
        cache: TieredCache[Any, Any],
        *,
        rate: float | None = None,
        batch: int = 500,
        timeout: Duration = 300.0,
        progress: bool | Callable[[str, int, int | None], object] = False,
    ) -> None:
        if not isinstance(cache, TieredCache):
            raise TypeError(f"cache must be a TieredCache, got {cache!r}")
        if isinstance(batch, bool) or not isinstance(batch, int):
            raise TypeError(f"batch must be an int, got {batch!r}")
        if not 1 <= batch <= 100_000:
            raise ValueError(f"batch must be from 1 to 100,000 keys, got {batch!r}")
        if not isinstance(progress, bool) and not callable(progress):
            raise TypeError(f"progress must be a bool or callable, got {progress!r}")
        self.cache: TieredCache[Any, Any] = cache
        self._pace = Pace(rate)
        self._batch = batch
        self._timeout = finite(timeout, name="timeout")
        self._progress = progress
        self._strategies: dict[str, tuple[Any, float]] = {}
        self._lock = threading.Lock()  # guards _run
        self._run: _Run | None = None
        self.report: WarmingReport | None = None

    def __repr__(self) -> str:
        return f"<CacheWarmer of {self.cache.name!r}: {', '.join(self._strategies) or 'no strategies'}>"

    def add(self, name: str, strategy: Strategy | Callable[[Warmup], Any], *, timeout: Duration | None = None) -> Self:
        """Add a strategy: a ready-made one, or a plain or coroutine function that is given a `Warmup`.

        A function that counts nothing by its Warmup may return the number of its items. A plain one runs in a thread
        of its own. `timeout` is for this strategy alone, within that of the run. Returns the warmer.
        """
        if type(name) is not str or not name:
            raise ValueError(f"name must be a str that is not empty, got {name!r}")
        if name in self._strategies:
            raise ValueError(f"there is a strategy {name!r} already")
        if not isinstance(strategy, Strategy):
            if not callable(strategy):
                raise TypeError(f"strategy must be a ready-made one or callable, got {strategy!r}")
            with contextlib.suppress(ValueError):  # it tells nothing of its arguments
                try:
                    inspect.signature(strategy).bind(None)
                except TypeError as error:
                    raise TypeError(f"strategy must take one argument, a Warmup, got {strategy!r}") from error
        limit = math.inf if timeout is None else seconds(timeout, name="timeout")
        self._strategies[name] = strategy, min(limit, self._timeout)
        return self

    def run(self) -> WarmingReport:
        """Run all strategies and return what came of them; raises RuntimeError where a loop runs: there, await `arun`.

        Ctrl-C stops them and comes through as KeyboardInterrupt; `report` tells then what had been done.
        """
        if _loop_runs():
            raise RuntimeError("run() would hold up the event loop of this thread: await arun()")
        shell = self.cache._shell
        loop = shell.portal()
        run = self._begin()
        over: Future[WarmingReport] | None = None
        try:
            over = asyncio.run_coroutine_threadsafe(self._go(run), loop)
            # In short waits: not on every system does Ctrl-C end a long one; and a closed cache's loop answers nobody.
            while not over.done() and not shell.closed:
                wait([over], _POLL)
        except BaseException:
            run.stop()
            if over is not None:
                wait([over], 3 * _GRACE)
            raise
        finally:
            self._end(run)
        return run.report()

    async def arun(self) -> WarmingReport:
        """Run all strategies on this event loop. Cancelled, it stops them; `report` tells what had been done."""
        return await self._go(self._begin())

    def stop(self) -> None:
        """Stop the run that goes on, if any; it returns with what was done. May be called from any thread."""
        with self._lock:
            run = self._run
        if run is not None:
            run.stop()

    def save(self, path: str | os.PathLike[str], *, limit: int | None = None) -> int:
        """Save the keys in memory, the hottest first, and what the policy knows of them, for `from_hot`; how many.

        To be called before the cache is closed, or now and then. The file is replaced at once: a crash leaves the old
        one or the new one. O(entries). Raises OSError; WarmingError if there is no memory.
        """
        uses = self._hottest(limit)
        write_whole(path, dump_hot(uses, self.cache.name))
        return len(uses)

    def publish(self, level: str | None = None, *, limit: int = 10_000, ttl: Duration = 3600.0) -> int:
        """Leave the hottest keys at a shared level for `from_peer` of other processes; how many.

        The list replaces that of whoever published last, and is good for `ttl`. Keys only, at most `limit` of them and
        4 MB. Raises TierError if the level does not take it; WarmingError if there is none, or no memory.
        """
        return int(self.cache._shell.drive(self._publishing(level, limit, finite(ttl, name="ttl"))))

    async def apublish(self, level: str | None = None, *, limit: int = 10_000, ttl: Duration = 3600.0) -> int:
        """See publish."""
        return int(await self.cache._shell.adrive(self._publishing(level, limit, finite(ttl, name="ttl"))))

    def _publishing(self, level: str | None, limit: int, ttl: float) -> Generator[Effect, Any, int]:
        _, _, board = level_that(self.cache, KEEP, board_of, level)
        uses = self._hottest(limit)
        room = itertools.accumulate(len(name) + 9 for name in uses)
        uses = {name: count for (name, count), size in zip(uses.items(), room, strict=True) if size <= _LARGEST_NOTE}
        yield Both(board.post, board.apost, dump_hot(uses, self.cache.name), ttl)
        return len(uses)

    def _hottest(self, limit: int | None) -> dict[str, int]:
        memory = self.cache._logic.memory
        if memory is None:
            raise WarmingError(f"the cache {self.cache.name!r} has no memory whose keys could be told")
        return memory.hottest(checked_limit(limit))

    def _begin(self) -> _Run:
        if not self._strategies:
            raise ValueError("there is nothing to run: add a strategy")
        with self._lock:
            if self._run is not None:
                raise RuntimeError("this warmer is at work already")
            tell: Any = self._progress
            bar = None
            if self._progress is True:
                from hotset.warming.progress import Bar  # noqa: PLC0415 - needs the extra

                bar = tell = Bar()
            self._run = _Run(self, bar, tell or None)
            return self._run

    async def _go(self, run: _Run) -> WarmingReport:
        try:
            await run.go()
        finally:
            self._end(run)
        return run.report()

    def _end(self, run: _Run) -> None:
        with self._lock:
            if self._run is run:
                run.close()
                self._run, self.report = None, run.report()


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Run:
    """One run of a warmer, on the loop that it is awaited on."""

    def __init__(self, warmer: CacheWarmer, bar: Any, tell: Any) -> None:
        self._cache = warmer.cache
        self._bar = bar
        self._pairs = [
            (strategy, Warmup(name, warmer.cache, warmer._pace, warmer._batch, limit, tell))
            for name, (strategy, limit) in warmer._strategies.items()
        ]
        self._begun = time.monotonic()
        self._ended: float | None = None
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def go(self) -> None:
        """Run to the end, or until it is cancelled or stopped."""
        self._loop = asyncio.get_running_loop()
        longest = max(warm.limit for _, warm in self._pairs)
        self._tasks = [self._loop.create_task(self._one(*pair), name=f"warm {pair[1].name}") for pair in self._pairs]
        if self._stopped:
            self._cancel()
        try:
            await asyncio.wait(self._tasks, timeout=longest + 2 * _GRACE)
        finally:
            left = [task for task in self._tasks if not task.done()]
            if left:
                self._cancel()
                # One that takes no notice is left alone.
                await asyncio.wait(left, timeout=2 * _GRACE)
            for _, warm in self._pairs:
                warm.end("stopped")

    def stop(self) -> None:
        """Have all strategies stopped. From any thread."""
        self._stopped = True
        for _, warm in self._pairs:
            warm.stop()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for _, warm in self._pairs:
            warm.stop()
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        """Give up what shows the progress."""
        self._ended = time.monotonic()
        if self._bar is not None:
            self._bar.close()

    def report(self) -> WarmingReport:
        """Return what has come of it so far."""
        until = time.monotonic() if self._ended is None else self._ended
        return WarmingReport(tuple(warm.report() for _, warm in self._pairs), until - self._begun)

    async def _one(self, strategy: Any, warm: Warmup) -> None:
        warm.begin()
        limit = asyncio.timeout(warm.limit)
        try:
            async with limit:
                await self._streams()
                await self._carry_out(strategy, warm)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                warm.end("stopped")
            else:  # as a cancellation it would be nobody's
                warm.end("failed", WarmingError("it raised CancelledError, and was not cancelled"))
        except TimeoutError as error:
            if limit.expired():
                warm.end("late", TimeoutError(f"it took longer than {warm.limit:g} s"))
            else:
                warm.end("failed", error)
        except WarmingStopped:
            warm.end("stopped")
        except BaseException as error:  # noqa: BLE001 - also an exit: it is one strategy's, and stops no other
            warm.end("failed", error)
        else:
            warm.end("done")

    async def _carry_out(self, strategy: Any, warm: Warmup) -> None:
        shell = self._cache._shell
        if isinstance(strategy, Strategy):
            await shell.adrive(strategy.flow(warm))
        elif inspect.iscoroutinefunction(strategy) or inspect.iscoroutinefunction(getattr(strategy, "__call__", None)):  # noqa: B004
            warm.returned(await strategy(warm))
        else:
            thread = in_thread(strategy, warm)
            try:
                result = await asyncio.shield(thread)
            except asyncio.CancelledError:
                warm.stop()
                await asyncio.wait([thread], timeout=_GRACE)
                thread.cancel()
                raise
            warm.returned(await result if inspect.isawaitable(result) else result)

    async def _streams(self) -> None:
        """Wait for the streams of shared levels: until they are alive, what is in memory would be looked at anew."""
        logic = self._cache._logic
        deadline = time.monotonic() + _STREAM_WAIT
        if logic.memory is not None and logic.streamed:
            while logic.guard.until <= time.monotonic() < deadline:  # noqa: ASYNC110 - it is a thread that it waits for
                await asyncio.sleep(0.01)
