"""The nodes of a Cluster, and which of them has which part of a namespace, by CLUSTER SLOTS.

A node that does not answer is left alone for a pause, which doubles up to a second: then its part fails at once, and
does not cost every caller the timeout.

**A part that has moved** is not asked for at its new owner before what this process knows to be done has been made sure
of there (see `hotset.tiers.acknowledged`).
"""

from __future__ import annotations

import contextlib
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from hotset._wire import packed
from hotset.errors import TierError, TierTimeout, TierUnavailable
from hotset.tiers.links import AsyncLinks, Endpoint, Stale
from hotset.tiers.parts import PARTS, TAGS, part_of, slot_of
from hotset.tiers.pool import Pool
from hotset.tiers.scripts import REMOVE, RESUME
from hotset.tiers.servertime import ServerTime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotset.tiers.acknowledged import Acknowledged
    from hotset.tiers.links import Command, Link
    from hotset.tiers.parts import PartedKeys

__all__ = ["Address", "Node", "Nodes", "View"]

Address: TypeAlias = "tuple[str, int]"

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_LOOK_AFTER: Final = 0.1  # seconds between two looks at the slots while something is wrong
_AT_ONCE: Final = 1000  # names
_STATE: Final = PARTS  # the place of the state's slot behind those of the parts


class Node:
    """A server of a Cluster, in one of two roles: `replica` is one that is read from."""

    def __init__(self, template: Endpoint, address: Address, timeout: float, most: int, *, replica: bool) -> None:
        self.address = address
        self.endpoint = endpoint = _NodeEndpoint(template, address, replica=replica)
        # The clock by which entries expire is that of one node; what others say is of no interest.
        clock = ServerTime()
        self._timeout = timeout
        self.pool = Pool(lambda deadline: endpoint.connect(clock, deadline, timeout), most)
        self.links = AsyncLinks(lambda: endpoint.aconnect(clock))
        self._streak = 0
        self._until = 0.0

    def __repr__(self) -> str:
        return f"<Node {self.address[0]}:{self.address[1]}>"

    def stream(self, clock: ServerTime) -> Link:
        """Return a connection over which the server may speak unasked."""
        return self.endpoint.connect(clock, monotonic() + self._timeout, self._timeout, pushes=True)

    def ask(self, commands: list[Command], deadline: float) -> list[Any]:
        """Return the replies to commands that may be done twice. Raises TierError, also for a reply that is one."""
        self.check()
        link = None
        try:
            link = self.pool.take(deadline)
            try:
                replies = link.exchange(packed(commands), len(commands), deadline)
            except Stale:
                link = self.pool.another(link, deadline)
                replies = link.exchange(packed(commands), len(commands), deadline)
        except TierError as error:
            self.failed(error)
            raise
        finally:
            if link is not None:
                self.pool.give(link, monotonic())
        self.answered()
        for reply in replies:
            if isinstance(reply, Exception):
                raise TierUnavailable(f"{self!r}: {reply}")
        return replies

    def check(self) -> None:
        """Raise TierUnavailable if it has not answered lately; one caller in a while may try."""
        if self._until:
            now = monotonic()
            if now < self._until:
                raise TierUnavailable(f"{self!r} does not answer")
            self._until = now + self._pause()

    def failed(self, error: TierError) -> None:
        """Note that it has not answered."""
        self._streak += 1
        # One answer that is late may have other reasons.
        if self._streak > 1 or not isinstance(error, TierTimeout):
            self._until = monotonic() + self._pause()

    def answered(self) -> None:
        """Note that it has."""
        if self._streak:
            self._streak, self._until = 0, 0.0

    def _pause(self) -> float:
        return float(min(_FIRST_PAUSE * 2 ** min(self._streak, 8), _LONGEST_PAUSE))


class _NodeEndpoint(Endpoint):
    """One node of those that are let in the same way."""

    def __init__(self, template: Endpoint, address: Address, *, replica: bool) -> None:
        self.__dict__.update(vars(template))
        self.host, self.port = address
        self.path = None
        self._replica = replica

    def greeting(self, *, pushes: bool) -> list[Command]:
        """See Endpoint; a replica is told that it may answer with what it has."""
        commands = super().greeting(pushes=pushes)
        if self._replica:
            commands.insert(len(commands) - 1, ("READONLY",))
        return commands


class View(NamedTuple):
    """Which node has which part, and in the end which the state: primaries, their ids, replicas."""

    owners: tuple[Node | None, ...]
    ids: tuple[str, ...]
    replicas: tuple[tuple[Node, ...], ...]
    primaries: frozenset[str]  # the ids of all that have any slot


