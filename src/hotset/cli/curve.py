"""`hotset curve`: miss ratios at all sizes."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from hotset.cli.lab import add_trace, check_outputs, guarded, load, policies_of, write_json
from hotset.cli.options import UsageError, add_outputs, number, positive

_EPILOG = """\
The LRU curve is exact, from one pass over the trace, as is Belady's limit at the sizes of the table. Other policies are
replayed over a sample of the keys (mini-simulation), but LFU, which does not scale, over all of them. With
--sampled the LRU curve is from the sample, too (SHARDS); with --sample X at most that share of the keys is even read.
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "curve",
        help="draw the miss-ratio curves of a trace, with the limit",
        description="Compute miss ratios at all sizes: LRU exactly, others from a sample; with Belady's limit.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_trace(parser)
    parser.add_argument("--policy", default="all", metavar="A,B", help="policies, or all (default: all)")
    parser.add_argument("--points", type=positive, default=24, metavar="N", help="sizes in the table (default: 24)")
    sampling = parser.add_mutually_exclusive_group()
    sampling.add_argument(
        "--rate", type=number(1e-9, 1), metavar="X", help="share of the keys in the sample (default: see --keys)"
    )
    sampling.add_argument(
        "--keys", type=positive, default=20_000, metavar="N", help="keys in the sample, about (default: 20000)"
    )
    parser.add_argument("--sampled", action="store_true", help="LRU and LFU from the sample, too")
    parser.add_argument("--exact", action="store_true", help="replay all policies over the whole trace")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to this file")
    add_outputs(parser, "hotset-curve.png")
    parser.set_defaults(run=guarded("curve", run))


def run(args: argparse.Namespace) -> int:
    """Compute, print, draw; return the exit code."""
    from hotset.lab import (  # noqa: PLC0415 - as above
        curves as lab,
        picture,
        tables,
    )

    check_outputs(args)
    if args.sampled and args.exact:
        raise UsageError("--sampled and --exact exclude each other")
    policies = policies_of(args.policy)
    trace = load(args)
    sample = trace
    if not args.exact and trace.rate == 1.0:
        keys = None if args.rate is not None else args.keys
        sample = lab.sample_of(trace, rate=args.rate, keys=keys)
    sizes = lab.default_sizes(sample, args.points)
    start = time.monotonic()
    measure = lab.lru_curve(sample if args.sampled else trace)
    took = time.monotonic() - start
    whole = [] if args.sampled else [policy for policy in policies if policy in {"belady", *lab.UNSCALABLE}]
    others = [policy for policy in policies if policy != "lru" and policy not in whole]
    # One more than asked for: mini-simulations are measured against LRU's.
    total = len(sizes) * (len(policies) + 1)
    with tables.progress(total) as advance:
        found = {curve.policy: curve for curve in lab.policy_curve(trace, whole, sizes, advance=advance)}
        found |= {
            curve.policy: curve for curve in lab.policy_curve(sample, others, sizes, lru=measure, advance=advance)
        }
    found["lru"] = measure
    ordered = [found[policy] for policy in policies]
    out = tables.console()
    out.print(tables.told(trace), highlight=False, markup=False)
    tables.curve_table(out, ordered, sizes)
    out.print(f"LRU at all sizes in {took:.3f} s", highlight=False, style="dim")
    if args.csv is not None:
        tables.write_csv(
            args.csv,
            ["size", *policies],
            [[size, *(round(curve.at(size), 6) for curve in ordered)] for size in sizes],
        )
        out.print(f"table: {args.csv}", highlight=False, markup=False)
    if args.json is not None:
        figures = {
            "trace": trace.name,
            "requests": len(trace),
            "distinct": trace.distinct,
            "curves": [curve.as_dict() for curve in ordered],
        }
        write_json(args.json, figures)
        out.print(f"figures: {args.json}", highlight=False, markup=False)
    if not args.no_picture:
        picture.image(picture.draw_curves(ordered, tables.told(trace)), args.output)
        out.print(f"picture: {args.output}", highlight=False, markup=False)
    return 0
