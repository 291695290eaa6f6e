"""How fast is an operation? Every row races all contestants in one run; ratios are of medians.

python benchmarks/throughput.py [--rows hit-str-hot,memo-int] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from hotset.bench import bars, replay, report, rows
from hotset.bench.clients import RIVALS, choose
from hotset.bench.machine import machine, pinned, versions

REPLAY = "replay"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*rows.ROWS, REPLAY]
    parser.add_argument("--rows", default=",".join(names), help=f"out of {', '.join(names)}")
    parser.add_argument("--rivals", type=choose, default="all", help=f"{', '.join(RIVALS)}, all or none")
    parser.add_argument("--rounds", type=int, help="rounds of fresh objects for each contestant")
    parser.add_argument("--capacity", type=int, help="entries; the bars are meant for 100000")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a busy machine")
    parser.add_argument("--quick", action="store_true", help="smaller and rougher; the bars are meant for the full run")
    parser.add_argument("--tiny", action="store_true", help="only see whether it runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    chosen = args.rows.split(",")
    for name in chosen:
        if name not in names:
            parser.error(f"unknown row {name!r}; choose from {', '.join(names)}")
    sizes = rows.Sizes.tiny() if args.tiny else rows.Sizes.quick() if args.quick else rows.Sizes()
    if args.rounds:
        sizes = replace(sizes, rounds=args.rounds)
    if args.capacity:
        sizes = replace(sizes, capacity=args.capacity)
    contestants = args.rivals

    out = report.console()
    found: dict[str, object] = {}
    verdicts: list[bars.Verdict] = []
    with pinned() as core:
        here = machine() | {"pinned": "no" if core is None else f"core {core}"}
        software = versions(client.distribution for client in contestants.clients)
        report.heading(out, here, software, contestants.missing)
        for name in chosen:
            if name == REPLAY:
                with report.progress(replay.steps(sizes)) as advance:
                    figures = replay.speed(sizes, args.seed, advance, args.clock)
                judged = replay.judge(figures, sizes)
                report.replay_table(out, figures, sizes)
                report.verdicts(out, judged)
                content: dict[str, object] = {"figures": [figure.as_dict() for figure in figures]}
            else:
                row = rows.ROWS[name](contestants, sizes)
                with report.progress(len(row.entrants) * sizes.rounds) as advance:
                    result = rows.run(row, sizes, args.seed, advance, args.clock)
                report.result(out, result)
                judged = result.verdicts
                content = report.result_dict(result)
            found[name] = content | {"bars": [verdict.as_dict() for verdict in judged]}
            verdicts += judged
            if args.json:
                report.write_rows(args.json, here, software, contestants.missing, args, sizes, found)
    report.summary(out, verdicts, full=sizes.is_full)
    return 0


if __name__ == "__main__":
    sys.exit(main())
