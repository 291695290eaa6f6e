"""How many bytes does an entry take? Resident memory, keys and values excluded, a fresh process each.

python benchmarks/memory.py [--entries 1000000] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hotset.bench import memory, report
from hotset.bench.clients import RIVALS, choose
from hotset.bench.machine import machine, versions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rivals", type=choose, default="all", help=f"{', '.join(RIVALS)}, all or none")
    parser.add_argument("--quick", action="store_true", help="a quarter of the entries, one round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    entries, rounds = (min(args.entries, 250_000), 1) if args.quick else (args.entries, args.rounds)
    contestants = args.rivals
    clients = contestants.clients

    with report.progress(len(clients) * rounds) as advance:
        figures = memory.footprint(clients, entries, rounds, args.seed, advance)
    verdicts = memory.judge(figures, clients)
    out = report.console()
    here, software = machine(), versions(client.distribution for client in clients)
    report.heading(out, here, software, contestants.missing)
    report.memory_table(out, figures, entries)
    report.verdicts(out, verdicts)
    report.summary(out, verdicts, full=entries == 1_000_000)
    if args.json:
        report.write_json(
            args.json,
            {
                "machine": here,
                "versions": software,
                "missing": contestants.missing,
                "entries": entries,
                "rounds": rounds,
                "figures": {
                    name: figure if isinstance(figure, str) else figure.as_dict() for name, figure in figures.items()
                },
                "bars": [verdict.as_dict() for verdict in verdicts],
            },
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
