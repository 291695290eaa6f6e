"""What the tests of warming share. A module imports the fixtures that it wants, and those that they want."""

import asyncio

import pytest
from tiered.drivers import namespace, redis_tier

from hotset import MemoryTier, RedisTier, TieredCache
from hotset.names import name_of


@pytest.fixture
def ran(runner):
    """Run a warmer by one of its faces."""

    def run(warmer, patience=60.0):
        return warmer.run() if runner is None else runner.run(warmer.arun(), patience)

    return run


@pytest.fixture
def two(opened, shared_server):
    """Make caches of memory and Valkey."""

    def factory(name=None, *, url=None, size=10_000, policy="lru", tier=None, **options):
        shared = tier or redis_tier(url or shared_server.url)
        return opened([MemoryTier(size, policy=policy), shared], name=name, **options)

    return factory


@pytest.fixture
def store(shared_server):
    """Put values at the server, and return the name of their cache."""

    def put(values, *, name=None, tags=(), **options):
        name = name or namespace()
        with TieredCache(name, [redis_tier(shared_server.url)], **options) as cache:
            cache.set_many(values, tags=tags)
        return name

    return put


def remembered(cache, keys):
    """Return those of the keys that are in memory."""
    return [key for key in keys if cache._logic.memory.has(name_of(key))]


def acquainted(cache):
    """Have state and writers of what is there known: then a reading of which all is there is opened together."""
    tier = cache._levels[1].tier
    there = [name for name in ("k", "k0") if tier.read([name]).found[0].entry is not None]
    assert there
    assert tier.read(there).opened is not None or tier.read(there).found[0].entry.tags
    return cache


def served_alone(cache, keys):
    """Return the values that memory serves by itself, without a look at any other level."""
    before = cache.stats().levels[1].latency.count
    values = {key: cache.get(key) for key in keys}
    assert cache.stats().levels[1].latency.count == before
    return values


class Held(RedisTier):
    """A level whose answers to reads are held back until `done` was called."""

    def __init__(self, url):
        super().__init__(url, timeout=10.0, connect_timeout=10.0, heartbeat=0.05)
        self.done = None

    async def aread(self, names):
        reading = await super().aread(names)
        if self.done is not None:
            await asyncio.to_thread(self.done, names)
        return reading
