"""The harness itself: servers that die, hang and refuse, and a proxy that harms what goes through it."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from typing import ClassVar

import pytest
from subprocesses import run_script

from hotset.testing.ports import LISTENING_PORTS, free_port
from hotset.testing.proxy import ChaosProxy
from hotset.testing.servers import MissingServerError, ServerError, ValkeyServer, valkey_binary

PING = b"*1\r\n$4\r\nPING\r\n"


@contextlib.contextmanager
def connected(address, timeout=10.0):
    """A bare connection."""
    with socket.create_connection(address, timeout=timeout) as connection:
        yield connection


def receive(connection, count):
    """Receive so many bytes, or fewer if the connection is closed before."""
    received = b""
    while len(received) < count and (piece := connection.recv(count - len(received))):
        received += piece
    return received


def ping(connection):
    connection.sendall(PING)
    return receive(connection, 7)


def is_gone(pid):
    """Whether a process exists no more, or only as a zombie of a parent that is gone too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = pathlib.Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


class TestServer:
    def test_answers_when_it_has_started(self, make_server):
        server = make_server()
        assert server.running
        assert server.answers()
        assert server.address == ("127.0.0.1", server.port)
        assert server.command("SET", "a", "1") == b"OK"
        assert server.command("GET", "a") == b"1"
        assert server.command("GET", "missing") is None
        assert server.command("MGET", "a", "missing") == [b"1", None]
        assert server.command("DBSIZE") == 1

    def test_keeps_nothing_on_disk(self, make_server):
        server = make_server()
        server.command("SET", "a", "1")
        assert server.command("CONFIG", "GET", "save")[1] == b""
        assert server.command("CONFIG", "GET", "appendonly")[1] == b"no"
        server.restart()
        assert server.command("DBSIZE") == 0

    def test_keeps_what_it_is_told_to(self, make_server):
        server = make_server(config={"appendonly": True, "appendfsync": "always"})
        server.command("SET", "a", "1")
        server.restart()
        assert server.command("GET", "a") == b"1"

    def test_a_unix_socket(self, make_server):
        server = make_server(tcp=False, unix_socket=True)
        assert server.answers()
        assert server.url == f"unix://{server.unix_socket}?db=0"
        with pytest.raises(ServerError, match="unix socket only"):
            _ = server.port
        server.kill()
        assert not server.answers()
        assert server.restart().answers()

    def test_both_sockets(self, server):
        assert server.answers()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(server.unix_socket)
            assert ping(connection) == b"+PONG\r\n"

    def test_listens_on_something(self):
        with pytest.raises(ValueError, match="listen on something"):
            ValkeyServer(tcp=False)

    @pytest.mark.parametrize("port", [0, -1, 65536])
    def test_no_such_port(self, port):
        with pytest.raises(ValueError, match=str(port)):
            ValkeyServer(port=port)

    def test_a_password(self, make_server):
        password = 'sec"ret/ #\\:@ß'
        server = make_server(password=password)
        assert server.answers()
        with connected(server.address) as connection:
            connection.sendall(PING)
            assert connection.recv(100).startswith(b"-NOAUTH")
        assert server.command("CONFIG", "GET", "requirepass")[1].decode() == password

    def test_the_url_is_what_clients_take(self, make_server):
        redis = pytest.importorskip("redis")
        for options in [{"password": "a:b/c@d%"}, {"tcp": False, "unix_socket": True, "password": "x"}, {}]:
            server = make_server(**options)
            with redis.Redis.from_url(server.url, socket_timeout=10) as client:
                assert client.ping()

    def test_settings(self, make_server):
        server = make_server(
            config={
                "maxmemory": "64mb",
                "lazyfree-lazy-eviction": True,
                "rename-command": ["LOLWUT laugh", "WAIT stay"],
            }
        )
        assert server.command("CONFIG", "GET", "maxmemory")[1] == b"67108864"
        assert server.command("CONFIG", "GET", "lazyfree-lazy-eviction")[1] == b"yes"
        for renamed in ("LOLWUT", "WAIT"):
            with pytest.raises(ServerError, match="unknown command"):
                server.command(renamed)

    def test_bad_settings_are_named(self, make_server):
        server = make_server(start=False, config={"no-such-setting": 1})
        with pytest.raises(ServerError, match="no-such-setting"):
            server.start()
        assert not server.running

    def test_kill_and_start_again(self, make_server):
        server = make_server()
        pid, port = server.pid, server.port
        with connected(server.address) as connection:
            assert ping(connection) == b"+PONG\r\n"
            server.kill()
            assert not server.running
            assert not server.answers()
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address, timeout=10)
        assert is_gone(pid)
        with pytest.raises(ServerError, match="not running"):
            _ = server.pid
        server.start()
        assert server.answers()
        assert server.port == port
        assert server.pid != pid

    def test_starts_once(self, make_server):
        server = make_server()
        with pytest.raises(ServerError, match="runs already"):
            server.start()

    def test_a_server_that_dies_by_itself_is_noticed(self, make_server, eventually):
        server = make_server()
        watchdog = server._process.watchdog.pid
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: not server.running)
        assert is_gone(watchdog)
        assert server.start().answers()

    def test_stop_and_go_on(self, make_server):
        server = make_server()
        with connected(server.address) as connection:
            server.stop()
            assert server.running
            connection.sendall(PING)
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            assert not server.answers(timeout=0.2)  # a new connection is accepted, and gets no answer
            server.cont()
            connection.settimeout(10)
            assert receive(connection, 7) == b"+PONG\r\n"

    def test_hung_for_a_while(self, make_server):
        server = make_server()
        with server.hung(), pytest.raises(ServerError, match="timed out"):
            server.command("PING", timeout=0.2)
        assert server.answers()

    def test_a_hung_server_can_be_killed(self, make_server):
        server = make_server()
        with server.hung():
            server.kill()
            assert not server.running
        assert server.restart().answers()

    @pytest.mark.parametrize(
        ("fault", "word"), [("read_only", "READONLY"), ("out_of_memory", "OOM"), ("no_replicas", "NOREPLICAS")]
    )
    def test_refuses_writes(self, make_server, fault, word):
        server = make_server()
        server.command("SET", "a", "1")
        with getattr(server, fault)():
            for command in [("SET", "a", "2"), ("EVAL", "return redis.call('set', KEYS[1], '2')", 1, "a")]:
                with pytest.raises(ServerError, match=word):
                    server.command(*command)
            assert server.command("GET", "a") == b"1"
        server.command("SET", "a", "3")
        assert server.command("GET", "a") == b"3"

    def test_busy_with_a_script(self, make_server):
        server = make_server()
        with server.busy(), pytest.raises(ServerError, match="BUSY"):
            server.command("GET", "a")
        assert server.command("GET", "a") is None

    def test_full_of_clients(self, make_server):
        server = make_server()
        before = server.command("CONFIG", "GET", "maxclients")[1]
        with connected(server.address) as early:
            assert ping(early) == b"+PONG\r\n"
            with server.full():
                with connected(server.address) as late:
                    assert late.recv(100).startswith(b"-ERR max number of clients")
                assert ping(early) == b"+PONG\r\n"
            assert server.answers()
        assert server.command("CONFIG", "GET", "maxclients")[1] == before

    @pytest.mark.parametrize("fault", ["read_only", "out_of_memory", "no_replicas", "busy", "full"])
    def test_may_be_killed_while_it_refuses(self, make_server, fault):
        server = make_server()
        with getattr(server, fault)():
            server.kill()
        with getattr(server.start(), fault)():
            server.restart()
            server.command("SET", "a", "1")
        assert server.command("GET", "a") == b"1"

    def test_configured_for_a_while(self, make_server):
        server = make_server()
        with server.configured(maxmemory_policy="allkeys-lru", maxmemory="10mb"):
            assert server.command("CONFIG", "GET", "maxmemory-policy")[1] == b"allkeys-lru"
        assert server.command("CONFIG", "GET", "maxmemory-policy")[1] == b"noeviction"
        assert server.command("CONFIG", "GET", "maxmemory")[1] == b"0"

    def test_disconnects_its_clients(self, server):
        with connected(server.address) as connection:
            assert ping(connection) == b"+PONG\r\n"
            assert server.disconnect() >= 1
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert server.answers()

    def test_a_port_that_is_taken(self, make_server):
        """Another server answers there: what starts must not take it for itself."""
        server = make_server()
        other = make_server(start=False, port=server.port)
        with pytest.raises(ServerError, match="did not start"):
            other.start(timeout=0.5)
        assert not other.running
        assert server.answers()

    def test_a_port_that_is_taken_meanwhile(self, make_server):
        """Its own choice of a port is free again to choose."""
        server = make_server(start=False)
        with socket.create_server(server.address):
            taken = server.port
            server.start()
        assert server.port != taken
        assert server.answers()

    def test_close_leaves_nothing(self, make_server):
        server = make_server()
        pid, directory = server.pid, server.directory
        assert directory.exists()
        server.close()
        server.close()
        assert is_gone(pid)
        assert not directory.exists()

    def test_a_server_that_is_forgotten_ends(self, server_binary, collect, eventually):
        server = ValkeyServer(binary=server_binary).start()
        pid, watchdog, directory = server.pid, server._process.watchdog.pid, server.directory
        del server
        collect()
        eventually(lambda: is_gone(pid) and is_gone(watchdog))
        assert not directory.exists()

    ENDS: ClassVar = {
        "returns": "",
        "exits": "raise SystemExit(0)",
        "is killed": "import os; os.kill(os.getpid(), 9)",
        "aborts": "import os; os._exit(0)",
        "hangs its server": "server.stop(); import os; os.kill(os.getpid(), 9)",
        "ends a forked child first": "import os, sys; pid = os.fork(); pid or sys.exit(0); os.waitpid(pid, 0); "
        "assert server.answers() and server.directory.exists()",
    }

    @pytest.mark.parametrize("end", ENDS)
    def test_no_server_outlives_its_process(self, server_binary, end, eventually):
        source = """
            import sys
            from hotset.testing.servers import ValkeyServer
            server = ValkeyServer(binary=sys.argv[1]).start()
            print(server.directory, server.pid, server._process.watchdog.pid, flush=True)
        """
        process = run_script(textwrap.dedent(source) + self.ENDS[end], server_binary, check=False)
        assert process.returncode == (-9 if "kill" in self.ENDS[end] else 0), process.stderr
        directory, *pids = process.stdout.split()
        assert len(pids) == 2
        eventually(lambda: all(is_gone(int(pid)) for pid in pids))
        assert not pathlib.Path(directory).exists()

    def test_the_thread_that_started_it_may_end(self, server_binary):
        server = ValkeyServer(binary=server_binary)
        starter = threading.Thread(target=server.start)
        starter.start()
        starter.join(30)
        with server:
            assert server.answers()

    def test_no_package_no_server(self, monkeypatch):
        import importlib.metadata

        def missing(name):
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(importlib.metadata, "files", missing)
        with pytest.raises(MissingServerError, match=r"hotset\[testing\]"):
            valkey_binary()
        with pytest.raises(MissingServerError, match=r"hotset\[testing\]"):
            ValkeyServer()

    def test_a_binary_that_is_missing_is_named(self):
        server = ValkeyServer(binary="/no/such/server")
        with pytest.raises(MissingServerError, match="/no/such/server"):
            server.start()
        server.close()

    def test_a_binary_that_is_no_server(self):
        server = ValkeyServer(binary="/bin/echo")
        with pytest.raises(ServerError, match="did not start"):
            server.start(timeout=1)
        server.close()

    @pytest.mark.parametrize(("environment", "outcome"), [({"CI": "true"}, "failed"), ({"CI": ""}, "skipped")])
    def test_a_missing_server_fails_in_ci(self, tmp_path, environment, outcome):
        """The fixture of this folder, where the package is not installed."""
        here = pathlib.Path(__file__).resolve().parent
        (tmp_path / "conftest.py").write_text(
            "import importlib.metadata\n"
            "def missing(name):\n    raise importlib.metadata.PackageNotFoundError(name)\n"
            "importlib.metadata.files = missing\n" + (here / "conftest.py").read_text()
        )
        (tmp_path / "test_it.py").write_text("def test_it(server):\n    pass\n")
        process = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PATH": "/nowhere", **environment},
        )
        if outcome == "failed":
            assert process.returncode == 1, process.stdout
            assert "tests of tiers must run in CI" in process.stdout
        else:
            assert process.returncode == 0, process.stdout
            assert "1 skipped" in process.stdout
            assert "pip install 'hotset[testing]'" in process.stdout


