"""The timeline of a run: who answered the reads, how long they took, and what the origin had to do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from hotset.demo.report import duration
from hotset.demo.windows import total

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from hotset.demo.outcome import Outcome
    from hotset.demo.windows import Window

__all__ = ["draw"]

_INK, _QUIET, _GRID, _DEAD = "#1f2933", "#6b7785", "#e4e8ec", "#d1495b"
_LEVELS = ("#0072b2", "#56b4e9", "#009e73", "#7a5195")
_ORIGIN = "#e69f00"
_LADDER = {3: "memory, Valkey, SQLite", 5: "memory, two Valkeys, a replica, SQLite"}
_MEASURED, _FORMULA, _SLOW = "#1f2933", "#cc3d6e", "#b8c2cc"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _QUIET,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
}
_RIGHT = 1.012  # where the words beside a panel begin, as a share of its width


def draw(outcome: Outcome, path: Path) -> None:
    """Write the picture; the format follows the suffix, PNG without one. Raises ValueError if nothing was measured."""
    if not outcome.windows:
        raise ValueError("nothing was measured, so there is nothing to draw")
    with mpl.rc_context(_STYLE):
        figure = _compose(outcome)
        FigureCanvasAgg(figure)
        figure.savefig(path, dpi=150, facecolor="white", format=path.suffix.lstrip(".") or "png")


def _compose(outcome: Outcome) -> Figure:
    compared = bool(outcome.standings)
    height = 10.6 + (0.95 + 0.32 * len(outcome.standings) if compared else 0.0)
    figure = Figure(figsize=(12.0, height))
    bottom = height - 1.25
    panels = []
    for inches in (2.8, 2.5, 2.0):
        bottom -= inches
        panels.append(figure.add_axes((0.065, bottom / height, 0.765, inches / height)))
        bottom -= 0.65
    windows = outcome.windows
    end = windows[-1].start + windows[-1].seconds
    _answers(panels[0], outcome)
    _times(panels[1], windows)
    _load(panels[2], windows)
    for panel in panels:
        _frame(panel, outcome, end)
    panels[-1].set_xlabel("seconds", fontsize=8.5)
    if compared:
        inches = 0.32 * len(outcome.standings)
        _policies(figure.add_axes((0.13, 0.62 / height, 0.70, inches / height)), outcome)
    _words(figure, outcome, height)
    return figure


def _middles(windows: Sequence[Window]) -> list[float]:
    return [window.start + window.seconds / 2 for window in windows]


def _edges(windows: Sequence[Window]) -> list[float]:
    """Return where each window begins, and the end of the last one: for steps."""
    return [window.start for window in windows] + [windows[-1].start + windows[-1].seconds]


def _frame(axes: Axes, outcome: Outcome, end: float) -> None:
    """Shade the outage, and take away what is no data."""
    if outcome.killed is not None:
        until = end if outcome.restored is None else outcome.restored
        # Above the areas, which would hide it.
        axes.axvspan(outcome.killed, until, color=_DEAD, alpha=0.13, zorder=5, linewidth=0)
        for moment in (outcome.killed, outcome.restored):
            if moment is not None:
                axes.axvline(moment, color=_DEAD, linewidth=0.9, linestyle=(0, (4, 3)), zorder=6)
    axes.set_xlim(0, end)
    axes.tick_params(length=0, labelsize=8.5)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10, fontweight="bold", color=_INK, pad=7)


def _beside(axes: Axes, at: float, text: str, colour: str, *, bold: bool = True) -> None:
    axes.text(
        _RIGHT,
        at,
        text,
        transform=axes.transAxes,
        va="center",
        color=colour,
        fontsize=9,
        fontweight="bold" if bold else "normal",
    )


def _answers(axes: Axes, outcome: Outcome) -> None:
    windows = outcome.windows
    names = [level.name for level in outcome.last.levels] if outcome.last else []
    labels = [f"L{number} {name}" for number, name in enumerate(names, 1)] + ["origin"]
    colours = [*(_LEVELS[place % len(_LEVELS)] for place in range(len(names))), _ORIGIN]
    shares = [[100 * window.shares[place] for window in windows] for place in range(len(labels))]
    axes.stackplot(
        _edges(windows),
        [[*share, share[-1]] for share in shares],
        step="post",
        colors=colours,
        zorder=2,
        alpha=0.88,
        linewidth=0,
    )
    whole = total(windows)
    for place, (label, colour) in enumerate(zip(labels, colours, strict=True)):
        mean = 100 * whole.shares[place] if whole else math.nan
        _beside(axes, 0.93 - 0.105 * place, f"{label}  {mean:.1f} %", colour)
    axes.set_ylim(0, 100)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:.0f} %"))
    _title(axes, "Hit rate by level: who answered the reads")
    across = axes.get_xaxis_transform()
    for moment, text in (
        (outcome.killed, "L2 killed"),
        (outcome.restored, "L2 back, outdated" if outcome.plan.persistent else "L2 back, empty"),
    ):
        if moment is not None:
            axes.text(moment, 1.02, f" {text}", transform=across, fontsize=8, color=_DEAD, va="bottom")


def _times(axes: Axes, windows: Sequence[Window]) -> None:
    middles = _middles(windows)
    whole = total(windows)
    drawn = [
        ("p99", _SLOW, 1.4, "-", [window.measured.quantile(0.99) for window in windows]),
        ("mean, by the formula", _FORMULA, 1.6, (0, (3, 1.5)), [window.formula for window in windows]),
        ("mean, measured", _MEASURED, 1.8, "-", [window.measured.mean for window in windows]),
    ]
    for _, colour, width, dashes, values in drawn:
        # Nothing at all cannot be drawn on a scale of logarithms.
        shown = [value if value > 0 else math.nan for value in values]
        axes.plot(middles, shown, color=colour, linewidth=width, linestyle=dashes, zorder=4)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _position: duration(value).replace(".00", "").replace(".0", ""))
    )
    axes.grid(visible=True, axis="y", color=_GRID, linewidth=0.8)
    _title(axes, "Response time of a read (log scale)")
    if whole is None:
        return
    totals = (whole.measured.quantile(0.99), whole.formula, whole.measured.mean)
    for place, ((label, colour, *_), value) in enumerate(zip(reversed(drawn), reversed(totals), strict=True)):
        name, _, rest = label.partition(", ")
        _beside(axes, 0.93 - 0.125 * place, f"{rest or name}  {duration(value)}", colour if colour != _SLOW else _QUIET)


def _load(axes: Axes, windows: Sequence[Window]) -> None:
    loads = [window.query_rate for window in windows]
    reads = [window.read_rate for window in windows]
    axes.fill_between(
        _edges(windows), [*loads, loads[-1]], step="post", color=_ORIGIN, alpha=0.85, zorder=3, linewidth=0
    )
    axes.plot(_middles(windows), reads, color=_QUIET, linewidth=1.2, linestyle=(0, (4, 3)), zorder=4)
    axes.set_ylim(0, max([*reads, *loads, 1.0]) * 1.12)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
    axes.grid(visible=True, axis="y", color=_GRID, linewidth=0.8)
    _title(axes, "Queries a second at the origin")
    whole = total(windows)
    if whole is None:
        return
    _beside(axes, 0.93, f"without a cache  {whole.read_rate:,.0f}/s", _QUIET)
    _beside(axes, 0.77, f"loads  {whole.query_rate:,.0f}/s", _ORIGIN)
    _beside(axes, 0.61, f"spared  {100 * whole.spared:.1f} %", _INK)


def _policies(axes: Axes, outcome: Outcome) -> None:
    standings = outcome.standings
    places = range(len(standings))
    rates = [100 * one.window.hit_rates[0] for one in standings]
    rates = [0.0 if math.isnan(rate) else rate for rate in rates]
    axes.barh(places, rates, height=0.66, color=_LEVELS[0], zorder=2)
    for place, one, rate in zip(places, standings, rates, strict=True):
        axes.text(
            rate + 0.8,
            place,
            f"{rate:.1f} %   {one.window.queries:,} loads   mean {duration(one.window.measured.mean)}",
            va="center",
            fontsize=8.5,
        )
    axes.set_yticks(list(places), [one.policy for one in standings])
    axes.invert_yaxis()
    axes.set_xlim(0, max([*rates, 1.0]) * 1.5)
    axes.xaxis.set_major_locator(NullLocator())
    axes.tick_params(length=0, labelsize=9, labelcolor=_INK)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    _title(axes, "Hit rate of L1 by policy, the same requests, no outage")


def _words(figure: Figure, outcome: Outcome, height: float) -> None:
    plan, described = outcome.plan, outcome.machine
    whole = total(outcome.windows)
    rate = f"{plan.rate:,.0f} requests/s" if plan.rate else "as fast as it goes"
    figure.text(
        0.02,
        1 - 0.36 / height,
        f"hotset {outcome.versions['hotset']}: {_LADDER[plan.levels]}",
        fontsize=17,
        fontweight="bold",
        va="center",
    )
    outdated = f"{whole.violations:,} of {whole.reads:,} reads older than the last write" if whole else ""
    figure.text(
        0.02,
        1 - 0.70 / height,
        f"{plan.stream.name}; {plan.users:,} users, L1 {plan.l1:,} entries ({plan.policies[0]}), "
        f"{plan.threads} threads, {rate}, {100 * plan.write_share:g} % writes.  {outdated}.",
        fontsize=9.5,
        va="center",
        color=_QUIET,
    )
    named = ", ".join(f"{name} {version}" for name, version in outcome.versions.items() if name != "hotset")
    figure.text(
        0.02,
        0.2 / height,
        f"{described['processor']}, {described['cores']} cores, {described['system']}, {described['python']}; {named}; "
        f"origin + {1000 * plan.origin_latency:g} ms of simulated network",
        fontsize=7.5,
        va="center",
        color=_QUIET,
    )
