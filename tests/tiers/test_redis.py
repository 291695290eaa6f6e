"""The level on a real server: the contract, and what is particular to it."""

import asyncio
import contextlib
import datetime
import math
import os
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
from typing import ClassVar

import pytest
import redis
import redis.sentinel
from subprocesses import run_script

from hotset.errors import CodecError, TierError, TierTimeout, TierUnavailable
from hotset.testing.driver import RecordingListener, opened
from hotset.testing.ports import free_port
from hotset.testing.schedule import Schedule
from hotset.testing.tier_contract import TierContract
from hotset.tiers.contract import CLEAR, Entry
from hotset.tiers.keys import Keys
from hotset.tiers.links import Endpoint
from hotset.tiers.redis import RedisTier
from hotset.tiers.servertime import DRIFT, ServerTime
from hotset.wire import lease_marker

TIMEOUT = 0.25
SLACK = 0.75  # seconds by which a slow machine may be late; what hangs takes much longer


class TestTracking(TierContract):
    """By server-assisted tracking."""

    options: ClassVar = {}

    @pytest.fixture(autouse=True)
    def namespace(self, server):
        """Each test's own, and where its server is."""
        self.url = server.url
        return f"contract-{os.urandom(6).hex()}"

    def make_tier(self):
        return RedisTier(self.url, **self.options)

    make_peer = make_tier


class TestPublished(TestTracking):
    """By messages of the processes to each other."""

    options: ClassVar = {"stream": "pubsub"}


@pytest.fixture(params=["sync", "async"])
def runner(request):
    """What runs the methods: nothing, or an event loop."""
    if request.param == "sync":
        yield None
    else:
        with asyncio.Runner() as runner:
            yield runner


@pytest.fixture
def drive(runner):
    """Open tiers by one of their faces; without a stream unless it is asked for."""
    with contextlib.ExitStack() as stack:

        def factory(source, namespace="test", **options):
            tier = RedisTier(source, **{"stream": None, **options})
            return stack.enter_context(opened(tier, namespace, runner))

        yield factory


@pytest.fixture
def tier(drive, server):
    """A tier on a server that is empty and well."""
    return drive(server.url)


def within(seconds, error, call, *args):
    """Check that a call fails in time."""
    begun = time.monotonic()
    with pytest.raises(error):
        call(*args)
    assert time.monotonic() - begun < seconds + SLACK


# Arguments


@pytest.mark.parametrize("name", ["timeout", "connect_timeout", "lease", "heartbeat"])
def test_durations(name):
    for duration in (0.25, "250ms", datetime.timedelta(seconds=0.25)):
        RedisTier(**{name: duration})
    assert RedisTier(timeout="250ms").timeout == 0.25
    with pytest.raises(ValueError, match=f"^{name} "):
        RedisTier(**{name: "soon"})
    with pytest.raises(TypeError, match=f"^{name} "):
        RedisTier(**{name: b"1s"})


def test_nonsense_is_refused(server):
    for wrong in (7, b"redis://localhost", None):
        with pytest.raises(TypeError, match=r"a URL or a redis\.Redis client is wanted"):
            RedisTier(wrong)
    with pytest.raises(TypeError, match=r"give the URL or a redis\.Redis, which serve threads and asyncio alike"):
        RedisTier(redis.asyncio.Redis())
    for options in (
        {"timeout": 0},
        {"connect_timeout": -1},
        {"lease": math.inf},
        {"heartbeat": math.nan},
        {"max_connections": 0},
        {"stream": "telepathy"},
        {"codec": "pickle"},
        {"codec": "json", "wire": RedisTier()._wire},
        {"sentinel": ([], "service")},
        {"source": "http://localhost"},
        {"source": "redis+sentinel://localhost"},
        {"source": "redis+sentinel:///service"},
        {"source": "redis+sentinel://localhost/service", "sentinel": ([("localhost", 1)], "service")},
    ):
        with pytest.raises(ValueError):
            RedisTier(**options)


def test_a_password_is_not_shown():
    for url in ("redis://me:secret@host:1/2", "redis+sentinel://:secret@host/service", "unix://:secret@/tmp/s"):
        assert "secret" not in repr(RedisTier(url))
    assert repr(RedisTier("redis://me:secret@host:1/2")) == "<RedisTier 'valkey' redis://host:1/2>"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "db": 0}),
        ("redis://host:1/3", {"host": "host", "port": 1, "db": 3}),
        ("unix:///run/valkey?db=2", {"path": "/run/valkey", "db": 2}),
        (
            "redis+sentinel://one,two:2,[::1]:3/name%20d/4?sentinel_password=p",
            {
                "sentinels": [("one", 26379), ("two", 2), ("::1", 3)],
                "service": "name d",
                "db": 4,
                "_sentinel_options": {"password": "p"},
            },
        ),
    ],
)
def test_urls(url, wanted):
    endpoint = Endpoint(url, connect_timeout=1)
    assert {name: getattr(endpoint, name) for name in wanted} == wanted


