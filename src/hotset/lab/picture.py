"""Pictures of the lab: hit ratios by size, miss-ratio curves, and bars of an experiment."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from hotset.lab.replays import OFFLINE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from hotset.lab.curves import Curve
    from hotset.lab.replays import Replays

__all__ = ["draw_bars", "draw_curves", "draw_replays", "image"]

_INK, _QUIET, _GRID = "#1f2933", "#6b7785", "#e4e8ec"
_COLOURS = {
    "lru": "#0072b2",
    "lfu": "#e69f00",
    "arc": "#009e73",
    "tinylfu": "#cc3d6e",
    "fifo": "#7a5195",
    "rr": "#8c6d46",
}
# For policies that have no colour of their own.
_OTHERS = ("#56b4e9", "#d55e00", "#3b7d23", "#b565d9", "#c2a500", "#5f6caf", "#a0522d", "#2a9d8f", "#e377c2", "#444444")
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _QUIET,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
}


def draw_replays(replays: Replays) -> Figure:
    """Draw hit ratios by size, a line for each policy."""
    lines = {
        policy: ([cell.size for cell in replays.of(policy)], [100 * cell.hit_ratio for cell in replays.of(policy)])
        for policy in replays.policies
    }
    unit = "bytes" if replays.weigh else "entries"
    trace = replays.trace
    title = f"{trace.name}: {len(trace):,} requests, {trace.distinct:,} distinct keys"
    return _lines(lines, title, f"capacity, {unit} (log scale)", "hit ratio", marked=len(replays.sizes) <= 24)


def draw_curves(curves: Sequence[Curve], title: str) -> Figure:
    """Draw miss ratios by size, a line for each policy; a sampled curve is dashed."""
    lines = {}
    for curve in curves:
        thin = curve.thinned()
        lines[curve.policy] = (thin.sizes.tolist(), [100 * float(ratio) for ratio in thin.miss_ratios])
    sampled = {curve.policy for curve in curves if curve.rate < 1.0}
    return _lines(lines, title, "capacity, entries (log scale)", "miss ratio", sampled=sampled)


def draw_bars(groups: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Draw hit ratios as bars: a group for each pattern, a bar for each policy."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.0, 1.6 + 0.32 * sum(len(bars) + 1 for bars in groups.values())))
        axes = figure.add_axes((0.16, 0.06, 0.8, 0.82))
        place = 0.0
        colours = _palette([policy for bars in groups.values() for policy in bars])
        for group, bars in groups.items():
            axes.text(0, place, group, fontweight="bold", va="center", color=_INK)
            for policy, ratio in bars.items():
                place += 1.0
                axes.barh(place, 100 * ratio, height=0.7, color=colours[policy])
                axes.text(-0.8, place, policy, ha="right", va="center", color=_INK)
                axes.text(100 * ratio + 0.6, place, f"{100 * ratio:.1f} %", va="center", color=_INK)
            place += 1.4
        axes.set_ylim(place - 0.6, -0.8)
        axes.set_xlim(0, 108)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(NullLocator())
        for side in axes.spines.values():
            side.set_visible(False)
        figure.text(0.02, 0.94, title, fontsize=12, fontweight="bold", va="center")
        return figure


def image(figure: Figure, path: Path | None = None, kind: str | None = None) -> bytes:
    """Return a figure as a picture, PNG unless the name says else, and write it to the file if there is one."""
    FigureCanvasAgg(figure)
    written = io.BytesIO()
    chosen = kind or (path.suffix.lstrip(".").lower() if path is not None else "") or "png"
    with mpl.rc_context(_STYLE):
        figure.savefig(written, dpi=150, facecolor="white", format=chosen)
    if path is not None:
        path.write_bytes(written.getvalue())
    return written.getvalue()


def _palette(policies: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    others = iter(_OTHERS * (1 + len(policies) // len(_OTHERS)))
    for policy in policies:
        if policy not in found:
            found[policy] = _INK if policy in OFFLINE else _COLOURS.get(policy) or next(others)
    return found


def _lines(
    lines: Mapping[str, tuple[list[int], list[float]]],
    title: str,
    across: str,
    up: str,
    *,
    marked: bool = False,
    sampled: set[str] | frozenset[str] = frozenset(),
) -> Figure:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10.0, 5.6))
        axes = figure.add_axes((0.075, 0.11, 0.73, 0.76))
        colours = _palette(list(lines))
        for policy, (sizes, percent) in lines.items():
            style: Any = "--" if policy in OFFLINE else (0, (5, 1.5)) if policy in sampled else "-"
            axes.plot(
                sizes,
                percent,
                linestyle=style,
                color=colours[policy],
                linewidth=1.4 if policy in OFFLINE else 1.9,
                marker="o" if marked else "",
                markersize=3.5,
                label=policy + (" (limit)" if policy in OFFLINE else "") + (" (sampled)" if policy in sampled else ""),
            )
        _axes(axes, across, up)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=9)
        figure.text(0.02, 0.94, title, fontsize=12, fontweight="bold", va="center")
        return figure


def _axes(axes: Axes, across: str, up: str) -> None:
    axes.set_xscale("log")
    axes.set_ylim(0, 100)
    axes.xaxis.set_major_locator(LogLocator(numticks=10))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:.0f} %"))
    axes.grid(visible=True, color=_GRID, linewidth=0.8)
    axes.set_xlabel(across)
    axes.set_title(up, loc="left", fontsize=9, color=_QUIET)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
