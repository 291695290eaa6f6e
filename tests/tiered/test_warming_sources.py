"""Where warming takes its keys from: files, levels, the last shutdown, peers."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from tiered.drivers import (
    Origin,
    counted,
    eventually,
    listening,
    loop_thread,
    namespace,
    opened,
    own_proxy,
    own_server,
    redis_tier,
    runner,
    shared_server,
)
from tiered.warming import acquainted, ran, remembered, served_alone, store, two

from hotset import ABSENT, POLICIES, MemoryTier, RedisTier
from hotset.errors import TierError, WarmingError
from hotset.names import name_of
from hotset.tiers.contract import Entry
from hotset.warming import CacheWarmer, from_file, from_hot, from_keys, from_peer, from_tier
from hotset.warming.lists import dump_hot, parse_hot, write_whole
from hotset.wire import Wire

__all__ = ["loop_thread", "opened", "own_proxy", "own_server", "ran", "runner", "shared_server", "store", "two"]

# Keys of all types, and with all that is special to the server, to JSON and to lines.
ODD = [
    "",
    "a b",
    "~i7",
    "*",
    "x[1-9]?",
    'qu"ote',
    "back\\slash",
    "new\nline",
    "{brace}",
    "ü\ud800",
    "\0",
    7,
    -1,
    b"\xff",
    ("u", 7),
]


class TestFiles:
    def test_one_key_a_line(self, opened, ran, tmp_path):
        path = tmp_path / "keys.txt"
        path.write_bytes(b"\xef\xbb\xbfuser:1\nuser:2\r\n\n~odd\n last ")
        cache = opened([MemoryTier(100)], load_many=Origin().many)
        assert ran(CacheWarmer(cache, batch=2).add("a", from_file(path))).items == 4
        assert sorted(key for key, _ in cache._logic.memory.store.items()) == [" last ", "user:1", "user:2", "~odd"]

    def test_kinds_of_keys(self, opened, ran, tmp_path):
        (tmp_path / "ints").write_text("1\n-2\n")
        (tmp_path / "names").write_text("".join(f"{name_of(key)}\n" for key in ("a", 7, b"x", ("u", 7))))
        cache = opened([MemoryTier(100)], load_many=Origin().many)
        warmer = CacheWarmer(cache).add("ints", from_file(tmp_path / "ints", "int"))
        assert ran(warmer.add("names", from_file(str(tmp_path / "names"), "name"))).items == 6
        assert len(remembered(cache, [1, -2, "a", 7, b"x", ("u", 7)])) == 6

    def test_an_open_file(self, opened, ran):
        cache = opened([MemoryTier(100)], load_many=Origin().many)
        assert ran(CacheWarmer(cache).add("a", from_file(io.BytesIO(b"a\nb\n")))).items == 2

    @pytest.mark.parametrize(
        ("kind", "content", "message"),
        [
            ("str", b"good\nb\xffad\n", "line 2, is not UTF-8: 'b\ufffdad'"),
            ("int", b"1\n2\nthree\n", "line 3, is no whole number: 'three'"),
            ("name", b"~i1\n~x\n", "line 2, is no name of a key: '~x'"),
        ],
    )
    def test_a_line_that_is_no_key_is_named(self, opened, ran, tmp_path, kind, content, message):
        path = tmp_path / "keys.txt"
        path.write_bytes(content)
        cache = opened([MemoryTier(100)], load_many=Origin().many)
        report = ran(CacheWarmer(cache).add("a", from_file(path, kind)).add("b", from_keys([1])))
        assert isinstance(report["a"].error, WarmingError)
        assert str(report["a"].error) == f"{path}, {message}"
        assert report["b"].success

    def test_a_missing_file_fails_its_strategy(self, opened, ran, tmp_path):
        cache = opened([MemoryTier(100)], load_many=Origin().many)
        report = ran(CacheWarmer(cache).add("a", from_file(tmp_path / "none")).add("b", from_keys([1])))
        assert isinstance(report["a"].error, FileNotFoundError)
        assert report["b"].success

    def test_a_file_is_closed_when_the_run_is_stopped(self, opened, ran, tmp_path):
        """ResourceWarning is an error here."""
        path = tmp_path / "keys.txt"
        path.write_text("".join(f"{number}\n" for number in range(1000)))

        def load_many(keys):
            warmer.stop()
            return dict.fromkeys(keys, 1)

        cache = opened([MemoryTier(1000)], load_many=load_many)
        warmer = CacheWarmer(cache, batch=10).add("a", from_file(path))
        assert ran(warmer)["a"].outcome == "stopped"

    def test_a_file_of_the_users_stays_open(self, opened, ran, tmp_path):
        path = tmp_path / "keys.txt"
        path.write_text("a\nb\n")
        cache = opened([MemoryTier(1000)], load_many=Origin().many)
        with path.open() as lines:
            assert ran(CacheWarmer(cache).add("a", from_keys(lines))).items == 2
            assert not lines.closed


class TestTier:
    def test_all_comes_into_memory_and_nothing_is_loaded(self, two, store, ran):
        values = {f"k{number}": {"n": number} for number in range(2000)}
        origin = Origin()
        cache = two(store(values), load=origin)
        report = ran(CacheWarmer(cache, batch=300).add("a", from_tier()))
        assert report.success
        assert report.items == 2000
        assert served_alone(cache, values) == values
        assert origin.calls == []

    @pytest.mark.parametrize("known", [False, True])
    def test_it_is_trusted_as_long_as_the_stream_lives(self, two, store, ran, known):
        values = {"k": 1, "k0": 2}
        cache = two(store(values), max_staleness=0.3, load=Origin())
        if known:
            acquainted(cache)
        ran(CacheWarmer(cache).add("a", from_tier()))
        time.sleep(0.5)
        assert served_alone(listening(cache), values) == values

    def test_keys_of_all_types(self, two, store, ran):
        values = {key: repr(key) for key in ODD}
        cache = two(store(values))
        assert ran(CacheWarmer(cache).add("a", from_tier("valkey"))).items == len(ODD)
        assert served_alone(cache, values) == values

    @pytest.mark.parametrize("name", ["plain", "a[b]c", "a?c", "a\\c", "^a-c", "a:b"])
    def test_other_caches_names_are_left_alone(self, two, store, ran, shared_server, name):
        name = f"{namespace()}{name}"
        store({"mine": 1}, name=name)
        for other in (f"{name}x", f"x{name}", name.replace("b", "x"), name.replace("?", "b").replace("[b]", "b")):
            if other != name:
                store({"theirs": 2}, name=other)
        cache = two(name)
        assert ran(CacheWarmer(cache).add("a", from_tier())).items == 1
        assert remembered(cache, ["mine", "theirs"]) == ["mine"]

    def test_what_is_at_the_server_and_no_entry_is_passed_by(self, two, store, ran, shared_server):
        name = store({"good": 1})
        shared_server.command("SET", f"hs:{name}:k:junk", "no entry")
        shared_server.command("SET", f"hs:{name}:k:~x", "no name")
        shared_server.command("RPUSH", f"hs:{name}:k:list", "1")
        cache = two(name)
        report = ran(CacheWarmer(cache).add("a", from_tier()))
        assert report["a"].items == 1
        assert remembered(cache, ["good", "junk", "list"]) == ["good"]

    def test_it_ends_at_its_limit(self, two, store, ran):
        cache = two(store({number: number for number in range(1000)}))
        assert ran(CacheWarmer(cache, batch=30).add("a", from_tier(limit=100))).items == 100
        assert len(remembered(cache, range(1000))) == 100

    def test_it_ends_when_memory_is_full(self, two, store, ran):
        cache = two(store({number: number for number in range(2000)}), size=100)
        report = ran(CacheWarmer(cache, batch=50).add("a", from_tier()))
        assert report.success
        assert 100 <= report.items < 400
        assert len(remembered(cache, range(2000))) == 100

    def test_what_has_expired_stays_away_and_lives_are_kept(self, two, store, ran):
        name = store({"short": 1}, ttl=0.05, keep=60, jitter=0)
        store({"long": 2}, name=name, ttl=50, jitter=0)
        time.sleep(0.1)
        cache = two(name, ttl=1000)
        assert ran(CacheWarmer(cache).add("a", from_tier())).items == 1
        assert remembered(cache, ["short", "long"]) == ["long"]
        assert 0 < cache.explain("long").levels[0].life < 50

    def test_tags_hold(self, two, store, ran):
        name = store({1: "a", 2: "b"}, tags=["red"])
        store({3: "c"}, name=name)
        cache = two(name)
        assert ran(CacheWarmer(cache).add("a", from_tier())).items == 3
        cache.invalidate(tags=["red"])
        assert [cache.get(key) for key in (1, 2, 3)] == [None, None, "c"]
        assert ran(CacheWarmer(cache).add("a", from_tier())).items == 1

    @pytest.mark.parametrize("known", [False, True])
    def test_early_refresh_is_armed(self, two, store, ran, known):
        origin = Origin()
        cache = two(store({"k": "old", "k0": 0}, ttl=100, jitter=0), load=origin, refresh_ahead=0.01)
        if known:
            acquainted(cache)
        ran(CacheWarmer(cache).add("a", from_tier()))
        record = cache._logic.memory.store.peek("k")
        assert record.until < time.monotonic() + 10
        assert record.deadline > time.monotonic() + 50

    def test_what_is_known_not_to_exist_is_known(self, two, ran):
        name = namespace()
        before = two(name, load=lambda key: ABSENT, negative_ttl=60)
        before.get("nobody")
        origin = Origin()
        cache = two(name, load=origin, negative_ttl=60)
        ran(CacheWarmer(cache).add("a", from_tier()))
        assert cache.get("nobody") is None
        assert origin.calls == []

    def test_levels_above_are_believed_first(self, opened, shared_server, own_server, ran):
        """A level that another process could not tell of a change has something older."""
        name = namespace()
        upper, lower = redis_tier(shared_server.url, name="upper"), redis_tier(own_server.url, name="lower")
        for tier, value in ((redis_tier(shared_server.url), "new"), (redis_tier(own_server.url), "old")):
            opened([tier], name=name).set("k", value)
        opened([redis_tier(own_server.url)], name=name).set("only", 1)
        cache = opened([MemoryTier(100), upper, lower], name=name)
        report = ran(CacheWarmer(cache).add("a", from_tier("lower")))
        assert report.items == 2
        assert served_alone(cache, ["k", "only"]) == {"k": "new", "only": 1}

    @pytest.mark.parametrize("known", [False, True])
    def test_a_level_that_missed_an_invalidation_is_not_believed(self, opened, own_server, own_proxy, ran, known):
        cache = opened([MemoryTier(100), redis_tier(own_proxy.url, timeout=0.3)], load=Origin(), recovery_delay=3600)
        cache.set("k", "old")
        cache.set("other", 1)
        own_proxy.refuse()
        own_proxy.cut()
        cache.invalidate("k")
        own_proxy.accept()
        assert own_server.command("EXISTS", f"hs:{cache.name}:k:k") == 1
        cache._levels[1].breaker.reset()
        cache._logic.memory.store.clear()
        eventually(lambda: cache._guard.until > time.monotonic())
        if known:
            acquainted(cache)
        report = ran(CacheWarmer(cache).add("a", from_tier()))
        assert report["a"].items == 1, report
        assert remembered(cache, ["k", "other"]) == ["other"]

    @pytest.mark.parametrize(
        ("level", "message"),
        [("nosuch", "has no shared level 'nosuch' .shared levels: valkey"), ("memory", "has no shared level 'memory'")],
    )
    def test_a_level_that_is_none(self, two, ran, level, message):
        report = ran(CacheWarmer(two()).add("a", from_tier(level)))
        assert isinstance(report["a"].error, WarmingError)
        with pytest.raises(WarmingError, match=message):
            raise report["a"].error

    def test_without_a_level_or_memory(self, opened, shared_server, ran):
        alone = opened([MemoryTier(10)])
        assert "can list its names" in str(ran(CacheWarmer(alone).add("a", from_tier()))["a"].error)
        bare = opened([redis_tier(shared_server.url)])
        assert "no memory to warm" in str(ran(CacheWarmer(bare).add("a", from_tier()))["a"].error)

    def test_a_level_that_is_switched_off(self, two, ran):
        cache = two()
        cache.switch("valkey", on=False)
        assert "switched off" in str(ran(CacheWarmer(cache).add("a", from_tier()))["a"].error)

    def test_a_dead_level_fails_it(self, two, own_server, ran):
        cache = two(tier=redis_tier(own_server.url, timeout=0.2))
        own_server.kill()
        report = ran(CacheWarmer(cache).add("a", from_tier()))
        assert report["a"].outcome == "failed"
        assert isinstance(report["a"].error, TierError)


class TestHotKeys:
    def test_saved_and_read_back(self):
        names = [name_of(key) for key in ODD]
        assert list(parse_hot(dump_hot(dict.fromkeys(names, 1), "shop"), "shop", "it")) == names
        assert parse_hot(dump_hot({}, "shop"), "shop", "it") == {}

    def test_any_damage_is_noticed(self):
        data = dump_hot({f"k{number}": 1 for number in range(5)}, "shop")
        for end in range(len(data)):
            with pytest.raises(WarmingError, match=r"^it: "):
                parse_hot(data[:end], "shop", "it")
        for place in range(len(data)):
            damaged = bytearray(data)
            damaged[place] ^= 1
            # What says how many names there are may be damaged: the names are all there.
            try:
                names = parse_hot(bytes(damaged), "shop", "it")
            except WarmingError:
                continue
            assert names == {f"k{number}": 1 for number in range(5)}

    def test_of_another_cache_they_are_refused(self):
        with pytest.raises(WarmingError, match="hot keys of the cache 'shop', not of 'bank'"):
            parse_hot(dump_hot({"a": 1}, "shop"), "bank", "it")

    @pytest.mark.parametrize(
        "body", [b"5\n", b"null\n", b'"~x"\n', b"[[[[\n", b"\xff\n", b"[" * 100_000, b'["a", -1]\n', b'["a", 16]\n']
    )
    def test_what_is_no_name_is_refused_whatever_its_checksum(self, body):
        from zlib import crc32

        head = dump_hot({}, "shop").replace(b'"crc32": 0', b'"crc32": %d' % crc32(body))
        with pytest.raises(WarmingError, match="not all of the hot keys are names"):
            parse_hot(head + body, "shop", "it")

    def test_a_file_is_replaced_as_a_whole(self, tmp_path, monkeypatch):
        path = tmp_path / "hot"
        write_whole(path, b"old")

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_whole(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
        monkeypatch.undo()
        write_whole(path, b"new")
        assert path.read_bytes() == b"new"

    def test_memory_is_as_it_was(self, two, store, ran, tmp_path):
        values = {f"k{number}": number for number in range(300)}
        name = store(values)
        before = two(name)
        for key in values:
            before.get(key)
        for number in (5, 3, 200):
            before.get(f"k{number}")
        assert CacheWarmer(before).save(tmp_path / "hot") == 300
        order = before._logic.memory.hottest()
        assert list(order)[:3] == ["k200", "k3", "k5"]
        after = two(name)
        report = ran(CacheWarmer(after, batch=64).add("hot", from_hot(tmp_path / "hot")))
        assert report["hot"].items == 300
        assert list(after._logic.memory.hottest()) == list(order)
        assert served_alone(after, values) == values

    @pytest.mark.parametrize("policy", ["lfu", "arc", "tinylfu", "s3fifo", "gdsf"])
    def test_the_policy_knows_what_it_knew(self, two, store, ran, tmp_path, policy):
        """What was used often outlives a scan of what was not, as it would have without the restart."""
        values = {f"k{number}": number for number in range(200)}
        name = store(values)
        before = two(name, size=200, policy=policy)
        for times in range(8):
            for number in range(0, 200, 10):
                before.get(f"k{number}")
            for number in range(25 * times, 25 * times + 25):
                before.get(f"k{number}")
        CacheWarmer(before).save(tmp_path / "hot")
        after = two(name, size=200, policy=policy)
        assert ran(CacheWarmer(after).add("hot", from_hot(tmp_path / "hot"))).items == 200
        memory = after._logic.memory
        uses = memory.hottest()
        often, once = ([uses[f"k{number}"] for number in range(start, 200, 10)] for start in (0, 1))
        assert min(often) > max(once)
        for number in range(300):  # a scan
            after.set(f"new {number}", number)
        left = remembered(after, values)
        assert len([key for key in left if int(key[1:]) % 10 == 0]) >= 18

    @pytest.mark.parametrize("policy", list(POLICIES))
    def test_a_smaller_memory_gets_the_hottest(self, two, store, ran, tmp_path, policy):
        values = {f"k{number}": number for number in range(400)}
        name = store(values)
        before = two(name)
        before.get_many(list(values))
        CacheWarmer(before).save(tmp_path / "hot")
        hottest = before._logic.memory.hottest(100)
        after = two(name, size=100, policy=policy)
        assert ran(CacheWarmer(after).add("hot", from_hot(tmp_path / "hot"))).items == 100
        assert sorted(after._logic.memory.hottest()) == sorted(hottest)

    def test_a_memory_that_weighs_is_filled_and_no_more(self, opened, shared_server, store, ran, tmp_path):
        values = {f"k{number}": "x" * 10 for number in range(400)}
        name = store(values)
        (tmp_path / "hot").write_bytes(dump_hot(dict.fromkeys(values, 1), name))
        cache = opened([MemoryTier(1000, getsizeof=len), redis_tier(shared_server.url)], name=name)
        report = ran(CacheWarmer(cache, batch=30).add("hot", from_hot(tmp_path / "hot")))
        assert report["hot"].items == 120
        assert len(remembered(cache, values)) >= 90

    @pytest.mark.parametrize("policy", ["lru", "lfu", "arc"])
    def test_the_order_is_as_it_was(self, two, store, ran, tmp_path, policy):
        """Of ARC that of what was used again."""
        values = {f"k{number}": number for number in range(100)}
        name = store(values)
        before = two(name, policy=policy)
        before.get_many(list(values))
        for number in range(1500):
            before.get(f"k{number * number % 97}")
            before.get(f"k{number % 7}")
        CacheWarmer(before).save(tmp_path / "hot")
        after = two(name, policy=policy)
        assert ran(CacheWarmer(after, batch=30).add("hot", from_hot(tmp_path / "hot"))).items == 100
        was, now = before._logic.memory.hottest(), after._logic.memory.hottest()
        assert list(was) != sorted(was)
        if policy == "arc":
            assert now == was
            was, now = ({key: uses for key, uses in each.items() if uses} for each in (was, now))
            assert 10 < len(was) < 100
        assert list(now) == list(was)
        if policy == "lfu":
            assert now == {key: min(uses + 1, 15) for key, uses in was.items()}

    def test_lives_are_not_prolonged(self, two, store, ran, tmp_path):
        name = store({"k": 1}, ttl=0.6, jitter=0)
        (tmp_path / "hot").write_bytes(dump_hot({"k": 1}, name))
        cache = two(name)
        assert ran(CacheWarmer(cache).add("hot", from_hot(tmp_path / "hot"))).items == 1
        time.sleep(0.8)
        assert remembered(cache, ["k"]) == []

    def test_limits(self, two, store, ran, tmp_path):
        values = {f"k{number}": number for number in range(100)}
        name = store(values)
        before = two(name)
        before.get_many(list(values))
        assert CacheWarmer(before).save(tmp_path / "hot", limit=50) == 50
        after = two(name)
        ran(CacheWarmer(after).add("hot", from_hot(tmp_path / "hot", limit=20)))
        assert sorted(after._logic.memory.hottest()) == sorted(before._logic.memory.hottest(20))

    def test_the_whole_list_for_the_shared_levels_sake(self, two, ran, tmp_path):
        origin = Origin()
        name = namespace()
        cache = two(name, size=10, load_many=origin.many)
        (tmp_path / "hot").write_bytes(dump_hot({f"k{number}": 1 for number in range(200)}, name))
        assert ran(CacheWarmer(cache, batch=20).add("hot", from_hot(tmp_path / "hot", whole=True))).items == 200
        assert len(remembered(cache, [f"k{number}" for number in range(200)])) == 10
        assert two(name).get("k7") == "of k7"

    def test_values_are_those_of_now(self, two, store, ran, tmp_path):
        name = store({"kept": "old", "changed": "old", "gone": "old"})
        before = two(name, load=Origin())
        before.get_many(["kept", "changed", "gone"])
        CacheWarmer(before).save(tmp_path / "hot")
        before.close()
        store({"changed": "new"}, name=name)
        two(name).invalidate("gone")
        cache = two(name, load=Origin())
        assert ran(CacheWarmer(cache).add("hot", from_hot(tmp_path / "hot"))).items == 3
        assert served_alone(cache, ["kept", "changed", "gone"]) == {"kept": "old", "changed": "new", "gone": "of gone"}

    def test_what_is_not_alive_is_not_saved(self, opened, tmp_path):
        cache = opened([MemoryTier(100)], load=lambda key: ABSENT, negative_ttl=60)
        cache.get("nobody")
        cache.set("short", 1, ttl=0.01, keep=60)
        cache.set("long", 1)
        time.sleep(0.05)
        CacheWarmer(cache).save(tmp_path / "hot")
        assert parse_hot((tmp_path / "hot").read_bytes(), cache.name, "it") == {"long": 1}

    @pytest.mark.parametrize("content", [None, b"", b"junk\n", b"\xff" * 100, b"{}\n"])
    def test_a_missing_or_damaged_file_fails_its_strategy(self, opened, ran, tmp_path, content):
        path = tmp_path / "hot"
        if content is not None:
            path.write_bytes(content)
        cache = opened([MemoryTier(100)], load_many=Origin().many)
        report = ran(CacheWarmer(cache).add("hot", from_hot(path)).add("keys", from_keys([1])))
        assert report["hot"].outcome == "failed"
        assert isinstance(report["hot"].error, FileNotFoundError if content is None else WarmingError)
        assert report["keys"].success

    def test_saving_where_nothing_can_be(self, opened, shared_server, tmp_path):
        warmer = CacheWarmer(opened([MemoryTier(10)]))
        with pytest.raises(FileNotFoundError):
            warmer.save(tmp_path / "none" / "hot")
        with pytest.raises(WarmingError, match="no memory"):
            CacheWarmer(opened([redis_tier(shared_server.url)])).save(tmp_path / "hot")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
    def test_limits_that_make_no_sense(self, two, tmp_path, limit, error):
        warmer = CacheWarmer(two())
        with pytest.raises(error, match=f"limit must be .*{limit}"):
            warmer.save(tmp_path / "hot", limit=limit)
        with pytest.raises(error, match=f"limit must be .*{limit}"):
            warmer.publish(limit=limit)

    def test_warming_counts_no_hits(self, two, store, ran, tmp_path):
        name = store({"a": 1, "b": 2})
        before = two(name)
        before.get_many(["a", "b"])
        CacheWarmer(before).save(tmp_path / "hot")
        after = two(name)
        ran(CacheWarmer(after).add("hot", from_hot(tmp_path / "hot")))
        assert after.stats().requests == 0


RESTARTED = """
    import os, signal, sys
    from hotset import MemoryTier, RedisTier, TieredCache
    from hotset.warming import CacheWarmer, from_hot

    url, name, path, life = sys.argv[1:]
    tiers = [MemoryTier(1000, policy="lru"), RedisTier(url, timeout=5.0, connect_timeout=5.0)]
    cache = TieredCache(name, tiers, load_many=lambda keys: {key: f"life {life}" for key in keys})
    warmer = CacheWarmer(cache)
    if life == "1":
        for key in range(500):
            cache.get(key)
        for key in (7, 400, 250):
            cache.get(key)
        print(warmer.save(path), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    report = warmer.add("hot", from_hot(path)).run()
    print(report["hot"].items, report["hot"].loaded)
    print([key for key, _ in cache._logic.memory.store.hottest(3)])
    print(cache.get(7), cache.get(8), cache.stats().levels[1].reads)
    cache.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_hot_keys_outlive_a_killed_process(shared_server, tmp_path):
    name = namespace()

    def live(life):
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(RESTARTED),
            shared_server.url,
            name,
            str(tmp_path / "hot"),
            life,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    first = live("1")
    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "500\n"), first.stderr
    assert shared_server.command("DEL", f"hs:{name}:k:~i8") == 1
    second = live("2")
    assert second.returncode == 0, second.stderr
    # The one that the server had lost was looked for once more, and loaded; the reads after that are memory's alone.
    assert second.stdout.splitlines() == ["500 1", "[250, 400, 7]", "life 1 life 2 501"]


