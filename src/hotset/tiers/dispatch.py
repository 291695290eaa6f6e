"""Commands to the nodes of a Cluster, and their replies back.

Commands are sorted by node. All requests of a turn are sent before the first reply is read, so nodes work side by side
and one thread, or one task, is enough. What a node does not do is asked for once more, within the time of the
operation and up to a bound:

===========  ===================================================================================================
MOVED        the slots are looked up again, and the command goes to the new owner
ASK          the command goes to the node that takes the slot over, this once
TRYAGAIN     keys are on their way between two nodes: one by one if that is possible, else a moment later
NOSCRIPT     the script is sent in full
no answer    what may be done twice, or was not sent, goes to the new owner, if there is one by now
===========  ===================================================================================================

Which is decided by one generator, that a thread and an event loop drive alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import hiredis

from hotset._wire import packed
from hotset.errors import TierError, TierTimeout, TierUnavailable
from hotset.tiers.links import Stale
from hotset.tiers.scripts import FREE, REMOVE, SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from hotset.tiers.links import AsyncLink, Command, Link
    from hotset.tiers.nodes import Address, Node, Nodes
    from hotset.tiers.parts import PartedKeys

__all__ = ["Asked", "Dispatch", "Fetch"]

_TURNS: Final = 16
# Turns for a script of which some keys are on their way: until its slot has moved, it may be refused every time.
_TRIES: Final = 4
_TRY_AGAIN_AFTER: Final = 0.01  # seconds
# What has come before a deadline is still read after it, when another node was waited for in vain.
_GRACE: Final = 0.005
_SOURCES: Final = {script.sha: script.source for script in SCRIPTS}
# With these a node says that it is not what it was taken for.
_WRONG: Final = frozenset(("CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "TRYAGAIN"))
_READING: Final = frozenset(("GET", "HMGET", "MGET", "TIME"))


class Asked(list[Any]):
    """Commands of whose replies each may be a TierError.

    - `nodes`: where they go, if that is known already.
    - `early`: is told of what a node has said while others are still at work: places and replies, errors among them.
      What is asked for once more, and what is asked on an event loop, it does not hear of.
    """

    __slots__ = ("early", "nodes")

    def __init__(
        self,
        commands: Sequence[Command | Fetch],
        nodes: list[Node | None] | None = None,
        early: _Early | None = None,
    ) -> None:
        super().__init__(commands)
        self.nodes = nodes
        self.early = early


class Fetch:
    """An MGET of a part, as bytes already; in words if it must be."""

    __slots__ = ("_keys", "_names", "_order", "part", "request")

    def __init__(self, part: int, request: bytes, keys: PartedKeys, names: list[str], order: bytes) -> None:
        self.part = part
        self.request = request
        self._keys = keys
        self._names = names
        self._order = order

    def __len__(self) -> int:
        """Count the words."""
        return 1 + self._order.count(self.part)

    def command(self) -> Command:
        """Return it in words."""
        part = self.part
        names = [name for name, whose in zip(self._names, self._order, strict=True) if whose == part]
        return ("MGET", *map(self._keys.entry, names))


_Any: TypeAlias = "Command | Fetch"


class _Task(NamedTuple):
    """A command, the place of its reply, and where it goes: None for nowhere."""

    place: int
    command: _Any
    node: Node | None
    asking: bool = False


class _Batch:
    """What one node is asked in one turn; replies without a place are for nobody."""

    __slots__ = ("commands", "node", "places", "sent")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.commands: list[_Any] = []
        self.places: list[int | None] = []
        self.sent = False

    def request(self) -> bytes:
        """Return what goes over the wire."""
        return b"".join([each.request if isinstance(each, Fetch) else packed([each]) for each in self.commands])


class _Left:
    """What one turn has left to do."""

    __slots__ = ("hint", "lost", "pause", "tasks")

    def __init__(self) -> None:
        self.tasks: list[_Task] = []
        self.lost: list[_Task] = []  # of nodes that have not answered
        self.hint: Address | None = None  # who knows more of the slots
        self.pause = False  # keys are on their way between two nodes


class _Look(NamedTuple):
    """A look at the slots that is due: as of which view, and who knows more, if anybody does."""

    seen: int
    hint: Address | None


_Outcome: TypeAlias = "list[Any] | TierError"
_Early: TypeAlias = "Callable[[list[int | None], list[Any]], None]"
# Yields what is to be done, or how long to wait; is sent what came of it, and returns the replies.
_Flow: TypeAlias = "Generator[list[_Batch] | _Look | float, list[_Outcome], list[Any]]"


class Dispatch:
    """Has the nodes of a Cluster do commands. With `wait`, so many replicas must have a change in time."""

    def __init__(self, nodes: Nodes, *, wait: int, timeout: float) -> None:
        self._nodes = nodes
        self._replicas = wait
        self._wait: Command = ("WAIT", str(wait), str(max(1, int(timeout * 500))))

    # What is to be done

    def _flow(self, commands: list[Command], *, again: bool) -> _Flow:
        """Return the replies to commands, error replies among them; with `again` they may be done twice."""
        nodes = self._nodes
        replies: list[Any] = [None] * len(commands)
        splits: list[tuple[int, range]] = []
        seen = nodes.generation
        batches = self._batches(self._tasks(commands), replies, again=again)
        for turn in range(_TURNS):
            outcomes = yield batches
            left = _Left()
            for batch, outcome in zip(batches, outcomes, strict=True):
                if isinstance(outcome, TierError):
                    self._failed(batch, outcome, replies, left, again=again)
                    continue
                for place, reply in zip(batch.places, outcome, strict=True):
                    if place is not None:
                        replies[place] = reply
                if batch.commands[-1] is self._wait:
                    self._check_replicas(batch, outcome, replies)
                if hiredis.ReplyError in map(type, outcome):
                    self._redirect(batch, outcome, replies, splits, left, patient=turn < _TRIES)
            if left.hint is not None or (left.lost and nodes.due):
                yield _Look(seen, left.hint)
                seen = nodes.generation
            if left.pause or (left.hint is not None and turn):  # nodes learn of each other's doings in a moment
                yield _TRY_AGAIN_AFTER
            tasks = [task if task.node else task._replace(node=self._owner(task.command)) for task in left.tasks]
            # Who was asked in vain is not asked again: the owner is another one by now, or a replica was asked.
            for task in left.lost:
                owner = self._owner(task.command)
                if owner is not None and owner is not task.node:
                    tasks.append(task._replace(node=owner))
            batches = self._batches(tasks, replies, again=again)
            if not batches:
                break
        for place, parts in reversed(splits):
            values = [replies[part] for part in parts]
            failure = next((value for value in values if isinstance(value, Exception)), None)
            replies[place] = values if failure is None else failure
        return replies[: len(commands)]

    def _failed(self, batch: _Batch, error: TierError, replies: list[Any], left: _Left, *, again: bool) -> None:
        """Take in that a node has not answered."""
        self._nodes.wrong = True
        for place, command in zip(batch.places, batch.commands, strict=True):
            if place is not None:
                replies[place] = error
                if again or not batch.sent:
                    left.lost.append(_Task(place, command, batch.node))

    def _check_replicas(self, batch: _Batch, outcome: list[Any], replies: list[Any]) -> None:
        """Have changes fail that too few replicas have."""
        if type(outcome[-1]) is not int or outcome[-1] < self._replicas:
            few = TierUnavailable(f"{outcome[-1]} replicas have it in time, not {self._replicas}")
            for place in batch.places:
                if place is not None:
                    replies[place] = few

    def _tasks(self, commands: list[Command]) -> list[_Task]:
        if isinstance(commands, Asked) and commands.nodes is not None:
            return list(map(_Task, range(len(commands)), commands, commands.nodes))
        tasks: list[_Task] = []
        for place, command in enumerate(commands):
            # What is published has no key: it is of the change before it, and goes where that goes.
            node = tasks[-1].node if command[0] == "PUBLISH" and tasks else self._owner(command)
            tasks.append(_Task(place, command, node))
        return tasks

    def _owner(self, command: _Any) -> Node | None:
        """Return the primary of a command's key; None for what has none, and is one node's matter."""
        if isinstance(command, Fetch):
            return self._nodes.owner(command.part)
        if command[0] in {"SCAN", "CLUSTER"}:
            return None
        key = command[3] if command[0] in {"EVALSHA", "EVAL"} else command[1]
        assert isinstance(key, str)  # noqa: S101 - as all keys are
        begin = key.index("{") + 1
        return self._nodes.owners.get(key[begin : key.index("}", begin)])

    def _batches(self, tasks: list[_Task], replies: list[Any], *, again: bool) -> list[_Batch]:
        """Return tasks by node; those that go nowhere fail."""
        batches: dict[Node, _Batch] = {}
        for place, command, node, asking in tasks:
            if node is None:
                replies[place] = TierUnavailable("no node serves this slot")
                self._nodes.wrong = True
                continue
            batch = batches.get(node)
            if batch is None:
                batch = batches[node] = _Batch(node)
            if asking:
                batch.commands.append(("ASKING",))
                batch.places.append(None)
            batch.commands.append(command)
            batch.places.append(place)
        if self._replicas and not again:
            for batch in batches.values():
                if any(not isinstance(each, Fetch) and each[0] not in _READING for each in batch.commands):
                    batch.commands.append(self._wait)
                    batch.places.append(None)
        return list(batches.values())

    def _redirect(
        self,
        batch: _Batch,
        outcome: list[Any],
        replies: list[Any],
        splits: list[tuple[int, range]],
        left: _Left,
        *,
        patient: bool,
    ) -> None:
        """Take in what a node has refused; a task without a node goes to the owner that its key has by then."""
        redone: _Task | None = None
        for place, asked, reply in zip(batch.places, batch.commands, outcome, strict=True):
            if place is None:
                continue
            kind = _kind(reply)
            if not kind and (redone is None or isinstance(asked, Fetch) or asked[0] != "PUBLISH"):
                continue
            command = asked.command() if isinstance(asked, Fetch) else asked
            if not kind:
                # What is published of a change must be published after it.
                redone = _Task(place, command, redone and redone.node)
            elif kind == "MOVED":
                left.hint = _address(reply, batch.node)
                redone = _Task(place, command, None)
            elif kind == "NOSCRIPT":
                redone = _Task(place, ("EVAL", _SOURCES[str(command[1])], *command[2:]), batch.node)
            elif kind in {"ASK", "TRYAGAIN"} and len(singles := _singles(command)) > 1:
                parts = range(len(replies), len(replies) + len(singles))
                splits.append((place, parts))
                replies += [None] * len(parts)
                *tasks, redone = [_Task(part, single, None) for part, single in zip(parts, singles, strict=True)]
                left.tasks += tasks
            elif kind == "ASK":
                redone = _Task(place, command, self._nodes.at(_address(reply, batch.node)), asking=True)
            elif kind == "TRYAGAIN" and patient:
                left.pause = True
                redone = _Task(place, command, None)
            elif kind in _WRONG:
                self._nodes.wrong = True
                replies[place] = TierUnavailable(f"{batch.node!r}: {reply}")
                continue
            else:
                continue
            left.tasks.append(redone)

    # The two faces

    def exchange(self, commands: list[Command], deadline: float, *, again: bool) -> list[Any]:
        """Return the replies to commands, error replies and TierErrors among them."""
        flow = self._flow(commands, again=again)
        early = commands.early if isinstance(commands, Asked) else None
        try:
            step = next(flow)
            while True:
                if isinstance(step, list):
                    step = flow.send(self._talk(step, deadline, early, again=again))
                    early = None
                elif isinstance(step, _Look):
                    with contextlib.suppress(TierError):
                        self._nodes.look(deadline, *step)
                    step = next(flow)
                else:
                    time.sleep(step)
                    step = next(flow)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _talk(self, batches: list[_Batch], deadline: float, early: _Early | None, *, again: bool) -> list[_Outcome]:
        """Send all requests, then take all replies."""
        outcomes: list[Any] = [TierUnavailable("not asked")] * len(batches)
        links: list[Link | None] = [None] * len(batches)
        begun = monotonic()
        try:
            for number, batch in enumerate(batches):
                node = batch.node
                request = batch.request()
                try:
                    node.check()
                    links[number] = link = node.pool.take(deadline, None if again else begun)
                    batch.sent = True
                    try:
                        link.exchange(request, 0, deadline)
                    except Stale:
                        if not again:
                            raise
                        links[number] = link = node.pool.another(link, deadline)
                        link.exchange(request, 0, deadline)
                    link.clean = False
                except TierError as error:
                    outcomes[number] = error
                    self._drop(batch, links, number, error)
            for number, batch in enumerate(batches):
                link_or_none = links[number]
                if link_or_none is None:
                    continue
                count = len(batch.commands)
                try:
                    try:
                        outcomes[number] = link_or_none.exchange(b"", count, deadline)
                    except Stale:
                        if not again:
                            raise
                        links[number] = link = batch.node.pool.another(link_or_none, deadline)
                        outcomes[number] = link.exchange(batch.request(), count, deadline)
                    batch.node.answered()
                except TierError as error:
                    outcomes[number] = error
                    self._drop(batch, links, number, error)
                    if isinstance(error, TierTimeout):
                        deadline = max(deadline, monotonic() + _GRACE)
                    continue
                if early is not None:
                    told = monotonic()
                    early(batch.places, outcomes[number])
                    deadline += monotonic() - told  # which the other nodes have not taken
        finally:
            for batch, link_or_none in zip(batches, links, strict=True):
                if link_or_none is not None:
                    batch.node.pool.give(link_or_none, begun)
        return outcomes

    @staticmethod
    def _drop(batch: _Batch, links: list[Link | None], number: int, error: TierError) -> None:
        batch.node.failed(error)
        link, links[number] = links[number], None
        if link is not None:
            batch.node.pool.drop(link)

    async def aexchange(self, commands: list[Command], deadline: float, *, again: bool) -> list[Any]:
        """See exchange."""
        flow = self._flow(commands, again=again)
        try:
            step = next(flow)
            while True:
                if isinstance(step, list):
                    step = flow.send(await self._atalk(step, deadline, again=again))
                elif isinstance(step, _Look):
                    with contextlib.suppress(TierError):
                        await asyncio.to_thread(self._nodes.look, deadline, *step)
                    step = next(flow)
                else:
                    await asyncio.sleep(step)
                    step = next(flow)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _atalk(self, batches: list[_Batch], deadline: float, *, again: bool) -> list[_Outcome]:
        """See _talk."""
        outcomes: list[_Outcome] = [TierUnavailable("not asked")] * len(batches)
        begun = monotonic()
        asked: list[tuple[int, _Batch, AsyncLink, asyncio.Future[list[Any]]]] = []
        try:
            async with asyncio.timeout(deadline - begun):
                for number, batch in enumerate(batches):
                    try:
                        batch.node.check()
                        link = await batch.node.links.link(sure=not again)
                        batch.sent = True
                        replies = link.exchange(batch.request(), len(batch.commands))
                        asked.append((number, batch, link, replies))
                    except TierError as error:
                        batch.node.failed(error)
                        outcomes[number] = error
                for number, batch, link, replies in asked:
                    try:
                        try:
                            outcomes[number] = await replies
                        except Stale:
                            if not again:
                                raise
                            link = await batch.node.links.link()  # noqa: PLW2901 - in its place
                            outcomes[number] = await link.exchange(batch.request(), len(batch.commands))
                        batch.node.answered()
                    except TierError as error:
                        batch.node.failed(error)
                        outcomes[number] = error
        except TimeoutError:
            late = TierTimeout("no answer in time")
            reached = {number for number, *_ in asked}
            for number, batch in enumerate(batches):
                if number not in reached and not isinstance(outcomes[number], list):
                    batch.node.failed(late)
                    outcomes[number] = late
            for number, batch, link, replies in asked:
                if not replies.done() or replies.cancelled():
                    outcomes[number] = late
                    batch.node.failed(late)
                    if link.heard < begun:  # if it is the network that is silent, only a new one finds another way
                        link.close()
                elif isinstance(outcomes[number], TierError) and replies.exception() is None:
                    outcomes[number] = replies.result()
        finally:
            for _, _, _, replies in asked:
                if not replies.done():
                    replies.cancel()
                elif not replies.cancelled():
                    replies.exception()  # looked at, or asyncio complains of it
        return outcomes


def _singles(command: Command) -> list[Command]:
    """Return commands that do the same key by key, if there are any.

    A removal has its leases go first: an older load may else be stored between the two.
    """
    if command[0] == "MGET":
        return [("GET", key) for key in command[1:]]
    entries: Sequence[Any] = ()
    leases: Sequence[Any] = ()
    if command[1] in FREE:
        leases = command[3:]
    elif command[1] in REMOVE:
        half = (3 + len(command)) // 2
        entries, leases = command[3:half], command[half:]
    return [*(("EVAL", FREE.source, "1", key) for key in leases), *(("UNLINK", key) for key in entries)]


def _kind(reply: Any) -> str:
    """Return the first word of an error reply; "" for all others."""
    return str(reply).partition(" ")[0] if type(reply) is hiredis.ReplyError else ""


def _address(reply: Any, node: Node) -> Address:
    """Return the address in "MOVED slot host:port". The host may be left out: then it is that of the node."""
    host, _, port = str(reply).split(" ")[2].rpartition(":")
    return (host if host not in {"", "?"} else node.address[0]), int(port)
