"""What is timed: one function a row, its contestants and its bars.

Values are small (a dict of five fields), keys are str. Where a row is about the server, each key is read once.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hotset.bench import timing
from hotset.bench.bars import Bar, Verdict, judge
from hotset.bench.rows import Result, Row
from hotset.bench.sizes import Scale
from hotset.bench.tiered.clients.bare_redis import ASYNC_NAMES
from hotset.bench.tiered.clients.hotset import POLICIES
from hotset.bench.tiered.laps import concurrent_laps, hit_laps, many_laps, miss_laps, shared_laps
from hotset.bench.timing import Entrant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hotset.bench.tiered.clients import Client, Lineup
    from hotset.bench.tiered.place import Place
    from hotset.bench.timing import Advance

__all__ = ["ROWS", "Excess", "Question", "Sizes", "run"]

_SHARED = ("hotset", "hotset, memory missed")


@dataclass(frozen=True, slots=True)
class Sizes(Scale):
    """How big a row is; the bars hold for the default."""

    entries: int = 10_000
    hot: int = 1_000
    lap: int = 100_000
    reads: int = 1_000
    misses: int = 300
    batch: int = 100
    tasks: int = 1_000
    threads: int = 200
    laps: int = 5
    rounds: int = 5

    @classmethod
    def quick(cls) -> Sizes:
        """Return sizes for a first look: seconds a row."""
        return cls(entries=2_000, lap=50_000, reads=500, laps=3, rounds=3)

    @classmethod
    def tiny(cls) -> Sizes:
        """Return sizes that only show that everything runs."""
        return cls(entries=60, hot=20, lap=40, reads=20, misses=10, batch=5, tasks=20, threads=8, laps=2, rounds=1)


@dataclass(frozen=True, slots=True)
class Excess:
    """A limit on what one entrant takes above another, in microseconds."""

    entrant: str
    above: str
    limit: float

    def judge(self, figures: Mapping[str, float]) -> Verdict:
        """Compare the figures, in nanoseconds, with the limit."""
        limit = f"<= {self.limit:g} us above {self.above}"
        if self.entrant not in figures or self.above not in figures:
            return Verdict(self.entrant, limit, None, None)
        excess = (figures[self.entrant] - figures[self.above]) / 1e3
        return Verdict(self.entrant, limit, excess, excess <= self.limit)


@dataclass(frozen=True, slots=True)
class Question:
    """A row, and the limits on it that are no ratios."""

    row: Row
    excesses: Sequence[Excess] = field(default_factory=list)
    # Whether nobody but this process is at work while its clock runs.
    alone: bool = False


def run(question: Question, rounds: int, seed: int, advance: Advance | None = None, clock: str = "wall") -> Result:
    """Race the row's entrants and judge its bars. Another clock than "wall" is for rows without a server."""
    figures = timing.race(question.row.entrants, rounds, seed, advance, clock if question.alone else "wall")
    medians = {name: figure.median for name, figure in figures.items()}
    verdicts = judge(question.row.bars, medians) + [excess.judge(medians) for excess in question.excesses]
    return Result(question.row, figures, verdicts)


def _entrants(
    clients: Sequence[Client], laps: Callable[..., object], *arguments: object, **named: object
) -> list[Entrant]:
    return [
        Entrant(client.name, functools.partial(_laps, laps, client, arguments, named))  # type: ignore[arg-type]
        for client in clients
    ]


def _laps(
    laps: Callable[..., object], client: Client, arguments: tuple[object, ...], named: dict[str, object], rng: object
) -> object:
    return laps(client, *arguments, rng, **named)


def _hit(lineup: Lineup, place: Place, sizes: Sizes, key: str, what: str, *, equal: bool) -> Question:
    clients = lineup.having("memory")
    names = {policy: "hotset" if policy == "tinylfu" else f"hotset {policy}" for policy in POLICIES}
    return Question(
        Row(
            key,
            f"hit in memory, str keys, {what}; {sizes.hot:,} hot keys of {sizes.entries:,}",
            "engine tinylfu",
            _entrants(clients, hit_laps, place, sizes, equal=equal),
            [Bar(names[policy], (f"engine {policy}",), 2.0) for policy in POLICIES],
        ),
        alone=True,
    )