class TestPeers:
    def test_a_peer_tells_what_is_hot(self, two, ran):
        name, origin = namespace(), Origin()
        peer = two(name, load=origin)
        for number in range(200):
            peer.get(f"k{number}")
        for number in (9, 3):
            peer.get(f"k{number}")
        assert CacheWarmer(peer).publish(limit=50) == 50
        cache = two(name, load=origin)
        report = ran(CacheWarmer(cache).add("peer", from_peer()))
        assert report["peer"].items == 50
        assert report["peer"].loaded == 0
        assert list(cache._logic.memory.hottest()) == list(peer._logic.memory.hottest(50))
        assert len(origin.calls) == 200

    def test_the_last_one_counts(self, two, ran):
        name = namespace()
        for keys in (["a", "b"], ["c"]):
            peer = two(name)
            peer.set_many(dict.fromkeys(keys, 1))
            CacheWarmer(peer).publish()
        cache = two(name)
        ran(CacheWarmer(cache).add("peer", from_peer("valkey", limit=5)))
        assert remembered(cache, ["a", "b", "c"]) == ["c"]

    def test_on_a_loop(self, two, loop_thread):
        name = namespace()
        peer = two(name)
        peer.set_many({"a": 1, "b": 2})
        assert loop_thread.run(CacheWarmer(peer).apublish(limit=1)) == 1

    def test_values_are_those_of_now(self, two, ran):
        name = namespace()
        peer = two(name)
        peer.set("k", "old")
        CacheWarmer(peer).publish()
        peer.set("k", "new")
        cache = two(name)
        ran(CacheWarmer(cache).add("peer", from_peer()))
        assert served_alone(cache, ["k"]) == {"k": "new"}

    def test_nobody_has_published(self, two, ran):
        report = ran(CacheWarmer(two()).add("peer", from_peer()))
        assert isinstance(report["peer"].error, WarmingError)
        assert "no process has published" in str(report["peer"].error)

    def test_a_list_has_its_time(self, two, ran, shared_server):
        name = namespace()
        peer = two(name)
        peer.set("k", 1)
        CacheWarmer(peer).publish(ttl="2h")
        assert 7100 < shared_server.command("TTL", f"hs:{{{name}}}:hot") <= 7200
        CacheWarmer(peer).publish(ttl=0.05)
        eventually(lambda: shared_server.command("EXISTS", f"hs:{{{name}}}:hot") == 0)
        assert "no process has published" in str(ran(CacheWarmer(two(name)).add("peer", from_peer()))["peer"].error)

    def test_it_disturbs_nobody(self, two, store, ran):
        """No memory forgets anything because of it, clear leaves it, and no scan takes it for an entry."""
        name = store({"a": 1, "b": 2})
        peer, other = two(name), listening(two(name))
        for cache in (peer, other):
            assert cache.get_many(["a", "b"]) == {"a": 1, "b": 2}
        CacheWarmer(peer).publish()
        time.sleep(0.2)
        assert remembered(other, ["a", "b"]) == ["a", "b"]
        peer.clear()
        peer.set("c", 3)
        cache = two(name, load_many=Origin().many)
        assert ran(CacheWarmer(cache).add("tier", from_tier())).items == 1
        assert ran(CacheWarmer(cache).add("peer", from_peer())).items == 2
        assert cache.get("a") == "of a"

    def test_a_codec_of_one_type_is_no_matter(self, two, ran, shared_server):
        name = namespace()

        def typed():
            return redis_tier(shared_server.url, wire=Wire("msgpack", type=int))

        peer = two(name, tier=typed())
        peer.set_many({"a": 1, "b": 2})
        CacheWarmer(peer).publish()
        assert ran(CacheWarmer(two(name, tier=typed())).add("peer", from_peer())).items == 2

    def test_a_damaged_list_fails_its_strategy(self, two, ran, shared_server):
        name = namespace()
        for junk in (b"", b"junk", dump_hot({"a": 1}, "another")):
            shared_server.command("SET", f"hs:{{{name}}}:hot", junk)
            report = ran(CacheWarmer(two(name)).add("peer", from_peer()))
            assert isinstance(report["peer"].error, WarmingError), report
        shared_server.command("DEL", f"hs:{{{name}}}:hot")
        shared_server.command("RPUSH", f"hs:{{{name}}}:hot", "1")
        assert isinstance(ran(CacheWarmer(two(name)).add("peer", from_peer()))["peer"].error, TierError)

    def test_a_list_is_bounded_in_bytes(self, two):
        peer = two(size=100)
        for number in range(8):
            peer._logic.memory.put(f"{number}{'x' * 1_000_000}", Entry(1, bytes(12)), time.monotonic())
        assert CacheWarmer(peer).publish() == 4

    def test_publishing_where_it_cannot_be(self, opened, two, own_server, shared_server):
        with pytest.raises(WarmingError, match="can keep a list of hot keys"):
            CacheWarmer(opened([MemoryTier(10)])).publish()
        with pytest.raises(WarmingError, match="no memory"):
            CacheWarmer(opened([redis_tier(shared_server.url)])).publish()
        cache = two(tier=redis_tier(own_server.url, timeout=0.2))
        with own_server.read_only(), pytest.raises(TierError):
            CacheWarmer(cache).publish()
        own_server.kill()
        with pytest.raises(TierError):
            CacheWarmer(cache).publish()


