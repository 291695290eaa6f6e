"""Connections to a Valkey or Redis server: where it is, how one is greeted and talked over within a deadline.

redis-py says where the server is (URLs, TLS, credentials, Sentinel) and hiredis reads its replies. The talking between
is done here, because it must end at a deadline whatever the other side does, and for speed: a round trip takes about
half of what it takes through a redis-py client.

Threads take a `Link` of a `Pool` (see pool) each. For asyncio there is one `AsyncLink` an event loop, over which all
tasks talk at once: replies come in the order of the requests.
"""

from __future__ import annotations

import _socket
import asyncio
import contextlib
import encodings.idna  # noqa: F401 - every look-up of a name imports it: an interrupt there may leave its lock held
import select
import socket
import struct
import sys
import time
import urllib.parse
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, cast
from weakref import WeakKeyDictionary

from hotset._wire import Talk, packed
from hotset.errors import TierError, TierTimeout, TierUnavailable

try:
    import hiredis
    import redis
    import redis.asyncio
    import redis.sentinel
    from redis.asyncio.retry import Retry as AsyncRetry
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise ImportError("RedisTier needs redis-py and hiredis: pip install 'hotset[redis]'") from error

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable, Sequence

    from hotset.tiers.servertime import ServerTime

__all__ = ["AsyncLink", "AsyncLinks", "Command", "Demoted", "Endpoint", "Link", "raise_refusal"]

# No numbers: to make text of one, hiredis asks Python, and does not survive it if a signal raises something then.
Command: TypeAlias = "tuple[str | bytes, ...]"

_MORE: Final = object()  # what the parser gives when the reply has not come in full
_RECEIVED_AT_ONCE: Final = 1 << 16
_SENT_AT_ONCE: Final = 1 << 13  # bytes; less than any system's buffer of a socket
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
# A reply that begins so says that the server is there and does not serve; other errors say that it does not serve this.
_REFUSALS: Final = frozenset(
    (
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOAUTH",
        "NOPERM",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "WRONGPASS",
    )
)
_SYSTEMS_OWN: Final[Any] = _socket.socket.recv_into


class Stale(TierUnavailable):
    """The server has closed a connection that was idle, before it said anything to the last request."""


def raise_refusal(reply: object) -> NoReturn:
    """Raise what an error reply, or one that is of no use, means for a tier."""
    text = str(reply)
    if isinstance(reply, hiredis.ReplyError):
        if text.startswith("READONLY"):
            raise Demoted(text)
        if text.partition(" ")[0] in _REFUSALS or "max number of clients" in text:
            raise TierUnavailable(text)
        raise TierError(text)
    raise TierError(f"the server gave an answer to another question: {text[:80]}")


class Demoted(TierUnavailable):
    """The server takes no writes: if it was replaced, a new connection finds the one that does."""


