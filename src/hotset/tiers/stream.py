"""The stream of changes that other processes make on a server: one connection, and one thread that listens to it.

What comes by itself over that connection (RESP3):

- ``tracking``: the server names every key of the namespace that anybody has changed, or that has expired or was evicted
  (CLIENT TRACKING in broadcasting mode, which costs the server nothing a key). Names alone say too little, so the
  thread asks over the same connection: for the fence of an entry that this process has changed itself lately, and who
  removed it last, to tell own changes from others'; for the bell of a tag and for the state of the namespace, to tell
  epochs and who it was.
- ``pubsub``: what processes publish after their changes. It knows nothing of expiry, eviction, FLUSHALL and foreign
  clients, and is for servers that do not let clients track. All processes of a cache must use the same of the two.
  Messages begin with their format; where one is of another, as during an upgrade, what is in memory is confirmed anew.

**What alive means.** Replies and pushes of a connection come in one order. Every `heartbeat` seconds the thread asks
the time twice, the second time when it has the first answer. When it has the second one, all that was changed before
the first was asked for has come: the server announces changes at the end of the turn of its event loop in which it
makes them, at the latest before the next turn, in which it answers the second. If questions about such changes are open
still, the report waits for their answers. Nothing is believed before the server confirms that it tracks: then the
listener is told first that changes may have been missed, then that it is alive.

A server that does not answer for twice as long as a heartbeat or an operation may take, or whose connection ends, is
lost. The thread tries again after a pause that doubles up to seconds, shortened by a random part. It ends when it is
told to, or when nobody else holds the listener.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeVar

import hiredis

from hotset._wire import packed
from hotset.errors import TierError, TierTimeout, TierUnavailable
from hotset.tiers.contract import CLEAR
from hotset.tiers.links import take_time
from hotset.tiers.listening import Listening
from hotset.tiers.scripts import CHANGED, STATE, TAG_FIELD, State
from hotset.wire import PREFIX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hotset.tiers.contract import Listener
    from hotset.tiers.keys import Keys
    from hotset.tiers.links import Command, Link
    from hotset.tiers.servertime import ServerTime

__all__ = ["BELL_MS", "MARK_MS", "OwnChanges", "Stream", "StreamMode", "names_message", "tags_message"]

StreamMode = Literal["tracking", "pubsub"]
_T = TypeVar("_T")

# How long a bell can be looked at after it rang: longer than a stream that is not lost lags behind.
BELL_MS: Final = 30_000
# The same for the mark of a removal. Once it has gone, the process takes its removal for another one's.
MARK_MS: Final = 10_000
_VERSION: Final = slice(PREFIX_BYTES - 12, PREFIX_BYTES)
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
# The thread looks this often whether it is to end.
_GLANCE: Final = 0.25
_CALM: Final = 0.01  # seconds
_ASKED_AT_ONCE: Final = 500  # names; the server does nothing else meanwhile
# Of what is remembered, at least: more than is done until it has been told.
_RECENT: Final = 4096
# Bells that are remembered; when it is more, all are forgotten, and some invalidations may be told twice.
_MOST_BELLS: Final = 10_000

_FORMAT: Final = "1"  # of messages

_log: Final = logging.getLogger(__name__)


class _RefusedError(TierUnavailable):
    """The server answers, but lets this client not have a stream."""


def names_message(sender: str, names: Iterable[str]) -> str:
    """Return what is published of changed names."""
    return f"{_FORMAT} {sender} names {json.dumps(list(names))}"


def tags_message(sender: str, tags: Iterable[str]) -> str:
    """Return what is published of invalidated tags; the server puts the epoch behind it."""
    return f"{_FORMAT} {sender} tags {json.dumps(list(tags))} "


class Lately(Generic[_T]):
    """What was added last, the latest thousands of it. May be used by several threads at once; O(1)."""

    __slots__ = ("_before", "_now")

    def __init__(self) -> None:
        self._now: set[_T] = set()
        self._before: set[_T] = set()

    def add(self, item: _T) -> None:
        """Remember one."""
        now = self._now
        now.add(item)
        if len(now) > _RECENT:
            self._before, self._now = now, set()

    def __contains__(self, item: _T) -> bool:
        return item in self._now or item in self._before

    def among(self, items: Iterable[_T]) -> set[_T]:
        """Return which of these are remembered."""
        now, before = self._now, self._before
        return {item for item in items if item in now or item in before}


class OwnChanges:
    """What this process has done lately, added before it is done: versions that it wrote, names that it removed."""

    __slots__ = ("removed", "written")

    def __init__(self) -> None:
        self.written: Lately[bytes] = Lately()
        self.removed: Lately[str] = Lately()


class _Question(NamedTuple):
    """Something asked, in the order of the answers; or, without `answer`, a report that waits for those before it."""

    asked: float
    answer: Callable[[Any], None] | None


class Stream(Listening):
    """Tells a listener what others change.

    `connect` makes the connection; own changes are known by their versions, and invalidations by who the `sender` is.
    """

    _NAME = "hotset-stream"

    def __init__(
        self,
        connect: Callable[[], Link],
        keys: Keys,
        clock: ServerTime,
        listener: Listener,
        own: OwnChanges,
        *,
        mode: StreamMode,
        sender: str,
        heartbeat: float,
        patience: float,
    ) -> None:
        super().__init__(listener, sender)
        self._connect = connect
        self._keys = keys
        self._clock = clock
        self._own = own
        self._mode = mode
        self._heartbeat = heartbeat
        self._patience = 2 * max(heartbeat, patience)
        self._link: Link | None = None
        self._forget()

    def _forget(self) -> None:
        """Begin anew, as a connection does."""
        self._questions: deque[_Question] = deque()
        self._unsent: list[Command] = []
        self._state: State | None = None
        self._begun_at = 0  # the epoch
        self._role: Any = None
        self._bells: dict[str, int] = {}
        self._next_beat = 0.0
        self._asked_of_own = False

    def _wake(self) -> None:
        link = self._link
        if link is not None:
            link.interrupt()

    def after_fork(self, sender: str) -> None:
        """See Listening."""
        super().after_fork(sender)
        if self._link is not None:
            self._link.close()
            self._link = None
        self._forget()

    # The thread

    def _run(self) -> None:
        pause, refused = _FIRST_PAUSE, False
        while not self._ending.is_set() and self._listener() is not None:
            self._forget()
            alive = False
            try:
                link = self._link = self._connect()
                try:
                    self._establish(link)
                    alive, pause, refused = True, _FIRST_PAUSE, False
                    while not self._ending.is_set() and self._listener() is not None:
                        self._turn(link, _GLANCE)
                finally:
                    link.close()
            except _RefusedError as error:
                if not refused:  # once, not at every attempt
                    _log.warning("no stream of changes of %s: %s", self._keys.state, error)
                refused = True
            except TierError as error:
                _log.debug("the stream of changes of %s is lost: %s", self._keys.state, error)
            except Exception:  # noqa: BLE001 - a listener's fault must not end the thread
                _log.exception("the stream of changes of %s failed", self._keys.state)
            listener = self._listener()
            if alive and listener is not None:
                listener.lost()
            del listener
            self._ending.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads processes over time
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _establish(self, link: Link) -> None:
        """Have changes announced, learn the state, and report."""
        begun = time.monotonic()
        if self._mode == "tracking":
            prefixes = [word for prefix in self._keys.tracked for word in ("PREFIX", prefix)]
            self._ask(("CLIENT", "TRACKING", "ON", "BCAST", *prefixes), _expect_tracking)
        else:
            self._unsent.append(("SUBSCRIBE", self._keys.channel))  # answered by a push
        self._ask_role()
        known: list[State] = []
        self._ask_state(known.append)
        while not known and not self._ending.is_set():
            self._turn(link, _GLANCE)
        if not known:
            return
        self._state = known[0]
        self._begun_at = known[0].epoch
        listener = self._listener()
        if listener is not None:
            listener.lost()
            listener.alive(begun)

    def _turn(self, link: Link, wait: float) -> None:
        """Send what is to be sent, and take what has come."""
        now = time.monotonic()
        if self._state is not None and now >= self._next_beat:
            self._next_beat = now + self._heartbeat
            self._beat(now)
        self._flush(link)
        received = link.receive(wait if self._state is None else min(wait, self._next_beat - now))
        if not received and self._questions and time.monotonic() - self._questions[0].asked > self._patience:
            raise TierTimeout("no heartbeat")
        names: list[str] = []
        for said in received:
            if isinstance(said, hiredis.PushNotification):
                self._take_push(said, names)
                continue
            if not self._questions:
                raise TierUnavailable("the server gave an answer to no question")
            # An answer may be what a report waits for, which must not come before what was pushed before it.
            self._tell_changed(names)
            names = []
            question = self._questions.popleft()
            if question.answer is not None:
                question.answer(said)
            self._report()
        self._tell_changed(names)
        self._flush(link)
        if self._asked_of_own:
            # What comes meanwhile is taken in one go: a busy process has thousands of own changes a second told to it,
            # and to wake up for each of them costs as much as it took to make it.
            self._asked_of_own = False
            time.sleep(_CALM)

    def _flush(self, link: Link) -> None:
        if self._unsent:
            commands, self._unsent = self._unsent, []
            link.send(packed(commands))

    def _ask(self, command: Command, answer: Callable[[Any], None]) -> None:
        self._unsent.append(command)
        self._questions.append(_Question(time.monotonic(), answer))

    def _beat(self, now: float) -> None:
        """Ask the time twice, then report as alive."""

        def first(reply: Any) -> None:
            take_time(self._clock, now, reply)
            if self._mode == "pubsub":  # nobody tells that the state is lost
                self._ask_state(self._take_new_state)
            self._ask_role()
            self._ask(("TIME",), second)

        def second(reply: Any) -> None:
            _expect(reply)
            # What came before this answer may have raised questions that were asked after it.
            self._questions.append(_Question(now, None))

        self._ask(("TIME",), first)

    def _ask_role(self) -> None:
        """Ask what a report takes for granted."""
        self._ask(("ROLE",), self._take_role)

    def _take_role(self, reply: Any) -> None:
        """See to it that the server is no replica suddenly, which would know of changes only later."""
        role = reply[0] if isinstance(reply, list) else None  # it may be forbidden to ask
        if self._role is None:
            self._role = role
        elif role != self._role:
            raise TierUnavailable("the server was demoted")

    def _report(self) -> None:
        """Report as alive, as far as nothing before it is open."""
        while self._questions and self._questions[0].answer is None:
            since = self._questions.popleft().asked
            listener = self._listener()
            if listener is not None:
                listener.alive(since)

    # What comes

    def _take_push(self, push: list[Any], names: list[str]) -> None:
        """Take what the server says by itself; names that have changed are added to `names`."""
        kind = bytes(push[0])
        if kind == b"invalidate":
            if push[1] is None:  # FLUSHALL, FLUSHDB
                self._take_flush()
                return
            for key in push[1]:
                what, name = self._keys.meaning(key)
                if what == "entry":
                    names.append(name)
                elif what == "bell":
                    told: list[Any] = []
                    self._ask(("GET", key), told.append)
                    at: Command = ("HGET", self._keys.tags, TAG_FIELD + name)
                    self._ask(at, partial(self._take_bell, name, told))
                elif what == "state":
                    self._ask_state(self._take_new_state)
        elif kind == b"message":
            self._take_message(bytes(push[2]), names)

    def _take_flush(self) -> None:
        """Learn that everything has gone."""
        self._ask_state(self._take_new_state)

    def _take_message(self, message: bytes, names: list[str]) -> None:
        """Take what another process has published."""
        try:
            version, sender, kind, rest = message.decode("utf-8", "surrogatepass").split(" ", 3)
            if sender == self._sender:
                return
            if version != _FORMAT or kind not in {"names", "tags"}:
                self._not_understood(message)
            elif kind == "names":
                names.extend(map(str, json.loads(rest)))
            else:
                text, _, epoch = rest.rpartition(" ")
                tags = [str(tag) for tag in json.loads(text)]
                if CLEAR in tags and self._state is not None:
                    self._state = self._state._replace(cleared=int(epoch))
                self._tell_invalidated(tags, int(epoch))
        except (ValueError, TypeError):
            self._not_understood(message)

    def _not_understood(self, message: bytes) -> None:
        """Say so. From another release it may have told of any change: the next report confirms what comes after it."""
        _log.warning("a message on %s is not understood: %r", self._keys.channel, message[:80])
        listener = self._listener() if message.partition(b" ")[0].isdigit() else None
        if listener is not None:
            listener.lost()

    def _tell_changed(self, names: list[str]) -> None:
        """Tell of names, but of those that this process wrote only when it is known that another one did after it."""
        listener = self._listener() if names else None
        if listener is None:
            return
        others: list[str] = []
        own: list[str] = []
        for name in names:
            (others if listener.own_version(name) is None else own).append(name)
        if others:
            listener.changed(others)
        for group in self._keys.together(own) if own else ():
            for start in range(0, len(group), _ASKED_AT_ONCE):
                some = list(group[start : start + _ASKED_AT_ONCE])
                # Who may have removed a name itself must know if it was somebody else.
                removed = self._own.removed.among(some)
                if removed:
                    some = [name for name in some if name not in removed] + list(removed)
                places = [*self._keys.entries(some), *map(self._keys.removal, removed)]
                question = ("EVAL", CHANGED.source, str(len(places)), *places, str(len(removed)))
                self._ask(question, partial(self._take_own, some, len(some) - len(removed)))
                self._asked_of_own = True

    def _take_own(self, names: Sequence[str], unmarked: int, reply: Any) -> None:
        """Learn whether what there is, or is not, of names is this process's doing.

        Of the first ones it was not asked who has removed them.
        """
        others = names
        if type(reply) is list:  # else it does not say, as where somebody keeps a list under a name
            # Not only the last version: an older one of its own is there until the next is.
            me, written = self._sender.encode(), self._own.written.among([by[_VERSION] for by in reply])
            others = [
                name
                for place, (name, by) in enumerate(zip(names, reply, strict=True))
                if by[_VERSION] not in written
                and by != me
                # What it has removed since it asked it has forgotten already; and of what comes after it is told.
                and not (by == b"" and place < unmarked and name in self._own.removed)
            ]
        listener = self._listener()
        if others and listener is not None:
            listener.changed(others)

    def _take_bell(self, tag: str, answers: list[Any], at: Any) -> None:
        """Learn why a bell was changed; `at` is when its tag was invalidated last."""
        (reply,) = answers
        if reply is None:
            # By time, if it is known; or gone before it was looked at.
            if self._bells.pop(tag, None) is None:
                self._take_tag(tag, at)
            return
        try:
            epoch, who = reply.decode("ascii").split()
            rung = int(epoch)
        except (AttributeError, ValueError):
            return  # nothing that a client of this kind writes
        if self._bells.get(tag) == rung:
            return
        if len(self._bells) >= _MOST_BELLS:
            self._bells.clear()
        self._bells[tag] = rung
        if who != self._sender:
            self._tell_invalidated([tag], rung)

    def _take_tag(self, tag: str, reply: Any) -> None:
        """Learn when a tag was invalidated; before this connection began is no news."""
        if isinstance(reply, bytes) and reply.isdigit() and int(reply) > self._begun_at:
            self._tell_invalidated([tag], int(reply))

    def _tell_invalidated(self, tags: list[str], epoch: int) -> None:
        listener = self._listener()
        if listener is not None:
            listener.invalidated(tags, epoch)

    # The state of the namespace

    def _ask_state(self, learn: Callable[[State], None]) -> None:
        """Learn the state, which is made if it is not there: in one question, as no report would wait for a second."""

        def answer(reply: Any) -> None:
            state = State.parse(reply) if isinstance(reply, bytes) else None
            if state is None:
                raise TierUnavailable(f"the state of a namespace cannot be had: {reply!r}")
            learn(state)

        self._ask(("EVAL", STATE.source, "2", self._keys.state, self._keys.tags), answer)

    def _take_new_state(self, state: State) -> None:
        before, self._state = self._state, state
        if before is not None and state.cleared != before.cleared and state.who != self._sender:
            self._tell_invalidated([CLEAR], state.cleared)


def _expect_tracking(reply: Any) -> None:
    """Raise if the server does not let this client track; what it says of its own state is no refusal."""
    if isinstance(reply, Exception):
        words = str(reply)
        if words.startswith(("NOPERM", "ERR")):
            raise _RefusedError(
                f"the server refuses CLIENT TRACKING ({words}); allow it (ACL: +client|tracking), or have all processes"
                ' use stream="pubsub". Until then memory is served unchecked for no longer than max_staleness'
            )
        _expect(reply)


def _expect(reply: Any) -> None:
    """Raise TierUnavailable if this is an error reply."""
    if isinstance(reply, Exception):
        raise TierUnavailable(f"the server does not serve a stream of changes: {reply}")
