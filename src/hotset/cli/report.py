"""`hotset report`: everything about a trace in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hotset.cli.advise import add_cache, advice_of
from hotset.cli.lab import add_trace, guarded, load, policies_of
from hotset.cli.options import UsageError, check_writable

if TYPE_CHECKING:
    import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "report",
        help="write one HTML file with replays, curves and advice for a trace",
        description="Write one HTML file, pictures and all, that says what a cache would hit on a trace.",
    )
    add_trace(parser)
    add_cache(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="the file (default: report.html)"
    )
    parser.add_argument("--sizes", default="1%,5%,10%,20%", metavar="A,B", help="sizes of the table")
    parser.set_defaults(run=guarded("report", run))


def run(args: argparse.Namespace) -> int:
    """Write the report; return the exit code."""
    from hotset.lab import (  # noqa: PLC0415 - as above
        curves as lab,
        replay_all,
        tables,
    )
    from hotset.lab.advice import FEWEST  # noqa: PLC0415 - as above
    from hotset.lab.report import page  # noqa: PLC0415 - as above
    from hotset.lab.sizes import sizes_of  # noqa: PLC0415 - as above

    check_writable(args.output)
    trace = load(args)
    policies = policies_of("all")
    try:
        sizes = sizes_of(args.sizes, trace)
    except ValueError as error:
        raise UsageError(f"--sizes: {error}") from error
    advice = advice_of(args, trace) if len(trace) >= FEWEST else None
    with tables.progress(len(policies) * len(sizes)) as advance:
        replays = replay_all(trace, policies, sizes, advance=advance)
    sample = lab.sample_of(trace, keys=20_000) if trace.rate == 1.0 else trace
    points = lab.default_sizes(sample)
    exact = lab.lru_curve(trace)
    whole = [name for name in policies if name == "belady" or name in lab.UNSCALABLE]
    others = [name for name in policies if name != "lru" and name not in whole]
    curves = [exact, *lab.policy_curve(trace, whole, points), *lab.policy_curve(sample, others, points, lru=exact)]
    args.output.write_text(page(replays, curves, advice), encoding="utf-8")
    tables.console().print(f"report: {args.output}", highlight=False, markup=False)
    return 0
