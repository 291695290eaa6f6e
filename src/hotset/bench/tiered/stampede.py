"""How many loads it takes when many callers want one key at once that nobody has: 1 is the only good answer."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotset.bench.bars import Verdict
from hotset.bench.tiered.values import user

if TYPE_CHECKING:
    from hotset.bench.tiered.clients import Client, Lineup
    from hotset.bench.tiered.place import Place
    from hotset.bench.tiered.rows import Sizes
    from hotset.bench.timing import Advance

__all__ = ["Stampede", "stampedes", "verdicts"]

_LOAD_SECONDS = 0.05
_PATIENCE = 60.0
_KEY = "user:000000001"


@dataclass(frozen=True, slots=True)
class Stampede:
    """What came of one: loads, callers that got the value or did not, seconds until the last one had its answer."""

    name: str
    callers: str
    loads: int
    served: int
    failed: int
    seconds: float

    def as_dict(self) -> dict[str, str | float]:
        """Return it for JSON."""
        return {
            "callers": self.callers,
            "loads": self.loads,
            "served": self.served,
            "failed": self.failed,
            "seconds": round(self.seconds, 4),
        }


def contestants(lineup: Lineup) -> list[Client]:
    """Return those that load."""
    return [client for client in lineup.having("through") if client.rival != "redis-py"]


def stampedes(lineup: Lineup, place: Place, sizes: Sizes, advance: Advance | None = None) -> list[Stampede]:
    """Have threads, or tasks where a library is asynchronous, ask each contestant for one cold key."""
    found = []
    for client in contestants(lineup):
        if advance is not None:
            advance(client.name)
        place.empty()
        if client.asynchronous:
            found.append(asyncio.run(_tasks(client, place, sizes.tasks)))
        else:
            found.append(_threads(client, place, sizes.threads))
    return found


def verdicts(found: list[Stampede]) -> list[Verdict]:
    """Judge hotset: one load, and the value for everybody."""
    return [
        Verdict(one.name, f"1 load for {one.callers}", float(one.loads), one.loads == 1 and not one.failed)
        for one in found
        if one.name.startswith("hotset")
    ]


def _threads(client: Client, place: Place, count: int) -> Stampede:
    loads: list[str] = []
    served: list[Any] = []
    failed: list[Any] = []

    def load(key: str) -> Any:
        loads.append(key)
        time.sleep(_LOAD_SECONDS)
        return user(key)

    def call() -> None:
        gate.wait(_PATIENCE)
        try:
            (served if stand.get(_KEY) else failed).append(1)
        except Exception as error:  # noqa: BLE001 - counted
            failed.append(error)

    stand = client.through(place, load)
    gate = threading.Barrier(count + 1)
    threads = [threading.Thread(target=call, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    gate.wait(_PATIENCE)
    start = time.perf_counter()
    for thread in threads:
        thread.join(_PATIENCE)
    seconds = time.perf_counter() - start
    stand.close()
    return Stampede(client.name, f"{count:,} threads", len(loads), len(served), count - len(served), seconds)


async def _tasks(client: Client, place: Place, count: int) -> Stampede:
    loads = []

    async def load(key: str) -> Any:
        loads.append(key)
        await asyncio.sleep(_LOAD_SECONDS)
        return user(key)

    stand = client.through(place, load)
    start = time.perf_counter()
    async with asyncio.timeout(_PATIENCE):
        results = await asyncio.gather(*[stand.get(_KEY) for _ in range(count)], return_exceptions=True)
    seconds = time.perf_counter() - start
    await stand.close()
    served = sum(isinstance(result, dict) for result in results)
    return Stampede(client.name, f"{count:,} tasks", len(loads), served, count - served, seconds)
