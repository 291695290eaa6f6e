"""Typed usage of the public API: `mypy --strict` must accept all of it, and see each revealed type as asserted."""

import array
import asyncio
import copy
import datetime
import functools
import math
import pickle
from collections.abc import Callable, Coroutine, Hashable, ItemsView, Iterator, KeysView, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, assert_type

import numpy as np

import hotset
from hotset.annotations import BoundMemoized, Cause, Lifetime, Memoized, Timer
from hotset.warming import StrategyReport, WarmingReport, Warmup, from_keys, from_tier

T = TypeVar("T")


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
    sieve, clock = hotset.SieveCache[str, int](10), hotset.ClockCache[str, int](10)
    slru, s3fifo = hotset.SLRUCache[str, int](10), hotset.S3FIFOCache[str, int](10)
    twoq, lirs = hotset.TwoQCache[str, int](10), hotset.LIRSCache[str, int](10)
    gdsf = hotset.GDSFCache[str, int](10, getsizeof=lambda value: value)
    gdsf.set("k", 1, cost=0.5, priority=math.inf)
    assert_type(gdsf.add("k", 1, 5, cost=2), bool)
    mappings: list[MutableMapping[str, int]] = [lru, lfu, arc, tinylfu, fifo, rr, ttl, tlru]
    caches: list[hotset.Cache[str, int]] = [lru, lfu, arc, tinylfu, fifo, rr, ttl, tlru]
    mappings += [sieve, clock, slru, s3fifo, twoq, lirs, gdsf]
    caches += [sieve, clock, slru, s3fifo, twoq, lirs, gdsf]
    assert len(mappings) == len(caches)
    by_name: dict[str, type[hotset.Cache[str, int]]] = dict(hotset.POLICIES)
    assert by_name


def listen(key: str, value: int, cause: str) -> None:
    """A removal listener."""


def arguments() -> None:
    """Arguments give the types of keys and values where nothing else does."""
    listening = hotset.LRUCache(10, on_evict=listen)
    assert_type(listening, hotset.LRUCache[str, int])
    assert_type(listening.on_evict, Callable[[str, int, Cause], object] | None)
    weighed = hotset.TTLCache[str, bytes](1e6, datetime.timedelta(hours=1), getsizeof=len)
    assert_type(weighed.getsizeof(b""), float)
    assert_type(weighed.ttl, Lifetime | None)
    assert_type(weighed.timer, Timer)
    picky = hotset.RRCache[str, int](10, pick)
    assert_type(picky.choice(["a"]), str)
    hotset.TTLCache[str, int](10, 60, timer=datetime.datetime.now).expire(datetime.datetime.now())  # noqa: DTZ005
    hotset.TLRUCache[str, int](10, until, datetime.datetime.now)
    hotset.TLRUCache[str, int](10, lambda _key, value, now: now + value, timer=lambda: 0)


def pick(keys: list[str]) -> str:
    """A victim."""
    return keys[0]


def until(key: str, value: int, now: datetime.datetime) -> datetime.datetime:
    """When an entry expires."""
    return now + datetime.timedelta(seconds=len(key) + value)


def mapping(cache: hotset.TinyLFUCache[str, int], optional: hotset.LRUCache[str, int | None]) -> None:
    """What every mutable mapping can do."""
    assert_type(cache.get("a", None), int | None)
    assert_type(cache.get("a", default=b""), int | bytes)
    assert_type(cache.peek("a", ""), int | str)
    assert_type(cache.pop("a", None), int | None)
    assert_type(cache.pop("a", 1), int)
    assert_type(cache.pop("a", default=""), int | str)
    assert_type(cache.setdefault("a", 1), int)
    assert_type(optional.setdefault("a"), int | None)
    assert_type(cache.keys(), KeysView[str])
    assert_type(cache.values(), ValuesView[int])
    assert_type(cache.items(), ItemsView[str, int])
    assert_type(dict(cache), dict[str, int])
    assert_type({**cache}, dict[str, int])
    assert_type([value for _, value in cache.items()], list[int])
    assert_type(len(cache), int)
    assert_type(cache == {}, bool)
    assert_type(cache.copy(), hotset.TinyLFUCache[str, int])
    assert_type(copy.deepcopy(cache), hotset.TinyLFUCache[str, int])
    assert_type(pickle.dumps(cache), bytes)
    cache.update({"a": 1})
    cache.update([("a", 1)])
    cache.update({"a": 1}, b=2)
    cache.update(b=2)
    cache.update(cache)
    cache.clear()
    del cache["a"]


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


