"""A TCP proxy between a client and its server that makes the network fail on demand.

"up" is from the client to the server, "down" from the server to the client; a fault is of one direction or of "both".
Faults can be changed at any moment, hold for the connections that are there and for later ones, add up, and last until
`heal`.

====================  ========================================  ========================================================
fault                 what it is                                what the client sees
====================  ========================================  ========================================================
``delay(s, jitter)``  a long way: each piece of data arrives    late replies; a timeout if they are later than that. The
                      so much later, in order                   rate of the data is not limited
``throttle(rate)``    a thin way: so many bytes a second        small replies in time, large ones late
``stall()``           a hung peer, or packets lost without a    connections succeed, no answer comes. What was sent is
                      word: connections are accepted, data is   held and arrives after ``resume()``, even if the client
                      held                                      is gone
``cut()``             a reset of all connections, once          "connection reset"; new connections work
``cut_after(n)``      a reset in the middle: n bytes more       half a reply, then "connection reset"; new connections
                      pass, then their connection is reset,     work
                      once
``refuse()``          nobody listens; connections that are      "connection refused" for new connections
                      there go on (``cut()`` ends them)
``corrupt(rate)``     bits flipped: one of a byte, in such a    a protocol error, or a wrong value
                      share of the bytes
====================  ========================================  ========================================================

If the server itself is away, the client's connection is accepted and reset.

What is corrupted depends on the seed, the number of the connection, the direction and the position in the stream alone,
not on how the data comes in pieces. All waits are bounded; `close` ends all connections within seconds. The proxy lives
in a thread of its own. A process forked from this one holds copies of its sockets: a refusal or a reset takes effect
only when the copies are closed too, so processes should be spawned.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

from hotset.testing.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

__all__ = ["ChaosProxy", "Direction", "Traffic"]

Direction = Literal["up", "down", "both"]

HOST: Final = "127.0.0.1"
PIECE: Final = 1 << 16  # bytes read at once
PIECES_HELD: Final = 256  # what a direction of a connection buffers until the sender is held up
PATIENCE: Final = 5.0  # seconds that a change of faults, a connection to the server, or the end may take
# A reset throws away what the kernel has not handed over: a moment in which it does.
HANDOVER: Final = 0.01
LINGER_NOT: Final = struct.pack("ii", 1, 0)


class Traffic(NamedTuple):
    """What a proxy has carried since it was started."""

    # Connections of clients that were accepted, that are there now, and that a fault or a missing server has reset.
    accepted: int
    present: int
    cut: int
    # Bytes handed on, to the server and to the client, and how many of them were corrupted.
    up: int
    down: int
    corrupted: int


@dataclass
class _Way:
    """The faults of one direction; they belong to the loop's thread."""

    name: str
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    delay: float = 0.0
    jitter: float = 0.0
    rate: float = math.inf  # bytes a second
    corruption: float = 0.0  # share of the bytes
    seed: int = 0
    left: int | None = None  # bytes until a connection is cut
    carried: int = 0
    corrupted: int = 0

    def __post_init__(self) -> None:
        self.flowing.set()

    def heal(self) -> None:
        """Be a perfect way again."""
        self.delay = self.jitter = self.corruption = 0.0
        self.rate = math.inf
        self.left = None
        self.flowing.set()


class _Noise:
    """Which bytes of one stream are corrupted, and how: drawn by position, so that pieces do not matter."""

    def __init__(self, seed: str, rate: float) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._rate = rate
        self._gap = self._draw()

    def _draw(self) -> int:
        """Return how many bytes are left alone until the next one that is not: geometrically distributed."""
        if self._rate >= 1.0:
            return 0
        return int(math.log(1.0 - self._random.random()) / math.log1p(-self._rate))

    def applied(self, piece: bytes) -> tuple[bytes, int]:
        """Return the next piece of the stream with the noise in it, and how many bytes differ."""
        noisy, position, flipped = bytearray(piece), self._gap, 0
        while position < len(noisy):
            noisy[position] ^= 1 << self._random.randrange(8)
            flipped += 1
            position += 1 + self._draw()
        self._gap = position - len(noisy)
        return bytes(noisy), flipped


class _Connection:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, number: int, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.number = number
        self.writers = (client, server)

    def reset(self) -> None:
        """End both sides without a farewell."""
        for writer in self.writers:
            _reset(writer)


