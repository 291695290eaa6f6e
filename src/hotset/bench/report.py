"""Tables, progress and JSON: how a run is told to a person and to a program."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hotset.bench.hit_ratio import Cell, means
from hotset.bench.replay import ReplayFigure, capacities
from hotset.bench.short import ShortForm, median_ratio, spread_percent

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hotset.bench.bars import Verdict
    from hotset.bench.latency import Spread
    from hotset.bench.memory import Footprint
    from hotset.bench.rows import Result, Sizes
    from hotset.bench.sizes import Scale
    from hotset.bench.timing import Advance

_OURS = "bold green"
_STYLE = {"met": "green", "missed": "bold red", "not measured": "yellow"}
_PIPE_WIDTH = 118


def console() -> Console:
    """Return a console on standard output; wide enough for the tables where it is no terminal."""
    probe = Console()
    return probe if probe.is_terminal else Console(width=_PIPE_WIDTH)


@contextlib.contextmanager
def progress(total: int) -> Iterator[Advance]:
    """Show progress on standard error: a bar on a terminal, else a line for each tenth."""
    out = Console(stderr=True)
    if not out.is_terminal:
        done = 0

        def tell(text: str) -> None:
            nonlocal done
            if done * 10 // max(1, total) != (done - 1) * 10 // max(1, total):
                sys.stderr.write(f"{min(100, 100 * done // max(1, total)):3d} %  {text}\n")
                sys.stderr.flush()
            done += 1

        yield tell
        return
    columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("", total=total)
        started = False

        def advance(text: str) -> None:
            nonlocal started
            bar.update(task, description=escape(text), advance=1 if started else 0)
            started = True

        yield advance


def heading(out: Console, machine: Mapping[str, str], found: Mapping[str, str], missing: Mapping[str, str]) -> None:
    """Print machine, versions and the rivals that are left out."""
    out.print(
        f"[bold]Machine[/]   {escape(machine['processor'])}, {machine['cores']} cores, "
        f"{machine['architecture']}, {escape(machine['system'])}, pinned: {machine.get('pinned', 'no')}",
        highlight=False,
    )
    named = ", ".join(f"{name} {version}" for name, version in found.items())
    out.print(f"[bold]Versions[/]  {machine['python']}, {named}", highlight=False)
    if missing:
        left_out = ", ".join(f"{name} ({reason})" for name, reason in missing.items())
        out.print(f"[bold]Left out[/]  {escape(left_out)}", highlight=False)


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def short_form(out: Console, form: ShortForm) -> None:
    """Print the table of `hotset bench`."""
    heading(out, form.machine, form.versions, form.missing)
    work = form.workload
    described = f"{len(work.ids):,} requests, {len(work.distinct):,} distinct keys"
    settings = f"capacity {form.plan.capacity:,}, seed {form.plan.seed}"
    out.print(f"[bold]Workload[/]  {escape(work.name)}: {described}, {settings}", highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("cache", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    for title in ("hit ns", "x dict", "read-through ns", "x dict", "hit ratio %", "bytes/entry"):
        table.add_column(title, justify="right", no_wrap=True)
    base = form.base
    group = None
    for standing in form.standings:
        if group not in (None, standing.policy):
            table.add_row()
        group = standing.policy
        memory = standing.footprint
        table.add_row(
            standing.name,
            standing.policy,
            _number(standing.hit.median if standing.hit else None),
            _times(median_ratio(standing.hit, base.hit)),
            _number(standing.read_through.median if standing.read_through else None),
            _times(median_ratio(standing.read_through, base.read_through)),
            _number(None if standing.hit_ratio is None else 100 * standing.hit_ratio, 2),
            _number(memory.worst if memory else None),
            style=_OURS if standing.ours else "",
        )
    out.print()
    out.print(table)
    out.print()
    figures = [f for standing in form.standings for f in (standing.hit, standing.read_through) if f]
    notes = [
        f"hit: get of a str key, {form.plan.sizes.hot:,} hot keys of {form.plan.sizes.capacity:,}.",
        "read-through: get, and set on a miss, from a cold start.",
        "dict never evicts: it is unbounded, and its hit ratio is the most any cache can reach.",
    ]
    if form.plan.rounds > 1:
        spread = f"the rounds differ by {spread_percent(figures):.0f} % (median)"
        notes.append(f"ns are medians of {form.plan.rounds} rounds in random order, the loop included; {spread}.")
    if form.plan.memory_entries:
        notes.append(
            f"bytes/entry: growth of resident memory at {form.plan.memory_entries:,} int keys, keys and "
            "values excluded; the larger of freshly filled and churned."
        )
    for note in notes:
        out.print(f"[dim]{escape(note)}[/]", highlight=False)


def result(out: Console, found: Result) -> None:
    """Print one row of the throughput benchmark with its bars."""
    table = _table("contestant", [found.row.unit, "fastest", "slowest", f"x {found.row.base}"])
    for name, figure in sorted(found.figures.items(), key=lambda item: item[1].median):
        table.add_row(
            name,
            _number(figure.median),
            _number(figure.fastest),
            _number(figure.slowest),
            _times(found.ratio(name)),
            style=_style(name),
        )
    out.print()
    out.print(f"[bold]{found.row.key}[/]  {escape(found.row.title)}", highlight=False)
    out.print(table)
    verdicts(out, found.verdicts)


def verdicts(out: Console, found: Sequence[Verdict]) -> None:
    """Print the bars with what was measured."""
    for verdict in found:
        measured = "" if verdict.value is None else f": {verdict.value:.4g}"
        out.print(
            f"  [{_STYLE[verdict.outcome]}]{verdict.outcome:<7}[/] "
            f"{escape(verdict.entrant)} {escape(verdict.limit)}{measured}",
            highlight=False,
        )


def _table(first: str, titles: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _style(name: str) -> str:
    return _OURS if name.startswith("hotset") else ""


def replay_table(out: Console, figures: Sequence[ReplayFigure], sizes: Sizes) -> None:
    """Print the speed of replay by capacity."""
    shown = capacities(sizes)
    table = _table("policy", [f"at {capacity:,}" for capacity in shown])
    for policy in dict.fromkeys(figure.policy for figure in figures):
        row = {figure.capacity: figure for figure in figures if figure.policy == policy}
        cells = [f"{row[capacity].millions:.1f} M/s  {row[capacity].nanoseconds:.1f} ns" for capacity in shown]
        table.add_row(policy, *cells)
    out.print()
    title = f"{sizes.replay:,} requests of zipf(1.0) over {sizes.universe:,} keys, by capacity"
    out.print(f"[bold]replay[/]  {title}", highlight=False)
    out.print(table)


def memory_table(out: Console, figures: Mapping[str, Footprint | str], entries: int) -> None:
    """Print bytes an entry, fresh and churned."""
    table = _table("contestant", ["plain", "churned", "worst"])
    measured = {name: one for name, one in figures.items() if not isinstance(one, str)}
    for name, one in sorted(measured.items(), key=lambda item: item[1].worst):
        table.add_row(name, _number(one.plain), _number(one.churned), _number(one.worst), style=_style(name))
    out.print()
    out.print(
        f"[bold]bytes an entry[/]  {entries:,} int keys, resident memory, keys and values excluded",
        highlight=False,
    )
    out.print(table)
    for name, reason in figures.items():
        if isinstance(reason, str):
            out.print(f"{name}: {reason}", highlight=False, markup=False)


def latency_table(out: Console, spreads: Mapping[str, Mapping[str, Spread]], capacity: int, clock_ns: float) -> None:
    """Print percentiles of reads and of writes."""
    for kind, meaning in (("get", "reads, zipf(1.0)"), ("set", "overwrites and sets of new keys")):
        table = _table("contestant", ["p50 ns", "p99 ns", "p99.9 ns", "max us"])
        for name, by_kind in sorted(spreads.items(), key=lambda item: item[1][kind].p99):
            one = by_kind[kind]
            table.add_row(
                name,
                _number(one.p50, 0),
                _number(one.p99, 0),
                _number(one.p999, 0),
                _number(one.slowest / 1e3),
                style=_style(name),
            )
        out.print()
        out.print(f"[bold]{kind}[/]  {meaning}; capacity {capacity:,}, the cache starts empty", highlight=False)
        out.print(table)
    out.print(
        f"Each figure includes one reading of the clock: {clock_ns:.0f} ns here.",
        highlight=False,
        style="dim",
    )


def hit_ratio_table(out: Console, cells: Sequence[Cell]) -> None:
    """Print hit ratios in percent, a line a contestant, a column a capacity, a table a workload."""
    for name in dict.fromkeys(cell.workload for cell in cells):
        group = [cell for cell in cells if cell.workload == name]
        table = _table("policy", [f"at {cell.capacity:,}" for cell in group])
        for contestant in group[0].ratios:
            ratios = [f"{100 * cell.ratios[contestant]:.2f}" for cell in group]
            table.add_row(contestant, *ratios, style=_style(contestant))
        out.print()
        out.print(
            f"[bold]{escape(name)}[/]  {group[0].requests:,} requests, {group[0].distinct:,} distinct keys",
            highlight=False,
        )
        out.print(table)
    table = _table("mean of all", ["hit ratio %"])
    for contestant, mean in sorted(means(cells).items(), key=lambda item: -item[1]):
        table.add_row(contestant, f"{100 * mean:.2f}", style=_style(contestant))
    out.print()
    out.print(table)


def summary(out: Console, found: Sequence[Verdict], *, full: bool) -> None:
    """Print how many bars were met, and whether this run can tell."""
    counts = Counter(verdict.outcome for verdict in found)
    out.print()
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in _STYLE if counts[outcome])
    out.print(f"[bold]Bars[/]  {told or 'none'}", highlight=False)
    if not full:
        out.print("The bars are meant for the full size; this run was smaller.", style="yellow", highlight=False)


def result_dict(found: Result) -> dict[str, Any]:
    """Return a row for JSON."""
    return {
        "title": found.row.title,
        "unit": found.row.unit,
        "base": found.row.base,
        "figures": {name: figure.as_dict() | {"ratio": found.ratio(name)} for name, figure in found.figures.items()},
    }


def write_rows(
    path: Path,
    here: Mapping[str, str],
    software: Mapping[str, str],
    missing: Mapping[str, str],
    args: argparse.Namespace,
    sizes: Scale,
    rows: Mapping[str, object],
) -> None:
    """Write what a script has measured so far as JSON, with where and how."""
    content = {"machine": here, "versions": software, "missing": missing, "sizes": sizes.as_dict()}
    write_json(path, content | {"seed": args.seed, "clock": args.clock, "rows": rows})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write the run as JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