def l1_hit(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """With everything on <= 2.0 x the bare engine's hit, policy by policy."""
    return _hit(lineup, place, sizes, "l1-hit", "the objects that were stored", equal=False)


def l1_hit_fresh(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """With everything on <= 2.0 x the bare engine's hit, policy by policy."""
    return _hit(lineup, place, sizes, "l1-hit-fresh", "equal but made for the call", equal=True)


def _l2_hit(lineup: Lineup, place: Place, sizes: Sizes, wire: str) -> Question:
    clients = [one for one in lineup.having("shared", sockets=place.unix) if one.name not in ASYNC_NAMES]
    return Question(
        Row(
            f"l2-hit-{wire}",
            f"hit at the server over {wire}, a dict of 5 fields, one after the other",
            "redis-py",
            _entrants(clients, shared_laps, place, sizes),
            [Bar(name, ("redis-py",), 1.25) for name in _SHARED],
        )
    )


def l2_hit_tcp(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """<= 1.25 x GET and decode by redis-py with hiredis."""
    return _l2_hit(lineup, place, sizes, "tcp")


def l2_hit_unix(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """<= 1.25 x GET and decode by redis-py with hiredis."""
    return _l2_hit(lineup, place.by_socket(), sizes, "unix")


def _get_many(lineup: Lineup, place: Place, sizes: Sizes, wire: str) -> Question:
    without = (*ASYNC_NAMES, "SmartCache")
    clients = [one for one in lineup.having("shared", sockets=place.unix) if one.name not in without]
    return Question(
        Row(
            f"get-many-{wire}",
            f"get_many of {sizes.batch}, all at the server over {wire}, per key",
            "redis-py",
            _entrants(clients, many_laps, place, sizes),
            [Bar(name, ("redis-py",), 1.3) for name in _SHARED],
            "ns/key",
        )
    )


def get_many_tcp(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """<= 1.3 x MGET and decode by redis-py with hiredis."""
    return _get_many(lineup, place, sizes, "tcp")


def get_many_unix(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """<= 1.3 x MGET and decode by redis-py with hiredis."""
    return _get_many(lineup, place.by_socket(), sizes, "unix")


def get_many_cluster(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """<= 1.3 x an MGET to each of three primaries, and decode, by redis-py's connections with hiredis."""
    many = replace(sizes, batch=10 * sizes.batch)
    base = "three MGETs by hand"
    return Question(
        Row(
            "get-many-cluster",
            f"get_many of {many.batch:,}, all at three primaries of a Cluster, per key",
            base,
            _entrants(lineup.having("cluster"), many_laps, place, many, setup="cluster"),
            [Bar("hotset", (base,), 1.3)],
            "ns/key",
        )
    )


def _concurrent(lineup: Lineup, place: Place, sizes: Sizes, wire: str) -> Question:
    clients = [one for one in lineup.having("shared", sockets=place.unix) if one.asynchronous]
    return Question(
        Row(
            f"concurrent-{wire}",
            f"{sizes.tasks:,} gets at once on an event loop, all at the server over {wire}, per get",
            ASYNC_NAMES[0],
            _entrants(clients, concurrent_laps, place, sizes),
            # Three times the throughput.
            [Bar(f"{name} (async)", ASYNC_NAMES, round(1 / 3, 3), "redis.asyncio") for name in _SHARED],
        )
    )


def concurrent_tcp(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """>= 3 x the throughput of a redis.asyncio GET each."""
    return _concurrent(lineup, place, sizes, "tcp")


def concurrent_unix(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """>= 3 x the throughput of a redis.asyncio GET each."""
    return _concurrent(lineup, place.by_socket(), sizes, "unix")


def _miss(lineup: Lineup, place: Place, sizes: Sizes, wire: str) -> Question:
    base = "round trips + load"
    return Question(
        Row(
            f"miss-{wire}",
            f"miss everywhere and load, one caller, server over {wire}",
            base,
            _entrants(lineup.having("through", sockets=place.unix), miss_laps, place, sizes),
            [],
        ),
        [Excess("hotset", base, 60.0)],
    )


def miss_tcp(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """<= 60 us above the round trips and the load."""
    return _miss(lineup, place, sizes, "tcp")


def miss_unix(lineup: Lineup, place: Place, sizes: Sizes) -> Question:
    """<= 60 us above the round trips and the load."""
    return _miss(lineup, place.by_socket(), sizes, "unix")


ROWS: dict[str, Callable[[Lineup, Place, Sizes], Question]] = {
    "l1-hit": l1_hit,
    "l1-hit-fresh": l1_hit_fresh,
    "l2-hit-tcp": l2_hit_tcp,
    "l2-hit-unix": l2_hit_unix,
    "get-many-tcp": get_many_tcp,
    "get-many-unix": get_many_unix,
    "get-many-cluster": get_many_cluster,
    "concurrent-tcp": concurrent_tcp,
    "concurrent-unix": concurrent_unix,
    "miss-tcp": miss_tcp,
    "miss-unix": miss_unix,
}
