"""`hotset warm`: fill the shared levels of a cache, and so spare all its processes the misses after a deployment."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hotset.cli.options import UsageError, check_writable, fail, number, positive
from hotset.durations import finite

if TYPE_CHECKING:
    from hotset.tiered.cache import TieredCache
    from hotset.warming import CacheWarmer, WarmingReport

_FAILED = 1
_INTERRUPTED = 130
_EPILOG = """\
CACHE is where the program finds the TieredCache, such as shop.caches:products; it is imported from the current folder
or an installed package. With --factory it names a function that makes one.

The memory of this command ends with it: what lasts is what the shared levels (Valkey, disk) were given. Keys that they
have already cost a look; the others are loaded, within --rate.

Exit code: 0 everything was warmed, 1 something failed, 2 wrong arguments, 130 broken off with Ctrl-C; what had been
done until then stays, and is reported.
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "warm",
        help="fill the shared levels of a tiered cache before it is asked",
        description="Load keys into the shared levels of a tiered cache, within a budget of loads per second.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cache", metavar="CACHE", help="module:attribute of a TieredCache")
    parser.add_argument("--factory", action="store_true", help="CACHE is a function that returns the cache")
    parser.add_argument("--keys", action="append", default=[], metavar="FILE", help="one key a line; -: standard input")
    parser.add_argument(
        "--kind",
        choices=("str", "int", "name"),
        default="str",
        help="what the lines of --keys are (default: str; name: as levels know keys, for all other types)",
    )
    parser.add_argument("--hot", action="append", default=[], metavar="FILE", help="hot keys that a process has saved")
    parser.add_argument("--peer", action="store_true", help="hot keys that a running process has published")
    parser.add_argument(
        "--from-level",
        action="append",
        default=[],
        metavar="LEVEL",
        help="all that this shared level has, into those above it, by its name or number (1 is the first level, as a "
        "rule memory); nothing is loaded",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="most keys of each --hot and --from-level, and of --peer"
    )
    parser.add_argument(
        "--rate", type=number(0.001, 1e9), metavar="N", help="most loads from the origin per second (default: no bound)"
    )
    parser.add_argument("--batch", type=positive, default=500, metavar="N", help="keys in a round trip (default: 500)")
    parser.add_argument(
        "--timeout", type=_duration, default=3600.0, metavar="T", help="such as 90s or 1h30m (default: 1h)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to this file")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Warm, and say what came of it; return the exit code."""
    try:
        if args.json is not None:
            check_writable(args.json)
        _check(args)
        with _cache(args.cache, factory=args.factory) as cache:
            return _warm(cache, args)
    except UsageError as error:
        return fail(str(error))


def _warm(cache: TieredCache[Any, Any], args: argparse.Namespace) -> int:
    if not any(level.tier.shared for level in cache._levels):  # noqa: SLF001 - nothing public tells
        raise UsageError(f"{args.cache} has memory alone, which ends with this command: warm it where it is used")
    args.from_level = [_level(cache, text, args.cache) for text in args.from_level]
    warmer = _warmer(cache, args)
    interrupted = False
    try:
        warmer.run()
    except KeyboardInterrupt:
        interrupted = True
    report = warmer.report
    if report is not None:
        _tell(report, args.json)
    troubled = [level for level in cache.stats().levels if level.errors]
    for level in troubled:
        sys.stderr.write(f"hotset: {level.name}: {level.errors:,} round trips failed; not all of it may be there\n")
    if interrupted:
        sys.stderr.write("hotset: interrupted\n")
        return _INTERRUPTED
    return 0 if report is not None and report.success and not troubled else _FAILED


def _level(cache: TieredCache[Any, Any], text: str, place: str) -> str:
    """Return the name of a level, of which there is the name or the number. Raises UsageError if none is above it."""
    names = [level.name for level in cache._levels]  # noqa: SLF001 - nothing public tells
    shared = [level.name for level in cache._levels if level.tier.shared]  # noqa: SLF001 - as above
    name = names[int(text) - 1] if text not in names and text.isdecimal() and 0 < int(text) <= len(names) else text
    if name not in shared[1:]:
        what = "is the first" if name in shared else "is none"
        raise UsageError(f"--from-level {text} {what} of the shared levels of {place}: {', '.join(shared)}")
    return name


def _warmer(cache: TieredCache[Any, Any], args: argparse.Namespace) -> CacheWarmer:
    from hotset.warming import CacheWarmer, from_file, from_hot, from_peer, from_tier  # noqa: PLC0415 - not for others

    try:
        warmer = CacheWarmer(cache, rate=args.rate, batch=args.batch, timeout=args.timeout, progress=_bar(args))
        for file in args.keys:
            # Not sys.stdin: the interpreter waits at its end for whoever reads from that.
            source: str | IO[bytes] = open(0, "rb", closefd=False) if file == "-" else file  # noqa: SIM115
            warmer.add(f"keys {file}", from_file(source, args.kind))
        for file in args.hot:
            warmer.add(f"hot {file}", from_hot(file, limit=args.limit, whole=True))
        for level in args.from_level:
            warmer.add(f"level {level}", from_tier(level, limit=args.limit, whole=True))
        if args.peer:
            warmer.add("peer", from_peer(limit=args.limit, whole=True))
    except ValueError as error:
        raise UsageError(str(error)) from error
    return warmer


def _bar(args: argparse.Namespace) -> bool:
    if args.quiet or not sys.stderr.isatty():
        return False
    try:
        importlib.import_module("hotset.warming.progress")
    except ImportError:
        return False  # it is a comfort
    return True


def _tell(report: WarmingReport, path: Path | None) -> None:
    sys.stdout.write(f"{report}\n")
    if path is not None:
        import json  # noqa: PLC0415 - not for the other commands

        path.write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")


def _check(args: argparse.Namespace) -> None:
    """Find out before anything is imported and connected that there is nothing to do, or a file is missing."""
    if not args.keys and not args.hot and not args.peer and not args.from_level:
        raise UsageError("nothing to warm: give --keys, --hot, --peer or --from-level")
    for file in (*args.keys, *args.hot):
        if file == "-" and file in args.keys:
            continue
        if Path(file).is_dir():
            raise UsageError(f"{file} is a folder, not a file")
        try:
            Path(file).open("rb").close()
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror or error}") from error


def _cache(place: str, *, factory: bool) -> TieredCache[Any, Any]:
    """Return the cache that is at module:attribute. Raises UsageError, which says what is there instead."""
    from hotset.tiered.cache import TieredCache  # noqa: PLC0415 - not for the other commands

    module_name, colon, path = place.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise UsageError(f"CACHE must be module:attribute, such as shop.caches:products, not {place!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as python -m does
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever the module raises
        raise UsageError(f"cannot import {module_name}: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"{module_name} has no {path}") from None
    if factory:
        if not callable(found):
            raise UsageError(f"{place} is no function: {found!r}")
        try:
            found = found()
        except Exception as error:  # as above
            raise UsageError(f"{place}() raised {type(error).__name__}: {error}") from error
    if not isinstance(found, TieredCache):
        hint = "; for a function that makes one give --factory" if callable(found) and not factory else ""
        raise UsageError(f"{place} is no TieredCache: {found!r}{hint}")
    return found


def _duration(text: str) -> float:
    try:
        return finite(float(text) if text.replace(".", "", 1).isdigit() else text, name="it")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
