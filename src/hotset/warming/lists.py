"""Lists of keys as bytes: key files that people write, and hot keys as a cache saves them.

A *key file* is UTF-8 text, one key a line; empty lines are skipped. What a line stands for is its kind: a str, a whole
number, or the name of a key as levels know it (`hotset.names`), for keys of all other types.

*Hot keys* are UTF-8 text: a line of JSON that says what it is (format, cache, number of names, CRC-32 of the rest),
then a line of JSON for each, the hottest first: its name, and how many uses the policy had counted. They are believed
if all of that fits, and else not at all. There are no values in it, so nothing old can come of an old list.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from zlib import crc32

from hotset.errors import WarmingError
from hotset.names import key_of
from hotset.policies import MOST_USES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["KINDS", "Kind", "dump_hot", "parse_hot", "read_keys", "write_whole"]

Kind = Literal["str", "int", "name"]
KINDS: Final[dict[str, Callable[[str], Any]]] = {"str": str, "int": int, "name": key_of}

_FORMAT: Final = "hotset hot keys 1"


def read_keys(lines: Iterable[bytes], kind: Kind, source: str) -> Iterator[Any]:
    """Yield the keys of a key file. Raises WarmingError, which names the line, for what is none of this kind."""
    parse = KINDS[kind]
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if text:
                yield parse(text)
        except ValueError as error:
            shown = line[:80].decode("utf-8", "replace").rstrip("\r\n")
            what = {"str": "is not UTF-8", "int": "is no whole number", "name": "is no name of a key"}[kind]
            raise WarmingError(f"{source}, line {number}, {what}: {shown!r}") from error


def dump_hot(uses: dict[str, int], cache: str) -> bytes:
    """Return hot keys as bytes: names and their uses, the hottest first."""
    body = "".join([f"[{json.dumps(name)}, {count}]\n" for name, count in uses.items()]).encode()
    head = {"format": _FORMAT, "cache": cache, "names": len(uses), "crc32": crc32(body)}
    return json.dumps(head).encode() + b"\n" + body


def parse_hot(data: bytes, cache: str, source: str) -> dict[str, int]:
    """Return the names of hot keys and their uses. Raises WarmingError for what is damaged, or of another cache."""
    first, _, body = data.partition(b"\n")
    try:
        head = json.loads(first)
    except (ValueError, RecursionError):
        head = None
    if type(head) is not dict or head.get("format") != _FORMAT:
        raise WarmingError(f"{source}: these are no hot keys as a cache saves them")
    if head.get("crc32") != crc32(body):
        raise WarmingError(f"{source}: the hot keys are damaged, or cut short")
    if head.get("cache") != cache:
        raise WarmingError(f"{source}: these are hot keys of the cache {head.get('cache')!r}, not of {cache!r}")
    try:
        uses: dict[str, int] = dict(json.loads(b"[%b]" % b",".join(body.splitlines())))
        for name, count in uses.items():
            if type(name) is not str or name[:1] == "~":
                key_of(name)
            if type(count) is not int or not 0 <= count <= MOST_USES:
                raise ValueError(f"{count!r} is no number of uses")  # noqa: TRY301 - one refusal for all
    except (TypeError, ValueError, RecursionError) as error:  # whoever wrote this can reckon a checksum
        raise WarmingError(f"{source}: not all of the hot keys are names: {error}") from error
    return uses


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Put a file in its place at once: a crash at any point leaves the old one or the new one. Raises OSError."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
