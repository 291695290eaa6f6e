"""What a run is to do, what it has found, and who is told meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from hotset.demo.windows import Snapshot, Window
    from hotset.demo.workload import Stream

__all__ = ["KILLED_AT", "REPLICA_DELAY", "RESTORED_AT", "Outcome", "Plan", "Screen", "Standing"]

KILLED_AT, RESTORED_AT = 0.5, 0.7  # as shares of the run
REPLICA_DELAY = 0.5  # seconds that the replica is behind the origin, and a tenth or two more


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does. Times in seconds; `rate` in requests a second, 0 for as fast as it goes.

    `levels` counts the origin: 3 are memory, Valkey and the origin; with 5 a Valkey Cluster and a replica of the origin
    stand between.
    """

    stream: Stream
    folder: Path
    seconds: float
    threads: int
    rate: float
    l1: int
    policies: tuple[str, ...]
    origin_latency: float
    write_share: float
    seed: int
    warm: bool
    persistent: bool
    users: int
    levels: int = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """What one policy did with the stream; `whole` if with as many requests as the first one."""

    policy: str
    window: Window
    whole: bool


@dataclass(slots=True)
class Outcome:
    """All that a run found, also if it was broken off."""

    plan: Plan
    machine: dict[str, str]
    versions: dict[str, str]
    windows: list[Window] = field(default_factory=list)
    last: Snapshot | None = None
    killed: float | None = None
    restored: float | None = None
    standings: list[Standing] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def sound(self) -> bool:
        """Whether every request was answered, and none with an older value than it had to be."""
        return not self.failures and not self.violations


class Screen(Protocol):
    """Who is told how the run goes."""

    def stage(self, text: str) -> None:
        """Something begins or has happened."""

    def show(self, heading: str, share: float, recent: Window, whole: Window, now: Snapshot) -> None:
        """So far: the last stretch, all of it, and the cache's own statistics. `share` of the run is done."""
