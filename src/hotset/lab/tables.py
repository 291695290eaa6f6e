"""Tables and progress of the lab on a terminal, and its figures as CSV."""

from __future__ import annotations

import contextlib
import csv
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hotset.lab.replays import OFFLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from hotset.lab.curves import Curve
    from hotset.lab.replays import Replays
    from hotset.lab.trace import Trace

__all__ = ["console", "curve_table", "progress", "replay_table", "told", "write_csv"]

_PIPE_WIDTH = 160


def console() -> Console:
    """Return a console on standard output; wide where it is no terminal."""
    probe = Console()
    return probe if probe.is_terminal else Console(width=_PIPE_WIDTH)


@contextlib.contextmanager
def progress(total: int, *, quiet: bool = False) -> Iterator[Callable[[str], object]]:
    """Show progress on standard error if that is a terminal: a bar that what it yields moves on by one."""
    out = Console(stderr=True)
    if quiet or not out.is_terminal:
        yield lambda _text: None
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda text: bar.update(task, description=escape(text), advance=1)


def told(trace: Trace) -> str:
    """Return what a trace is, in a line."""
    sampled = f", a sample of {100 * trace.rate:g} % of the keys" if trace.rate < 1.0 else ""
    has = [name for name in ("sizes", "costs", "times") if getattr(trace, name) is not None]
    return (
        f"{trace.name}: {len(trace):,} requests, {trace.distinct:,} distinct keys{sampled}"
        f"{', with ' + ', '.join(has) if has else ''}"
    )


def replay_table(out: Console, replays: Replays) -> None:
    """Print hit ratios in percent: a line for each policy, a column for each size, the best online one of each bold."""
    unit = "B" if replays.weigh else ""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("hit ratio, %")
    for size in replays.sizes:
        table.add_column(f"{size:,}{unit}", justify="right")
    online = any(policy not in OFFLINE for policy in replays.policies)
    best = {size: replays.best(size).hits for size in replays.sizes} if online else {}
    for policy in replays.policies:
        cells = []
        for cell in replays.of(policy):
            text = f"{100 * cell.hit_ratio:.2f}"
            if cell.byte_hit_ratio is not None:
                text += f" [dim]({100 * cell.byte_hit_ratio:.1f})[/]"
            first = policy not in OFFLINE and cell.hits == best[cell.size]
            cells.append(f"[bold green]{text}[/]" if first else text)
        table.add_row(f"[dim]{policy}[/]" if policy in OFFLINE else policy, *cells)
    out.print(table)
    if replays.weigh:
        out.print("[dim]in brackets: of the bytes[/]")


def curve_table(out: Console, curves: Sequence[Curve], sizes: Sequence[int]) -> None:
    """Print miss ratios in percent: a line for each size, a column for each curve."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("size", justify="right")
    for curve in curves:
        table.add_column(curve.policy + ("*" if curve.rate < 1.0 else ""), justify="right")
    for size in sizes:
        table.add_row(f"{size:,}", *(f"{100 * curve.at(size):.2f}" for curve in curves))
    out.print(table)
    sampled = next((curve.rate for curve in curves if curve.rate < 1.0), None)
    if sampled is not None:
        out.print(f"[dim]* from a sample of {100 * sampled:.3g} % of the keys[/]")


def write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows under a line of names."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
