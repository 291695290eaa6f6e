"""What a flow asks of the shell that drives it: each effect can be done by blocking and by awaiting.

A flow (see flow) is a generator that yields effects and is sent their results or thrown their errors. So the logic of
the cache is written once, and is the same for threads and for asyncio.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from hotset.errors import LoadError

if TYPE_CHECKING:
    from hotset.tiered.behind import WriteBehind
    from hotset.tiered.flights import Flight
    from hotset.tiered.level import Level
    from hotset.tiered.shell import Shell
    from hotset.tiered.unsaved import Unsaved

__all__ = ["Acknowledge", "Ask", "Carried", "Effect", "Flow", "Load", "LoadEach", "Run", "Sleep", "Spawn", "Wait"]


# Operations on a list, of which several make one.
_JOINED = frozenset({"read", "lease", "fill"})


class Effect(Protocol):
    """Something that takes time or the outside."""

    def block(self, shell: Shell) -> Any:
        """Do it in this thread, and return the result."""

    async def wait(self, shell: Shell) -> Any:
        """Do it on the running loop, and return the result."""


Flow: TypeAlias = Generator[Effect, Any, Any]


class Ask:
    """Ask a tier, in one round trip. Raises TierError."""

    __slots__ = ("arguments", "level", "named", "operation")

    def __init__(self, level: Level, operation: str, *arguments: Any, **named: Any) -> None:
        self.level = level
        self.operation = operation
        self.arguments = arguments
        self.named = named

    def block(self, _shell: Shell) -> Any:
        """See Effect."""
        if self.named:
            return self.level.ask(self.operation, *self.arguments, **self.named)
        return self.level.ask(self.operation, *self.arguments)

    async def wait(self, shell: Shell) -> Any:
        """See Effect. What concerns one name is joined with the like of the same turn of the loop."""
        if self.operation in _JOINED and len(self.arguments[0]) == 1:
            return await shell.joined(self.level, self.operation, self.arguments[0][0])
        return await self.level.aask(self.operation, *self.arguments, **self.named)


class Load:
    """Call a function of the user's within the budget of loads."""

    __slots__ = ("arguments", "function")

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def block(self, shell: Shell) -> Any:
        """See Effect."""
        if shell.budget.limit is None:
            return shell.call(self.function, *self.arguments)
        with shell.budget.hold(shell.budget_wait):
            return shell.call(self.function, *self.arguments)

    async def wait(self, shell: Shell) -> Any:
        """See Effect."""
        async with shell.budget.ahold(shell.budget_wait):
            try:
                return await shell.acall(self.function, *self.arguments)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Nobody has cancelled this task: as a cancellation, it would have others load in its place for ever.
                raise LoadError(f"{self.function!r} has raised CancelledError, but was not cancelled") from error


class Acknowledge:
    """Have writes behind acknowledged. Raises WriteError."""

    __slots__ = ("behind", "items")

    def __init__(self, behind: WriteBehind, items: list[Unsaved]) -> None:
        self.behind = behind
        self.items = items

    def block(self, _shell: Shell) -> None:
        """See Effect."""
        self.behind.submit(self.items)

    async def wait(self, _shell: Shell) -> None:
        """See Effect."""
        await self.behind.asubmit(self.items)


class Carried:
    """Wait until the origin has the writes behind of some keys; whether it has in time."""

    __slots__ = ("behind", "keys")

    def __init__(self, behind: WriteBehind, keys: Sequence[Any]) -> None:
        self.behind = behind
        self.keys = keys

    def block(self, _shell: Shell) -> bool:
        """See Effect."""
        return self.behind.flush(self.behind.wait, keys=self.keys)

    async def wait(self, _shell: Shell) -> bool:
        """See Effect."""
        return await self.behind.aflush(self.behind.wait, keys=self.keys)


class LoadEach:
    """Call a loader for each of several keys, side by side on a loop; the results, or the errors, in their order."""

    __slots__ = ("function", "keys")

    def __init__(self, function: Callable[[Any], Any], keys: Sequence[Any]) -> None:
        self.function = function
        self.keys = keys

    def block(self, shell: Shell) -> list[Any]:
        """See Effect."""
        results: list[Any] = []
        for key in self.keys:
            try:
                results.append(Load(self.function, key).block(shell))
            except Exception as error:  # noqa: BLE001 - it is one key's result
                results.append(error)
        return results

    async def wait(self, shell: Shell) -> list[Any]:
        """See Effect."""
        loads = (Load(self.function, key).wait(shell) for key in self.keys)
        return await asyncio.gather(*loads, return_exceptions=True)


class Run:
    """Drive the flow of a flight that this caller leads, and wait for the flight.

    Without a timeout a thread does it itself. Otherwise it goes on in the background after the timeout, whose end
    raises TimeoutError. On a loop it is a task of its own, so that a cancelled caller harms nobody.
    """

    __slots__ = ("flight", "flow", "timeout")

    def __init__(self, flow: Callable[..., Flow], flight: Flight[Any], timeout: float | None) -> None:
        self.flow = flow  # is given its scope
        self.flight = flight
        self.timeout = timeout

    def block(self, shell: Shell) -> Any:
        """See Effect."""
        scope = self.flight.scope(apart=self.timeout is not None)
        flow = self.flow(scope=scope)
        if self.timeout is None:
            try:
                return shell.drive(flow)
            except BaseException:
                scope.give_up()  # an interrupt may have come just where it ends
                raise
        shell.spawn(flow, scope.give_up)
        return self.flight.wait(self.timeout)

    async def wait(self, shell: Shell) -> Any:
        """See Effect."""
        scope = self.flight.scope(apart=True)
        shell.aspawn(self.flow(scope=scope), scope.give_up)
        return await self.flight.await_(self.timeout)


class Wait:
    """Wait for a flight that somebody else leads. Raises what its load raised, or TimeoutError."""

    __slots__ = ("flight", "timeout")

    def __init__(self, flight: Flight[Any], timeout: float | None) -> None:
        self.flight = flight
        self.timeout = timeout

    def block(self, _shell: Shell) -> Any:
        """See Effect."""
        return self.flight.wait(self.timeout)

    async def wait(self, _shell: Shell) -> Any:
        """See Effect."""
        return await self.flight.await_(self.timeout)


class Spawn:
    """Drive a flow in the background; nobody waits for it. `ended` is called in any case."""

    __slots__ = ("ended", "flow")

    def __init__(self, flow: Flow, ended: Callable[[], object]) -> None:
        self.flow = flow
        self.ended = ended

    def block(self, shell: Shell) -> None:
        """See Effect."""
        shell.spawn(self.flow, self.ended)

    async def wait(self, shell: Shell) -> None:
        """See Effect."""
        shell.aspawn(self.flow, self.ended)


class Sleep:
    """Let some time pass."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def block(self, _shell: Shell) -> None:
        """See Effect."""
        time.sleep(self.seconds)

    async def wait(self, _shell: Shell) -> None:
        """See Effect."""
        await asyncio.sleep(self.seconds)
