"""MemoryTier beyond the contract of tiers: bounds, generations, tags, what it does not hold on to."""

import threading
import time
import weakref

import pytest

from hotset.errors import TierError
from hotset.policies import POLICIES
from hotset.testing.driver import RecordingListener, entry
from hotset.tiers import MemoryTier, Tier


@pytest.fixture(params=POLICIES)
def tier(request):
    return MemoryTier(1000, policy=request.param)


def look(tier, name):
    (found,) = tier.read([name]).found
    return found.entry


class TestMade:
    def test_it_is_a_tier(self, tier):
        assert isinstance(tier, Tier)
        assert (tier.name, tier.shared) == ("memory", False)
        assert not hasattr(tier, "streams")

    @pytest.mark.parametrize("ttl", [0, -1, "soon", True, [], float("nan")])
    def test_a_bad_ttl(self, ttl):
        with pytest.raises((TypeError, ValueError)) as raised:
            MemoryTier(10, ttl=ttl)
        assert "ttl" in str(raised.value)
        assert repr(ttl) in str(raised.value)

    def test_a_bad_policy(self):
        with pytest.raises((TypeError, ValueError), match="best"):
            MemoryTier(10, policy="best")

    @pytest.mark.parametrize("maxsize", [-1, "10", None])
    def test_a_bad_maxsize(self, maxsize):
        with pytest.raises((TypeError, ValueError)):
            MemoryTier(maxsize)

    def test_one_owner(self, tier):
        one, other = RecordingListener(), RecordingListener()
        tier.open("one", one)
        tier.open("one", one)
        with pytest.raises(TierError, match="'other'"):
            tier.open("other", other)

    def test_its_repr(self):
        tier = MemoryTier(10, policy="lru", name="L1")
        tier.write([("a", entry())])
        assert repr(tier) == "<MemoryTier 'L1' lru 1/10>"


class TestBounded:
    def test_by_count(self, tier):
        for number in range(3000):
            tier.write([(f"{number}", entry(number))])
        assert len(tier.store) <= 1000
        assert sum(look(tier, f"{number}") is not None for number in range(3000)) == len(tier.store)

    @pytest.mark.parametrize("policy", POLICIES)
    def test_by_weight(self, policy):
        tier = MemoryTier(100, policy=policy, getsizeof=len)
        tier.write([("a", entry("x" * 60)), ("b", entry("x" * 30))])
        assert (look(tier, "a").value, look(tier, "b").value) == ("x" * 60, "x" * 30)
        tier.write([("c", entry("x" * 50))])
        assert sum(len(found.entry.value) for found in tier.read(list("abc")).found if found.entry) <= 100

    def test_what_is_larger_than_all_is_not_kept_and_what_was_there_goes(self):
        tier = MemoryTier(100, getsizeof=len)
        tier.write([("a", entry("old", tags=("red",)))])
        tier.write([("a", entry("x" * 101, tags=("red",)))])
        assert look(tier, "a") is None
        tier.write([("a", entry("new"))])
        tier.invalidate(["red"])
        assert look(tier, "a").value == "new"

    def test_where_a_size_cannot_be_had_what_was_there_goes(self):
        tier = MemoryTier(100, getsizeof=len)
        tier.write([("a", entry("old", tags=("red",)))])
        with pytest.raises(TypeError):
            tier.write([("a", entry(7, tags=("red",)))])
        assert look(tier, "a") is None
        tier.write([("a", entry("new"))])
        tier.invalidate(["red"])
        assert look(tier, "a").value == "new"

    def test_room_for_nothing(self):
        tier = MemoryTier(0)
        tier.write([("a", entry())])
        assert look(tier, "a") is None

    def test_tags_of_what_was_evicted_are_forgotten(self, tier):
        for number in range(5000):
            tier.write([(f"{number}", entry(number, tags=(f"tag {number}", "all")))])
        assert len(tier._tagged) <= 1001
        assert len(tier._tagged["all"]) <= 1000
        tier.invalidate(["all"])
        assert len(tier.store) == 0
        assert tier._tagged == {}

    def test_tags_of_what_has_expired_are_forgotten(self, tier):
        for number in range(500):
            tier.write([(f"{number}", entry(number, tags=(f"tag {number}",), life=0.01, keep=0.01))])
        time.sleep(0.05)
        for number in range(1200):
            tier.write([(f"new {number}", entry(number))])
            look(tier, f"{number}")
        assert tier._tagged == {}

    def test_tags_of_what_was_overwritten_or_removed_are_forgotten(self, tier):
        tier.write([("a", entry(tags=("one", "two"))), ("b", entry(tags=("two",)))])
        tier.write([("a", entry(tags=("three",)))])
        tier.remove(["b"])
        assert tier._tagged == {"three": {"a"}}
        tier.write([("a", entry())])
        assert tier._tagged == {}

    def test_invalidated_tags_are_not_remembered_for_ever(self, tier):
        for number in range(15_000):
            tier.invalidate([f"user {number}"])
        assert len(tier._epochs) <= 11_000

    def test_no_fence_outlives_what_is_forgotten_of_tags(self, tier):
        fence = tier.fence("a")
        tier.invalidate(["red"])
        for number in range(15_000):
            tier.invalidate([f"user {number}"])
        assert tier.put("a", entry(tags=("red",)), time.monotonic(), fence) is None

    def test_values_are_let_go_of(self, tier, collect):
        class Value:
            pass

        def put(name):
            value = Value()
            tier.write([(name, entry(value, tags=("red",)))])
            return weakref.ref(value)

        for end in (
            lambda: tier.remove(["a"]),
            lambda: tier.invalidate(["red"]),
            lambda: tier.invalidate(["*"]),
            lambda: tier.write([("a", entry())]),
            tier.close,
        ):
            value = put("a")
            assert value() is not None
            end()
            collect()
            assert value() is None


