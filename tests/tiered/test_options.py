"""What can be set, where, and what is said of what cannot be."""

import asyncio
import datetime
import math
from pathlib import Path

import pytest

from hotset import Loaded, MemoryTier, RedisTier, TieredCache
from hotset.errors import TierError
from hotset.tiered.options import Options

DURATIONS = [
    "fail_safe_throttle",
    "hard_timeout",
    "keep",
    "lock_timeout",
    "max_loads_wait",
    "max_staleness",
    "negative_ttl",
    "soft_timeout",
    "stale_while_revalidate",
    "ttl",
]
WITHOUT_ZERO = {"hard_timeout", "max_staleness", "soft_timeout", "ttl"}


@pytest.fixture
def make():
    """Make caches of memory that are closed when the test is over."""
    made = []

    def factory(*args, tiers=None, name="options", **options):
        made.append(TieredCache(name, [MemoryTier(10)] if tiers is None else tiers, *args, **options))
        return made[-1]

    yield factory
    for cache in made:
        cache.close()


def told(raised, value):
    """Whether an error names what was wrong."""
    assert repr(value) in str(raised.value)
    return True


class TestMade:
    @pytest.mark.parametrize("name", ["", "two words", "a\tb", "a{b", "a}b", "a*", None, 7, b"bytes"])
    def test_a_bad_name(self, make, name):
        with pytest.raises((TypeError, ValueError)) as raised:
            make(name=name)
        assert told(raised, name)

    @pytest.mark.parametrize("name", ["users", "users:v2", "\u00fcbung", "a-b_c.d", "%3A"])
    def test_a_good_name(self, make, name):
        assert make(name=name).name == name

    @pytest.mark.parametrize("tiers", [[None], ["redis://localhost"], [MemoryTier], [{}]], ids=repr)
    def test_what_is_no_tier(self, make, tiers):
        with pytest.raises(TypeError) as raised:
            make(tiers=tiers)
        assert told(raised, tiers[0])

    def test_no_tiers(self, make):
        with pytest.raises(ValueError, match="tiers"):
            make(tiers=[])
        with pytest.raises(TypeError, match="tiers must be a list of tiers, got "):
            make(tiers=MemoryTier(10))

    def test_two_memories(self, make):
        with pytest.raises(ValueError, match="place 2"):
            make(tiers=[MemoryTier(10), MemoryTier(20, name="other")])

    def test_memory_below_another_tier(self, make):
        with pytest.raises(ValueError, match="first"):
            make(tiers=[RedisTier(), MemoryTier(10)])

    def test_two_tiers_of_one_name(self, make):
        with pytest.raises(ValueError, match="valkey, valkey"):
            make(tiers=[RedisTier(), RedisTier()])

    def test_a_tier_of_another_cache(self, make):
        tier = MemoryTier(10)
        one = make(tiers=[tier])
        one.set("a", 1)
        with pytest.raises(TierError, match="'other'"):
            make(tiers=[tier], name="other")
        assert one.get("a") == 1

    @pytest.mark.parametrize("what", ["load", "load_many", "save", "delete"])
    def test_what_cannot_be_called(self, make, what):
        with pytest.raises(TypeError, match=what) as raised:
            make(**{what: "a str"})
        assert told(raised, "a str")

    @pytest.mark.parametrize("recovery", [{"recovery_items": 0}, {"recovery_items": 1.5}, {"recovery_delay": -1}])
    def test_a_bad_recovery(self, make, recovery):
        with pytest.raises((TypeError, ValueError)) as raised:
            make(tiers=[RedisTier()], **recovery)
        assert told(raised, next(iter(recovery.values())))


