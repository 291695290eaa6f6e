"""Writes behind: acknowledged by the journal, carried to the origin in order, and what becomes of those that fail."""

import asyncio
import inspect
import threading
import time

import pytest
from tiered.drivers import (  # noqa: F401 - fixtures
    build,
    eventually,
    levels,
    listening,
    namespace,
    own_server,
    redis_tier,
    runner,
    shared_server,
)
from tiered.writers import AWAY, PATIENCE, Rows, make, on_disk, on_disk_now, rows  # noqa: F401 - fixtures

from hotset import ABSENT, MemoryTier, TieredCache, WriteBehind
from hotset.errors import CodecError, JournalError, JournalTaken, TierError, WriteRefused
from hotset.tiered.journal import Journal


class TestAcknowledged:
    @pytest.mark.parametrize("durable", [True, False])
    def test_a_write_is_served_before_and_after_the_origin_has_it(self, make, rows, durable):
        cache = make(rows, durable=durable)
        rows.gate.clear()
        cache.set("a", 1)
        cache.set_many({"b": 2, "c": None})
        assert not rows
        assert cache.get_many("abc") == {"a": 1, "b": 2, "c": None}
        rows.gate.set()
        assert cache.behind.flush(PATIENCE)
        assert rows == cache.get_many("abc") == {"a": 1, "b": 2, "c": None}
        stats = cache.stats().behind
        assert (stats.depth, stats.lag, stats.acknowledged, stats.saved) == (0, 0.0, 3, 3)

    def test_async(self, make, rows):
        cache = make(rows)

        async def main():
            await cache.aset("a", 1)
            await asyncio.gather(*(cache.aset(number, number) for number in range(200)))
            await cache.adelete("a")
            assert await cache.aget("a") is None
            assert await cache.behind.aflush(PATIENCE)

        asyncio.run(main())
        assert rows == {number: number for number in range(200)}
        assert cache.stats().behind.commits < 100, "tasks share commits"

    def test_coroutine_functions_as_origin(self, tmp_path):
        saved = {}

        async def save(key, value):
            await asyncio.sleep(0)
            saved[key] = value

        async def delete(key):
            del saved[key]

        behind = WriteBehind(tmp_path / "journal", interval=0)
        with TieredCache("x", [MemoryTier(10)], save=save, delete=delete, write="behind", behind=behind) as cache:
            cache.set("a", 1)
            cache.set("b", 2)
            assert behind.flush(PATIENCE)
            assert saved == {"a": 1, "b": 2}
            cache.delete("a")
            assert behind.flush(PATIENCE)
            assert saved == {"b": 2}

    def test_threads_share_commits(self, make, rows):
        cache = make(rows)

        def work(number):
            for round_ in range(20):
                cache.set((number, round_), round_)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.behind.flush(PATIENCE)
        assert len(rows) == 160
        assert cache.stats().behind.commits < 140

    def test_a_removal_is_carried_too(self, make, rows):
        rows.update(a=1, b=2)
        cache = make(rows)
        assert cache.get("a") == 1
        rows.gate.clear()
        cache.delete("a")
        cache.delete_many(["b"])
        assert cache.get_many("ab") == {}
        assert rows == {"a": 1, "b": 2}
        rows.gate.set()
        assert cache.behind.flush(PATIENCE)
        assert rows == {}

    def test_what_cannot_be_written_down_is_refused(self, make, rows):
        cache = make(rows)
        cache.set("a", 1)
        with pytest.raises(CodecError):
            cache.set("a", object())
        assert cache.get("a") == 1
        assert cache.behind.flush(PATIENCE)
        assert rows == {"a": 1}

    def test_the_key_waits_in_the_journal_until_the_origin_has_it(self, make, rows, tmp_path):
        cache = make(rows, close_timeout=0)
        rows.gate.clear()
        cache.set("a", 1)
        with pytest.raises(JournalTaken, match="another process"):
            Journal(tmp_path / "journal")
        rows.refuse = lambda _: 1 / 0
        rows.gate.set()
        cache.close()
        assert set(on_disk(tmp_path / "journal")) == {"a"}
        rows.refuse = lambda _: None
        assert make(rows).behind.flush(PATIENCE)
        assert rows == {"a": 1}

    def test_after_a_flush_the_journal_has_nothing(self, make, rows, tmp_path):
        cache = make(rows)
        cache.set_many({number: number for number in range(500)})
        cache.set(1, -1)
        cache.close()
        assert on_disk(tmp_path / "journal") == {}
        assert rows[1] == -1


