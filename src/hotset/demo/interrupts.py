"""Ctrl-C and SIGTERM as one KeyboardInterrupt, that comes where it does no harm."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Interrupts"]


class Interrupts:
    """While entered, the first signal raises KeyboardInterrupt in the main thread and the following ones do nothing.

    So a second Ctrl-C cannot break off the clearing up, which has time limits of its own. In a thread other than the
    main one it changes nothing: Python delivers no signals there.
    """

    def __init__(self) -> None:
        self._saved: dict[int, signal._HANDLER] = {}
        self._came = False
        self._held = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._saved[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._saved.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep a signal back until the block has ended: for what must not stay half done."""
        before = self._came
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._came and not before:
            raise KeyboardInterrupt

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        first, self._came = not self._came, True
        if first and not self._held:
            raise KeyboardInterrupt
