"""How a run is told: a live table on a terminal, else lines; then tables, and JSON."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hotset.demo.outcome import KILLED_AT, REPLICA_DELAY, RESTORED_AT
from hotset.demo.windows import total

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from hotset.demo.outcome import Outcome, Screen, Standing
    from hotset.demo.windows import Snapshot, Window

__all__ = ["as_dict", "duration", "screen", "tables"]

_PHASES = ("before", "outage", "after")
_STATE_STYLE = {"closed": "green", "half-open": "yellow", "open": "bold red", "off": "bold red"}
_PLAIN_LINES = 20  # of progress, for a run
_PLAIN_LEAST = 1.0  # seconds between two of them
_DIGITS_BELOW = 10
_BETWEEN = {5: f"L3 a Valkey Cluster of 3, larger, L4 a replica {REPLICA_DELAY:g} s behind, half as far away, "}


def duration(seconds: float) -> str:
    """Return a time for a table: 870 ns, 12.3 us, 2.41 ms, 1.20 s.

    >>> duration(0.00241), duration(8.7e-7), duration(float("nan"))
    ('2.41 ms', '870 ns', '-')
    """
    if math.isnan(seconds):
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= 0.9995 * size:
            value = seconds / size
            return (
                f"{value:.2f} {unit}"
                if value < _DIGITS_BELOW
                else f"{value:.1f} {unit}"
                if value < 100
                else f"{value:,.0f} {unit}"
            )
    return f"{seconds * 1e9:.0f} ns"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


@contextlib.contextmanager
def screen() -> Iterator[Screen]:
    """Show a run on standard error: live on a terminal, else as lines."""
    out = Console(stderr=True)
    if not out.is_terminal:
        yield _Lines()
        return
    with Live(console=out, auto_refresh=False, transient=True) as live:
        yield _Table(live)


class _Table:
    """A table that is drawn again and again."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def stage(self, text: str) -> None:
        self._live.update(Text(text), refresh=True)

    def show(self, heading: str, share: float, recent: Window, whole: Window, now: Snapshot) -> None:
        self._live.update(_live(heading, share, recent, whole, now), refresh=True)


