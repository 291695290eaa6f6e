"""The picture of a short run: speed and memory bars grouped by policy, and hit-ratio curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from hotset.bench.short import ShortForm, Standing

_INK, _QUIET, _GRID, _RIVAL, _DICT = "#1f2933", "#6b7785", "#e4e8ec", "#b8c2cc", "#52606d"
_COLOURS = {
    "lru": "#0072b2",
    "lfu": "#e69f00",
    "arc": "#009e73",
    "tinylfu": "#cc3d6e",
    "auto": "#222222",
    "fifo": "#7a5195",
    "rr": "#8c6d46",
}
_NAMES = {
    "lru": "LRU",
    "lfu": "LFU",
    "arc": "ARC",
    "tinylfu": "W-TinyLFU",
    "fifo": "FIFO",
    "rr": "Random",
    "auto": "Auto",
}
# A bar beyond this many times the dict is cut: a slow rival must not squeeze the rest together.
_CUT = 8.0
# Behind words, so that the line of the dict does not run through them.
_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _QUIET,
    "xtick.color": _QUIET,
    "ytick.color": _INK,
}


def draw(form: ShortForm, path: Path) -> None:
    """Write the picture; the format follows the suffix, PNG without one."""
    with mpl.rc_context(_STYLE):
        figure = _compose(form)
        FigureCanvasAgg(figure)
        figure.savefig(path, dpi=150, facecolor="white", format=path.suffix.lstrip(".") or "png")


def _compose(form: ShortForm) -> Figure:
    places, headings = _places(form.standings)
    lines = max(places.values()) + 1.2
    bars_inches, curve_inches, top_inches = 0.235 * lines, 3.4, 1.25
    height = top_inches + bars_inches + 0.9 + curve_inches + 0.75
    figure = Figure(figsize=(12.0, height))

    def box(left: float, bottom_inches: float, width: float, inches: float) -> Axes:
        return figure.add_axes((left, bottom_inches / height, width, inches / height))

    bars_bottom = 0.75 + curve_inches + 0.9
    memory = any(standing.footprint for standing in form.standings)
    count = 3 if memory else 2
    left, gap = 0.165, 0.025
    width = (0.985 - left - (count - 1) * gap) / count
    columns: list[tuple[str, Callable[[Standing], float | None]]] = [
        ("Hit on a hot key, ns", lambda one: one.hit.median if one.hit else None),
        ("Read-through, ns a request", lambda one: one.read_through.median if one.read_through else None),
    ]
    if memory:
        columns.append(("Resident memory, bytes an entry", lambda one: one.footprint.worst if one.footprint else None))
    for number, (title, value) in enumerate(columns):
        axes = box(left + number * (width + gap), bars_bottom, width, bars_inches)
        _bars(axes, form, places, lines, title, value)
        if number == 0:
            _names(axes, form.standings, places, headings)
    _curves(box(0.065, 0.75, 0.72, curve_inches), form)
    _words(figure, form, height)
    return figure


def _places(standings: Sequence[Standing]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the line of each contestant, and of the heading of each policy."""
    places: dict[str, float] = {}
    headings: dict[str, float] = {}
    line = 0.0
    group = None
    for standing in standings:
        if standing.policy != group:
            group = standing.policy
            if group != "none":
                line += 0.35
                headings[group] = line
                line += 1.0
        places[standing.name] = line
        line += 1.0
    return places, headings


def _colour(standing: Standing) -> str:
    if standing.policy == "none":
        return _DICT
    return _COLOURS[standing.policy] if standing.ours else _RIVAL