class TestOrder:
    def test_the_latest_of_a_key_is_carried(self, make, rows):
        cache = make(rows)
        rows.gate.clear()
        cache.set("first", 0)
        eventually(lambda: cache.behind._queue.flying)
        for number in range(50):
            cache.set("a", number)
            cache.set("b", number)
        assert cache.get_many("ab") == {"a": 49, "b": 49}
        rows.gate.set()
        assert cache.behind.flush(PATIENCE)
        assert rows.calls == [{"first": 0}, {"a": 49, "b": 49}]
        assert cache.stats().behind.coalesced == 98

    def test_no_older_value_follows_a_newer_one(self, make, rows):
        """Threads write counters of their own while the origin fails now and then."""
        cache = make(rows, batch=7)
        seen = {}
        failures = iter([number % 3 == 0 for number in range(10_000)])
        backwards = []

        def refuse(items):
            if next(failures):
                raise OSError("now and then")
            for key, value in items.items():
                if seen.get(key, -1) > value:
                    backwards.append((key, seen[key], value))
                seen[key] = value

        rows.refuse = refuse

        def work(number):
            for value in range(60):
                cache.set(number, value)
                assert cache.get(number) == value

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.behind.flush(PATIENCE)
        assert rows == dict.fromkeys(range(6), 59)
        assert not backwards
        assert cache.stats().behind.failures

    def test_a_writer_that_comes_late_to_the_levels_does_not_win_there(self, make, rows, shared_server, monkeypatch):
        tier = redis_tier(shared_server.url)
        name = namespace()
        cache = make(rows, name=name, tiers=[MemoryTier(10), tier])
        rows.gate.clear()
        late, go, write = threading.Event(), threading.Event(), tier.write

        def slow(items):
            if not late.is_set():
                late.set()
                go.wait(PATIENCE)
            write(items)

        monkeypatch.setattr(tier, "write", slow)
        first = threading.Thread(target=cache.set, args=("a", "first"))
        first.start()
        late.wait(PATIENCE)
        cache.set("a", "second")
        go.set()
        first.join()
        with TieredCache(name, [redis_tier(shared_server.url)]) as other:
            assert other.get("a") in {None, "second"}
        assert cache.get("a") == "second"
        rows.gate.set()
        assert cache.behind.flush(PATIENCE)
        assert rows["a"] == "second"

    def test_batches_are_as_large_as_they_may_be(self, make, rows):
        cache = make(rows, batch=10, interval=30)
        cache.set_many({number: number for number in range(35)})
        eventually(lambda: len(rows) == 30)
        assert [len(call) for call in rows.calls] == [10, 10, 10]
        assert cache.behind.depth == 5, "the rest waits for others"
        assert cache.behind.lag > 0
        assert cache.behind.flush(PATIENCE)
        assert len(rows) == 35

    def test_numbers_grow_and_are_told(self, make, rows):
        cache = make(rows)
        cache.set("a", 1)
        assert cache.behind.flush(PATIENCE)
        first = rows.seqs["a"]
        cache.set_many({"a": 2, "b": 2})
        assert cache.behind.flush(PATIENCE)
        assert rows.seqs["b"] > rows.seqs["a"] > first
        last = rows.seqs["b"]
        cache.set("a", 3, write_through=True)
        assert rows.seqs["a"] > last
        cache.close()
        cache = make(rows)
        cache.set("c", 1)
        assert cache.behind.flush(PATIENCE)
        assert rows.seqs["c"] > last

    def test_a_write_through_comes_after_what_is_behind(self, make, rows):
        cache = make(rows)
        rows.gate.clear()
        cache.set("a", "behind")
        threading.Timer(0.05, rows.gate.set).start()
        cache.set("a", "through", write_through=True)
        assert rows.calls == [{"a": "behind"}, {"a": "through"}]
        assert cache.behind.flush(PATIENCE)
        assert rows["a"] == cache.get("a") == "through"

    def test_what_is_behind_and_stays_there_keeps_a_write_through_out(self, make, rows):
        cache = make(rows, wait=0.1)
        rows.refuse = lambda _: 1 / 0
        cache.set("a", "behind")
        with pytest.raises(WriteRefused, match="earlier"):
            cache.delete("a", write="through")
        assert cache.get("a") == "behind"


