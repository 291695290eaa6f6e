"""Ready-made strategies: keys from a list, a file, a level, the last shutdown, a peer.

All but `from_tier` take keys from somewhere, bring up what shared levels have of them, and load the rest within the
budget. The values are in any case those that the levels and the origin have now: an old list costs work, and nothing
else.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, TypeVar, runtime_checkable

from hotset.errors import WarmingError
from hotset.names import key_of
from hotset.warming.desk import board_of, scanner_of
from hotset.warming.effects import Both, Elsewhere, Pause
from hotset.warming.lists import KINDS, parse_hot, read_keys
from hotset.warming.warmup import checked_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from hotset.tiered.cache import TieredCache
    from hotset.tiered.effects import Effect
    from hotset.tiered.level import Level
    from hotset.tiers.contract import Tier
    from hotset.warming.lists import Kind
    from hotset.warming.warmup import Warmup

# ruff: noqa: SLF001 - warming is a part of the tiered cache
__all__ = [
    "KEEP",
    "Strategy",
    "checked_limit",
    "from_file",
    "from_hot",
    "from_keys",
    "from_peer",
    "from_tier",
    "level_that",
]

_T = TypeVar("_T")
# What a level is asked for beyond the Tier protocol, in words.
LIST: Final = "list its names"
KEEP: Final = "keep a list of hot keys"
_LARGEST_FILE: Final = 1 << 30  # bytes of hot keys that are read


@runtime_checkable
class Strategy(Protocol):
    """A strategy as a flow, for threads and event loops alike."""

    def flow(self, warm: Warmup) -> Generator[Effect, Any, object]:
        """Warm."""


def from_keys(keys: Iterable[Any]) -> Strategy:
    """Warm these keys, in batches: one round trip a level and one `load_many` for each.

    An iterable that is no collection is read as it is needed, in a thread of its own if the run is on an event loop;
    such a one serves one run only. Raises TypeError for a str: see `from_file` for one that names a file.
    """
    checked_keys(keys)
    return _Keys(keys)


def from_file(file: str | os.PathLike[str] | IO[bytes], kind: Kind = "str") -> Strategy:
    """Warm the keys of a file in UTF-8, one a line; empty lines are skipped.

    `kind` is what the keys are: "str"; "int"; or "name", for keys as `hotset.names` writes them. The file is read as it
    is needed, and never held as a whole. The strategy fails at the first line that is no such key.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if not isinstance(file, (str, os.PathLike)) and not hasattr(file, "read"):
        raise TypeError(f"file must be a path or a binary file, got {file!r}")
    return _File(file, kind)


def from_tier(level: str | None = None, *, limit: int | None = None, whole: bool = False) -> Strategy:
    """Bring what a shared level has into memory and the levels between, in bulk; nothing is loaded.

    `level` is its name; by default the first that can list its names: a DiskTier, or by SCAN, O(what the servers hold),
    a RedisTier or ClusterTier. It ends when memory begins to evict, or after `limit` entries, unless `whole` asks for
    all, for the sake of the levels between: there must be one then. They come in no particular order.
    """
    return _Tier(level, checked_limit(limit), whole)