def _bars(
    axes: Axes,
    form: ShortForm,
    places: dict[str, float],
    lines: float,
    title: str,
    value: Callable[[Standing], float | None],
) -> None:
    base = value(form.base) or 1.0
    values = {standing.name: value(standing) for standing in form.standings}
    largest = max((found for found in values.values() if found is not None), default=1.0)
    limit = min(largest, _CUT * base)
    for standing in form.standings:
        found, place = values[standing.name], places[standing.name]
        if found is None:
            axes.text(
                limit * 0.012,
                place,
                "a memoizer: has no get",
                va="center",
                color=_QUIET,
                fontsize=7.5,
                style="italic",
                bbox=_PAPER,
                zorder=5,
            )
            continue
        shown = min(found, limit)
        axes.barh(place, shown, height=0.68, color=_colour(standing), zorder=2)
        if found > limit:
            for shift in (0.955, 0.975):
                axes.plot(
                    [limit * (shift - 0.008), limit * (shift + 0.008)],
                    [place + 0.5, place - 0.5],
                    color="white",
                    linewidth=2.2,
                    zorder=3,
                )
        times = (
            ""
            if standing.policy == "none"
            else f"  {found / base:.{2 if found < 2 * base else 1}f}x"
            if found < 10 * base
            else f"  {found / base:.0f}x"
        )
        label = axes.text(
            shown + limit * 0.012,
            place,
            f"{found:,.0f}" if found >= 100 else f"{found:.1f}",
            va="center",
            fontsize=8,
            color=_INK,
            fontweight="bold" if standing.ours else "normal",
            bbox=_PAPER,
            zorder=5,
        )
        axes.annotate(times, (1, 0.5), xycoords=label, va="center", fontsize=7.5, color=_QUIET, bbox=_PAPER, zorder=5)
    axes.axvline(base, color=_DICT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=4)
    axes.set_xlim(0, limit * 1.27)
    axes.set_ylim(lines - 0.2, -0.7)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=_INK, pad=8)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(NullLocator())
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _names(axes: Axes, standings: Sequence[Standing], places: dict[str, float], headings: dict[str, float]) -> None:
    across = axes.get_yaxis_transform()
    for standing in standings:
        axes.text(
            -0.025,
            places[standing.name],
            "dict (never evicts)" if standing.policy == "none" else standing.name,
            transform=across,
            ha="right",
            va="center",
            fontweight="bold" if standing.ours else "normal",
            color=_colour(standing) if standing.ours else _INK,
        )
    for policy, line in headings.items():
        axes.text(
            -0.545,
            line + 0.05,
            _NAMES[policy],
            transform=across,
            va="center",
            fontsize=8.5,
            color=_QUIET,
            fontweight="bold",
        )


def _curves(axes: Axes, form: ShortForm) -> None:
    ends: list[tuple[float, str, str]] = []
    for policy, ratios in form.curves.items():
        percent = [100 * ratio for ratio in ratios]
        axes.plot(form.capacities, percent, color=_COLOURS[policy], linewidth=2.0, zorder=3, solid_capstyle="round")
        at = form.capacities.index(form.plan.capacity)
        axes.plot([form.plan.capacity], [percent[at]], "o", color=_COLOURS[policy], markersize=5, zorder=4)
        ends.append((percent[at], f"{_NAMES[policy]}  {percent[at]:.1f} %", _COLOURS[policy]))
    axes.set_xscale("log")
    axes.set_xlim(form.capacities[0], form.capacities[-1])
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:.0f} %"))
    axes.grid(visible=True, color=_GRID, linewidth=0.8)
    axes.axvline(form.plan.capacity, color=_QUIET, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
    axes.set_title("Hit ratio by capacity", loc="left", fontsize=10, fontweight="bold", color=_INK, pad=8)
    axes.set_xlabel("capacity, entries (log scale)", fontsize=8.5)
    axes.tick_params(length=0, labelsize=8.5)
    axes.tick_params(axis="y", labelcolor=_QUIET)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.text(
        1.03,
        0.97,
        f"At capacity {form.plan.capacity:,}",
        transform=axes.transAxes,
        va="top",
        fontsize=9,
        color=_QUIET,
    )
    for number, (_, label, colour) in enumerate(sorted(ends, reverse=True)):
        axes.text(
            1.03,
            0.87 - 0.085 * number,
            label,
            transform=axes.transAxes,
            va="top",
            fontsize=10,
            color=colour,
            fontweight="bold",
        )
    ceiling = form.base.hit_ratio
    if ceiling is not None:
        axes.text(
            1.03,
            0.87 - 0.085 * len(ends) - 0.02,
            f"any cache at most  {100 * ceiling:.1f} %",
            transform=axes.transAxes,
            va="top",
            fontsize=8.5,
            color=_QUIET,
        )


def _words(figure: Figure, form: ShortForm, height: float) -> None:
    work, described = form.workload, form.machine
    rivals = ", ".join(
        f"{name} {version}" for name, version in form.versions.items() if name not in {"hotset", "numpy"}
    )
    figure.text(
        0.02,
        1 - 0.36 / height,
        f"hotset {form.versions['hotset']}",
        fontsize=17,
        fontweight="bold",
        va="center",
        color=_INK,
    )
    figure.text(
        0.02,
        1 - 0.68 / height,
        f"{work.name}: {len(work.ids):,} requests, {len(work.distinct):,} distinct keys, "
        f"capacity {form.plan.capacity:,}.  "
        "Shorter bars are better; the dashed line is dict, 2x is twice the dict's.",
        fontsize=9.5,
        va="center",
        color=_QUIET,
    )
    figure.text(
        0.02,
        0.2 / height,
        f"{described['processor']}, {described['cores']} cores, {described['system']}, {described['python']}"
        + (f"; {rivals}" if rivals else ""),
        fontsize=7.5,
        va="center",
        color=_QUIET,
    )