class Nested(hotset.Cache[str, list[T]]):
    """A subclass that is generic itself, and asks its base."""

    def getsizeof(self, value: list[T], /) -> float:
        """Weigh by length, and as the base does."""
        return len(value) + super().getsizeof(value)

    def popitem(self) -> tuple[str, list[T]]:
        """As the base."""
        return super().popitem()


def replay() -> None:
    """NumPy in, a result out."""
    result = hotset.replay("lru", 100, np.arange(10, dtype=np.uint32))
    assert_type(result, hotset.ReplayResult)
    assert_type(result.hits, int)
    assert_type(result.hit_ratio, float)
    assert_type(result.byte_hit_ratio, float)
    for policy in hotset.POLICIES:
        hotset.replay(policy, 100, array.array("q", [1, 2]), sizes=memoryview(b"12"))


@hotset.cached
def bare(x: int, *, y: str = "") -> list[str]:
    """Keeps its signature."""
    return [y] * x


@hotset.cached(maxsize=10, policy="tinylfu", ttl=5, typed=True)
def called(x: int) -> str:
    """The same with options."""
    return str(x)


def path_of(path: str, **_: int) -> str:
    """A key of only some arguments."""
    return path


@hotset.cached(key=path_of, getsizeof=len, on_evict=listen, timer=lambda: 0.0)
def untold(path: str, *, depth: int = 0) -> Any:
    """A result of any type leaves the arguments theirs."""
    return depth, path


@hotset.cached
def echo(x: T) -> list[T]:
    """Generic."""
    return [x]


@hotset.lru_cache
def bare_like_functools(x: int, /, *rest: str) -> str:
    """As functools.lru_cache without arguments."""
    return str(x) + "".join(rest)


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


@hotset.cached(ttl=60, cache=hotset.TTLCache(10, 60))
async def fetch_untold(x: int) -> Any:
    """The same, of any type."""
    await asyncio.sleep(0)
    return x


class Host:
    """Cached methods."""

    @hotset.cached
    def method(self, x: int, *, y: str = "") -> str:
        """Bound like a method."""
        return str(x) + y

    @hotset.cached(maxsize=10)
    async def fetch(self, x: int) -> bytes:
        """A coroutine method."""
        await asyncio.sleep(0)
        return bytes(x)

    @hotset.lru_cache(maxsize=10)
    def like_functools(self, x: int) -> str:
        """One cache for all instances."""
        return str(x)

    @classmethod
    @hotset.cached
    def of_class(cls, x: int) -> str:
        """Bound to the class."""
        return cls.__name__ * x

    @staticmethod
    @hotset.cached
    def of_nothing(x: int) -> str:
        """Not bound."""
        return str(x)

    @property
    @hotset.cached
    def attribute(self) -> list[int]:
        """Called by being read."""
        return []


class Box(Generic[T]):
    """Generic by its class."""

    @hotset.cached
    def twice(self, x: T) -> tuple[T, T]:
        """The class's type."""
        return x, x