def test_a_client_of_sentinels_is_taken_over():
    manager = redis.sentinel.Sentinel(
        [("one", 1), ("two", 2)], sentinel_kwargs={"password": "p"}, min_other_sentinels=1
    )
    endpoint = Endpoint(manager.master_for("service", db=3), connect_timeout=1)
    assert (endpoint.sentinels, endpoint.service, endpoint.db) == ([("one", 1), ("two", 2)], "service", 3)
    assert endpoint._sentinel_options["password"] == "p"
    with pytest.raises(ValueError, match="primary"):
        Endpoint(manager.slave_for("service"), connect_timeout=1)


def test_namespaces_do_not_overlap():
    names = ["a", "a:k", "a:k:b", "{a}", "a}", "%", "%25", "", "a%3Ak"]
    prefixes = [prefix for name in names for prefix in Keys(name).tracked]
    assert not [(one, two) for one in prefixes for two in prefixes if one is not two and one.startswith(two)]


def test_keys_say_what_they_are():
    keys = Keys("a:{b}")
    for name in ("x", "", "{x}", "}", "é", "\ud800"):
        assert keys.meaning(keys.entry(name).encode("utf-8", "surrogatepass")) == ("entry", name)
        assert keys.meaning(keys.bell(name).encode("utf-8", "surrogatepass")) == ("bell", name)
        assert keys.meaning(keys.lease(name).encode("utf-8", "surrogatepass")) == ("", "")
    assert keys.meaning(keys.state.encode()) == ("state", "")
    assert keys.meaning(b"hs:\xff") == ("", "")


@pytest.mark.parametrize("name", ["x", "a:b", "{x}", "a{b}c", "{", "a{b", "{x}}"])
def test_a_lease_is_in_the_slot_of_its_entry(name):
    keys = Keys("n{s}")
    assert redis.crc.key_slot(keys.lease(name).encode()) == redis.crc.key_slot(keys.entry(name).encode())


# Where it connects to


def works(driver):
    driver.write([("a", driver.entry("A", tags=("t",)))])
    assert driver.serves("a") == "A"
    found, _ = driver.begin("b")
    assert driver.end("b", driver.entry("B"), found.fence)
    driver.invalidate(["t"])
    assert [driver.serves(name) for name in "ab"] == [None, "B"]
    return True


def test_it_must_be_open(server, runner):
    tier = RedisTier(server.url)
    with pytest.raises(TierError, match="open"):
        tier.read(["a"])
    with opened(tier, "test", runner) as driver:
        driver.read(["a"])
    for call in (lambda: tier.read(["a"]), lambda: asyncio.run(tier.aread(["a"]))):
        with pytest.raises(TierUnavailable, match="closed"):
            call()


def test_it_can_be_opened_again(drive, server):
    driver = drive(server.url, stream="tracking")
    assert works(driver)
    driver.close()
    driver.tier.open("test", driver.listener)
    assert works(driver)


def test_a_unix_socket_and_a_database(drive, server):
    assert works(drive(f"unix://{server.unix_socket}?db=3"))
    assert server.command("DBSIZE") == 0


def test_a_client_lends_its_parameters(drive, server):
    client = redis.Redis.from_url(server.url, db=2, client_name="lender", decode_responses=True, protocol=3)
    assert works(drive(client, stream="tracking"))
    assert b"name=lender" in server.command("CLIENT", "LIST")
    client.close()


def test_a_password(drive, make_server, eventually):
    server = make_server(password="p@ss:word")
    driver = drive(server.url, stream="tracking")
    assert works(driver)
    eventually(lambda: driver.listener.moments)
    for url in (f"redis://:wrong@127.0.0.1:{server.port}", f"redis://127.0.0.1:{server.port}"):
        within(TIMEOUT, TierUnavailable, drive(url).read, ["a"])


def test_credentials_are_asked_for_at_each_connection(drive, make_server):
    class Provider(redis.CredentialProvider):
        asked = 0

        def get_credentials(self):
            self.asked += 1
            return "me", "secret"

    server = make_server()
    server.command("ACL", "SETUSER", "me", "on", ">secret", "~*", "&*", "+@all")
    server.command("ACL", "SETUSER", "default", "-@all", "+ping", "+info")
    provider = Provider()
    client = redis.Redis(port=server.port, credential_provider=provider)
    assert works(drive(client))
    assert provider.asked


@pytest.fixture
def tls_port(server, tmp_path):
    """A port where the server can be had over TLS, as behind stunnel, and the certificate of its name, localhost."""
    openssl = shutil.which("openssl")
    if openssl is None and not os.environ.get("CI"):
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    running = threading.Event()
    ended = []

    async def carry(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader, writer):
        with contextlib.suppress(OSError, asyncio.CancelledError):
            inner_reader, inner_writer = await asyncio.open_connection(*server.address)
            try:
                await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))
            finally:
                inner_writer.transport.abort()
                writer.transport.abort()

    async def serve():
        end = asyncio.Event()
        async with await asyncio.start_server(accept, "127.0.0.1", port, ssl=context):
            ended.extend((asyncio.get_running_loop(), end))
            running.set()
            await end.wait()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    port = free_port()
    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert running.wait(10)
    yield port, certificate
    ended[0].call_soon_threadsafe(ended[1].set)
    thread.join(10)


