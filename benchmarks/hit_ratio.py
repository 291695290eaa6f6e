"""Which policy keeps what will be asked for? Hit ratios over generated workloads or a folder of traces.

python benchmarks/hit_ratio.py [--traces DIR] [--policies lru,tinylfu] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import hotset
from hotset.bench import hit_ratio, report, rows
from hotset.bench.clients import RIVALS, choose
from hotset.bench.machine import machine, versions
from hotset.bench.workloads import TraceError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, metavar="DIR", help="a folder of .npz files with an array `keys`")
    parser.add_argument(
        "--requests", type=int, default=0, help="cut each workload (default: 500000 generated, traces whole)"
    )
    parser.add_argument("--policies", default=",".join(rows.ALL_POLICIES))
    parser.add_argument(
        "--rivals",
        type=choose,
        default="cachetools,cachebox,lru-dict,theine,moka-py",
        help=f"{', '.join(RIVALS)}, all or none",
    )
    parser.add_argument("--quick", action="store_true", help="the first 50000 requests")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    policies = args.policies.split(",")
    for policy in policies:
        if policy not in hotset.POLICIES:
            parser.error(f"unknown policy {policy!r}; choose from {', '.join(hotset.POLICIES)}")
    requests = 50_000 if args.quick else args.requests
    contestants = args.rivals
    rivals = [one for one in contestants.select(policies) if one.distribution != "hotset"]

    cells: list[hit_ratio.Cell] = []
    try:
        for work in hit_ratio.workloads(args.traces, requests, args.seed):
            with report.progress(len(hit_ratio.SHARES) * (len(policies) + len(rivals))) as advance:
                cells += hit_ratio.table(work, policies, rivals, advance=advance)
    except TraceError as error:
        parser.error(str(error))
    if not cells:
        parser.error(f"no usable traces in {args.traces}")

    out = report.console()
    here, software = machine(), versions(client.distribution for client in rivals)
    report.heading(out, here, software, contestants.missing)
    report.hit_ratio_table(out, cells)
    if args.json:
        report.write_json(
            args.json,
            {
                "machine": here,
                "versions": software,
                "missing": contestants.missing,
                "seed": args.seed,
                "cells": [asdict(cell) for cell in cells],
                "means": hit_ratio.means(cells),
            },
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
