"""What the tests of the tiered cache share: real servers, an origin that counts, and both faces of a cache by one name.

A module imports the fixtures that it wants, and those that they want.
"""

import asyncio
import functools
import os
import threading
import time

import pytest

from hotset import MemoryTier, RedisTier, TieredCache
from hotset.testing.proxy import ChaosProxy
from hotset.testing.servers import MissingServerError, ValkeyServer, valkey_binary

PATIENCE = 20.0  # seconds until a test that waits gives up; nothing is measured by it

# The methods that have a twin for asyncio.
VERBS = frozenset(
    {"clear", "close", "delete", "expire", "explain", "get", "get_many", "get_or_load", "invalidate", "remove"}
    | {"set", "set_many", "touch"}
)


def eventually(condition, patience=PATIENCE):
    """Wait until a condition holds; return its value, or fail when it does not in time."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {patience} s"
        time.sleep(0.005)
    return value


def namespace():
    """Return a name that no other test has."""
    return f"test-{os.urandom(6).hex()}"


def listening(cache):
    """Wait until the streams of a cache are alive, so that memory serves by itself."""
    eventually(lambda: cache._guard.until > time.monotonic())
    return cache


def counted(server, *commands):
    """Return how many of these commands a server has been given."""
    calls = {}
    for line in server.command("INFO", "commandstats").decode().splitlines():
        name, _, rest = line.partition(":calls=")
        calls[name.removeprefix("cmdstat_")] = int(rest.partition(",")[0] or 0)
    return sum(calls.get(command, 0) for command in commands)


def redis_tier(url, *, timeout=5.0, **options):
    """Return a level on a server, by default one that never times out, and whose stream ends soon."""
    return RedisTier(url, **{"timeout": timeout, "connect_timeout": timeout, "heartbeat": 0.05, **options})


class LoopThread:
    """An event loop that goes on in a thread, so that what is in the background gets on."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, awaitable, patience=PATIENCE):
        async def wait():
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(patience)

    def close(self):
        async def end():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()


class Faced:
    """A cache by its plain methods, or by those for asyncio; all else is the cache's own."""

    def __init__(self, cache, runner):
        self.cache = cache
        self.runner = runner

    def __getattr__(self, name):
        if self.runner is None or name not in VERBS:
            return getattr(self.cache, name)
        return functools.partial(self._awaited, getattr(self.cache, f"a{name}"))

    def _awaited(self, method, *args, **kwargs):
        return self.runner.run(method(*args, **kwargs))

    def call(self, function, *args, **kwargs):
        """Call a plain or a coroutine function."""
        result = function(*args, **kwargs)
        return self.runner.run(result) if asyncio.iscoroutine(result) else result


class Origin:
    """A loader, and what it is a loader of: remembers what it was asked, fails and waits on demand."""

    def __init__(self, values=None, *, delay=0.0):
        self.values = values  # None: every key has the value "of KEY"
        self.calls = []
        self.failure = None
        self.delay = delay
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, key):
        self.calls.append(key)
        assert self.gate.wait(PATIENCE)
        time.sleep(self.delay)
        return self.result(key)

    async def aload(self, key):
        """The same as a coroutine function."""
        self.calls.append(key)
        deadline = time.monotonic() + PATIENCE
        while not self.gate.is_set():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)
        await asyncio.sleep(self.delay)
        return self.result(key)

    def many(self, keys):
        """The same of many keys: those that there are."""
        self.calls.append(list(keys))
        assert self.gate.wait(PATIENCE)
        time.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        return {key: self.result(key) for key in keys if self.values is None or key in self.values}

    def result(self, key):
        if self.failure is not None:
            raise self.failure
        return f"of {key}" if self.values is None else self.values[key]


@pytest.fixture(scope="session")
def shared_server():
    """One server for all tests that do not harm it; each has a namespace of its own."""
    try:
        valkey_binary()
    except MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(f"tests of tiers must run in CI: {error}")
        pytest.skip(str(error))
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def own_server(shared_server):
    """A server that the test may kill."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def own_proxy(own_server):
    """A proxy in front of `own_server`."""
    with ChaosProxy(own_server.address) as proxy:
        yield proxy


@pytest.fixture
def loop_thread():
    """An event loop in a thread."""
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(params=["sync", "async"])
def runner(request):
    """What makes an asyncio method be called: None for the plain face."""
    return None if request.param == "sync" else request.getfixturevalue("loop_thread")


@pytest.fixture(params=["memory", "valkey", "memory+valkey"])
def levels(request):
    """Which levels a cache has."""
    return request.param


@pytest.fixture
def opened(loop_thread):
    """Make caches that are closed when the test is over, before the loop that they may have been used on."""
    made = []

    def factory(tiers, *args, name=None, **options):
        made.append(TieredCache(name or namespace(), tiers, *args, **options))
        return made[-1]

    yield factory
    for cache in made:
        cache.close()


@pytest.fixture
def build(runner, opened):
    """Make caches of given tiers, by one of their faces."""

    def factory(tiers, *args, **options):
        return Faced(opened(tiers, *args, **options), runner)

    return factory


@pytest.fixture
def make(build, levels, shared_server):
    """Make caches of the chosen levels, by one of their faces."""

    def factory(*args, policy="lru", **options):
        tiers = []
        if "memory" in levels:
            tiers.append(MemoryTier(1000, policy=policy))
        if "valkey" in levels:
            tiers.append(redis_tier(shared_server.url))
        return build(tiers, *args, **options)

    return factory


@pytest.fixture
def make_two(build, shared_server):
    """Make caches of memory and Valkey."""

    def factory(*args, name=None, policy="lru", url=None, **options):
        tiers = [MemoryTier(1000, policy=policy), redis_tier(url or shared_server.url)]
        return build(tiers, *args, name=name, **options)

    return factory
