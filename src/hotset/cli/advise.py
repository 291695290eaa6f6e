"""`hotset advise`: what would help a cache that is asked for what a trace has."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hotset.cli.lab import add_trace, check_outputs, guarded, load, write_json
from hotset.cli.options import UsageError, number

if TYPE_CHECKING:
    from hotset.lab.advice import Advice
    from hotset.lab.trace import Trace

_EPILOG = """\
A size is a share of the distinct keys (10%) or a number of entries (1000, 10k). Expected response time: each level's
latency times the share of the requests that reach it. Prices are in any currency; months have 30 days.
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "advise",
        help="say which size, policy and TTL would help, and what it saves",
        description="Say what would help a cache on a trace: size, policy, TTL, levels, money; or that nothing would.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_trace(parser)
    add_cache(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the advice to this file")
    parser.set_defaults(run=guarded("advise", run), no_picture=True)


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Take what is known of the cache."""
    parser.add_argument("--size", default="10%", metavar="N", help="size of the cache now (default: 10%% of the keys)")
    parser.add_argument("--policy", default="lru", metavar="NAME", help="its policy now (default: lru)")
    parser.add_argument("--l2", metavar="N", help="size of a second level below it")
    parser.add_argument(
        "--latencies",
        type=_latencies,
        metavar="L1,L2,ORIGIN",
        help="milliseconds that an answer takes of each (default: 0.001,0.5,10)",
    )
    parser.add_argument("--requests-per-day", type=number(0, 1e15), metavar="N", help="for the money")
    parser.add_argument("--origin-price", type=number(0, 1e12), default=0.0, metavar="X", help="of a million reads")
    parser.add_argument("--l1-price", type=number(0, 1e12), default=0.0, metavar="X", help="of a GB of L1 a month")
    parser.add_argument("--l2-price", type=number(0, 1e12), default=0.0, metavar="X", help="of a GB of L2 a month")
    parser.add_argument(
        "--entry-bytes",
        type=number(1, 1e12),
        metavar="N",
        help="bytes an entry (default: the mean of the trace's sizes, or 1000)",
    )


def _latencies(text: str) -> tuple[float, ...]:
    parse = number(0, 1e9)
    found = tuple(parse(part) / 1e3 for part in text.split(","))
    if len(found) != 3:
        raise argparse.ArgumentTypeError(f"expected three numbers, L1,L2,ORIGIN, not {text!r}")
    return found


def advice_of(args: argparse.Namespace, trace: Trace) -> Advice:
    """Advise as the arguments say; raises UsageError."""
    from hotset.lab.advice import Latencies, Prices, advise  # noqa: PLC0415 - needs the extra
    from hotset.lab.sizes import entries_of  # noqa: PLC0415 - as above

    prices = None
    if args.requests_per_day is not None:
        mean = float(trace.sizes.mean()) if trace.sizes is not None else 1000.0
        each = args.entry_bytes if args.entry_bytes is not None else mean
        prices = Prices(args.requests_per_day, args.origin_price, args.l1_price, args.l2_price, each)
    elif args.origin_price or args.l1_price or args.l2_price:
        raise UsageError("prices need --requests-per-day")
    try:
        return advise(
            trace,
            entries_of(args.size, trace),
            policy=args.policy.lower(),
            l2=None if args.l2 is None else entries_of(args.l2, trace),
            latencies=Latencies() if args.latencies is None else Latencies(*args.latencies),
            prices=prices,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def run(args: argparse.Namespace) -> int:
    """Advise; return the exit code."""
    from hotset.lab import tables  # noqa: PLC0415 - needs the extra

    check_outputs(args)
    trace = load(args)
    found = advice_of(args, trace)
    out = tables.console()
    out.print(tables.told(trace), highlight=False, markup=False)
    out.print(str(found), highlight=False, markup=False, soft_wrap=True)
    if args.json is not None:
        write_json(args.json, found.as_dict())
        out.print(f"figures: {args.json}", highlight=False, markup=False)
    return 0
