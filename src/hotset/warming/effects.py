"""What the flows of warming ask for beyond those of the cache: time that can be cut short, and slow work elsewhere."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

from hotset.errors import WarmingStopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.tiered.shell import Shell

__all__ = ["Both", "Elsewhere", "Pause", "in_thread"]


class Pause:
    """Let some time pass, or none, unless the run is stopped: then raise WarmingStopped."""

    __slots__ = ("_seconds", "_stop")

    def __init__(self, seconds: float, stop: threading.Event) -> None:
        self._seconds = seconds
        self._stop = stop

    def block(self, _shell: Shell) -> None:
        """See Effect."""
        if self._stop.wait(self._seconds) if self._seconds > 0 else self._stop.is_set():
            raise WarmingStopped("stopped before its end")

    async def wait(self, _shell: Shell) -> None:
        """See Effect. On a loop whoever stops the run cancels the task, too."""
        await asyncio.sleep(max(0.0, self._seconds))
        if self._stop.is_set():
            raise WarmingStopped("stopped before its end")


class Both:
    """Call one of two functions that do the same, the second one a coroutine function."""

    __slots__ = ("_acall", "_arguments", "_call")

    def __init__(self, call: Callable[..., Any], acall: Callable[..., Any], *arguments: Any) -> None:
        self._call, self._acall, self._arguments = call, acall, arguments

    def block(self, _shell: Shell) -> Any:
        """See Effect."""
        return self._call(*self._arguments)

    async def wait(self, _shell: Shell) -> Any:
        """See Effect."""
        return await self._acall(*self._arguments)


class Elsewhere:
    """Call a function that may take its time, such as one that reads a file; not in the thread of a loop."""

    __slots__ = ("_arguments", "_call")

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self._call, self._arguments = call, arguments

    def block(self, _shell: Shell) -> Any:
        """See Effect."""
        return self._call(*self._arguments)

    async def wait(self, _shell: Shell) -> Any:
        """See Effect."""
        return await in_thread(self._call, *self._arguments)


def in_thread(call: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
    """Call a function in a thread that nobody has to wait for: not this loop's end, and not the interpreter's.

    No coroutine: a task whose function calls for an exit would end the loop.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def body() -> None:
        result, failure = None, None
        try:
            result = context.run(call, *arguments)
        except StopIteration as error:  # no future takes it
            failure = RuntimeError(f"{call!r} raised StopIteration")
            failure.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - told to who waits
            failure = error  # type: ignore[assignment]
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            return  # the loop has ended, and with it who waited

    threading.Thread(target=body, name="hotset-warming", daemon=True).start()
    return future
