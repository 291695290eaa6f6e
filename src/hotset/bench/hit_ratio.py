"""Hit ratios of policies over workloads and capacities.

Hotset's policies run through `hotset.replay`, the code that ships; rivals are driven by get and set. Every
request counts, the cold start included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import hotset
from hotset.bench.workloads import GENERATED, Workload, generated, load_trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hotset.bench.clients import Client
    from hotset.bench.timing import Advance

SHARES = (0.01, 0.05, 0.1, 0.2)
# Below this a capacity says more about rounding than about the policy.
_SMALLEST = 16


@dataclass(frozen=True, slots=True)
class Cell:
    """The hit ratio of each contestant on one workload at one capacity."""

    workload: str
    requests: int
    distinct: int
    capacity: int
    ratios: dict[str, float]


def curve(policy: str, workload: Workload, capacities: Sequence[int]) -> list[float]:
    """Return the policy's hit ratio at each capacity."""
    replays = (hotset.replay(policy, capacity, workload.ids) for capacity in capacities)
    return [found.hits / found.requests for found in replays]


def rival_ratio(client: Client, workload: Workload, capacity: int) -> float:
    """Read the workload through a rival's cache and return its hit ratio."""
    misses = client.replay(client.make(capacity), workload.requests)
    return 1.0 - misses / len(workload.requests)


def workloads(folder: Path | None, requests: int, seed: int) -> Iterator[Workload]:
    """Yield the traces of a folder, or generated workloads; `requests` cuts them, 0 takes traces whole."""
    if folder is None:
        for name in GENERATED:
            yield generated(name, requests or 500_000, seed)
        return
    for path in sorted(folder.glob("*.npz")):
        yield load_trace(path).head(requests)


def table(
    work: Workload,
    policies: Sequence[str],
    rivals: Sequence[Client],
    shares: Sequence[float] = SHARES,
    advance: Advance | None = None,
) -> list[Cell]:
    """Score the policies and the rivals on one workload at these shares of its distinct keys."""
    cells = []
    distinct = len(work.distinct)
    for capacity in sorted({round(share * distinct) for share in shares}):
        if capacity < _SMALLEST:
            continue
        ratios: dict[str, float] = {}
        for policy in policies:
            if advance is not None:
                advance(f"{work.name} at {capacity:,}: hotset {policy}")
            ratios[f"hotset {policy}"] = curve(policy, work, [capacity])[0]
        for client in rivals:
            if advance is not None:
                advance(f"{work.name} at {capacity:,}: {client.name}")
            ratios[client.name] = rival_ratio(client, work, capacity)
        cells.append(Cell(work.name, len(work.ids), distinct, capacity, ratios))
    return cells


def means(cells: Sequence[Cell]) -> dict[str, float]:
    """Return each contestant's mean over the cells."""
    names = cells[0].ratios if cells else {}
    return {name: sum(cell.ratios[name] for cell in cells) / len(cells) for name in names}
