"""The shell around the flows: drives them by blocking or on an event loop, and owns the threads and tasks for that."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
import weakref
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from hotset.errors import CodecError, LoadError
from hotset.forks import tell_child
from hotset.tiers.contract import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hotset.tiered.budget import Budget
    from hotset.tiered.effects import Flow
    from hotset.tiered.level import Level

__all__ = ["Shell"]

# Threads for loads that are not waited for to the end, and for plain loaders under asyncio.
_BACKGROUND_THREADS = 64
# What loaders mostly return, and nobody can await; to find that out of a value takes as long as a short loader.
_VALUES = frozenset((dict, list, tuple, set, str, bytes, int, float, bool, type(None)))

if TYPE_CHECKING:
    _Turn = list[tuple[Any, asyncio.Future[Any]]]


class Shell:
    """Drives flows. One a cache; its threads begin when they are needed, and anew in a forked child."""

    def __init__(self, name: str, budget: Budget, budget_wait: float) -> None:
        self.name = name
        self.budget = budget
        self.budget_wait = budget_wait
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._portal: asyncio.AbstractEventLoop | None = None
        self._portal_thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        # Loop -> level and operation -> what is to be done in this turn.
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Level, str], _Turn]] = (
            weakref.WeakKeyDictionary()
        )
        self.closed = False
        tell_child(self)

    def drive(self, flow: Flow) -> Any:
        """Drive a flow to its end in this thread, and return what it returns."""
        try:
            effect = flow.send(None)
            while True:
                try:
                    result = effect.block(self)
                except BaseException as error:  # noqa: BLE001 - the flow decides
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as stop:
            return stop.value
        finally:
            flow.close()

    async def adrive(self, flow: Flow) -> Any:
        """Drive a flow to its end on the running loop, and return what it returns."""
        try:
            effect = flow.send(None)
            while True:
                try:
                    result = await effect.wait(self)
                except BaseException as error:  # noqa: BLE001 - the flow decides
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as stop:
            return stop.value
        finally:
            flow.close()

    def spawn(self, flow: Flow, ended: Callable[[], object]) -> None:
        """Drive a flow in a thread; `ended` is called in any case, also if it never begins."""
        context = contextvars.copy_context()
        try:
            future = self._threads().submit(context.run, self._finish, flow)
        except BaseException:
            ended()
            raise
        future.add_done_callback(lambda _: ended())

    def aspawn(self, flow: Flow, ended: Callable[[], object]) -> None:
        """Drive a flow in a task of the running loop; `ended` is called in any case, also if it never begins."""
        try:
            self._check_open()
        except RuntimeError:
            ended()
            raise
        task = asyncio.get_running_loop().create_task(self._afinish(flow), name=f"hotset {self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: ended())

    def _finish(self, flow: Flow) -> None:
        with contextlib.suppress(Exception):  # who waits for the flight has been told; a refresh leaves what there is
            self.drive(flow)

    async def _afinish(self, flow: Flow) -> None:
        with contextlib.suppress(Exception):  # as above
            await self.adrive(flow)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a plain or a coroutine function and return its result."""
        result = function(*arguments)
        if type(result) not in _VALUES and inspect.isawaitable(result):
            return self._await_elsewhere(result)
        return result

    def _await_elsewhere(self, awaitable: Any) -> Any:
        """Wait in this thread for something that is awaited on the loop for such things, in this context."""
        coroutine = _as_coroutine(awaitable)
        future: Future[Any] = Future()

        def begin() -> None:
            loop.create_task(coroutine).add_done_callback(finish)

        def finish(task: asyncio.Task[Any]) -> None:
            if task.cancelled():
                future.cancel()
                future.set_running_or_notify_cancel()
            elif (error := task.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result())

        try:
            if threading.current_thread() is self._portal_thread:
                raise RuntimeError(  # noqa: TRY301 - the coroutine is closed below in any case
                    f"a coroutine function that loads for the cache {self.name!r} must not wait for another one by a "
                    "plain method: await the method of the same name with an a before it"
                )
            with self._lock:  # a loop that is stopped begins nothing any more
                loop = self._loop()
                loop.call_soon_threadsafe(begin, context=contextvars.copy_context())
        except BaseException:
            coroutine.close()
            raise
        try:
            return future.result()
        except CancelledError as error:
            self._check_open()
            raise LoadError(f"{awaitable!r} was cancelled") from error

    async def acall(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a plain function in a thread, or a coroutine function on this loop."""
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
            return await function(*arguments)
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._threads(), lambda: context.run(function, *arguments))
        if inspect.isawaitable(result):
            return await result
        return result

    async def joined(self, level: Level, operation: str, item: Any) -> Any:
        """Do something for one item, in one round trip with the others of this turn of the loop, as if alone."""
        loop = asyncio.get_running_loop()
        turns = self._turns.get(loop)
        if turns is None:
            turns = self._turns[loop] = {}
        turn = turns.get((level, operation))
        if turn is None:
            turn = turns[level, operation] = []
            loop.call_soon(self._end_turn, loop, turns, level, operation)
        future = loop.create_future()
        turn.append((item, future))
        return await future

    def _end_turn(
        self, loop: asyncio.AbstractEventLoop, turns: dict[tuple[Level, str], _Turn], level: Level, operation: str
    ) -> None:
        task = loop.create_task(self._do_turn(level, operation, turns.pop((level, operation))))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do_turn(self, level: Level, operation: str, turn: _Turn) -> None:
        try:
            answer = await level.aask(operation, ([item for item, _ in turn],), {})
        except CodecError:
            # One value cannot be encoded: the others are not to blame.
            for item, future in turn:
                try:
                    one = (await level.aask(operation, ([item],), {}))[0:1]
                except Exception as error:  # noqa: BLE001 - its waiter is told
                    _give(future, error)
                else:
                    _give(future, one)
            return
        except BaseException as error:
            for _, future in turn:
                _give(future, error)
            if not isinstance(error, Exception):
                raise
            return
        singly = _singly(answer) if isinstance(answer, Reading) else [[one] for one in answer]
        for (_, future), one in zip(turn, singly, strict=True):
            _give(future, one)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            with self._lock:
                self._check_open()
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(_BACKGROUND_THREADS, thread_name_prefix=f"hotset-{self.name}")
        return self._pool

    def _loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop in a thread of its own that awaits for callers who have none. The lock is held."""
        self._check_open()
        if self._portal is None:
            self._portal = asyncio.new_event_loop()
            self._portal_thread = threading.Thread(
                target=self._portal.run_forever, name=f"hotset-{self.name}-loop", daemon=True
            )
            self._portal_thread.start()
        return self._portal

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError(f"the cache {self.name!r} is closed")

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has none of its parent's threads and tasks."""
        self._lock = threading.Lock()
        self._pool = self._portal = self._portal_thread = None
        self._tasks = set()
        self._turns = weakref.WeakKeyDictionary()

    def close(self) -> None:
        """End the threads; loads that are under way are waited for no longer."""
        with self._lock:
            self.closed = True
            pool, portal, thread = self._pool, self._portal, self._portal_thread
            self._pool = self._portal = self._portal_thread = None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        if portal is not None and thread is not None:
            portal.call_soon_threadsafe(_end, portal)
            if thread is not threading.current_thread():
                thread.join(1.0)
            if not thread.is_alive():
                portal.close()

    async def aclose(self) -> None:
        """End the tasks of this loop, too."""
        self.closed = True
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        self.close()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel all that a loop awaits, and stop it when that has ended."""
    tasks = asyncio.all_tasks(loop)

    def ended(task: asyncio.Task[Any]) -> None:
        tasks.discard(task)
        if not tasks:
            loop.stop()

    if not tasks:
        loop.stop()
    for task in list(tasks):
        task.add_done_callback(ended)
        task.cancel()


def _as_coroutine(awaitable: Any) -> Coroutine[Any, Any, Any]:
    if inspect.iscoroutine(awaitable):
        return awaitable

    async def wait() -> Any:
        return await awaitable

    return wait()


def _give(future: asyncio.Future[Any], outcome: Any) -> None:
    """Give a waiter a result or an exception, unless it has gone."""
    if future.done():
        return
    if not isinstance(outcome, BaseException):
        future.set_result(outcome)
    elif isinstance(outcome, Exception):
        future.set_exception(outcome)
        future.exception()  # it counts as looked at, also if its waiter is cancelled
    else:
        future.cancel()


def _singly(reading: Reading) -> list[Reading]:
    """A reading of many names as readings of one each; what it refused is told once."""
    readings = [Reading([found], reading.epoch) for found in reading.found]
    if readings:
        readings[0].refused = reading.refused
    return readings
