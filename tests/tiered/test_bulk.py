"""Bulk reads of what a level below has opened at once: the same values, and the same order of things, as one by one."""

import time

import pytest
from tiered.drivers import (  # noqa: F401 - fixtures
    Origin,
    build,
    counted,
    eventually,
    listening,
    loop_thread,
    make_two,
    namespace,
    opened,
    redis_tier,
    runner,
    shared_server,
)

from hotset import ABSENT, MemoryTier, RedisTier
from hotset.errors import TierUnavailable
from hotset.tiered.flights import Flights

VALUES = {f"key {number}": {"number": number} for number in range(50)} | {7: "seven", b"b": None, ("t", 1): [], "~x": 0}


@pytest.fixture
def warm(build, shared_server):
    """Make caches of names that were written by others, whose wires know all writers there are."""

    def factory(*args, memory=True, tier=redis_tier, values=VALUES, tags=(), **options):
        tiers = [tier(shared_server.url, stream=None)]
        if memory:
            tiers.insert(0, MemoryTier(1000, policy="lru"))
        cache = build(tiers, *args, **{"max_staleness": 60, **options})
        other = build([redis_tier(shared_server.url, stream=None)], name=cache.name)
        other.set("known", 1, ttl=60)
        other.set_many(values, ttl=60, tags=tags)
        assert cache.get_many(["known"]) == {"known": 1}
        return cache, other

    return factory


@pytest.fixture
def opens(monkeypatch):
    """How often a reading was stored in memory at once, and how often it was tried in vain."""
    outcomes = []
    put_opened = MemoryTier.put_opened

    def noted(*args, **kwargs):
        outcomes.append(put_opened(*args, **kwargs))
        return outcomes[-1]

    monkeypatch.setattr(MemoryTier, "put_opened", noted)
    return outcomes


def reads(cache):
    return cache.stats().levels[-1].reads