class TestOptions:
    def test_defaults(self):
        options = Options()
        assert (options.ttl, options.keep, options.negative_ttl, options.max_loads) == (300, 0, 0, None)
        assert Options.of({}) == options

    @pytest.mark.parametrize("name", DURATIONS)
    def test_durations(self, name):
        for given, seconds in (
            (5, 5),
            (0.25, 0.25),
            ("1h30m", 5400),
            (datetime.timedelta(minutes=2), 120),
            ("never", math.inf),
        ):
            assert getattr(Options.of({name: given}), name) == seconds

    @pytest.mark.parametrize("name", DURATIONS)
    @pytest.mark.parametrize("value", [-1, "soon", "", True, [], math.nan, "-5s", b"5s"], ids=repr)
    def test_bad_durations(self, name, value):
        with pytest.raises((TypeError, ValueError)) as raised:
            Options.of({name: value})
        assert told(raised, value)
        assert name in str(raised.value)

    @pytest.mark.parametrize("name", DURATIONS)
    def test_zero(self, name):
        if name in WITHOUT_ZERO:
            with pytest.raises(ValueError, match=name):
                Options.of({name: 0})
        else:
            assert getattr(Options.of({name: 0}), name) == 0

    @pytest.mark.parametrize("name", DURATIONS)
    def test_none(self, name):
        if name in {"soft_timeout", "hard_timeout"}:
            assert getattr(Options.of({name: None}), name) is None
        elif name == "ttl":
            assert Options.of({name: None}).ttl == math.inf
        else:
            with pytest.raises(TypeError, match=name):
                Options.of({name: None})

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("jitter", [0, 0.5, 0.99], [1, -0.1, math.nan, 2, None, "0.5", True]),
            ("refresh_ahead", [None, 0.5, 0.99], [0, 1, -1, math.nan, "0.5", True]),
            ("xfetch", [None, 1, 0.5, 10], [0, -1, math.inf, math.nan, "1", True]),
            ("max_loads", [None, 1, 100], [0, -1, 1.5, "1", True]),
        ],
    )
    def test_numbers(self, name, good, bad):
        for value in good:
            assert getattr(Options.of({name: value}), name) == value
        for value in bad:
            with pytest.raises((TypeError, ValueError), match=name) as raised:
                Options.of({name: value})
            assert told(raised, value)

    def test_unknown(self, make):
        for use in (
            lambda: make(tll=5),
            lambda: make().get("a", tll=5),
            lambda: make().set("a", 1, tll=5),
            lambda: make().get_many(["a"], tll=5),
            lambda: make().cached("a", tll=5),
        ):
            with pytest.raises(TypeError, match="unknown option 'tll'"):
                use()

    @pytest.mark.parametrize("option", [{"max_loads": 1}, {"max_loads_wait": 1}, {"max_staleness": 1}])
    def test_of_the_cache_only(self, make, option):
        (name,) = option
        cache = make(**option)
        for use in (
            lambda: cache.get("a", **option),
            lambda: cache.set("a", 1, **option),
            lambda: cache.get_or_load("a", str, **option),
            lambda: cache.cached("a", **option),
        ):
            with pytest.raises(TypeError, match=name):
                use()

    def test_call_before_cache_before_default(self, make):
        cache = make(ttl="1h", jitter=0)
        cache.set("cache", 1)
        cache.set("call", 1, ttl="2h")
        cache.set("never", 1, ttl=None)
        lives = [cache.explain(key).levels[0].life for key in ("cache", "call", "never")]
        assert 3500 < lives[0] <= 3600
        assert 7100 < lives[1] <= 7200
        assert lives[2] == math.inf


