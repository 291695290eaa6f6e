"""Typed usage of the public API: `mypy --strict` must accept all of it, and see each revealed type as asserted."""

import asyncio
import datetime
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, assert_type

import numpy as np

import hotset


def classes() -> None:
    """Every class is a generic mutable mapping."""
    lru: hotset.LRUCache[str, int] = hotset.LRUCache(10)
    lfu = hotset.LFUCache[str, int](maxsize=10, getsizeof=lambda value: value + 1, ttl=5.0)
    arc = hotset.ARCCache[str, int](10, tti=datetime.timedelta(seconds=3))
    tinylfu = hotset.TinyLFUCache[str, int](1e6)
    fifo = hotset.FIFOCache[str, int](10, None, on_evict=listen)
    rr = hotset.RRCache[str, int](10, min)
    ttl = hotset.TTLCache[str, int](10, 60)
    tlru = hotset.TLRUCache[str, int](10, lambda key, value, now: now + len(key) + value)
    mappings: list[MutableMapping[str, int]] = [lru, lfu, arc, tinylfu, fifo, rr, ttl, tlru]
    caches: list[hotset.Cache[str, int]] = [lru, lfu, arc, tinylfu, fifo, rr, ttl, tlru]
    assert len(mappings) == len(caches)
    by_name: dict[str, type[hotset.Cache[str, int]]] = dict(hotset.POLICIES)
    assert by_name


def listen(key: str, value: int, cause: str) -> None:
    """A removal listener."""


def verbs(cache: hotset.LRUCache[str, int]) -> None:
    """Arguments and results of each verb."""
    cache["a"] = 1
    assert_type(cache["a"], int)
    assert_type(cache.get("a"), int | None)
    assert_type(cache.get("a", 5), int)
    assert_type(cache.peek("a"), int | None)
    assert_type(cache.pop("a"), int)
    assert_type(cache.popitem(), tuple[str, int])
    assert_type("a" in cache, bool)
    assert_type(cache.add("a", 1, ttl=5), bool)
    cache.set("a", 1, ttl=datetime.timedelta(seconds=1))
    assert_type(cache.touch("a"), bool)
    assert_type(cache.get_many(["a", "b"]), dict[str, int])
    cache.set_many({"a": 1})
    cache.set_many([("a", 1)], ttl=5)
    assert_type(cache.delete_many(["a"]), int)
    assert_type(cache.hottest(3), list[tuple[str, int]])
    assert_type(cache.coldest(), list[tuple[str, int]])
    assert_type(cache.expire(), list[tuple[str, int]])
    assert_type(cache.get_or_load("a", len), int)
    assert_type(cache.stats(), hotset.CacheStats)
    assert_type(cache.stats(reset=True).hits, int)
    assert_type(cache.stats().hit_ratio, float)
    assert_type(cache.stats().by_cause, dict[str, int])
    assert_type(iter(cache), Iterator[str])
    assert_type(cache.maxsize, float)
    assert_type(cache.currsize, float)
    cache.resize(5)


class Named(hotset.LFUCache[str, bytes]):
    """A typed subclass."""

    def __missing__(self, key: str) -> bytes:
        return key.encode()

    def getsizeof(self, value: bytes) -> int:
        """Weigh by length."""
        return len(value)


def replay() -> None:
    """NumPy in, a result out."""
    result = hotset.replay("lru", 100, np.arange(10, dtype=np.uint32))
    assert_type(result, hotset.ReplayResult)
    assert_type(result.hits, int)
    assert_type(result.hit_ratio, float)
    assert_type(result.byte_hit_ratio, float)


@hotset.cached
def bare(x: int, *, y: str = "") -> list[str]:
    """Keeps its signature."""
    return [y] * x


@hotset.cached(maxsize=10, policy="tinylfu", ttl=5, typed=True)
def called(x: int) -> str:
    """The same with options."""
    return str(x)


@hotset.lru_cache(maxsize=None)
def like_functools(x: int) -> str:
    """As functools.lru_cache."""
    return str(x)


@hotset.cache
def unbounded(x: int) -> str:
    """As functools.cache."""
    return str(x)


@hotset.cached
async def fetch(x: int) -> bytes:
    """A coroutine function stays one."""
    await asyncio.sleep(0)
    return bytes(x)


class Host:
    """A cached method."""

    @hotset.cached
    def method(self, x: int) -> str:
        """Bound like a method."""
        return str(x)


async def decorated() -> None:
    """What the decorators return."""
    assert_type(bare(1, y="a"), list[str])
    assert_type(called(1), str)
    assert_type(called.cache_info().hits, int)
    called.cache_clear()
    called.cache_parameters()["maxsize"]
    assert_type(like_functools(1), str)
    assert_type(unbounded(1), str)
    assert_type(await fetch(1), bytes)
    assert_type(Host().method(1), str)


if TYPE_CHECKING:
    # Each line is wrong on purpose; an ignore that is not needed is an error under --strict.
    hotset.LRUCache("10")  # type: ignore[arg-type]
    hotset.LRUCache[str, int](10)[5]  # type: ignore[index]
    hotset.LRUCache[str, int](10).set("a", "b")  # type: ignore[arg-type]
    hotset.TTLCache[str, int](10)  # type: ignore[call-arg]
    hotset.cached(policy="mru")  # type: ignore[call-overload]