class TestAtOnce:
    @pytest.mark.parametrize("memory", [False, True])
    def test_all_that_is_there(self, warm, opens, memory):
        cache, _ = warm(memory=memory)
        before = cache.stats().levels[-1]
        got = cache.get_many(VALUES)
        assert got == VALUES
        assert list(got) == list(VALUES)
        after = cache.stats().levels[-1]
        assert (after.reads - before.reads, after.hits - before.hits) == (len(VALUES), len(VALUES))
        assert opens == [True] * memory
        assert cache.get_many(VALUES) == VALUES
        assert reads(cache) - after.reads == (0 if memory else len(VALUES))
        assert [cache.get(key) for key in VALUES] == list(VALUES.values())

    def test_one_and_the_same_as_by_get(self, warm):
        """What memory keeps says the same of itself however it came there."""
        cache, _ = warm()
        cache.get_many(VALUES)
        views = {key: cache.explain(key).levels[0] for key in VALUES}
        cache.cache._logic.memory.store.clear()
        for key in VALUES:
            cache.get(key)
            view, bulk = cache.explain(key).levels[0], views[key]
            assert (view.state, view.version, view.writer, view.tags) == (
                bulk.state,
                bulk.version,
                bulk.writer,
                bulk.tags,
            )
            assert view.life == pytest.approx(bulk.life, abs=5)
            assert view.keep == pytest.approx(bulk.keep, abs=5)
            assert bulk.state == "fresh"

    def test_what_another_has_loaded_since_it_looked(self, opened, monkeypatch):
        """A load that ends between the look into memory and the flights is not done again."""
        calls = []
        cache = opened([MemoryTier(1000)], load_many=lambda keys: calls.append(keys) or dict.fromkeys(keys, 1))
        join = Flights.join

        def late(self, name):
            monkeypatch.undo()
            cache.get_many(["a", "b"])
            return join(self, name)

        monkeypatch.setattr(Flights, "join", late)
        assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 1, "c": 1}
        assert calls == [["a", "b"], ["c"]]

    def test_keys_that_are_named_twice(self, warm):
        cache, _ = warm()
        assert cache.get_many([*VALUES, *VALUES]) == VALUES
        assert reads(cache) == len(VALUES) + 1

    def test_partly_in_memory(self, warm, opens):
        cache, other = warm()
        keys = list(VALUES)
        cache.get_many(keys[:20])
        cache.get(keys[30])
        before = reads(cache)
        assert cache.get_many(keys) == VALUES
        assert reads(cache) - before == len(VALUES) - 21
        assert opens == [True, True]
        other.set(keys[0], "new")
        assert cache.get_many(keys[:2])[keys[0]] == VALUES[keys[0]], "it is believed for `max_staleness`"

    def test_partly_missing(self, warm, opens):
        cache, _ = warm()
        assert cache.get_many([*VALUES, "missing"]) == VALUES
        assert opens == []
        before = reads(cache)
        assert cache.get_many(VALUES) == VALUES
        assert reads(cache) == before

    def test_partly_missing_with_a_loader(self, warm):
        origin = Origin()
        cache, other = warm(load_many=origin.many)
        assert cache.get_many([*VALUES, "missing"]) == VALUES | {"missing": "of missing"}
        assert origin.calls == [["missing"]]
        assert other.get("missing") == "of missing"

    def test_with_tags(self, warm, opens):
        cache, other = warm(tags=("red",))
        assert cache.get_many(VALUES) == VALUES
        assert opens == []
        other.set_many({"a": 1, "b": 2}, ttl=60)
        assert cache.get_many(["a", "b"]) == {"a": 1, "b": 2}
        assert opens == [False], "what is in memory has tags"
        cache.invalidate(tags=["red"])
        assert cache.get_many([*VALUES, "a", "b"]) == {"a": 1, "b": 2}

    def test_with_what_is_known_not_to_exist(self, warm, opens):
        origin = Origin()
        cache, other = warm(origin)
        assert other.get_or_load("gone", lambda key: ABSENT, negative_ttl=60) is None
        assert cache.get_many([*VALUES, "gone"]) == VALUES
        assert opens == []
        assert cache.stats().negative_served == 1
        assert not origin.calls

    def test_what_has_ended(self, warm, opens):
        cache, other = warm(Origin())
        other.set("short", 1, ttl=0.05, jitter=0, keep=60)
        other.set("ended", 1, ttl=60, keep=60)
        other.expire("ended")
        eventually(lambda: other.explain("short").levels[-1].state == "stale")
        assert cache.get_many(["short", "ended", "key 1"]) == {
            "short": "of short",
            "ended": "of ended",
            "key 1": VALUES["key 1"],
        }

    @pytest.mark.parametrize("option", [{"refresh_ahead": 0.9}, {"xfetch": 1.0}])
    def test_with_moments_of_their_own(self, warm, opens, option):
        cache, _ = warm(Origin(), **option)
        assert cache.get_many(VALUES) == VALUES
        assert opens == []

    def test_memory_that_is_switched_off(self, warm, opens):
        cache, _ = warm()
        cache.switch("memory", on=False)
        assert cache.get_many(VALUES) == VALUES
        assert opens == []


class Between(RedisTier):
    """A tier that runs something between what it has read and the answer."""

    happens = None

    def _happen(self):
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()

    def read(self, names):
        reading = super().read(names)
        self._happen()
        return reading

    async def aread(self, names):
        reading = await super().aread(names)
        self._happen()
        return reading


def between(url, **options):
    return Between(url, **{"timeout": 5.0, "connect_timeout": 5.0, **options})


