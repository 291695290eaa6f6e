"""A level of your own: entries in the dict of a server object that several caches share, fenced by counting changes."""

import queue
import threading
import time
from collections import Counter
from dataclasses import replace

from hotset import TieredCache
from hotset.errors import TierError
from hotset.tiers.contract import CLEAR, Found, Reading


class Shelf:
    """The storage: what would be a server, with one lock where that has transactions."""

    def __init__(self):
        self.lock = threading.Lock()
        self.entries = {}  # place -> (entry, when it was stored)
        self.changes = Counter()  # place -> how often it was changed: its fence
        self.leases = {}  # place -> its changes when it was leased last
        self.epochs = Counter()  # namespace -> epoch
        self.ended = {}  # (namespace, tag) -> the epoch in which it was invalidated
        self.tiers = []  # to be told of changes


class ShelfTier:
    """What the cache sees of it: the protocol `hotset.tiers.contract.Tier`."""

    name = "shelf"
    shared = True  # so fences are asked for
    streams = True  # it tells of changes by others, so memory above it need not ask

    def __init__(self, shelf):
        self.shelf = shelf
        self.namespace = self.listener = None
        self.news = queue.SimpleQueue()  # of changes by others; None at the end
        self.thread = threading.Thread(target=self._tell, daemon=True)

    def open(self, namespace, listener):
        if self.listener is not None:
            raise TierError("it belongs to another cache")
        self.namespace, self.listener = namespace, listener
        with self.shelf.lock:
            self.shelf.tiers.append(self)
        self.thread.start()

    def close(self):
        with self.shelf.lock:
            if self in self.shelf.tiers:
                self.shelf.tiers.remove(self)
                self.news.put(None)
        if self.thread.is_alive():
            self.thread.join(10)

    def _tell(self):
        """Tell the cache what others do, and again and again that it has been told everything up to a moment."""
        while True:
            since = time.monotonic()
            try:
                news = self.news.get(timeout=0.05)
            except queue.Empty:
                self.listener.alive(since)
                continue
            if news is None:
                return
            method, *arguments = news
            getattr(self.listener, method)(*arguments)

    # With the lock held

    def _announce(self, *news):
        for tier in self.shelf.tiers:
            if tier is not self and tier.namespace == self.namespace:
                tier.news.put(news)

    def _present(self, name):
        """What is left of an entry, or None: times go by, and an invalidated tag ends its life."""
        entry, stored = self.shelf.entries.get((self.namespace, name), (None, 0.0))
        if entry is None:
            return None
        passed = time.monotonic() - stored
        if passed >= entry.keep:
            return None
        if any(self.shelf.ended.get((self.namespace, tag), 0) > entry.epoch for tag in (CLEAR, *entry.tags)):
            return None
        return replace(entry, life=entry.life - passed, keep=entry.keep - passed, age=entry.age + passed)

    def _put(self, name, entry):
        """Change what is under a name; None for nothing. All fences of before are broken."""
        place = self.namespace, name
        if entry is None:
            self.shelf.entries.pop(place, None)
        else:
            self.shelf.entries[place] = replace(entry), time.monotonic()
        self.shelf.changes[place] += 1
        self._announce("changed", [name])

    # The operations: on many names at once, each with the lock held once

    def read(self, names):
        with self.shelf.lock:
            entries = [self._present(name) for name in names]
            fences = [self.shelf.changes[self.namespace, name] for name in names]
            # What is not there has no fence: it takes a lease.
            found = [Found(entry, entry and fence) for entry, fence in zip(entries, fences, strict=True)]
            return Reading(found, self.shelf.epochs[self.namespace])

    def lease(self, names):
        found = []
        with self.shelf.lock:
            for name in names:
                place = self.namespace, name
                entry, fence = self._present(name), self.shelf.changes[place]
                taken = entry is None and self.shelf.leases.get(place) == fence
                self.shelf.leases[place] = fence
                found.append(Found(entry, fence, taken))
            return Reading(found, self.shelf.epochs[self.namespace])

    def fill(self, items):
        """Store what was loaded, unless its name has changed since the fence was given: one step."""
        stored = []
        with self.shelf.lock:
            for name, entry, fence in items:
                stored.append(fence is not None and fence == self.shelf.changes[self.namespace, name])
                if stored[-1]:
                    self._put(name, entry)
        return stored

    def write(self, items):
        with self.shelf.lock:
            for name, entry in items:
                self._put(name, entry)

    def remove(self, names, *, expire=False):
        with self.shelf.lock:
            for name in names:
                entry = self._present(name) if expire else None  # one that is kept for fail-safe, without its life
                self._put(name, entry and replace(entry, life=min(entry.life, 0.0)))

    def touch(self, name, life, keep):
        with self.shelf.lock:
            entry = self._present(name)
            if entry is not None:
                self.shelf.entries[self.namespace, name] = replace(entry, life=life, keep=keep), time.monotonic()
            return entry is not None

    def invalidate(self, tags):
        with self.shelf.lock:
            self.shelf.epochs[self.namespace] += 1
            epoch = self.shelf.epochs[self.namespace]
            self.shelf.ended.update(((self.namespace, tag), epoch) for tag in tags)
            self._announce("invalidated", list(tags), epoch)
            return epoch

    # Nothing here waits, so that an event loop may call it as it is.

    async def aclose(self):
        self.close()

    async def aread(self, names):
        return self.read(names)

    async def alease(self, names):
        return self.lease(names)

    async def afill(self, items):
        return self.fill(items)

    async def awrite(self, items):
        self.write(items)

    async def aremove(self, names, *, expire=False):
        self.remove(names, expire=expire)

    async def atouch(self, name, life, keep):
        return self.touch(name, life, keep)

    async def ainvalidate(self, tags):
        return self.invalidate(tags)


def main(_url=None):
    """Two caches share a shelf: what one has loaded the other finds, and what one invalidates is gone for both."""
    shelf, asked = Shelf(), []

    def load(key):
        asked.append(key)
        return f"{key}, loaded {len(asked)} times"

    seen = []
    with (
        TieredCache("notes", [ShelfTier(shelf)], load=load) as one,
        TieredCache("notes", [ShelfTier(shelf)], load=load) as other,
    ):
        seen.append(one.get("a"))
        seen.append(other.get("a"))
        other.invalidate("a")
        seen.append(one.get("a"))
    return [*seen, len(asked)]


if __name__ == "__main__":
    print(*main(), sep="\n")
