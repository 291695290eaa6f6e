"""Caches that write behind, and an origin that remembers what it was told."""

import os
import shutil
import threading

import pytest

from hotset import MemoryTier, TieredCache, WriteBehind
from hotset.tiered.journal import Journal

PATIENCE = 20.0
AWAY = float(os.environ.get("HOTSET_AWAY_SECONDS", "60"))  # that an origin is


class Rows(dict):
    """An origin that remembers what it was told, and refuses or waits on demand."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.refuse = lambda _items: None
        self.gate = threading.Event()
        self.gate.set()
        self.looked, self.go = threading.Event(), threading.Event()

    def look(self, key):
        """Look a value up, and be slow to tell it."""
        value = self.get(key)
        self.looked.set()
        self.go.wait(PATIENCE)
        return value

    def save_many(self, items, seq=None):
        self.gate.wait(PATIENCE)
        self.calls.append(dict(items))
        self.refuse(items)
        self.update(items)
        self.seqs = seq

    def delete_many(self, keys):
        self.gate.wait(PATIENCE)
        for key in keys:
            self.pop(key, None)


@pytest.fixture
def rows(make):
    made = Rows()
    yield made
    made.gate.set()  # or closing would wait for it


@pytest.fixture
def make(tmp_path):
    """Make caches that write behind; closed in the end."""
    made = []

    def factory(rows, *, tiers=None, name="behind", load=None, write="behind", durable=True, path="journal", **options):
        options = {"interval": 0.01, "backoff": 0.01, "longest": 0.05, "close_timeout": 2.0, **options}
        behind = WriteBehind(tmp_path / path if durable else None, durable=durable, **options)
        cache = TieredCache(
            name,
            [MemoryTier(1000)] if tiers is None else tiers,
            load=rows.get if load is None else load,
            save_many=rows.save_many,
            delete_many=rows.delete_many,
            write=write,
            behind=behind,
        )
        made.append(cache)
        return cache

    yield factory
    for cache in made:
        cache.close()


def on_disk(path):
    """Return what a journal has, by key, as a process would find it that opens it now."""
    journal = Journal(path)
    try:
        return {row.name: row for row in journal.rows()}
    finally:
        journal.close()


def on_disk_now(folder):
    """Return what the journal of a cache that is open has, as a process would find it if that were killed now."""
    for name in ("journal", "journal-wal"):
        shutil.copy(folder / name, folder / f"copy of {name}")
    return on_disk(folder / "copy of journal")
