"""`hotset bench`: the short form of the benchmark."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hotset.cli.options import (
    UsageError,
    add_outputs,
    check_picture,
    check_writable,
    fail,
    missing,
    names,
    natural,
    positive,
)

if TYPE_CHECKING:
    from hotset.bench.clients import Lineup
    from hotset.bench.workloads import Workload

_POLICIES = ("lru", "lfu", "arc", "tinylfu", "fifo", "rr", "auto")
_EXTRA = ("numpy", "matplotlib", "rich")
# A generated workload of fewer requests has too few keys to fill anything.
_FEWEST = 100
_EPILOG = """\
Without --trace the requests are generated: skewed reads whose favourites move on, a table that is walked
again and again, and keys that are seen once. A rival that is not installed is named and left out.
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "bench",
        help="compare hotset with dict and with the caches that are installed",
        description="Measure speed, hit ratio and memory of hotset, of dict and of the caches that are\n"
        "installed; print a table and draw a picture. Takes about a minute.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trace", type=Path, metavar="FILE", help=".npz with an array `keys`, .npy, or one key a line")
    parser.add_argument(
        "--requests",
        type=natural,
        metavar="N",
        help="requests to make or to read (default: 300000; 0: a whole trace)",
    )
    parser.add_argument(
        "--capacity", type=positive, metavar="N", help="entries (default: a tenth of the distinct keys)"
    )
    parser.add_argument(
        "--policies",
        type=names,
        default=_POLICIES[:4],
        metavar="A,B",
        help=f"out of {','.join(_POLICIES)} (default: the first four)",
    )
    parser.add_argument("--rivals", type=names, metavar="A,B", help='rivals to run, or "none" (default: all)')
    parser.add_argument(
        "--seed",
        type=natural,
        default=1,
        metavar="N",
        help="seed of the workload and of the order (default: 1)",
    )
    parser.add_argument(
        "--memory-entries",
        type=natural,
        default=125_000,
        metavar="N",
        help="entries for the memory figures; 0 skips them (default: 125000)",
    )
    parser.add_argument("--quick", action="store_true", help="smaller and rougher: a few seconds")
    add_outputs(parser, "hotset-bench.png")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print, draw; return the exit code."""
    absent = missing(name for name in _EXTRA if name != "matplotlib" or not args.no_picture)
    if absent:
        return fail(f'bench needs {", ".join(absent)}; install with: pip install "hotset[bench]"')
    try:
        return _bench(args)
    except UsageError as error:
        return fail(str(error))


def _bench(args: argparse.Namespace) -> int:
    from hotset.bench import report, short  # noqa: PLC0415 - needs the extra

    if not args.no_picture:
        check_picture(args.output)
        check_writable(args.output)
    if args.json:
        check_writable(args.json)
    lineup = _lineup(args)
    workload = _workload(args)
    plan = short.Plan(
        policies=args.policies,
        capacity=args.capacity or short.default_capacity(workload),
        memory_entries=min(args.memory_entries, 20_000) if args.quick else args.memory_entries,
        seed=args.seed,
        rounds=1 if args.quick else 3,
        sizes=short.QUICK if args.quick else short.SIZES,
    )
    with report.progress(short.steps(lineup, plan)) as advance:
        form = short.run(workload, lineup, plan, advance)
    out = report.console()
    report.short_form(out, form)
    if args.json:
        report.write_json(args.json, short.as_dict(form))
        out.print(f"figures: {args.json}", highlight=False, markup=False)
    if not args.no_picture:
        from hotset.bench import picture  # noqa: PLC0415 - needs matplotlib

        picture.draw(form, args.output)
        out.print(f"picture: {args.output}", highlight=False, markup=False)
    return 0


def _lineup(args: argparse.Namespace) -> Lineup:
    from hotset.bench.clients import RIVALS, lineup  # noqa: PLC0415 - as above

    unknown = [name for name in args.policies if name not in _POLICIES]
    if unknown:
        raise UsageError(f"unknown policy {unknown[0]!r}; choose from {', '.join(_POLICIES)}")
    rivals = RIVALS if args.rivals is None else () if args.rivals == ("none",) else args.rivals
    try:
        return lineup(rivals)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _workload(args: argparse.Namespace) -> Workload:
    from hotset.bench.workloads import TraceError, load_trace, service  # noqa: PLC0415 - as above

    requests = (50_000 if args.quick else 300_000) if args.requests is None else args.requests
    if args.trace is None:
        if requests < _FEWEST:
            raise UsageError(f"--requests must be at least {_FEWEST} without a trace, not {requests}")
        return service(requests, args.seed)
    try:
        whole = load_trace(args.trace)
    except TraceError as error:
        raise UsageError(str(error)) from error
    workload = whole.head(requests)
    if len(workload.ids) < len(whole.ids):
        cut = f"the first {len(workload.ids):,} of {len(whole.ids):,} requests"
        sys.stderr.write(f"hotset: using {cut} (--requests 0: all)\n")
    return workload