class ChaosProxy:
    """A TCP proxy that delays, stalls, cuts and corrupts what goes through it.

    It is started by `with` or by `start`; its faults may be changed from any thread.

    `target`: the server's (host, port), or the path of its unix socket. `seed`: of what is corrupted and of the jitter.
    `port`: where to listen on 127.0.0.1, by default a free port; it stays the same through refusals.
    """

    def __init__(self, target: tuple[str, int] | str, *, seed: int = 0, port: int | None = None) -> None:
        self.target = target
        self.seed = seed
        self.port = free_port(HOST) if port is None else port
        self._ways: dict[str, _Way] = {}
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted = self._cut = 0
        self._listener: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {HOST}:{self.port} to {self.target!r}>"

    def __enter__(self) -> Self:
        return self.start() if self._thread is None else self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        """Where clients find it."""
        return HOST, self.port

    @property
    def url(self) -> str:
        """Where clients of Valkey find it, as redis-py takes it; without a password."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def traffic(self) -> Traffic:
        """What it has carried so far."""
        up, down = self._ways["up"], self._ways["down"]
        return Traffic(
            accepted=self._accepted,
            present=len(self._connections),
            cut=self._cut,
            up=up.carried,
            down=down.carried,
            corrupted=up.corrupted + down.corrupted,
        )

    def start(self) -> Self:
        """Listen. Raises RuntimeError if it does already, OSError if the port is taken."""
        if self._thread is not None:
            raise RuntimeError(f"{self!r} was started already")
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="chaos-proxy", daemon=True)
        self._thread.start()
        if not ready.wait(PATIENCE):
            raise RuntimeError(f"{self!r} did not start within {PATIENCE} s")
        if self._failure is not None:
            self._thread.join(PATIENCE)
            raise self._failure
        return self

    def close(self) -> None:
        """Reset all connections and listen no more. May be called twice."""
        thread, loop, over = self._thread, self._loop, self._over
        if thread is None or loop is None or over is None:
            return
        with contextlib.suppress(RuntimeError):  # its loop is closed already
            loop.call_soon_threadsafe(over.set)
        thread.join(PATIENCE)
        if thread.is_alive():
            raise RuntimeError(f"{self!r} did not end within {PATIENCE} s")

    def delay(self, seconds: float, jitter: float = 0.0, direction: Direction = "both") -> None:
        """Hand on what comes from now on so many seconds later, and up to `jitter` more.

        Raises ValueError if one of them is negative.
        """
        if not (seconds >= 0 and jitter >= 0):
            raise ValueError(f"a delay is not negative, unlike {seconds!r} with jitter {jitter!r}")

        def change(way: _Way) -> None:
            way.delay, way.jitter = seconds, jitter

        self._change(direction, change)

    def throttle(self, bytes_per_second: float, direction: Direction = "both") -> None:
        """Hand on no more than so many bytes a second on each connection. Raises ValueError if it is not positive."""
        if not bytes_per_second > 0:
            raise ValueError(f"a rate is positive, unlike {bytes_per_second!r}; stall() holds everything")

        def change(way: _Way) -> None:
            way.rate = bytes_per_second

        self._change(direction, change)

    def corrupt(self, rate: float, direction: Direction = "down", *, seed: int | None = None) -> None:
        """Flip a bit in this share of the bytes from now on. Raises ValueError if it is not above 0 and at most 1."""
        if not 0 < rate <= 1:
            raise ValueError(f"rate is a share of the bytes, above 0 and at most 1, not {rate!r}")

        def change(way: _Way) -> None:
            way.corruption, way.seed = rate, self.seed if seed is None else seed

        self._change(direction, change)

    def stall(self, direction: Direction = "both") -> None:
        """Hold all data back until `resume`; connections are accepted."""
        self._change(direction, lambda way: way.flowing.clear())

    def resume(self, direction: Direction = "both") -> None:
        """Hand on what was held back, and go on."""
        self._change(direction, lambda way: way.flowing.set())

    def cut(self) -> int:
        """Reset all connections, and return how many there were."""

        async def cut() -> int:
            connections = list(self._connections)
            for connection in connections:
                self._sever(connection)
            return len(connections)

        return int(self._call(cut()))

    def cut_after(self, count: int, direction: Direction = "down") -> None:
        """Let so many bytes more pass, over all connections, and then reset the one that sends the next. Happens once.

        Raises ValueError if `count` is negative.
        """
        if count < 0:
            raise ValueError(f"count of bytes is not negative, unlike {count!r}")

        def change(way: _Way) -> None:
            way.left = count

        self._change(direction, change)

    def refuse(self) -> None:
        """Listen no more, until `accept` or `heal`."""
        self._call(self._stop_listening())

    def accept(self) -> None:
        """Listen again. Raises OSError if the port has been taken."""
        self._call(self._listen())

    def heal(self) -> None:
        """Lift all faults. What is under way comes at its time."""
        self._change("both", _Way.heal)
        self.accept()

    def _change(self, direction: Direction, change: Callable[[_Way], None]) -> None:
        """Change the faults of one or both directions; they are in force on return."""
        if direction not in {"up", "down", "both"}:
            raise ValueError(f"direction must be 'up', 'down' or 'both', not {direction!r}")

        async def apply() -> None:
            for way in self._ways.values():
                if direction in {way.name, "both"}:
                    change(way)

        self._call(apply())

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the proxy's thread and wait for its result."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            work.close()
            raise RuntimeError(f"{self!r} is not running")
        return asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE)

    def _run(self, ready: threading.Event) -> None:
        """Be the proxy's thread."""
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:  # noqa: BLE001 - it is raised by start()
            self._failure = error
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        """Listen until the end."""
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._ways = {name: _Way(name) for name in ("up", "down")}
        await self._listen()
        ready.set()
        await self._over.wait()
        await self._stop_listening()
        for connection in list(self._connections):
            connection.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        """Listen, unless it does."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, HOST, self.port, reuse_address=True)

    async def _stop_listening(self) -> None:
        """Close the listening socket, and leave connections alone."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        # A connection that was accepted in this turn of the loop is made in the next, and lost if its listener is
        # closed by then: so hear no more, make those, and close. (Proactor loops have no readers, nor that gap.)
        with contextlib.suppress(NotImplementedError):
            for listening in listener.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
        await asyncio.sleep(0)
        listener.close()
        # The selector lets go of the socket in the next turn of the loop.
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a client's connection."""
        self._accepted += 1
        task = asyncio.get_running_loop().create_task(self._connect(self._accepted, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: _reset(writer))  # one that is cancelled before it begins does nothing itself

    async def _connect(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client to the server, and carry data both ways until both have said all."""
        try:
            async with asyncio.timeout(PATIENCE):
                if isinstance(self.target, str):
                    answers, requests = await asyncio.open_unix_connection(self.target)
                else:
                    answers, requests = await asyncio.open_connection(*self.target)
        except OSError:  # TimeoutError is one
            self._cut += 1
            _reset(writer)
            return
        except asyncio.CancelledError:
            _reset(writer)
            raise
        connection = _Connection(number, writer, requests)
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(connection, self._ways["up"], reader, requests))
                group.create_task(self._carry(connection, self._ways["down"], answers, writer))
        except* OSError:
            # One side has reset its connection: so does the other then.
            pass
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _carry(
        self, connection: _Connection, way: _Way, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        """Carry what one side says to the other. Raises OSError if a side is gone."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES_HELD)
        async with asyncio.TaskGroup() as group:
            group.create_task(_collect(source, way, held, random.Random(f"{self.seed}:{connection.number}:{way.name}")))  # noqa: S311
            group.create_task(self._deliver(connection, way, held, sink))

    async def _deliver(
        self, connection: _Connection, way: _Way, held: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        """Hand on what is held when it is due, with the faults of that moment."""
        loop = asyncio.get_running_loop()
        noise: _Noise | None = None
        kind: tuple[int, float] | None = None
        while True:
            due, piece = await held.get()
            await asyncio.sleep(due - loop.time())
            await way.flowing.wait()
            if not piece:
                sink.write_eof()
                return
            if not way.corruption:
                noise = kind = None
            elif noise is None or kind != (way.seed, way.corruption):
                kind = way.seed, way.corruption
                noise = _Noise(f"{way.seed}:{connection.number}:{way.name}", way.corruption)
            if noise is not None:
                piece, flipped = noise.applied(piece)
                way.corrupted += flipped
            for part in _parts(piece, way.rate):
                if way.left is not None and len(part) > way.left:
                    last, way.left = part[: way.left], None
                    way.carried += len(last)
                    sink.write(last)
                    await sink.drain()
                    await asyncio.sleep(HANDOVER)
                    self._sever(connection)
                    return
                if way.left is not None:
                    way.left -= len(part)
                way.carried += len(part)
                sink.write(part)
                await sink.drain()
                if way.rate < math.inf:
                    await asyncio.sleep(len(part) / way.rate)
                    await way.flowing.wait()

    def _sever(self, connection: _Connection) -> None:
        """Reset a connection for a fault."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._cut += 1
            connection.reset()


async def _collect(
    source: asyncio.StreamReader, way: _Way, held: asyncio.Queue[tuple[float, bytes]], jitters: random.Random
) -> None:
    """Take what one side says and note when it is due at the other; an empty piece is the end."""
    loop = asyncio.get_running_loop()
    piece = b"more"
    while piece:
        piece = await source.read(PIECE)
        # Later pieces do not overtake earlier ones that are due later: they wait behind them.
        await held.put((loop.time() + way.delay + way.jitter * jitters.random(), piece))


def _parts(piece: bytes, rate: float) -> Iterator[bytes]:
    """Divide a piece into parts of at most a twentieth of a second at this rate."""
    step = len(piece) if rate == math.inf else max(1, int(rate / 20))
    for start in range(0, len(piece), step):
        yield piece[start : start + step]


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection by a reset."""
    plug = writer.get_extra_info("socket")
    # A unix socket knows no reset, and one that is closed already no options.
    with contextlib.suppress(OSError):
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()