class TestPending:
    """What is served while the origin does not have it."""

    def test_it_is_served_when_memory_has_lost_it(self, make, rows):
        rows["a"] = "old"
        cache = make(rows, tiers=[MemoryTier(2)])
        rows.gate.clear()
        cache.set("a", "new", tags=["t"])
        cache.set_many({number: number for number in range(10)})
        assert cache.get("a") == "new"
        cache.clear()
        assert cache.get_many(["a", 3]) == {"a": "new", 3: 3}
        cache.invalidate("a", tags=["t"])
        assert cache.get("a") == "new"
        assert cache.explain("a").levels[1].level == "behind"

    def test_it_is_served_without_a_loader(self, tmp_path, rows):
        behind = WriteBehind(tmp_path / "journal")
        save_many = rows.save_many
        with TieredCache("x", [MemoryTier(10)], save_many=save_many, write="behind", behind=behind) as cache:
            rows.gate.clear()
            cache.set("a", 1)
            cache.clear()
            assert cache.get("a") == 1
            rows.gate.set()

    def test_a_load_that_began_before_does_not_bring_the_old_value(self, make, rows):
        rows["a"] = "old"
        cache = make(rows, load=rows.look)
        rows.gate.clear()
        reader = threading.Thread(target=cache.get, args=("a",))
        reader.start()
        rows.looked.wait(PATIENCE)
        cache.set("a", "new")
        rows.go.set()
        reader.join()
        assert cache.get("a") == "new"

    def test_a_refresh_does_not_bring_the_old_value(self, make, rows):
        rows["a"] = "old"
        cache = make(rows)
        rows.gate.clear()
        options = {"ttl": 0.2, "refresh_ahead": 0.01, "jitter": 0}
        cache.set("a", "new", **options)
        time.sleep(0.05)
        for _ in range(20):
            assert cache.get("a", **options) == "new"
            time.sleep(0.02)

    @pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
    def test_what_another_process_has_loaded_meanwhile_does_not_stay(self, make, rows, shared_server, lost):
        rows["a"] = "old"
        name = namespace()
        cache = make(rows, name=name, tiers=[MemoryTier(10), redis_tier(shared_server.url)])
        other = TieredCache(name, [MemoryTier(10), redis_tier(shared_server.url)], load=rows.get)
        with other:
            listening(other)
            rows.gate.clear()
            cache.set("a", "new")
            assert other.get("a") == "new"
            if lost:
                cache.clear()  # as if the server had evicted it
                eventually(lambda: other.get("a") == "old")  # it cannot know
                assert cache.get("a") == "new"
            rows.gate.set()
            assert cache.behind.flush(PATIENCE)
            assert cache.get("a") == "new"
            eventually(lambda: other.get("a") == "new")
            assert cache.explain("a").levels[-1].state in {"fresh", "nothing"}

    def test_a_refresh_of_another_process_under_way_is_not_stored(self, make, rows, shared_server):
        """It has what was written, and finds an older value at the origin."""
        rows["a"] = "old"
        name = namespace()
        cache = make(rows, name=name, tiers=[redis_tier(shared_server.url)])
        options = {"ttl": 60, "refresh_ahead": 0.06, "jitter": 0, "max_staleness": 0.01}
        with TieredCache(name, [MemoryTier(10), redis_tier(shared_server.url)], load=rows.look, **options) as other:
            rows.gate.clear()
            cache.set("a", "new", ttl=5, jitter=0)
            assert other.get("a") == "new"
            eventually(lambda: other.get("a") == "new" and rows.looked.is_set())
            rows.gate.set()
            assert cache.behind.flush(PATIENCE)
            rows.go.set()
            eventually(lambda: not other.explain("a").loading)
            assert cache.get("a") == "new"

    def test_a_load_of_another_process_under_way_is_not_stored(self, make, rows, shared_server):
        rows["a"] = "old"
        name = namespace()
        cache = make(rows, name=name, tiers=[redis_tier(shared_server.url)])
        with TieredCache(name, [redis_tier(shared_server.url)], load=rows.look) as other:
            rows.gate.clear()
            cache.set("a", "new")
            cache.clear()
            reader = threading.Thread(target=other.get, args=("a",))
            reader.start()
            rows.looked.wait(PATIENCE)
            rows.gate.set()
            assert cache.behind.flush(PATIENCE)
            rows.go.set()
            reader.join()
            assert other.get("a") == cache.get("a") == "new"


