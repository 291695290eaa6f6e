"""How long can a single operation take? Percentiles of a mixed workload that starts with an empty cache.

python benchmarks/latency.py [--capacity 1000000] [--operations 3000000] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hotset.bench import latency, report, rows
from hotset.bench.clients import RIVALS, choose
from hotset.bench.machine import machine, pinned, versions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capacity", type=int, default=200_000)
    parser.add_argument("--operations", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policies", default=",".join(rows.MAIN_POLICIES))
    parser.add_argument("--rivals", type=choose, default="all", help=f"{', '.join(RIVALS)}, all or none")
    parser.add_argument("--quick", action="store_true", help="a tenth of the operations, one round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    policies = args.policies.split(",")
    for policy in policies:
        if policy not in rows.ALL_POLICIES:
            parser.error(f"unknown policy {policy!r}; choose from {', '.join(rows.ALL_POLICIES)}")
    capacity, operations, rounds = args.capacity, args.operations, args.rounds
    if args.quick:
        capacity, operations, rounds = capacity // 10, operations // 10, 1
    contestants = args.rivals
    clients = contestants.select(("none", *policies))

    with pinned() as core:
        here = machine() | {"pinned": "no" if core is None else f"core {core}"}
        cost = latency.clock_cost()
        with report.progress(len(clients) * rounds) as advance:
            spreads = latency.latency(clients, capacity, operations, rounds, args.seed, advance)

    out = report.console()
    software = versions(client.distribution for client in clients)
    report.heading(out, here, software, contestants.missing)
    report.latency_table(out, spreads, capacity, cost)
    if args.json:
        report.write_json(
            args.json,
            {
                "machine": here,
                "versions": software,
                "missing": contestants.missing,
                "capacity": capacity,
                "operations": operations,
                "rounds": rounds,
                "clock_ns": cost,
                "ns": {
                    name: {kind: spread.as_dict() for kind, spread in by_kind.items()}
                    for name, by_kind in spreads.items()
                },
            },
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
