"""Where the shared levels of the demo live: servers that it starts, kills and brings back.

A `Place` is all that the run knows of one, so that a cluster can stand where one server does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hotset.testing.servers import ValkeyServer
from hotset.tiers import RedisTier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotset.tiers.contract import Tier

__all__ = ["Place", "ValkeyPlace"]


class Place(Protocol):
    """One or several servers that make up one level. Methods that start or kill return when that is done."""

    # Of the level, as tables and pictures show it.
    name: str

    def start(self) -> None:
        """Start it, empty. Raises ServerError."""

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""

    def restart(self) -> None:
        """Start it again after `kill`, where clients know it. Raises ServerError."""

    def close(self) -> None:
        """Clear up; may be called at any time, and twice."""

    def empty(self) -> None:
        """Drop all that is stored."""

    def tier(self) -> Tier:
        """Return a new tier on it, for one cache."""


class ValkeyPlace:
    """One Valkey server.

    - `persistent`: it comes back with what it had when it was killed.
    - `most_bytes`: memory for data, beyond what a server needs by itself; the least recently used entries go.
    """

    def __init__(self, name: str, *, persistent: bool = False, most_bytes: int | None = None) -> None:
        self.name = name
        # Appended to before each answer: what it has confirmed outlives a kill.
        config: Mapping[str, object] = {"appendonly": True} if persistent else {}
        self._server = ValkeyServer(config=config)
        self._most_bytes = most_bytes

    def start(self) -> None:
        """See Place."""
        self._server.start()
        self._limit()

    def kill(self) -> None:
        """See Place."""
        self._server.kill()

    def restart(self) -> None:
        """See Place."""
        self._server.restart()
        self._limit()

    def close(self) -> None:
        """See Place."""
        self._server.close()

    def empty(self) -> None:
        """See Place."""
        self._server.command("FLUSHALL")

    def tier(self) -> RedisTier:
        """See Place."""
        return RedisTier(self._server.url, name=self.name)

    def _limit(self) -> None:
        """Bound the memory, now that it is known what the server takes without data."""
        if self._most_bytes is None:
            return
        facts = self._server.command("INFO", "memory").decode().splitlines()
        taken = next(int(line.partition(":")[2]) for line in facts if line.startswith("used_memory_startup:"))
        self._server.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        self._server.command("CONFIG", "SET", "maxmemory", taken + self._most_bytes)
