"""The level on a Valkey or Redis server (7 or later): standalone, behind Sentinel, over TCP, TLS or a unix socket.

- **One round trip an operation**: a read is one MGET of the entries and the state of the namespace. A second one
  follows if the entries have tags that were not looked at since the last invalidation, and when a server is met for the
  first time.
- **Fences**: a fence is the first 16 bytes of what is there, which no two writes have in common, or the lease of a name
  that is not there. A fill compares and stores in one script; whatever changes a name takes its lease away. A name that
  is *held* is leased to nobody and filled by nobody.
- **Times**: what is kept for ever or not is the server's affair (PX); the logical life is written as a moment of the
  server's clock, of which each client knows bounds (`servertime`). Clocks of clients do not matter.
- **Changes by others** come over a `stream`.

An operation takes `timeout` seconds at most, connecting included, but for what a name server takes. A connection that
the server has closed while it was idle is replaced within that time. Nothing else is tried twice: a write of which it
is unknown whether it was done must not be done again after somebody else's.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
import weakref
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar, cast

import hiredis

from hotset._wire import advanced, packed
from hotset.durations import finite, seconds
from hotset.errors import TierError, TierTimeout, TierUnavailable
from hotset.tiers.contract import CLEAR, NOTHING_FOUND, Found, Reading
from hotset.tiers.keys import Keys
from hotset.tiers.links import AsyncLinks, Demoted, Endpoint, Link, Stale, raise_refusal, take_time
from hotset.tiers.pool import Pool
from hotset.tiers.scripts import (
    EXPIRE,
    FILL,
    FLOOR_FIELD,
    FREE,
    HELD,
    HOLD,
    INVALIDATE,
    LEASE,
    REMOVE,
    SCRIPTS,
    SETTLE,
    STATE,
    TAG_FIELD,
    Script,
    State,
)
from hotset.tiers.servertime import ServerTime
from hotset.tiers.stream import BELL_MS, MARK_MS, OwnChanges, Stream, names_message, tags_message
from hotset.versions import VERSION_BYTES, new_version
from hotset.wire import KIND_AT, PREFIX_BYTES, Wire, ended, fence_of, is_lease, lease_marker, new_lease

if TYPE_CHECKING:
    from collections.abc import Container, Generator, Sequence

    import redis

    from hotset.codecs.contract import Codec
    from hotset.durations import Duration
    from hotset.tiers.contract import Entry, Fence, Listener
    from hotset.tiers.links import AsyncLink, Command
    from hotset.tiers.listening import Listening
    from hotset.tiers.stream import StreamMode

__all__ = ["RedisTier"]

_T = TypeVar("_T")
# Yields commands, is sent their replies, and returns what was asked for.
Operation: TypeAlias = "Generator[list[Command], list[Any], _T]"

_SIGNATURE: Final = lease_marker(bytes(VERSION_BYTES))[:KIND_AT]
# The server counts milliseconds in 64 bits from 1970; more than this is for ever.
_LONGEST: Final = 1e12
_FOR_EVER: Final = "0"
_TOUCHES: Final = 3
_HELD: Final = Found(None)  # what is leased of a name that is held: no fence
LAST_EPOCH: Final = (1 << 64) - 1  # on the wire

_tiers: Final[weakref.WeakSet[RedisTier]] = weakref.WeakSet()


class RedisTier:
    """A level on a Valkey or Redis server, shared by all processes that use its namespace.

    - `source`: a URL (redis://, rediss:// with the options of redis-py, unix://,
      redis+sentinel://host:port,host:port/service/db), or a redis-py client, of which the connection's parameters are
      taken over. `sentinel` is (hosts, service), as an alternative to that URL.
    - `wire`: how entries are written; or `codec`, for `Wire(codec)`.
    - `timeout`: how long an operation takes at most, `connect_timeout` how much of it connecting does.
    - `max_connections`: of this process, for threads. Event loops have one each, and the stream has one.
    - `ttl`: the longest that anything lives here, in seconds or as text such as "1h".
    - `lease`: how long a lease is good for, and a hold; a load that takes longer is not stored.
    - `stream`: how changes by others are learned, "tracking" or "pubsub" (see `hotset.tiers.stream`; all processes the
      same), or None for not at all; `heartbeat` is how often the connection is tried.

    Durations are seconds, a timedelta or text such as "250ms".
    Nothing is connected before the first use. Safe for threads, event loops and forks. Needs `hotset[redis]`. Every
    operation is O(1) a name or tag. Raises TypeError, ValueError for arguments that make no sense.
    """

    shared = True
    holds = True

    @property
    def streams(self) -> bool:
        """Whether the listener is told of changes by others."""
        return self._mode is not None

    def __init__(
        self,
        source: str | redis.Redis = "redis://localhost:6379",
        *,
        name: str = "valkey",
        wire: Wire | None = None,
        codec: Codec | str | None = None,
        sentinel: tuple[Sequence[tuple[str, int]], str] | None = None,
        timeout: Duration = 0.25,
        connect_timeout: Duration = 0.25,
        max_connections: int = 64,
        ttl: Duration | None = None,
        lease: Duration = 30.0,
        stream: StreamMode | None = "tracking",
        heartbeat: Duration = 0.25,
    ) -> None:
        if wire is not None and codec is not None:
            raise ValueError("give a wire or a codec, not both")
        if stream not in {"tracking", "pubsub", None}:
            raise ValueError(f"stream must be 'tracking', 'pubsub' or None, not {stream!r}")
        if max_connections < 1:
            raise ValueError(f"max_connections must be 1 or more, not {max_connections!r}")
        self.name = name
        self.timeout = finite(timeout, name="timeout")
        self.longest = math.inf if ttl is None else seconds(ttl, name="ttl")
        self.held_for = finite(lease, name="lease")
        self._lease_ms = _milliseconds(self.held_for)
        self._heartbeat = finite(heartbeat, name="heartbeat")
        self._endpoint = Endpoint(
            source, sentinel=sentinel, connect_timeout=finite(connect_timeout, name="connect_timeout")
        )
        self._wire = wire if wire is not None else Wire("msgpack" if codec is None else codec)
        self._clock = ServerTime()
        # None of these holds on to the tier, so that it and its connections end when nobody else does.
        self._connect = _Connector(self._endpoint, self._clock, self.timeout)
        self._pool = Pool(self._connect.link, max_connections)
        self._links = AsyncLinks(self._connect.async_link)
        weakref.finalize(self, self._pool.close)
        self._mode = stream
        self._own = OwnChanges()
        self._stream: Listening | None = None
        self._listener: Listener | None = None
        self._keys: Keys | None = None
        self._closed = False
        self._sender = secrets.token_hex(8)  # signs own invalidations
        # The last state seen, as the server wrote it and taken apart.
        self._state: tuple[bytes, State] = b"", State(0, 0, 0, "")
        # The epochs of tags, good as long as the namespace's epoch is that in front.
        self._tags: tuple[int, dict[str, int]] = 0, {}
        _tiers.add(self)

    def __repr__(self) -> str:
        return f"<RedisTier {self.name!r} {self._endpoint!r}>"

    def open(self, namespace: str, listener: Listener) -> None:
        """Belong to one cache, and begin to listen to changes. The server need not be there."""
        if self._listener is not None and self._listener is not listener:
            raise TierError(f"{self!r} belongs to another cache already: give {namespace!r} a tier of its own")
        self._listener = listener
        self._keys = keys = self._keys_of(namespace)
        self._closed = self._pool.closed = False
        if self._mode is not None and self._stream is None:
            self._stream = self._stream_of(keys, listener, self._mode)
            self._stream.start()

    def _keys_of(self, namespace: str) -> Keys:
        return Keys(namespace)

    def _stream_of(self, keys: Keys, listener: Listener, mode: StreamMode) -> Listening:
        return Stream(
            self._connect.stream,
            keys,
            self._clock,
            listener,
            self._own,
            mode=mode,
            sender=self._sender,
            heartbeat=self._heartbeat,
            patience=self.timeout,
        )

    def close(self) -> None:
        """Give up connections and the stream's thread, for which this waits up to a second."""
        self._closed = True
        self._links.close_elsewhere()
        self._end()

    async def aclose(self) -> None:
        """See close."""
        self._closed = True
        await self._links.close()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.stop()
        self._pool.close()

    def _after_fork(self) -> None:
        self._pool.after_fork()
        self._links.after_fork()
        self._sender = secrets.token_hex(8)
        stream, self._stream = self._stream, None
        if stream is not None and self._listener is not None and self._keys is not None:
            # Begins to listen with the first operation: a child that does not use the tier needs no thread.
            stream.after_fork(self._sender)
            self._stream = stream

    # Operations of others' making, see `hotset.warming.desk`

    @property
    def keys(self) -> Keys:
        """What this tier's entries are called at the server. Raises TierError."""
        return self._opened()

    def perform(self, operation: Operation[_T]) -> _T:
        """Carry out an operation: a generator that yields commands and is sent their replies, errors among them.

        It must do no harm if it is begun a second time. Raises TierError.
        """
        return self._run(operation, again=True)

    async def aperform(self, operation: Operation[_T]) -> _T:
        """See perform."""
        return await self._arun(operation, again=True)

    # The two drivers

    def _opened(self) -> Keys:
        """Return the keys. Raises TierError if there are none yet, or no more."""
        if self._keys is None:
            raise TierError(f"{self!r} belongs to no cache: open() it first")
        if self._closed:
            raise TierUnavailable(f"{self!r} is closed")
        if self._stream is not None and not self._stream.running:
            self._stream.start()
        return self._keys

    def _run(self, operation: Operation[_T], *, again: bool = False) -> _T:
        """Carry an operation out; with `again` it does no harm to begin it a second time on another connection."""
        begun = monotonic()
        deadline = begun + self.timeout
        pool = self._pool
        link = pool.take(deadline, None if again else begun)
        try:
            if self._clock.due(begun):
                asked = monotonic()
                take_time(self._clock, asked, link.exchange(packed([("TIME",)]), 1, deadline)[0])
            ended, said = advanced(operation, None)
            while not ended:
                try:
                    replies = link.exchange(packed(said), len(said), deadline)
                except Stale:
                    if not again:
                        raise
                    link = pool.another(link, deadline)
                    replies = link.exchange(packed(said), len(said), deadline)
                ended, said = advanced(operation, replies)
        except Demoted:
            link.clean = False
            pool.clear()
            raise
        finally:
            pool.give(link, begun)
        return cast("_T", said)

    async def _arun(self, operation: Operation[_T], *, again: bool = False) -> _T:
        """Carry an operation out on the running event loop."""
        link = None
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout):
                link = await self._links.link(sure=not again)
                if self._clock.due(begun):
                    asked = time.monotonic()
                    take_time(self._clock, asked, (await link.exchange(packed([("TIME",)]), 1))[0])
                ended, said = advanced(operation, None)
                while not ended:
                    request = packed(said)
                    try:
                        replies = await link.exchange(request, len(said))
                    except Stale:
                        if not again:
                            raise
                        link = await self._links.link()
                        replies = await link.exchange(request, len(said))
                    ended, said = advanced(operation, replies)
                return cast("_T", said)
        except Demoted:
            if link is not None:
                link.close()
            raise
        except TimeoutError as error:
            # If it is the network that is silent, only a new connection finds another way.
            if link is not None and link.heard < begun:
                link.close()
            raise TierTimeout("no answer in time") from error

    # Reading

    def _read(self, keys: Keys, names: Sequence[str]) -> Operation[Reading]:
        places = keys.entries(names)
        (values,) = yield [("MGET", *places, keys.state)]
        if type(values) is not list or len(values) != len(names) + 1:
            raise_refusal(values)
        text = values.pop()
        known, state = self._state
        if text != known:
            state = yield from self._learn(keys, text)
        return (yield from self._found(keys, places, values, state))

    def _learn(self, keys: Keys, text: bytes | None) -> Operation[State]:
        """Return the state from what is kept of it, or make it."""
        state = State.parse(text)
        if state is None:
            text = (yield from self._asked([_call(STATE, (keys.state, keys.tags))]))[0]
            state = State.parse(text)
            if state is None:
                raise_refusal(text)
        assert text is not None  # noqa: S101 - of nothing there is no state
        self._state = text, state
        return state

    def _found(self, keys: Keys, places: list[str], values: list[Any], state: State) -> Operation[Reading]:
        """Return what is made of the bytes that were at these keys, as of a state."""
        cleared, epoch = min(state.cleared, LAST_EPOCH), min(state.epoch, LAST_EPOCH)
        refused: dict[str, int] = {}
        now = self._clock.latest()

        def odd(place: str, data: bytes) -> Found:
            entry = self._wire.decode(place, data, now)
            if isinstance(entry, str):
                reason = entry
            elif cleared <= entry.epoch <= epoch:
                return Found(entry, data[:PREFIX_BYTES])
            else:
                reason = "dead"
            refused[reason] = refused.get(reason, 0) + 1
            return Found(None, data[:PREFIX_BYTES])

        found = self._wire.decode_many(places, values, now, (cleared, epoch), odd)
        if not isinstance(found, list):
            return self._wire.reading(found, epoch)
        reading = Reading(found, epoch, refused)
        if any(entry is not None and entry.tags for entry, _, _ in found):
            yield from self._bury(keys, reading, state)
        return reading

    def _bury(self, keys: Keys, reading: Reading, state: State) -> Operation[None]:
        """Refuse the entries whose tags were invalidated."""
        epochs = yield from self._tag_epochs(keys, reading, state)
        for place, found in enumerate(reading.found):
            entry, fence = found.entry, found.fence
            if entry is None or not entry.tags:
                continue
            if entry.epoch < state.floor or any(epochs[tag] > entry.epoch for tag in entry.tags):
                reading.found[place] = Found(None, fence)
                reading.refused["dead"] = reading.refused.get("dead", 0) + 1

    def _tag_epochs(self, keys: Keys, reading: Reading, state: State) -> Operation[dict[str, int]]:
        """Return in which epoch each tag of the entries was invalidated last; 0 for never."""
        asof, epochs = self._tags
        if asof != state.epoch:
            epochs = {}
        wanted = list(
            {tag for found in reading.found if found.entry is not None for tag in found.entry.tags if tag not in epochs}
        )
        if wanted:
            command = ("HMGET", keys.tags, FLOOR_FIELD, *[TAG_FIELD + tag for tag in wanted])
            (reply,) = yield from self._asked([command])
            if type(reply) is not list or len(reply) != len(wanted) + 1:
                raise_refusal(reply)
            if reply[0] != b"%d" % state.floor:
                # It was lost, or made anew since: what is older than its floor is dead, of the rest nothing is known to
                # be.
                text = (yield from self._asked([_call(STATE, (keys.state, keys.tags))]))[0]
                mended = State.parse(text)
                if mended is None:
                    raise_refusal(text)
                self._state = text, mended
                return {**epochs, **dict.fromkeys(wanted, mended.floor)}
            # A tag that was invalidated between the two questions is so for this reading too.
            try:
                epochs = {**epochs, **{tag: int(at or 0) for tag, at in zip(wanted, reply[1:], strict=True)}}
            except ValueError as error:
                raise TierError(f"what is kept of tags at {keys.tags!r} is none: {error}") from error
            self._tags = state.epoch, epochs
        return epochs

    def _lease(self, keys: Keys, names: Sequence[str]) -> Operation[Reading]:
        places, markers = keys.entries(names), []
        commands: list[Command] = [("GET", keys.state)]
        for name, place in zip(names, places, strict=True):
            marker = new_lease()
            markers.append(marker)
            commands.append(("EVALSHA", LEASE.sha, "2", place, keys.lease(name), marker, self._lease_ms))
        replies = yield commands
        if hiredis.ReplyError in map(type, replies):
            replies = yield from self._mended(commands, replies)
        text = replies.pop(0)
        known, state = self._state
        if text != known:
            state = yield from self._learn(keys, text)
        there = False
        leases: list[Found] = []
        for answer, marker in zip(replies, markers, strict=True):
            if answer[0]:
                there = True
                leases.append(NOTHING_FOUND)
            else:
                _, given = answer
                held = given is not None and given.startswith(HELD)
                leases.append(_HELD if held else Found(None, given or marker, given is not None))
        if not there:
            return Reading(leases, min(state.epoch, LAST_EPOCH))
        reading = yield from self._found(keys, places, [answer[0] for answer in replies], state)
        for number, lease in enumerate(leases):
            if lease is not NOTHING_FOUND:
                reading.found[number] = lease
        return reading

    # Writing

    def _fill(self, keys: Keys, items: Sequence[tuple[str, Entry, Fence]]) -> Operation[list[bool]]:
        commands: list[Command] = []
        now = self._clock.earliest()
        published = self._mode == "pubsub"
        for name, entry, fence in items:
            if fence is not None and entry.keep > 0:
                # Who had read nothing has nothing that others must hear of.
                tell = published and not is_lease(fence)
                bounded = entry.within(self.longest)
                data = self._encoded(keys, name, bounded, now)
                commands.append(self._fill_command(keys, name, data, fence, bounded.keep, tell))
        if not commands:
            return [False] * len(items)
        replies = yield commands
        if hiredis.ReplyError in map(type, replies):
            replies = yield from self._mended(commands, replies)
        if len(replies) == len(items):
            return [reply == 1 for reply in replies]
        answers = iter(replies)
        return [fence is not None and entry.keep > 0 and next(answers) == 1 for _, entry, fence in items]

    def _fill_command(
        self,
        keys: Keys,
        name: str,
        data: bytes,
        fence: bytes,
        keep: float,
        tell: bool,  # noqa: FBT001
    ) -> Command:
        channel, message = (keys.channel, names_message(self._sender, [name])) if tell else ("", "")
        place, lease, removal = keys.of(name)
        return ("EVALSHA", FILL.sha, "3", place, lease, removal, fence, data, _milliseconds(keep), channel, message)

    def _encoded(self, keys: Keys, name: str, entry: Entry, now: float) -> bytes:
        data = self._wire.encode(keys.entry(name), entry, now)
        self._own.written.add(entry.version)
        return data

    def _write(self, keys: Keys, items: Sequence[tuple[str, Entry]]) -> Operation[None]:
        commands: list[Command] = []
        present = self._state[1].epoch
        if not all(entry.epoch for _, entry in items):
            (text,) = yield from self._asked([("GET", keys.state)])
            present = (yield from self._learn(keys, text)).epoch
        now = self._clock.earliest()
        for name, given in items:
            # An epoch above is one of before the server lost its state, and would be dead for long.
            entry = given if 0 < given.epoch <= present or not present else replace(given, epoch=present)
            entry = entry.within(self.longest)
            if entry.keep <= 0:
                commands.append(_call(REMOVE, (keys.entry(name), keys.lease(name))))
                continue
            ms = _milliseconds(entry.keep)
            until = () if ms == _FOR_EVER else ("PX", ms)
            commands.append(("SET", keys.entry(name), self._encoded(keys, name, entry, now), *until))
        for names in keys.together([name for name, _ in items]):
            # After the entries: a lease that is given between the two would outlive them.
            commands.append(_call(FREE, [*map(keys.lease, names), *self._marks(keys, names)]))
            self._publish(keys, names, commands)
        yield from self._asked(commands)

    def _remove(self, keys: Keys, names: Sequence[str], expire: bool) -> Operation[None]:  # noqa: FBT001
        commands: list[Command] = []
        marks = [] if expire else self._marks(keys, names)
        commands += [("SET", mark, self._sender, "PX", str(MARK_MS)) for mark in marks]
        for some in keys.together(names):
            if expire:
                for name in some:
                    commands.append(_call(EXPIRE, (keys.entry(name), keys.lease(name)), *self._ending(expire)))
            else:
                for name in some:
                    self._own.removed.add(name)
                commands.append(_call(REMOVE, [*keys.entries(some), *map(keys.lease, some)]))
            self._publish(keys, some, commands)
        # A server that is out of memory sets no marks, and removes all the same.
        yield from self._asked(commands, optional=range(len(marks)))

    def _hold(self, keys: Keys, names: Sequence[str], expire: bool) -> Operation[Hold]:  # noqa: FBT001
        token = new_version()
        marks = [] if expire else self._marks(keys, names)
        for name in () if expire else names:
            self._own.removed.add(name)
        commands: list[Command] = [("SET", mark, self._sender, "PX", str(MARK_MS)) for mark in marks]
        # The state is asked for here, where it costs no round trip: entries are written as of before they were saved.
        commands.append(("GET", keys.state))
        for some in keys.together(names):
            for name in some:
                places = keys.entry(name), keys.lease(name)
                commands.append(_call(HOLD, places, token, self._lease_ms, *self._ending(expire)))
            self._publish(keys, some, commands)
        replies = yield from self._asked(commands, optional=range(len(marks)))
        state = yield from self._learn(keys, replies[len(marks)])
        return Hold(token, min(state.epoch, LAST_EPOCH))

    def _settle(
        self,
        keys: Keys,
        items: Sequence[tuple[str, Entry | None]],
        hold: Hold,
        expire: bool,  # noqa: FBT001
    ) -> Operation[list[bool]]:
        commands: list[Command] = []
        now = self._clock.earliest()
        published = self._mode == "pubsub"
        for name, entry in items:
            data, ms = b"", _FOR_EVER
            if entry is not None and entry.keep > 0:
                bounded = entry.as_of(hold.epoch).within(self.longest)
                data, ms = self._encoded(keys, name, bounded, now), _milliseconds(bounded.keep)
            channel, message = (keys.channel, names_message(self._sender, [name])) if published else ("", "")
            places = keys.entry(name), keys.lease(name), keys.removal(name)
            commands.append(_call(SETTLE, places, hold.token, data, ms, channel, message, *self._ending(expire)))
        replies = yield from self._asked(commands)
        return [reply == 1 for reply in replies]

    def _ending(self, expire: bool) -> tuple[bytes, str, bytes]:  # noqa: FBT001
        """Return by what a script ends the life of an entry, or drops it."""
        if not expire:
            return _SIGNATURE, str(KIND_AT), b""
        version = new_version()
        self._own.written.add(version)
        return _SIGNATURE, str(KIND_AT), ended(version)

    def _marks(self, keys: Keys, names: Sequence[str]) -> list[str]:
        """Return where it is marked that this process has removed names, if its stream asks for that."""
        return [keys.removal(name) for name in names] if self._mode == "tracking" else []

    def _publish(self, keys: Keys, names: Sequence[str], commands: list[Command]) -> None:
        if self._mode == "pubsub":
            commands.append(("PUBLISH", keys.channel, names_message(self._sender, names)))

    def _touch(self, keys: Keys, name: str, life: float, keep: float) -> Operation[bool]:
        life, keep = min(life, self.longest), min(keep, self.longest)
        for _ in range(_TOUCHES):
            (data,) = yield from self._asked([("GET", keys.entry(name))])
            if data is None:
                return False
            if keep <= 0:
                yield from self._remove(keys, [name], expire=False)
                return True
            timed = self._wire.retime(keys.entry(name), data, life, keep, self._clock.earliest())
            if isinstance(timed, str):
                return False
            tell = self._mode == "pubsub"
            command = self._fill_command(keys, name, timed, fence_of(data), keep, tell)
            if (yield from self._asked([command])) == [1]:
                return True
        return False

    def _invalidate(self, keys: Keys, tags: Sequence[str]) -> Operation[int]:
        channel = message = ""
        bells: Sequence[str] = ()
        named = [tag for tag in tags if tag != CLEAR]
        if self._mode == "pubsub":
            channel, message = keys.channel, tags_message(self._sender, tags)
        else:
            bells = [keys.bell(tag) for tag in named]
        command = _call(
            INVALIDATE,
            (keys.state, keys.tags, *bells),
            self._sender,
            "1" if CLEAR in tags else "0",
            str(BELL_MS),
            channel,
            message,
            *named,
        )
        (text,) = yield from self._asked([command])
        return (yield from self._learn(keys, text)).epoch

    def _asked(self, commands: list[Command], optional: Container[int] = ()) -> Operation[list[Any]]:
        """Return the replies to commands, after teaching the server scripts that it has forgotten.

        Raises TierError if it refuses one, unless that is at an `optional` place.
        """
        replies = yield commands
        if hiredis.ReplyError not in map(type, replies):
            return replies
        return (yield from self._mended(commands, replies, optional))

    def _mended(
        self, commands: list[Command], replies: list[Any], optional: Container[int] = ()
    ) -> Operation[list[Any]]:
        """Return what _asked does for replies of which one is an error."""
        if any(_is_unknown_script(reply) for reply in replies):
            loads: list[Command] = [("SCRIPT", "LOAD", script.source) for script in SCRIPTS]
            # What is published of a change must be published after it.
            places = [
                place
                for place, reply in enumerate(replies)
                if _is_unknown_script(reply) or commands[place][0] == "PUBLISH"
            ]
            later = yield loads + [commands[place] for place in places]
            for place, reply in zip(places, later[len(loads) :], strict=True):
                replies[place] = reply
        for place, reply in enumerate(replies):
            if isinstance(reply, Exception) and place not in optional:
                raise_refusal(reply)
        return replies

    # The two faces

    def read(self, names: Sequence[str]) -> Reading:
        """Look names up, in one round trip. Raises TierError."""
        return self._run(self._read(self._opened(), names), again=True)

    async def aread(self, names: Sequence[str]) -> Reading:
        """See read."""
        return await self._arun(self._read(self._opened(), names), again=True)

    def lease(self, names: Sequence[str]) -> Reading:
        """Return a fence for each name that is not there, the same for all who ask; or the entry. Raises TierError."""
        return self._run(self._lease(self._opened(), names), again=True)

    async def alease(self, names: Sequence[str]) -> Reading:
        """See lease."""
        return await self._arun(self._lease(self._opened(), names), again=True)

    def fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """Store loaded entries whose fence holds. Raises TierError; CodecError, and nothing is stored then."""
        return self._run(self._fill(self._opened(), items)) if items else []

    async def afill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """See fill."""
        return await self._arun(self._fill(self._opened(), items)) if items else []

    def write(self, items: Sequence[tuple[str, Entry]]) -> None:
        """Store entries whatever is there; epoch 0 stands for the present one, which costs a round trip more.

        Raises TierError; CodecError, and nothing is stored then.
        """
        if items:
            self._run(self._write(self._opened(), items))

    async def awrite(self, items: Sequence[tuple[str, Entry]]) -> None:
        """See write."""
        if items:
            await self._arun(self._write(self._opened(), items))

    def remove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """Drop names, or end their lives. Raises TierError."""
        if names:
            self._run(self._remove(self._opened(), names, expire))

    async def aremove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """See remove."""
        if names:
            await self._arun(self._remove(self._opened(), names, expire))

    def hold(self, names: Sequence[str], *, expire: bool = False) -> Hold:
        """Remove names and hold them, in one round trip, until they are settled or for `lease` seconds at most."""
        return self._run(self._hold(self._opened(), names, expire))

    async def ahold(self, names: Sequence[str], *, expire: bool = False) -> Hold:
        """See hold."""
        return await self._arun(self._hold(self._opened(), names, expire))

    def settle(self, items: Sequence[tuple[str, Entry | None]], hold: Hold, *, expire: bool = False) -> list[bool]:
        """Store what has been held, in one round trip; which names nobody else has held meanwhile."""
        return self._run(self._settle(self._opened(), items, hold, expire))

    async def asettle(
        self, items: Sequence[tuple[str, Entry | None]], hold: Hold, *, expire: bool = False
    ) -> list[bool]:
        """See settle."""
        return await self._arun(self._settle(self._opened(), items, hold, expire))

    def touch(self, name: str, life: float, keep: float) -> bool:
        """Give an entry new times, in two round trips; whether it was there. Raises TierError."""
        return self._run(self._touch(self._opened(), name, life, keep))

    async def atouch(self, name: str, life: float, keep: float) -> bool:
        """See touch."""
        return await self._arun(self._touch(self._opened(), name, life, keep))

    def invalidate(self, tags: Sequence[str]) -> int:
        """End the lives of all older entries with one of these tags; the new epoch. Raises TierError."""
        return self._run(self._invalidate(self._opened(), tags))

    async def ainvalidate(self, tags: Sequence[str]) -> int:
        """See invalidate."""
        return await self._arun(self._invalidate(self._opened(), tags))


