"""The streams of changes of a Cluster: one for each primary that has a part of a namespace (see `hotset.tiers.stream`).

Changes of a name are announced by the node that has it. So the listener is told that all is alive only as of the
moment up to which every one of these nodes has reported, and that changes may have been missed as soon as one of them
cannot be heard.

**Parts that move.** With every heartbeat each node is asked who has which part. While all of them say of themselves
what they said when their streams began, every change up to that heartbeat was made at a node that is listened to. When
one of them says anything else, memory is not trusted, the slots are looked up, and all streams begin anew at the nodes
that have the parts by then. A primary that was cut off from the others, but not from this process, goes on for as long
as the Cluster lets it (`cluster-node-timeout`): for so long a change at its successor may not be heard.

With ``pubsub``, a change is published at the node where it was made, and heard there and, over the Cluster's own bus,
at the others: several times, which does no harm. That each node is listened to is what makes it safe: the bus may lose
messages, and nobody would know.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from hotset.errors import TierError, TierUnavailable
from hotset.tiers.contract import CLEAR
from hotset.tiers.listening import Listening
from hotset.tiers.scripts import State
from hotset.tiers.servertime import ServerTime
from hotset.tiers.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hotset.tiers.acknowledged import Acknowledged
    from hotset.tiers.contract import Listener
    from hotset.tiers.nodes import Node, Nodes
    from hotset.tiers.parts import PartedKeys
    from hotset.tiers.stream import OwnChanges, StreamMode

__all__ = ["ClusterStream"]

_GLANCE: Final = 0.25
_LOOK_AGAIN: Final = 0.1  # seconds, while something is wrong
_NOTHING: Final = State(0, 0, 0, "-")

_log: Final = logging.getLogger(__name__)


class ClusterStream(Listening):
    """Tells a listener what others change, at whichever node."""

    _NAME = "hotset-streams"

    def __init__(
        self,
        nodes: Nodes,
        keys: PartedKeys,
        clock: ServerTime,
        listener: Listener,
        own: OwnChanges,
        done: Acknowledged,
        *,
        mode: StreamMode,
        sender: str,
        heartbeat: float,
        patience: float,
    ) -> None:
        super().__init__(listener, sender)
        self._nodes = nodes
        self._keys = keys
        self._clock = clock
        self._own = own
        self._done = done
        self._mode = mode
        self._heartbeat = heartbeat
        self._patience = patience
        self._group: _Group | None = None

    def _wake(self) -> None:
        group = self._group
        if group is not None:
            group.changed.set()

    def after_fork(self, sender: str) -> None:
        """See Listening."""
        super().after_fork(sender)
        group, self._group = self._group, None
        if group is not None:
            for stream in group.streams:
                stream.after_fork(sender)

    # The thread

    def _run(self) -> None:
        while not self._ending.is_set() and self._listener() is not None:
            group = None
            try:
                group = self._group = self._listening()
                if group is None:
                    self._ending.wait(_LOOK_AGAIN)
                    continue
                while not self._ending.is_set() and self._listener() is not None:
                    group.changed.wait(_GLANCE)
                    if group.stale:
                        break
                    if group.changed.is_set() and not self._ending.is_set() and self._moved(group):
                        break
            except Exception:  # noqa: BLE001 - a listener's fault must not end the thread
                _log.exception("the streams of changes of %s failed", self._keys.state)
                self._ending.wait(_LOOK_AGAIN)
            finally:
                if group is not None:
                    group.end()

    def _listening(self) -> _Group | None:
        """Return streams to all nodes that have a part, or None if that is not known."""
        nodes = self._nodes
        try:
            nodes.look(time.monotonic() + self._patience)
        except TierError as error:
            _log.debug("the nodes of %s are not known: %s", self._keys.state, error)
            return None
        ids = nodes.ids()
        if nodes.wrong or "" in ids:
            return None
        group = _Group(ids, self._listener)
        for number, node in nodes.primaries().items():
            group.add(self._stream(group, number, node))
        group.start()
        return group

    def _stream(self, group: _Group, number: str, node: Node) -> _NodeStream:
        has_state = number == group.ids[-1]
        clock = self._clock if has_state else ServerTime()
        return _NodeStream(
            lambda: node.stream(clock),
            self._keys,
            clock,
            _NodeEar(group, number, self._done),
            self._own,
            mode=self._mode,
            sender=self._sender,
            heartbeat=self._heartbeat,
            patience=self._patience,
            group=group,
            number=number,
            nodes=self._nodes,
            done=self._done if has_state else None,
        )

    def _moved(self, group: _Group) -> bool:
        """Whether parts have moved since a group began, now that one of its nodes cannot be heard."""
        if group.whole:
            group.changed.clear()
            if group.whole:
                return False
            group.changed.set()
        try:
            self._nodes.look(time.monotonic() + self._patience)
        except TierError:
            pass
        else:
            if not self._nodes.wrong and self._nodes.ids() != group.ids:
                return True
        self._ending.wait(_LOOK_AGAIN)
        return False


class _Group:
    """Streams to all nodes of one view, as one."""

    def __init__(self, ids: tuple[str, ...], listener: Callable[[], Listener | None]) -> None:
        self.ids = ids
        self.listener = listener
        self.streams: list[_NodeStream] = []
        self.ears: list[_NodeEar] = []
        self.changed = threading.Event()  # one of them cannot be heard
        self.stale = False  # one of them says that parts have moved
        self._lock = threading.Lock()  # guards all below, and the order in which the listener is told
        self._since: dict[str, float] = {}
        self._missing = set(ids)
        self._ended = False

    def add(self, stream: _NodeStream) -> None:
        self.streams.append(stream)
        self.ears.append(stream.ear)

    def start(self) -> None:
        for stream in self.streams:
            stream.start()

    def end(self) -> None:
        """End all threads; from then on the listener is told nothing."""
        with self._lock:
            self._ended = True
            listener = self.listener()
            if listener is not None:
                listener.lost()
        for stream in self.streams:
            stream.stop(wait=0.0)
        for stream in self.streams:
            stream.stop(wait=0.25)

    @property
    def whole(self) -> bool:
        """Whether all nodes are heard."""
        return not self._missing

    def moved(self) -> None:
        """Note that a node has another view."""
        self.stale = True
        self.changed.set()

    def alive(self, number: str, since: float) -> None:
        """Note that a node has told all changes before a moment."""
        with self._lock:
            self._since[number] = since
            self._missing.discard(number)
            listener = self.listener()
            if listener is not None and not self._missing and not self.stale and not self._ended:
                listener.alive(min(self._since.values()))

    def lost(self, number: str) -> None:
        """Note that changes at a node may have been missed."""
        with self._lock:
            self._missing.add(number)
            listener = self.listener()
            if listener is not None and not self._ended:
                listener.lost()
        self.changed.set()


class _NodeEar:
    """What one node's stream tells."""

    def __init__(self, group: _Group, number: str, done: Acknowledged) -> None:
        self._group = group
        self._number = number
        self._done = done

    def changed(self, names: Iterable[str]) -> None:
        """See Listener."""
        listener = self._group.listener()
        names = list(names)
        self._done.add(names)
        if listener is not None:
            listener.changed(names)

    def invalidated(self, tags: Iterable[str], epoch: int) -> None:
        """See Listener."""
        listener = self._group.listener()
        if listener is not None:
            listener.invalidated(tags, epoch)

    def own_version(self, name: str) -> bytes | None:
        """See Listener."""
        listener = self._group.listener()
        return None if listener is None else listener.own_version(name)

    def alive(self, since: float) -> None:
        """See Listener."""
        self._group.alive(self._number, since)

    def lost(self) -> None:
        """See Listener."""
        self._group.lost(self._number)