class Nodes:
    """All nodes of a Cluster, for one namespace. Safe for threads and event loops."""

    def __init__(
        self,
        template: Endpoint,
        seeds: Sequence[Address],
        done: Acknowledged,
        *,
        timeout: float,
        most: int,
        replicas: bool,
    ) -> None:
        self._template = template
        self._seeds = tuple(seeds)
        self._timeout = timeout
        self._most = most
        self._done = done
        self._replicas = replicas
        self._nodes: dict[tuple[Address, bool], Node] = {}
        self._keys: PartedKeys | None = None
        self._slots: list[int] = []
        # The owner of each hash tag; what is missing must not be asked for now.
        self.owners: dict[str, Node] = {}
        self._view = View((None,) * (PARTS + 1), ("",) * (PARTS + 1), ((),) * (PARTS + 1), frozenset())
        self.generation = 0  # of the view
        self.wrong = True  # the view is, or may be
        self._looked = float("-inf")
        # Names to be removed at a new owner before it is believed.
        self._unsure: dict[tuple[int, str], set[str]] = {}
        self._lock = threading.Lock()  # guards looks at the slots; is held while waiting for nodes

    def open(self, keys: PartedKeys) -> None:
        """Belong to a namespace."""
        self._keys = keys
        self._slots = [slot_of(tag) for tag in (*TAGS, keys.tag)]
        for node in self._nodes.values():
            node.pool.closed = False

    def close(self) -> None:
        """Close what is idle, and what is in use when it is given back."""
        for node in list(self._nodes.values()):
            node.pool.close()

    def close_elsewhere(self) -> None:
        """Have the connections of all event loops closed."""
        for node in list(self._nodes.values()):
            node.links.close_elsewhere()

    async def aclose(self) -> None:
        """Close the connections of all event loops."""
        for node in list(self._nodes.values()):
            await node.links.close()

    def after_fork(self) -> None:
        """Leave what belongs to the parent alone."""
        self._lock = threading.Lock()
        for node in self._nodes.values():
            node.pool.after_fork()
            node.links.after_fork()

    # Which node has what

    def _node(self, address: Address, *, replica: bool = False) -> Node:
        node = self._nodes.get((address, replica))
        if node is None:
            made = Node(self._template, address, self._timeout, self._most, replica=replica)
            node = self._nodes.setdefault((address, replica), made)
        return node

    @property
    def state(self) -> Node | None:
        """The node with the state of the namespace."""
        return self.owners.get(self._keys.tag) if self._keys is not None else None

    def primaries(self) -> dict[str, Node]:
        """Return by their ids the nodes that have a part, or the state."""
        view = self._view
        return {number: node for number, node in zip(view.ids, view.owners, strict=True) if node is not None}

    def ids(self) -> tuple[str, ...]:
        """Return whose each part is, and in the end whose the state."""
        return self._view.ids

    @property
    def due(self) -> bool:
        """Whether the slots should be looked at."""
        return self.wrong and (not self.generation or monotonic() - self._looked > _LOOK_AFTER)

    def look(self, deadline: float, seen: int | None = None, hint: Address | None = None) -> None:
        """Look at the slots, unless another thread has since `seen`. Raises TierError if no node answers."""
        if not self._lock.acquire(timeout=max(0.0, deadline - monotonic())):
            raise TierTimeout("no answer in time")
        try:
            if seen is not None and seen != self.generation:
                return
            self._looked = monotonic()
            node, reply = self._slots_by_anybody(deadline, hint)
            self._install(self.view_of(reply, node), deadline)
        finally:
            self._lock.release()

    def _slots_by_anybody(self, deadline: float, hint: Address | None) -> tuple[Node, Any]:
        addresses = [] if hint is None else [hint]
        addresses += [node.address for node in self.primaries().values()]
        addresses += [address for address, replica in list(self._nodes) if not replica]
        addresses += self._seeds
        failure: TierError = TierUnavailable("no node is known")
        for number, address in enumerate(tried := list(dict.fromkeys(addresses))):
            node = self._node(address)
            # One that hangs must not take all the time there is.
            until = monotonic() + max(0.0, deadline - monotonic()) / min(3, len(tried) - number)
            try:
                return node, node.ask([("CLUSTER", "SLOTS")], until)[0]
            except TierError as error:
                failure = error
        raise failure

    def ids_in(self, reply: Any) -> tuple[str, ...]:
        """Return whose each part is, and in the end whose the state, by an answer to CLUSTER SLOTS."""
        return tuple(found[2].decode() if (found := _owner(reply, slot)) else "" for slot in self._slots)

    def view_of(self, reply: Any, asked: Node) -> View:
        """Return an answer to CLUSTER SLOTS as a view. Raises TierError if it is none."""
        known: dict[int, tuple[Node | None, str, tuple[Node, ...]]] = {}
        rows: list[tuple[Node | None, str, tuple[Node, ...]]] = []
        try:
            primaries = frozenset(bytes(row[2][2]).decode() for row in reply)
            for slot in self._slots:
                row = next((row for row in reply if row[0] <= slot <= row[1]), None)
                if row is None:
                    rows.append((None, "", ()))
                    continue
                if id(row) not in known:
                    first, *others = ((_host(at[0], asked), int(at[1]), bytes(at[2]).decode()) for at in row[2:])
                    spare = tuple(self._node(at[:2], replica=True) for at in others) if self._replicas else ()
                    known[id(row)] = self._node(first[:2]), first[2], spare
                rows.append(known[id(row)])
        except (TypeError, ValueError, IndexError) as error:
            raise TierUnavailable(f"{asked!r} does not say which slots it has: {reply!r:.80}") from error
        owners, ids, replicas = zip(*rows, strict=True)
        return View(owners, ids, replicas, primaries)

    def _install(self, view: View, deadline: float) -> None:
        """Believe a view, but for parts that have moved and of which nothing could be made sure yet."""
        assert self._keys is not None  # noqa: S101 - it was opened
        before = self._view
        moved = [place for place, number in enumerate(view.ids) if number != before.ids[place] and number]
        sure = set(range(PARTS + 1)).difference(moved)
        names: set[str] | None = None
        for place in moved:
            key = place, view.ids[place]
            if place != _STATE and key not in self._unsure and not _handed_over(before, view, place):
                names = self._done.names() if names is None else names
                self._unsure[key] = {name for name in names if part_of(name) == place}
        by_node: dict[Node, list[int]] = {}
        for place in moved:
            owner = view.owners[place]
            assert owner is not None  # noqa: S101 - it has an id
            by_node.setdefault(owner, []).append(place)
        for node, places in by_node.items():
            with contextlib.suppress(TierError):
                self._make_sure(node, places, before, view, deadline)
                sure.update(places)
        ids = tuple(number if place in sure else before.ids[place] for place, number in enumerate(view.ids))
        owners = tuple(node if place in sure else None for place, node in enumerate(view.owners))
        self._unsure = {key: left for key, left in self._unsure.items() if key[0] not in sure}
        self._view = View(owners, ids, view.replicas, view.primaries)
        tags = (*TAGS, self._keys.tag)
        self.owners = {tag: node for tag, node in zip(tags, owners, strict=True) if node is not None}
        self.wrong = None in owners
        if ids != before.ids or owners != before.owners:
            self.generation += 1

    def _make_sure(self, node: Node, places: list[int], before: View, view: View, deadline: float) -> None:
        """Have a new owner drop what it may have only because it has not heard of later. Raises TierError."""
        assert self._keys is not None  # noqa: S101 - see above
        keys = self._keys
        for place in places:
            if place == _STATE:
                giver = before.ids[place] if _handed_over(before, view, place) else ""
                words = view.ids[place], str(self._done.epoch), str(self._done.cleared), giver
                node.ask([("EVAL", RESUME.source, "3", keys.state, keys.tags, keys.owner, *words)], deadline)
                continue
            left = self._unsure.get((place, view.ids[place]), set())
            while left:
                some = [left.pop() for _ in range(min(len(left), _AT_ONCE))]
                try:
                    removed = *map(keys.entry, some), *map(keys.lease, some)
                    node.ask([("EVAL", REMOVE.source, str(len(removed)), *removed)], deadline)
                except TierError:
                    left.update(some)
                    raise

    # The same for those who send commands

    def replica(self, part: int) -> Node | None:
        """Return a replica of a part, another one from time to time; its primary if there is none."""
        replicas = self._view.replicas[part]
        return replicas[int(monotonic()) % len(replicas)] if replicas else self._view.owners[part]

    def owner(self, part: int) -> Node | None:
        """Return the primary of a part."""
        return self._view.owners[part]

    def at(self, address: Address) -> Node:
        """Return the primary at an address."""
        return self._node(address)


def _handed_over(before: View, now: View, place: int) -> bool:
    """Whether a part has moved with all that was there: between primaries that were both well before and after.

    In a failover, the successor was none before, or the one that failed is none any more.
    """
    return before.ids[place] in now.primaries and now.ids[place] in before.primaries


def _owner(reply: Any, slot: int) -> Any:
    """Return who has a slot by an answer to CLUSTER SLOTS: host, port, id and more; None if nobody has."""
    if type(reply) is not list:
        raise TierUnavailable(f"a node does not say which slots it has: {reply!r:.80}")
    return next((row[2] for row in reply if row[0] <= slot <= row[1]), None)


def _host(told: Any, asked: Node) -> str:
    """Return a host as a node has told it; it may not know its own."""
    host = bytes(told or b"").decode()
    return asked.address[0] if host in {"", "?"} else host
