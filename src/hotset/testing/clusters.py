"""A real Valkey Cluster of a test's own: primaries with their replicas on free ports of 127.0.0.1.

Nodes are `ValkeyServer`s, so each can be killed, hung, or made to refuse; the Cluster takes care of itself then, as it
would anywhere: a replica takes over when the others agree that its primary has failed, after `node_timeout` and about
half a second to a second more.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Self

from hotset.testing.ports import free_port
from hotset.testing.servers import HOST, ServerError, ValkeyServer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["ValkeyCluster"]

POLL: Final = 0.02
SLOTS: Final = 16384


class ValkeyCluster:
    """Primaries and replicas, started by `with` or by `start`. Not thread-safe.

    `spare`: how many more primaries there are that have no slots yet, the last of `servers`. `node_timeout`: seconds
    without an answer after which a node is taken for dead. `password`, `config`: as for a `ValkeyServer`. Raises
    MissingServerError if there is no server on this machine.
    """

    def __init__(
        self,
        primaries: int = 3,
        replicas: int = 1,
        *,
        spare: int = 0,
        node_timeout: float = 0.8,
        binary: str | os.PathLike[str] | None = None,
        password: str | None = None,
        config: Mapping[str, object] | None = None,
    ) -> None:
        self._primaries = primaries
        self._spare = spare
        settings = {
            "cluster-enabled": True,
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": int(node_timeout * 1000),
            "cluster-require-full-coverage": False,
            "cluster-replica-validity-factor": 0,
            "repl-diskless-sync": True,
            "repl-diskless-sync-delay": 0,
            "repl-ping-replica-period": 1,
            **({} if password is None else {"masterauth": password}),
            **(config or {}),
        }
        # The bus gets a port of its own choosing: by default it is one that may not exist, or not be free.
        self.servers = [
            ValkeyServer(binary=binary, password=password, config={**settings, "cluster-port": free_port(HOST)})
            for _ in range(primaries * (1 + replicas) + spare)
        ]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where clients find it: the first primaries."""
        user = self.servers[0].url.partition("//")[2].rpartition("@")
        hosts = ",".join(f"{HOST}:{server.port}" for server in self.servers[: self._primaries])
        return f"redis+cluster://{user[0]}{user[1]}{hosts}"

    def start(self, timeout: float = 20.0) -> Self:
        """Start all nodes and wait until they are a Cluster. Raises ServerError if they are none in time."""
        deadline = time.monotonic() + timeout
        try:
            for server in self.servers:
                server.start()
            first, *others = self.servers
            for number, server in enumerate(self.servers):
                server.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for number, server in enumerate(self.servers[: self._primaries]):
                begin, end = (SLOTS * at // self._primaries for at in (number, number + 1))
                server.command("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
            for server in others:
                server.command("CLUSTER", "MEET", HOST, first.port, str(first.config["cluster-port"]))
            self._await(lambda: all(self._met(server) for server in self.servers), deadline, "nodes know each other")
            for number, server in enumerate(self.servers[self._primaries : len(self.servers) - self._spare]):
                server.command("CLUSTER", "REPLICATE", self.id_of(self.servers[number % self._primaries]))
            self.wait_until_well(deadline - time.monotonic())
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Kill all nodes and remove their folders. May be called twice."""
        for server in self.servers:
            server.close()

    # What is there

    def id_of(self, server: ValkeyServer) -> str:
        """Return the id by which the Cluster knows a node."""
        return str(server.command("CLUSTER", "MYID").decode())

    def slots(self) -> list[tuple[range, list[ValkeyServer]]]:
        """Return who has which slots, the primary first, as a node sees it that runs."""
        by_port = {server.port: server for server in self.servers}
        rows = self._somebody().command("CLUSTER", "SLOTS")
        return [(range(row[0], row[1] + 1), [by_port[at[1]] for at in row[2:]]) for row in rows]

    def owner(self, slot: int) -> ValkeyServer:
        """Return the primary of a slot. Raises LookupError if there is none."""
        for slots, (primary, *_) in self.slots():
            if slot in slots:
                return primary
        raise LookupError(f"nobody has slot {slot}")

    def primaries(self) -> list[ValkeyServer]:
        """Return the primaries that run and have slots."""
        return [primary for primary in dict.fromkeys(nodes[0] for _, nodes in self.slots()) if primary.running]

    def wait_until_well(self, timeout: float = 20.0) -> None:
        """Wait until all nodes that run agree on who has which slots, and replicas have what their primaries have.

        Raises ServerError if they do not in time.
        """
        self._await(self._well, time.monotonic() + timeout, "all nodes agree and replicas follow")

    def wait_for_failover(self, dead: ValkeyServer, timeout: float = 20.0) -> None:
        """Wait until another node has the slots of one that was killed or hung, by the view of all others.

        Raises ServerError if none has in time.
        """

        def taken_over() -> bool:
            return all(
                row[2][1] != dead.port
                for server in self.servers
                if server.running and server is not dead
                for row in server.command("CLUSTER", "SLOTS")
            )

        self._await(taken_over, time.monotonic() + timeout, f"the slots of {dead!r} are taken over")

    # What is done to it

    def fail_over(self, primary: ValkeyServer, timeout: float = 20.0) -> ValkeyServer:
        """Kill a primary and wait until a replica has taken over; the successor."""
        slot = next(slots.start for slots, nodes in self.slots() if nodes[0] is primary)
        primary.kill()
        self.wait_for_failover(primary, timeout)
        return self.owner(slot)

    def revive(self, server: ValkeyServer, timeout: float = 20.0) -> None:
        """Start a node that was killed, and wait until the Cluster is well."""
        server.start()
        self.wait_until_well(timeout)

    @contextlib.contextmanager
    def migrating(self, slot: int, target: ValkeyServer) -> Iterator[ValkeyServer]:
        """Have a slot be on its way to another primary for the length of a `with` block; then it is there.

        Keys that are not moved in the block by `migrate` are at its end. Yields where the slot was.
        """
        source = self.owner(slot)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        yield source
        while self.migrate(slot, source, target, 100):
            pass
        for server in dict.fromkeys([target, source, *self.primaries()]):
            server.command("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    @staticmethod
    def migrate(slot: int, source: ValkeyServer, target: ValkeyServer, most: int) -> int:
        """Move so many keys of a slot at most; how many there were."""
        keys = source.command("CLUSTER", "GETKEYSINSLOT", slot, most)
        if keys:
            source.command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def flush(self) -> None:
        """Have all primaries forget everything."""
        for server in self.primaries():
            server.command("FLUSHALL")

    # Looking

    def _somebody(self) -> ValkeyServer:
        for server in self.servers:
            if server.running and server.answers():
                return server
        raise ServerError("no node answers")

    def _met(self, server: ValkeyServer) -> bool:
        """Whether a node has shaken hands with all others."""
        lines = server.command("CLUSTER", "NODES").decode().splitlines()
        return len(lines) == len(self.servers) and not any("handshake" in line for line in lines)

    def _well(self) -> bool:
        views = set()
        running = [server for server in self.servers if server.running]
        for server in running:
            if b"cluster_state:ok" not in server.command("CLUSTER", "INFO"):
                return False
            rows = server.command("CLUSTER", "SLOTS")
            views.add(str(sorted([*row[:2], row[2][1], sorted(at[1] for at in row[3:])] for row in rows)))
            role = server.command("ROLE")
            if role[0] == b"slave" and role[3] != b"connected":
                return False
        followers = sum(len(nodes) - 1 for nodes in {nodes[0]: nodes for _, nodes in self.slots()}.values())
        idle = sum(all(server is not node for _, nodes in self.slots() for node in nodes) for server in running)
        return len(views) == 1 and idle <= self._spare and followers + len(self.primaries()) + idle == len(running)

    @staticmethod
    def _await(condition: Callable[[], Any], deadline: float, what: str) -> None:
        while True:
            with contextlib.suppress(ServerError):
                if condition():
                    return
            if time.monotonic() > deadline:
                raise ServerError(f"not in time: {what}")
            time.sleep(POLL)
