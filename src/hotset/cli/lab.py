"""What the subcommands of the lab share: which trace, which outputs, and errors told in a line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotset.cli.options import UsageError, check_picture, check_writable, fail, missing, number, positive

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.lab import Trace

__all__ = [
    "FORMATS",
    "add_trace",
    "check_outputs",
    "guarded",
    "load",
    "policies_of",
    "write_json",
]

_EXTRA = ("numpy", "matplotlib", "rich")
FORMATS = ("numpy", "monitor", "weblog", "arc", "lirs", "csv", "text", "oracle")


def add_trace(parser: argparse.ArgumentParser) -> None:
    """Take a trace and how to read it."""
    parser.add_argument(
        "trace",
        type=Path,
        metavar="TRACE",
        help="the trace, also by gzip, xz, bzip2 or zstd; or a generated one, NAME:KEYS:REQUESTS such as zipf:10k:1M",
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="kind of the trace (default: found out from how it begins and is called)"
    )
    parser.add_argument(
        "--columns",
        type=_columns,
        default={},
        metavar="A=B,...",
        help="columns of a CSV, or arrays of an .npz, that are called otherwise: key=lbn,size=length",
    )
    parser.add_argument("--requests", type=positive, metavar="N", help="read no more than so many requests")
    parser.add_argument(
        "--sample",
        type=number(1e-9, 1),
        default=1.0,
        metavar="X",
        help="read the requests for this share of the keys only, such as 0.01: for what does not fit into memory",
    )


def _columns(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not pairs or not all(kind.strip() and equals and name.strip() for kind, equals, name in pairs):
        raise argparse.ArgumentTypeError(f"expected key=NAME,size=NAME,..., not {text!r}")
    return {kind.strip(): name.strip() for kind, _, name in pairs}


def guarded(command: str, run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Return the command with its extra looked for, and what is wrong told without a traceback: exit code 2."""

    def guard(args: argparse.Namespace) -> int:
        wanted = [name for name in _EXTRA if name != "matplotlib" or not getattr(args, "no_picture", False)]
        absent = missing(wanted)
        if absent:
            return fail(f'{command} needs {", ".join(absent)}; install with: pip install "hotset[lab]"')
        from hotset.lab import TraceError  # noqa: PLC0415 - needs the extra

        try:
            return run(args)
        except (UsageError, TraceError) as error:
            return fail(str(error))
        except MemoryError:
            return fail("memory is out: read a share of the keys (--sample 0.01) or fewer requests (--requests)", 1)

    return guard


def load(args: argparse.Namespace) -> Trace:
    """Read the trace. Raises TraceError and UsageError."""
    from hotset.lab import read_trace  # noqa: PLC0415 - needs the extra

    try:
        made = _generated(args)
        if made is not None:
            return made.sample(args.sample)
        return read_trace(args.trace, format=args.format, columns=args.columns, limit=args.requests, sample=args.sample)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _generated(args: argparse.Namespace) -> Trace | None:
    """Return the trace that is asked for by the name of a generator, unless there is such a file; raises ValueError."""
    from hotset.lab.generators import GENERATORS, generate  # noqa: PLC0415 - needs the extra
    from hotset.lab.sizes import number_of  # noqa: PLC0415 - as above

    name, *counts = str(args.trace).split(":")
    if name not in GENERATORS or args.trace.exists() or args.format is not None:
        return None
    if len(counts) > 2 or any("%" in count for count in counts):
        raise ValueError(f"a generated trace must be as {name}:10k:1M, keys and requests, not {str(args.trace)!r}")
    given = [round(number_of(count, 0)) for count in counts]
    keys, requests = given + [10_000, 1_000_000][len(given) :]
    return generate(name, keys, min(requests, args.requests or requests))


def policies_of(text: str, *, weigh: bool = False) -> tuple[str, ...]:
    """Return the policies of `all`, or of names separated by commas; raises UsageError."""
    from hotset.lab.replays import OFFLINE, all_policies  # noqa: PLC0415 - needs the extra
    from hotset.policies import POLICIES  # noqa: PLC0415 - as above

    known = (*POLICIES, *OFFLINE)
    found: dict[str, None] = {}
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        if part != "all" and part not in known:
            raise UsageError(f"unknown policy {part!r}; choose from all, {', '.join(known)}")
        found |= dict.fromkeys(all_policies(weigh=weigh) if part == "all" else [part])
    if not found:
        raise UsageError(f"expected policies separated by commas, not {text!r}")
    return tuple(found)


def check_outputs(args: argparse.Namespace) -> None:
    """Find out before anything is read that a result has nowhere to go; raises UsageError."""
    if not getattr(args, "no_picture", True):
        check_picture(args.output)
        check_writable(args.output)
    for path in (getattr(args, "json", None), getattr(args, "csv", None)):
        if path is not None:
            check_writable(path)


def write_json(path: Path, figures: Any) -> None:
    """Write figures to a file."""
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
