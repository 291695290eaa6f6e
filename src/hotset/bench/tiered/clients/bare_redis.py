"""redis-py with hiredis and msgspec, and no cache at all: what the levels are measured against."""

from __future__ import annotations

import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec
import redis
import redis.asyncio

from hotset.bench.tiered.clients._contract import Client, Stand
from hotset.errors import CodecError
from hotset.tiers.contract import Entry
from hotset.tiers.keys import Keys
from hotset.tiers.scripts import FILL, LEASE, STATE
from hotset.wire import Wire, lease_marker

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.bench.tiered.place import Place

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


# Has all changes of the namespace announced, and takes them in now and then.
_LISTEN = """
import sys, time, redis
connection = redis.Redis.from_url(sys.argv[1], protocol=3).connection_pool.get_connection()
connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "hs:roundtrips:k:")
print(connection.read_response(), flush=True)
while connection._sock.recv(1 << 16):
    time.sleep(0.005)
"""


class BareRedis(Client):
    """GET and decode; MGET and decode."""

    name = "redis-py"
    setups = ("shared",)
    distribution = "redis"

    def shared(self, place: Place) -> Stand:
        """See Client."""
        client: Any = redis.Redis.from_url(place.url)
        fetch, fetch_many, decode = client.get, client.mget, _decode

        def get(key: str) -> Any:
            return decode(fetch(key))

        def get_many(keys: list[str]) -> list[Any]:
            return [decode(data) for data in fetch_many(keys)]

        def put(key: str, value: Any) -> None:
            client.set(key, _encode(value), ex=300)

        return Stand(get, put, get_many, client.close)


class BareRoundTrips(Client):
    """The two requests that a miss of a fenced level makes where misses are common, and the load.

    Lease and fill: the very commands that `RedisTier` sends, with entries of the same length, over one connection of
    redis-py's, by `send_packed_command` and `read_response`: neither its pool nor its pipelines are in the figure. The
    server announces each change to a process that listens, as it does for every cache that hears of changes by others.
    """

    name = "round trips + load"
    setups = ("through",)
    distribution = "redis"

    def through(self, place: Place, load: Callable[[str], Any]) -> Stand:
        """See Client."""
        connection: Any = redis.Redis.from_url(place.url).connection_pool.get_connection()
        command = [sys.executable, "-c", _LISTEN, place.url]
        listener = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - nothing of a user's
        if not cast("IO[bytes]", listener.stdout).readline():
            raise RuntimeError(f"no listener at {place.url}: its process ended with {listener.wait(10)}")
        keys = Keys("roundtrips")
        marker = lease_marker(bytes(12))
        data = Wire().encode(keys.entry(""), Entry(load("user:123456789"), bytes(12), 300.0, 300.0), 1e9)
        for script in (FILL, LEASE, STATE):
            connection.send_command("SCRIPT", "LOAD", script.source)
            connection.read_response()
        connection.send_command("EVALSHA", STATE.sha, 2, keys.state, keys.tags)
        connection.read_response()

        def ask(*commands: tuple[Any, ...]) -> list[Any]:
            connection.send_packed_command(connection.pack_commands(commands))
            return [connection.read_response() for _ in commands]

        def get(name: str) -> Any:
            entry, lease, mark, hold = keys.entry(name), keys.lease(name), keys.removal(name), keys.hold(name)
            ask(("EVALSHA", LEASE.sha, 3, entry, lease, hold, marker, 30_000), ("GET", keys.state))
            value = load(name)
            (stored,) = ask(("EVALSHA", FILL.sha, 4, entry, lease, mark, hold, marker, data, 300_000, "", ""))
            if stored != 1:
                raise CodecError(f"the fill of {name!r} was refused")
            return value

        def put(key: str, value: Any) -> None:
            raise NotImplementedError

        def close() -> None:
            listener.kill()
            listener.communicate(timeout=10)
            connection.disconnect()

        return Stand(get, put, close=close)


class AsyncRedis(Client):
    """redis.asyncio: one GET each, with a pool."""

    setups = ("shared",)
    distribution = "redis"
    asynchronous = True

    def __init__(self, name: str, pool: Callable[[str], redis.asyncio.ConnectionPool]) -> None:
        self.name = name
        self._pool = pool

    def shared(self, place: Place) -> Stand:
        """See Client."""
        pool = self._pool(place.url)
        client: Any = redis.asyncio.Redis(connection_pool=pool)
        fetch, decode = client.get, _decode

        async def get(key: str) -> Any:
            return decode(await fetch(key))

        async def put(key: str, value: Any) -> None:
            await client.set(key, _encode(value), ex=300)

        async def close() -> None:
            await client.aclose()
            await pool.disconnect()

        return Stand(get, put, close=close)


def _waiting(url: str) -> redis.asyncio.ConnectionPool:
    return redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=100, timeout=60)


def _unbounded(url: str) -> redis.asyncio.ConnectionPool:
    return redis.asyncio.ConnectionPool.from_url(url, max_connections=2000)


ASYNC_NAMES = ("redis.asyncio GET, 100 connections", "redis.asyncio GET, one each")
CLIENTS = [
    BareRedis(),
    BareRoundTrips(),
    AsyncRedis(ASYNC_NAMES[0], _waiting),
    AsyncRedis(ASYNC_NAMES[1], _unbounded),
]
