"""What is timed: one function a row, its contestants and its bars. The data is in the page cache throughout."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotset.bench import timing
from hotset.bench.bars import Bar, judge
from hotset.bench.clients import isolated
from hotset.bench.disk.stores import CACHES, DISKCACHES, LEVELS, STORES
from hotset.bench.rows import Result, Row
from hotset.bench.tiered.values import user_keys
from hotset.bench.timing import Entrant, call_each, shuffled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from hotset.bench.disk.stores import Store
    from hotset.bench.tiered.place import Place
    from hotset.bench.timing import Advance, Lap

__all__ = ["ROWS", "Sizes", "run"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How big a row is; the bars hold for the default."""

    entries: int = 10_000
    reads: int = 5_000
    writes: int = 1_000
    text: int = 1_000  # of the value, in bytes
    laps: int = 5
    rounds: int = 5

    @property
    def is_full(self) -> bool:
        """Tell whether the bars are meant for this size."""
        return replace(self, rounds=0) == Sizes(rounds=0)

    def as_dict(self) -> dict[str, int]:
        """Return the sizes for JSON."""
        return asdict(self)

    @classmethod
    def quick(cls) -> Sizes:
        """Return sizes for a first look: seconds a row."""
        return cls(entries=2_000, reads=2_000, writes=300, laps=3, rounds=3)

    @classmethod
    def tiny(cls) -> Sizes:
        """Return sizes that only show that everything runs."""
        return cls(entries=60, reads=20, writes=10, laps=2, rounds=1)


def run(row: Row, rounds: int, seed: int, advance: Advance | None = None) -> Result:
    """Race the row's entrants and judge its bars."""
    figures = timing.race(row.entrants, rounds, seed, advance)
    return Result(row, figures, judge(row.bars, {name: figure.median for name, figure in figures.items()}))


def _value(key: str, sizes: Sizes) -> dict[str, Any]:
    """Return the value of a key: of about a kilobyte, and no two alike."""
    return {"id": int(key[5:]), "name": f"User {key[5:]}", "text": (key * (sizes.text // len(key) + 1))[: sizes.text]}


def hit_laps(store: Store, place: Place, sizes: Sizes, rng: np.random.Generator) -> Iterator[Lap]:
    """Read keys that are all there, in random order."""
    keys = user_keys(rng, sizes.entries)
    with tempfile.TemporaryDirectory(prefix="hotset-bench-") as folder:
        place.empty()
        stand = store.make(Path(folder), place)
        loop = isolated(call_each)
        try:
            for key in keys:
                stand.put(key, _value(key, sizes))
            if [stand.get(key) for key in keys[:50]] != [_value(key, sizes) for key in keys[:50]]:
                raise RuntimeError(f"{store.name} does not give back what it was given")
            loop(stand.get, keys)
            for _ in range(sizes.laps):
                lap = shuffled(keys, rng)[: sizes.reads]
                yield functools.partial(loop, stand.get, lap), len(lap)
        finally:
            stand.close()


def write_laps(store: Store, place: Place, sizes: Sizes, rng: np.random.Generator) -> Iterator[Lap]:
    """Store keys anew, one at a time; nobody waits for the disk."""
    keys = user_keys(rng, sizes.entries)
    with tempfile.TemporaryDirectory(prefix="hotset-bench-") as folder:
        place.empty()
        stand = store.make(Path(folder), place)
        try:
            for key in keys:
                stand.put(key, _value(key, sizes))
            for _ in range(sizes.laps):
                items = [(key, _value(key, sizes)) for key in shuffled(keys, rng)[: sizes.writes]]
                yield functools.partial(_put_each, stand.put, items), len(items)
        finally:
            stand.close()


def _put_each(put: Callable[[str, Any], Any], items: list[tuple[str, Any]]) -> None:
    for key, value in items:
        put(key, value)


def _entrants(laps: Callable[..., Iterator[Lap]], place: Place, sizes: Sizes) -> list[Entrant]:
    return [Entrant(store.name, functools.partial(laps, store, place, sizes)) for store in STORES]


def disk_hit(place: Place, sizes: Sizes) -> Row:
    """A hit <= 0.25 x one at a server over loopback, and five times as fast as diskcache."""
    disk, server = (store.name for store in LEVELS)
    cached, cached_server = (store.name for store in CACHES)
    return Row(
        "disk-hit",
        f"read of one key, {sizes.text:,} bytes, {sizes.entries:,} entries, in the page cache",
        server,
        _entrants(hit_laps, place, sizes),
        [
            Bar(disk, (server,), 0.25),
            Bar(cached, (cached_server,), 0.25),
            *(Bar(disk, (store.name,), 0.2) for store in DISKCACHES),
        ],
    )


def disk_write(place: Place, sizes: Sizes) -> Row:
    """No bar: what a write costs."""
    return Row(
        "disk-write",
        f"write of one key that is there, {sizes.text:,} bytes, {sizes.entries:,} entries, no fsync",
        LEVELS[1].name,
        _entrants(write_laps, place, sizes),
        [],
    )


ROWS: dict[str, Callable[[Place, Sizes], Row]] = {"disk-hit": disk_hit, "disk-write": disk_write}
