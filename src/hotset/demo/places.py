"""Where the shared levels of the demo live: one server, that it kills and brings back, and a Cluster of three.

Each is gone when the object is closed, and when this process is killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hotset.testing.clusters import ValkeyCluster
from hotset.testing.servers import ServerError, ValkeyServer
from hotset.tiers import ClusterTier, RedisTier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotset.tiers.contract import Tier

__all__ = ["ClusterPlace", "Place", "ValkeyPlace"]

_PRIMARIES = 3
# Its primaries serve about two seconds after they have met.
_CLUSTER_START = 10.0
_SPARE_BYTES = 1 << 19  # of each node, for connections


class Place(Protocol):
    """One or several servers that make up one level. Methods return when it is done."""

    # Of the level, as tables and pictures show it.
    name: str

    def start(self) -> None:
        """Start it, empty, within a bounded time. Raises ServerError."""

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
        """End it at once, as `kill -9` does."""
        self._server.kill()

    def restart(self) -> None:
        """Start it again after `kill`, where clients know it. Raises ServerError."""
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
        if self._most_bytes is not None:
            _bound(self._server, "used_memory_startup", self._most_bytes)


class ClusterPlace:
    """A Valkey Cluster of three primaries, without replicas.

    - `most_bytes`: memory for data, of all of them together; the least recently used entries go.
    - `start_timeout`: seconds until a start is given up.
    """

    def __init__(self, name: str, *, most_bytes: int, start_timeout: float = _CLUSTER_START) -> None:
        self.name = name
        self._cluster = ValkeyCluster(_PRIMARIES, 0)
        self._most_bytes = most_bytes
        self._start_timeout = start_timeout

    def start(self) -> None:
        """See Place."""
        try:
            self._cluster.start(self._start_timeout)
        except ServerError as error:
            raise ServerError(f"the Cluster did not start: {error}") from error
        for server in self._cluster.servers:
            # What links between nodes take comes with the start, and is no data.
            _bound(server, "used_memory", _SPARE_BYTES + self._most_bytes // _PRIMARIES)

    def close(self) -> None:
        """See Place."""
        self._cluster.close()

    def empty(self) -> None:
        """See Place."""
        self._cluster.flush()

    def tier(self) -> ClusterTier:
        """See Place."""
        return ClusterTier(self._cluster.url, name=self.name)


def _bound(server: ValkeyServer, taken_as: str, most_bytes: int) -> None:
    """Let a server have so many bytes more than it has taken without data, by the name that it tells that under."""
    facts = server.command("INFO", "memory").decode().splitlines()
    taken = next(int(line.partition(":")[2]) for line in facts if line.startswith(f"{taken_as}:"))
    server.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    server.command("CONFIG", "SET", "maxmemory", taken + most_bytes)