class _NodeStream(Stream):
    """The stream of one node; with `done`, of the one that has the state."""

    def __init__(
        self,
        connect: Callable[[], Any],
        keys: PartedKeys,
        clock: ServerTime,
        ear: _NodeEar,
        own: OwnChanges,
        *,
        mode: StreamMode,
        sender: str,
        heartbeat: float,
        patience: float,
        group: _Group,
        number: str,
        nodes: Nodes,
        done: Acknowledged | None,
    ) -> None:
        super().__init__(
            connect, keys, clock, ear, own, mode=mode, sender=sender, heartbeat=heartbeat, patience=patience
        )
        self.ear = ear
        self._group = group
        self._number = number
        self._nodes = nodes
        self._done = done

    def _ask_role(self) -> None:
        super()._ask_role()
        self._ask(("CLUSTER", "SLOTS"), self._take_slots)

    def _take_slots(self, reply: Any) -> None:
        """See to it that the node has what it had; what it says of others is their affair."""
        ids = self._nodes.ids_in(reply)
        mine = [place for place, number in enumerate(self._group.ids) if number == self._number]
        now = [place for place, number in enumerate(ids) if number == self._number]
        if mine != now:
            self._group.moved()
            raise TierUnavailable("parts have moved")

    def _ask_state(self, learn: Callable[[State], None]) -> None:
        if self._done is None:
            self._ask(("TIME",), lambda _: learn(_NOTHING))
        else:
            super()._ask_state(learn)

    def _take_new_state(self, state: State) -> None:
        if self._done is not None:
            self._done.learn(state)
        super()._take_new_state(state)

    def _take_flush(self) -> None:
        if self._done is None:
            # Which names there were nobody knows.
            self._tell_invalidated([CLEAR], 0)
        else:
            super()._take_flush()
