"""What the subcommands share: kinds of arguments, and checks to make before anything runs."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "USAGE",
    "UsageError",
    "add_outputs",
    "check_picture",
    "check_writable",
    "fail",
    "missing",
    "names",
    "natural",
    "number",
    "positive",
]

USAGE = 2  # the exit code of wrong arguments
_PICTURES = (".png", ".svg", ".pdf", "")


class UsageError(Exception):
    """A wrong argument that only shows at run time."""


def names(text: str) -> tuple[str, ...]:
    """Take names separated by commas."""
    found = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if not found:
        raise argparse.ArgumentTypeError(f"expected names separated by commas, not {text!r}")
    return found


def natural(text: str) -> int:
    """Take a whole number from 0."""
    try:
        found = int(text.replace("_", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, not {text!r}") from None
    if found < 0:
        raise argparse.ArgumentTypeError(f"must not be negative: {text}")
    return found


def positive(text: str) -> int:
    """Take a whole number from 1."""
    found = natural(text)
    if found == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return found


def number(least: float, most: float) -> Callable[[str], float]:
    """Take a number within limits."""

    def parse(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number, not {text!r}") from None
        if math.isnan(found) or not least <= found <= most:
            raise argparse.ArgumentTypeError(f"must be from {least:g} to {most:g}, not {text}")
        return found

    return parse


def add_outputs(parser: argparse.ArgumentParser, picture: str) -> None:
    """Take where the picture and the figures go."""
    parser.add_argument(
        "--output", type=Path, default=Path(picture), metavar="FILE", help=f"the picture (default: {picture})"
    )
    parser.add_argument("--no-picture", action="store_true", help="draw no picture")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")


def missing(modules: Iterable[str]) -> list[str]:
    """Return those of these modules that cannot be imported."""
    found = []
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError:
            found.append(name)
    return found


def check_picture(path: Path) -> None:
    """Raise UsageError for a kind of picture that is not drawn."""
    suffix = path.suffix.lower()
    if suffix not in _PICTURES:
        raise UsageError(f"a picture cannot be {suffix}; use {', '.join(filter(None, _PICTURES))}")


def check_writable(path: Path) -> None:
    """Find out now, not after the run, that a result has nowhere to go; raises UsageError."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a file")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.absolute().parent} does not exist")


def fail(message: str, code: int = USAGE) -> int:
    """Say what is wrong; return the exit code."""
    sys.stderr.write(f"hotset: {message}\n")
    return code