class TestFailure:
    @pytest.mark.stress
    def test_the_origin_is_away_for_a_minute(self, make, rows):
        """Writes go on; every one arrives, the latest of each key, and no write is given up by the defaults."""
        away = time.monotonic() + AWAY

        def refuse(_):
            if time.monotonic() < away:
                raise ConnectionError("away")

        rows.refuse = refuse
        defaults = inspect.signature(WriteBehind).parameters
        cache = make(rows, **{name: defaults[name].default for name in ("retries", "backoff", "longest")})
        cache.set_many({"once": 1, "twice": 2})
        number = 0
        while time.monotonic() < away:
            cache.set(number % 20, number)
            number += 1
            time.sleep(0.002)
        assert cache.get_many(["once", 3]) == {"once": 1, 3: cache.get(3)}
        assert cache.behind.flush(PATIENCE)
        assert rows == {**{one % 20: one for one in range(number)}, "once": 1, "twice": 2}
        assert cache.behind.dead() == []

    def test_one_bad_write_does_not_keep_the_others_out(self, make, rows):
        def refuse(items):
            if "bad" in items:
                raise ValueError("bad")

        rows.refuse = refuse
        rows["bad"] = "old"
        cache = make(rows, retries=3, batch=16)
        cache.set_many({**{number: number for number in range(50)}, "bad": "new", "last": 1})
        assert cache.behind.flush(PATIENCE)
        assert len(rows) == 52
        (letter,) = cache.behind.dead()
        assert (letter.key, letter.value, letter.removal, letter.tries) == ("bad", "new", False, 3)
        assert letter.error == "ValueError: bad"
        assert cache.get("bad") == "old", "what the origin will not have is not served"
        assert cache.stats().behind.dead == 1

    def test_dead_letters_are_replayed_or_discarded_and_outlive_the_process(self, make, rows):
        def refuse(items):
            if len(items) > 1 or next(iter(items)) in {"a", "b", "c"}:
                raise ValueError("bad")

        rows.refuse = refuse
        cache = make(rows, retries=1)
        cache.set_many({"a": 1, "b": 2, "c": 3})
        assert cache.behind.flush(PATIENCE)
        assert [letter.key for letter in cache.behind.dead()] == ["a", "b", "c"]
        cache.close()
        cache = make(rows, retries=1)
        assert [letter.key for letter in cache.behind.dead()] == ["a", "b", "c"]
        assert cache.behind.discard("b", "unheard of") == 1
        rows.refuse = lambda _: None
        assert cache.behind.replay("a") == 1
        assert cache.behind.flush(PATIENCE)
        assert rows == {"a": 1}
        cache.close()
        cache = make(rows)
        assert [letter.key for letter in cache.behind.dead()] == ["c"]
        assert cache.behind.replay() == 1
        assert cache.behind.flush(PATIENCE)
        assert rows == {"a": 1, "c": 3}

    @pytest.mark.parametrize("change", ["behind", "through", "around", "invalidate", "delete", "delete behind"])
    @pytest.mark.parametrize("taken_up", [False, True], ids=["same process", "next process"])
    def test_a_later_write_makes_an_end_of_a_dead_letter(self, make, rows, tmp_path, change, taken_up):
        """By any policy: it is not there to be replayed, neither here nor by whoever takes the journal up."""
        rows.refuse = lambda _: 1 / 0
        cache = make(rows, retries=1)
        cache.set_many({"a": 1, "b": 1})
        assert cache.behind.flush(PATIENCE)
        if taken_up:
            cache.close()
            cache = make(rows, retries=1)
        assert [letter.key for letter in cache.behind.dead()] == ["a", "b"]
        rows.refuse = lambda _: None
        if change.startswith("delete"):
            cache.delete("a", write="behind" if change == "delete behind" else "through")
        else:
            cache.set("a", 2, write=change)
        there = {} if change.startswith("delete") else {"a": 2}
        assert [letter.key for letter in cache.behind.dead()] == ["b"]
        if "behind" not in change:
            assert set(on_disk_now(tmp_path)) == {"b"}, "a crash from here on brings nothing back"
        assert cache.behind.flush(PATIENCE)
        assert cache.behind.replay("a") == 0
        cache.close()
        assert rows == there
        assert set(on_disk(tmp_path / "journal")) == {"b"}
        cache = make(rows)
        assert cache.behind.replay() == 1
        assert cache.behind.flush(PATIENCE)
        assert rows == {**there, "b": 1}

    def test_async_a_later_write_makes_an_end_of_a_dead_letter(self, make, rows, tmp_path):
        rows.refuse = lambda _: 1 / 0
        cache = make(rows, retries=1)
        cache.set("a", 1)
        assert cache.behind.flush(PATIENCE)
        rows.refuse = lambda _: None
        asyncio.run(cache.aset("a", 2, write_through=True))
        assert cache.behind.dead() == []
        assert on_disk_now(tmp_path) == {}

    def test_a_write_through_that_fails_leaves_a_dead_letter(self, make, rows):
        rows.refuse = lambda _: 1 / 0
        cache = make(rows, retries=1)
        cache.set("a", 1)
        assert cache.behind.flush(PATIENCE)
        with pytest.raises(ZeroDivisionError):
            cache.set("a", 2, write_through=True)
        assert [letter.value for letter in cache.behind.dead()] == [1]

    def test_what_dies_during_a_write_through_is_not_older(self, make, rows):
        """It was acknowledged after the origin had been asked to take the other."""
        rows.refuse = lambda _: 1 / 0
        cache = make(rows, retries=1)
        cache.set("a", 1)
        assert cache.behind.flush(PATIENCE)

        def refuse(items):
            if items["a"] == 2:
                cache.set("a", 3)
                assert cache.behind.flush(PATIENCE)
            else:
                raise ValueError("bad")

        rows.refuse = refuse
        cache.set("a", 2, write_through=True)
        assert rows == {"a": 2}
        assert [letter.value for letter in cache.behind.dead()] == [3]

    @pytest.mark.parametrize("replayed", ["waits", "is put off", "flies"])
    def test_what_is_replayed_during_a_write_through_does_not_follow_it(self, make, rows, tmp_path, replayed):
        rows.refuse = lambda _: 1 / 0
        cache = make(rows, retries=1, interval=30 if replayed == "waits" else 0.01, backoff=5, longest=5)
        queue = cache.behind._queue
        cache.set("a", 1)
        assert cache.behind.flush(PATIENCE)
        flies, done = threading.Event(), threading.Event()

        def refuse(items):
            if items["a"] == 1:
                flies.set()
                assert replayed == "is put off" or done.wait(PATIENCE)
                raise ValueError("bad")
            cache.behind.retries = 3
            cache.behind._pause_until = 0
            assert cache.behind.replay("a") == 1
            if replayed != "waits":
                assert flies.wait(PATIENCE)
            if replayed == "is put off":
                eventually(lambda: queue.put_off)

        rows.refuse = refuse
        cache.set("a", 2, write_through=True)
        done.set()
        eventually(lambda: not len(queue))
        rows.refuse = lambda _: None
        assert cache.behind.flush(PATIENCE)
        assert cache.behind.replay() == 0
        cache.close()
        assert rows == {"a": 2}
        assert on_disk(tmp_path / "journal") == {}

    @pytest.mark.parametrize("retries", [1, 5])
    @pytest.mark.parametrize("others", [0, 3])
    def test_a_later_write_follows_one_that_fails(self, make, rows, tmp_path, others, retries):
        """Alone or among others: what failed is not tried again."""
        failures = iter([OSError("once")])

        def refuse(_):
            for failure in failures:
                raise failure

        rows.refuse = refuse
        cache = make(rows, retries=retries)
        rows.gate.clear()
        cache.set_many({"a": 1, **{number: number for number in range(others)}})
        eventually(lambda: cache.behind._queue.flying)
        cache.set("a", 2)
        rows.gate.set()
        assert cache.behind.flush(PATIENCE)
        time.sleep(0.1)  # for what should not come
        assert rows == {"a": 2, **{number: number for number in range(others)}}
        assert cache.behind.dead() == []
        cache.close()
        assert on_disk(tmp_path / "journal") == {}

    def test_a_later_write_takes_the_place_of_one_that_was_put_off(self, make, rows, tmp_path):
        rows.refuse = lambda _: 1 / 0
        cache = make(rows, backoff=0.3, longest=0.3)
        cache.set("a", 1)
        eventually(lambda: cache.behind._queue.put_off)
        cache.set("a", 2)
        assert cache.get("a") == 2
        rows.refuse = lambda _: None
        assert cache.behind.flush(PATIENCE)
        assert rows == {"a": 2}
        cache.close()
        assert on_disk(tmp_path / "journal") == {}


