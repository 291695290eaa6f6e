"""Whoever changes a key while it is on its way: memory must not get what was read before."""

import random
import threading
import time

import pytest
from tiered.drivers import PATIENCE, Origin, loop_thread, namespace, opened, runner, shared_server
from tiered.warming import Held, acquainted, ran, remembered, served_alone, store, two

from hotset.warming import CacheWarmer, from_keys, from_tier

__all__ = ["loop_thread", "opened", "ran", "runner", "shared_server", "store", "two"]


@pytest.fixture(params=["found one by one", "opened together"])
def held(request, shared_server, two):
    """Make a cache of a level whose answers can be held back."""

    def make(name, **options):
        tier = Held(shared_server.url)
        cache = two(name, tier=tier, **options)
        if request.param == "opened together":
            acquainted(cache)
        return cache, tier

    return make


def test_invalidated_in_this_process_while_it_was_read(held, store, ran):
    cache, tier = held(store({"k": "old", "k0": 1}), load=Origin())
    tier.done = lambda names: cache.invalidate("k")
    assert ran(CacheWarmer(cache).add("a", from_tier())).success
    tier.done = None
    assert remembered(cache, ["k", "k0"]) == ["k0"]
    assert cache.get("k") == "of k"


def test_written_in_this_process_while_it_was_read(held, store, ran):
    cache, tier = held(store({"k": "old", "k0": 0}))
    tier.done = lambda names: cache.set("k", "new")
    ran(CacheWarmer(cache).add("a", from_keys(["k", "k0"])))
    tier.done = None
    assert cache.get("k") == "new"


def test_a_tag_invalidated_while_it_was_read(held, store, ran):
    cache, tier = held(store({"k": "old"}, tags=["red"]))
    tier.done = lambda names: cache.invalidate(tags=["red"])
    ran(CacheWarmer(cache).add("a", from_tier()))
    tier.done = None
    assert cache.get("k") is None


def test_cleared_while_it_was_read(held, store, ran):
    cache, tier = held(store({"k": "old", "k0": 0}))
    tier.done = lambda names: cache.clear()
    ran(CacheWarmer(cache).add("a", from_tier()))
    tier.done = None
    assert cache.get("k") is None


def test_written_by_another_process_while_it_was_read(held, two, store, ran):
    name = store({"k": "old", "k0": 0})
    (cache, tier), other = held(name), two(name)
    told = threading.Event()
    changed = cache._logic.changed

    def hears(names):
        names = list(names)
        changed(names)
        if "k" in names:
            told.set()

    cache._logic.changed = hears

    def write(names):
        tier.done = None
        other.set("k", "new")
        assert told.wait(PATIENCE)

    tier.done = write
    assert ran(CacheWarmer(cache).add("a", from_tier())).success
    # What was read before is refused, and what was read after that is not.
    assert cache._logic.memory.store.peek("k").value == "new"
    assert cache.get("k") == "new"


def test_what_others_have_only_brushed_comes_all_the_same(held, store, ran):
    """Names share fences: a load of other keys may break those of what is on its way."""
    values = {f"k{number}": number for number in range(100)}
    cache, tier = held(store(values))
    asked = []

    def brush(names):
        asked.append(len(names))
        if len(asked) < 3:
            cache._logic.memory.claim(names[: len(names) // 2])

    tier.done = brush
    report = ran(CacheWarmer(cache).add("a", from_tier()))
    tier.done = None
    assert report["a"].items == 100
    assert asked[0] == 100 > asked[1] >= 50 > asked[2] >= 25
    assert served_alone(cache, values) == values


def test_what_is_refused_again_and_again_is_left_to_the_levels(held, store, ran):
    cache, tier = held(store({"k": 1, "k0": 0}))
    asked = []

    def brush(names):
        asked.append(names)
        cache._logic.memory.claim(names)

    tier.done = brush
    report = ran(CacheWarmer(cache).add("a", from_tier()))
    tier.done = None
    assert len(asked) == 3
    assert report["a"].items == 2
    assert remembered(cache, ["k", "k0"]) == []
    assert cache.get("k") == 1


def test_nothing_old_under_fire(two, ran, seed):
    """Writers in this process, and warming over and over: what a set has returned of is what is read."""
    name = namespace()
    cache = two(name, load=None)
    keys = [f"k{number}" for number in range(50)]
    written = dict.fromkeys(keys, 0)
    cache.set_many(written)
    stale, over = [], threading.Event()

    def write(mine, rng):
        while not over.is_set():
            key = rng.choice(mine)
            value = written[key] + 1
            if rng.random() < 0.3:
                cache.invalidate(key)
            cache.set(key, value)
            written[key] = value
            if rng.random() < 0.5:
                cache._logic.memory.store.pop(key, None)  # so that there is something to warm
            found = cache.get(key)
            if found is not None and found < value:
                stale.append((key, value, found))

    rng = random.Random(seed)
    threads = [threading.Thread(target=write, args=(keys[n::3], random.Random(rng.random()))) for n in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 1.5
    warmed = 0
    try:
        while time.monotonic() < deadline:
            warmer = CacheWarmer(cache, batch=7).add("tier", from_tier()).add("keys", from_keys(keys))
            warmed += ran(warmer).items
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert warmed > 50
    assert sum(written.values()) > 50
    assert stale == []
