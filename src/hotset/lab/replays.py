"""Many replays: policies by sizes, side by side in threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hotset.lab.bounds import belady, bound
from hotset.policies import POLICIES
from hotset.replaying import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hotset.lab.trace import Trace
    from hotset.stats import ReplayResult

__all__ = ["OFFLINE", "Cell", "Replays", "all_policies", "replay_all", "replay_one"]

# They know the future: no cache can be made of them.
OFFLINE: Final = ("belady", "bound")


class Cell(NamedTuple):
    """One policy at one size, in entries or bytes of the whole trace: ratios from 0 to 1."""

    policy: str
    size: int
    hit_ratio: float
    byte_hit_ratio: float | None
    requests: int
    hits: int


@dataclass(frozen=True)
class Replays:
    """All cells, policy by policy, each from the smallest size to the largest."""

    trace: Trace
    weigh: bool
    policies: tuple[str, ...]
    sizes: tuple[int, ...]
    cells: tuple[Cell, ...]

    def of(self, policy: str) -> list[Cell]:
        """Return the cells of a policy."""
        return [cell for cell in self.cells if cell.policy == policy]

    def best(self, size: int) -> Cell:
        """Return the online policy that has the most hits at a size."""
        return max(
            (cell for cell in self.cells if cell.size == size and cell.policy not in OFFLINE),
            key=lambda cell: cell.hits,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "trace": self.trace.name,
            "requests": len(self.trace),
            "distinct": self.trace.distinct,
            "rate": self.trace.rate,
            "unit": "bytes" if self.weigh else "entries",
            "cells": [cell._asdict() for cell in self.cells],
        }


def all_policies(*, weigh: bool = False) -> tuple[str, ...]:
    """Return all policies that ship, and the offline ones that fit."""
    return (*POLICIES, "belady", "bound") if weigh else (*POLICIES, "belady")


def replay_one(trace: Trace, policy: str, size: float, *, weigh: bool = False) -> ReplayResult:
    """Replay a trace through one policy; of a sample with a cache that is as much smaller.

    Raises ValueError for an unknown policy.
    """
    scaled = max(1, round(size * trace.rate))
    if policy in OFFLINE:
        plain = trace if weigh or trace.sizes is None else _without_sizes(trace)
        return (belady if policy == "belady" else bound)(plain, scaled)
    return replay(policy, scaled, trace.keys, trace.sizes if weigh else None)


def replay_all(
    trace: Trace,
    policies: Sequence[str],
    sizes: Sequence[int],
    *,
    weigh: bool = False,
    workers: int | None = None,
    advance: Callable[[str], object] | None = None,
) -> Replays:
    """Replay a trace through each policy at each size, in `workers` threads (as many as there are CPUs).

    `weigh` counts an entry by its bytes, which the trace must have. `advance` is called with a word about each cell
    that is done. A cell costs what replay and belady say; memory is that of the caches, some 50 bytes an entry and
    thread.

    Raises ValueError for an unknown policy or a size below 1, or where the trace has no sizes to weigh by.
    """
    known = (*POLICIES, *OFFLINE)
    unknown = next((policy for policy in policies if policy not in known), None)
    if unknown is not None:
        raise ValueError(f"unknown policy {unknown!r}: use one of {', '.join(known)}")
    small = next((size for size in sizes if size < 1), None)
    if small is not None:
        raise ValueError(f"a size must be at least 1, got {small!r}")
    if weigh and trace.sizes is None:
        raise ValueError(f"trace {trace.name} has no sizes to weigh by")
    plain = trace if weigh or trace.sizes is None else _without_sizes(trace)
    if any(policy in OFFLINE for policy in policies):
        _ = plain.following  # once, before threads want it
    found: dict[tuple[str, int], Cell] = {}
    count = workers if workers is not None else os.cpu_count() or 1
    with ThreadPoolExecutor(max(1, count), "hotset-lab") as pool:
        # The long ones first, so that no thread is left with one at the end.
        plan = [(policy, size) for size in sorted(sizes, reverse=True) for policy in policies]
        futures = {pool.submit(replay_one, plain, policy, size, weigh=weigh): (policy, size) for policy, size in plan}
        try:
            for future in as_completed(futures):
                policy, size = futures[future]
                result = future.result()
                found[policy, size] = Cell(
                    policy,
                    size,
                    result.hit_ratio,
                    result.byte_hit_ratio if weigh else None,
                    result.requests,
                    result.hits,
                )
                if advance is not None:
                    advance(f"{policy} at {size:,}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    ordered = sorted(set(sizes))
    cells = tuple(found[policy, size] for policy in policies for size in ordered)
    return Replays(trace, weigh, tuple(policies), tuple(ordered), cells)


def _without_sizes(trace: Trace) -> Trace:
    plain = replace(trace, sizes=None)
    if "following" in trace.__dict__:
        plain.__dict__["following"] = trace.following
    return plain
