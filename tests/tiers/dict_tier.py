"""A shared tier as small as it can be, to test the contract suite by: dicts that several of its objects share.

A fence is the number of changes that a name has seen. Each step is a method of its own, so that a broken tier is this
one with one method changed.
"""

import dataclasses
import queue
import threading
import time
from collections import defaultdict

from hotset.errors import TierError
from hotset.tiers.contract import CLEAR, Found, Reading

HOLD = 30.0  # seconds after which a hold has run out


class Storage:
    """What a server would hold; one lock for all."""

    def __init__(self):
        self.lock = threading.RLock()
        self.kept = {}  # place -> (entry, when it was stored)
        self.states = defaultdict(int)  # place -> changes so far
        self.held = {}  # place -> (how many hold it, who alone or None, until when)
        self.holds = 0  # so far
        self.leases = {}  # place -> its state when it was leased last
        self.epochs = defaultdict(int)  # namespace -> epoch
        self.ended = {}  # (namespace, tag) -> epoch of its last invalidation
        self.tiers = []


class DictTier:
    """Entries in a Storage; changes are told by a thread."""

    name = "dict"
    shared = True
    holds = True

    def __init__(self, storage):
        self.storage = storage
        self.listener = None
        self.namespace = None
        self.news = queue.Queue()
        self.thread = None
        self.closed = threading.Event()

    def open(self, namespace, listener):
        if self.listener is not None:
            raise TierError("it belongs to another cache")
        self.namespace, self.listener = namespace, listener
        with self.storage.lock:
            self.storage.tiers.append(self)
        self.thread = threading.Thread(target=self.tell_news, daemon=True)
        self.thread.start()

    def close(self):
        self.closed.set()
        self.news.put(("alive", (time.monotonic(),)))  # wakes the thread
        with self.storage.lock:
            self.storage.tiers = [tier for tier in self.storage.tiers if tier is not self]
        if self.thread is not None:
            self.thread.join(10)

    # News for the others

    def tell_news(self):
        while not self.closed.is_set():
            since = time.monotonic()
            try:
                told, args = self.news.get(timeout=0.02)
            except queue.Empty:
                self.listener.alive(since)
            else:
                getattr(self.listener, told)(*args)

    def told(self, tier):
        """Whether another tier is told what this one does."""
        return tier is not self and tier.namespace == self.namespace

    def tell(self, told, *args):
        for tier in self.storage.tiers:
            if self.told(tier):
                tier.news.put((told, args))

    # One name; the lock is held

    def place(self, name):
        return self.namespace, name

    def changed(self, name):
        self.storage.states[self.place(name)] += 1
        self.tell("changed", [name])

    def is_dead(self, entry):
        return any(self.storage.ended.get((self.namespace, tag), 0) > entry.epoch for tag in (CLEAR, *entry.tags))

    def present(self, name):
        """Return what is kept of a name as of now, or None."""
        entry, stored = self.storage.kept.get(self.place(name), (None, 0.0))
        if entry is None:
            return None
        passed = time.monotonic() - stored
        return (
            dataclasses.replace(entry, life=entry.life - passed, keep=entry.keep - passed, age=entry.age + passed)
            if entry.keep > passed
            else None
        )

    def found(self, name, refused):
        entry = self.present(name)
        if entry is not None and self.is_dead(entry):
            refused["dead"] = refused.get("dead", 0) + 1
            entry = None
        return Found(entry, None if entry is None else self.storage.states[self.place(name)])

    def leased(self, name, refused):
        found = self.found(name, refused)
        if found.entry is not None:
            return found
        if self.is_held(name):
            return Found(None)
        taken = self.is_leased(name)
        state = self.storage.leases[self.place(name)] = self.storage.states[self.place(name)]
        return Found(None, state, taken)

    def is_leased(self, name):
        place = self.place(name)
        return self.storage.leases.get(place) == self.storage.states[place]

    def is_held(self, name):
        return self.held_by(name)[0] > 0

    def held_by(self, name):
        """Return how many hold a name, and who alone."""
        count, alone, until = self.storage.held.get(self.place(name), (0, None, 0.0))
        return (count, alone) if until > time.monotonic() else (0, None)

    def put(self, name, entry):
        self.storage.kept[self.place(name)] = dataclasses.replace(entry), time.monotonic()

    def fence_holds(self, name, fence):
        return fence is not None and fence == self.storage.states[self.place(name)] and not self.is_held(name)

    # Many names

    def look_up(self, look, names):
        refused = {}
        with self.storage.lock:
            return Reading([look(name, refused) for name in names], self.storage.epochs[self.namespace], refused)

    def read(self, names):
        return self.look_up(self.found, names)

    def lease(self, names):
        return self.look_up(self.leased, names)

    def fill(self, items):
        stored = []
        with self.storage.lock:
            for name, entry, fence in items:
                stored.append(self.fence_holds(name, fence))
                if stored[-1]:
                    self.put(name, entry)
                    self.filled(name)
        return stored

    def filled(self, name):
        self.changed(name)

    def write(self, items):
        with self.storage.lock:
            for name, entry in items:
                self.put(name, entry)
                self.changed(name)

    def remove(self, names, *, expire=False):
        with self.storage.lock:
            for name in names:
                entry = self.present(name)
                if expire and entry is not None:
                    self.put(name, dataclasses.replace(entry, life=min(entry.life, 0.0)))
                elif not expire:
                    self.storage.kept.pop(self.place(name), None)
                self.changed(name)

    def hold(self, names, *, expire=False):
        with self.storage.lock:
            token = self.storage.holds = self.storage.holds + 1
            self.remove(names, expire=expire)
            for name in names:
                count, _ = self.held_by(name)
                self.keep_held(name, count + 1, None if count else token)
        return token

    def keep_held(self, name, count, alone):
        self.storage.held[self.place(name)] = count, alone, time.monotonic() + HOLD

    def settle(self, items, hold, *, expire=False):
        settled = []
        with self.storage.lock:
            for name, entry in items:
                count, alone = self.held_by(name)
                mine = alone == hold
                # Of several, or of another one whose change this one's overlaps, nobody is the last.
                self.keep_held(name, count - (alone is None or mine), None)
                settled.append(mine)
                self.settle_one(name, entry if mine else None, expire=expire and mine)
        return settled

    def settle_one(self, name, entry, *, expire):
        if entry is not None:
            self.write([(name, entry)])
        else:
            self.remove([name], expire=expire)

    def touch(self, name, life, keep):
        with self.storage.lock:
            entry = self.present(name)
            if entry is None or self.is_dead(entry):
                return False
            self.put(name, dataclasses.replace(entry, life=life, keep=keep))
            return True

    def invalidate(self, tags):
        with self.storage.lock:
            self.storage.epochs[self.namespace] += 1
            epoch = self.storage.epochs[self.namespace]
            for tag in tags:
                self.storage.ended[self.namespace, tag] = epoch
            self.tell("invalidated", tags, epoch)
            return epoch

    # For asyncio

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

    async def ahold(self, names, *, expire=False):
        return self.hold(names, expire=expire)

    async def asettle(self, items, hold, *, expire=False):
        return self.settle(items, hold, expire=expire)

    async def atouch(self, name, life, keep):
        return self.touch(name, life, keep)

    async def ainvalidate(self, tags):
        return self.invalidate(tags)


class LocalTier(DictTier):
    """The same as a tier of one process: all names have a fence, and fills do not break it."""

    shared = False
    holds = False

    def found(self, name, refused):
        return Found(super().found(name, refused).entry, self.storage.states[self.place(name)])

    def filled(self, name):
        self.tell("changed", [name])