class TestFenced:
    """Fills that began before a change are refused."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda tier: tier.write([("a", entry("new"))]),
            lambda tier: tier.remove(["a"]),
            lambda tier: tier.remove(["a"], expire=True),
            lambda tier: tier.invalidate(["red"]),
            lambda tier: tier.invalidate(["*"]),
        ],
        ids=["write", "remove", "expire", "tag", "clear"],
    )
    def test_a_change_breaks_the_fence(self, tier, change):
        fence = tier.fence("a")
        change(tier)
        assert tier.put("a", entry("old", tags=("red",)), time.monotonic(), fence) is None
        assert look(tier, "a") is None or look(tier, "a").value == "new"

    @pytest.mark.parametrize(
        "change",
        [
            lambda tier: tier.invalidate(["blue"]),
            lambda tier: tier.touch("a", 5, 5),
            lambda tier: tier.read(["a"]),
            lambda tier: tier.doubt(),
        ],
        ids=["another tag", "touch", "read", "doubt"],
    )
    def test_all_else_does_not(self, tier, change):
        fence = tier.fence("a")
        change(tier)
        assert tier.put("a", entry("loaded", tags=("red",)), time.monotonic(), fence) is not None
        assert look(tier, "a").value == "loaded"

    def test_names_stored_at_once_are_not_in_each_others_way(self, tier):
        """There are fewer generations than names."""
        fences = {f"{number}": tier.fence(f"{number}") for number in range(900)}
        items = [(name, entry(name), fence) for name, fence in fences.items()]
        assert None not in tier.put_many(items, time.monotonic(), own=True)
        # By now, all these fences are broken.
        assert tier.put_many(items, time.monotonic(), own=True) == [None] * 900
        assert len(tier.store) == 0

    def test_what_was_given_to_others_and_is_refused_here_takes_the_older_one_with_it(self, tier):
        tier.write([("a", entry("old"))])
        fence = tier.fence("a")
        tier.write([("a", entry("older than what others have by now"))])
        assert tier.put("a", entry("new"), time.monotonic(), fence, own=True) is None
        assert look(tier, "a") is None

    def test_a_change_in_the_middle_of_anything(self, tier):
        """Fills and removals of one name by threads: once it is removed, what was begun before does not come back."""
        stop = threading.Event()
        wrong = []

        def fill():
            while not stop.is_set():
                fence = tier.fence("a")
                begun = versions[0]
                tier.put("a", entry(begun), time.monotonic(), fence)

        def remove():
            while not stop.is_set():
                versions[0] += 1
                tier.remove(["a"])
                seen = look(tier, "a")
                if seen is not None and seen.value < versions[0]:
                    wrong.append((seen.value, versions[0]))

        versions = [0]
        threads = [threading.Thread(target=work) for work in (fill, fill, remove)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join(10)
        assert not wrong
        assert versions[0] > 10


class TestTimes:
    def test_the_entry_that_was_given_is_left_alone(self):
        tier = MemoryTier(10, ttl=5)
        given = entry(life=60, keep=120)
        tier.write([("a", given)])
        tier.fill([("b", given, tier.fence("b"))])
        assert (given.life, given.keep) == (60, 120)
        assert look(tier, "a").life <= 5

    def test_expired_is_kept_until_it_is_dropped(self, tier):
        tier.write([("a", entry("A", life=0.05, keep=0.3))])
        assert 0 < look(tier, "a").life <= 0.05
        time.sleep(0.1)
        kept = look(tier, "a")
        assert kept.value == "A"
        assert kept.life < 0 < kept.keep < 0.25
        time.sleep(0.25)
        assert look(tier, "a") is None

    def test_doubt_keeps_all(self, tier):
        tier.write([(f"{number}", entry(number)) for number in range(100)])
        tier.doubt()
        assert [look(tier, f"{number}").value for number in range(100)] == list(range(100))
        assert all(record.until < time.monotonic() for _, record in tier.store.coldest())

    def test_a_life_that_was_changed_is_not_served_unseen(self, tier):
        """Whoever serves a record by its moment alone must look once more after its times were changed."""
        tier.write([("a", entry(life=60, keep=60))])
        tier.touch("a", 3600, 3600)
        assert tier.store.peek("a").until <= time.monotonic()
        tier.write([("b", entry(life=60, keep=120))])
        tier.remove(["b"], expire=True)
        assert tier.store.peek("b").until <= time.monotonic()
        assert look(tier, "b").life <= 0
