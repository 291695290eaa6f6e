"""Write policies: which there are, by cache, key and call; what each does at the origin and leaves at the levels."""

import asyncio
import threading

import pytest
from tiered.drivers import (  # noqa: F401 - fixtures
    build,
    counted,
    eventually,
    levels,
    listening,
    loop_thread,
    make,
    make_two,
    namespace,
    opened,
    own_proxy,
    own_server,
    redis_tier,
    runner,
    shared_server,
)

from hotset import ABSENT, MemoryTier, TieredCache, WriteBehind, WritePolicy
from hotset.errors import TierError

PATIENCE = 20.0


class Rows(dict):
    """An origin that remembers how it was written to."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []

    def save(self, key, value):
        self.calls.append(("save", key))
        self[key] = value

    def save_many(self, items):
        self.calls.append(("save_many", list(items)))
        self.update(items)

    def delete(self, key):
        self.calls.append(("delete", key))
        self.pop(key, None)

    def delete_many(self, keys):
        self.calls.append(("delete_many", list(keys)))
        for key in keys:
            self.pop(key, None)


def states(cache, key):
    return [view.state for view in cache.explain(key).levels if view.level != "behind"]


class TestChoice:
    def test_by_cache(self, make):
        for policy in WritePolicy:
            rows = Rows()
            options = {"behind": WriteBehind(durable=False)} if policy is WritePolicy.BEHIND else {}
            cache = make(rows.get, save=rows.save, write=policy, **options)
            cache.set("a", 1)
            if policy is WritePolicy.BEHIND:
                assert not rows
                assert cache.behind.flush(PATIENCE)
            assert rows == {"a": 1}
            assert cache.get("a") == 1

    def test_by_pattern_the_first_that_fits(self, make):
        rows = Rows()
        write = {"feed:*": "behind", "feed:urgent": "around", "[(]*": "invalidate", "pay?": WritePolicy.THROUGH}
        cache = make(rows.get, save_many=rows.save_many, write=write, behind=WriteBehind(durable=False, interval=30))
        keys = ["feed:1", "feed:urgent", ("a", 1), "pay1", "else", 7]
        cache.set_many(dict.fromkeys(keys, 1))
        assert set(rows) == {("a", 1), "pay1", "else", 7}
        assert [states(cache, key)[0] for key in keys] == ["fresh", "fresh", "nothing", "fresh", "fresh", "fresh"]
        assert cache.behind.flush(PATIENCE)
        assert set(rows) == set(keys)

    def test_by_callable(self, make):
        rows = Rows()
        cache = make(rows.get, save=rows.save, write=lambda key: "around" if key == "a" else "through")
        cache.set_many({"a": 1, "b": 2})
        assert rows == {"a": 1, "b": 2}
        assert (states(cache, "a")[0], states(cache, "b")[0]) == ("nothing", "fresh")

    def test_by_call(self, make):
        rows = Rows()
        cache = make(rows.get, save=rows.save, write="invalidate", delete=rows.delete)
        cache.set("a", 1)
        assert states(cache, "a")[0] == "nothing"
        cache.set("a", 2, write="through")
        assert states(cache, "a")[0] == "fresh"
        cache.set_many({"a": 3}, write="around")
        assert states(cache, "a")[0] in {"nothing", "stale"}
        cache.set("a", 4, write_through=True)
        assert states(cache, "a")[0] == "fresh"
        cache.delete("a", write="through")
        assert rows == {}
        assert cache.get("a") is None

    @pytest.mark.parametrize(
        ("write", "error", "message"),
        [
            ("sideways", ValueError, "'through', 'behind', 'around', 'invalidate', got 'sideways'"),
            (7, TypeError, "a mapping of patterns to these, or a callable, got 7"),
            ({"a*": "sideways"}, ValueError, r"write\['a\*'\] must be one of"),
            ({7: "through"}, TypeError, "pattern"),
            ({"a*": None}, TypeError, "got None"),
            ("behind", ValueError, "behind=WriteBehind"),
            ({"a": "behind"}, ValueError, "behind=WriteBehind"),
        ],
    )
    def test_what_is_no_policy(self, write, error, message):
        with pytest.raises(error, match=message):
            TieredCache("x", [MemoryTier(1)], save=print, write=write)

    @pytest.mark.parametrize("policy", ["behind", "around", "invalidate"])
    def test_policies_that_need_a_save(self, policy):
        with pytest.raises(ValueError, match="needs a save"):
            TieredCache("x", [MemoryTier(1)], write=policy, behind=WriteBehind(durable=False))

    def test_what_a_callable_returns_is_looked_at(self, make):
        cache = make(save=print, write=lambda key: key)
        for key, error in (("sideways", ValueError), ("behind", ValueError), (7, TypeError)):
            with pytest.raises(error):
                cache.set(key, 1)

    def test_what_a_call_cannot_have(self, make):
        rows = Rows()
        cache = make(save=rows.save)
        for options, error in (
            ({"write": "sideways"}, ValueError),
            ({"write": "behind"}, ValueError),
            ({"write": 7}, TypeError),
            ({"write": "around", "write_through": True}, TypeError),
        ):
            with pytest.raises(error):
                cache.set("a", 1, **options)
        for write, error in (("sideways", ValueError), ("behind", ValueError)):
            with pytest.raises(error):
                cache.delete("a", write=write)
        assert not rows

    @pytest.mark.parametrize("what", ["save", "save_many", "delete", "delete_many", "behind"])
    def test_what_is_not_callable(self, what):
        with pytest.raises(TypeError, match=f"{what} must be"):
            TieredCache("x", [MemoryTier(1)], **{what: 7})


class TestMany:
    def test_many_are_one_call_and_one_is_one(self, make):
        rows = Rows()
        functions = {name: getattr(rows, name) for name in ("save", "save_many", "delete", "delete_many")}
        cache = make(rows.get, **functions)
        cache.set("a", 1)
        cache.set_many({"b": 2, "c": 3})
        cache.delete("a")
        cache.cache.delete_many(["b", "c"])
        assert rows.calls == [("save", "a"), ("save_many", ["b", "c"]), ("delete", "a"), ("delete_many", ["b", "c"])]

    def test_only_the_many(self, make):
        rows = Rows()
        cache = make(rows.get, save_many=rows.save_many, delete_many=rows.delete_many)
        cache.set("a", 1)
        assert rows == {"a": 1}
        cache.delete("a")
        assert rows.calls == [("save_many", ["a"]), ("delete_many", ["a"])]

    def test_coroutine_functions(self, make):
        rows = {}

        async def save_many(items):
            await asyncio.sleep(0)
            rows.update(items)

        async def delete_many(keys):
            for key in keys:
                del rows[key]

        cache = make(save_many=save_many, delete_many=delete_many)
        cache.set_many({"a": 1, "b": 2})
        assert rows == {"a": 1, "b": 2}
        cache.delete("a")
        assert rows == {"b": 2}

    def test_each_is_told_its_number_if_it_wants(self, make):
        told = []

        def save(key, value, seq):
            told.append((key, seq))

        def save_many(items, *, seq=None):
            told.extend(sorted(seq.items()))

        cache = make(save=save, save_many=save_many, delete=lambda key, seq: told.append((key, seq)))
        cache.set("a", 1)
        cache.set_many({"b": 2, "c": 3})
        cache.delete("a")
        assert [key for key, _ in told] == ["a", "b", "c", "a"]
        numbers = [number for _, number in told]
        assert numbers == sorted(set(numbers))

    def test_a_refusal_of_many_has_all_loaded_anew(self, make):
        rows = Rows(a=1, b=1, c=1)

        def save_many(items):
            rows["a"] = items["a"]
            raise OSError("half of it")

        cache = make(rows.get, save_many=save_many)
        assert cache.get_many("abc") == {"a": 1, "b": 1, "c": 1}
        with pytest.raises(OSError, match="half"):
            cache.set_many({"a": 2, "b": 2})
        assert cache.get_many("abc") == {"a": 2, "b": 1, "c": 1}


class TestLeft:
    """What each policy leaves at the levels: memory above Valkey."""

    @pytest.mark.parametrize(
        ("policy", "left"), [("through", "fresh"), ("around", "stale"), ("invalidate", "nothing"), ("behind", "fresh")]
    )
    def test_states(self, make_two, policy, left):
        rows = Rows(a="old")
        behind = WriteBehind(durable=False, interval=30) if policy == "behind" else None
        one = make_two(rows.get, save=rows.save, keep="1h", write=policy, behind=behind)
        other = make_two(rows.get, name=one.name, keep="1h")
        assert one.get("a") == other.get("a") == "old"
        one.set("a", "new")
        assert states(one, "a") == [left, left]
        if policy != "behind":
            assert rows["a"] == "new"
        assert one.get("a") == "new"
        eventually(lambda: other.get("a") == "new")

    @pytest.mark.parametrize("policy", ["through", "around", "invalidate"])
    def test_a_deleted_key_is_nowhere(self, make_two, policy):
        rows = Rows(a="old")
        cache = make_two(rows.get, delete=rows.delete, save=rows.save, keep="1h", write=policy)
        assert cache.get("a") == "old"
        cache.delete("a")
        assert states(cache, "a") == ["nothing", "nothing"]
        assert cache.get("a") is None
        assert rows == {}

    @pytest.mark.parametrize("keep", [0, "1h"])
    def test_what_is_kept_for_a_failing_origin_outlives_a_failing_write(self, make_two, keep):
        away = OSError("the origin is away")

        def fail(*_):
            raise away

        rows = Rows(a="old")
        cache = make_two(lambda key: rows[key] if rows else fail(), save=fail, keep=keep)
        assert cache.get("a") == "old"
        rows.clear()
        with pytest.raises(OSError, match="away"):
            cache.set("a", "new")
        if keep:
            assert cache.get("a") == "old"
            assert states(cache, "a")[1] == "stale"
        else:
            with pytest.raises(OSError, match="away"):
                cache.get("a")

    def test_absent_through(self, make_two):
        rows = Rows(a="old")
        cache = make_two(rows.get, save=lambda key, value: rows.pop(key), negative_ttl=60)
        assert cache.get("a") == "old"
        cache.set("a", ABSENT)
        assert states(cache, "a") == ["absent", "absent"]

    def test_round_trips(self, make_two, shared_server):
        """A write through is one to hold and one to settle, as many as a plain one has, which asks for the epoch."""
        rows = Rows()
        cache = make_two(rows.get, save=rows.save)
        plain = make_two()
        for one in (cache, plain):
            one.set("a", 0)  # teaches the server its scripts
        before = trips(cache), trips(plain)
        for _ in range(10):
            cache.set("a", 1)
            plain.set("a", 1)
        assert (trips(cache) - before[0], trips(plain) - before[1]) == (20, 10)


def trips(cache):
    """Return how often the level below was asked."""
    return cache._levels[1].latencies.snapshot().count


class TestHeld:
    """While the origin is being changed."""

    def test_readers_are_served_and_nothing_is_stored(self, make_two):
        rows = Rows(a="old")
        name = namespace()
        seen = []

        def save(key, value):
            seen.append((other.get("a"), states(other, "a")[1]))
            seen.append((other.get_many(["a"]), states(other, "a")[1]))
            rows[key] = value

        other = make_two(rows.get, name=name)
        cache = make_two(rows.get, name=name, save=save)
        assert cache.get("a") == other.get("a") == "old"
        cache.set("a", "new")
        assert seen == [("old", "nothing"), ({"a": "old"}, "nothing")]
        assert cache.get("a") == "new"
        eventually(lambda: other.get("a") == "new")

    def test_of_two_writers_at_once_none_stores(self, make_two):
        """Whoever is the last at the origin, no level says otherwise."""
        rows = Rows()
        name = namespace()
        barrier = threading.Barrier(2, timeout=PATIENCE)

        def save(key, value):
            barrier.wait()
            rows[key] = value
            barrier.wait()

        caches = [make_two(rows.get, name=name, save=save) for _ in range(2)]
        threads = [threading.Thread(target=cache.cache.set, args=("a", number)) for number, cache in enumerate(caches)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert states(caches[0], "a")[1] == "nothing"
        assert [cache.get("a") for cache in caches] == [rows["a"]] * 2
        assert states(caches[0], "a")[1] == "fresh", "it is held no longer"

    def test_a_level_that_cannot_hold_is_told_later(self, make_two, own_server):
        rows = Rows(a="old")
        cache = make_two(rows.get, save=rows.save, url=own_server.url, recovery_delay=0.05)
        assert cache.get("a") == "old"
        own_server.kill()
        cache.set("a", "new")
        assert rows["a"] == cache.get("a") == "new"
        own_server.start()
        eventually(lambda: cache.stats().recovery["pending"] == 0)
        assert cache.get("a") == "new"

    def test_a_cancelled_write_leaves_nothing(self, make_two):
        rows = Rows(a="old")
        name = namespace()

        async def save(key, value):
            await asyncio.sleep(0)
            rows[key] = value
            await asyncio.sleep(PATIENCE)

        cache = make_two(rows.get, name=name, save=save, recovery_delay=0.05).cache
        assert cache.get("a") == "old"

        async def main():
            task = asyncio.create_task(cache.aset("a", "new"))
            while rows["a"] == "old":
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert cache.get("a") == "new"

    def test_a_hold_runs_out(self, shared_server):
        """As that of a process that was killed: with the lease of its tier."""
        tiers = [redis_tier(shared_server.url, lease=0.2, stream=None) for _ in range(2)]
        for tier in tiers:
            tier.open("hold", None)
        one, other = tiers
        hold = one.hold(["a"])
        assert other.lease(["a"]).found[0].fence is None
        eventually(lambda: other.lease(["a"]).found[0].fence is not None)
        assert one.settle([("a", None)], hold) == [False]
        for tier in tiers:
            tier.close()

    def test_who_settles_too_late_does_not_end_the_hold_of_another(self, shared_server):
        """Their changes of the origin overlap: the other one stores nothing either, and nobody fills till then."""
        one = redis_tier(shared_server.url, lease=0.1, stream=None)
        other = redis_tier(shared_server.url, stream=None)
        for tier in (one, other):
            tier.open(f"late {shared_server.port}", None)
        late = one.hold(["a"])
        eventually(lambda: other.lease(["b", "a"]).found[1].fence is not None)
        hold = other.hold(["a"])
        assert one.settle([("a", None)], late) == [False]
        assert one.lease(["a"]).found[0].fence is None
        assert other.settle([("a", None)], hold) == [False]
        assert one.lease(["a"]).found[0].fence is not None
        for tier in (one, other):
            tier.close()

    def test_a_tier_out_of_memory_is_not_believed(self, make_two, own_server):
        rows = Rows(a="old")
        cache = make_two(rows.get, save=rows.save, url=own_server.url)
        assert cache.get("a") == "old"
        own_server.command("CONFIG", "SET", "maxmemory", "1")
        cache.set("a", "new")
        own_server.command("CONFIG", "SET", "maxmemory", "0")
        assert own_server.command("DBSIZE") is not None
        assert cache.get("a") == rows["a"] == "new"


class TestInvalidations:
    def test_they_wait_for_the_end(self, make_two):
        rows = Rows(dict.fromkeys("abc", 0))
        cache = make_two(lambda key: rows.get(key, ABSENT))
        assert len(cache.get_many("abc")) == 3
        cache.set("tagged", 0, tags=["t"])
        with cache.invalidations() as held:
            cache.cache.invalidate("a", "b")
            cache.cache.expire("b")
            cache.cache.invalidate("c", tags=["t"])
            assert len(held) == 4
            rows.update(a=1, b=1, c=1)
            assert cache.get_many(["a", "b", "c", "tagged"]) == {"a": 0, "b": 0, "c": 0, "tagged": 0}
        assert cache.get_many(["a", "b", "c", "tagged"]) == {"a": 1, "b": 1, "c": 1}

    def test_keys_are_one_step(self, make_two, shared_server):
        cache = make_two()
        before = trips(cache)
        with cache.invalidations():
            for key in range(100):
                cache.cache.invalidate(key)
        assert trips(cache) - before == 1

    @pytest.mark.parametrize("hold", [False, True])
    def test_an_exception_drops_them(self, make_two, hold):
        cache = make_two()
        cache.set("a", 1, tags=["t"])
        with pytest.raises(KeyError), cache.invalidations(hold=hold):
            cache.cache.invalidate("b", tags=["t"])
            raise KeyError
        assert cache.get("a") == 1

    def test_async(self, make_two):
        cache = make_two().cache

        async def other(key):
            await cache.ainvalidate(key)

        async def main():
            await cache.aset_many({"a": 1, "b": 2, "c": 3})
            async with cache.invalidations():
                await cache.ainvalidate("a")
                assert await cache.aget("a") == 1
            assert await cache.aget("a") is None
            with pytest.raises(KeyError):
                async with cache.invalidations(hold=True):
                    await cache.aremove("b")
                    raise KeyError
            with pytest.raises(KeyError):
                async with cache.invalidations():
                    await cache.aremove("c")
                    raise KeyError
            assert await cache.aget_many("bc") == {"c": 3}
            task = asyncio.create_task(other("c"))
            async with cache.invalidations():
                await task  # in a context of its own
                assert await cache.aget("c") is None

        asyncio.run(main())

    def test_other_threads_and_caches_are_not_concerned(self, make):
        cache, second = make(), make()
        for one in (cache, second):
            one.set_many({"a": 1, "b": 2})
        with cache.invalidations():
            second.cache.invalidate("a")
            thread = threading.Thread(target=cache.cache.invalidate, args=("b",))
            thread.start()
            thread.join()
            assert second.get("a") is None
            assert cache.get_many("ab") == {"a": 1}

    def test_the_outermost_block_decides(self, make):
        cache = make()
        cache.set_many({"a": 1, "b": 2, "c": 3})
        with cache.invalidations():
            with cache.invalidations():
                cache.cache.invalidate("a")
            assert cache.get("a") == 1
            with pytest.raises(KeyError), cache.invalidations():
                cache.cache.invalidate("b")
                raise KeyError
        assert cache.get_many("abc") == {"b": 2, "c": 3}

    def test_held_names_take_nothing_until_the_end(self, make_two):
        """From before the commit: whoever dies after it has left nothing that is older."""
        rows = Rows(a="old")
        name = namespace()
        cache, other = (make_two(rows.get, name=name) for _ in range(2))
        assert cache.get("a") == other.get("a") == "old"
        with cache.invalidations(hold=True):
            cache.cache.invalidate("a")
            assert states(cache, "a") == ["nothing", "nothing"]
            assert other.get("a") == "old"
            assert states(other, "a")[1] == "nothing"
            rows["a"] = "new"
        eventually(lambda: other.get("a") == "new")
        assert cache.get("a") == "new"
        assert states(cache, "a")[1] == "fresh"

    def test_by_hand(self, make):
        cache = make()
        cache.set_many({"a": 1, "b": 2})
        held = cache.invalidations()
        held.add("a")
        held.drop()
        held.commit()
        assert cache.get("a") == 1
        held.add("a", tags=["t"])
        held.commit()
        assert cache.get_many("ab") == {"b": 2}

    def test_it_is_open_once(self, make):
        cache = make()
        with cache.invalidations() as held:
            with pytest.raises(RuntimeError, match="open already"), held:
                pass


def test_a_tier_that_holds_nothing_is_written_as_before(make_two):
    rows = Rows(a="old")
    cache = make_two(rows.get, save=rows.save)
    cache._levels[1].tier.holds = False
    cache.set("a", "new")
    assert states(cache, "a") == ["fresh", "fresh"]
    assert cache.get("a") == "new"


@pytest.mark.parametrize("name", ["save", "save_many", "delete", "delete_many"])
def test_a_level_that_holds_nothing_is_named(name):
    """What a crash can leave there must not be news to anybody."""
    origin = {name: Rows().save}

    def tiers():
        made = [MemoryTier(10), *(redis_tier("redis://localhost:1", name=each, stream=None) for each in ("one", "two"))]
        made[1].holds = False
        return made

    with pytest.warns(RuntimeWarning, match=r"^one cannot hold keys .* older value"):
        TieredCache("unheld", tiers(), **origin).close()
    with TieredCache("unheld", tiers(), load=len):
        pass
    if name.startswith("save"):
        with TieredCache("unheld", tiers(), **origin, write="behind", behind=WriteBehind(durable=False)):
            pass


def test_a_hold_that_fails_does_not_stop_the_write(make_two, monkeypatch):
    rows = Rows(a="old")
    cache = make_two(rows.get, save=rows.save)

    def fail(*_args, **_named):
        raise TierError("no holds today")

    async def afail(*_args, **_named):
        fail()

    monkeypatch.setattr(cache._levels[1].tier, "hold", fail)
    monkeypatch.setattr(cache._levels[1].tier, "ahold", afail)
    cache.set("a", "new")
    assert rows["a"] == cache.get("a") == "new"
