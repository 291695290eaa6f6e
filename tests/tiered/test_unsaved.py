"""The queue of writes behind and its journal in any order of events, each of which may be the last before a crash."""

import collections
import random

import pytest

from hotset.tiered.journal import Row
from hotset.tiered.unsaved import Chunk, Queue, Unsaved
from hotset.tiers.contract import Entry

NAMES = "abcdef"
STEPS = 300


class Disk:
    """What a journal keeps, by the changes it is told; a commit may fail."""

    def __init__(self):
        self.chunks = {}
        self.strays = {}

    def commit(self, changes):
        if changes.chunk is not None:
            self.chunks[changes.chunk[0]] = changes.chunk[1]
        self.chunks = {first: rows for first, rows in self.chunks.items() if first >= changes.done_below}
        self.strays.update((row.seq, row) for row in changes.strays)
        for seq in changes.gone:
            self.strays.pop(seq, None)

    def latest(self):
        """Return what the next process would take up: of each name the write with the highest number."""
        rows = [row for rows in self.chunks.values() for row in rows] + list(self.strays.values())
        return {row.name: row for row in sorted(rows, key=lambda row: row.seq)}


class World:
    """A queue, its disk, and what must be true of them."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.queue, self.disk = Queue(), Disk()
        self.seq, self.now = 0, 0.0
        self.acknowledged = {}  # name -> number of its latest
        self.origin = {}  # name -> number
        self.given = collections.defaultdict(list)
        self.discarded = collections.defaultdict(int)
        self.flying = []

    def write(self):
        names = [self.rng.choice(NAMES) for _ in range(self.rng.randint(1, 5))]
        items = [Unsaved(name, name, Entry(name, b"v" * 12), b"", self.now) for name in names]
        changes = self.queue.changes()
        first = self.seq + 1
        for seq, item in enumerate(items, first):
            item.seq = seq
        if self.rng.random() < 0.1:
            self.queue.not_told(changes)  # the disk is full: none of them is made
            return
        self.seq += len(items)
        changes.chunk = first, [Row(item.seq, item.name, b"") for item in items]
        self.disk.commit(changes)
        self.queue.add(items, Chunk(first, len(items)))
        self.queue.spread(items)
        self.acknowledged.update((item.name, item.seq) for item in items)

    def tell(self):
        changes = self.queue.changes()
        if self.rng.random() < 0.2:
            self.queue.not_told(changes)
        else:
            self.disk.commit(changes)

    def take(self):
        if not self.flying:
            self.flying = self.queue.take(self.rng.randint(1, 4), self.now)
            for item in self.flying:
                self.given[item.name].append(item.seq)

    def land(self):
        self.origin.update((item.name, item.seq) for item in self.flying)
        self.queue.landed(self.flying)
        self.flying = []

    def fail(self):
        if len(self.flying) > 1:
            self.queue.returned(self.flying)
        elif self.flying and self.rng.random() < 0.5:
            self.queue.delay(self.flying[0], self.now + self.rng.random())
        elif self.flying:
            self.flying[0].error = "bad"
            self.queue.bury(self.flying[0])
        self.flying = []

    def revive(self):
        for item in list(self.queue.dead.values())[:1]:
            self.queue.revive(item, self.now)

    def discard(self):
        for item in list(self.queue.dead.values())[:1]:
            self.discarded[item.name] = item.seq
            self.queue.discard(item)

    def step(self):
        self.now += 0.1
        names = ["write", "tell", "take", "land", "fail", "revive", "discard"]
        getattr(self, self.rng.choices(names, [6, 4, 6, 4, 3, 1, 1])[0])()

    def crash(self):
        """Take up what the disk has, as the next process does."""
        latest = self.disk.latest()
        self.queue = Queue()
        items = []
        for row in latest.values():
            item = Unsaved(row.name, row.name, Entry(row.name, b"v" * 12), b"", self.now)
            item.seq, item.error = row.seq, row.error
            items.append(item)
        self.queue.restore(items)
        self.disk.chunks, self.disk.strays = {}, {item.seq: item.row() for item in items}
        self.flying = []

    def check(self):
        latest = self.disk.latest()
        for name, seq in self.acknowledged.items():
            done = max(self.origin.get(name, 0), self.discarded[name])
            item = self.queue.find(name) or self.queue.dead.get(name)
            if seq > done:
                assert item is not None, f"{name} {seq} is lost"
                assert item.seq == seq
                assert latest[name].seq == seq, f"{name} {seq} would be lost"
            assert name not in latest or latest[name].seq >= done, f"{name}: an older write would come back"
        for name, seqs in self.given.items():
            assert seqs == sorted(seqs), f"{name}: an older write was given after a newer one"
        places = [self.queue.waiting, self.queue.put_off, self.queue.dead]
        assert all(not set(one) & set(other) for one in places for other in places if one is not other)
        assert {item.name for item in self.queue} == set(self.queue.latest)

    def finish(self):
        """Have the origin take everything; then the disk has nothing."""
        self.now += 1000
        self.land()
        while self.queue.dead:
            self.revive()
        for _ in range(1000):
            if not self.queue:
                break
            self.take()
            self.land()
        self.disk.commit(self.queue.changes())
        assert not self.disk.latest()
        assert all(self.origin[name] == seq for name, seq in self.acknowledged.items() if seq > self.discarded[name])


@pytest.mark.parametrize("crashes", [0.0, 0.02])
@pytest.mark.parametrize("seeds", [range(part, part + 50) for part in range(0, 200, 50)], ids=str)
def test_any_order_of_events(seeds, crashes):
    for seed in seeds:
        world = World(seed)
        for _ in range(STEPS):
            world.step()
            world.check()
            if world.rng.random() < crashes:
                world.crash()
                world.check()
        world.finish()


@pytest.mark.parametrize("fate", ["delay", "bury"])
def test_what_waits_for_long_holds_up_no_chunk(fate):
    world = World(0)
    for _ in range(5):
        world.write()
    items = world.queue.take(1, 0.0)
    if fate == "delay":
        world.queue.delay(items[0], 1.0)
    else:
        world.queue.bury(items[0])
    world.queue.landed(world.queue.take(100, 0.0))
    world.disk.commit(world.queue.changes())
    assert not world.disk.chunks
    assert set(world.disk.strays) == {items[0].seq}


def test_what_the_origin_has_refused_together_comes_first():
    world = World(0)
    while len(world.queue) < 6:
        world.write()
    names = list(world.queue.waiting)
    items = world.queue.take(3, 0.0)
    world.queue.returned(items)
    assert list(world.queue.waiting) == names
