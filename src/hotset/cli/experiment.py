"""`hotset experiment`: what the textbooks say, measured."""

from __future__ import annotations

import argparse

from hotset.cli.lab import check_outputs, guarded, write_json
from hotset.cli.options import UsageError, add_outputs, natural, positive


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "experiment",
        help="reproduce the textbook experiment of LRU against LFU",
        description="Replay a temporal and a frequency pattern through LRU and LFU: LRU should win the first, LFU the\n"
        "second. Where one does not show it, the output says so, and why.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=("lru-vs-lfu",), help="which experiment")
    parser.add_argument("--keys", type=positive, default=2_000, metavar="N", help="distinct keys (default: 2000)")
    parser.add_argument("--requests", type=positive, default=200_000, metavar="N", help="requests (default: 200000)")
    parser.add_argument("--capacity", type=positive, metavar="N", help="entries (default: a fifth of the keys)")
    parser.add_argument("--seed", type=natural, default=1, metavar="N", help="seed of the patterns (default: 1)")
    add_outputs(parser, "hotset-experiment.png")
    parser.set_defaults(run=guarded("experiment", run))


def run(args: argparse.Namespace) -> int:
    """Replay, print, draw; return the exit code."""
    from hotset.lab import picture, tables  # noqa: PLC0415 - needs the extra
    from hotset.lab.experiment import lru_vs_lfu  # noqa: PLC0415 - as above

    check_outputs(args)
    try:
        patterns = lru_vs_lfu(args.keys, args.requests, args.capacity, args.seed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    out = tables.console()
    for pattern in patterns:
        ratios = ", ".join(f"{name} {100 * ratio:.1f} %" for name, ratio in pattern.hit_ratios.items())
        verdict = f"{pattern.expected} wins" if pattern.shown else f"{pattern.expected} does not win: {pattern.reason}"
        out.print(f"{pattern.name}: {ratios}; {verdict}", highlight=False, markup=False)
    if args.json is not None:
        write_json(args.json, [pattern.as_dict() for pattern in patterns])
        out.print(f"figures: {args.json}", highlight=False, markup=False)
    if not args.no_picture:
        first = patterns[0]
        title = f"LRU against LFU: {first.requests:,} requests, {args.keys:,} keys, capacity {first.capacity:,}"
        picture.image(picture.draw_bars({each.name: each.hit_ratios for each in patterns}, title), args.output)
        out.print(f"picture: {args.output}", highlight=False, markup=False)
    return 0
