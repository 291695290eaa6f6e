"""Who takes part: the level on disk, a level at a server, and other stores on disk; each as one `get` and one `put`.

All keep the same value, a dict with a text, under the same str keys. Stores that keep bytes get them from msgspec.
diskcache pickles by itself; it runs with its default, which forgets what was *stored* longest ago, and with the policy
that looks at use, as the level on disk does.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import diskcache
import lmdb
import msgspec

from hotset.tiered import TieredCache
from hotset.tiers import DiskTier, RedisTier
from hotset.tiers.contract import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hotset.bench.tiered.place import Place
    from hotset.tiers.contract import Tier

__all__ = ["CACHES", "DISKCACHES", "LEVELS", "STORES", "Stand", "Store"]

_MAX_BYTES = 256 << 20
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True, slots=True)
class Stand:
    """One store, ready."""

    get: Callable[[str], Any]
    put: Callable[[str, Any], Any]
    close: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Store:
    """A name and what makes it, in a folder that is empty, with a server that is."""

    name: str
    make: Callable[[Path, Place], Stand]


class _Silent:
    """The listener of a tier that is driven by hand."""

    def changed(self, names: Iterable[str]) -> None:
        """See Listener."""

    def invalidated(self, tags: Iterable[str], epoch: int) -> None:
        """See Listener."""

    def own_version(self, _name: str) -> bytes | None:
        """See Listener."""
        return None

    def alive(self, since: float) -> None:
        """See Listener."""

    def lost(self) -> None:
        """See Listener."""


def _level(tier: Tier) -> Stand:
    """Read and write one name at a time, by the tier's own methods."""
    tier.open("bench", _Silent())
    read, write = tier.read, tier.write

    def get(key: str) -> Any:
        found = read((key,)).found[0].entry
        return None if found is None else found.value

    def put(key: str, value: Any) -> None:
        write([(key, Entry(value, os.urandom(12), 300.0, 300.0))])

    return Stand(get, put, tier.close)


def _disk_level(path: Path, _place: Place) -> Stand:
    return _level(DiskTier(path / "level", max_bytes=_MAX_BYTES))


def _server_level(_path: Path, place: Place) -> Stand:
    return _level(RedisTier(place.url))


def _cache(tier: Tier) -> Stand:
    cache: TieredCache[str, Any] = TieredCache("bench", [tier], ttl="5m")
    return Stand(cache.get, cache.set, cache.close)


def _disk_cache(path: Path, _place: Place) -> Stand:
    return _cache(DiskTier(path / "cache", max_bytes=_MAX_BYTES))


def _server_cache(_path: Path, place: Place) -> Stand:
    return _cache(RedisTier(place.url))


def _diskcache(policy: str, path: Path, _place: Place) -> Stand:
    cache: Any = diskcache.Cache(str(path / "diskcache"), size_limit=_MAX_BYTES, eviction_policy=policy)
    return Stand(cache.get, functools.partial(cache.set, expire=300.0), cache.close)


def _lmdb(path: Path, _place: Place) -> Stand:
    environment = lmdb.open(str(path / "lmdb"), map_size=_MAX_BYTES, sync=False, metasync=False)

    def get(key: str) -> Any:
        with environment.begin() as txn:
            return _decode(txn.get(key.encode(), b"\xc0"))

    def put(key: str, value: Any) -> None:
        with environment.begin(write=True) as txn:
            txn.put(key.encode(), _encode(value))

    return Stand(get, put, environment.close)


def _sqlite(path: Path, _place: Place) -> Stand:
    connection = sqlite3.connect(path / "sqlite", isolation_level=None)
    for pragma in ("journal_mode=wal", "synchronous=off", f"mmap_size={_MAX_BYTES}"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE entries (key TEXT PRIMARY KEY, expires REAL, value BLOB) WITHOUT ROWID")

    def get(key: str) -> Any:
        found = connection.execute("SELECT expires, value FROM entries WHERE key = ?", (key,)).fetchone()
        return _decode(found[1]) if found is not None and found[0] > time.time() else None

    def put(key: str, value: Any) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (key, time.time() + 300.0, _encode(value))
        )

    return Stand(get, put, connection.close)


LEVELS = (Store("DiskTier", _disk_level), Store("RedisTier", _server_level))
CACHES = (Store("TieredCache, disk", _disk_cache), Store("TieredCache, server", _server_cache))
DISKCACHES = (
    Store("diskcache", functools.partial(_diskcache, "least-recently-stored")),
    Store("diskcache, LRU", functools.partial(_diskcache, "least-recently-used")),
)
STORES = (*LEVELS, *CACHES, *DISKCACHES, Store("lmdb", _lmdb), Store("sqlite3", _sqlite))
