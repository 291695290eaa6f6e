"""The servers of a run: a real Valkey of its own, on TCP and on a unix socket, and a Cluster, on one core."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Self

from hotset.testing.clusters import ValkeyCluster
from hotset.testing.servers import ValkeyServer

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Place"]


class Place:
    """Where contestants find the server: over TCP, or with `unix` by its socket.

    The server is held to the core that `hotset.bench.machine.pinned` holds contestants to. On its own it would
    have to be woken for each request, which on a virtual machine takes up to 0.1 ms, varies by as much, and hides what
    is to be compared. So are the nodes of the Cluster, three primaries, which are started when they are asked for.
    """

    def __init__(self, server: ValkeyServer | None = None, *, unix: bool = False) -> None:
        self.server = ValkeyServer(unix_socket=True) if server is None else server
        self.unix = unix
        self._cluster: ValkeyCluster | None = None

    def __enter__(self) -> Self:
        self.server.start()
        _hold(self.server)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.server.close()
        if self._cluster is not None:
            self._cluster.close()

    @property
    def url(self) -> str:
        """The server's address, as redis-py takes it."""
        return f"unix://{self.server.unix_socket}?db=0" if self.unix else self.server.url

    @property
    def cluster(self) -> ValkeyCluster:
        """Three primaries without replicas."""
        if self._cluster is None:
            self._cluster = ValkeyCluster(3, 0).start()
            for server in self._cluster.servers:
                _hold(server)
        return self._cluster

    def by_socket(self) -> Place:
        """Return the same server by its unix socket."""
        return Place(self.server, unix=True)

    def empty(self) -> None:
        """Have the server forget everything that earlier contestants stored."""
        self.server.command("FLUSHALL", timeout=30.0)
        if self._cluster is not None:
            self._cluster.flush()


def _hold(server: ValkeyServer) -> None:
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(server.pid, {max(os.sched_getaffinity(0))})
