"""The short form of the benchmark: `hotset bench`. All four questions in about a minute."""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotset.bench import timing
from hotset.bench.clients import Client, Lineup, isolated
from hotset.bench.hit_ratio import curve
from hotset.bench.machine import machine, pinned, versions
from hotset.bench.memory import Footprint, footprint
from hotset.bench.rows import Sizes, hit_laps, str_keys
from hotset.bench.timing import Advance, Entrant, Figure, Lap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from hotset.bench.workloads import Workload

# Shares of the distinct keys at which the curves are drawn.
_CURVE = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


SIZES = Sizes(lap=50_000, laps=3, rounds=3)
QUICK = Sizes(capacity=20_000, lap=20_000, laps=2, rounds=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a short run does."""

    policies: tuple[str, ...]
    capacity: int
    memory_entries: int
    seed: int
    rounds: int = 3
    sizes: Sizes = SIZES


@dataclass(slots=True)
class Standing:
    """One contestant's line in the table; None where it does not apply or was not measured."""

    name: str
    policy: str
    ours: bool
    hit: Figure | None = None
    read_through: Figure | None = None
    hit_ratio: float | None = None
    footprint: Footprint | None = None


@dataclass(slots=True)
class ShortForm:
    """All that a short run found."""

    workload: Workload
    plan: Plan
    machine: dict[str, str]
    versions: dict[str, str]
    missing: dict[str, str]
    standings: list[Standing]
    capacities: list[int]
    curves: dict[str, list[float]]

    @property
    def base(self) -> Standing:
        """The dict that ratios refer to."""
        return next(standing for standing in self.standings if standing.policy == "none")


def contestants(lineup: Lineup, policies: Sequence[str]) -> list[Client]:
    """Return dict and the caches of these policies."""
    return lineup.select(("none", *policies))


def steps(lineup: Lineup, plan: Plan) -> int:
    """Return how many times a run will report progress."""
    clients = contestants(lineup, plan.policies)
    timed = sum(not client.calls_only for client in clients) + len(clients)
    measured = len(clients) if plan.memory_entries else 0
    return timed * plan.rounds + sum(client.lags for client in clients) + measured + len(plan.policies)


def run(workload: Workload, lineup: Lineup, plan: Plan, advance: Advance) -> ShortForm:
    """Take all figures; every contestant in random order, on fresh objects each time."""
    clients = contestants(lineup, plan.policies)
    standings = {
        client.name: Standing(client.name, client.policy, client.distribution == "hotset") for client in clients
    }
    capacities = _curve_capacities(len(workload.distinct), plan.capacity)
    curves = {}
    for policy in plan.policies:
        advance(f"hit-ratio curve: {policy}")
        curves[policy] = curve(policy, workload, capacities)

    with pinned() as core:
        described = machine()
        described["pinned"] = "no" if core is None else f"core {core}"
        mapping = [client for client in clients if not client.calls_only]
        hits = timing.race(
            [_hit_entrant(client, plan.sizes) for client in mapping],
            plan.rounds,
            plan.seed,
            _labelled(advance, "hit"),
        )
        misses: dict[str, int] = {}
        reads = timing.race(
            [
                Entrant(client.name, functools.partial(_read_through, client, workload, plan, misses))
                for client in clients
            ],
            plan.rounds,
            plan.seed,
            _labelled(advance, "read-through"),
        )
        for client in clients:
            if client.lags:
                advance(f"hit ratio: {client.name}")
                misses[client.name] = client.replay(client.make(plan.capacity), workload.requests)
            standings[client.name].hit_ratio = 1.0 - misses[client.name] / len(workload.ids)
        for name, figure in hits.items():
            standings[name].hit = figure
        for name, figure in reads.items():
            standings[name].read_through = figure
        if plan.memory_entries:
            found = footprint(clients, plan.memory_entries, 1, plan.seed, _labelled(advance, "memory"))
            for name, measured in found.items():
                if isinstance(measured, Footprint):
                    standings[name].footprint = measured

    return ShortForm(
        workload,
        plan,
        described,
        versions({client.distribution for client in clients} | {"numpy"}),
        dict(lineup.missing),
        _ordered(list(standings.values()), plan.policies),
        capacities,
        curves,
    )


def _labelled(advance: Advance, label: str) -> Advance:
    return lambda name: advance(f"{label}: {name}")


def _hit_entrant(client: Client, sizes: Sizes) -> Entrant:
    def laps(rng: np.random.Generator) -> Iterator[Lap]:
        return hit_laps(client, sizes, str_keys, rng, hot=True)

    return Entrant(client.name, laps)


def _read_through(
    client: Client, workload: Workload, plan: Plan, misses: dict[str, int], _rng: np.random.Generator
) -> Iterator[Lap]:
    """One lap from a cold start; the stream is the workload, so it cannot be shuffled."""
    requests = workload.requests
    loop: Callable[..., int] = isolated(client.read_through)
    loop(client.make(plan.capacity), requests[: len(requests) // 20])
    cache = client.make(plan.capacity)

    def once() -> None:
        misses[client.name] = loop(cache, requests)

    yield once, len(requests)


def _curve_capacities(distinct: int, chosen: int) -> list[int]:
    points = {max(1, round(share * distinct)) for share in _CURVE}
    return sorted(points | {chosen})


def _ordered(standings: list[Standing], policies: Sequence[str]) -> list[Standing]:
    """Sort by policy, hotset first, then by the time of a read-through."""
    rank = {policy: number for number, policy in enumerate(("none", *policies))}

    def key(standing: Standing) -> tuple[int, bool, float]:
        time = standing.read_through.median if standing.read_through else 0.0
        return rank[standing.policy], not standing.ours, time

    return sorted(standings, key=key)


def median_ratio(ours: Figure | None, base: Figure | None) -> float | None:
    """Return one median as a multiple of another."""
    return ours.median / base.median if ours and base else None


def as_dict(form: ShortForm) -> dict[str, object]:
    """Return the whole run for JSON."""
    base = form.base

    def line(standing: Standing) -> dict[str, object]:
        return {
            "name": standing.name,
            "policy": standing.policy,
            "hit": standing.hit and standing.hit.as_dict(),
            "hit_vs_dict": median_ratio(standing.hit, base.hit),
            "read_through": standing.read_through and standing.read_through.as_dict(),
            "read_through_vs_dict": median_ratio(standing.read_through, base.read_through),
            "hit_ratio": standing.hit_ratio,
            "memory": standing.footprint and standing.footprint.as_dict(),
        }

    return {
        "machine": form.machine,
        "versions": form.versions,
        "missing": form.missing,
        "workload": {
            "name": form.workload.name,
            "requests": len(form.workload.ids),
            "distinct": len(form.workload.distinct),
        },
        "capacity": form.plan.capacity,
        "seed": form.plan.seed,
        "contestants": [line(standing) for standing in form.standings],
        "curves": {"capacities": form.capacities, "hit_ratios": form.curves},
    }


def default_capacity(workload: Workload) -> int:
    """Return a tenth of the distinct keys."""
    return max(1, len(workload.distinct) // 10)


def spread_percent(figures: Sequence[Figure]) -> float:
    """Return the median span of the rounds, as a percentage of the median: how noisy the run was."""
    return 100 * statistics.median((figure.slowest - figure.fastest) / figure.median for figure in figures)