async def decorated() -> None:
    """What the decorators return."""
    assert_type(bare(1, y="a"), list[str])
    assert_type(called(1), str)
    assert_type(called.cache_info(), hotset.CacheInfo)
    assert_type(called.cache_info().hits, int)
    called.cache_clear()
    assert_type(called.cache_parameters()["maxsize"], float | None)
    assert_type(called.cache_parameters()["typed"], bool)
    assert_type(called.__wrapped__(1), str)
    assert_type(called.__name__, str)
    assert_type(called.cache, hotset.Cache[Hashable, str] | None)
    assert_type(untold(path="a", depth=1), Any)
    assert_type(echo(""), list[str])
    assert_type(like_functools(1), str)
    assert_type(bare_like_functools(1, "a"), str)
    assert_type(unbounded(1), str)
    assert_type(hotset.cache(len)("a"), int)
    assert_type(hotset.cached(functools.partial(called, 1))(), str)
    plain: list[Callable[[int], str]] = [called, like_functools, unbounded]
    exact: list[Memoized[[int], str]] = [
        hotset.cached(str_of),
        hotset.cached(ttl=5)(str_of),
        hotset.lru_cache()(str_of),
    ]
    assert len(plain) == len(exact)


def str_of(_x: int, /) -> str:
    """By position only, as Callable and Memoized of a list have it."""
    return ""


async def decorated_coroutine_functions() -> None:
    """Awaited once called; the cache holds what they await to."""
    assert_type(await fetch(1), bytes)
    assert_type(await asyncio.create_task(fetch(1)), bytes)
    assert_type(await asyncio.gather(fetch(1), fetch(2)), tuple[bytes, bytes])
    assert_type(await fetch_untold(1), Any)
    assert_type(fetch.cache, hotset.Cache[Hashable, bytes] | None)
    assert_type(fetch.cache_info().misses, int)
    plain: list[Callable[[int], Coroutine[Any, Any, bytes]]] = [fetch]
    assert len(plain) == 1


async def decorated_methods(host: Host, box: Box[int]) -> None:
    """Bound ones lose their first argument only."""
    assert_type(host.method(1), str)
    assert_type(host.method(x=1, y="a"), str)
    assert_type(host.method.cache, hotset.Cache[Hashable, str])
    assert_type(host.method.cache_info().hits, int)
    host.method.cache_clear()
    assert_type(Host.method(host, 1), str)
    assert_type(Host.method.cache_info(), hotset.CacheInfo)
    assert_type(await host.fetch(1), bytes)
    assert_type(host.fetch.cache, hotset.Cache[Hashable, bytes])
    assert_type(host.like_functools(1), str)
    assert_type(host.of_class(1), str)
    assert_type(Host.of_nothing(1), str)
    assert_type(host.attribute, list[int])
    assert_type(box.twice(1), tuple[int, int])
    assert_type(Host.of_class(1), str)
    assert_type(Host.of_class.cache_info().hits, int)
    assert_type(host.of_nothing(1), str)
    plain: list[Callable[[int], str]] = [host.method, host.of_class, Host.of_class, Host.of_nothing]
    bound: list[BoundMemoized[[int], str]] = [hotset.cached(of_two).__get__(host, Host)]
    assert len(plain) > len(bound)


async def warming(cache: hotset.TieredCache[str, int]) -> None:
    """Strategies are ready-made, functions or coroutine functions."""

    def plain(warm: Warmup) -> int:
        return warm.load(["a"])

    async def coroutine(warm: Warmup) -> None:
        assert_type(await warm.aload(["a"]), int)

    warmer = hotset.CacheWarmer(cache, rate=500, timeout=datetime.timedelta(minutes=1), progress=print)
    warmer.add("keys", from_keys(["a", "b"])).add("tier", from_tier(limit=5)).add("plain", plain, timeout="5s")
    warmer.add("coroutine", coroutine)
    assert_type(await warmer.arun(), WarmingReport)
    assert_type(warmer.run()["keys"], StrategyReport)
    assert_type(warmer.report, WarmingReport | None)
    assert_type(warmer.save("hot"), int)


class Options(TypedDict, total=False):
    """Options that a program keeps together."""

    ttl: str