class _Lines:
    """A line now and then."""

    def __init__(self) -> None:
        self._stage = ""
        self._heading = ""
        self._share = 0.0
        self._at = 0.0

    def stage(self, text: str) -> None:
        # A stage that tells how far it is, is told once.
        kind = text.partition(":")[0]
        if kind != self._stage:
            self._stage = kind
            _tell(kind if "%" in text else text)

    def show(self, heading: str, share: float, recent: Window, whole: Window, now: Snapshot) -> None:
        clock = time.monotonic()
        due = share - self._share >= 1 / _PLAIN_LINES and clock - self._at >= _PLAIN_LEAST
        if heading == self._heading and not due:
            return
        self._heading, self._share, self._at = heading, share, clock
        self._stage = ""
        names = [level.name for level in now.all]
        parts = [f"{name} {_percent(part)}" for name, part in zip(names, recent.shares, strict=True)]
        states = [f"{level.name} is {level.state}" for level in now.levels if level.state != "closed"]
        _tell(
            f"{100 * share:3.0f} %  {heading}: {', '.join(parts)}; mean {duration(recent.measured.mean)}"
            f" (formula {duration(recent.formula)}), p99 {duration(recent.measured.quantile(0.99))};"
            f" {recent.read_rate:,.0f} reads/s, {recent.query_rate:,.0f} origin loads/s; "
            + "".join(f"{state}; " for state in states)
            + f"{whole.violations} outdated, {whole.failures} failed"
        )


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _grid(first: str, titles: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _live(heading: str, share: float, recent: Window, whole: Window, now: Snapshot) -> RenderableType:
    table = _grid("level", ("answers", "hit rate", "hits", "p50", "p99", "breaker"))
    for place, level in enumerate(now.all):
        origin = level is now.origin
        table.add_row(
            escape(level.name),
            _percent(recent.shares[place]),
            "" if origin else _percent(recent.hit_rates[place]),
            f"{level.hits:,}",
            duration(level.p50 if level.timed else math.nan),
            duration(level.p99 if level.timed else math.nan),
            f"[{_STATE_STYLE.get(level.state, '')}]{level.state}[/]" if level.state else "",
        )
    response = _grid("response time", ("mean", "by the formula", "p50", "p99"))
    for label, window in (("last second", recent), ("since the start", whole)):
        response.add_row(
            label,
            duration(window.measured.mean),
            duration(window.formula),
            duration(window.measured.quantile(0.5)),
            duration(window.measured.quantile(0.99)),
        )
    rates = (
        f"{recent.read_rate:,.0f} reads/s    {recent.writes / recent.seconds:,.0f} writes/s    "
        f"{recent.query_rate:,.0f} origin loads/s    spared so far: {_percent(whole.spared)}"
    )
    wrong = f"{whole.violations} reads older than the last write    {whole.failures} failed"
    return Group(
        Text(heading, style="bold red" if recent.phase == "outage" else "bold"),
        ProgressBar(total=1.0, completed=share, width=60),
        Text(),
        table,
        Text(),
        response,
        Text(),
        Text(rates),
        Text(wrong, style="bold red" if whole.violations or whole.failures else "green"),
    )


def tables(out: Console, outcome: Outcome) -> None:
    """Print what was found; of a run that was broken off, what there is."""
    _heading(out, outcome)
    whole = total(outcome.windows)
    if whole is None or outcome.last is None:
        out.print("Nothing was measured.", highlight=False)
    else:
        _phases(out, outcome, whole)
        _levels(out, outcome.last, whole)
        _verdict(out, outcome, whole)
    if outcome.standings:
        _standings(out, outcome.standings)
    for note in outcome.notes:
        out.print(f"[yellow]{escape(note)}[/]", highlight=False)
    if outcome.interrupted:
        out.print("[yellow]The run was broken off: the figures are of its first part.[/]", highlight=False)


def _heading(out: Console, outcome: Outcome) -> None:
    plan, described = outcome.plan, outcome.machine
    named = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
    rate = f"{plan.rate:,.0f} requests/s" if plan.rate else "as fast as it goes"
    lines = {
        "Machine": f"{described['processor']}, {described['cores']} cores, {described['system']}",
        "Versions": f"{described['python']}, {named}",
        "Workload": f"{plan.stream.name}: {plan.threads} threads, {rate}, {_percent(plan.write_share)} writes, "
        f"seed {plan.seed}",
        "Levels": f"L1 {plan.l1:,} entries ({plan.policies[0]}), L2 Valkey "
        f"({'filled before' if plan.warm else 'empty at first'}), {_BETWEEN.get(plan.levels, '')}origin SQLite with "
        f"{plan.users:,} users + {1000 * plan.origin_latency:g} ms of simulated network",
    }
    for title, text in lines.items():
        out.print(f"[bold]{title:<9}[/] {escape(text)}", highlight=False)


def _phases(out: Console, outcome: Outcome, whole: Window) -> None:
    parts = {phase: total(window for window in outcome.windows if window.phase == phase) for phase in _PHASES}
    columns = [window for window in (*parts.values(), whole) if window is not None]
    titles = {"before": "before", "outage": "L2 dead", "after": "L2 back"}
    shown = [titles[phase] for phase in _PHASES if parts[phase]] + ["all"]
    names = [level.name for level in (outcome.last.all if outcome.last else ())]
    table = _grid("", shown)

    def row(label: str, *cells: str) -> None:
        table.add_row(label, *cells)

    row("seconds", *(f"{window.seconds:.1f}" for window in columns))
    row("reads/s", *(f"{window.read_rate:,.0f}" for window in columns))
    for place, name in enumerate(names):
        label = "loaded from the origin" if place == len(names) - 1 else f"answered by L{place + 1} ({escape(name)})"
        row(label, *(_percent(window.shares[place]) for window in columns))
    row("response time, mean", *(duration(window.measured.mean) for window in columns))
    row("  by the formula", *(duration(window.formula) for window in columns))
    row("  p50", *(duration(window.measured.quantile(0.5)) for window in columns))
    row("  p99", *(duration(window.measured.quantile(0.99)) for window in columns))
    row("origin loads/s", *(f"{window.query_rate:,.0f}" for window in columns))
    row("origin queries/s spared", *(f"{window.read_rate - window.query_rate:,.0f}" for window in columns))
    row("failed requests", *(f"{window.failures:,}" for window in columns))
    row("outdated reads", *(f"{window.violations:,}" for window in columns))
    out.print()
    out.print(table)


def _levels(out: Console, last: Snapshot, whole: Window) -> None:
    titles = ("reads", "hits", "hit rate", "mean", "p50", "p99", "errors", "timeouts", "fills", "refused", "breaker")
    table = _grid("level", titles)
    for place, level in enumerate(last.all):
        origin = level is last.origin
        times = [duration(value if level.timed else math.nan) for value in (level.mean, level.p50, level.p99)]
        table.add_row(
            escape(level.name if origin else f"L{place + 1} {level.name}"),
            f"{level.reads:,}",
            f"{level.hits:,}",
            "" if origin else _percent(level.hit_rate),
            *times,
            f"{level.errors:,}",
            *(
                ("", "", "", "")
                if origin
                else (f"{level.timeouts:,}", f"{level.fills:,}", f"{level.fills_refused:,}", level.state)
            ),
        )
    out.print()
    out.print(table)
    out.print(
        "[dim]Times of a level are of its round trips; refused: loads that a write had overtaken.\n"
        "By the formula: sum over the levels of the share of reads that get there x its latency, without what it takes "
        "to fill levels; "
        f"mean, p50, p99: {whole.measured.count:,} reads as the threads timed them.[/]",
        highlight=False,
    )


def _verdict(out: Console, outcome: Outcome, whole: Window) -> None:
    out.print()
    out.print(
        f"[bold]Spared[/]    {whole.queries:,} loads for {whole.reads:,} reads: the origin was spared "
        f"{_percent(whole.spared)}, or {whole.read_rate - whole.query_rate:,.0f} queries a second.",
        highlight=False,
    )
    style = "bold red" if whole.violations else "green"
    out.print(
        f"[bold]Coherent[/]  [{style}]{whole.violations:,} of {whole.reads:,} reads returned a value older than "
        f"the last completed write[/] ({whole.writes:,} writes).",
        highlight=False,
    )
    for example in outcome.violations:
        out.print(f"          {escape(example)}", highlight=False, style="red")
    if outcome.failures:
        out.print(f"[bold]Failed[/]    [bold red]{sum(outcome.failures.values()):,} requests[/]:", highlight=False)
        for reason, count in outcome.failures.most_common(5):
            out.print(f"          {count:,} x {escape(reason)}", highlight=False)


def _standings(out: Console, standings: Sequence[Standing]) -> None:
    titles = ("requests", "L1 hit rate", "lower levels", "origin loads", "mean", "by the formula", "p99")
    table = _grid("L1 policy", titles)
    for one in standings:
        window = one.window
        table.add_row(
            one.policy if one.whole else f"{one.policy} (broken off)",
            f"{window.reads + window.writes:,}",
            _percent(window.hit_rates[0]),
            _percent(sum(window.shares[1:-1])),
            f"{window.queries:,}",
            duration(window.measured.mean),
            duration(window.formula),
            duration(window.measured.quantile(0.99)),
        )
    out.print()
    out.print("[bold]The same requests with each policy[/]", highlight=False)
    out.print(table)


def _window(window: Window | None) -> dict[str, Any] | None:
    if window is None:
        return None

    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {
        "phase": window.phase,
        "start": window.start,
        "seconds": window.seconds,
        "reads": window.reads,
        "writes": window.writes,
        "failed": window.failures,
        "outdated": window.violations,
        "loads": window.queries,
        "loads_per_second": window.query_rate,
        "spared_per_second": window.read_rate - window.query_rate,
        "shares": list(window.shares),
        "hit_rates": [number(rate) for rate in window.hit_rates],
        "latencies": [number(latency) for latency in window.latencies],
        "formula": number(window.formula),
        "mean": number(window.measured.mean),
        "p50": number(window.measured.quantile(0.5)),
        "p99": number(window.measured.quantile(0.99)),
        "stale_served": window.stale_served,
        "breakers": list(window.states),
    }


def as_dict(outcome: Outcome) -> dict[str, Any]:
    """Return the whole run for JSON; times in seconds, lists by level with the origin last."""
    plan, last = outcome.plan, outcome.last
    phases = {phase: total(window for window in outcome.windows if window.phase == phase) for phase in _PHASES}
    return {
        "machine": outcome.machine,
        "versions": outcome.versions,
        "plan": {
            "levels": plan.levels,
            "workload": plan.stream.name,
            "users": plan.users,
            "seconds": plan.seconds,
            "threads": plan.threads,
            "rate": plan.rate,
            "l1": plan.l1,
            "policies": list(plan.policies),
            "origin_latency": plan.origin_latency,
            "write_share": plan.write_share,
            "seed": plan.seed,
            "warm": plan.warm,
            "persistent": plan.persistent,
            "killed_at": KILLED_AT * plan.seconds,
            "restored_at": RESTORED_AT * plan.seconds,
        },
        "interrupted": outcome.interrupted,
        "killed": outcome.killed,
        "restored": outcome.restored,
        "phases": {phase: _window(window) for phase, window in phases.items()},
        "all": _window(total(outcome.windows)),
        "levels": [
            {
                "name": level.name,
                "reads": level.reads,
                "hits": level.hits,
                "mean": level.mean,
                "p50": level.p50,
                "p99": level.p99,
                "errors": level.errors,
                "timeouts": level.timeouts,
                "fills": level.fills,
                "fills_refused": level.fills_refused,
                "state": level.state,
            }
            for level in (last.all if last else ())
        ],
        "response_time": last.response_time if last else None,
        "violations": outcome.violations,
        "failures": dict(outcome.failures),
        "policies": [
            {"policy": one.policy, "whole": one.whole} | (_window(one.window) or {}) for one in outcome.standings
        ],
        "notes": outcome.notes,
        "timeline": [_window(window) for window in outcome.windows],
    }
