"""The loads of a cache that are under way, one a key: to join one is to wait for it, but never for oneself."""

from __future__ import annotations

import reprlib
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, MutableMapping

    from hotset._engine import Flight

__all__ = ["board", "land"]

# Thread -> the flight that it waits for: what finds two loads that wait for each other.
_waiting: Final[dict[int, Flight]] = {}


def _wait_for(flight: Flight, key: Hashable) -> None:
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


def board(flights: MutableMapping[Hashable, Flight], key: Hashable, flight: Flight) -> Flight:
    """Return a flight that has landed with the key's value, or `flight` itself: then this thread is to load.

    Raises what the load raised that was waited for.
    """
    while True:
        ahead = flights.setdefault(key, flight)
        if ahead is flight:
            return flight
        if ahead.pid != flight.pid:  # its thread stayed behind when this process was forked
            land(flights, key, ahead)
            continue
        _wait_for(ahead, key)
        if ahead.error is not None:
            raise ahead.error.with_traceback(ahead.traceback)
        if ahead.landed:
            return ahead


def land(flights: MutableMapping[Hashable, Flight], key: Hashable, flight: Flight) -> None:
    """End a flight: later callers begin another one, and who waits for it goes on."""
    if flights.get(key) is flight:
        flights.pop(key, None)
    flight.event.set()
