"""The hot paths for a developer at work: `pytest benchmarks/test_hot_paths.py`.

No part of the test suite and no assertion about time; `--benchmark-compare` shows what a change did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import hotset
from hotset.bench.timing import call_each

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

CAPACITY = 100_000
HOT = 1_000

pytestmark = pytest.mark.parametrize("policy", list(hotset.POLICIES))


def full(policy: str, ttl: float | None = None) -> tuple[hotset.Cache, list[str]]:
    cache = hotset.POLICIES[policy](CAPACITY, ttl=ttl)
    keys = [f"user:{number:09d}" for number in range(CAPACITY)]
    for key in keys:
        cache[key] = key
    return cache, keys[:: CAPACITY // HOT]


@pytest.mark.parametrize("ttl", [None, 3600.0], ids=["no ttl", "ttl"])
def test_hit(benchmark: BenchmarkFixture, policy: str, ttl: float | None) -> None:
    cache, hot = full(policy, ttl)
    benchmark(call_each, cache.get, hot)


def test_miss(benchmark: BenchmarkFixture, policy: str) -> None:
    cache, hot = full(policy)
    benchmark(call_each, cache.get, [key + "!" for key in hot])


def test_set_with_eviction(benchmark: BenchmarkFixture, policy: str) -> None:
    cache, _ = full(policy)
    numbers = iter(range(10**12))

    def fresh() -> tuple[tuple[list[int]], dict[str, object]]:
        return ([next(numbers) for _ in range(HOT)],), {}

    def store(keys: list[int]) -> None:
        for key in keys:
            cache[key] = key

    benchmark.pedantic(store, setup=fresh, rounds=200)


def test_get_many(benchmark: BenchmarkFixture, policy: str) -> None:
    cache, hot = full(policy)
    benchmark(cache.get_many, hot[:100])


def test_memoized_call(benchmark: BenchmarkFixture, policy: str) -> None:
    call = hotset.cached(maxsize=CAPACITY, policy=policy)(lambda argument: argument)
    hot = list(range(1000, 1000 + HOT))
    call_each(call, hot)
    benchmark(call_each, call, hot)