class Endpoint:
    """Where a server is and how to be let in.

    `source` is a URL (redis://, rediss://, unix://, or redis+sentinel://host:port,host:port/service/db), or a redis-py
    client, of which the connection's parameters are taken over. `sentinel` is hosts, as pairs of host and port, and a
    service; then host and port of the URL do not matter. Raises TypeError, ValueError.
    """

    def __init__(
        self,
        source: str | redis.Redis,
        *,
        sentinel: tuple[Sequence[tuple[str, int]], str] | None = None,
        connect_timeout: float,
    ) -> None:
        self.connect_timeout = connect_timeout
        self._sentinel_options: dict[str, Any] = {}
        self._manager_options: dict[str, Any] = {}
        if isinstance(source, str):
            if "+sentinel://" in source:
                if sentinel is not None:
                    raise ValueError("sentinel is in the URL already")
                source, sentinel, self._sentinel_options = _split_sentinel_url(source)
            options = dict(redis.connection.parse_url(source))  # type: ignore[no-untyped-call]
            kind = options.pop("connection_class", redis.Connection)
        elif isinstance(source, redis.Redis):
            pool = source.connection_pool
            options, kind = dict(pool.connection_kwargs), pool.connection_class
            if isinstance(pool, redis.sentinel.SentinelConnectionPool):
                sentinel = self._taken_over(pool)
        else:
            remedy = ""
            if isinstance(source, redis.asyncio.Redis):
                remedy = "; give the URL or a redis.Redis, which serve threads and asyncio alike"
            raise TypeError(f"a URL or a redis.Redis client is wanted, not {source!r}{remedy}")
        secure = issubclass(kind, redis.SSLConnection)
        self.sentinels: list[tuple[str, int]] = (
            [(str(host), int(port)) for host, port in sentinel[0]] if sentinel else []
        )
        self.service = sentinel[1] if sentinel else ""
        if sentinel is not None and not (self.sentinels and self.service):
            raise ValueError(f"sentinel must be hosts and the name of a service, not {sentinel!r}")
        self.path: str | None = options.get("path") if issubclass(kind, redis.UnixDomainSocketConnection) else None
        self.host: str = options.get("host") or "localhost"
        self.port = int(options.get("port") or _PORT)
        self.db = int(options.get("db") or 0)
        self._username: str | None = options.get("username")
        self._password: str | None = options.get("password")
        self._credentials = options.get("credential_provider")
        self._client_name: str | None = options.get("client_name")
        self._tls = _tls_context(options) if secure else None

    def __repr__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}?db={self.db}"
        scheme = "redis" if self._tls is None else "rediss"
        if self.sentinels:
            hosts = ",".join(f"{host}:{port}" for host, port in self.sentinels)
            return f"{scheme}+sentinel://{hosts}/{self.service}/{self.db}"
        return f"{scheme}://{self.host}:{self.port}/{self.db}"

    def _taken_over(self, pool: redis.sentinel.SentinelConnectionPool) -> tuple[list[tuple[str, int]], str]:
        """Return the hosts and the service of a client of Sentinel's."""
        if not pool.is_master:
            raise ValueError("a client of the primary is wanted, not of replicas")
        manager = pool.sentinel_manager
        self._sentinel_options = dict(manager.sentinel_kwargs)
        self._manager_options = {"min_other_sentinels": manager.min_other_sentinels}
        hosts = [client.connection_pool.connection_kwargs for client in manager.sentinels]
        return [(options["host"], options["port"]) for options in hosts], pool.service_name

    def greeting(self, *, pushes: bool) -> list[Command]:
        """Return what is said first on a connection: who this is; and what must be known: the server's time.

        With `pushes` the server may say something without being asked.
        """
        commands: list[Command] = []
        secrets: tuple[str, ...] = ()
        if self._credentials is not None:
            secrets = self._credentials.get_credentials()
        elif self._password is not None or self._username:
            secrets = (self._username or "default", self._password or "")
        if secrets:
            commands.append(("AUTH", *secrets))
        if pushes:
            commands.append(("HELLO", "3"))
        if self._client_name:
            commands.append(("CLIENT", "SETNAME", self._client_name))
        if self.db:
            commands.append(("SELECT", str(self.db)))
        if self.sentinels:
            commands.append(("ROLE",))
        commands.append(("TIME",))
        return commands

    def check_greeting(self, replies: list[Any], asked: float, clock: ServerTime) -> None:
        """Take the answers to a greeting. Raises TierUnavailable if this is not the server that was meant."""
        if self.sentinels:
            role = replies.pop(-2)
            if isinstance(role, list) and role[0] != b"master":  # it may be forbidden to ask
                raise TierUnavailable(f"{self!r}: the primary is none any more")
        for reply in replies:
            if isinstance(reply, Exception):
                raise TierUnavailable(f"{self!r} refuses the connection: {reply}")
        take_time(clock, asked, replies[-1])

    def connect(self, clock: ServerTime, deadline: float, timeout: float, *, pushes: bool = False) -> Link:
        """Return a connection that has been greeted. Raises TierTimeout, TierUnavailable."""
        deadline = min(deadline, time.monotonic() + self.connect_timeout)
        try:
            link = Link(self._socket(deadline), timeout)
        except TimeoutError as error:
            raise TierTimeout(f"no connection to {self!r} within {self.connect_timeout} s") from error
        except OSError as error:
            raise TierUnavailable(f"no connection to {self!r}: {error}") from error
        except redis.RedisError as error:
            raise TierUnavailable(f"no primary of {self!r}: {error}") from error
        try:
            commands = self.greeting(pushes=pushes)
            asked = time.monotonic()
            self.check_greeting(link.exchange(packed(commands), len(commands), deadline), asked, clock)
        except BaseException:
            link.close()
            raise
        link.used = 0.0
        return link

    def _socket(self, deadline: float) -> socket.socket:
        """Return a connected socket. Raises OSError, RedisError."""
        if self.path is not None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            return _connected(connection, self.path, deadline)
        host, port = self._primary(deadline) if self.sentinels else (self.host, self.port)
        failure: OSError = OSError(f"{host!r} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            connection = socket.socket(family, kind, protocol)
            try:
                connection = _connected(connection, address, deadline)
                _tune(connection)
                if self._tls is not None:
                    connection.settimeout(_left(deadline))
                    return self._tls.wrap_socket(connection, server_hostname=host)
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise failure

    def _primary(self, deadline: float) -> tuple[str, int]:
        """Ask the Sentinels one after the other. Raises RedisError."""
        # Each is connected to and asked; the time is shared out among all.
        share = _left(deadline) / (2 * len(self.sentinels))
        manager = redis.sentinel.Sentinel(  # type: ignore[no-untyped-call]
            self.sentinels, sentinel_kwargs=self._limited(share, Retry(NoBackoff(), 0)), **self._manager_options
        )
        try:
            return cast("tuple[str, int]", manager.discover_master(self.service))  # type: ignore[no-untyped-call]
        finally:
            for client in manager.sentinels:
                client.close()

    def _limited(self, timeout: float, retry: Any) -> dict[str, Any]:
        """Return the parameters of a client of a Sentinel."""
        limits = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": retry}
        return {**self._sentinel_options, **limits}

    async def aconnect(self, clock: ServerTime) -> AsyncLink:
        """Return a connection of the running event loop. Raises TierTimeout, TierUnavailable."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.connect_timeout):
                if self.path is not None:
                    _, link = await loop.create_unix_connection(AsyncLink, self.path)
                else:
                    host, port = await self._aprimary() if self.sentinels else (self.host, self.port)
                    _, link = await loop.create_connection(AsyncLink, host, port, ssl=self._tls)
                try:
                    commands = self.greeting(pushes=False)
                    asked = time.monotonic()
                    self.check_greeting(await link.exchange(packed(commands), len(commands)), asked, clock)
                    await link.stay()
                except BaseException:
                    link.close()
                    raise
        except TimeoutError as error:
            raise TierTimeout(f"no connection to {self!r} within {self.connect_timeout} s") from error
        except OSError as error:
            raise TierUnavailable(f"no connection to {self!r}: {error}") from error
        except redis.RedisError as error:
            raise TierUnavailable(f"no primary of {self!r}: {error}") from error
        return link

    async def _aprimary(self) -> tuple[str, int]:
        """Ask the Sentinels one after the other. Raises RedisError."""
        share = self.connect_timeout / (2 * len(self.sentinels))
        manager = redis.asyncio.Sentinel(  # type: ignore[no-untyped-call]
            self.sentinels, sentinel_kwargs=self._limited(share, AsyncRetry(NoBackoff(), 0)), **self._manager_options
        )
        try:
            return cast("tuple[str, int]", await manager.discover_master(self.service))
        finally:
            for client in manager.sentinels:
                await client.aclose()


class Link:
    """A connection that one thread uses at a time."""

    __slots__ = (
        "_ample",
        "_ask",
        "_buffer",
        "_feed",
        "_more",
        "_next",
        "_receive",
        "_send",
        "_short",
        "_socket",
        "_timeout",
        "_usual",
        "clean",
        "place",
        "used",
    )

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self._socket = connection
        self._timeout = timeout
        # To set the socket's timeout costs as much as a fifth of a round trip, so an eighth of the time is let pass.
        self._ample = timeout * 0.875
        reader: Any = hiredis.Reader(notEnoughData=_MORE)
        self._feed, self._next, self._more = reader.feed, reader.gets, reader.has_data
        self._send, self._receive = connection.sendall, connection.recv_into
        self._buffer = bytearray(_RECEIVED_AT_ONCE)
        self._short = False  # the socket's timeout is less than `timeout`
        self.clean = True  # no reply is outstanding
        self.place: object = None  # in a pool
        self.used = 0.0  # when; if ever, it has been idle, so the server may have closed it
        # The timeout of the socket object while there is ample time.
        self._usual = None if _bound_by_kernel(connection, timeout) else timeout
        connection.settimeout(self._usual)
        # What is commonest, without going to and fro between Python and the system.
        self._ask: Callable[[bytes, list[Any], int], bool | None] | None = None
        if self._usual is None:
            self._ask = Talk(connection.fileno(), self._buffer, self._feed, self._next, self._more, _MORE).ask

    def exchange(self, request: bytes, count: int, deadline: float) -> list[Any]:
        """Send a request and return so many replies, error replies among them.

        What is sent with a count of 0 is to be followed by an empty request with the count of its replies. Raises
        TierTimeout at the deadline, Stale or TierUnavailable if the connection is lost.
        """
        self.clean = False
        replies: list[Any] = []
        try:
            # What is short is taken in at once by a connection on which nothing is outstanding.
            if len(request) > _SENT_AT_ONCE or deadline - monotonic() < self._ample:
                self._hold(deadline)
            elif count and self._ask is not None and not self._short:  # a socket with a time of its own does not block
                clean = self._ask(request, replies, count)
                if len(replies) == count:
                    self.clean = cast("bool", clean)
                    return replies
                if clean is None:
                    raise self._lost(replies, "the server has closed the connection")
                request = b""
                if deadline - monotonic() < self._ample:
                    self._hold(deadline)
            if request:
                self._send(request)
            if not count:
                return replies  # what was sent is answered later
            while True:
                size = self._receive(self._buffer)
                if not size:
                    raise self._lost(replies, "the server has closed the connection")
                self._feed(self._buffer, 0, size)
                for _ in range(count - len(replies)):
                    reply = self._next()
                    if reply is _MORE:
                        break
                    replies.append(reply)
                else:
                    if self._short:
                        self._socket.settimeout(self._usual)
                        self._short = False
                    self.clean = not self._more()
                    return replies
                if deadline - monotonic() < self._ample:
                    self._hold(deadline)
        except (TimeoutError, BlockingIOError) as error:
            raise TierTimeout("no answer in time") from error
        except OSError as error:
            raise self._lost(replies, str(error)) from error
        except hiredis.ProtocolError as error:
            raise TierUnavailable(f"what the server said is not RESP: {error}") from error

    def _hold(self, deadline: float) -> None:
        """Have the socket wait no longer than to the deadline. Raises TimeoutError if that is over."""
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        self._short = True

    def _lost(self, replies: list[Any], why: str) -> TierUnavailable:
        return (Stale if self.used and not replies and not self._more() else TierUnavailable)(why)

    def send(self, request: bytes) -> None:
        """Send what is answered later. Raises TierTimeout, TierUnavailable."""
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(request)
        except TimeoutError as error:
            raise TierTimeout("nothing is taken in") from error
        except OSError as error:
            raise TierUnavailable(str(error)) from error

    def receive(self, wait: float) -> list[Any]:
        """Return the replies and pushes that have come, after at most so many seconds; none if none have.

        Raises TierUnavailable if the connection is lost.
        """
        received: list[Any] = []
        try:
            self._socket.settimeout(max(wait, 0.001))
            size = self._socket.recv_into(self._buffer)
            if not size:
                raise TierUnavailable("the server has closed the connection")
            self._feed(self._buffer, 0, size)
            while (reply := self._next()) is not _MORE:
                received.append(reply)
        except TimeoutError:
            pass
        except OSError as error:
            raise TierUnavailable(str(error)) from error
        except hiredis.ProtocolError as error:
            raise TierUnavailable(f"what the server said is not RESP: {error}") from error
        return received

    def interrupt(self) -> None:
        """Have another thread that waits for something see the end of the connection; over TLS it waits on."""
        if type(self._socket) is socket.socket:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def readable(self) -> bool:
        """Whether something has come, of which the end of an idle connection is the likeliest."""
        return _readable(self._socket)

    def close(self) -> None:
        """Give it up. In a forked child this does not touch the parent's connection."""
        self.clean = False
        self._ask = None  # the number of the socket may soon be another's
        self._socket.close()


class AsyncLink(asyncio.Protocol):
    """A connection of an event loop, over which any number of its tasks talk at once."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._asked: deque[tuple[asyncio.Future[list[Any]], int, list[Any]]] = deque()
        self._end: AsyncGenerator[None] | None = None
        self.heard = 0.0  # when anything came last, of time.monotonic
        self.open = False
        self.used = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self.open = True
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != getattr(socket, "AF_UNIX", None):
            _tune(connection)

    def exchange(self, request: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send a request; its replies, error replies among them. The future fails with Stale or TierUnavailable."""
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        if self._transport is None or not self.open:
            future.set_exception((Stale if self.used else TierUnavailable)("the server has closed the connection"))
        else:
            self._asked.append((future, count, []))
            self._transport.write(request)
        return future

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self.heard = time.monotonic()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                future, count, replies = self._asked[0]
                replies.append(reply)
                if len(replies) == count:
                    self._asked.popleft()
                    self.used = True
                    if not future.done():
                        future.set_result(replies)
        except hiredis.ProtocolError as error:
            self._lose(f"what the server said is not RESP: {error}")
        except IndexError:
            self._lose("the server gave more answers than were asked for")

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        self.open = False  # the rest follows in the loop's next turn

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._lose(str(exc or "the server has closed the connection"))

    async def settle(self) -> None:
        """Take in what has come to an idle connection, of which its end is the likeliest."""
        if not self.open or self._transport is None or self._asked:
            return
        connection = self._transport.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0 and _readable(connection):
            # One turn of the loop to find out, one to be told.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def _lose(self, why: str) -> None:
        """Fail all who wait."""
        used, self.open = self.used, False
        while self._asked:
            future, _, replies = self._asked.popleft()
            if not future.done():
                future.set_exception((Stale if used and not replies else TierUnavailable)(why))
        self.close()

    def close(self) -> None:
        """Give it up; who waits is told. Belongs to the loop's thread."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    async def stay(self) -> None:
        """Have it closed with its loop."""

        async def until_the_loop_ends() -> AsyncGenerator[None]:
            try:
                yield
            finally:
                self.close()

        # A generator that is not exhausted is what an event loop ends before it is closed.
        self._end = until_the_loop_ends()
        await anext(self._end)


class AsyncLinks:
    """The links of all event loops of a process: one for each, made when it is wanted."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._links: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[AsyncLink]] = WeakKeyDictionary()

    def after_fork(self) -> None:
        """Leave what belongs to the parent alone: to end it here would wake the parent's event loops."""
        self._inherited = self._links
        self._links = WeakKeyDictionary()

    async def link(self, *, sure: bool = False) -> AsyncLink:
        """Return the running loop's link; with `sure`, one that was not closed a moment ago.

        Raises TierTimeout, TierUnavailable.
        """
        loop = asyncio.get_running_loop()
        task = self._links.get(loop)
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            link = task.result()
            if sure:
                await link.settle()
            if link.open:
                return link
            # Others may have seen it before.
            if self._links.get(loop) is task:
                del self._links[loop]
            task = self._links.get(loop)
        elif task is not None and task.done():
            task = None
        if task is None:
            for other in [other for other in self._links if other.is_closed()]:
                del self._links[other]  # it would be kept alive by what is kept for it
            # In a task of its own: who is cancelled does not harm those who wait for the same connection.
            self._links[loop] = task = loop.create_task(self._connect())
            task.add_done_callback(_note_failure)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and not (caller and caller.cancelling()):
                raise TierUnavailable("closed while connecting") from None
            raise

    async def close(self) -> None:
        """Close the running loop's link, and have those of other loops closed."""
        here = self._links.pop(asyncio.get_running_loop(), None)
        if here is not None:
            _close_made(here)
            await asyncio.sleep(0)  # in which the transport ends
        self.close_elsewhere()

    def close_elsewhere(self) -> None:
        """Have the links of all loops closed that still run."""
        for loop, task in list(self._links.items()):
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the link with it
                loop.call_soon_threadsafe(_close_made, task)
        self._links.clear()


def _note_failure(task: asyncio.Task[AsyncLink]) -> None:
    """Look at a failure, which asyncio would complain of if all who waited were cancelled."""
    if not task.cancelled():
        task.exception()


def _close_made(task: asyncio.Task[AsyncLink]) -> None:
    if not task.cancel() and not task.cancelled() and task.exception() is None:
        task.result().close()


def _readable(connection: Any) -> bool:
    """Whether a socket has something to read, or has ended."""
    if hasattr(select, "poll"):  # has no limit to the numbers of files, as select has
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([connection], [], [], 0)[0])


