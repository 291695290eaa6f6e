"""The level on a Valkey or Redis Cluster: what `RedisTier` is on one server.

- **Parts**: the names of a namespace are in 64 parts, each of one hash slot (see `hotset.tiers.parts`): fences and
  leases keep to the slot of their name, and nothing crosses slots. Bulk operations ask all nodes side by side (see
  `hotset.tiers.dispatch`).
- **The state of the namespace**, by which `clear` and invalidations by tag take effect, is in one slot, and is asked
  for in the same turn as the entries. When an invalidation has returned, every read that starts later, at any node, is
  held against it. Nothing is read while the node with the state does not serve: what cannot be known to be alive is a
  miss.
- **A node that does not serve** costs its own names: they are misses ("unavailable" among what was refused), changes of
  them fail, and the rest goes on.
- **Failover**: a replica takes over without the last changes that its primary acknowledged, for Valkey and Redis
  replicate asynchronously. What this process has changed within the last half minute, or was told of, is removed at the
  successor before anything is read there, so it is never served an older value than it has seen; entries with tags, and
  what `clear` ended, are dead there as well. What no living process knows of stays lost: `wait_replicas` has changes
  fail that are not on so many replicas in time.
"""

from __future__ import annotations

import asyncio
import urllib.parse
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar, cast

import redis
import redis.asyncio
import redis.cluster

from hotset._wire import advanced, gather_values
from hotset.errors import TierError, TierUnavailable
from hotset.tiers.acknowledged import Acknowledged
from hotset.tiers.contract import NOTHING_FOUND, Opened, Reading
from hotset.tiers.dispatch import Asked, Dispatch, Fetch
from hotset.tiers.links import raise_refusal, take_time
from hotset.tiers.listing import Listing
from hotset.tiers.nodes import Nodes
from hotset.tiers.parts import PARTS, PartedKeys
from hotset.tiers.redis import LAST_EPOCH, RedisTier
from hotset.tiers.streams import ClusterStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotset.codecs.contract import Codec
    from hotset.durations import Duration
    from hotset.tiers.contract import Entry, Fence, Listener
    from hotset.tiers.keys import Keys
    from hotset.tiers.nodes import Address
    from hotset.tiers.redis import Hold, Operation
    from hotset.tiers.scripts import State
    from hotset.tiers.servertime import ServerTime
    from hotset.tiers.stream import StreamMode
    from hotset.wire import Wire

__all__ = ["ClusterTier"]

_T = TypeVar("_T")
_PORT: Final = 6379