class TestBetween:
    """Changes after a level was read and before memory is filled are not undone by that."""

    CHANGES = pytest.mark.parametrize(
        "change",
        [
            lambda cache: cache.delete("key 1"),
            lambda cache: cache.invalidate("key 1"),
            lambda cache: cache.expire("key 1"),
            lambda cache: cache.set("key 1", "new", ttl=60),
            lambda cache: cache.set("key 1", "new", ttl=60, tags=["red"]),
            lambda cache: cache.clear(),
        ],
        ids=["delete", "invalidate", "expire", "set", "set with tags", "clear"],
    )

    @CHANGES
    def test_by_this_cache(self, warm, opens, change):
        cache, other = warm(tier=between)
        cache.cache._logic.below[-1].tier.happens = lambda: change(cache.cache)
        assert cache.get_many(VALUES) == VALUES, "as of when it was read"
        assert opens == [False]
        assert cache.get("key 1") == other.get("key 1") in {None, "new"}
        assert cache.get_many(["key 1"]).get("key 1") == other.get("key 1")

    @CHANGES
    def test_by_what_this_cache_is_told(self, warm, opens, change):
        """Another cache has changed it, and the news comes before the fill."""
        cache, other = warm(tier=between)
        logic = cache.cache._logic

        def happens():
            change(other.cache)
            logic.below[-1].tier._listener.changed(["key 1"])

        logic.below[-1].tier.happens = happens
        assert cache.get_many(VALUES) == VALUES
        assert opens == [False]
        assert logic.memory.store.peek("key 1") is None
        assert cache.get("key 1") == other.get("key 1")

    def test_what_was_not_changed_is_remembered_all_the_same(self, warm, opens):
        cache, _ = warm(tier=between)
        cache.cache._logic.below[-1].tier.happens = lambda: cache.cache.delete("key 1")
        cache.get_many(VALUES)
        assert opens == [False]
        before = reads(cache)
        others = {key: value for key, value in VALUES.items() if key != "key 1"}
        assert cache.get_many(others) == others
        # Names share 4,096 generations.
        assert reads(cache) - before <= 2

    def test_a_stream_that_is_lost_meanwhile(self, build, shared_server, opens):
        """What was asked for before that is not served on the word of the stream."""
        cache = build([MemoryTier(1000, policy="lru"), between(shared_server.url, heartbeat=0.05)], max_staleness=5)
        listening(cache.cache)
        build([redis_tier(shared_server.url)], name=cache.name).set_many(VALUES, ttl=600)
        cache.get_many(VALUES)  # meets the writer
        logic = cache.cache._logic
        logic.memory.store.clear()
        tier = logic.below[-1].tier

        def happens():
            tier._listener.lost()
            tier._listener.alive(time.monotonic())

        tier.happens = happens
        assert cache.get_many(VALUES) == VALUES
        end = time.monotonic() + 5
        assert opens == [True]
        records = dict(logic.memory.store.coldest())
        assert set(records) == set(VALUES)
        assert all(record.until <= end for record in records.values()), "which live for minutes"


class Deaf(RedisTier):
    """A tier that cannot be told of removals for a while."""

    deaf = False

    def remove(self, names, *, expire=False):
        if self.deaf:
            raise TierUnavailable("it hears nothing")
        super().remove(names, expire=expire)

    async def aremove(self, names, *, expire=False):
        if self.deaf:
            raise TierUnavailable("it hears nothing")
        await super().aremove(names, expire=expire)


class TestDoubted:
    @pytest.mark.parametrize("memory", [False, True])
    def test_what_a_server_was_not_told_is_not_believed(self, warm, opens, memory):
        cache, other = warm(tier=lambda url, **options: Deaf(url, timeout=5, **options), memory=memory)
        tier = cache.cache._logic.below[-1].tier
        tier.deaf = True
        cache.delete("key 1")
        assert other.get("key 1") == VALUES["key 1"]
        others = {key: value for key, value in VALUES.items() if key != "key 1"}
        assert cache.get_many(VALUES) == others
        assert cache.get("key 1") is None
        tier.deaf = False
        eventually(lambda: other.get("key 1") is None)
        eventually(lambda: cache.stats().recovery["pending"] == 0)
        assert cache.get_many(VALUES) == others

    def test_where_nobody_tells_memory_is_believed_for_a_while_only(self, warm, opens):
        cache, other = warm(max_staleness=0.2)
        assert cache.get_many(VALUES) == VALUES
        assert opens == [True]
        other.set_many(dict.fromkeys(VALUES, "new"), ttl=60)
        eventually(lambda: cache.get("key 1") == "new", 5)
        eventually(lambda: cache.get_many(VALUES) == dict.fromkeys(VALUES, "new"), 5)