def take_time(clock: ServerTime, asked: float, reply: Any) -> None:
    """Take in the answer to TIME. Raises TierError if it is none."""
    try:
        seconds, micros = reply
        told = int(seconds) + int(micros) / 1e6
    except (TypeError, ValueError):
        raise_refusal(reply)
    clock.sample(asked, told, time.monotonic())


def _left(deadline: float) -> float:
    """Return the seconds that are left. Raises TimeoutError if none are."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connected(connection: socket.socket, address: Any, deadline: float) -> socket.socket:
    try:
        connection.settimeout(_left(deadline))
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _tune(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _bound_by_kernel(connection: socket.socket, timeout: float) -> bool:
    """Have the system end each wait of a blocking socket after so many seconds; whether it will.

    A timeout of Python's own takes a system call more for each time that something is sent or received. What waits in
    another way than the system's, such as TLS or a socket of gevent's, needs that.
    """
    kind: Any = type(connection)
    if kind.recv_into is not _SYSTEMS_OWN or sys.platform not in {"linux", "darwin"}:
        return False
    interval = struct.pack("@ll", int(timeout), max(1, int(timeout % 1 * 1e6)))
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
    except OSError:  # it has another idea of an interval
        return False
    return True


def _tls_context(options: dict[str, Any]) -> ssl.SSLContext:
    """Return the TLS that redis-py would use."""
    wanted = {name: value for name, value in options.items() if name.startswith("ssl_")}
    ocsp = [name for name, value in wanted.items() if "ocsp" in name and value]
    if ocsp:
        raise ValueError(f"{ocsp[0]} is not supported")
    wanted = {name: value for name, value in wanted.items() if "ocsp" not in name}
    return redis.asyncio.SSLConnection(**wanted).ssl_context.get()


def _split_sentinel_url(url: str) -> tuple[str, tuple[list[tuple[str, int]], str], dict[str, Any]]:
    """Return the URL of a server, hosts and service, and the parameters of Sentinel clients."""
    parts = urllib.parse.urlsplit(url)
    scheme = parts.scheme.removesuffix("+sentinel")
    user, at, hosts = parts.netloc.rpartition("@")
    service, _, db = parts.path.strip("/").partition("/")
    query = urllib.parse.parse_qs(parts.query)
    options = {
        name: query.pop(f"sentinel_{name}")[0] for name in ("username", "password") if f"sentinel_{name}" in query
    }
    pairs: list[tuple[str, int]] = []
    for each in hosts.split(","):
        where = urllib.parse.urlsplit(f"//{each}")
        if where.hostname:
            pairs.append((where.hostname, where.port or _SENTINEL_PORT))
    if not pairs or not service:
        raise ValueError(f"{scheme}+sentinel://host:port,host:port/service/db is wanted")
    rest = urllib.parse.urlencode(query, doseq=True)
    plain = f"{scheme}://{user}{at}sentinel/{db or 0}{'?' if rest else ''}{rest}"
    return plain, (pairs, urllib.parse.unquote(service)), options
