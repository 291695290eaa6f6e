"""The `hotset` command.

A subcommand is a module with `add(subparsers)`, which sets `run` to a function of the parsed arguments that
returns the exit code; naming the module in `_COMMANDS` adds it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING

import hotset
from hotset.cli import advise, bench, curve, demo, experiment, replay, report, warm

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = (advise, bench, curve, demo, experiment, replay, report, warm)

_INTERRUPTED = 130  # what a shell reports for a command that SIGINT ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="hotset", description="In-process caches for Python: tools.")
    parser.add_argument("--version", action="version", version=f"hotset {hotset.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(subparsers)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        sys.stderr.write("\nhotset: interrupted\n")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; without this the interpreter complains once more when it flushes at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
