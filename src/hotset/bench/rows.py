"""What is timed: one function a row, its entrants and its bars.

Keys are random ints below 2**30 or strings such as `user:012345678`, hashed before the clock starts; a probe
is the very object that was stored, unless the row says "equal but different". The cache is full in every
row. `hit` rows call the bound `get`, whatever it returns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hotset.bench import timing
from hotset.bench.bars import Bar, Verdict, judge
from hotset.bench.clients import Client, Lineup, Memoizer, isolated
from hotset.bench.sizes import Scale
from hotset.bench.timing import Advance, Entrant, Figure, Lap, call_each, shuffled
from hotset.lab.generators import zipf

MAIN_POLICIES = ("lru", "lfu", "arc", "tinylfu", "auto")
ALL_POLICIES = (*MAIN_POLICIES, "fifo", "rr")
MakeKeys = Callable[[np.random.Generator, int], list[Any]]


@dataclass(frozen=True, slots=True)
class Sizes(Scale):
    """How big a row is; the bars hold for the default."""

    capacity: int = 100_000
    hot: int = 1_000
    lap: int = 100_000
    universe: int = 1_000_000
    many: int = 1_000_000
    batch: int = 100
    replay: int = 10_000_000
    laps: int = 5
    rounds: int = 5

    @classmethod
    def quick(cls) -> Sizes:
        """Return sizes for a first look: seconds a row."""
        return cls(lap=50_000, universe=300_000, many=200_000, replay=2_000_000, laps=3, rounds=3)

    @classmethod
    def tiny(cls) -> Sizes:
        """Return sizes that only show that everything runs."""
        return cls(400, 50, 300, 2_000, 400, 100, 5_000, 2, 2)


@dataclass(frozen=True, slots=True)
class Row:
    """One question of the benchmark: who is timed, what the ratios refer to, which bars hold."""

    key: str
    title: str
    base: str
    entrants: list[Entrant]
    bars: list[Bar]
    unit: str = "ns/op"


@dataclass(frozen=True, slots=True)
class Result:
    """A row with its figures."""

    row: Row
    figures: dict[str, Figure]
    verdicts: list[Verdict] = field(default_factory=list)

    def ratio(self, name: str) -> float | None:
        """Return the entrant's median as a multiple of the base's."""
        base = self.figures.get(self.row.base)
        return self.figures[name].median / base.median if base else None


def run(row: Row, sizes: Sizes, seed: int, advance: Advance | None = None, clock: str = "wall") -> Result:
    """Race the row's entrants and judge its bars."""
    figures = timing.race(row.entrants, sizes.rounds, seed, advance, clock)
    medians = {name: figure.median for name, figure in figures.items()}
    return Result(row, figures, judge(row.bars, medians))


# Keys


def int_keys(rng: np.random.Generator, count: int) -> list[Any]:
    """Return distinct random ints, each a real object."""
    keys: list[Any] = (rng.choice(1 << 29, size=count, replace=False) + 1000).tolist()
    return keys


def str_keys(rng: np.random.Generator, count: int) -> list[Any]:
    """Return distinct strings whose hash is known, as that of a key in use."""
    keys = [f"user:{number:09d}" for number in int_keys(rng, count)]
    call_each(hash, keys)
    return keys


def equal_copies(keys: Sequence[str]) -> list[Any]:
    """Return different objects that are equal to the strings."""
    copies = [(key + "!")[:-1] for key in keys]
    call_each(hash, copies)
    return copies


# Laps


