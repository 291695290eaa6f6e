"""The promises of the Tier protocol as tests: subclass TierContract to run them on a tier of your own.

::

    class TestMyTier(TierContract):
        def make_tier(self):
            return MyTier(self.storage)

        def make_peer(self):  # only if other processes share the storage
            return MyTier(self.storage)

Each test runs twice, by the plain methods and by those for asyncio. It gets a new tier, opened under a namespace of its
own, so a storage that is not empty does no harm. The promises are those of `hotset.tiers.contract`; a tier of this
process alone (`shared` is False) is held to fewer of them: its fences need not tell two fills apart, and may break
without need. Of the promises of `HoldingTier` there are tests in `hold_contract`, for a tier whose `holds` is true.

Lives in the tests are tens of milliseconds of real time, and what must happen is waited for up to `patience` seconds,
so a slow machine makes the tests slow and not wrong.
"""

# ruff: noqa: S101 - a suite of tests states what it expects by assert
# ruff: noqa: S311 - random schedules are seeded on purpose

from __future__ import annotations

import asyncio
import copy
import itertools
import math
import os
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest

from hotset.errors import TierError
from hotset.testing.driver import LONG, NAMES, Driver, RecordingListener, opened, run_threads, same_face
from hotset.testing.hold_contract import HoldContract
from hotset.testing.schedule import Schedule
from hotset.tiers.contract import CLEAR, Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hotset.tiers.contract import Entry

__all__ = ["TierContract"]

SHORT: Final = 0.05  # seconds; what is waited out
SLACK: Final = 0.05  # seconds by which a tier's clock may be coarse


