"""A level that fails in every way there is: reads and writes go on in bounded time, and nothing old is believed."""

import asyncio
import os
import threading
import time

import pytest
from subprocesses import run_script
from tiered.drivers import (  # noqa: F401 - fixtures
    Origin,
    build,
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

from hotset import MemoryTier
from hotset.errors import CodecError, TierError
from hotset.tiered.breaker import Breaker

TIMEOUT = 0.1  # of the tiers here
# A get may ask a level twice: for the value, and for a lease. Generous, for a machine that has other things to do.
BOUND = 1.5


def patient():
    """A breaker that stays closed."""
    return Breaker(consecutive=10**6, minimum=10**6)


def quick():
    """A breaker that opens at once and tries again soon."""
    return Breaker(consecutive=3, open_for=0.1, longest=0.2, probes=1)


@pytest.fixture
def cache_on(build):
    """Make caches of memory and of a server's URL."""

    def factory(url, *args, memory=True, **options):
        tiers = [MemoryTier(1000)] if memory else []
        tiers.append(redis_tier(url, timeout=TIMEOUT))
        return build(tiers, *args, **{"breaker": patient, "recovery_delay": 0.05, **options})

    return factory


def use_all(cache, origin):
    """Do everything there is, each in bounded time; whatever a level does, nothing raises and nothing is wrong."""
    steps = [
        lambda: cache.get("a") == "of a",
        lambda: cache.get_many(["a", "b"]) == {"a": "of a", "b": "of b"},
        lambda: cache.get_or_load("c", origin) == "of c",
        lambda: cache.set("d", 1) is None,
        lambda: cache.get("d") == 1,
        lambda: cache.set_many({"d": 2, "e": 2}, tags=["red"]) is None,
        lambda: cache.get_many(["d", "e"]) == {"d": 2, "e": 2},
        lambda: cache.delete("d") is None,
        lambda: cache.get("d") == "of d",
        lambda: cache.invalidate("a", tags=["red"]) is None,
        lambda: cache.get("e") == "of e",
        lambda: cache.expire("a") is None,
        lambda: cache.get("a") == "of a",
        lambda: cache.touch("a", 60) in {True, False},
        lambda: cache.explain("a").key == "a",
        lambda: cache.clear() is None,
        lambda: cache.get("a") == "of a",
    ]
    for number, step in enumerate(steps):
        begun = time.monotonic()
        assert step(), f"step {number}"
        assert time.monotonic() - begun < BOUND, f"step {number}"


class TestWithoutTheLevel:
    @pytest.fixture
    def served(self, cache_on, own_server):
        """A cache that has been in use, and its origin."""
        origin = Origin()
        cache = listening(cache_on(own_server.url, origin))
        cache.set("before", "set")
        cache.get("loaded before")
        return cache, origin

    @pytest.fixture(params=["kill", "hang", "read only", "out of memory", "busy", "no replicas", "full"])
    def fault(self, request, own_server):
        """A server that does not do what it should; the faults end with the test."""
        contexts = {
            "hang": own_server.hung,
            "read only": own_server.read_only,
            "out of memory": own_server.out_of_memory,
            "busy": own_server.busy,
            "no replicas": own_server.no_replicas,
            "full": own_server.full,
        }
        if request.param == "kill":
            own_server.kill()
            yield request.param
        else:
            with contexts[request.param]():
                yield request.param

    def test_everything_goes_on(self, cache_on, own_server, fault):
        """Also for a cache that has never seen its server well."""
        origin = Origin()
        cache = cache_on(own_server.url, origin)
        use_all(cache, origin)
        assert cache.stats().levels[1].errors > 0
        assert cache.stats().levels[1].timeouts > 0 or fault != "hang"
        assert cache.stats().load_failures == 0

    def test_everything_goes_on_where_it_was_in_use(self, served, fault):
        cache, origin = served
        use_all(cache, origin)
        if fault != "full":  # those that are there are served
            assert cache.stats().levels[1].errors > 0

    def test_without_memory(self, cache_on, own_server, fault):
        cache = cache_on(own_server.url, Origin(), memory=False)
        for key in "aab":
            assert cache.get(key) == f"of {key}"
        cache.set("a", 1)
        assert cache.get("a") == "of a"  # it is kept nowhere; and what is pending is believed nowhere
        assert cache.get_many("ab") == {"a": "of a", "b": "of b"}
        assert cache.stats().levels[0].errors > 0
        assert cache.stats().loads == 6  # nothing was stored

    def test_memory_serves_what_it_has(self, served, own_server):
        cache, origin = served
        own_server.kill()
        calls = len(origin.calls)
        assert cache.get("before") == "set"
        assert cache.get("loaded before") == "of loaded before"
        assert len(origin.calls) == calls


class TestOverABadWire:
    @pytest.fixture
    def wired(self, cache_on, own_proxy):
        origin = Origin()
        cache = listening(cache_on(own_proxy.url, origin))
        cache.get("a")
        return cache, origin

    def test_cut(self, wired, own_proxy):
        cache, origin = wired
        for _ in range(3):
            own_proxy.cut()
            use_all(cache, origin)

    def test_cut_in_the_middle_of_answers(self, wired, own_proxy):
        cache, _ = wired
        for count in range(0, 200, 7):
            own_proxy.cut_after(count)
            begun = time.monotonic()
            assert cache.get(f"key {count}") == f"of key {count}"
            cache.set("a", count)
            assert cache.get("a") in {count, "of a"}
            assert time.monotonic() - begun < 3 * BOUND

    def test_stalled(self, wired, own_proxy):
        cache, origin = wired
        own_proxy.stall()
        use_all(cache, origin)
        assert cache.stats().levels[1].timeouts > 0

    def test_refused(self, wired, own_proxy):
        cache, origin = wired
        own_proxy.refuse()
        own_proxy.cut()
        use_all(cache, origin)

    def test_slow(self, wired, own_proxy):
        cache, origin = wired
        own_proxy.delay(0.008, jitter=0.008)
        use_all(cache, origin)

    @pytest.mark.parametrize("direction", ["down", "up"])
    @pytest.mark.parametrize("rate", [0.001, 0.02])
    def test_corrupt(self, wired, own_proxy, direction, rate):
        """Bits flip. What arrives under a wrong name, or is something else, is no value; and nothing hangs."""
        cache, _ = wired
        own_proxy.corrupt(rate, direction, seed=1)
        begun = time.monotonic()
        for number in range(150):
            key = f"key {number % 40}"
            # What the server understands as the invalidation of another key leaves this one as it is.
            assert cache.get(key) in {f"of {key}", *(f"set {earlier}" for earlier in range(number % 40, number, 40))}
            if number % 3 == 0:
                cache.set(key, f"set {number}")
                cache.invalidate(key)
                cache.switch("memory", on=False)
                cache.switch("memory", on=True)
            if time.monotonic() - begun > 0.8:
                break
        assert number > 3

    def test_memory_does_not_serve_for_long_what_it_cannot_confirm(self, cache_on, own_proxy, own_server):
        name = namespace()
        one = listening(cache_on(own_proxy.url, name=name, max_staleness=0.3))
        other = cache_on(own_server.url, name=name)
        one.set("a", "old")
        assert one.get("a") == "old"
        own_proxy.stall()
        other.set("a", "new")
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            one.get("a")
        assert one.get("a") is None
        own_proxy.resume()
        eventually(lambda: one.get("a") == "new", 10)


class TestPoisoned:
    """Whatever stands under a name at the server, the reader sees a miss, and it is counted."""

    @pytest.fixture
    def poisoned(self, cache_on, own_server):
        origin = Origin()
        cache = cache_on(own_server.url, origin, memory=False, name="poisoned")
        cache.set("a", {"secret": 1})

        def poison(name, data):
            own_server.command("SET", f"hs:poisoned:k:{name}", data)

        return cache, origin, poison, own_server.command("GET", "hs:poisoned:k:a")

    def test_garbage(self, poisoned):
        cache, _, poison, good = poisoned
        samples = {
            "empty": b"",
            "text": b"hello",
            "zeros": bytes(200),
            "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
            "random": os.urandom(300),
            "head": good[:40],
            "truncated": good[:-1],
            "longer": good + b"x",
            "other version": good[:2] + b"\x7f" + good[3:],
            "other kind": good[:3] + b"\x09" + good[4:],
            "flipped": good[:-3] + bytes([good[-3] ^ 1]) + good[-2:],
            "lease only": good[:3] + b"\x02" + good[4:16],
        }
        for name, data in samples.items():
            poison(name, data)
            refused = sum(cache.stats().levels[0].refused.values())
            assert cache.get(name) == f"of {name}", name
            assert sum(cache.stats().levels[0].refused.values()) > refused, name
            assert cache.get(name) == f"of {name}", name
            assert cache.explain(name).levels[0].state == "fresh", name  # it was replaced
        assert cache.stats().levels[0].errors == 0

    def test_every_prefix_and_every_byte(self, poisoned):
        cache, _, poison, good = poisoned
        names = [f"cut {length}" for length in range(len(good))]
        for length, name in enumerate(names):
            poison(name, good[:length])
        assert cache.get_many(names) == {name: f"of {name}" for name in names}
        for place in range(len(good)):
            poison("a", good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
            assert cache.get("a") in ("of a", {"secret": 1})
            cache.delete("a")

    def test_copied_under_another_name(self, poisoned):
        cache, _, poison, good = poisoned
        poison("b", good)
        assert cache.get("b") == "of b"
        poison("c", good)
        assert cache.get_many("bc") == {"b": "of b", "c": "of c"}
        assert cache.stats().levels[0].refused == {"corrupt": 2}
        poison("d", good)
        assert cache.explain("d").levels[0].why == "refused: corrupt"

    def test_of_another_kind(self, poisoned, own_server):
        cache, _, _, _ = poisoned
        own_server.command("RPUSH", "hs:poisoned:k:list", "x")
        assert cache.get("list") == "of list"
        assert cache.get_many(["list", "a"]) == {"list": "of list", "a": {"secret": 1}}
        cache.set("list", 1)
        eventually(lambda: cache.get("list") == 1)

    def test_the_state_of_the_namespace(self, poisoned, own_server):
        cache, _, _, _ = poisoned
        for garbage in (b"", b"garbage", b"1 2 3", os.urandom(50)):
            own_server.command("SET", "hs:{poisoned}:epoch", garbage)
            assert cache.get("a") in ("of a", {"secret": 1})
            cache.set("b", 1, tags=["red"])
            assert cache.get("b") == 1
            cache.invalidate(tags=["red"])
            assert cache.get("b") == "of b"
            cache.delete("b")

    def test_names_that_no_key_has(self, cache_on, own_server):
        """Somebody else writes into the namespace; those who are told of it live on."""
        cache = listening(cache_on(own_server.url, name="poisoned"))
        other = cache_on(own_server.url, name="poisoned")
        cache.set("a", "old")
        before = counted(own_server, "client|tracking", "client")
        for name in ("~", "~x", "~iseven", "~t[", "~t7", "~bzz"):
            own_server.command("SET", f"hs:poisoned:k:{name}", "x")
        own_server.command("SET", b"hs:poisoned:k:\xff\xfe", "x")
        other.set("a", "new")
        eventually(lambda: cache.get("a") == "new", 5)
        time.sleep(0.3)
        assert counted(own_server, "client|tracking", "client") <= before + 1  # the other's

    def test_what_cannot_be_encoded(self, cache_on, own_server):
        """Is its writer's business, and not held against the level; and nobody is served what was there before."""
        cache = cache_on(own_server.url, lambda _: object(), breaker=quick)
        other = cache_on(own_server.url, name=cache.name)
        other.set("a", "old")
        for _ in range(10):
            with pytest.raises(CodecError):
                cache.set("a", object())
        eventually(lambda: other.get("a") != "old", 10)
        for number in range(10):
            assert type(cache.get(number)) is object
            assert type(cache.get_many([f"many {number}"])[f"many {number}"]) is object
        assert cache.stats().levels[1].state == "closed"


class TestBreaker:
    def test_it_opens_and_closes_again(self, cache_on, own_server):
        cache = cache_on(own_server.url, Origin(), breaker=quick, memory=False)
        cache.get("a")
        own_server.kill()
        for number in range(10):
            cache.get(number)
        stats = cache.stats().levels[0]
        assert stats.state in {"open", "half-open"}
        assert stats.errors < 10
        assert "breaker" in cache.explain("a").levels[0].why or cache.stats().levels[0].errors > stats.errors
        own_server.start()
        eventually(lambda: cache.get("a") == "of a" and cache.stats().levels[0].state == "closed")
        cache.get("b")
        hits = cache.stats().levels[0].hits
        assert cache.get("b") == "of b"
        assert cache.stats().levels[0].hits == hits + 1

    def test_open_it_costs_nothing(self, cache_on, own_server):
        cache = cache_on(own_server.url, Origin(), breaker=lambda: Breaker(consecutive=2, open_for=60), memory=False)
        with own_server.hung():
            cache.get("a")
            begun = time.monotonic()
            for number in range(200):
                cache.get(number)
                cache.set(number, number)
            assert time.monotonic() - begun < 2.0
            assert cache.stats().levels[0].timeouts == 2

    def test_what_was_cancelled_proves_nothing(self, opened, own_server, loop_thread):

        def breaker():
            return Breaker(consecutive=1, open_for=0.05, jitter=0, probes=1)

        # Without a stream, which would find the server answering before it hangs, and close the breaker.
        cache = opened([redis_tier(own_server.url, stream=None)], breaker=breaker)
        own_server.kill()
        cache.set("a", 1)
        assert cache.stats().levels[0].state == "open"
        own_server.start()
        with own_server.hung():
            time.sleep(0.1)

            async def impatient():
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(cache.ainvalidate("b"), 0.1)

            loop_thread.run(impatient())
            assert cache.stats().levels[0].state == "half-open"


class TestRecovered:
    """What the server has missed it is told when it is back."""

    @pytest.fixture
    def apart(self, cache_on, own_server, own_proxy):
        """A cache that loses its server, and one that does not."""
        one = cache_on(own_proxy.url, Origin())
        other = cache_on(own_server.url, memory=False, name=one.name)
        return one, other

    def lose(self, proxy):
        proxy.refuse()
        proxy.cut()

    def test_removals_and_writes_and_invalidations(self, apart, own_proxy):
        one, other = apart
        other.set_many({key: f"old {key}" for key in "abcde"}, tags=["red"])
        other.set("f", "old f")
        self.lose(own_proxy)
        one.delete("a")
        one.set("b", "new b")
        one.expire("f")
        assert other.get_many("abf") == {"a": "old a", "b": "old b", "f": "old f"}
        assert one.stats().recovery["pending"] == 3
        own_proxy.heal()
        eventually(lambda: one.stats().recovery["pending"] == 0)
        eventually(lambda: other.get_many("abf") == {}, 5)
        assert other.get_many("cde") == {key: f"old {key}" for key in "cde"}
        self.lose(own_proxy)
        one.invalidate(tags=["red"])
        own_proxy.heal()
        eventually(lambda: other.get_many("cde") == {})

    def test_what_is_pending_is_not_believed(self, apart, own_proxy):
        """The server is back, but has not been told."""
        one, other = apart
        other.set_many({"a": "old", "b": "old", "c": "old"}, tags=["red"])
        self.lose(own_proxy)
        one.delete("a")
        one.set("b", "new")
        own_proxy.heal()
        for _ in range(5):
            assert one.get("a") == "of a"
            assert one.get("b") in {"new", "of b"}
            assert one.get_many("ab")["a"] == "of a"
        self.lose(own_proxy)
        one.invalidate(tags=["red"])
        own_proxy.heal()
        for _ in range(5):
            assert one.get("c") == "of c"
            assert one.get_many("c") == {"c": "of c"}

    def test_what_is_pending_is_told_in_explanations(self, cache_on, own_server, own_proxy):
        one = cache_on(own_proxy.url, recovery_delay=60)
        cache_on(own_server.url, name=one.name).set("a", "old")
        self.lose(own_proxy)
        one.delete("a")
        own_proxy.heal()
        eventually(lambda: one.explain("a").levels[1].state == "nothing")
        view = one.explain("a").levels[1]
        assert "pending" in view.why
        assert one.get("a") is None

    def test_the_latest_counts(self, apart, own_proxy):
        one, other = apart
        other.set("a", "old")
        self.lose(own_proxy)
        for number in range(20):
            one.set("a", number)
            one.delete("a")
        one.set("a", "last")
        assert one.stats().recovery["pending"] == 1
        own_proxy.heal()
        one.set("a", "after")  # goes through, or is pending too
        eventually(lambda: one.stats().recovery["pending"] == 0)
        assert other.get("a") in {None, "after"}

    def test_a_write_whose_answer_was_lost_is_undone(self, build, cache_on, own_server, own_proxy):
        """Nobody knows when the server did it: it may have been after what another process wrote later."""
        one = build([redis_tier(own_proxy.url, stream=None)], breaker=patient, recovery_delay=0.2)
        other = cache_on(own_server.url, memory=False, name=one.name)
        lost = []
        for count in range(50, 80, 2):
            one.set("warm", 1)  # scripts are known then, and the connection is the one that the write will have
            own_proxy.cut_after(count)
            before = one.stats().levels[0].errors
            one.set(count, "new")
            if one.stats().levels[0].errors > before:
                lost.append(count)
            own_proxy.heal()
        assert other.get_many(lost)  # the server had some of them before the connection was cut
        eventually(lambda: one.stats().recovery["pending"] + one.stats().recovery["replaying"] == 0)
        assert other.get_many(lost) == {}
        assert set(other.get_many(range(50, 80, 2)).values()) == {"new"}

    def test_more_than_can_be_remembered_clears_the_level(self, cache_on, own_server, own_proxy):
        one = cache_on(own_proxy.url, Origin(), recovery_items=5)
        other = cache_on(own_server.url, memory=False, name=one.name)
        keys = [f"key {number}" for number in range(20)]
        other.set_many(dict.fromkeys(keys, "old"), tags=["red"])
        self.lose(own_proxy)
        one.invalidate(tags=["blue", "green"])
        for key in keys[:10]:
            one.delete(key)
        one.invalidate(tags=["yellow"])
        own_proxy.heal()
        assert one.get_many(keys) == {key: f"of {key}" for key in keys}
        eventually(lambda: other.get_many(keys).get(keys[15]) != "old")
        eventually(lambda: one.stats().recovery["pending"] + one.stats().recovery["replaying"] == 0)
        # All is well again: the level is believed, also of tags that were pending.
        for tag in ("blue", "green", "yellow", "red"):
            one.set(tag, tag, tags=[tag])
            one.switch("memory", on=False)
            assert one.get(tag) == tag
            one.switch("memory", on=True)
        assert not one.cache._pending

    def test_after_a_restart_of_the_server(self, cache_on, own_server):
        one = cache_on(own_server.url, Origin(), breaker=quick)
        one.set("a", 1)
        own_server.kill()
        one.set("a", 2)
        one.set("b", 2)
        own_server.start()
        eventually(lambda: one.stats().recovery["pending"] == 0)
        eventually(lambda: one.stats().levels[1].state == "closed" or not one.set("c", 1))
        one.set("b", 3)
        other = cache_on(own_server.url, name=one.name)
        assert other.get_many("ab") == {"b": 3}
        listening(one)
        assert one.get("b") == 3

    def test_a_switched_off_level_is_made_up_for(self, apart, own_proxy):
        one, other = apart
        other.set("a", "old")
        one.switch("valkey", on=False)
        one.delete("a")
        assert other.get("a") == "old"
        one.switch("valkey", on=True)
        eventually(lambda: other.get("a") is None)


class TestCancelled:
    def test_a_write_that_was_cancelled_is_believed_nowhere(self, opened, own_server, own_proxy, loop_thread):
        name = namespace()

        def tiers(url):
            return [MemoryTier(10), redis_tier(url)]

        one = listening(opened(tiers(own_proxy.url), name=name, recovery_delay=0.05))
        other = opened([redis_tier(own_server.url)], name=name)
        for change in (
            lambda: one.aset("a", "new"),
            lambda: one.aset_many({"a": "new"}),
            lambda: one.adelete("a"),
            lambda: one.ainvalidate("a"),
            lambda: one.ainvalidate(tags=["red"]),
            lambda: one.aclear(),
        ):
            one.set("a", "old", tags=["red"])
            assert one.get("a") == "old"
            own_proxy.stall()

            async def impatient():
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(change(), 0.05)

            loop_thread.run(impatient())
            own_proxy.resume()
            assert one.get("a") in {None, "new"}
            eventually(lambda: other.get("a") in {None, "new"}, 10)
            eventually(lambda: not one._pending, 10)


class TestForked:
    pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

    def test_child_and_parent_go_on(self, shared_server):
        run_script(
            """
            import asyncio, os, sys, threading, time, warnings
            from hotset import MemoryTier, RedisTier, TieredCache

            warnings.simplefilter("ignore", DeprecationWarning)  # threads are there when it forks
            gate = threading.Event()

            def load(key):
                if key == "slow" and os.getpid() == parent:
                    gate.wait(20)
                return f"of {key}"

            def use(cache, who):
                for number in range(20):
                    assert cache.get(f"{who} {number}") == f"of {who} {number}"
                    cache.set("a", f"{who} {number}")
                    assert cache.get("a", "gone").split()[0] in {"parent", "child", "gone", "of"}
                    cache.set(who, number)
                    assert cache.get(who) == number
                assert cache.get_many(["x", "y"]) == {"x": "of x", "y": "of y"}
                cache.invalidate("x", tags=["red"])
                assert cache.get("slow" if who == "child" else "x") is not None
                assert asyncio.run(cache.aget("y")) == "of y"
                cache.stats()

            parent = os.getpid()
            cache = TieredCache(sys.argv[2], [MemoryTier(100), RedisTier(sys.argv[1], timeout=5)], load)
            use(cache, "parent")
            loading = threading.Thread(target=cache.get, args=("slow",))
            loading.start()
            busy = threading.Thread(target=lambda: [use(cache, "parent") for _ in range(5)])
            busy.start()
            time.sleep(0.01)
            child = os.fork()
            if child == 0:
                try:
                    use(cache, "child")
                    end = time.monotonic() + 10
                    while cache._guard.until < time.monotonic():  # it listens by itself
                        assert time.monotonic() < end
                        time.sleep(0.01)
                        cache.get("a")
                    cache.close()
                except BaseException:
                    import traceback
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            gate.set()
            end = time.monotonic() + 30
            while os.waitpid(child, os.WNOHANG) == (0, 0):
                if time.monotonic() > end:
                    os.kill(child, 9)
                    raise AssertionError("the child hangs")
                time.sleep(0.01)
            loading.join(20)
            busy.join(20)
            assert not loading.is_alive() and not busy.is_alive()
            use(cache, "parent")
            cache.close()
            """,
            shared_server.url,
            namespace(),
            timeout=90,
        )

    def test_a_child_that_fails_does_not_take_the_parents_connections_along(self, shared_server):
        run_script(
            """
            import os, sys, warnings
            from hotset import MemoryTier, RedisTier, TieredCache

            warnings.simplefilter("ignore", DeprecationWarning)
            cache = TieredCache(sys.argv[2], [RedisTier(sys.argv[1], timeout=5)])
            cache.set("a", 1)
            child = os.fork()
            if child == 0:
                cache.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert cache.get("a") == 1
            assert cache.stats().levels[0].errors == 0
            """,
            shared_server.url,
            namespace(),
            timeout=60,
        )


class BadTier:
    """A tier that breaks its contract: what it raises is no TierError."""

    name = "bad"
    shared = True

    def open(self, namespace, listener):
        pass

    def close(self):
        pass

    async def aclose(self):
        pass

    def __getattr__(self, name):
        if name not in {"read", "lease", "fill", "write", "remove", "touch", "invalidate"} | {
            "aread",
            "alease",
            "afill",
            "awrite",
            "aremove",
            "atouch",
            "ainvalidate",
        }:
            raise AttributeError(name)

        def fail(*_, **__):
            raise ZeroDivisionError(name)

        async def afail(*_, **__):
            fail()

        return afail if name.startswith("a") else fail


class TestBadTier:
    def test_what_it_raises_is_an_error_of_the_level(self, build):
        origin = Origin()
        cache = build([MemoryTier(10), BadTier()], origin, breaker=patient)
        use_all(cache, origin)
        assert cache.stats().levels[1].errors > 0
        assert "ZeroDivisionError" in cache.explain("a").levels[1].why

    def test_a_tier_that_cannot_be_opened(self, build, opened):
        class Closed(BadTier):
            def open(self, namespace, listener):
                raise TierError(f"no {namespace}")

        with pytest.raises(TierError, match="no test-"):
            opened([MemoryTier(10), Closed()])


def test_threads_on_a_server_that_comes_and_goes(cache_on, own_server):
    """Nothing raises, nothing hangs, and in the end all levels agree."""
    cache = cache_on(own_server.url, Origin(), breaker=quick).cache
    stop = threading.Event()
    errors = []

    def use(seed):
        number = seed
        while not stop.is_set():
            number += 1
            key = f"key {number % 20}"
            try:
                assert cache.get(key) in {f"of {key}", "set"}
                if number % 5 == 0:
                    cache.set(key, "set")
                if number % 7 == 0:
                    cache.delete(key)
                if number % 11 == 0:
                    assert set(cache.get_many([key, "other"])) == {key, "other"}
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.15)
        own_server.kill()
        time.sleep(0.15)
        own_server.start()
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert errors == []
    eventually(lambda: not cache._pending)
