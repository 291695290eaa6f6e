"""What MONITOR prints of a Redis or Valkey server: each read of a key is a request for it, by its time.

Writes are none: a cache is written after a miss, and counted with them each miss would be two requests.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from hotset.lab.formats.source import Chunk, Source, words

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "monitor"
SUFFIXES = (".monitor",)
_STRING = rb'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(rb"(?:\+)?(\d+\.\d+) \[(\d+) [^\]]*\] " + _STRING + rb"((?: " + _STRING + rb")*)\s*")
_ARGUMENT = re.compile(_STRING)
# By the first argument, and by all of them.
_ONE = frozenset(
    b"get getex getrange substr strlen hget hmget hgetall hvals hkeys hexists hlen lrange lindex llen smembers "
    b"sismember "
    b"smismember scard zrange zrangebyscore zrevrange zscore zrank zcard exists bitcount getbit json.get".split()
)
_ALL = frozenset([b"mget"])


def fits(head: bytes, _source: Source) -> bool:
    """Whether this can be such a file, by its first line; an OK may be before it."""
    found = [line for line in head.split(b"\n")[:4] if line.strip() not in {b"", b"OK", b"+OK"}]
    return bool(found) and _LINE.fullmatch(found[0]) is not None


def chunks(source: Source) -> Iterator[Chunk]:
    """Yield the requests. O(1) memory. Raises TraceError for a line that MONITOR does not print."""
    for lines in source.lines():
        keys: list[bytes] = []
        times: list[float] = []
        for index, line in enumerate(lines.lines):
            match = _LINE.fullmatch(line)
            if match is None:
                if line.strip() in {b"", b"OK", b"+OK"}:
                    continue
                raise source.bad_line(
                    lines, index, 'expected what MONITOR prints, as 1700000000.1 [0 host:1] "get" "k"'
                )
            moment, database, command, rest = match.group(1, 2, 3, 4)
            command = command.lower()
            if command in _ONE:
                named = _ARGUMENT.findall(rest, 0)[:1]
            elif command in _ALL:
                named = _ARGUMENT.findall(rest)
            else:
                continue
            keys.extend(database + b"/" + key for key in named)
            times.extend([float(moment)] * len(named))
        yield Chunk(words(keys), None, None, np.array(times, np.float64), [key.partition(b"/")[2] for key in keys])
