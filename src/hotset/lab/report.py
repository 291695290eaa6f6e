"""The report of a trace: one HTML file with its pictures in it, which opens anywhere and reads well on a phone."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from hotset._version import __version__
from hotset.lab.picture import draw_curves, draw_replays, image
from hotset.lab.replays import OFFLINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from hotset.lab.advice import Advice
    from hotset.lab.curves import Curve
    from hotset.lab.replays import Replays

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light; } body { margin: 0 auto; max-width: 60rem; padding: 1rem; font: 1rem/1.5 system-ui,
sans-serif; color: #1f2933; background: #fff; } h1 { font-size: 1.5rem; line-height: 1.2; overflow-wrap: anywhere; } h2
{ font-size: 1.15rem; margin-top: 2rem; } img { max-width: 100%; height: auto; } .wide { overflow-x: auto; } table {
border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; } th, td { padding: .25rem .6rem;
text-align: right; border-bottom: 1px solid #e4e8ec; } th:first-child, td:first-child { text-align: left; } .best {
font-weight: bold; color: #00704f; } .quiet { color: #6b7785; } .verdict { padding: .75rem 1rem; border-left: .3rem
solid #0072b2; background: #f2f6f9; } li { margin: .4rem 0; }
""".strip()


def page(replays: Replays, curves: Sequence[Curve], advice: Advice | None) -> str:
    """Return the report as the text of an HTML file. Nothing in it is loaded from elsewhere."""
    trace = replays.trace
    sampled = f", a sample of {100 * trace.rate:.3g} % of the keys" if trace.rate < 1.0 else ""
    once = float((trace.uses == 1).mean())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(trace.name)}: what a cache would hit</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(trace.name)}</h1>
<p>{len(trace):,} requests, {trace.distinct:,} distinct keys{sampled};
each key is asked for {len(trace) / trace.distinct:.1f} times, {100 * once:.0f} % of them once.</p>
{_advice(advice)}
<h2>Hit ratios by policy and size</h2>
<div class="wide">{_table(replays)}</div>
<p>{_picture(draw_replays(replays), "Hit ratios of the policies by size")}</p>
<h2>Miss-ratio curves</h2>
<p>{_picture(draw_curves(curves, trace.name), "Miss ratios of the policies by size, with Belady's limit")}</p>
<p class="quiet">Belady knows the future: no policy exceeds it but by a hair. Made by hotset {__version__}.</p>
</body>
</html>
"""


def _advice(advice: Advice | None) -> str:
    if advice is None:
        return '<p class="quiet">The trace is too short to advise from.</p>'
    findings = "".join(
        f"<li{' class=best' if found.helps else ''}>{escape(found.topic)}: {escape(found.text)}</li>"
        for found in advice.findings
    )
    return f"""<h2>Advice</h2>
<p class="verdict">{escape(advice.policy)} at {advice.size:,} entries hits {100 * advice.hit_ratio:.1f} %.
<b>{escape(advice.verdict)}</b></p>
<ul>{findings}</ul>
<p class="quiet">{escape(advice.certainty)}</p>"""


def _picture(figure: Figure, words: str) -> str:
    data = base64.b64encode(image(figure)).decode("ascii")
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{data}">'


def _table(replays: Replays) -> str:
    best = {size: replays.best(size).hits for size in replays.sizes}
    head = "".join(f"<th>{size:,}</th>" for size in replays.sizes)
    rows = []
    for policy in replays.policies:
        cells = ""
        for cell in replays.of(policy):
            first = policy not in OFFLINE and cell.hits == best[cell.size]
            cells += f"<td{' class=best' if first else ''}>{100 * cell.hit_ratio:.2f}</td>"
        rows.append(f"<tr{' class=quiet' if policy in OFFLINE else ''}><td>{escape(policy)}</td>{cells}</tr>")
    unit = "bytes" if replays.weigh else "entries"
    return (
        f"<table><thead><tr><th>hit ratio, %, at {unit}</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