async def tiered(cache: hotset.TieredCache[str, int]) -> None:
    """What may be missing may be None, unless there is a default; options have names and types."""
    assert_type(cache.get("a"), int | None)
    assert_type(cache.get("a", 0), int)
    assert_type(cache.get("a", "none"), int | str)
    assert_type(cache.get("a", None, ttl="5m"), int | None)
    assert_type(await cache.aget("a"), int | None)
    assert_type(await cache.aget("a", b""), int | bytes)
    assert_type(cache.get_or_load("a", len, ttl=datetime.timedelta(seconds=5)), int | None)
    assert_type(cache.get_many(["a"], stale_while_revalidate="30s"), dict[str, int])
    assert_type(await cache.aget_many(["a"]), dict[str, int])
    kept: Options = {"ttl": "90s"}
    cache.set("a", 1, tags=["red"], **kept)

    @cache.cached(key="user:{number}", ttl="5m")
    def found(number: int) -> str:
        return str(number)

    @cache.cached(key=lambda number: number, tags=["users"])
    async def awaited(number: int) -> str:
        return str(number)

    assert_type(found(1), str)
    assert_type(await awaited(1), str)
    assert_type(found.__wrapped__(1), str)
    found.key_of(1)
    if TYPE_CHECKING:
        cache.get("a") + 1  # type: ignore[operator]
        cache.get(1)  # type: ignore[call-overload]
        cache.get("a", tll="5m")  # type: ignore[call-overload]
        cache.get("a", max_loads=5)  # type: ignore[call-overload]
        cache.get_many(["a"], ttl=b"5m")  # type: ignore[arg-type]
        found("a")  # type: ignore[arg-type]
        hotset.TieredCache("a", hotset.MemoryTier(10))  # type: ignore[arg-type]
        hotset.TieredCache("a", [], max_load=10)  # type: ignore[call-arg]


def of_two(_host: Host, _x: int, /) -> str:
    """A method, before it is one."""
    return ""


if TYPE_CHECKING:
    # Each line is wrong on purpose; an ignore that is not needed is an error under --strict.
    hotset.LRUCache("10")  # type: ignore[arg-type]
    hotset.LRUCache[str, int](10)[5]  # type: ignore[index]
    hotset.LRUCache[str, int](10).set("a", "b")  # type: ignore[arg-type]
    hotset.TTLCache[str, int](10)  # type: ignore[call-arg]
    hotset.cached(policy="mru")  # type: ignore[call-overload]
    hotset.LRUCache[str, int](10, on_evict=lambda key: None)  # type: ignore[arg-type, misc]
    hotset.LRUCache[str, int](10, timer=lambda: "now")  # type: ignore[arg-type, return-value]
    hotset.TLRUCache[str, int](10, until)  # type: ignore[arg-type]
    hotset.LRUCache[str, int](10).get(key="a")  # type: ignore[call-overload]
    hotset.LRUCache[str, int](10).setdefault("a")  # type: ignore[call-arg]
    hotset.LRUCache[str, int](10).maxsize = 5  # type: ignore[misc]
    hotset.LRUCache[str, int](10).update({1: 1})  # type: ignore[dict-item]
    unhashable: Hashable = hotset.LRUCache[str, int](10)  # type: ignore[assignment]
    hotset.replay("lru", 10, [1, 2])  # type: ignore[arg-type]
    hotset.cached(maxsize="10")  # type: ignore[call-overload]
    hotset.lru_cache(ttl=5)  # type: ignore[call-overload]
    bare("a")  # type: ignore[arg-type]
    bare(1, z="a")  # type: ignore[call-arg]
    called()  # type: ignore[call-arg]
    untold(1)  # type: ignore[arg-type]
    bare_like_functools(x=1)  # type: ignore[call-arg]
    unbounded("a")  # type: ignore[arg-type]
    called.cache.clear()  # type: ignore[union-attr]
    called.hit()  # type: ignore[attr-defined]
    fetch(1) + b""  # type: ignore[operator]
    fetch_untold("a")  # type: ignore[arg-type, unused-coroutine]
    Host().method("a")  # type: ignore[arg-type]
    Host().method(1, z="a")  # type: ignore[call-arg]
    Host().of_class("a")  # type: ignore[arg-type]
    Host.of_class("a")  # type: ignore[arg-type]
    Host.of_nothing("a")  # type: ignore[arg-type]
    Host.method(1)  # type: ignore[call-arg, arg-type]
    Host().method(Host())  # type: ignore[arg-type]
    Box[int]().twice("a")  # type: ignore[arg-type]