def test_tls(drive, tls_port, eventually):
    port, certificate = tls_port
    patient = {"connect_timeout": 2, "timeout": 2}
    driver = drive(f"rediss://localhost:{port}?ssl_ca_certs={certificate}", stream="tracking", **patient)
    assert works(driver)
    eventually(lambda: driver.listener.moments)
    assert works(driver)
    driver.close()
    for distrusted in (f"rediss://localhost:{port}", f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}"):
        within(2, TierUnavailable, drive(distrusted, **patient).read, ["a"])
    assert works(drive(f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none", **patient))
    with pytest.raises(ValueError, match="ocsp"):
        RedisTier(f"rediss://localhost:{port}?ssl_validate_ocsp=1")


@pytest.fixture
def sentinel(make_server, server_binary, tmp_path):
    """A Sentinel, what it watches, and a replica."""
    primary = make_server()
    replica = make_server(config={"replicaof": f"127.0.0.1 {primary.port}", "replica-priority": 1})
    port = free_port()
    path = tmp_path / "sentinel.conf"
    path.write_text(
        f"port {port}\nbind 127.0.0.1\nprotected-mode no\ndir {tmp_path}\n"
        f"sentinel monitor it 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds it 500\nsentinel failover-timeout it 2000\n"
    )
    process = subprocess.Popen(
        [server_binary, path, "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port, primary, replica
    finally:
        process.kill()
        process.wait(10)


def test_sentinel(drive, sentinel, eventually):
    port, primary, replica = sentinel

    def found():
        with contextlib.suppress(redis.RedisError), redis.Redis(port=port) as client:
            return client.sentinel_master("it")["num-slaves"] == 1
        return False

    eventually(found)
    driver = drive(f"redis+sentinel://127.0.0.1:{port}/it", stream="tracking", connect_timeout=1, timeout=1)
    assert works(driver)
    assert works(drive("redis://", "other", sentinel=([("127.0.0.1", port)], "it"), connect_timeout=1, timeout=1))
    within(1, TierUnavailable, drive(f"redis+sentinel://127.0.0.1:{port}/unknown", connect_timeout=1).read, ["a"])
    eventually(lambda: driver.listener.moments)
    losses = driver.listener.losses
    primary.kill()

    def moved():
        with contextlib.suppress(TierError):
            driver.write([("after", driver.entry("new"))])
            return driver.serves("after") == "new"
        return False

    eventually(moved)
    assert replica.command("ROLE")[0] == b"master"
    eventually(lambda: driver.listener.losses > losses and max(driver.listener.moments) > time.monotonic() - 1)


def test_a_primary_that_was_demoted_is_not_taken(make_server, drive, monkeypatch):
    """Sentinels may be behind."""
    server = make_server()

    async def aprimary(_):
        return server.address

    monkeypatch.setattr(Endpoint, "_primary", lambda *_: server.address)
    monkeypatch.setattr(Endpoint, "_aprimary", aprimary)
    driver = drive("redis+sentinel://localhost/it")
    with server.read_only(), pytest.raises(TierUnavailable, match="primary is none"):
        driver.read(["a"])
    assert works(driver)


def test_a_name_that_leads_to_another_primary_after_a_failover(make_server, make_proxy, drive):
    """The first write that the old one refuses gives up all connections to it."""
    old, new = make_server(), make_server()
    proxy = make_proxy(old.address)
    driver = drive(proxy.url)
    links = [driver.tier._pool.take(time.monotonic() + 5, math.inf) for _ in range(3)]
    for link in links:
        driver.tier._pool.give(link, time.monotonic())
    assert works(driver)
    with old.read_only():
        proxy.target = new.address
        with pytest.raises(TierUnavailable, match="READONLY"):
            driver.remove(["a"])
        driver.epoch()
        assert works(driver)


# What goes wrong


def test_nobody_listens(drive):
    driver = drive(f"redis://127.0.0.1:{free_port()}")
    within(TIMEOUT, TierUnavailable, driver.read, ["a"])


def test_an_address_that_swallows_everything(drive):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        with contextlib.suppress(OSError):
            for _ in range(8):  # until the backlog is full, nobody answers
                filler = socket.socket()
                fillers.append(filler)
                filler.settimeout(0.1)
                filler.connect(full.getsockname())
        driver = drive(f"redis://127.0.0.1:{full.getsockname()[1]}")
        within(TIMEOUT, TierTimeout, driver.read, ["a"])
        for filler in fillers:
            filler.close()


def test_no_such_host(drive):
    with pytest.raises(TierUnavailable):
        drive("redis://host.invalid", connect_timeout=5, timeout=5).read(["a"])


def test_a_server_that_hangs(drive, make_server):
    server = make_server()
    known, fresh = drive(server.url), drive(server.url)
    assert works(known)
    with server.hung():
        for driver in (known, fresh):
            for call in (
                lambda: driver.read(["a"]),
                lambda: driver.write([("a", Entry("B", bytes(12), epoch=1))]),
                lambda: driver.invalidate(["t"]),
            ):
                within(TIMEOUT, TierTimeout, call)
    assert works(known)
    assert works(fresh)


def test_a_server_that_is_slow_drop_by_drop(drive, make_proxy, server):
    proxy = make_proxy(server.address)
    driver = drive(proxy.url, timeout=0.5)
    driver.write([("a", driver.entry("x" * 10_000))])
    assert driver.serves("a")
    proxy.throttle(5_000, "down")
    within(0.5, TierTimeout, driver.read, ["a"])
    proxy.heal()
    assert works(driver)


def answering(*replies, pause=0.0):
    """Serve connections one after the other: the greeting, then each request with the next of these replies."""

    def serve(listener):
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.recv(4096)
                    client.sendall(b"*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n")
                    for reply in replies:
                        client.recv(4096)
                        time.sleep(pause)
                        client.sendall(reply)
                    client.recv(4096)

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    return listener


def test_a_reply_that_stops_in_the_middle(drive):
    with answering(b"*2\r\n$-1\r\n$9\r\n1", pause=1.2) as listener:
        driver = drive(f"redis://127.0.0.1:{listener.getsockname()[1]}", timeout=1.3)
        begun = time.monotonic()
        with pytest.raises(TierTimeout):
            driver.read(["a"])
        assert 1.2 < time.monotonic() - begun < 2.2


def test_more_replies_than_questions(drive):
    """The connection is of no use any more: the next question would get an answer that is not its own."""
    state = b"$7\r\n1 1 1 -\r\n"
    right, another = b"*2\r\n$-1\r\n" + state, b"*2\r\n$1\r\nx\r\n" + state
    with answering(right + another, right) as listener:
        driver = drive(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        for _ in range(3):
            with contextlib.suppress(TierUnavailable):
                assert driver.read(["a"]).refused == {}


def test_a_greeting_that_is_slow(drive, make_proxy, server):
    proxy = make_proxy(server.address)
    proxy.delay(0.2)
    driver = drive(f"{proxy.url}?client_name=me&db=3")
    within(TIMEOUT, TierTimeout, driver.read, ["a"])


@pytest.mark.parametrize("how", ["out_of_memory", "read_only", "no_replicas", "busy", "full"])
def test_a_server_that_refuses(drive, make_server, how):
    server = make_server()
    driver = drive(server.url)
    assert works(driver)
    if how == "full":
        driver.close()
        driver.tier.open("test", driver.listener)
    entry = driver.entry("B") if how != "full" else Entry("B", bytes(12), epoch=1)
    with getattr(server, how)():
        within(TIMEOUT, TierUnavailable, driver.write, [("a", entry)])
        if how in {"busy", "full"}:
            within(TIMEOUT, TierUnavailable, driver.read, ["a"])
        else:
            assert driver.serves("b") == "B"
    assert works(driver)


def test_a_server_that_is_restarted(drive, make_server):
    server = make_server()
    driver = drive(server.url)
    assert works(driver)
    server.restart()
    assert driver.serves("b") is None
    assert works(driver)


def test_connections_that_the_server_closed_while_they_were_idle(drive, server, eventually):
    driver = drive(server.url)
    for call in (
        lambda: driver.write([("a", driver.entry("A"))]),
        lambda: driver.serves("a"),
        lambda: driver.touch("a", 1, 2),
        lambda: driver.remove(["a"]),
        lambda: driver.invalidate(["a"]),
        lambda: driver.fill([("a", driver.entry("A"), driver.lease(["a"]).found[0].fence)]),
    ):
        driver.read(["a"])
        server.disconnect()
        time.sleep(0.02)
        call()


def test_a_write_is_not_done_twice(drive, make_proxy, server, eventually):
    """Its answer is lost: somebody else may have written since."""
    proxy = make_proxy(server.address)
    driver = drive(proxy.url)
    driver.read(["a"])
    entry = driver.entry("A")
    proxy.stall("down")
    failure = []

    def write():
        try:
            driver.write([("a", entry)])
        except TierError as error:
            failure.append(error)

    place = Keys("test").entry("a")
    thread = threading.Thread(target=write)
    thread.start()
    eventually(lambda: server.command("EXISTS", place))
    server.command("DEL", place)
    proxy.cut()
    thread.join(10)
    assert isinstance(failure[0], TierUnavailable)
    proxy.heal()
    assert driver.look("a") is None


def test_noise_on_the_wire(drive, make_proxy, server):
    """Whatever comes: the value that was written, nothing, or a TierError."""
    clear = drive(server.url)
    names = [f"name {number}" for number in range(50)]
    clear.write([(name, clear.entry(name)) for name in names])
    proxy = make_proxy(server.address)
    driver = drive(proxy.url)
    outcomes = {"right": 0, "nothing": 0, "failed": 0}
    for seed in range(40):
        proxy.corrupt(0.002, seed=seed)
        try:
            found = driver.read(names).found
        except TierError:
            outcomes["failed"] += 1
            continue
        for name, seen in zip(names, found, strict=True):
            assert seen.entry is None or seen.entry.value == name
            outcomes["nothing" if seen.entry is None else "right"] += 1
    assert all(outcomes.values()), outcomes
    proxy.heal()
    proxy.cut()
    assert [found.entry.value for found in driver.read(names).found] == names


def test_answers_to_other_questions(drive):
    """A server that lies about what it was asked for."""
    replies = [
        b"*1\r\n$1\r\nx\r\n",
        b":7\r\n",
        b"$-1\r\n",
        b"+OK\r\n",
        b"-ODD thing\r\n",
        b"*0\r\n",
        b"*3\r\n:1\r\n:2\r\n:3\r\n",
    ]

    for reply in replies:
        with answering(reply) as listener:
            driver = drive(f"redis://127.0.0.1:{listener.getsockname()[1]}")
            within(TIMEOUT, TierError, driver.read, ["a"])


# What the server forgets


def test_scripts_that_the_server_forgot(tier, server):
    assert works(tier)
    for call in (
        lambda: tier.fill([("x", tier.entry(), tier.lease(["x"]).found[0].fence)]) == [True],
        lambda: tier.remove(["x"], expire=True) is None,
        lambda: tier.invalidate(["t"]) > 0,
        lambda: tier.touch("x", 1, 2),
    ):
        server.command("SCRIPT", "FLUSH")
        assert call()


def test_what_is_published_comes_after_the_change(drive, server):
    """Also when the server has to learn the script first."""
    driver = drive(server.url, stream="pubsub")
    driver.write([("a", driver.entry("A"))])
    with server.configured(slowlog_log_slower_than=0, slowlog_max_len=1000):
        server.command("SCRIPT", "FLUSH")
        server.command("SLOWLOG", "RESET")
        driver.remove(["a"], expire=True)
        log = [entry[3][0] for entry in reversed(server.command("SLOWLOG", "GET", 100))]
    commands = [bytes(command).upper() for command in log]
    assert commands[len(commands) - commands[::-1].index(b"EVALSHA") :].count(b"PUBLISH") == 1
    assert driver.look("a").life <= 0


def test_what_was_there_before_a_flush_is_dead(tier, server):
    """Also if it comes back, as from a replica that was behind."""
    tier.write([("a", tier.entry("A"))])
    place = Keys("test").entry("a")
    bytes_of_it = server.command("GET", place)
    epoch = tier.epoch()
    server.command("FLUSHALL")
    server.command("SET", place, bytes_of_it)
    reading = tier.read(["a"])
    assert reading.found[0].entry is None
    assert reading.refused == {"dead": 1}
    assert reading.epoch > epoch
    assert tier.end("a", tier.entry("new", epoch=reading.epoch), reading.found[0].fence)
    assert tier.serves("a") == "new"


@pytest.mark.parametrize("spoil", [("DEL",), ("SET", "nonsense"), ("SET", ""), ("SET", "1 2 3")])
def test_a_state_that_is_lost(tier, server, drive, spoil):
    tier.write([("a", tier.entry("A"))])
    epoch = tier.epoch()
    server.command(spoil[0], Keys("test").state, *spoil[1:])
    for reader in (tier, drive(server.url)):
        assert reader.serves("a") is None
        assert reader.epoch() > epoch
    assert tier.invalidate(["t"]) > epoch
    assert works(tier)


def test_tags_that_are_lost(tier, server, drive):
    """Nobody knows any more what was invalidated: what has tags is dead, what has none lives."""
    peer = drive(server.url)
    epoch = tier.epoch()
    tier.write([("tagged", tier.entry("A", tags=("t",))), ("plain", tier.entry("B"))])
    assert peer.serves("tagged") == "A"
    now = tier.invalidate(["other"])
    server.command("DEL", Keys("test").tags)
    for reader in (tier, peer):
        assert [reader.serves(name) for name in ("tagged", "plain")] == [None, "B"]
    tier.write([("tagged", tier.entry("new", tags=("t",), epoch=now))])
    tier.write([("late", tier.entry("late", tags=("t",), epoch=epoch))])
    for reader in (tier, peer):
        assert [reader.serves(name) for name in ("tagged", "late")] == ["new", None]


def test_tags_that_are_lost_between_two_invalidations(tier, server, drive):
    tier.write([("a", tier.entry("A", tags=("t",)))])
    tier.invalidate(["t"])
    server.command("DEL", Keys("test").tags)
    tier.invalidate(["other"])
    for reader in (tier, drive(server.url)):
        assert reader.serves("a") is None
    assert works(tier)


def test_more_tags_than_are_kept(tier, server, drive, monkeypatch):
    keys = Keys("test")
    old = tier.entry("old", tags=("t",))
    tier.write([("old", old), ("plain", tier.entry("B"))])
    tier.invalidate(["x"])
    for start in range(0, 100_001, 5_000):
        server.command("HSET", keys.tags, *(word for number in range(5_000) for word in (f"tag:{start + number}", "1")))
    tier.invalidate(["y"])
    assert server.command("HLEN", keys.tags) == 2
    assert [tier.serves(name) for name in ("old", "plain")] == [None, "B"]
    assert works(tier)


def test_a_hash_of_tags_that_was_damaged(tier, server):
    tier.write([("a", tier.entry("A", tags=("t",)))])
    server.command("HSET", Keys("test").tags, "tag:t", "nonsense")
    tier.invalidate(["other"])
    with pytest.raises(TierError):
        tier.read(["a"])


def test_foreign_bytes_are_refused_and_replaced(tier, server):
    keys = Keys("test")
    tier.write([(name, tier.entry(name)) for name in ("cut", "moved")])
    server.command("SET", keys.entry("cut"), server.command("GET", keys.entry("cut"))[:-1])
    server.command("SET", keys.entry("text"), "somebody else's")
    server.command("SET", keys.entry("short"), "x")
    server.command("RENAME", keys.entry("moved"), keys.entry("here"))
    names = ["cut", "text", "short", "here"]
    reading = tier.read(names)
    assert [found.entry for found in reading.found] == [None] * 4
    assert sum(reading.refused.values()) == 4
    assert tier.touch("text", 10, 10) is False
    fences = [found.fence for found in reading.found]
    assert all(tier.fill([(name, tier.entry(name), fence) for name, fence in zip(names, fences, strict=True)]))
    assert [tier.serves(name) for name in names] == names


def test_what_is_no_entry_is_dropped_when_it_is_to_expire(tier, server):
    place = Keys("test").entry("text")
    for text in ("somebody else's, and long", "x", lease_marker(bytes(12))):
        server.command("SET", place, text)
        tier.remove(["text"], expire=True)
        assert not server.command("EXISTS", place)


def test_keys_of_another_type(tier, server):
    server.command("LPUSH", Keys("test").entry("a"), "x")
    tier.write([("b", tier.entry("B"))])
    assert [tier.serves(name) for name in "ab"] == [None, "B"]
    with pytest.raises(TierError, match="WRONGTYPE"):
        tier.fill([("a", tier.entry("A"), tier.lease(["a"]).found[0].fence)])
    tier.write([("a", tier.entry("A"))])
    assert tier.serves("a") == "A"


# What it writes


def test_a_value_that_cannot_be_written_is_said_and_nothing_is(tier):
    with pytest.raises(CodecError):
        tier.write([("a", tier.entry("A")), ("b", tier.entry(object()))])
    assert tier.look("a") is None
    assert works(tier)


def test_a_write_without_an_epoch_is_of_the_present_one(tier, drive, server):
    """A cache that has not read anything yet does not know one."""
    drive(server.url).invalidate([CLEAR])
    tier.write([("a", Entry("A", bytes(12), tags=("t",)))])
    assert tier.serves("a") == "A"
    tier.invalidate(["t"])
    assert tier.serves("a") is None


def test_a_write_of_an_epoch_that_is_still_to_come_is_of_the_present_one(tier):
    """The cache counts on from what it knew of a server that has lost its state since, and is behind in time."""
    tier.write([("a", tier.entry("A", epoch=tier.epoch() + 10, tags=("t",)))])
    assert tier.serves("a") == "A"
    tier.invalidate(["t"])
    assert tier.serves("a") is None
    # The same of a load is none: nobody knows whether it began before an invalidation.
    found, epoch = tier.begin("b")
    tier.end("b", tier.entry("B", epoch=epoch + 10), found.fence)
    assert tier.serves("b") is None


def test_what_is_kept_no_longer_is_not_written(tier, server):
    tier.write([("a", tier.entry("A"))])
    fence = tier.read(["a"]).found[0].fence
    tier.write([("a", tier.entry("B", life=0, keep=0))])
    assert tier.look("a") is None
    assert not tier.end("a", tier.entry("C"), fence)
    assert not tier.end("b", tier.entry("C", keep=-1.0), tier.lease(["b"]).found[0].fence)
    tier.write([("a", tier.entry("A"))])
    assert tier.touch("a", 0, 0)
    assert tier.look("a") is None


def test_the_server_drops_what_is_kept_no_longer(tier, server):
    tier.write([("a", tier.entry(life=1, keep=100)), ("b", tier.entry(life=1, keep=math.inf))])
    keys = Keys("test")
    assert 99_000 < server.command("PTTL", keys.entry("a")) <= 100_000
    assert server.command("PTTL", keys.entry("b")) == -1
    tier.touch("a", 1, 50)
    assert 49_000 < server.command("PTTL", keys.entry("a")) <= 50_000
    tier.remove(["a"], expire=True)
    assert 49_000 < server.command("PTTL", keys.entry("a")) <= 50_000


def test_a_lease_ends_by_itself(drive, server):
    driver = drive(server.url, lease=0.05)
    fence = driver.lease(["a"]).found[0].fence
    time.sleep(0.1)
    assert not driver.end("a", driver.entry(), fence)
    assert server.command("DBSIZE") == 2  # the state and the tags of the namespace


def test_a_lease_does_not_outlive_its_fill(tier):
    """One load is stored with it, also when that is gone by itself."""
    fence = tier.lease(["a"]).found[0].fence
    assert tier.end("a", tier.entry("A", life=0.02, keep=0.02), fence)
    time.sleep(0.05)
    assert tier.look("a") is None
    assert not tier.end("a", tier.entry("B"), fence)


def test_a_lease_does_not_outlive_a_write_that_went_by_itself(tier):
    """It began before the write, so it must not be filled after the written entry is gone."""
    fence = tier.lease(["a"]).found[0].fence
    tier.write([("a", tier.entry("A", life=0.02, keep=0.02))])
    time.sleep(0.05)
    assert tier.look("a") is None
    assert not tier.end("a", tier.entry("old"), fence)


def test_lone_surrogates_are_names(tier):
    for name in ("\ud800", "a\udfffb"):
        tier.write([(name, tier.entry("v"))])
        found, _ = tier.begin(name)
        assert tier.end(name, tier.entry("w"), found.fence)
        assert tier.touch(name, 10, 20)
        assert tier.serves(name) == "w"
        tier.remove([name])
        assert tier.look(name) is None


def test_a_read_is_one_command(tier, server):
    tier.write([("a", tier.entry("A", tags=("t",))), ("b", tier.entry("B"))])
    tier.read(["a", "b"])

    def commands():
        info = dict(line.split(b":", 1) for line in server.command("INFO", "commandstats").splitlines() if b":" in line)
        return {name: int(text.split(b",")[0].split(b"=")[1]) for name, text in info.items() if b"info" not in name}

    before = commands()
    for _ in range(5):
        tier.read(["a", "b"])
    after = commands()
    assert {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)} == {
        b"cmdstat_mget": 5
    }


# Threads, tasks, loops, forks


def test_connections_are_bounded(server):
    tier = RedisTier(server.url, stream=None, max_connections=3, timeout=5)
    with opened(tier, "test", None):
        before = int(server.command("INFO", "clients").split(b"connected_clients:")[1].split()[0])
        most = []
        errors = []

        def work():
            try:
                for _ in range(20):
                    tier.read(["a"])
                    most.append(len(tier._pool._idle))
            except TierError as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not errors
        now = int(server.command("INFO", "clients").split(b"connected_clients:")[1].split()[0])
        assert 1 <= now - before <= 3
        assert max(most) <= 3


def test_waiting_for_a_connection_ends_in_time(make_proxy, server):
    proxy = make_proxy(server.address)
    tier = RedisTier(proxy.url, stream=None, max_connections=1)
    with opened(tier, "test", None) as driver:
        driver.read(["a"])
        link = tier._pool.take(time.monotonic() + 1, math.inf)
        within(TIMEOUT, TierTimeout, driver.read, ["a"])
        tier._pool.give(link, time.monotonic())
        driver.read(["a"])


def test_one_connection_an_event_loop(server):
    tier = RedisTier(server.url, stream=None)
    tier.open("test", RecordingListener())

    async def together():
        before = server.command("CLIENT", "LIST").count(b"\n")
        await asyncio.gather(*(tier.aread([f"{number}"]) for number in range(200)))
        return server.command("CLIENT", "LIST").count(b"\n") - before

    assert asyncio.run(together()) == 1
    tier.close()


def test_who_is_cancelled_harms_nobody(server, make_proxy):
    proxy = make_proxy(server.address)
    tier = RedisTier(proxy.url, stream=None, timeout=5)
    tier.open("test", RecordingListener())

    async def one(name):
        return (await tier.aread([name])).found[0].entry.value

    async def work():
        epoch = (await tier.aread(["a"])).epoch
        await tier.awrite([(str(number), Entry(number, os.urandom(12), epoch=epoch)) for number in range(100)])
        proxy.delay(0.1)
        tasks = [asyncio.ensure_future(one(str(number))) for number in range(100)]
        await asyncio.sleep(0.05)
        for task in tasks[::3]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result for result in results if not isinstance(result, asyncio.CancelledError)] == [
            number for number in range(100) if number % 3
        ]
        assert proxy.traffic.accepted == 1
        await tier.aclose()

    asyncio.run(work())


def test_who_is_cancelled_while_connecting_harms_nobody(make_proxy, server):
    proxy = make_proxy(server.address)
    tier = RedisTier(proxy.url, stream=None, timeout=5, connect_timeout=5)
    tier.open("test", RecordingListener())

    async def work():
        proxy.delay(0.1)
        tasks = [asyncio.ensure_future(tier.aread(["a"])) for _ in range(3)]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert [result.found[0].entry for result in results[1:]] == [None, None]
        await tier.aclose()

    asyncio.run(work())


def test_a_loop_that_is_closed_leaves_no_connection(server, eventually):
    tier = RedisTier(server.url, stream=None)
    tier.open("test", RecordingListener())
    before = server.command("CLIENT", "LIST").count(b"\n")
    for _ in range(3):
        asyncio.run(tier.aread(["a"]))
    eventually(lambda: server.command("CLIENT", "LIST").count(b"\n") == before)
    assert len(tier._links._links) <= 1
    tier.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("stream", ["tracking", "pubsub"])
def test_a_fork(server, stream):
    """The child has connections and a stream of its own, and the parent's go on."""
    run_script(
        """
        import asyncio, os, sys, time, warnings
        from hotset.testing.driver import RecordingListener, opened
        from hotset.tiers.redis import RedisTier
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

        def wait(condition):
            deadline = time.monotonic() + 20
            while not condition():
                assert time.monotonic() < deadline
                time.sleep(0.01)

        tier = RedisTier(sys.argv[1], stream=sys.argv[2], timeout=5, connect_timeout=5)
        peer = RedisTier(sys.argv[1], stream=sys.argv[2], timeout=5, connect_timeout=5)
        with opened(tier, "fork", None) as driver, opened(peer, "fork", None) as other:
            driver.write([("a", driver.entry("A"))])
            wait(lambda: driver.listener.moments)
            with asyncio.Runner() as runner:
                runner.run(tier.aread(["a"]))
                child = os.fork()
                if child == 0:
                    status = 1
                    try:
                        known = len(driver.listener.moments)
                        time.sleep(0.6)
                        assert len(driver.listener.moments) == known, "there is no thread in the child yet"
                        for _ in range(200):
                            assert driver.serves("a") == "A"
                        assert asyncio.run(tier.aread(["a"])).found[0].entry.value == "A"
                        wait(lambda: len(driver.listener.moments) > known)
                        other.write([("b", other.entry("B"))])
                        wait(lambda: "b" in driver.listener.names)
                        driver.close()
                        status = 0
                    except BaseException:
                        import traceback
                        traceback.print_exc()
                    finally:
                        os._exit(status)
                for _ in range(200):
                    assert driver.serves("a") == "A"
                    assert runner.run(tier.aread(["a"])).found[0].entry.value == "A"
                _, status = os.waitpid(child, 0)
                assert status == 0, status
                moments = len(driver.listener.moments)
                wait(lambda: len(driver.listener.moments) > moments)
                assert runner.run(tier.aread(["a"])).found[0].entry.value == "A"
                wait(lambda: "b" in driver.listener.names)
        """,
        server.url,
        stream,
    )


def test_the_extra_is_named():
    process = run_script(
        """
        import sys
        sys.modules["redis"] = None
        try:
            import hotset.tiers.redis
        except ImportError as error:
            print(error)
        """
    )
    assert "hotset[redis]" in process.stdout


@pytest.mark.parametrize("seed", range(3))
def test_schedules_of_two_processes_and_a_server_that_forgets(drive, server, seed):
    """As the contract's schedules, with scripts forgotten and connections closed at any moment."""
    one, two = drive(server.url), drive(server.url)
    schedule = Schedule(one, {"one": one, "two": two}, f"name {seed}")
    rng = random.Random(seed)
    steps = ["begin", "end", "begin", "end", "write", "remove", "touch", "invalidate", "clear"]
    for _ in range(100):
        if rng.random() < 0.1:
            server.command("SCRIPT", "FLUSH")
        if rng.random() < 0.1:
            server.disconnect()
            time.sleep(0.01)
        schedule.do(rng.choice(["one", "two"]), rng.choice(steps))


# The server's clock


def test_the_time_of_a_server_is_within_its_bounds():
    clock = ServerTime()
    assert clock.due(time.monotonic())
    now = time.monotonic()
    clock.sample(now - 0.010, now + 1000.0 - 0.005, now)
    assert not clock.due(time.monotonic())
    later = time.monotonic()
    assert clock.earliest() <= time.monotonic() + 1000
    assert clock.latest() >= later + 1000
    assert clock.latest() - clock.earliest() < 0.010 + 2 * DRIFT + 0.5


def test_samples_narrow_the_bounds_down():
    clock = ServerTime()
    now = time.monotonic()
    for width in (0.5, 0.1, 0.3, 0.002, 0.2):
        clock.sample(now - width, now + 1000 - width / 2, now)
    low, high, _ = clock._bounds
    assert 1000 - 0.002 < low <= high < 1000 + 0.002


def test_a_clock_that_was_set_is_believed():
    for step in (-3600.0, -1.0, 1.0, 3600.0):
        clock = ServerTime()
        now = time.monotonic()
        clock.sample(now - 0.001, now + 1000, now)
        clock.sample(now - 0.001, now + 1000 + step, now)
        low, high, _ = clock._bounds
        assert low - 1e-6 <= 1000 + step <= high + 1e-6
        assert high - low <= 0.0011


def test_bounds_widen_with_time():
    clock = ServerTime()
    now = time.monotonic()
    clock.sample(now - 1000.001, now - 1000, now - 1000)
    assert clock.due(time.monotonic())
    assert clock.latest() - clock.earliest() > 2 * DRIFT * 999


@pytest.mark.parametrize(("reader", "writer"), [("down", None), (None, "up"), ("both", "both")])
def test_lives_are_not_longer_than_they_should_be(drive, make_proxy, server, reader, writer):
    """Over a long way, whichever half of it is the long one: nothing is served longer than it was to live."""

    def over(direction):
        proxy = make_proxy(server.address)
        if direction is not None:
            proxy.delay(0.2, direction=direction)
        driver = drive(proxy.url, timeout=5, connect_timeout=5)
        driver.epoch()
        return driver

    reading, writing = over(reader), over(writer)
    entry = writing.entry("A", life=10.0, keep=20.0, age=1.0)
    begun = time.monotonic()
    writing.write([("a", entry)])
    entry = reading.look("a")
    passed = time.monotonic() - begun
    assert 10.0 - passed - 1.0 < entry.life <= 10.0 - passed + 0.05
    assert 1.0 + passed - 0.05 <= entry.age <= 1.0 + passed + 1.0
