"""`hotset replay`: what each policy would have hit on a trace."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from hotset.cli.lab import add_trace, check_outputs, guarded, load, policies_of, write_json
from hotset.cli.options import UsageError, add_outputs, positive

_EPILOG = """\
A size is a share of the distinct keys (5%), or a number of entries (1000, 10k); with --weigh of the bytes of all keys
together (5%), or bytes (64MB, 1GiB). Belady knows the future: the limit that no policy exceeds but by a hair; with
--weigh that limit is called bound, and belady is what evicting by the future reaches.
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "replay",
        help="replay a trace through policies at sizes: hit ratios",
        description="Replay a trace through the policies that ship; print a table and draw a picture.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_trace(parser)
    parser.add_argument("--policy", default="all", metavar="A,B", help="policies, or all (default: all)")
    parser.add_argument(
        "--sizes", default="1%,5%,10%,20%", metavar="A,B", help="sizes of the cache (default: 1%%,5%%,10%%,20%%)"
    )
    parser.add_argument("--weigh", action="store_true", help="count an entry by its bytes, which the trace must have")
    parser.add_argument("--threads", type=positive, metavar="N", help="threads (default: as many as CPUs)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to this file")
    add_outputs(parser, "hotset-replay.png")
    parser.set_defaults(run=guarded("replay", run))


def run(args: argparse.Namespace) -> int:
    """Replay, print, draw; return the exit code."""
    from hotset.lab import picture, replay_all, tables  # noqa: PLC0415 - needs the extra
    from hotset.lab.sizes import sizes_of  # noqa: PLC0415 - as above

    check_outputs(args)
    policies = policies_of(args.policy, weigh=args.weigh)
    trace = load(args)
    if args.weigh and trace.sizes is None:
        raise UsageError(f"trace {args.trace} has no sizes to weigh by")
    try:
        sizes = sizes_of(args.sizes, trace, weigh=args.weigh)
    except ValueError as error:
        raise UsageError(f"--sizes: {error}") from error
    start = time.monotonic()
    with tables.progress(len(policies) * len(sizes)) as advance:
        replays = replay_all(trace, policies, sizes, weigh=args.weigh, workers=args.threads, advance=advance)
    took = time.monotonic() - start
    out = tables.console()
    out.print(tables.told(trace), highlight=False, markup=False)
    tables.replay_table(out, replays)
    done = len(trace) * len(replays.cells)
    out.print(f"{done:,} requests replayed in {took:.2f} s", highlight=False, style="dim")
    if args.csv is not None:
        tables.write_csv(args.csv, replays.cells[0]._fields, replays.cells)
        out.print(f"table: {args.csv}", highlight=False, markup=False)
    if args.json is not None:
        write_json(args.json, replays.as_dict())
        out.print(f"figures: {args.json}", highlight=False, markup=False)
    if not args.no_picture:
        picture.image(picture.draw_replays(replays), args.output)
        out.print(f"picture: {args.output}", highlight=False, markup=False)
    return 0
