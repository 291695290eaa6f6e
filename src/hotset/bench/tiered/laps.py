"""The timed loops, for libraries of plain and of coroutine functions.

All laps of an asynchronous contestant run on one event loop; its functions are awaited one after the other within one
coroutine, so that starting the loop is less than a hundredth of the figure.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Self, cast

from hotset.bench.clients import isolated
from hotset.bench.tiered.values import auser, fresh, user, user_keys
from hotset.bench.timing import call_each, shuffled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from hotset.bench.tiered.clients import Client, Stand
    from hotset.bench.tiered.place import Place
    from hotset.bench.tiered.rows import Sizes
    from hotset.bench.timing import Lap

__all__ = ["concurrent_laps", "hit_laps", "many_laps", "miss_laps", "shared_laps"]


class _Driver:
    """Calls a client's functions to their ends, whichever kind they are."""

    def __init__(self, client: Client) -> None:
        self.asynchronous = client.asynchronous
        self.runner = asyncio.Runner()
        self._loop: Any = isolated(_acall_each if client.asynchronous else call_each)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()

    def make(self, setup: Callable[..., Stand], *arguments: Any) -> Stand:
        """Return a stand; that of an asynchronous library is made with the event loop running."""

        async def make() -> Stand:
            return setup(*arguments)

        return self.runner.run(make()) if self.asynchronous else setup(*arguments)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns."""
        if not self.asynchronous:
            return function(*arguments)
        return self.runner.run(_awaited(function, arguments))

    def each(self, function: Callable[[Any], Any], items: list[Any]) -> None:
        """Call a function for each of some items."""
        if self.asynchronous:
            self.runner.run(self._loop(function, items))
        else:
            self._loop(function, items)

    def fill(self, stand: Stand, keys: list[str]) -> None:
        """Store the value of each key."""
        for key in keys:
            self.call(stand.put, key, user(key))


async def _awaited(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return await function(*arguments)


async def _acall_each(call: Callable[[Any], Any], keys: list[Any]) -> None:
    for key in keys:
        await call(key)


def hit_laps(client: Client, place: Place, sizes: Sizes, rng: np.random.Generator, *, equal: bool) -> Iterator[Lap]:
    """Hit a small hot set in memory; by the keys that were stored, or by equal new ones that are used once."""
    place.empty()
    keys = user_keys(rng, sizes.entries)
    with _Driver(client) as driver:
        stand = driver.make(client.memory, place, 2 * sizes.entries)
        try:
            driver.fill(stand, keys)
            probes = shuffled(keys, rng)[: sizes.hot]
            driver.each(stand.get, keys)
            if stand.settle is not None:
                stand.settle(probes)
            probes *= max(1, sizes.lap // sizes.hot)
            for _ in range(sizes.laps):
                lap = shuffled(probes, rng)
                if equal:
                    lap = fresh(lap)
                yield functools.partial(driver.each, stand.get, lap), len(lap)
        finally:
            driver.call(stand.close)


def shared_laps(client: Client, place: Place, sizes: Sizes, rng: np.random.Generator) -> Iterator[Lap]:
    """Read keys that are at the server, each once."""
    place.empty()
    keys = user_keys(rng, (sizes.laps + 1) * sizes.reads)
    with _Driver(client) as driver:
        stand = driver.make(client.shared, place)
        try:
            driver.fill(stand, keys)
            driver.each(stand.get, keys[: sizes.reads])
            for start in range(sizes.reads, len(keys), sizes.reads):
                yield functools.partial(driver.each, stand.get, keys[start : start + sizes.reads]), sizes.reads
        finally:
            driver.call(stand.close)


def many_laps(
    client: Client, place: Place, sizes: Sizes, rng: np.random.Generator, *, setup: str = "shared"
) -> Iterator[Lap]:
    """Read keys that are at the server, or by another set-up at the Cluster, in batches, each key once."""
    place.empty()
    lap = 10 * sizes.batch if sizes.reads < 10 * sizes.batch else sizes.reads // sizes.batch * sizes.batch
    keys = user_keys(rng, (sizes.laps + 1) * lap)
    with _Driver(client) as driver:
        stand = driver.make(getattr(client, setup), place)
        try:
            driver.fill(stand, keys)
            batches = [keys[start : start + sizes.batch] for start in range(0, len(keys), sizes.batch)]
            count = lap // sizes.batch
            get_many = cast("Callable[[list[str]], Any]", stand.get_many)
            driver.each(get_many, batches[:count])
            for start in range(count, len(batches), count):
                yield functools.partial(driver.each, get_many, batches[start : start + count]), lap
        finally:
            driver.call(stand.close)


def concurrent_laps(client: Client, place: Place, sizes: Sizes, rng: np.random.Generator) -> Iterator[Lap]:
    """Read keys that are at the server by so many tasks at once, each key once."""
    place.empty()
    keys = user_keys(rng, (sizes.laps + 2) * sizes.tasks)
    with _Driver(client) as driver:
        stand = driver.make(client.shared, place)
        gather = isolated(_gather)

        def call(lap: list[str]) -> None:
            driver.runner.run(gather(stand.get, lap))

        try:
            driver.fill(stand, keys)
            # Twice: until a pool has made its connections.
            call(keys[: sizes.tasks])
            call(keys[sizes.tasks : 2 * sizes.tasks])
            for start in range(2 * sizes.tasks, len(keys), sizes.tasks):
                yield functools.partial(call, keys[start : start + sizes.tasks]), sizes.tasks
        finally:
            driver.call(stand.close)


async def _gather(get: Callable[[str], Any], keys: list[str]) -> None:
    await asyncio.gather(*[get(key) for key in keys])


def miss_laps(client: Client, place: Place, sizes: Sizes, rng: np.random.Generator) -> Iterator[Lap]:
    """Read keys that no level has, each once: they are loaded."""
    place.empty()
    keys = user_keys(rng, (sizes.laps + 1) * sizes.misses)
    with _Driver(client) as driver:
        stand = driver.make(client.through, place, auser if client.asynchronous else user)
        try:
            driver.each(stand.get, keys[: sizes.misses])
            for start in range(sizes.misses, len(keys), sizes.misses):
                yield functools.partial(driver.each, stand.get, keys[start : start + sizes.misses]), sizes.misses
        finally:
            driver.call(stand.close)