class Listing(RedisTier):
    """A level of somebody else's, which lists its names by itself."""

    def __init__(self, url, names):
        super().__init__(url, timeout=5.0)
        self.names = names
        self.note = None

    def scan(self, cursor, count):
        start = int(cursor or "0")
        names = self.names[start : start + 2]
        return ("" if start + 2 >= len(self.names) else str(start + 2)), names

    async def ascan(self, cursor, count):
        return self.scan(cursor, count)

    def post(self, note, ttl):
        self.note = note

    async def apost(self, note, ttl):
        self.note = note

    def posted(self):
        return self.note

    async def aposted(self):
        return self.note


def test_a_level_may_list_its_names_by_itself(two, store, ran, shared_server):
    cache = two(store({key: key for key in "abcde"}), tier=Listing(shared_server.url, ["a", "b", "c"]))
    warmer = CacheWarmer(cache).add("tier", from_tier())
    assert ran(warmer).items == 3
    assert remembered(cache, "abcde") == ["a", "b", "c"]
    assert warmer.publish() == 3
    assert counted(shared_server, "scan") >= 0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: from_keys("user:1"), TypeError, "keys must be an iterable of keys, got 'user:1'"),
        (lambda: from_keys(b"x"), TypeError, "keys must be an iterable"),
        (lambda: from_keys(5), TypeError, "got 5"),
        (lambda: from_file(5), TypeError, "file must be a path or a binary file, got 5"),
        (lambda: from_file("x", "float"), ValueError, "kind must be one of str, int, name, got 'float'"),
        (lambda: from_tier(limit=0), ValueError, "limit must be 1 or more, or None for no limit, got 0"),
        (lambda: from_tier(limit=True), TypeError, "limit must be an int or None, got True"),
        (lambda: from_hot(5), TypeError, "path must be a path, got 5"),
        (lambda: from_hot("x", limit=1.5), TypeError, "got 1.5"),
        (lambda: from_peer(limit=-1), ValueError, "got -1"),
    ],
)
def test_arguments_that_make_no_sense(make, error, message):
    with pytest.raises(error, match=message):
        make()