class ClusterTier(RedisTier):
    """A level on a Valkey or Redis Cluster, shared by all processes that use its namespace.

    - `source`: redis+cluster://host:port,host:port (rediss+cluster:// for TLS, with user, password and options as
      redis-py takes them), of which nodes one must answer; or a `redis.cluster.RedisCluster`, of which nodes and the
      connections' parameters are taken over.
    - `read_from`: "primary", or "replica" to have entries read from replicas: names that this process has changed, or
      was told of, within the last half minute are read from primaries all the same. Others may be older by what the
      replicas lag behind; entries ended by tag or by `clear` are not. Fences are taken and checked at primaries.
    - `wait_replicas`: how many replicas must have a change within half the timeout, or it fails (WAIT). It costs a
      round trip between the nodes, and on an event loop it holds up what is asked of that node after it.
    - `max_connections`: of this process to each node, for threads.

    All other options are those of `RedisTier`. A primary must not be restarted empty or with old data while it keeps
    its slots: that is taken for what it had. Raises TypeError, ValueError for arguments that make no sense.
    """

    def __init__(
        self,
        source: str | redis.cluster.RedisCluster = "redis+cluster://localhost:6379",
        *,
        name: str = "cluster",
        wire: Wire | None = None,
        codec: Codec | str | None = None,
        timeout: Duration = 0.25,
        connect_timeout: Duration = 0.25,
        max_connections: int = 64,
        ttl: Duration | None = None,
        lease: Duration = 30.0,
        stream: StreamMode | None = "tracking",
        heartbeat: Duration = 0.25,
        read_from: Literal["primary", "replica"] = "primary",
        wait_replicas: int = 0,
    ) -> None:
        if read_from not in {"primary", "replica"}:
            raise ValueError(f"read_from must be 'primary' or 'replica', not {read_from!r}")
        if isinstance(wait_replicas, bool) or not isinstance(wait_replicas, int):
            raise TypeError(f"wait_replicas must be a number of replicas, not {wait_replicas!r}")
        if wait_replicas < 0:
            raise ValueError(f"wait_replicas must not be negative, not {wait_replicas!r}")
        template, self._seeds = _taken_apart(source)
        super().__init__(
            template,
            name=name,
            wire=wire,
            codec=codec,
            timeout=timeout,
            connect_timeout=connect_timeout,
            max_connections=max_connections,
            ttl=ttl,
            lease=lease,
            stream=stream,
            heartbeat=heartbeat,
        )
        self._done = Acknowledged()
        self._near = read_from == "replica"
        self._nodes = Nodes(
            self._endpoint, self._seeds, self._done, timeout=self.timeout, most=max_connections, replicas=self._near
        )
        self._dispatch = Dispatch(self._nodes, wait=wait_replicas, timeout=self.timeout)
        weakref.finalize(self, self._nodes.close)

    def __repr__(self) -> str:
        return f"<ClusterTier {self.name!r} {','.join(f'{host}:{port}' for host, port in self._seeds)}>"

    def _keys_of(self, namespace: str) -> PartedKeys:
        keys = PartedKeys(namespace)
        self._nodes.open(keys)
        return keys

    def _stream_of(self, keys: Keys, listener: Listener, mode: StreamMode) -> ClusterStream:
        assert isinstance(keys, PartedKeys)  # noqa: S101 - made above
        return ClusterStream(
            self._nodes,
            keys,
            self._clock,
            listener,
            self._own,
            self._done,
            mode=mode,
            sender=self._sender,
            heartbeat=self._heartbeat,
            patience=self.timeout,
        )

    def scan(self, cursor: str, count: int) -> tuple[str, list[str]]:
        """Return some names and where to go on; begin with "", which comes back at the end. Raises TierError.

        A name that is there all the time comes once, and again only if its slot has moved or its node was rebuilding
        its table of keys. Names of a slot that is between two nodes all the while may be missing.
        """
        keys = self._opened()
        return self._run(self._scan(keys, cursor, count), again=True)

    async def ascan(self, cursor: str, count: int) -> tuple[str, list[str]]:
        """See scan."""
        keys = self._opened()
        return await self._arun(self._scan(keys, cursor, count), again=True)

    def _scan(self, keys: Keys, cursor: str, count: int) -> Operation[tuple[str, list[str]]]:
        nodes = self._nodes
        if any(nodes.owner(part) is None for part in range(PARTS)):
            raise TierUnavailable("not all slots are served")
        ids = nodes.ids()[:PARTS]
        listing = Listing(cursor, ids)
        if not listing.node:
            # Nobody says by himself that parts have moved.
            (reply,) = yield Asked([("CLUSTER", "SLOTS")], [nodes.owner(0)])
            if isinstance(reply, Exception):
                _raise(reply)
            if nodes.ids_in(reply)[:PARTS] == ids:
                return "", []
            nodes.wrong = True
            return cursor, []
        command = ("SCAN", listing.place, "MATCH", keys.pattern, "COUNT", str(count))
        (reply,) = yield Asked([command], [nodes.primaries().get(listing.node)])
        if isinstance(reply, Exception):
            _raise(reply)
        if type(reply) is not list:
            raise_refusal(reply)
        return listing.cursor(reply[0].decode()), list(filter(listing.has, keys.names_at(reply[1])))

    def close(self) -> None:
        """Give up connections and the streams' threads, for which this waits up to a second."""
        self._nodes.close_elsewhere()
        super().close()

    async def aclose(self) -> None:
        """See close."""
        self._closed = True
        await self._nodes.aclose()
        await super().aclose()

    def _end(self) -> None:
        super()._end()
        self._nodes.close()

    def _after_fork(self) -> None:
        self._nodes.after_fork()
        super()._after_fork()

    # The two drivers

    def _run(self, operation: Operation[_T], *, again: bool = False) -> _T:
        begun = monotonic()
        deadline = begun + self.timeout
        nodes, exchange = self._nodes, self._dispatch.exchange
        if nodes.due:
            self._look(deadline)
        if self._clock.due(begun):
            self._ask_time(deadline)
        ended, said = advanced(operation, None)
        while not ended:
            replies = exchange(said, deadline, again=again)
            ended, said = advanced(operation, replies if isinstance(said, Asked) else _all(replies))
        return cast("_T", said)

    async def _arun(self, operation: Operation[_T], *, again: bool = False) -> _T:
        begun = monotonic()
        deadline = begun + self.timeout
        nodes, exchange = self._nodes, self._dispatch.aexchange
        if nodes.due:
            await asyncio.to_thread(self._look, deadline)
        if self._clock.due(begun):
            await asyncio.to_thread(self._ask_time, deadline)
        ended, said = advanced(operation, None)
        while not ended:
            replies = await exchange(said, deadline, again=again)
            ended, said = advanced(operation, replies if isinstance(said, Asked) else _all(replies))
        return cast("_T", said)

    def _look(self, deadline: float) -> None:
        """Look at the slots, if nobody has meanwhile. Raises TierError if nothing is known of them."""
        nodes = self._nodes
        try:
            seen = nodes.generation
            if nodes.due:
                nodes.look(deadline, seen)
        except TierError:
            if not nodes.generation:
                raise

    def _ask_time(self, deadline: float) -> None:
        """Ask the node with the state for the time: lives of entries are written by its clock, wherever they are."""
        if not self._clock.due(monotonic()):
            return  # another one has
        node = self._nodes.state
        if node is None:
            raise TierUnavailable("no node has the state of the namespace")
        asked = monotonic()
        take_time(self._clock, asked, node.ask([("TIME",)], deadline)[0])

    # Reading

    def _read(self, keys: Keys, names: Sequence[str]) -> Operation[Reading]:
        assert isinstance(keys, PartedKeys)  # noqa: S101 - made by _keys_of
        nodes = self._nodes
        called = list(names)
        order, requests = keys.spread(called)
        fetches = [Fetch(part, request, keys, called, order) for part, request in requests.items()]
        whom = [nodes.owner(fetch.part) for fetch in fetches]
        if self._near:
            # A replica may not have heard yet of what this process has.
            done = self._done
            far = {part for part, name in zip(order, names, strict=True) if name in done}
            whom = [nodes.owner(each.part) if each.part in far else nodes.replica(each.part) for each in fetches]
        opening = _Opening(self._wire, self._clock, keys, called, order, self._state, list(requests))
        replies = yield Asked([*fetches, ("GET", keys.state)], [*whom, nodes.state], opening.take)
        text = replies.pop()
        if isinstance(text, Exception):
            _raise(text)
        if (reading := opening.reading(text)) is not None:
            return reading
        known, state = self._state
        if text != known:
            state = yield from self._learn(keys, text)
        failed = 0
        values: list[list[Any] | None] = [None] * PARTS
        for fetch, reply in zip(fetches, replies, strict=True):
            if type(reply) is list:
                values[fetch.part] = reply
            elif isinstance(reply, TierError):
                failed += len(fetch) - 1
            else:
                raise_refusal(reply)
        reading = yield from self._found(keys, keys.placed(called, order), gather_values(order, values), state)
        if failed:
            reading.refused["unavailable"] = failed
        return reading

    def _lease(self, keys: Keys, names: Sequence[str]) -> Operation[Reading]:
        operation = super()._lease(keys, names)
        # The state, then each name.
        replies = yield Asked(next(operation))
        if isinstance(replies[0], Exception):
            _raise(replies[0])
        failed = [place for place, reply in enumerate(replies[1:]) if isinstance(reply, TierError)]
        for place in failed:
            replies[1 + place] = [None, None]
        reading = yield from _continued(operation, replies)
        if failed:
            for place in failed:
                reading.found[place] = NOTHING_FOUND
            reading.refused["unavailable"] = len(failed)
        return reading

    def _learn(self, keys: Keys, text: bytes | None) -> Operation[State]:
        state = yield from super()._learn(keys, text)
        self._done.learn(state)
        return state

    # Writing. What is remembered, is before it is asked for: an answer may come too late for that.

    def _fill(self, keys: Keys, items: Sequence[tuple[str, Entry, Fence]]) -> Operation[list[bool]]:
        self._done.add(name for name, _, _ in items)
        return (yield from super()._fill(keys, items))

    def _write(self, keys: Keys, items: Sequence[tuple[str, Entry]]) -> Operation[None]:
        self._done.add(name for name, _ in items)
        yield from super()._write(keys, items)

    def _remove(self, keys: Keys, names: Sequence[str], expire: bool) -> Operation[None]:  # noqa: FBT001
        self._done.add(names)
        yield from super()._remove(keys, names, expire)

    def _hold(self, keys: Keys, names: Sequence[str], expire: bool) -> Operation[Hold]:  # noqa: FBT001
        self._done.add(names)
        return (yield from super()._hold(keys, names, expire))

    def _settle(
        self,
        keys: Keys,
        items: Sequence[tuple[str, Entry | None]],
        hold: Hold,
        expire: bool,  # noqa: FBT001
    ) -> Operation[list[bool]]:
        self._done.add(name for name, _ in items)
        return (yield from super()._settle(keys, items, hold, expire))