def test_free_ports_are_not_given_to_clients():
    """Else a client that calls a server that is down could be connected to itself."""
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 10
    assert all(port in LISTENING_PORTS for port in ports)
    local = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
    if local.exists():
        assert max(LISTENING_PORTS) < int(local.read_text().split()[0])


class Echo:
    """A server that sends back whatever it gets, with a record of it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.received = bytearray()
        self.ends = []  # how each connection ended
        self.threads = [threading.Thread(target=self.listen, daemon=True)]
        self.threads[0].start()

    def listen(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connection.settimeout(30)
                self.threads.append(threading.Thread(target=self.serve, args=(connection,), daemon=True))
                self.threads[-1].start()

    def serve(self, connection):
        with connection:
            try:
                while piece := connection.recv(1 << 16):
                    self.received += piece
                    connection.sendall(piece)
                self.ends.append("closed")
            except ConnectionError:
                self.ends.append("reset")

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def way(echo, make_proxy):
    """A proxy in front of `echo`."""
    return make_proxy(echo.address, seed=7)


class TestProxy:
    def test_changes_nothing_without_faults(self, way, echo, rng):
        sent = rng.randbytes(1_000_000)
        with connected(way.address) as connection:
            sender = threading.Thread(target=connection.sendall, args=(sent,))
            sender.start()
            assert receive(connection, len(sent)) == sent
            sender.join(30)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        assert echo.received == sent
        assert echo.ends == ["closed"]
        assert way.traffic[:2] == (1, way.traffic.present)
        assert (way.traffic.up, way.traffic.down, way.traffic.corrupted, way.traffic.cut) == (
            len(sent),
            len(sent),
            0,
            0,
        )

    def test_carries_what_clients_say(self, server, proxy):
        redis = pytest.importorskip("redis")
        with redis.Redis(port=proxy.port, socket_timeout=10) as client:
            client.set("a", "1")
            assert client.get("a") == b"1"
        assert server.command("GET", "a") == b"1"
        assert proxy.url == f"redis://127.0.0.1:{proxy.port}/0"

    def test_in_front_of_a_unix_socket(self, server, make_proxy):
        proxy = make_proxy(server.unix_socket)
        with connected(proxy.address) as connection:
            assert ping(connection) == b"+PONG\r\n"
            assert proxy.cut() == 1
            with pytest.raises(ConnectionResetError):
                connection.recv(1)

    def test_many_connections(self, server, proxy):
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(connected(proxy.address)) for _ in range(50)]
            assert [ping(connection) for connection in connections] == [b"+PONG\r\n"] * 50
            assert proxy.traffic.accepted == proxy.traffic.present == 50

    def test_connections_that_are_closed_are_forgotten(self, proxy, eventually):
        for _ in range(3):
            with connected(proxy.address) as connection:
                assert ping(connection) == b"+PONG\r\n"
        eventually(lambda: proxy.traffic.present == 0)
        assert proxy.traffic.accepted == 3
        assert proxy.traffic.cut == 0

    @pytest.mark.parametrize("direction", ["up", "down"])
    def test_delay(self, way, echo, direction):
        way.delay(0.3, direction=direction)
        with connected(way.address) as connection:
            begun = time.monotonic()
            connection.sendall(b"hello")
            connection.settimeout(0.1)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            assert bool(echo.received) is (direction == "down")
            connection.settimeout(30)
            assert receive(connection, 5) == b"hello"
            assert time.monotonic() - begun >= 0.3
            way.heal()
            assert ask(connection, b"again") == b"again"

    def test_a_delay_is_one_of_the_way_and_not_of_each_piece(self, way):
        """Twenty pieces one after the other come 0.2 s late, not 4 s."""
        way.delay(0.2, direction="up")
        with connected(way.address) as connection:
            begun = time.monotonic()
            for _ in range(20):
                connection.sendall(b"x")
                time.sleep(0.005)
            assert receive(connection, 20) == b"x" * 20
            assert time.monotonic() - begun < 3

    def test_jitter_keeps_the_order(self, way):
        way.delay(0.0, jitter=0.05)
        sent = b"".join(b"%03d" % number for number in range(60))
        with connected(way.address) as connection:
            for start in range(0, len(sent), 3):
                connection.sendall(sent[start : start + 3])
                time.sleep(0.001)
            assert receive(connection, len(sent)) == sent

    def test_stall_and_resume(self, way, echo):
        with connected(way.address) as early:
            assert ask(early, b"a") == b"a"
            way.stall()
            with connected(way.address) as late:
                for connection in (early, late):
                    connection.sendall(b"b")
                    connection.settimeout(0.1)
                    with pytest.raises(TimeoutError):
                        connection.recv(1)
                assert echo.received == b"a"
                way.resume()
                for connection in (early, late):
                    connection.settimeout(30)
                    assert receive(connection, 1) == b"b"

    @pytest.mark.parametrize("direction", ["up", "down"])
    def test_stall_of_one_direction(self, way, echo, eventually, direction):
        way.stall(direction)
        with connected(way.address) as connection:
            connection.sendall(b"b")
            if direction == "down":
                eventually(lambda: echo.received == b"b")
            connection.settimeout(0.1)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            assert bool(echo.received) is (direction == "down")
            way.heal()
            connection.settimeout(30)
            assert receive(connection, 1) == b"b"

    def test_what_was_stalled_arrives_after_its_sender_has_gone(self, way, echo, eventually):
        """A write that timed out at the client and is done at the server all the same."""
        way.stall("up")
        with connected(way.address) as connection:
            connection.sendall(b"late")
        assert echo.received == b""
        way.resume()
        eventually(lambda: echo.received == b"late")

    def test_cut(self, way, echo, eventually):
        with connected(way.address) as one, connected(way.address) as two:
            assert ask(one, b"a") == ask(two, b"a") == b"a"
            assert way.cut() == 2
            for connection in (one, two):
                with pytest.raises(ConnectionResetError):
                    connection.recv(1)
        eventually(lambda: echo.ends == ["reset", "reset"])
        assert way.traffic.cut == 2
        with connected(way.address) as connection:
            assert ask(connection, b"a") == b"a"

    @pytest.mark.parametrize("count", [0, 1, 5, 99_999])
    def test_cut_in_the_middle_of_a_reply(self, way, count):
        with connected(way.address) as connection:
            assert ask(connection, b"before") == b"before"
            way.cut_after(count)
            sender = threading.Thread(target=send, args=(connection, b"x" * 100_000))
            sender.start()
            received = 0
            with pytest.raises(ConnectionResetError):
                while piece := connection.recv(1000):
                    received += len(piece)
            assert received == count
            sender.join(30)
        with connected(way.address) as connection:
            assert ask(connection, b"after") == b"after"
        assert way.traffic.cut == 1

    def test_cut_in_the_middle_of_a_request(self, way, echo, eventually):
        way.cut_after(3, "up")
        with connected(way.address) as connection:
            connection.sendall(b"request")
            with contextlib.suppress(ConnectionResetError):
                receive(connection, 7)
        eventually(lambda: echo.received == b"req")
        eventually(lambda: echo.ends == ["reset"])

    def test_as_much_as_is_left_is_no_cut(self, way):
        with connected(way.address) as connection:
            way.cut_after(5)
            assert ask(connection, b"12345") == b"12345"
            time.sleep(0.1)
            assert way.traffic.cut == 0
            connection.sendall(b"6")
            with pytest.raises(ConnectionResetError):
                connection.recv(1)

    def test_refuse_and_accept(self, way):
        with connected(way.address) as early:
            assert ask(early, b"a") == b"a"
            way.refuse()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(way.address, timeout=10)
            assert ask(early, b"b") == b"b"
            way.accept()
            way.accept()
            with connected(way.address) as late:
                assert ask(late, b"c") == b"c"
            way.refuse()
            way.refuse()
            way.heal()
            with connected(way.address) as late:
                assert ask(late, b"d") == b"d"

    def test_refusing_in_a_storm_leaves_no_socket(self, way, collect):
        """Connections accepted in the moment of the refusal are closed as others: an unclosed socket is an error."""
        over = threading.Event()

        def storm():
            while not over.is_set():
                with contextlib.suppress(OSError), connected(way.address, timeout=1):
                    pass

        with contextlib.ExitStack() as threads:
            for _ in range(3):
                thread = threading.Thread(target=storm)
                thread.start()
                threads.callback(thread.join, 10)
            threads.callback(over.set)
            for _ in range(40):
                way.refuse()
                way.accept()
        collect()

    def test_a_server_that_is_away(self, make_server, make_proxy, eventually):
        server = make_server()
        proxy = make_proxy(server.address)
        with connected(proxy.address) as connection:
            assert ping(connection) == b"+PONG\r\n"
            server.kill()
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        with pytest.raises(ConnectionResetError), connected(proxy.address) as connection:  # either may meet it
            connection.recv(1)
        server.start()
        with connected(proxy.address) as connection:
            assert ping(connection) == b"+PONG\r\n"

    def test_corrupt(self, way, echo):
        sent = bytes(100_000)
        way.corrupt(0.01)
        with connected(way.address) as connection:
            sender = threading.Thread(target=connection.sendall, args=(sent,))
            sender.start()
            received = receive(connection, len(sent))
            sender.join(30)
        assert echo.received == sent
        flips = [byte for byte in received if byte]
        assert 700 < len(flips) < 1300
        assert all(byte.bit_count() == 1 for byte in flips)
        assert len(set(flips)) == 8
        assert way.traffic.corrupted == len(flips)

    def test_corrupt_every_byte_of_one_direction(self, way, echo):
        way.corrupt(1.0, "up")
        with connected(way.address) as connection:
            received = ask(connection, bytes(100))
        assert all(byte.bit_count() == 1 for byte in received)
        assert echo.received == received

    def test_corruption_ends_with_heal(self, way):
        way.corrupt(1.0)
        with connected(way.address) as connection:
            assert ask(connection, b"hello") != b"hello"
            way.heal()
            assert ask(connection, b"hello") == b"hello"

    def test_the_same_seed_corrupts_the_same(self, echo, make_proxy):
        """However the stream is divided."""
        seen = {}
        for seed, step in [(1, 10_000), (1, 7), (2, 10_000)]:
            proxy = make_proxy(echo.address, seed=seed)
            proxy.corrupt(0.01)
            with connected(proxy.address) as connection:
                seen[seed, step] = b"".join(
                    ask(connection, bytes(min(step, 10_000 - start))) for start in range(0, 10_000, step)
                )
        assert seen[1, 10_000] == seen[1, 7]
        assert seen[1, 10_000] != seen[2, 10_000]

    def test_corrupt_with_a_seed_of_its_own(self, echo, make_proxy):
        seen = []
        for seed in (1, 2):
            proxy = make_proxy(echo.address, seed=seed)
            proxy.corrupt(0.1, seed=5)
            with connected(proxy.address) as connection:
                seen.append(ask(connection, bytes(1000)))
        assert seen[0] == seen[1] != bytes(1000)

    def test_throttle(self, way):
        way.throttle(100_000, "down")
        with connected(way.address) as connection:
            begun = time.monotonic()
            assert ask(connection, b"x" * 40_000) == b"x" * 40_000
            assert time.monotonic() - begun > 0.2

    @pytest.mark.parametrize(
        "fault",
        [
            lambda way: way.delay(3600),
            lambda way: way.delay(0, jitter=3600),
            lambda way: way.throttle(0.01),
            lambda way: way.stall(),
            lambda way: way.cut_after(3),
            lambda way: way.refuse(),
            lambda way: way.corrupt(1.0),
        ],
    )
    def test_heal_lifts_each_fault(self, way, fault):
        fault(way)
        way.heal()
        with connected(way.address) as connection:
            assert ask(connection, b"x" * 100_000) == b"x" * 100_000

    def test_faults_add_up(self, way):
        way.delay(0.2, direction="down")
        way.corrupt(1.0)
        way.cut_after(3)
        with connected(way.address) as connection:
            begun = time.monotonic()
            connection.sendall(bytes(5))
            received = b""
            with pytest.raises(ConnectionResetError):
                while piece := connection.recv(10):
                    received += piece
            assert len(received) == 3
            assert all(received)
            assert time.monotonic() - begun >= 0.2

    def test_a_client_that_resets_is_reset_at_the_server(self, way, echo, eventually):
        connection = socket.create_connection(way.address, timeout=10)
        assert ask(connection, b"a") == b"a"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.close()
        eventually(lambda: echo.ends == ["reset"])
        eventually(lambda: way.traffic.present == 0)
        assert way.traffic.cut == 0

    @pytest.mark.parametrize(
        "fault", [lambda way: None, ChaosProxy.stall, lambda way: way.delay(3600), ChaosProxy.refuse]
    )
    def test_close_is_soon_and_for_ever(self, way, fault):
        with connected(way.address) as connection:
            assert ask(connection, b"a") == b"a"
            fault(way)
            connection.sendall(b"b")
            begun = time.monotonic()
            way.close()
            way.close()
            assert time.monotonic() - begun < 5
            with pytest.raises(ConnectionResetError):
                while connection.recv(1):
                    pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(way.address, timeout=10)
        with pytest.raises(RuntimeError, match="not running"):
            way.stall()
        assert not [thread for thread in threading.enumerate() if thread.name == "chaos-proxy"]

    def test_a_port_that_is_taken(self, echo):
        proxy = ChaosProxy(echo.address, port=echo.address[1])
        with pytest.raises(OSError, match="in use"):
            proxy.start()

    def test_starts_once(self, way):
        with pytest.raises(RuntimeError, match="started already"):
            way.start()

    def test_a_context_manager(self, echo):
        with ChaosProxy(echo.address) as proxy, connected(proxy.address) as connection:
            assert ask(connection, b"a") == b"a"

    @pytest.mark.parametrize(
        "call",
        [
            lambda proxy: proxy.delay(-1),
            lambda proxy: proxy.delay(0, jitter=-1),
            lambda proxy: proxy.delay(float("nan")),
            lambda proxy: proxy.throttle(0),
            lambda proxy: proxy.corrupt(0),
            lambda proxy: proxy.corrupt(1.5),
            lambda proxy: proxy.cut_after(-1),
            lambda proxy: proxy.stall("sideways"),
        ],
    )
    def test_faults_that_make_no_sense(self, way, call):
        with pytest.raises(ValueError, match=r"-1|nan|0|1\.5|sideways"):
            call(way)


def ask(connection, sent):
    """Send something to an echo and return as much."""
    connection.sendall(sent)
    return receive(connection, len(sent))


def send(connection, sent):
    """Send as much as the other side takes."""
    with contextlib.suppress(OSError):
        connection.sendall(sent)