class Hold(NamedTuple):
    """By what names are held, and the epoch as of then."""

    token: bytes
    epoch: int


def _call(script: Script, keys: Sequence[str], *arguments: str | bytes) -> Command:
    return ("EVALSHA", script.sha, str(len(keys)), *keys, *arguments)


def _is_unknown_script(reply: Any) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT")


def _milliseconds(keep: float) -> str:
    """Return a time to keep as the server counts it."""
    return _FOR_EVER if keep > _LONGEST else str(max(1, math.ceil(keep * 1000)))


class _Connector:
    """Makes a tier's connections."""

    __slots__ = ("_clock", "_endpoint", "_timeout")

    def __init__(self, endpoint: Endpoint, clock: ServerTime, timeout: float) -> None:
        self._endpoint, self._clock, self._timeout = endpoint, clock, timeout

    def link(self, deadline: float) -> Link:
        """Return one for a thread."""
        return self._endpoint.connect(self._clock, deadline, self._timeout)

    async def async_link(self) -> AsyncLink:
        """Return one for the running event loop."""
        return await self._endpoint.aconnect(self._clock)

    def stream(self) -> Link:
        """Return one over which the server may speak unasked."""
        return self._endpoint.connect(self._clock, time.monotonic() + self._timeout, self._timeout, pushes=True)


def _after_fork() -> None:
    for tier in list(_tiers):
        tier._after_fork()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
