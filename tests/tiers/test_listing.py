"""A list of names over nodes among which parts move: against nodes that are dicts."""

import random

import pytest

from hotset.tiers.listing import Listing
from hotset.tiers.parts import PARTS, part_of

NAMES = [f"name {number}" for number in range(600)]
BUCKETS = [NAMES[start::20] for start in range(20)]


def walk(ids, chance, disturb):
    """Return all names that come while `disturb` changes whose the parts are, now and then."""
    cursor, names, steps = "", [], 0
    while True:
        listing = Listing(cursor, ids)
        if not listing.node:
            return names
        assert listing.node in ids
        # As SCAN does, a node walks over buckets: what comes to others or leaves them does not matter.
        bucket = int(listing.place)
        names += [name for name in BUCKETS[bucket] if ids[part_of(name)] == listing.node and listing.has(name)]
        cursor = listing.cursor(str((bucket + 1) % len(BUCKETS)))
        steps += 1
        if steps < 2000 and chance.random() < 0.05:
            disturb(ids)


@pytest.mark.parametrize("nodes", [1, 3, PARTS])
def test_each_comes_once_while_parts_stay(nodes):
    ids = [f"n{part % nodes}" for part in range(PARTS)]
    assert sorted(walk(ids, random.Random(1), lambda ids: None)) == sorted(NAMES)


@pytest.mark.parametrize("seed", range(30))
def test_what_stays_with_its_node_comes_once_and_all_else_comes(seed):
    """Parts move between nodes, and nodes are followed by others."""
    chance = random.Random(seed)
    ids = [f"n{part % 4}" for part in range(PARTS)]
    begun, moved, fresh = list(ids), set(), iter(range(4, 10_000))

    def disturb(ids):
        if chance.random() < 0.5:
            part = chance.randrange(PARTS)
            ids[part] = chance.choice(ids)
        else:
            gone, follower = chance.choice(ids), f"n{next(fresh)}"
            ids[:] = [follower if node == gone else node for node in ids]
        moved.update(part for part in range(PARTS) if ids[part] != begun[part])

    names = walk(ids, chance, disturb)
    assert set(names) == set(NAMES)
    assert all(names.count(name) == 1 for name in NAMES if part_of(name) not in moved)