class TierContract(HoldContract):
    """The contract suite. A subclass makes the tier; hooks say what is particular about it."""

    # Seconds until the suite gives up waiting for what must happen.
    patience: ClassVar[float] = 10.0
    # Tests that the tier is known to fail, by name ("test_remove", or "test_remove[async]" for one face), and why: they
    # are expected to fail then.
    fails_on: ClassVar[Mapping[str, str]] = {}
    # How many names a bulk operation is tried with.
    many: ClassVar[int] = 1000

    # For the maker of a tier

    def make_tier(self) -> Tier:
        """Return a new tier that is not open yet. Storage that several of them share is the subclass's to prepare."""
        raise NotImplementedError(f"{type(self).__name__} must say how its tier is made: def make_tier(self)")

    def make_peer(self) -> Tier | None:
        """Return a second tier on the same storage, as another process would have; None if there is no such thing."""
        return None

    def sleep(self, seconds: float) -> None:
        """Let time pass for the tier."""
        time.sleep(seconds)

    # The fixtures of the suite

    @pytest.fixture(autouse=True)
    def expect_known_failures(self, request: pytest.FixtureRequest) -> None:
        """Mark what `fails_on` names."""
        reason = self.fails_on.get(request.node.name, self.fails_on.get(request.function.__name__))
        if reason is not None:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture(params=["sync", "async"])
    def runner(self, request: pytest.FixtureRequest) -> Iterator[asyncio.Runner | None]:
        """What runs the methods: nothing, or an event loop."""
        if request.param == "sync":
            yield None
        else:
            with asyncio.Runner() as runner:
                yield runner

    @pytest.fixture
    def namespace(self) -> str:
        """A namespace that no other test has used."""
        return f"contract-{os.urandom(6).hex()}"

    @pytest.fixture
    def tier(self, runner: asyncio.Runner | None, namespace: str) -> Iterator[Driver]:
        """An open tier."""
        with opened(self.make_tier(), namespace, runner) as driver:
            yield driver

    @pytest.fixture
    def peer(self, tier: Driver, runner: asyncio.Runner | None, namespace: str) -> Iterator[Driver]:
        """The same storage by another tier; by the same one if it is not shared."""
        made = self.make_peer() if tier.shared else None
        if made is None:
            yield tier
        else:
            with opened(made, namespace, runner) as driver:
                yield driver

    @pytest.fixture
    def stranger(self, tier: Driver, peer: Driver) -> Driver:
        """The peer, for tests that make no sense without one."""
        if peer is tier:
            pytest.skip("no other process shares it: make_peer() gives None")
        return peer

    def eventually(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until a condition holds, or fail."""
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, f"not within {self.patience} s: {what}"
            self.sleep(0.01)

    # Form

    def test_it_is_a_tier(self, tier: Driver) -> None:
        """It has all methods of the protocol, and says what it is."""
        assert isinstance(tier.tier, Tier)
        assert isinstance(tier.tier.name, str)
        assert tier.tier.name
        assert isinstance(tier.tier.shared, bool)

    def test_it_belongs_to_one_cache(self, tier: Driver) -> None:
        """Another cache cannot open it."""
        with pytest.raises(TierError):
            tier.tier.open("another", RecordingListener())

    def test_it_can_be_closed_twice(self, tier: Driver) -> None:
        """The second close does nothing, by either face."""
        tier.close()
        tier.close()
        tier.tier.close()

    def test_it_can_be_closed_unused(self, namespace: str) -> None:
        """Before and right after it is opened."""
        self.make_tier().close()
        unused = self.make_tier()
        unused.open(namespace, RecordingListener())
        unused.close()

    # Reading

    def test_a_missing_name(self, tier: Driver) -> None:
        """Nothing is found; and nothing comes to be by looking."""
        for _ in range(2):
            reading = tier.read(["missing"])
            assert [found.entry for found in reading.found] == [None]
            assert not reading.refused

    def test_a_missing_name_of_a_shared_tier_has_no_fence(self, tier: Driver) -> None:
        """A read costs no lease."""
        self._only_if_shared(tier)
        assert tier.read(["missing"]).found[0].fence is None

    @pytest.mark.parametrize("face", ["write", "fill"])
    def test_an_entry_comes_back_as_it_was(self, tier: Driver, peer: Driver, face: str) -> None:
        """Value, version, absence, tags, epoch and writer are the same; times are less by what has passed."""
        epoch = tier.epoch()
        given = {
            "plain": tier.entry("text"),
            "all": tier.entry(
                {"n": 1, "list": [1.5, None, "é"], "bytes": b"\x00\xff"},
                life=100.0,
                keep=200.0,
                age=3.0,
                cost=0.25,
                tags=("red", "green"),
                epoch=epoch,
                writer="host:1",
            ),
            "none": tier.entry(None),
            "absent": tier.entry(None, absent=True),
            "forever": tier.entry("text", life=math.inf, keep=math.inf),
            "kept forever": tier.entry("text", life=100.0, keep=math.inf),
            "empty": tier.entry(""),
            "big": tier.entry("x" * 200_000),
        }
        before = time.monotonic()
        copies = copy.deepcopy(given)
        if face == "write":
            tier.write(list(given.items()))
        else:
            leased = tier.lease(list(given)).found
            assert all(tier.fill([(name, given[name], found.fence) for name, found in zip(given, leased, strict=True)]))
        assert given == copies, "the entries belong to the caller"
        for reader in (tier, peer):
            found = reader.read(list(given)).found
            passed = time.monotonic() - before
            for (name, wanted), seen in zip(copies.items(), (each.entry for each in found), strict=True):
                assert seen is not None, name
                assert _facts(seen) == _facts(wanted), name
                assert seen.cost == pytest.approx(wanted.cost, abs=0.002), name
                assert wanted.age - SLACK <= seen.age <= wanted.age + passed + SLACK, name
                _assert_less_by(seen.life, wanted.life, passed, name)
                _assert_less_by(seen.keep, wanted.keep, passed, name)

    def test_names_come_in_the_order_asked_for(self, tier: Driver) -> None:
        """Found and missing ones, and those that are asked for twice."""
        tier.write([("a", tier.entry("A")), ("b", tier.entry("B"))])
        for verb in (tier.read, tier.lease):
            found = verb(["b", "none", "a", "b", "none", "a"]).found
            assert [each.entry and each.entry.value for each in found] == ["B", None, "A", "B", None, "A"]

    def test_no_names_at_all(self, tier: Driver) -> None:
        """Every operation takes an empty list, and does nothing."""
        tier.write([("a", tier.entry("A"))])
        assert tier.read([]).found == []
        assert tier.lease([]).found == []
        assert tier.fill([]) == []
        tier.write([])
        tier.remove([])
        tier.remove([], expire=True)
        assert tier.serves("a") == "A"

    def test_many_names(self, tier: Driver) -> None:
        """A thousand at once, by every operation."""
        names = [f"name {number}" for number in range(self.many)]
        leased = tier.lease(names).found
        assert len(leased) == len(names)
        stored = tier.fill([(name, tier.entry(name), found.fence) for name, found in zip(names, leased, strict=True)])
        # The fences of a tier that is not shared may break without need.
        assert sum(stored) == len(names) or (not tier.shared and sum(stored) > 0.5 * len(names))
        tier.write([(name, tier.entry(name.upper())) for name in names])
        assert tier.values(names) == [name.upper() for name in names]
        tier.remove(names)
        assert tier.values(names) == [None] * len(names)

    def test_odd_names(self, tier: Driver, peer: Driver) -> None:
        """Any text is a name, and each is another one."""
        tier.write([(name, tier.entry(f"value of {name}")) for name in NAMES])
        for reader in (tier, peer):
            assert reader.values(NAMES) == [f"value of {name}" for name in NAMES]
        for position, name in enumerate(NAMES):
            tier.remove([name])
            assert tier.look(name) is None
            assert peer.values(NAMES).count(None) == position + 1

    def test_odd_names_are_leased_filled_and_touched(self, tier: Driver) -> None:
        """As by the operations that look at what is there."""
        for name in NAMES:
            found, _ = tier.begin(name)
            assert tier.end(name, tier.entry(name), found.fence), name
            assert tier.touch(name, 50.0, 60.0), name
            seen = tier.look(name)
            assert seen is not None
            assert seen.value == name
            assert 0 < seen.life <= 50.0

    def test_namespaces_are_apart(self, runner: asyncio.Runner | None, tier: Driver, namespace: str) -> None:
        """What is done in one is not seen in another one, `clear` included."""
        other_tier = (self.make_peer() if tier.shared else None) or self.make_tier()
        with opened(other_tier, namespace + "-other", runner) as other:
            tier.write([("a", tier.entry("A", tags=("t",), epoch=tier.epoch()))])
            assert other.look("a") is None
            other.write([("a", tier.entry("other")), ("b", tier.entry("other"))])
            other.remove(["a"])
            other.invalidate(["t"])
            other.invalidate([CLEAR])
            assert tier.serves("a") == "A"
            assert tier.look("b") is None

    # Times

    def test_an_entry_whose_life_is_over_is_kept(self, tier: Driver, peer: Driver) -> None:
        """It is found, with no life left, for as long as it is kept."""
        written = tier.entry("old", life=SHORT, keep=LONG)
        tier.write([("a", written)])
        self.sleep(2 * SHORT)
        for reader in (tier, peer):
            seen = reader.look("a")
            assert seen is not None
            assert seen.life <= 0 < seen.keep
            assert (seen.value, seen.version) == ("old", written.version)

    def test_an_entry_can_be_stored_without_life(self, tier: Driver) -> None:
        """What is expired when it comes is kept for fail-safe."""
        tier.write([("a", tier.entry("old", life=-5.0, keep=LONG))])
        seen = tier.look("a")
        assert seen is not None
        assert seen.life <= 0 < seen.keep

    def test_an_entry_that_is_kept_no_longer_is_gone(self, tier: Driver, peer: Driver) -> None:
        """By itself, at its time."""
        tier.write([("a", tier.entry(life=SHORT, keep=SHORT)), ("b", tier.entry("B"))])
        self.eventually(lambda: tier.look("a") is None, "the entry is gone")
        assert peer.look("a") is None
        assert peer.serves("b") == "B"

    def test_a_name_that_went_by_itself_can_be_filled(self, tier: Driver) -> None:
        """It is like any missing name."""
        tier.write([("a", tier.entry(life=SHORT, keep=SHORT))])
        self.eventually(lambda: tier.look("a") is None, "the entry is gone")
        found, _ = tier.begin("a")
        assert tier.end("a", tier.entry("new"), found.fence)
        assert tier.serves("a") == "new"

    def test_a_new_entry_has_its_own_times(self, tier: Driver) -> None:
        """The times of what was there before are forgotten."""
        tier.write([("a", tier.entry("old", life=SHORT, keep=SHORT))])
        tier.write([("a", tier.entry("new", life=math.inf, keep=math.inf))])
        self.sleep(3 * SHORT)
        seen = tier.look("a")
        assert seen is not None
        assert (seen.value, seen.life, seen.keep) == ("new", math.inf, math.inf)

    def test_touch_gives_new_times(self, tier: Driver, peer: Driver) -> None:
        """Longer, shorter, or after the end of its life; value and version stay."""
        written = tier.entry("A", life=LONG, keep=LONG, tags=("t",), writer="me")
        tier.write([("a", written)])
        for life, keep in [(5.0, 50.0), (500.0, 5000.0), (math.inf, math.inf), (-1.0, 70.0), (60.0, 70.0)]:
            assert tier.touch("a", life, keep)
            seen = peer.look("a")
            assert seen is not None
            assert _facts(seen) == _facts(written)
            _assert_less_by(seen.keep, keep, 5.0)
            if life > 0:
                _assert_less_by(seen.life, life, 5.0)
            else:
                assert seen.life <= 0
        assert tier.touch("a", SHORT, SHORT)
        self.eventually(lambda: tier.look("a") is None, "the entry is gone")

    def test_nothing_lives_longer_than_a_cache_says(self, tier: Driver, peer: Driver) -> None:
        """By `longest`, which a cache lowers to that of the levels beneath; however it came."""
        if not hasattr(tier.tier, "longest"):
            pytest.skip("it has no `longest`")
        tier.tier.longest = 20.0
        ends = {"life": math.inf, "keep": math.inf}
        found, _ = tier.begin("filled")
        assert tier.end("filled", tier.entry("F", **ends), found.fence)
        tier.write([("written", tier.entry("W", **ends)), ("short", tier.entry("S", life=2.0, keep=30.0))])
        tier.write([("touched", tier.entry("T", life=LONG, keep=LONG))])
        assert tier.touch("touched", math.inf, math.inf)
        if getattr(tier.tier, "holds", False):
            hold = tier.hold(["settled"])
            assert tier.settle([("settled", tier.entry("H", **ends))], hold) == [True]
        else:
            tier.write([("settled", tier.entry("H", **ends))])
        for name in ("filled", "written", "touched", "settled"):
            seen = tier.look(name)
            assert seen is not None
            _assert_less_by(seen.life, 20.0, 5.0)
            assert seen.life <= 20.0
        seen = peer.look("short")
        assert seen is not None
        assert seen.life <= 2.0

    def test_touch_of_a_missing_name(self, tier: Driver) -> None:
        """It says so, and makes nothing."""
        assert not tier.touch("a", LONG, LONG)
        assert tier.look("a") is None

    # Changes

    def test_the_last_write_stays(self, tier: Driver, peer: Driver) -> None:
        """By whichever tier."""
        tier.write([("a", tier.entry(1))])
        peer.write([("a", tier.entry(2))])
        assert tier.serves("a") == peer.serves("a") == 2
        tier.write([("a", tier.entry(3))])
        assert tier.serves("a") == peer.serves("a") == 3

    def test_remove(self, tier: Driver, peer: Driver) -> None:
        """What is removed is gone, for all; what is not there does not matter."""
        tier.write([("a", tier.entry("A")), ("b", tier.entry("B"))])
        peer.remove(["a", "missing", "a"])
        assert tier.look("a") is None
        assert peer.look("a") is None
        assert tier.serves("b") == "B"

    def test_expire(self, tier: Driver, peer: Driver) -> None:
        """The life ends; the entry is kept as it was to be."""
        written = tier.entry("A", tags=("t",))
        tier.write([("a", written), ("b", tier.entry("B"))])
        peer.remove(["a", "missing", "a"], expire=True)
        for reader in (tier, peer):
            seen = reader.look("a")
            assert seen is not None
            # It may have another version now.
            assert _facts(seen)[1:] == _facts(written)[1:]
            assert seen.life <= 0
            assert seen.keep > LONG / 2
            assert reader.look("missing") is None
            assert reader.serves("b") == "B"

    def test_expire_does_not_prolong(self, tier: Driver) -> None:
        """What was to be dropped soon still is."""
        tier.write([("a", tier.entry(life=SHORT, keep=SHORT))])
        tier.remove(["a"], expire=True)
        self.eventually(lambda: tier.look("a") is None, "the entry is gone")

    # Fences

    def test_a_leased_name_can_be_filled_once(self, tier: Driver, peer: Driver) -> None:
        """The fence is good for one fill."""
        fence = tier.lease(["a"]).found[0].fence
        assert fence is not None
        assert tier.end("a", tier.entry("first"), fence)
        assert peer.serves("a") == "first"
        if tier.shared:
            assert not tier.end("a", tier.entry("second"), fence)
            assert peer.serves("a") == "first"

    def test_a_lease_finds_what_came_meanwhile(self, tier: Driver, peer: Driver) -> None:
        """The entry itself, and a fence that is good for its refresh."""
        tier.read(["a", "b"])
        peer.write([("a", tier.entry("came"))])
        found = tier.lease(["a", "b"]).found
        assert found[0].entry is not None
        assert found[0].entry.value == "came"
        assert found[1].entry is None
        assert found[1].fence is not None

    def test_no_fence_no_fill(self, tier: Driver) -> None:
        """Neither for a missing name nor for one that is there."""
        assert not tier.end("a", tier.entry("loaded"), None)
        assert tier.look("a") is None
        tier.write([("a", tier.entry("there"))])
        assert not tier.end("a", tier.entry("loaded"), None)
        assert tier.serves("a") == "there"

    @pytest.mark.parametrize("life", [LONG, -1.0], ids=["live", "expired"])
    def test_an_entry_is_refreshed_by_the_fence_of_its_reading(self, tier: Driver, peer: Driver, life: float) -> None:
        """If it is unchanged, once."""
        tier.write([("a", tier.entry("old", life=life))])
        fence = tier.read(["a"]).found[0].fence
        assert fence is not None
        assert peer.read(["a"]).found[0].fence is not None
        assert tier.end("a", tier.entry("new"), fence)
        assert peer.serves("a") == "new"
        if tier.shared:
            assert not tier.end("a", tier.entry("newer"), fence)
            assert peer.serves("a") == "new"

    def test_of_two_leases_one_fills(self, tier: Driver, peer: Driver) -> None:
        """Whether they share a fence or one is refused, by the first to come or by the second."""
        self._only_if_shared(tier)
        for first, second in [(0, 1), (1, 0)]:
            name = f"name {first}"
            fences = [tier.lease([name]).found[0].fence, peer.lease([name]).found[0].fence]
            assert fences != [None, None]
            stored = [(tier, peer)[actor].end(name, tier.entry(actor), fences[actor]) for actor in (first, second)]
            assert sum(stored) == 1
            assert tier.serves(name) == (first if stored[0] else second)

    def test_a_lease_tells_whether_it_is_the_first(self, tier: Driver, peer: Driver) -> None:
        """Whoever comes later learns that somebody may be loading, until the name changes."""
        self._only_if_shared(tier)
        assert not tier.lease(["a"]).found[0].taken
        again, other = peer.lease(["a", "b"]).found
        assert again.taken
        assert not other.taken
        peer.remove(["a"])
        assert not tier.lease(["a"]).found[0].taken

    def test_of_two_fills_in_one_call_one_is_stored(self, tier: Driver) -> None:
        """A fill breaks the fences of its name at once."""
        self._only_if_shared(tier)
        fence = tier.lease(["a"]).found[0].fence
        stored = tier.fill([("a", tier.entry(0), fence), ("a", tier.entry(1), fence)])
        assert sorted(stored) == [False, True]
        assert tier.serves("a") == stored.index(True)

    def test_a_batch_of_fills_is_judged_name_by_name(self, tier: Driver, peer: Driver) -> None:
        """A broken fence among them does not keep the others out."""
        names = ["a", "b", "c"]
        fences = [found.fence for found in tier.lease(names).found]
        peer.write([("b", tier.entry("written"))])
        assert tier.fill([(name, tier.entry("loaded"), fence) for name, fence in zip(names, fences, strict=True)]) == [
            True,
            False,
            True,
        ]
        assert [tier.serves(name) for name in names] == ["loaded", "written", "loaded"]

    @pytest.mark.parametrize("start", ["missing", "live", "expired"])
    @pytest.mark.parametrize(
        "script",
        [
            "write",
            "remove",
            "expire",
            "load",
            "invalidate",
            "clear",
            "touch",
            "write remove",
            "remove write",
            "remove load",
            "load remove",
            "expire load",
        ],
    )
    def test_a_load_and_other_changes_in_any_order(self, tier: Driver, peer: Driver, start: str, script: str) -> None:
        """A load is never stored over what came after its beginning: all ways to interleave it with another actor."""
        theirs = [step for word in script.split() for step in (["begin", "end"] if word == "load" else [word])]
        for number, places in enumerate(itertools.combinations(range(len(theirs) + 2), 2)):
            mine, others = iter(["begin", "end"]), iter(theirs)
            steps = [
                ("mine", next(mine)) if position in places else ("other", next(others))
                for position in range(len(theirs) + 2)
            ]
            schedule = Schedule(tier, {"mine": tier, "other": peer}, f"name {number}")
            schedule.prepare(start)
            for actor, step in steps:
                schedule.do(actor, step)

    @pytest.mark.parametrize("seed", range(5))
    def test_any_schedule(self, tier: Driver, peer: Driver, seed: int) -> None:
        """Three actors do anything in random order; after every step all see what they must."""
        rng = random.Random(seed)
        steps = ["begin", "begin", "end", "end", "end", "write", "remove", "expire", "touch", "invalidate", "clear"]
        weights = [6, 6, 6, 6, 6, 3, 3, 2, 2, 1, 1]
        actors = {"one": tier, "two": peer, "three": tier}
        schedule = Schedule(tier, actors, f"name {seed}")
        for _ in range(150):
            schedule.do(rng.choice(list(actors)), rng.choices(steps, weights)[0])

    # Tags and epochs

    def test_the_epoch_grows_with_every_invalidation(self, tier: Driver, peer: Driver) -> None:
        """And every reading tells it."""
        before = tier.epoch()
        assert peer.epoch() == before
        first = tier.invalidate(["t"])
        second = peer.invalidate(["t", "u"])
        third = tier.invalidate([CLEAR])
        assert before < first < second < third
        assert tier.epoch() == peer.epoch() == third
        assert tier.lease(["a"]).epoch == third

    def test_an_invalidated_tag_ends_older_entries_that_have_it(self, tier: Driver, peer: Driver) -> None:
        """And neither newer ones nor others."""
        epoch = tier.epoch()
        items = {"red": ("red",), "both": ("red", "green"), "green": ("green",), "none": ()}
        tier.write([(name, tier.entry(name, tags=tags, epoch=epoch)) for name, tags in items.items()])
        assert [tier.serves(name) for name in items] == list(items)
        now = tier.invalidate(["red"])
        for reader in (tier, peer):
            assert [reader.serves(name) for name in items] == [None, None, "green", "none"]
        tier.write([("red", tier.entry("new", tags=("red",), epoch=now))])
        for reader in (tier, peer):
            assert reader.serves("red") == "new"
            assert reader.serves("both") is None

    def test_several_tags_at_once(self, tier: Driver, peer: Driver) -> None:
        """Tags that nobody has do not matter."""
        epoch = tier.epoch()
        tier.write([(tag, tier.entry(tag, tags=(tag,), epoch=epoch)) for tag in ("red", "green", "blue")])
        tier.invalidate(["red", "nobody's", "blue"])
        assert [peer.serves(tag) for tag in ("red", "green", "blue")] == [None, "green", None]

    def test_clear_ends_all_older_entries(self, tier: Driver, peer: Driver) -> None:
        """With tags and without."""
        epoch = tier.epoch()
        tier.write([("tagged", tier.entry("A", tags=("t",), epoch=epoch)), ("plain", tier.entry("B", epoch=epoch))])
        now = peer.invalidate([CLEAR])
        for reader in (tier, peer):
            assert [reader.serves(name) for name in ("tagged", "plain")] == [None, None]
        tier.write([("plain", tier.entry("new", epoch=now))])
        assert peer.serves("plain") == "new"

    def test_a_dead_entry_does_not_come_to_life_again(self, tier: Driver, peer: Driver) -> None:
        """Neither by touch nor by a later invalidation of something else."""
        tier.write([("a", tier.entry("A", tags=("t",), epoch=tier.epoch()))])
        tier.invalidate(["t"])
        peer.touch("a", LONG, LONG)
        assert tier.serves("a") is None
        tier.invalidate(["other"])
        assert tier.serves("a") is None

    def test_a_dead_entry_can_be_replaced(self, tier: Driver, peer: Driver) -> None:
        """By a load that begins after its death."""
        for tag in ("t", CLEAR):
            tier.write([(tag, tier.entry("old", tags=("t",), epoch=tier.epoch()))])
            tier.invalidate([tag])
            found, epoch = tier.begin(tag)
            assert tier.end(tag, tier.entry("new", tags=("t",), epoch=epoch), found.fence)
            assert peer.serves(tag) == "new"

    def test_what_began_before_an_invalidation_is_dead_on_arrival(self, tier: Driver, peer: Driver) -> None:
        """A load as well as a write that carries the older epoch."""
        for tag in ("t", CLEAR):
            found, epoch = tier.begin(tag)
            peer.invalidate([tag])
            tier.end(tag, tier.entry("late", tags=("t",), epoch=epoch), found.fence)
            assert tier.serves(tag) is None
            assert peer.serves(tag) is None
            if tier.shared:
                tier.write([(tag, tier.entry("late", tags=("t",), epoch=epoch))])
                assert tier.serves(tag) is None
                assert peer.serves(tag) is None

    def test_an_untouched_tag_does_not_hinder_a_load(self, tier: Driver, peer: Driver) -> None:
        """The invalidation of another tag in the middle of it does not matter to a shared tier."""
        self._only_if_shared(tier)
        found, epoch = tier.begin("a")
        peer.invalidate(["other"])
        assert tier.end("a", tier.entry("loaded", tags=("t",), epoch=epoch), found.fence)
        assert peer.serves("a") == "loaded"

    def test_odd_tags(self, tier: Driver, peer: Driver) -> None:
        """Any text is a tag, and each is another one."""
        tags = [name for name in NAMES if name != CLEAR]
        tier.write([(f"of {tag}", tier.entry(tag, tags=("common", tag), epoch=tier.epoch())) for tag in tags])
        for position, tag in enumerate(tags):
            tier.invalidate([tag])
            assert peer.serves(f"of {tag}") is None
            assert [other for other in tags if peer.serves(f"of {other}") is None] == tags[: position + 1]

    def test_an_entry_with_many_tags(self, tier: Driver, peer: Driver) -> None:
        """Any of them ends it."""
        tags = tuple(f"tag {number}" for number in range(50))
        tier.write([("a", tier.entry("A", tags=tags, epoch=tier.epoch()))])
        seen = peer.look("a")
        assert seen is not None
        assert tuple(seen.tags) == tags
        tier.invalidate([tags[-1]])
        assert peer.serves("a") is None

    # At once

    def test_several_threads_at_once(self, tier: Driver, peer: Driver) -> None:
        """Each sees its own names right, and of all that fill one name one succeeds."""
        wins: list[str] = []
        rounds, count = 20, 6
        tier.epoch()  # known from here on
        barrier = threading.Barrier(count, timeout=self.patience)

        def work(number: int) -> None:
            # A thread has an event loop of its own.
            with same_face(tier) as runner:
                mine = [Driver(each.tier, each.listener, runner) for each in (tier, peer)][number % 2]
                for turn in range(rounds):
                    names = [f"thread {number} {turn} {item}" for item in range(5)]
                    mine.write([(name, tier.entry(name)) for name in names])
                    assert mine.values(names) == names
                    barrier.wait()
                    found, _ = mine.begin(f"turn {turn}")
                    if found.entry is None and mine.end(f"turn {turn}", tier.entry(number), found.fence):
                        wins.append(f"turn {turn}")

        run_threads(work, count, self.patience)
        if tier.shared:
            assert Counter(wins) == {f"turn {turn}": 1 for turn in range(rounds)}
        else:
            assert set(wins) == {f"turn {turn}" for turn in range(rounds)}

    def test_many_tasks_at_once(self, tier: Driver) -> None:
        """Concurrent calls of one event loop do not get each other's answers."""
        if tier.runner is None:
            pytest.skip("tasks are asyncio's")
        tier.epoch()  # known from here on

        async def work(number: int) -> None:
            names = [f"task {number} {item}" for item in range(5)]
            for turn in range(5):
                await tier.tier.awrite([(name, tier.entry(f"{name} {turn}")) for name in names])
                found = (await tier.tier.aread(names)).found
                assert [each.entry and each.entry.value for each in found] == [f"{name} {turn}" for name in names]

        async def work_all() -> None:
            async with asyncio.timeout(3 * self.patience):
                await asyncio.gather(*(work(number) for number in range(50)))

        tier.runner.run(work_all())

    def test_one_event_loop_after_another(self, tier: Driver) -> None:
        """A closed loop leaves nothing behind that the next one stumbles over; plain calls go on beside them."""
        tier.tier.write([("a", tier.entry("A"))])
        for _ in range(3):
            with asyncio.Runner() as runner:
                assert Driver(tier.tier, tier.listener, runner).serves("a") == "A"
            assert tier.tier.read(["a"]).found[0].entry is not None
        assert tier.serves("a") == "A"

    # What listeners are told

    def test_a_change_by_another_process_is_told(self, tier: Driver, stranger: Driver) -> None:
        """Of a name that was read: written, filled, expired or removed."""
        tier.write([(name, tier.entry(name)) for name in ("written", "filled", "expired", "removed")])
        changes: list[tuple[str, Callable[[], object]]] = [
            ("written", lambda: stranger.write([("written", tier.entry("new"))])),
            ("filled", lambda: stranger.end("filled", tier.entry("new"), stranger.read(["filled"]).found[0].fence)),
            ("expired", lambda: stranger.remove(["expired"], expire=True)),
            ("removed", lambda: stranger.remove(["removed"])),
        ]
        self._be_told(tier)
        for name, change in changes:
            tier.read([name])
            tier.listener.names.clear()
            change()
            self.eventually(lambda name=name: name in tier.listener.names, f"the listener is told of {name!r}")  # type: ignore[misc]

    def test_changes_are_told_again_and_again(self, tier: Driver, stranger: Driver) -> None:
        """Not only the first one after a read."""
        self._be_told(tier)
        for turn in range(5):
            tier.read(["a"])
            tier.listener.names.clear()
            stranger.write([("a", tier.entry(turn))])
            self.eventually(lambda: "a" in tier.listener.names, f"the listener is told of change {turn}")
            assert tier.serves("a") == turn

    def test_an_invalidation_by_another_process_is_told(self, tier: Driver, stranger: Driver) -> None:
        """With its epoch."""
        self._be_told(tier)
        for tags in (["t"], ["u", "v"], [CLEAR]):
            epoch = stranger.invalidate(tags)
            wanted = {(tag, epoch) for tag in tags}
            self.eventually(lambda wanted=wanted: wanted <= set(tier.listener.tags), f"the listener is told of {tags}")  # type: ignore[misc]

    def test_what_this_process_has_written_is_not_told(self, tier: Driver, stranger: Driver) -> None:
        """Its cache would drop what it has just stored."""
        self._be_told(tier)
        for turn in range(5):
            for name in ("written", "filled"):
                found, _ = tier.begin(name)
                own = tier.entry(turn)
                tier.listener.written[name] = own.version
                if name == "written":
                    tier.write([(name, own)])
                else:
                    assert tier.end(name, own, found.fence)
                assert tier.serves(name) == turn
            # A change by another one, after which one's own would have been told.
            tier.read(["theirs"])
            before = tier.listener.names.count("theirs")
            stranger.write([("theirs", tier.entry(turn))])
            self.eventually(
                lambda before=before: tier.listener.names.count("theirs") > before,  # type: ignore[misc]
                "the listener is told of what another one wrote",
            )
            assert set(tier.listener.names) == {"theirs"}

    def test_what_another_process_writes_over_ones_own_is_told(self, tier: Driver, stranger: Driver) -> None:
        """Own changes are told by their version, not by their name."""
        self._be_told(tier)
        for turn in range(5):
            tier.read(["a"])
            own = tier.entry("own")
            tier.listener.written["a"] = own.version
            tier.write([("a", own)])
            tier.listener.names.clear()
            stranger.write([("a", tier.entry(turn))])
            self.eventually(lambda: "a" in tier.listener.names, "the listener is told of what another one wrote")

    @pytest.mark.usefixtures("stranger")
    def test_the_stream_of_changes_reports_that_it_is_alive(self, tier: Driver) -> None:
        """Again and again, each time up to a later moment that is not in the future."""
        self._be_told(tier)
        losses = tier.listener.losses
        for _ in range(2):
            last = max(tier.listener.moments)
            self.eventually(lambda last=last: max(tier.listener.moments) > last, "the next report")  # type: ignore[misc]
        assert max(tier.listener.moments) <= time.monotonic()
        assert tier.listener.losses == losses

    def test_what_is_told_as_alive_has_been_told(self, tier: Driver, stranger: Driver) -> None:
        """A change made before a moment is told before that moment is reported as covered."""
        self._be_told(tier)
        for turn in range(5):
            tier.read(["a"])
            tier.listener.names.clear()
            stranger.write([("a", tier.entry(turn))])
            done = time.monotonic()
            self.eventually(lambda done=done: max(tier.listener.moments) > done, "a report that covers the change")  # type: ignore[misc]
            assert "a" in tier.listener.names

    def _only_if_shared(self, tier: Driver) -> None:
        """Skip what a tier of this process alone does not promise."""
        if not tier.shared:
            pytest.skip("a promise of shared tiers")

    def _be_told(self, tier: Driver) -> None:
        """Wait until the stream of changes runs; it may begin with the first use."""
        tier.read(["whatever"])
        self.eventually(lambda: tier.listener.moments, "the stream of changes is alive")


def _facts(seen: Entry) -> tuple[Any, ...]:
    """Return what time does not change."""
    return seen.version, seen.value, seen.absent, tuple(seen.tags), seen.epoch, seen.writer


def _assert_less_by(seen: float, given: float, passed: float, what: str = "") -> None:
    """Check that a remaining time is what was given, less what has passed."""
    if given == math.inf:
        assert seen == math.inf, what
    else:
        assert given - passed - SLACK <= seen <= given + SLACK, what
