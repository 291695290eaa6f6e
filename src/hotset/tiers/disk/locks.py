"""Locks between processes that nobody waits for without end, and that end with the process that holds them.

The lock is flock's, on a file that holds nothing. The kernel gives it up when its holder dies, however that happens.
Who waits looks again and again, at growing distances of a millisecond at most, because flock itself knows no timeout.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

try:
    import fcntl
except ImportError as error:  # pragma: no cover - Windows
    raise ImportError("DiskTier needs flock, which this platform does not have") from error

__all__ = ["FileLock"]

_FIRST_PAUSE: Final = 50e-6
_LONGEST_PAUSE: Final = 1e-3


class FileLock:
    """One process's handle on a lock; its threads must agree among themselves who uses it."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def take(self, deadline: float, *, shared: bool = False) -> bool:
        """Have it, alone or with others who share it; whether that was so by the deadline. Raises OSError."""
        pause = _FIRST_PAUSE
        while not self.take_now(shared=shared):
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return True

    def take_now(self, *, shared: bool = False) -> bool:
        """Have it if it is free; a lock that is held already is changed, and lost if it cannot be. Raises OSError."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def give(self) -> None:
        """Give it up."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, which gives the lock up unless a forked process has the file open, too."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