class _Opening:
    """What nodes have said, opened while others are at work, as of the state that is known beforehand."""

    def __init__(
        self,
        wire: Wire,
        clock: ServerTime,
        keys: PartedKeys,
        names: list[str],
        order: bytes,
        known: tuple[bytes, State],
        parts: list[int],
    ) -> None:
        self._wire, self._clock, self._keys, self._names, self._order = wire, clock, keys, names, order
        self._text, state = known
        self._epochs = min(state.cleared, LAST_EPOCH), min(state.epoch, LAST_EPOCH)
        self._parts = parts
        self._left = len(parts)  # to be opened; none once all are
        # By now the first was, so no life is told longer than it is.
        self._opened: Opened | None = None
        self._vain = not self._text

    def take(self, places: list[int | None], replies: list[Any]) -> None:
        """Open what a node has said."""
        if self._vain:
            return
        now = self._clock.latest()
        if self._opened is None:
            nothing: list[Any] = [None] * len(self._names)
            self._opened = Opened(nothing, list(nothing), list(nothing), now)
        for place, reply in zip(places, replies, strict=True):
            # The last place is the state's.
            if place is None or place >= len(self._parts):
                continue
            part = self._parts[place]
            front = self._keys.fronts[part]
            if type(reply) is not list or not self._wire.open_part(
                self._order, part, self._names, front, reply, now, self._epochs, self._opened
            ):
                self._vain = True
                return
            self._left -= 1

    def reading(self, text: bytes | None) -> Reading | None:
        """Return what all have said, if the state is the one that was known, and all was as entries commonly are."""
        if self._vain or self._left or self._opened is None or text != self._text:
            return None
        return self._wire.reading(self._opened, self._epochs[1])


