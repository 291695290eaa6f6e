"""Waiting for a load that another thread has under way, without waiting for oneself."""

from __future__ import annotations

import reprlib
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

    from hotset._engine import Flight

__all__ = ["wait_for"]

# Thread -> the flight that it waits for: what finds two loads that wait for each other.
_waiting: Final[dict[int, Flight]] = {}


def wait_for(flight: Flight, key: Hashable) -> None:
    """Wait for the end of a key's load. Raises RuntimeError if it waits for this thread, directly or in a ring."""
    me = threading.get_ident()
    _waiting[me] = flight
    try:
        ahead: Flight | None = flight
        # The bound is for threads that begin and end waits meanwhile.
        for _ in range(1000):
            if ahead is None:
                break
            if ahead.owner == me:
                raise RuntimeError(
                    f"the load of key {reprlib.repr(key)} waits for itself: its loader asks for the same key"
                )
            ahead = _waiting.get(ahead.owner)
        flight.event.wait()
    finally:
        _waiting.pop(me, None)