def from_hot(path: str | os.PathLike[str], *, limit: int | None = None, whole: bool = False) -> Strategy:
    """Warm the keys that `CacheWarmer.save` has saved, the hottest first, then use each as often as it had been used.

    Up to 15 times, from the coldest to the hottest: LRU and LFU so have the order that they had, other policies a part
    of what they knew. None gets its ghosts, regions and targets back.
    At most `limit` of them, and no more than fit in memory, unless `whole` asks for all, for the shared levels' sake.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a path, got {path!r}")
    return _Hot(path, checked_limit(limit), whole)


def from_peer(level: str | None = None, *, limit: int | None = None, whole: bool = False) -> Strategy:
    """Warm the keys that a running process has left at a shared level by `CacheWarmer.publish`, as `from_hot` does.

    `level` is its name; by default the first that keeps such a list.
    """
    return _Peer(level, checked_limit(limit), whole)


def level_that(
    cache: TieredCache[Any, Any], can: str, offer_of: Callable[[Tier], _T | None], name: str | None
) -> tuple[int, Level, _T]:
    """Return the place of a level among the shared ones, the level, and what it offers. Raises WarmingError."""
    levels = cache._logic.below
    for place, level in enumerate(levels):
        offer = offer_of(level.tier)
        if name in {None, level.name} and offer is not None:
            if not level.on:
                raise WarmingError(f"the level {level.name!r} is switched off")
            return place, level, offer
    known = ", ".join(level.name for level in levels) or "none"
    if name is None:
        raise WarmingError(f"no level of the cache {cache.name!r} can {can} (shared levels: {known})")
    if any(level.name == name for level in levels):
        raise WarmingError(f"the level {name!r} of the cache {cache.name!r} cannot {can}")
    raise WarmingError(f"the cache {cache.name!r} has no shared level {name!r} (shared levels: {known})")


@dataclass(frozen=True, slots=True)
class _Keys:
    keys: Iterable[Any]

    def flow(self, warm: Warmup) -> Generator[Effect, Any, object]:
        return (yield from warm.loading(self.keys))


@dataclass(frozen=True, slots=True)
class _File:
    file: str | os.PathLike[str] | IO[bytes]
    kind: Kind

    def flow(self, warm: Warmup) -> Generator[Effect, Any, object]:
        keys = self._keys()
        try:
            return (yield from warm.loading(keys))
        finally:
            with suppress(ValueError):  # it is being read from, in a thread that was left alone
                keys.close()

    def _keys(self) -> Generator[Any, None, None]:
        if not isinstance(self.file, (str, os.PathLike)):
            yield from read_keys(self.file, self.kind, getattr(self.file, "name", repr(self.file)))
            return
        with Path(self.file).open("rb") as lines:
            yield from read_keys(lines, self.kind, str(self.file))


@dataclass(frozen=True, slots=True)
class _Tier:
    level: str | None
    limit: int | None
    whole: bool

    def flow(self, warm: Warmup) -> Generator[Effect, Any, object]:
        logic = warm.cache._logic
        memory = logic._memory()
        place, level, scanner = level_that(warm.cache, LIST, scanner_of, self.level)
        if not place and self.whole:
            raise WarmingError(f"no level is between memory and {level.name!r}: give a level that is further down")
        if not place and memory is None:
            raise WarmingError(f"the cache {warm.cache.name!r} has no memory to warm, or it is switched off")
        # What other hosts may have changed since is confirmed by those beneath.
        levels = logic.below if level in logic.pending.hearsay else logic.below[: place + 1]
        until_full = memory is not None and not self.whole
        full = warm.fullness()
        cursor, left = "", self.limit
        keys: list[Any] = []
        while True:
            yield Pause(0.0, warm._stop)
            cursor, names = yield from warm.patiently(Both(scanner.scan, scanner.ascan, cursor, warm.batch))
            keys += map(key_of, names)
            if left is not None:
                del keys[left:]
            if len(keys) >= warm.batch or not cursor or len(keys) == left:
                yield from warm.bringing(levels, keys, between=place)
                if left is not None:
                    left -= len(keys)
                keys = []
                if not cursor or left == 0 or (until_full and warm.fullness() != full):
                    return None


@dataclass(frozen=True, slots=True)
class _Hot:
    path: str | os.PathLike[str]
    limit: int | None
    whole: bool

    def flow(self, warm: Warmup) -> Generator[Effect, Any, object]:
        uses = yield Elsewhere(self._read, warm.cache.name)
        return (yield from _in_order(warm, uses, self.limit, whole=self.whole))

    def _read(self, cache: str) -> dict[str, int]:
        with Path(self.path).open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise WarmingError(f"{self.path}: larger than {_LARGEST_FILE} bytes, the most that is read")
        return parse_hot(data, cache, str(self.path))


@dataclass(frozen=True, slots=True)
class _Peer:
    level: str | None
    limit: int | None
    whole: bool

    def flow(self, warm: Warmup) -> Generator[Effect, Any, object]:
        _, level, board = level_that(warm.cache, KEEP, board_of, self.level)
        note = yield from warm.patiently(Both(board.posted, board.aposted))
        if note is None:
            raise WarmingError(f"no process has published its hot keys at the level {level.name!r} lately")
        uses = parse_hot(note, warm.cache.name, f"the list at the level {level.name!r}")
        return (yield from _in_order(warm, uses, self.limit, whole=self.whole))


def _in_order(warm: Warmup, uses: dict[str, int], limit: int | None, *, whole: bool) -> Generator[Effect, Any, object]:
    """Warm names of which the hottest come first, then give memory's policy their order and their uses."""
    memory = warm.cache._logic._memory()
    most = len(uses) if limit is None else limit
    if memory is not None and not whole and not memory._sized:
        most = min(most, int(memory.store.maxsize))
    hottest = list(uses.items())[:most]
    there = yield from warm.loading([key_of(name) for name, _ in hottest], until_full=not whole)
    if memory is not None:
        memory.use(hottest[::-1])
    return there


def checked_limit(limit: int | None) -> int | None:
    """Return a limit. Raises TypeError, ValueError for what is none."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise TypeError(f"limit must be an int or None, got {limit!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be 1 or more, or None for no limit, got {limit!r}")
    return limit