def _all(replies: list[Any]) -> list[Any]:
    """Return replies of which all must be there. Raises TierError."""
    for reply in replies:
        if isinstance(reply, TierError):
            raise reply
    return replies


def _raise(error: Exception) -> NoReturn:
    if isinstance(error, TierError):
        raise error
    raise_refusal(error)


def _continued(operation: Operation[_T], replies: list[Any]) -> Operation[_T]:
    """Go on with an operation that was begun."""
    try:
        while True:
            replies = yield operation.send(replies)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _taken_apart(source: str | redis.cluster.RedisCluster) -> tuple[str | redis.Redis, list[Address]]:
    """Return what says how nodes are connected to, and nodes. Raises TypeError, ValueError."""
    if isinstance(source, redis.cluster.RedisCluster):
        known = source.get_nodes()  # type: ignore[no-untyped-call]
        if not known:
            raise ValueError("the client knows no node")
        return source.get_redis_connection(known[0]), [(node.host, int(node.port)) for node in known]
    if not isinstance(source, str):
        remedy = ""
        if isinstance(source, redis.asyncio.RedisCluster):
            remedy = "; give the URL or a redis.cluster.RedisCluster, which serve threads and asyncio alike"
        raise TypeError(f"a URL or a redis.cluster.RedisCluster client is wanted, not {source!r}{remedy}")
    parts = urllib.parse.urlsplit(source)
    scheme, plus, kind = parts.scheme.partition("+")
    user, at, hosts = parts.netloc.rpartition("@")
    addresses: list[Address] = []
    for each in hosts.split(","):
        where = urllib.parse.urlsplit(f"//{each}")
        if where.hostname:
            addresses.append((where.hostname, where.port or _PORT))
    if scheme not in {"redis", "rediss"} or (plus and kind != "cluster") or not addresses:
        raise ValueError("redis+cluster://host:port,host:port or rediss+cluster:// is wanted")
    host, port = addresses[0]
    first = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return urllib.parse.urlunsplit((scheme, f"{user}{at}{first}", parts.path, parts.query, "")), addresses
