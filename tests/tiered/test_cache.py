"""The tiered cache as its users use it: memory, Valkey, both; by its plain methods and by those for asyncio."""

import asyncio
import threading
import time

import pytest
from tiered.drivers import (  # noqa: F401 - fixtures
    Origin,
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

from hotset import ABSENT, Loaded, MemoryTier

KEYS = [
    "user:1",
    "",
    "~tilde",
    "a b\n{}*",
    "\u00fc\U0001f600",
    0,
    1,
    -1,
    2**80,
    b"",
    b"1",
    "1",
    (),
    ("user", 1),
    (("a",), b"b", -3),
]
VALUES = [None, False, 0, 1.5, "", "text", b"bytes", [], [1, [2]], {"a": {"b": None}}]


@pytest.fixture
def two(build, shared_server):
    """Two caches of one namespace, as in two processes, of Valkey alone: what one does the other sees at once."""
    name = namespace()

    def factory(**options):
        return [build([redis_tier(shared_server.url)], name=name, **options) for _ in range(2)]

    return factory


class TestAside:
    """Without a loader."""

    def test_what_is_not_there_is_the_default(self, make):
        cache = make()
        assert cache.get("a") is None
        assert cache.get("a", 7) == 7
        assert cache.get("a", default=7) == 7
        assert cache.get_many(["a", "b"]) == {}

    def test_what_was_set_is_there(self, make):
        cache = make()
        cache.set("a", 1)
        assert cache.get("a", "default") == 1
        cache.set("a", 2)
        assert cache.get("a") == 2
        assert cache.get_many(["a", "b"]) == {"a": 2}

    def test_keys_of_every_kind_are_different_things(self, make):
        cache = make()
        cache.set_many({key: f"value of {key!r}" for key in KEYS})
        for key in KEYS:
            assert cache.get(key) == f"value of {key!r}"
        assert cache.get_many(KEYS) == {key: f"value of {key!r}" for key in KEYS}
        for key in KEYS:
            cache.delete(key)
            assert cache.get(key) is None
        assert cache.get_many(KEYS) == {}

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_a_value_comes_back_as_it_was(self, make, value):
        cache = make()
        cache.set("a", value)
        assert cache.get("a", "default") == value
        assert type(cache.get("a", "default")) is type(value)
        assert cache.get_many(["a", "b"]) == {"a": value}

    def test_deleted_and_removed_and_invalidated_are_gone(self, make):
        cache = make()
        for end in (cache.delete, cache.remove, cache.invalidate, cache.expire):
            cache.set_many({"a": 1, "b": 2})
            end("a")
            assert cache.get("a") is None
            assert cache.get("b") == 2
            end("a")  # nothing there: nothing happens
            cache.set("a", 3)
            assert cache.get("a") == 3

    def test_many_are_invalidated_at_once(self, make):
        cache = make()
        cache.set_many({key: key for key in range(5)})
        cache.invalidate(0, 1, 4)
        assert cache.get_many(range(5)) == {2: 2, 3: 3}
        cache.remove(2, 3)
        assert cache.get_many(range(5)) == {}

    def test_nothing_to_do_is_no_error(self, make):
        cache = make()
        cache.set_many({})
        cache.invalidate()
        cache.remove()
        cache.expire()
        assert cache.get_many([]) == {}

    def test_tags(self, make):
        cache = make()
        cache.set("a", 1, tags=["red", "round"])
        cache.set("b", 2, tags=("red",))
        cache.set_many({"c": 3, "d": 4}, tags={"blue"})
        cache.set("e", 5)
        cache.invalidate(tags=["red"])
        assert cache.get_many("abcde") == {"c": 3, "d": 4, "e": 5}
        cache.set("a", 6, tags=["red"])
        assert cache.get("a") == 6
        cache.invalidate("a", "e", tags=["blue", "unheard of"])
        assert cache.get_many("abcde") == {}

    def test_an_overwritten_entry_has_its_new_tags_alone(self, make):
        cache = make()
        cache.set("a", 1, tags=["old"])
        cache.set("a", 2, tags=["new"])
        cache.invalidate(tags=["old"])
        assert cache.get("a") == 2
        cache.invalidate(tags=["new"])
        assert cache.get("a") is None

    def test_tags_may_be_any_iterable(self, make):
        cache = make()
        cache.set("a", 1, tags=iter(["red"]))
        cache.invalidate(tags=(tag for tag in ["red"]))
        assert cache.get("a") is None

    def test_clear(self, make):
        cache = make()
        cache.set_many({"a": 1, "b": None, 3: 3}, tags=["red"])
        cache.clear()
        assert cache.get_many(["a", "b", 3]) == {}
        cache.set("a", 2)
        assert cache.get("a") == 2

    def test_clear_leaves_other_namespaces_alone(self, build, shared_server):
        one, other = (build([redis_tier(shared_server.url)]) for _ in range(2))
        one.set("a", 1)
        other.set("a", 2)
        one.clear()
        assert (one.get("a"), other.get("a")) == (None, 2)

    def test_a_time_to_live_for_the_call(self, make):
        cache = make(ttl="1h", jitter=0)
        cache.set("short", 1, ttl=0.2)
        cache.set("long", 2)
        assert cache.get_many(["short", "long"]) == {"short": 1, "long": 2}
        time.sleep(0.25)
        assert cache.get_many(["short", "long"]) == {"long": 2}
        assert cache.get("short", "default") == "default"

    def test_touch(self, make):
        cache = make(ttl=0.3, jitter=0)
        cache.set_many({"a": 1, "b": 2, "c": 3})
        assert cache.touch("a", 60)
        assert cache.touch("b")
        assert cache.touch("c", ttl=0.01)
        assert not cache.touch("d", 60)
        time.sleep(0.1)
        assert cache.get("c") is None
        time.sleep(0.3)
        assert cache.get("a") == 1
        assert cache.get("b") is None
        assert 50 < cache.explain("a").levels[-1].life <= 60

    def test_no_end_of_life(self, make):
        cache = make(ttl=None)
        cache.set("a", 1)
        assert cache.get("a") == 1
        assert {view.life for view in cache.explain("a").levels} == {float("inf")}


class TestLoaded:
    """With a loader."""

    def test_it_is_loaded_once(self, make):
        origin = Origin()
        cache = make(origin)
        assert [cache.get("a") for _ in range(3)] == ["of a"] * 3
        assert cache.get_many(["a", "b"]) == {"a": "of a", "b": "of b"}
        assert cache.get("b") == "of b"
        assert origin.calls == ["a", "b"]

    def test_a_loader_is_called_with_the_key_itself(self, make):
        origin = Origin()
        cache = make(origin)
        for key in KEYS:
            cache.get(key)
        assert origin.calls == KEYS
        assert list(map(type, origin.calls)) == list(map(type, KEYS))

    def test_what_was_set_is_not_loaded(self, make):
        origin = Origin()
        cache = make(origin)
        cache.set("a", "set")
        assert cache.get("a") == "set"
        assert origin.calls == []

    def test_what_was_invalidated_is_loaded_anew(self, make):
        origin = Origin({"a": 1})
        cache = make(origin)
        for number, end in enumerate(
            (cache.invalidate, cache.delete, cache.remove, cache.expire, lambda _: cache.clear())
        ):
            origin.values["a"] = number
            end("a")
            assert cache.get("a") == number
            assert cache.get_many(["a"]) == {"a": number}
        # More if the stream tells of an own removal so late that a load is taken for one that began before it.
        assert len(origin.calls) >= 5

    def test_a_none_is_a_value(self, make):
        origin = Origin({"a": None})
        cache = make(origin)
        for _ in range(2):
            assert cache.get("a", "default") is None
            assert cache.get_many(["a"]) == {"a": None}
        assert origin.calls == ["a"]

    def test_absent_is_no_value_and_asked_for_again(self, make):
        origin = Origin({"a": ABSENT})
        cache = make(origin)
        for _ in range(2):
            assert cache.get("a", "default") == "default"
            assert cache.get("a") is None
            assert cache.get_many(["a"]) == {}
        assert len(origin.calls) == 6

    def test_absent_is_remembered_for_its_own_time(self, make):
        origin = Origin({"a": ABSENT, "b": ABSENT})
        cache = make(origin, negative_ttl=0.3, jitter=0)
        for _ in range(2):
            assert cache.get("a", "default") == "default"
            assert cache.get_many(["a", "b"]) == {}
        assert sorted(origin.calls) == ["a", "b"]
        assert cache.explain("a").levels[-1].state == "absent"
        assert cache.stats().negative_served >= 3
        origin.values["a"] = "here now"
        time.sleep(0.35)
        assert cache.get("a") == "here now"

    def test_what_was_absent_is_there_when_it_is_set_or_invalidated(self, make):
        origin = Origin({"a": ABSENT, "b": ABSENT})
        cache = make(origin, negative_ttl=60)
        assert cache.get_many(["a", "b"]) == {}
        cache.set("a", "set")
        assert cache.get("a") == "set"
        origin.values["b"] = "loaded"
        cache.invalidate("b")
        assert cache.get("b") == "loaded"

    def test_absent_can_be_set(self, make):
        origin = Origin()
        cache = make(origin)
        cache.set("a", 1)
        cache.set("a", ABSENT)  # for no time at all: there is nothing
        assert cache.get("a") == "of a"
        cache.set("a", ABSENT, negative_ttl=60)
        assert cache.get("a", "default") == "default"
        assert origin.calls == ["a"]

    def test_gone_at_the_origin_is_gone_here(self, make):
        """What is kept for fail-safe is not served after the origin has said that there is no such thing."""
        origin = Origin({"a": "old"})
        cache = make(origin, ttl=0.1, keep=60, jitter=0)
        assert cache.get("a") == "old"
        time.sleep(0.15)
        origin.values["a"] = ABSENT
        assert cache.get("a", "default") == "default"
        origin.failure = OSError("the origin is away")
        with pytest.raises(OSError, match="away"):
            cache.get("a")

    def test_an_error_is_raised_and_not_kept(self, make):
        origin = Origin()
        cache = make(origin)
        origin.failure = LookupError("none")
        for _ in range(2):
            with pytest.raises(LookupError, match="none"):
                cache.get("a", "default")
            with pytest.raises(LookupError, match="none"):
                cache.get_many(["a"])
        origin.failure = None
        assert cache.get("a") == "of a"
        stats = cache.stats()
        assert (stats.loads, stats.load_failures) == (5, 4)

    def test_get_or_load(self, make):
        cache = make(Origin())
        assert cache.get_or_load("a", lambda key: f"mine of {key}") == "mine of a"
        assert cache.get("a") == "mine of a"
        assert cache.get_or_load("a", lambda _: "not asked") == "mine of a"
        assert cache.get_or_load("b", lambda _: ABSENT) is None
        assert cache.get("b") == "of b"

    def test_loaded_says_how_long_and_under_which_tags(self, make):
        cache = make(
            lambda key: Loaded(f"of {key}", ttl=0.2 if key == "short" else None, tags=("red",)), ttl=60, jitter=0
        )
        assert cache.get_many(["short", "a"]) == {"short": "of short", "a": "of a"}
        assert cache.get("b") == "of b"
        view = cache.explain("b").levels[-1]
        assert view.tags == ("red",)
        assert 50 < view.life <= 60
        assert 0 < cache.explain("short").levels[-1].life <= 0.2
        time.sleep(0.25)
        assert cache.explain("short").served_by is None
        cache.invalidate(tags=["red"])
        assert cache.explain("b").served_by is None

    def test_the_ttl_of_a_call_is_for_what_it_loads(self, make):
        cache = make(Origin(), ttl=60, jitter=0)
        cache.get("a", ttl="2h")
        cache.get_or_load("b", str, ttl="2h")
        cache.get_many(["c"], ttl="2h")
        for key in "abc":
            assert 7000 < cache.explain(key).levels[-1].life <= 7200

    def test_jitter_shortens_by_its_share_at_most(self, make):
        cache = make(Origin(), ttl=100, jitter=0.2)
        lives = [cache.explain(key).levels[-1].life for key in range(50) if cache.get(key)]
        assert 79 < min(lives) < max(lives) <= 100
        assert max(lives) - min(lives) > 5

    def test_a_coroutine_function_loads_for_both_faces(self, make):
        origin = Origin()
        cache = make(origin.aload)
        assert cache.get("a") == "of a"
        assert cache.get_many(["a", "b", "c"]) == {key: f"of {key}" for key in "abc"}
        assert cache.get_or_load("d", origin.aload) == "of d"
        origin.failure = LookupError("none")
        with pytest.raises(LookupError, match="none"):
            cache.get("e")
        assert origin.calls == list("abcde")


class TestMany:
    def test_one_load_for_all_that_is_missing(self, make):
        origin = Origin()
        cache = make(load_many=origin.many)
        cache.set("b", "set")
        assert cache.get_many(["a", "b", "c"]) == {"a": "of a", "b": "set", "c": "of c"}
        assert cache.get_many(["a", "b", "c"]) == {"a": "of a", "b": "set", "c": "of c"}
        assert origin.calls == [["a", "c"]]

    def test_one_key_is_loaded_by_the_loader_of_many(self, make):
        origin = Origin({"a": 1})
        cache = make(load_many=origin.many)
        assert cache.get("a") == 1
        assert cache.get("b", "default") == "default"
        assert origin.calls == [["a"], ["b"]]

    def test_a_coroutine_function_loads_many(self, make):
        origin = Origin({"a": 1, "b": 2})

        async def load_many(keys):
            await asyncio.sleep(0)
            return origin.many(keys)

        cache = make(load_many=load_many)
        assert cache.get_many("abc") == {"a": 1, "b": 2}
        assert cache.get("a") == 1
        assert cache.get("d") is None
        assert origin.calls == [list("abc"), ["d"]]

    def test_what_is_not_among_the_loaded_is_absent(self, make):
        origin = Origin({"a": None, "b": 2})
        cache = make(load_many=origin.many, negative_ttl=60)
        for _ in range(2):
            assert cache.get_many("abc") == {"a": None, "b": 2}
            assert cache.get("c", "default") == "default"
        assert origin.calls == [list("abc")]

    def test_a_key_given_twice_is_loaded_once(self, make):
        origin = Origin()
        cache = make(load_many=origin.many)
        assert cache.get_many(["a", "a"]) == {"a": "of a"}
        assert origin.calls == [["a"]]

    def test_the_keys_may_come_from_anywhere(self, make):
        cache = make(load_many=Origin().many)
        assert cache.get_many(key for key in "ab") == {"a": "of a", "b": "of b"}
        assert cache.get_many({"a": 1}.keys()) == {"a": "of a"}

    def test_no_key_of_a_thousand_is_in_the_way_of_another(self, build):
        origin = Origin()
        cache = build([MemoryTier(10_000)], load_many=origin.many)
        cache.set_many({number: number for number in range(1000)})
        assert cache.get_many(range(1000)) == {number: number for number in range(1000)}
        cache.get_many(range(2000))
        cache.get_many(range(2000))
        assert list(map(len, origin.calls)) == [1000]

    def test_both_loaders(self, make):
        one, many = Origin(), Origin()
        cache = make(one, load_many=many.many)
        cache.get("a")
        cache.get_many("abc")
        assert (one.calls, many.calls) == (["a"], [["b", "c"]])

    def test_one_error_for_all(self, make):
        origin = Origin()
        origin.failure = LookupError("none")
        cache = make(load_many=origin.many)
        with pytest.raises(LookupError, match="none"):
            cache.get_many("abc")
        assert origin.calls == [list("abc")]
        assert cache.stats().load_failures == 3

    def test_what_could_be_loaded_is_kept_when_one_key_fails(self, make):
        origin = Origin({"a": 1, "c": 3})
        cache = make(origin)
        with pytest.raises(KeyError, match="b"):
            cache.get_many("abc")
        assert sorted(origin.calls) == list("abc")
        origin.failure = OSError("not to be asked")
        assert cache.get_many("ac") == {"a": 1, "c": 3}

    def test_a_round_trip_a_level(self, make_two, own_server):
        cache = make_two(load_many=Origin().many, url=own_server.url)
        other = make_two(url=own_server.url, name=cache.name)
        listening(cache)
        cache.get("first")
        keys = [f"user:{number}" for number in range(100)]
        other.set_many({key: key for key in keys})
        before = counted(own_server, "mget")
        assert cache.get_many(keys) == {key: key for key in keys}
        assert counted(own_server, "mget") == before + 1

        def is_from_memory():
            before = counted(own_server, "mget")
            assert cache.get_many(keys) == {key: key for key in keys}
            return counted(own_server, "mget") == before

        eventually(is_from_memory)  # the other's writes may be announced after they were read


class TestLoaders:
    """By the key's prefix."""

    def test_the_longest_prefix_counts(self, make):
        cache = make(lambda key: ("rest", key))
        cache.register_loader("user:", lambda key: ("user", key))
        cache.register_loader("user:old:", lambda key: ("old", key))
        wanted = {
            "user:1": ("user", "user:1"),
            "user:old:1": ("old", "user:old:1"),
            "use": ("rest", "use"),
            7: ("rest", 7),
        }
        for key, value in wanted.items():
            assert tuple(cache.get(key)) == value
        cache.clear()
        assert {key: tuple(value) for key, value in cache.get_many(wanted).items()} == wanted

    def test_a_loader_is_replaced(self, make):
        cache = make()
        cache.register_loader("user:", lambda _: "one")
        cache.register_loader("user:", lambda _: "two")
        assert cache.get("user:1") == "two"

    def test_a_key_without_one_is_not_loaded(self, make):
        cache = make(negative_ttl=60)
        cache.register_loader("user:", lambda key: f"of {key}")
        assert cache.get("other:1", "default") == "default"
        assert cache.get_many(["other:1", "other:2", "user:1"]) == {"user:1": "of user:1"}
        assert cache.stats().loads == 1
        assert cache.explain("other:1").levels[-1].state == "nothing"

    def test_a_coroutine_function(self, make):
        origin = Origin()
        cache = make()
        cache.register_loader("user:", origin.aload)
        assert cache.get("user:1") == "of user:1"
        assert cache.get_many(["user:1", "user:2"]) == {"user:1": "of user:1", "user:2": "of user:2"}

    def test_the_others_are_loaded_at_once_still(self, make):
        origin = Origin()
        cache = make(load_many=origin.many)
        cache.register_loader("user:", lambda key: f"user of {key}")
        assert cache.get_many(["a", "b", "user:1"]) == {"a": "of a", "b": "of b", "user:1": "user of user:1"}
        assert origin.calls == [["a", "b"]]


class TestDecorated:
    """By `cached`."""

    def test_a_template(self, make):
        cache = make()
        calls = []

        @cache.cached(key="user:{user_id}:{verbose}", ttl="2h", jitter=0, tags=["users", "user {user_id}"])
        def user(user_id, *, verbose=False):
            """Return a user."""
            calls.append(user_id)
            return {"id": user_id}

        assert user.__doc__ == "Return a user."
        assert user(1) == user(user_id=1) == user(1, verbose=False) == {"id": 1}
        assert calls == [1]
        assert user(2) == {"id": 2}
        assert user.key_of(1) == user.key_of(user_id=1) == "user:1:False"
        assert cache.get("user:1:False") == {"id": 1}
        view = cache.explain("user:1:False").levels[-1]
        assert view.tags == ("users", "user 1")
        assert 7000 < view.life <= 7200
        cache.invalidate(tags=["user 1"])
        assert (user(1), user(2)) == ({"id": 1}, {"id": 2})
        assert calls == [1, 2, 1]
        cache.invalidate(tags=["users"])
        assert user(2) == {"id": 2}
        assert calls == [1, 2, 1, 2]
        cache.invalidate(user.key_of(2))
        assert user(2) == {"id": 2}
        assert calls == [1, 2, 1, 2, 2]

    def test_a_callable(self, make):
        cache = make()

        @cache.cached(key=lambda one, two: ("sum", one, two))
        def total(one, two):
            return one + two

        assert total(1, two=2) == 3
        assert total.key_of(1, two=2) == ("sum", 1, 2)
        assert cache.get(("sum", 1, 2)) == 3

    def test_a_coroutine_function(self, make, loop_thread):
        cache = make()
        calls = []

        @cache.cached(key="user:{user_id}", tags=["user {user_id}"])
        async def user(user_id):
            await asyncio.sleep(0)
            calls.append(user_id)
            return Loaded(f"user {user_id}", tags=("more",))

        assert asyncio.iscoroutinefunction(user)
        assert [loop_thread.run(user(1)) for _ in range(2)] == ["user 1"] * 2
        assert calls == [1]
        assert set(cache.explain("user:1").levels[-1].tags) == {"more", "user 1"}
        cache.invalidate(tags=["user 1"])
        assert loop_thread.run(user(1)) == "user 1"
        assert calls == [1, 1]

    def test_none_is_kept_and_absent_is_none(self, make):
        cache = make()
        calls = []

        @cache.cached(key="{key}")
        def find(key):
            calls.append(key)
            return None if key == "none" else ABSENT

        assert [find("none"), find("none"), find("absent"), find("absent")] == [None] * 4
        assert calls == ["none", "absent", "absent"]

    def test_what_it_raises_is_raised(self, make):
        cache = make()

        @cache.cached(key="{key}")
        def find(key):
            raise LookupError(key)

        with pytest.raises(LookupError, match="a"):
            find("a")
        with pytest.raises(TypeError):
            find()


class TestSaved:
    """With `save` and `delete`."""

    def test_the_origin_is_written_first(self, make):
        rows = {}
        cache = make(rows.get, save=rows.__setitem__, delete=rows.pop)
        cache.set("a", 1)
        cache.set_many({"b": 2, "c": 3})
        assert rows == {"a": 1, "b": 2, "c": 3}
        cache.delete("a")
        assert rows == {"b": 2, "c": 3}
        assert cache.get("a") is None
        cache.invalidate("b")
        assert rows == {"b": 2, "c": 3}

    def test_coroutine_functions(self, make):
        rows = {}

        async def save(key, value):
            rows[key] = value

        async def delete(key):
            del rows[key]

        cache = make(save=save, delete=delete)
        cache.set("a", 1)
        assert rows == {"a": 1}
        cache.delete("a")
        assert rows == {}

    def test_what_the_origin_refuses_is_loaded_anew(self, make):
        """Nobody knows whether an origin that raises has it, or how much of it."""
        rows = {"a": "good"}

        def save(key, value):
            rows[key] = value
            raise PermissionError("no")

        def delete(key):
            del rows[key]
            raise PermissionError("no")

        cache = make(rows.get, save=save, delete=delete)
        assert cache.get("a") == "good"
        with pytest.raises(PermissionError):
            cache.set("a", "bad")
        assert cache.get("a") == "bad"
        with pytest.raises(PermissionError):
            cache.delete("a")
        assert cache.get("a") is None

    def test_what_was_saved_before_a_refusal_is_not_served_as_it_was(self, make):
        rows = {"a": 1, "b": 1}

        def save(key, value):
            if key == "b":
                raise PermissionError("no")
            rows[key] = value

        cache = make(rows.get, save=save)
        assert cache.get_many("ab") == {"a": 1, "b": 1}
        with pytest.raises(PermissionError):
            cache.set_many({"a": 2, "b": 2})
        assert cache.get_many("ab") == rows == {"a": 2, "b": 1}


class TestFailSafe:
    def test_an_expired_value_is_kept_and_a_removed_one_is_not(self, make):
        origin = Origin()
        cache = make(origin, keep="1h")
        cache.get_many("abcd")
        cache.expire("a")
        cache.invalidate("b", expire=True)
        cache.invalidate("c")
        cache.remove("d")
        assert cache.explain("a").levels[-1].state == "stale"
        assert cache.explain("c").levels[-1].state == "nothing"
        origin.failure = OSError("the origin is away")
        assert cache.get("a") == "of a"
        assert cache.get_many(["b"]) == {"b": "of b"}
        for key in "cd":
            with pytest.raises(OSError, match="away"):
                cache.get(key)
        assert cache.stats().stale_served == 2

    def test_without_keep_an_expired_value_is_not_served(self, make):
        origin = Origin()
        cache = make(origin)
        cache.get("a")
        cache.expire("a")
        origin.failure = OSError("the origin is away")
        with pytest.raises(OSError, match="away"):
            cache.get("a")

    def test_it_is_not_kept_for_ever(self, make):
        origin = Origin()
        cache = make(origin, ttl=0.1, keep=0.2, jitter=0)
        cache.get("a")
        origin.failure = OSError("the origin is away")
        time.sleep(0.15)
        assert cache.get("a") == "of a"
        time.sleep(0.25)
        with pytest.raises(OSError, match="away"):
            cache.get("a")


class TestTwoLevels:
    """Memory above Valkey."""

    def test_a_hit_below_is_promoted(self, make_two):
        one = make_two(ttl=60, jitter=0)
        one.set("a", 1)
        one.set_many({"b": 2, "c": None})
        other = make_two(name=one.name)  # by now: else it may be told of the writes after it has read
        listening(other)
        assert other.get("a") == 1
        assert other.get_many(["b", "c"]) == {"b": 2, "c": None}
        hits = other.stats().levels[1].reads
        assert other.get_many("abc") == {"a": 1, "b": 2, "c": None}
        stats = other.stats()
        assert stats.levels[1].reads == hits
        assert stats.levels[0].hits >= 3

    def test_a_load_fills_all_levels(self, make_two):
        one = make_two(Origin())
        one.get("a")
        one.get_many("bc")
        for key in "abc":
            assert [view.state for view in one.explain(key).levels] == ["fresh", "fresh"]
        assert make_two(name=one.name).get_many("abc") == {key: f"of {key}" for key in "abc"}

    def test_life_in_memory_never_exceeds_that_below(self, make_two, own_proxy):
        """Also when the wire is slow: what counts is what was left when it was read, and what was given at first."""
        own_proxy.delay(0.04)
        one = make_two(Origin(), url=own_proxy.url, ttl=60, jitter=0)
        other = make_two(Origin(), url=own_proxy.url, ttl="2h", name=one.name)
        one.get("loaded")
        one.set("set", 1)
        one.get_many(["many"])
        other.get("loaded")
        other.get_many(["set", "many"])
        for cache in (one, other):
            for key in ("loaded", "set", "many"):
                asked = time.monotonic()
                memory, valkey = cache.explain(key).levels
                passed = time.monotonic() - asked
                # Memory was looked at first; Valkey at some moment of the time that passed.
                # It knows the server's clock by no more than a round trip.
                assert 55 < memory.life - passed <= valkey.life + 0.25
                assert valkey.life <= 60

    def test_memory_may_have_a_longest_life(self, build, shared_server):
        name = namespace()
        one = build([MemoryTier(10, ttl="10s"), redis_tier(shared_server.url)], Origin(), ttl=60, jitter=0, name=name)
        one.get("a")
        one.set("b", 2)
        for key in "ab":
            memory, valkey = one.explain(key).levels
            assert 9 < memory.life <= 10
            assert 50 < valkey.life <= 60

    def test_no_level_outlives_one_beneath(self, build, shared_server, own_server):
        """However it came, and though the level in the middle may keep things for longer."""
        name = namespace()

        def cache(**options):
            low = redis_tier(own_server.url, ttl=10, name="low")
            tiers = [MemoryTier(10), redis_tier(shared_server.url, ttl="20s", name="middle"), low]
            return build(tiers, lambda key: key, ttl=60, keep=600, jitter=0, name=name, **options)

        one = cache(load_many=lambda keys: dict(zip(keys, keys, strict=True)))
        one.get("loaded")
        one.get_many(["many", "more"])
        one.set("set", 1)
        one.set_many({"several": 1})
        one.set("touched", 1, ttl=2)
        assert one.touch("touched", 60)
        for key in ("loaded", "many", "more", "set", "several", "touched"):
            lives = [view.life for view in one.explain(key).levels]
            assert all(5 < life <= 10 for life in lives), (key, lives)
            # Valkey is looked at after memory, and rounds by milliseconds.
            assert lives[0] <= lives[1] + 0.25 <= lives[2] + 0.5, (key, lives)

    def test_memory_is_not_touched_for_longer_than_what_is_below(self, build, make_server, eventually):
        server = make_server()
        one = build([MemoryTier(10), redis_tier(server.url, timeout=0.3)], ttl=60, jitter=0)
        one.set_many({"a": 1, "b": 2, "c": 3})
        server.command("FLUSHALL")
        eventually(lambda: one.get_many(["a", "b", "c"]) == {})
        one.set_many({"a": 1, "b": 2, "c": 3})
        server.kill()
        assert not one.touch("a", 600)
        assert one.touch("b", 5)
        memory = {key: one.explain(key).levels[0].life for key in "abc"}
        assert memory["b"] <= 5
        assert 50 < memory["a"] <= 60
        assert memory["c"] <= 60

    def test_a_promoted_absent_is_absent(self, make_two):
        origin = Origin({})
        one = make_two(lambda _: ABSENT, negative_ttl=60)
        other = make_two(origin, name=one.name)
        assert one.get("a", "default") == "default"
        for _ in range(2):
            assert other.get("a", "default") == "default"
            assert other.get_many(["a"]) == {}
        assert origin.calls == []

    def test_what_one_writes_the_other_sees(self, two):
        one, other = two()
        one.set("a", 1, tags=["red"])
        assert other.get("a") == 1
        other.set("a", 2)
        assert one.get("a") == 2
        one.delete("a")
        assert other.get("a") is None
        other.set("a", 3, tags=["red"])
        one.invalidate(tags=["red"])
        assert other.get("a") is None
        other.set("a", 4, tags=["red"])  # after the invalidation
        assert one.get("a") == 4
        one.clear()
        assert other.get("a") is None
        other.set("a", 5)
        assert one.get("a") == 5

    def test_what_others_change_memory_forgets(self, make_two):
        one = listening(make_two())
        other = make_two(name=one.name)
        for change in (
            lambda: other.set("a", "new"),
            lambda: other.invalidate("a"),
            lambda: other.invalidate(tags=["red"]),
            other.clear,
        ):
            one.set("a", "old", tags=["red"])
            assert one.get("a") == "old"
            change()
            eventually(lambda: one.get("a") != "old", 5)

    def test_three_levels(self, build, shared_server, own_server):
        def tiers():
            return [
                MemoryTier(10),
                redis_tier(shared_server.url, name="near"),
                redis_tier(own_server.url, name="far"),
            ]

        origin = Origin()
        one = build(tiers(), origin)
        assert one.get("a") == "of a"
        one.set("b", 2)
        one.set("t", 2, tags=["red"])
        for key in "abt":
            assert [view.state for view in one.explain(key).levels] == ["fresh"] * 3
        one.clear()
        for key in "abt":
            assert [view.state for view in one.explain(key).levels] == ["nothing"] * 3
        assert one.get_many("ac") == {"a": "of a", "c": "of c"}
        one.set("b", 2)
        for key in "abc":
            assert [view.state for view in one.explain(key).levels] == ["fresh"] * 3
        own_server.command("FLUSHALL")
        assert build(tiers(), name=one.name).get_many("abc") == {"a": "of a", "b": 2, "c": "of c"}

    def test_a_hit_far_below_fills_all_above(self, build, shared_server, own_server):
        def tiers():
            return [
                MemoryTier(10),
                redis_tier(own_server.url, name="near"),
                redis_tier(shared_server.url, name="far"),
            ]

        one = build(tiers())
        one.set_many({"a": 1, "b": 2})
        own_server.command("FLUSHALL")
        other = build(tiers(), name=one.name)
        assert other.get("a") == 1
        assert other.get_many(["b"]) == {"b": 2}
        for key in "ab":
            assert [view.state for view in other.explain(key).levels] == ["fresh"] * 3


class TestExplained:
    def test_states_and_reasons(self, make):
        cache = make(Origin({"a": 1, "gone": ABSENT}), ttl=60, keep=60, negative_ttl=60, jitter=0, writer="me")
        explained = cache.explain("a")
        assert (explained.key, explained.name, explained.served_by, explained.loading) == ("a", "a", None, False)
        assert {view.state for view in explained.levels} == {"nothing"}
        assert all("never stored" in view.why for view in explained.levels)
        cache.get("a")
        cache.get("gone")
        explained = cache.explain("a")
        assert explained.served_by == explained.levels[0].level
        for view in explained.levels:
            assert (view.state, view.why, view.writer, view.tags) == ("fresh", "", "me", ())
            assert 0 <= view.age < 5
            assert 50 < view.life <= 60
            assert 110 < view.keep <= 120
        assert len({view.version for view in explained.levels}) == 1
        assert "served by" in str(explained)
        assert "written by me" in str(explained)
        assert {view.state for view in cache.explain("gone").levels} == {"absent"}
        assert cache.explain("gone").served_by is not None
        cache.expire("a")
        assert cache.explain("a").levels[-1].state == "stale"
        assert cache.explain("a").served_by is None
        cache.invalidate("a")
        for view in cache.explain("a").levels:
            assert (view.state, view.why) == ("nothing", "invalidated")
        cache.set("a", 2)
        assert {view.state for view in cache.explain("a").levels} == {"fresh"}

    def test_no_use_of_the_key(self, make):
        cache = make(Origin())
        cache.get("a")
        before = cache.stats()
        for _ in range(3):
            cache.explain("a")
            cache.explain("b")
        after = cache.stats()
        assert [(level.reads, level.hits) for level in after.levels] == [
            (level.reads, level.hits) for level in before.levels
        ]
        assert after.loads == 1

    def test_the_name_of_a_key(self, make):
        explained = make().explain(("user", 7))
        assert (explained.key, explained.name) == (("user", 7), '~t["user", "~i7"]')

    def test_evicted(self, build):
        cache = build([MemoryTier(1, policy="lru")])
        cache.set("a", 1)
        cache.set("b", 2)
        (view,) = cache.explain("a").levels
        assert (view.state, "evicted" in view.why) == ("nothing", True)

    def test_changed_by_another(self, make_two):
        one = listening(make_two())
        other = make_two(name=one.name)
        one.set("a", 1)
        other.invalidate("a")
        eventually(lambda: one.explain("a").levels[0].state == "nothing", 5)
        assert one.explain("a").levels[0].why == "changed by another process"

    def test_dead_by_a_tag(self, two):
        one, other = two()
        one.set("a", 1, tags=["red"])
        other.invalidate(tags=["red"])
        (view,) = one.explain("a").levels
        assert (view.state, view.why) == ("nothing", "refused: dead")
        one.get("a")
        assert one.stats().levels[0].refused == {"dead": 1}

    def test_a_load_is_under_way(self, make, loop_thread):
        origin = Origin()
        origin.gate.clear()
        cache = make(origin)
        thread = threading.Thread(target=cache.cache.get, args=("a",))
        thread.start()
        eventually(lambda: origin.calls)
        assert cache.explain("a").loading
        assert "a load is under way" in str(cache.explain("a"))
        origin.gate.set()
        thread.join(10)
        assert not cache.explain("a").loading


class TestCounted:
    def test_requests_hits_and_loads(self, make, levels):
        cache = make(Origin(), name="counted-" + namespace())
        for key in "aabb":
            cache.get(key)
        cache.get_many("abc")
        stats = cache.stats()
        assert stats.name == cache.name
        assert (stats.requests, stats.loads, stats.load_failures) == (7, 3, 0)
        assert stats.load_latency.count == 3
        top = stats.levels[0]
        assert (top.reads, top.hits, top.misses, top.errors, top.timeouts, top.state) == (7, 4, 3, 0, 0, "closed")
        assert top.hit_rate == 4 / 7
        assert len(stats.levels) == (2 if "+" in levels else 1)

    def test_every_kind_of_call_is_a_request(self, make):
        cache = make(Origin())
        for key in ("a", 7, 2**80, b"b", ("a", 1)):
            for _ in range(3):
                cache.get(key)
        cache.get("a", "default")
        cache.get("a", default="default")
        cache.get("a", ttl=5)
        stats = cache.stats()
        assert stats.requests == 18
        assert stats.levels[0].hits == 13
        assert stats.loads == 5

    def test_a_key_of_any_kind_is_used_by_being_read(self, build):
        cache = build([MemoryTier(2, policy="lru")])
        for old, new, newer in (
            (("a", 1), ("a", 2), ("a", 3)),
            (b"1", b"2", b"3"),
            (2**70, 2**71, 2**72),
            ("1", "2", "3"),
        ):
            cache.clear()
            cache.set(old, 1)
            cache.set(new, 2)
            assert cache.get(old) == 1
            cache.set(newer, 3)
            assert cache.get_many([old, new, newer]) == {old: 1, newer: 3}

    def test_the_response_time(self, make):
        cache = make(Origin(delay=0.05))
        assert cache.stats().response_time == 0
        for _ in range(5):
            cache.get("a")
        stats = cache.stats()
        assert 0.9 * 0.05 / 5 < stats.response_time < 0.5
        reach, expected = 1.0, 0.0
        for level in stats.levels:
            expected += reach * level.latency.mean
            reach *= 1 - level.hit_rate
        assert stats.response_time == pytest.approx(expected + stats.loads / stats.requests * stats.load_latency.mean)

    def test_fills_and_writes(self, two):
        one, _ = two(load=Origin())
        one.get("a")
        one.set("b", 1)
        one.set_many({"c": 1, "d": 2})
        (level,) = one.stats().levels
        assert (level.fills, level.fills_refused, level.writes) == (1, 0, 3)


class TestSwitched:
    def test_memory(self, make_two):
        cache = listening(make_two(Origin()))
        cache.get("a")
        cache.switch("memory", on=False)
        assert cache.stats().levels[0].state == "off"
        view = cache.explain("a").levels[0]
        assert (view.state, view.why) == ("unavailable", "switched off")
        cache.set("b", 1)
        assert cache.get("a") == "of a"
        assert cache.get_many("ab") == {"a": "of a", "b": 1}
        assert cache.stats().levels[1].hits >= 3
        cache.switch("memory", on=True)
        assert cache.stats().levels[0].state == "closed"
        cache.set("b", 2)
        assert cache.get_many("ab") == {"a": "of a", "b": 2}
        assert cache.explain("a").served_by == "memory"

    def test_what_was_on_its_way_when_memory_was_switched_off_does_not_get_there(self, make_two, loop_thread):
        origin = Origin({"a": "old"})
        cache = listening(make_two(origin))
        origin.gate.clear()
        load = asyncio.run_coroutine_threadsafe(cache.cache.aget("a"), loop_thread.loop)
        eventually(lambda: origin.calls)
        cache.switch("memory", on=False)
        origin.gate.set()
        assert load.result(10) == "old"
        cache.switch("valkey", on=False)
        origin.values["a"] = "new"
        assert cache.get("a") == "new"  # no level is left

    def test_valkey(self, make_two, shared_server):
        origin = Origin()
        cache = make_two(origin, recovery_delay=0.05)
        reader = make_two(name=cache.name)
        cache.set_many({"a": 1, "b": 1})
        cache.switch("valkey", on=False)
        assert cache.stats().levels[1].state == "off"
        view = cache.explain("a").levels[1]
        assert (view.state, view.why) == ("unavailable", "valkey is switched off")
        cache.set("a", 2)
        cache.delete("b")
        assert cache.get("c") == "of c"
        assert cache.get_many("abc") == {"a": 2, "b": "of b", "c": "of c"}
        assert reader.get("a") == 1  # has not been told
        assert cache.stats().levels[1].errors == 0
        cache.switch("valkey", on=True)
        eventually(lambda: reader.get_many("ab") == {})
        assert cache.get("a") in {2, "of a"}  # memory may hear of the replay and ask the origin

    def test_memory_alone(self, build):
        origin = Origin()
        cache = build([MemoryTier(10)], origin)
        cache.get("a")
        cache.switch("memory", on=False)
        assert [cache.get("a"), cache.get("a")] == ["of a"] * 2
        assert len(origin.calls) == 3
        cache.switch("memory", on=True)
        assert [cache.get("a"), cache.get("a")] == ["of a"] * 2
        assert len(origin.calls) == 4

    def test_an_unknown_level(self, make):
        cache = make()
        with pytest.raises(ValueError, match="'disk'"):
            cache.switch("disk", on=False)


class TestClosed:
    def test_twice(self, make):
        cache = make()
        cache.set("a", 1)
        cache.close()
        cache.close()

    def test_with_statements(self, make, loop_thread):
        cache = make().cache
        with cache as same:
            assert same is cache
            cache.set("a", 1)

        cache = make().cache

        async def use():
            async with cache as same:
                assert same is cache
                await cache.aset("a", 1)
                assert await cache.aget("a") == 1

        loop_thread.run(use())

    def test_what_is_shared_stays(self, two):
        one, other = two()
        one.set("a", 1)
        one.close()
        assert other.get("a") == 1

    def test_nothing_is_there_any_more(self, make):
        cache = make()
        cache.set("a", 1)
        cache.close()
        assert cache.get("a", "default") == "default"
        assert cache.get_many(["a"]) == {}
        assert cache.stats().name == cache.name

    def test_loader_and_origin_are_still_asked(self, make):
        rows = {"a": 1}
        plain = make().runner is None
        cache = make(rows.get, save=rows.__setitem__)
        cache.close()
        if plain:
            assert cache.get("a") == 1
        else:
            with pytest.raises(RuntimeError, match="closed"):  # a load for a loop is a task or a thread of the cache
                cache.get("a")
        cache.cache.set("b", 2)
        assert rows == {"a": 1, "b": 2}

    def test_shared_levels_are_neither_asked_nor_told(self, two):
        one, other = two()
        one.set("a", 1)
        one.close()
        one.set("b", 1)
        assert one.get("a", "default") == "default"
        assert one.get("b") in {1, None}
        assert other.get_many(["a", "b"]) == {"a": 1}

    def test_what_needs_its_threads_raises(self, build):
        async def load(key):
            return key

        plain = build([MemoryTier(10)]).runner is None
        cache = build([MemoryTier(10)], load if plain else str)
        cache.close()
        with pytest.raises(RuntimeError, match="closed"):
            cache.get("a")

    def test_no_thread_is_left(self, make_two):
        cache = make_two(Origin().aload, hard_timeout=5, recovery_delay=0.01)
        cache.get("a")
        cache.switch("valkey", on=False)
        cache.set("a", 1)
        name = cache.name
        eventually(lambda: any(name in thread.name for thread in threading.enumerate()))
        cache.close()
        eventually(lambda: not any(name in thread.name for thread in threading.enumerate()))

    def test_its_name_and_levels_are_in_its_repr(self, make_two):
        cache = make_two()
        name = f"<TieredCache {cache.name!r}: "
        assert repr(cache.cache) == f"{name}memory > valkey>"
        breaker = cache.cache._levels[1].breaker
        while breaker.state == "closed":
            breaker.failure()
        assert repr(cache.cache) == f"{name}memory > valkey (breaker open)>"
        cache.switch("memory", on=False)
        cache.switch("valkey", on=False)
        assert repr(cache.cache) == f"{name}memory (off) > valkey (off)>"
