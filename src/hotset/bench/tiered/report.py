"""How a run's stampedes are told to a person; the rest is told by `hotset.bench.report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hotset.bench.tiered.stampede import Stampede

__all__ = ["stampede_table"]


def stampede_table(out: Console, found: Sequence[Stampede]) -> None:
    """Print loads and failures, a line a contestant."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("contestant", no_wrap=True)
    table.add_column("callers", no_wrap=True)
    for title in ("loads", "served", "failed", "ms"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in sorted(found, key=lambda one: (one.loads, one.seconds)):
        table.add_row(
            one.name,
            one.callers,
            f"{one.loads:,}",
            f"{one.served:,}",
            f"{one.failed:,}",
            f"{1e3 * one.seconds:,.0f}",
            style="bold green" if one.name.startswith("hotset") else "",
        )
    out.print()
    out.print("[bold]stampede[/]  one cold key, a load of 50 ms", highlight=False)
    out.print(table)