def hit_laps(
    client: Client,
    sizes: Sizes,
    make_keys: MakeKeys,
    rng: np.random.Generator,
    *,
    hot: bool,
    equal: bool = False,
) -> Iterator[Lap]:
    """Hit a full cache: a small hot set again and again, or half of the entries once a lap."""
    keys = make_keys(rng, sizes.capacity)
    cache = client.make(sizes.capacity)
    client.fill(cache, keys)
    client.settle(cache)
    # Admission may have turned a few keys away.
    held = shuffled([key for key in keys if client.holds(cache, key)], rng)
    count = min(sizes.hot, len(held) // 2) if hot else len(held) // 2
    probes, others = held[:count], held[count : 2 * count]
    if equal:
        probes = equal_copies(probes)
    probes *= max(1, sizes.lap // count)
    loop, get = isolated(call_each), client.getter(cache)
    loop(get, others)
    for _ in range(sizes.laps):
        lap = shuffled(probes, rng)
        yield functools.partial(loop, get, lap), len(lap)


def memo_laps(memoizer: Memoizer, sizes: Sizes, make_keys: MakeKeys, rng: np.random.Generator) -> Iterator[Lap]:
    """Call a memoized function of one argument with a small hot set."""
    keys = make_keys(rng, sizes.capacity)
    call = memoizer.decorate(sizes.capacity)(lambda argument: argument)
    loop = isolated(call_each)
    loop(call, keys)
    chosen = shuffled(keys, rng)
    probes, others = chosen[: sizes.hot] * max(1, sizes.lap // sizes.hot), chosen[sizes.hot : 2 * sizes.hot]
    # Twice: a library with an admission filter may have turned the key away the first time.
    loop(call, probes)
    loop(call, others)
    for _ in range(sizes.laps):
        lap = shuffled(probes, rng)
        yield functools.partial(loop, call, lap), len(lap)


def evict_laps(client: Client, sizes: Sizes, make_keys: MakeKeys, rng: np.random.Generator) -> Iterator[Lap]:
    """Set keys that are new to a full cache: each evicts one."""
    keys = make_keys(rng, sizes.capacity + (sizes.laps + 1) * sizes.lap)
    cache = client.make(sizes.capacity)
    fill = isolated(client.fill)
    fill(cache, keys[: sizes.capacity + sizes.lap])
    for start in range(sizes.capacity + sizes.lap, len(keys), sizes.lap):
        yield functools.partial(fill, cache, keys[start : start + sizes.lap]), sizes.lap


def _insert_and_pop(store: dict[Any, Any], new: Sequence[Any], old: Sequence[Any]) -> None:
    pop = store.pop
    for key, oldest in zip(new, old, strict=True):
        store[key] = key
        pop(oldest)


def dict_insert_pop_laps(sizes: Sizes, make_keys: MakeKeys, rng: np.random.Generator) -> Iterator[Lap]:
    """Insert into a dict and pop its oldest key, which the loop is told: finding it would cost more."""
    keys = make_keys(rng, sizes.capacity + (sizes.laps + 1) * sizes.lap)
    store = {key: key for key in keys[: sizes.capacity]}
    loop = isolated(_insert_and_pop)
    for start in range(sizes.capacity, len(keys), sizes.lap):
        new = keys[start : start + sizes.lap]
        old = keys[start - sizes.capacity : start - sizes.capacity + len(new)]
        if start == sizes.capacity:
            loop(store, new, old)
        else:
            yield functools.partial(loop, store, new, old), len(new)


def read_through_laps(client: Client, sizes: Sizes, rng: np.random.Generator) -> Iterator[Lap]:
    """Read through a zipf(1.0) stream; as many requests as there are keys warm the cache up first."""
    lap = max(1, sizes.universe // 4)
    names = int_keys(rng, sizes.universe)
    ids = zipf(sizes.universe, sizes.universe + sizes.laps * lap, rng).tolist()
    requests = [names[number] for number in ids]
    cache = client.make(sizes.capacity)
    loop = isolated(client.read_through)
    loop(cache, requests[: sizes.universe])
    for start in range(sizes.universe, len(requests), lap):
        yield functools.partial(loop, cache, requests[start : start + lap]), lap


def _get_each(get: Callable[[Any], Any], batches: Sequence[Sequence[Any]]) -> None:
    for batch in batches:
        for key in batch:
            get(key)


def batch_laps(client: Client, sizes: Sizes, rng: np.random.Generator, *, bulk: bool, equal: bool) -> Iterator[Lap]:
    """Read batches of keys, in bulk or one by one; no key is read twice."""
    keys = str_keys(rng, sizes.many)
    cache = client.make(sizes.many)
    client.fill(cache, keys)
    held = shuffled([key for key in keys if client.holds(cache, key)], rng)
    lap = min(sizes.lap, len(held) // (sizes.laps + 1)) // sizes.batch * sizes.batch
    loop: Callable[..., None] = isolated(call_each if bulk else _get_each)
    call = cache.get_many if bulk else client.getter(cache)
    for number in range(sizes.laps + 1):
        probes = held[number * lap : (number + 1) * lap]
        if equal:
            probes = equal_copies(probes)
        batches = [probes[start : start + sizes.batch] for start in range(0, lap, sizes.batch)]
        if number == 0:
            loop(call, batches)
        else:
            yield functools.partial(loop, call, batches), lap


# Rows


def _entrants(
    clients: Sequence[Client], laps: Callable[..., Iterator[Lap]], *args: Any, **kwargs: Any
) -> list[Entrant]:
    return [Entrant(client.name, functools.partial(_bind, laps, client, args, kwargs)) for client in clients]


def _bind(
    laps: Callable[..., Iterator[Lap]],
    subject: Client | Memoizer,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    rng: np.random.Generator,
) -> Iterator[Lap]:
    return laps(subject, *args, rng, **kwargs)


def _caches(lineup: Lineup, policies: Sequence[str] = ALL_POLICIES) -> list[Client]:
    """Return dict and every cache that has a `get`, without time to live."""
    return [client for client in lineup.select(("none", *policies)) if not client.calls_only]


def _peers(lineup: Lineup, policies: Sequence[str] = ALL_POLICIES) -> tuple[str, ...]:
    return tuple(client.name for client in _caches(lineup, policies) if client.name != "dict" and not _ours(client))


def _ours(client: Client) -> bool:
    return client.distribution == "hotset"


def hit_str_hot(lineup: Lineup, sizes: Sizes) -> Row:
    """LRU <= 0.90 x dict.get; LFU, ARC <= 1.15; TinyLFU <= 1.5; Auto <= 1.6 x LRU."""
    limits = {"hotset LRU": 0.90, "hotset LFU": 1.15, "hotset ARC": 1.15, "hotset TinyLFU": 1.5}
    return Row(
        "hit-str-hot",
        f"hit, str key, {sizes.hot:,} hot keys of {sizes.capacity:,}",
        "dict",
        _entrants(_caches(lineup, MAIN_POLICIES), hit_laps, sizes, str_keys, hot=True),
        [*(Bar(name, ("dict",), limit) for name, limit in limits.items()), Bar("hotset Auto", ("hotset LRU",), 1.6)],
    )


def hit_int_hot(lineup: Lineup, sizes: Sizes) -> Row:
    """LRU <= 0.95 x dict.get."""
    return Row(
        "hit-int-hot",
        f"hit, int key, {sizes.hot:,} hot keys of {sizes.capacity:,}",
        "dict",
        _entrants(_caches(lineup, MAIN_POLICIES), hit_laps, sizes, int_keys, hot=True),
        [Bar("hotset LRU", ("dict",), 0.95)],
    )


def hit_str_equal(lineup: Lineup, sizes: Sizes) -> Row:
    """LRU <= 1.05 x dict.get and <= 0.7 x the best peer."""
    return Row(
        "hit-str-equal",
        f"hit, str key, {sizes.capacity:,} entries, equal but different key objects",
        "dict",
        _entrants(_caches(lineup, MAIN_POLICIES), hit_laps, sizes, str_keys, hot=False, equal=True),
        [
            Bar("hotset LRU", ("dict",), 1.05),
            Bar("hotset LRU", _peers(lineup, MAIN_POLICIES), 0.7, "best peer"),
        ],
    )


def _set_evict(lineup: Lineup, sizes: Sizes, kind: str, make_keys: MakeKeys) -> Row:
    clients = [client for client in _caches(lineup) if client.name != "dict"]
    base = "dict insert + pop"
    return Row(
        f"set-evict-{kind}",
        f"set of a new {kind} key with eviction, capacity {sizes.capacity:,}",
        base,
        [
            Entrant(base, functools.partial(dict_insert_pop_laps, sizes, make_keys)),
            *_entrants(clients, evict_laps, sizes, make_keys),
        ],
        [Bar("hotset LRU", (base,), 0.55)],
    )


def set_evict_int(lineup: Lineup, sizes: Sizes) -> Row:
    """LRU <= 0.55 x dict insert + pop of the oldest."""
    return _set_evict(lineup, sizes, "int", int_keys)


def set_evict_str(lineup: Lineup, sizes: Sizes) -> Row:
    """LRU <= 0.55 x dict insert + pop of the oldest."""
    return _set_evict(lineup, sizes, "str", str_keys)


def read_through(lineup: Lineup, sizes: Sizes) -> Row:
    """LRU <= 0.75 x an unbounded dict; every policy faster than every peer of the same policy."""
    clients = lineup.select(("none", *ALL_POLICIES))
    bars = [Bar("hotset LRU", ("dict",), 0.75)]
    for client in clients:
        if _ours(client):
            peers = tuple(peer.name for peer in clients if peer.policy == client.policy and not _ours(peer))
            if peers:
                bars.append(Bar(client.name, peers, 1.0, f"best {client.policy} peer", strict=True))
    return Row(
        "read-through",
        f"zipf(1.0) read-through, {sizes.universe:,} keys, capacity {sizes.capacity:,}, dict unbounded",
        "dict",
        _entrants(clients, read_through_laps, sizes),
        bars,
    )


def _get_many(lineup: Lineup, sizes: Sizes, key: str, objects: str, *, equal: bool) -> Row:
    ours = [client for client in lineup.select(MAIN_POLICIES) if _ours(client)]
    base = "loop of dict.get"
    arguments = {"bulk": False, "equal": equal}
    entrants = [Entrant(base, functools.partial(_bind, batch_laps, lineup.named("dict"), (sizes,), arguments))]
    bars = []
    for client in ours:
        name = f"{client.name} get_many"
        entrants.append(
            Entrant(name, functools.partial(_bind, batch_laps, client, (sizes,), {"bulk": True, "equal": equal}))
        )
        bars.append(Bar(name, (base,), 0.35))
    title = f"get_many, batches of {sizes.batch}, {sizes.many:,} entries, str, {objects} key objects, per key"
    return Row(key, title, base, entrants, bars, "ns/key")


def get_many(lineup: Lineup, sizes: Sizes) -> Row:
    """<= 0.35 x a loop of dict.get, per key."""
    return _get_many(lineup, sizes, "get-many", "equal but different", equal=True)


def get_many_same(lineup: Lineup, sizes: Sizes) -> Row:
    """<= 0.35 x a loop of dict.get, per key."""
    return _get_many(lineup, sizes, "get-many-same", "the stored", equal=False)


def _memo(lineup: Lineup, sizes: Sizes, kind: str, make_keys: MakeKeys) -> Row:
    base = "functools.lru_cache"
    return Row(
        f"memo-{kind}",
        f"memoized call, one {kind} argument, hit, {sizes.hot:,} hot keys of {sizes.capacity:,}",
        base,
        [
            Entrant(memoizer.name, functools.partial(_bind, memo_laps, memoizer, (sizes, make_keys), {}))
            for memoizer in lineup.memoizers
        ],
        [Bar("hotset.lru_cache", (base,), 0.75), Bar("hotset.cached + ttl", (base,), 1.1)],
    )


def memo_int(lineup: Lineup, sizes: Sizes) -> Row:
    """hotset.lru_cache <= 0.75 x functools.lru_cache; hotset.cached with ttl <= 1.1."""
    return _memo(lineup, sizes, "int", int_keys)


def memo_str(lineup: Lineup, sizes: Sizes) -> Row:
    """hotset.lru_cache <= 0.75 x functools.lru_cache; hotset.cached with ttl <= 1.1."""
    return _memo(lineup, sizes, "str", str_keys)


def hit_ttl(lineup: Lineup, sizes: Sizes) -> Row:
    """With ttl= set, a hit <= 1.3 x the same cache without."""
    plain = [client for client in lineup.select(MAIN_POLICIES) if _ours(client)]
    timed = lineup.select((*MAIN_POLICIES, "fifo"), ttl=True)
    timed = [client for client in timed if client.name != "hotset FIFO + ttl"]
    return Row(
        "hit-ttl",
        f"hit with a time to live, str key, {sizes.hot:,} hot keys of {sizes.capacity:,}",
        "dict",
        _entrants([lineup.named("dict"), *plain, *timed], hit_laps, sizes, str_keys, hot=True),
        [Bar(f"{client.name} + ttl", (client.name,), 1.3) for client in plain],
    )


ROWS: dict[str, Callable[[Lineup, Sizes], Row]] = {
    "hit-str-hot": hit_str_hot,
    "hit-int-hot": hit_int_hot,
    "hit-str-equal": hit_str_equal,
    "set-evict-int": set_evict_int,
    "set-evict-str": set_evict_str,
    "read-through": read_through,
    "get-many": get_many,
    "get-many-same": get_many_same,
    "memo-int": memo_int,
    "memo-str": memo_str,
    "hit-ttl": hit_ttl,
}