class TestPressure:
    @pytest.mark.parametrize("face", ["set", "aset"])
    def test_a_full_queue_has_writers_wait_and_then_refuses(self, make, rows, face):
        cache = make(rows, max_queue=5, wait=0.2)

        def put(key, value):
            if face == "set":
                cache.set(key, value)
            else:
                asyncio.run(cache.aset(key, value))

        rows.gate.clear()
        for number in range(5):
            put(number, number)
        with pytest.raises(WriteRefused, match="5 writes wait"):
            put("too many", 1)
        assert cache.get("too many") is None
        threading.Timer(0.05, rows.gate.set).start()
        put("in time", 1)
        assert cache.behind.flush(PATIENCE)
        assert rows == {**{number: number for number in range(5)}, "in time": 1}

    def test_what_is_larger_than_the_queue_waits_until_it_is_empty(self, make, rows):
        cache = make(rows, max_queue=5)
        cache.set("a", 1)
        cache.set_many({number: number for number in range(20)})
        assert cache.behind.flush(PATIENCE)
        assert len(rows) == 21

    def test_a_cancelled_task_leaves_its_place(self, make, rows):
        cache = make(rows, max_queue=1, wait=5)
        rows.gate.clear()
        cache.set("a", 1)

        async def main():
            task = asyncio.create_task(cache.aset("b", 2))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        rows.gate.set()
        cache.set("c", 3)
        assert cache.behind.flush(PATIENCE)
        assert rows == {"a": 1, "c": 3}

    def test_a_full_journal_refuses_and_recovers(self, make, rows, tmp_path):
        """Nothing is acknowledged that is not on the disk; when the origin has taken some, there is room again."""
        cache = make(rows, max_bytes=200_000, wait=1, batch=10)
        rows.gate.clear()
        taken = {}
        with pytest.raises(JournalError, match="full"):
            for number in range(1000):
                cache.set(number, "x" * 5000)
                taken[number] = "x" * 5000
        assert 10 < len(taken) < 100
        assert cache.get(len(taken)) is None
        rows.gate.set()
        assert cache.behind.flush(PATIENCE)
        assert rows == taken
        eventually(lambda: not cache.behind._queue.untold)
        cache.set("again", "x" * 5000)
        cache.close()
        assert rows == {**taken, "again": "x" * 5000}

    def test_close_is_bounded_and_the_journal_keeps_the_rest(self, make, rows, tmp_path):
        rows.refuse = lambda _: 1 / 0
        cache = make(rows, close_timeout=0.1)
        cache.set("a", 1)
        begun = time.monotonic()
        cache.close()
        assert time.monotonic() - begun < 5
        assert set(on_disk(tmp_path / "journal")) == {"a"}
        with pytest.raises(WriteRefused, match="closed"):
            cache.behind.submit([])

    def test_what_is_not_durable_and_cannot_be_flushed_is_said(self, make, rows):
        rows.refuse = lambda _: 1 / 0
        cache = make(rows, durable=False, close_timeout=0.1)
        cache.set("a", 1)
        with pytest.warns(RuntimeWarning, match="1 writes"):
            cache.close()


