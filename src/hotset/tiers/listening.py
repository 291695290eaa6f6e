"""A thread that hears what others change, begun and ended by the tier it works for."""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.tiers.contract import Listener

__all__ = ["Listening"]


class Listening(ABC):
    """Tells a listener what others change, from a thread of its own; own changes are signed by the `sender`."""

    _NAME: ClassVar[str]  # of the thread

    def __init__(self, listener: Listener, sender: str) -> None:
        self._sender = sender
        # A cache that is dropped without being closed must not be kept alive by its thread.
        try:
            self._listener: Callable[[], Listener | None] = weakref.ref(listener)
        except TypeError:
            self._listener = lambda: listener
        self._begin()

    def _begin(self) -> None:
        # Guards _thread; nothing that waits is done under it.
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self.running = False

    def start(self) -> None:
        """Have a thread listen, if none does."""
        with self._lock:
            if self.running or self._ending.is_set():
                return
            self.running = True
            self._thread = threading.Thread(target=self._run, name=self._NAME, daemon=True)
            self._thread.start()

    def stop(self, wait: float = 1.0) -> None:
        """End the thread, waiting for it for so many seconds at most."""
        self._ending.set()
        self._wake()
        with self._lock:
            thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join(wait)

    def after_fork(self, sender: str) -> None:
        """Have no thread, in a child that signs by itself; `start` makes one."""
        self._sender = sender
        self._begin()

    @abstractmethod
    def _run(self) -> None:
        """Listen, until `_ending` is set or the listener has gone."""

    @abstractmethod
    def _wake(self) -> None:
        """Have a thread that waits for something see that it is to end."""
