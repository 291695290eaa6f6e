"""The tiers that a combined tier is made of, each in its place, and what is asked of several of them at once.

Flows are generators that yield a `Step`: calls to be made side by side. They are driven by threads or by an event loop
(see `combined`), so that what a combined tier does is written once.
"""

from __future__ import annotations

import math
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from hotset.errors import CodecError, TierError, TierTimeout, TierUnavailable
from hotset.tiered.breaker import Breaker
from hotset.tiered.level import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from hotset.tiers.contract import Tier
    from hotset.tiers.notes import Notes

__all__ = ["BEGIN_WITHIN", "MOST_WAITING", "Call", "Member", "Step", "breaker_by", "one_of"]

# Seconds that a call may wait for a thread; given up then.
BEGIN_WITHIN: Final = 0.5
MOST_WAITING: Final = 256  # calls a member that have not ended; beyond, it counts as failing
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_UNDONE: Final = object()


def breaker_by(make: Any) -> Breaker:
    """Have a breaker made. Raises TypeError for what makes none."""
    if not callable(make):
        raise TypeError(f"breaker must be callable, and return a Breaker, got {make!r}")
    breaker = make()
    if not isinstance(breaker, Breaker):
        raise TypeError(f"breaker must return a Breaker, got {breaker!r} of {make!r}")
    return breaker


def one_of(choices: Collection[str], value: Any, *, name: str) -> Any:
    """Return what is one of the choices. Raises ValueError for what is not."""
    if type(value) is not str or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


class Member(Level):
    """A tier in its place, with what it has missed and whether it is to be believed.

    It is `away` from when its breaker opens, or its stream of changes is lost, until it answers again. After that it is
    not read for a while, in which all processes tell it what it has missed.
    """

    def __init__(
        self, place: int, name: str, tier: Tier, breaker: Breaker, notes: Notes, left: Callable[[], None]
    ) -> None:
        super().__init__(tier, breaker)
        self.name = name
        self.place = place
        self.notes = notes
        self.away = False
        self.trusted_from = -math.inf
        self.told = False  # its stream of changes is alive
        self.ever_told = False
        self.since = -math.inf  # all changes before have been told
        self.next_try = -math.inf
        self._pause = _FIRST_PAUSE
        self._left = left
        self._none_wait()

    def _none_wait(self) -> None:
        self._waiting = 0  # calls that have been handed to a thread or a task, and have not ended
        self._counting = threading.Lock()  # guards _waiting: it must not drift, or the member is left out for good

    def admit(self) -> None:
        """Take one more call that is to be told of by `dismiss`. Raises TierUnavailable if too many have not ended."""
        with self._counting:
            if self._waiting >= MOST_WAITING:
                raise TierUnavailable(f"{self.name}: {self._waiting} calls have not come back")
            self._waiting += 1

    def dismiss(self) -> None:
        """A call that was admitted has ended."""
        with self._counting:
            self._waiting -= 1

    @property
    def settled(self) -> bool:
        """Whether it is there, and has been for long enough to have been told what it missed."""
        return self.on and not self.away and time.monotonic() >= self.trusted_from

    def _failed(self, error: BaseException) -> None:
        try:
            super()._failed(error)
        finally:
            if self.breaker.state != "closed":
                self.leave()

    def leave(self) -> None:
        """It does not answer, or nobody knows what it has not told."""
        if not self.away:
            self.away = True
            self.try_later()
            self._left()

    def try_later(self) -> None:
        """Wait before it is asked again whether it is there; longer every time, and not at the same time as others."""
        pause = self._pause * random.uniform(0.75, 1.0)  # noqa: S311 - spreads processes over time
        self.next_try = time.monotonic() + pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def come_back(self, settle: float) -> None:
        """It answers; it is believed in so many seconds."""
        self.trusted_from = time.monotonic() + settle
        self.next_try = -math.inf
        self._pause = _FIRST_PAUSE
        self.breaker.reset()
        self.away = False

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self.notes.after_fork()
        self.told = self.ever_told = False
        self.since = -math.inf
        self._none_wait()


class Call:
    """One operation at one member. `ended` is called with it in any case, also if it is broken off or never begins."""

    __slots__ = ("arguments", "begin_by", "ended", "member", "named", "operation", "outcome")

    def __init__(
        self,
        member: Member,
        operation: str,
        *arguments: Any,
        ended: Callable[[Call], None] | None = None,
        **named: Any,
    ) -> None:
        self.member = member
        self.operation = operation
        self.arguments = arguments
        self.named = named
        self.ended = ended
        self.begin_by = time.monotonic() + BEGIN_WITHIN
        self.outcome: Any = _UNDONE

    def __repr__(self) -> str:
        return f"<Call {self.operation} at {self.member.name!r}>"

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.outcome is not _UNDONE

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return isinstance(self.outcome, Exception)

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return self.outcome is not _UNDONE and not isinstance(self.outcome, Exception)

    def do(self) -> None:
        """Do it in this thread. An error is its outcome."""
        try:
            outcome = self._late() or self.member.ask(self.operation, *self.arguments, **self.named)
        except (TierError, CodecError) as error:
            outcome = error
        except BaseException:
            self.break_off()
            raise
        self.end(outcome)

    async def ado(self) -> None:
        """Do it on the running loop."""
        try:
            outcome = self._late() or await self.member.aask(self.operation, *self.arguments, **self.named)
        except (TierError, CodecError) as error:
            outcome = error
        except BaseException:
            self.break_off()
            raise
        self.end(outcome)

    def _late(self) -> TierTimeout | None:
        if time.monotonic() <= self.begin_by:
            return None
        # A change of its own that came later could have been done first.
        return TierTimeout(f"{self.member.name}: no thread for it within {BEGIN_WITHIN:g} s")

    def end(self, outcome: Any) -> None:
        """Take what has come of it, once."""
        if self.outcome is _UNDONE:
            self.outcome = outcome
            if self.ended is not None:
                self.ended(self)

    def break_off(self) -> None:
        """It was cancelled, or never begun: nobody knows whether it was done."""
        self.end(TierError(f"{self.member.name}: {self.operation} was broken off"))


class Step:
    """Calls to be made side by side. The flow goes on when `enough` of them say so, by default when all have ended.

    Then the others have `linger` seconds more. The first is awaited in any case if it is `near`.
    """

    __slots__ = ("calls", "enough", "linger", "near")

    def __init__(
        self,
        calls: Sequence[Call],
        enough: Callable[[Sequence[Call]], bool] | None = None,
        *,
        linger: float = 0.0,
        near: bool = True,
    ) -> None:
        self.calls = calls
        self.enough = enough
        self.linger = linger
        self.near = near

    @property
    def done(self) -> bool:
        """Whether all have ended."""
        return all(call.done for call in self.calls)

    def over(self, end: float) -> float:
        """Return until when to wait for more, of which `end` was told before; 0 for no more."""
        if self.done:
            return 0.0
        if end == math.inf and (self.enough is None or not self.enough(self.calls)):
            return math.inf
        now = time.monotonic()
        end = min(end, now + self.linger)
        return end if end > now else 0.0