class TestArguments:
    def test_nonsense_is_refused(self, tmp_path):
        for wrong in (
            {"journal": None},
            {"durable": False},
            {"batch": 0},
            {"max_queue": 0},
            {"retries": 0},
            {"max_bytes": 0},
            {"wait": "inf"},
            {"codec": "pickle"},
        ):
            with pytest.raises(ValueError):
                WriteBehind(**{"journal": tmp_path / "journal", **wrong})
        for wrong in ({"batch": 1.5}, {"interval": None}, {"max_queue": True}):
            with pytest.raises(TypeError):
                WriteBehind(**{"journal": tmp_path / "journal", **wrong})

    def test_it_belongs_to_one_cache(self, make, rows):
        cache = make(rows)
        with pytest.raises(ValueError, match="belongs"):
            TieredCache("x", [MemoryTier(1)], save=print, write="behind", behind=cache.behind)

    def test_a_cache_that_cannot_be_made_leaves_the_journal(self, make, rows):
        tier = MemoryTier(10)
        first = TieredCache("first", [tier])
        with pytest.raises(TierError, match="another cache"):
            make(rows, tiers=[tier])
        first.close()
        cache = make(rows)
        cache.set("a", 1)
        assert cache.behind.flush(PATIENCE)

    def test_absent_is_a_removal(self, make, rows):
        rows["a"] = 1
        cache = make(rows)
        cache.set("a", ABSENT)
        assert cache.behind.flush(PATIENCE)
        assert rows == {}


def test_what_gives_to_the_origin_cannot_wait_for_it(make, rows):
    errors = []

    def refuse(_):
        with pytest.raises(RuntimeError, match="wait") as caught:
            cache.behind.flush()
        errors.append(caught)

    cache = make(rows)
    rows.refuse = refuse
    cache.set("a", 1)
    assert cache.behind.flush(PATIENCE)
    assert errors


def test_a_save_may_write_behind_itself(make, rows):
    """To other keys, as a trigger would; while the queue has room."""
    cache = make(rows)
    rows.refuse = lambda items: cache.set("sum", sum(rows.values())) if "sum" not in items else None
    cache.set("a", 1)
    assert cache.behind.flush(PATIENCE)
    assert cache.behind.flush(PATIENCE)
    assert set(rows) == {"a", "sum"}