class TestCalled:
    """With arguments that make no sense."""

    @pytest.fixture
    def cache(self, make):
        cache = make()
        cache.set_many({1: "one", "a": "A", (1,): "tuple"})
        return cache

    @pytest.mark.parametrize("key", [True, False, 1.0, None, [1], {"a": 1}, {1}, Path(), (True,), (1.0,)], ids=repr)
    def test_bad_keys(self, cache, key):
        culprit = key[0] if type(key) is tuple else key
        for use in (
            lambda: cache.get(key),
            lambda: cache.get(key, None),
            lambda: cache.get(key, ttl=5),
            lambda: cache.get_many([key]),
            lambda: cache.get_many(["a", key]),
            lambda: cache.get_or_load(key, str),
            lambda: cache.delete(key),
            lambda: cache.invalidate(key),
            lambda: cache.invalidate("a", key),
            lambda: cache.expire(key),
            lambda: cache.touch(key, 5),
            lambda: cache.explain(key),
        ):
            with pytest.raises(TypeError) as raised:
                use()
            assert told(raised, culprit)
        try:
            hash(key)
        except TypeError:
            return
        for use in (lambda: cache.set(key, 1), lambda: cache.set_many({key: 1})):
            with pytest.raises(TypeError) as raised:
                use()
            assert told(raised, culprit)
        assert cache.get_many([1, (1,)]) == {1: "one", (1,): "tuple"}

    @pytest.mark.parametrize("key", [True, 1.0, None, [1], (1.0,)], ids=repr)
    def test_bad_keys_of_tasks(self, cache, key):
        culprit = key[0] if type(key) is tuple else key
        for use in (
            lambda: cache.aget(key),
            lambda: cache.aget(key, None),
            lambda: cache.aget_many([key]),
            lambda: cache.aget_or_load(key, str),
            lambda: cache.adelete(key),
        ):
            with pytest.raises(TypeError) as raised:
                asyncio.run(use())
            assert told(raised, culprit)

    def test_nothing_has_changed_when_one_of_many_keys_is_bad(self, cache):
        with pytest.raises(TypeError):
            cache.set_many({"a": "new", None: 1})
        with pytest.raises(TypeError):
            cache.invalidate("a", None)
        assert cache.get("a") == "A"

    @pytest.mark.parametrize("tags", ["red", b"red", 7, None, [7], [None], [""], ["*"], ["red", "*"]], ids=repr)
    def test_bad_tags(self, cache, tags):
        culprit = tags[-1] if isinstance(tags, list) else tags
        for use in (
            lambda: cache.set("a", 1, tags=tags),
            lambda: cache.set_many({"a": 1}, tags=tags),
            lambda: cache.invalidate(tags=tags),
            lambda: cache.invalidate("a", tags=tags),
            lambda: cache.cached("a", tags=tags),
        ):
            with pytest.raises((TypeError, ValueError)) as raised:
                use()
            if not isinstance(tags, bytes):  # a sequence of ints
                assert told(raised, culprit)
        assert cache.get("a") == "A"

    def test_bad_times(self, cache):
        for ttl in (0, -1, "soon", True, math.nan):
            for use in (
                lambda: cache.set("a", 1, ttl=ttl),
                lambda: cache.touch("a", ttl),
                lambda: cache.get("a", ttl=ttl),
            ):
                with pytest.raises((TypeError, ValueError), match="ttl") as raised:
                    use()
                assert told(raised, ttl)

    def test_bad_loaders(self, cache):
        for use in (
            lambda: cache.register_loader("a:", "a str"),
            lambda: cache.get_or_load("b", "a str"),
        ):
            with pytest.raises(TypeError) as raised:
                use()
            assert told(raised, "a str")
        for prefix in ("", None, 7):
            with pytest.raises((TypeError, ValueError)) as raised:
                cache.register_loader(prefix, str)
            assert told(raised, prefix)
        with pytest.raises(TypeError) as raised:
            cache.cached(7)
        assert told(raised, 7)

    @pytest.mark.parametrize(
        "bad", [{"tags": "red"}, {"ttl": "5m"}, {"ttl": True}, {"tags": (7,)}, {"tags": ("*",)}], ids=repr
    )
    def test_a_bad_loaded(self, bad):
        (value,) = bad.values()
        with pytest.raises((TypeError, ValueError)) as raised:
            Loaded(1, **bad)
        assert told(raised, value[0] if isinstance(value, tuple) else value)

    def test_a_loader_of_many_that_returns_no_dict(self, make):
        cache = make(load_many=lambda keys: list(keys))
        for use in (lambda: cache.get_many(["a"]), lambda: cache.get("a")):
            with pytest.raises(TypeError, match="load_many") as raised:
                use()
            assert told(raised, ["a"])


@pytest.mark.parametrize("option", ["refresh_ahead", "xfetch", "stale_while_revalidate"])
def test_what_needs_memory_says_so(option):
    with pytest.warns(RuntimeWarning, match=f"{option} has no effect without a MemoryTier"):
        TieredCache("bare", [RedisTier()], **{option: 0.5}).close()
    with pytest.warns(RuntimeWarning, match="refresh_ahead, xfetch has no effect"):
        TieredCache("bare", [RedisTier()], refresh_ahead=0.5, xfetch=1.0).close()
    TieredCache("with_memory", [MemoryTier(10), RedisTier()], **{option: 0.5}).close()
    TieredCache("not_asked_for", [RedisTier()], **{option: 0.0 if option == "stale_while_revalidate" else None}).close()
