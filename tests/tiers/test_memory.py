"""MemoryTier beyond the contract of tiers: bounds, generations, tags, what it does not hold on to."""

import math
import threading
import time
import weakref

import pytest
from tiers.fuzz_wire import NOW

from hotset._engine import Record, put_records
from hotset.errors import TierError
from hotset.policies import POLICIES
from hotset.testing.driver import RecordingListener, entry
from hotset.tiers import MemoryTier, Tier
from hotset.tiers.contract import Entry, Opened
from hotset.tiers.memory import entry_of
from hotset.wire import Wire


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


def opened(entries, wire=None, now=NOW, *, before=3.0):
    """What a level below has read at once: of names, entries that were written some seconds before."""
    writer = Wire(writer="web-1:4711")
    names = list(entries)
    envelopes = [writer.encode(name, entry, now - before) for name, entry in entries.items()]
    wire = wire or Wire()
    for name, data in zip(names, envelopes, strict=True):
        wire.decode(name, data, now)  # so that the writers are known
    read = wire.decode_many(names, envelopes, now, (0, 2**64 - 1), lambda place, data: pytest.fail(f"{data} is odd"))
    assert isinstance(read, Opened)
    return read, [found.entry for found in wire.found(read)]


# What can be read and opened at once.
ENTRIES = {
    "for ever": Entry("A", b"a" * 12),
    "with an end": Entry(["B"], b"b" * 12, 30.0, 30.0, epoch=7),
    "kept longer": Entry("C", b"c" * 12, 40.0, 90.0, age=100.0, cost=0.25, epoch=2**64 - 1),
    "kept for ever": Entry("D", b"d" * 12, 50.0, math.inf, writer="\u0434\u043e\u043c"),
    "nothing": Entry(None, b"e" * 12, 3600.0, 3600.0, cost=1e9),
    "of the future": Entry(0, b"f" * 12, 20.0, 20.0, age=-10.0, writer=""),
}
MOMENTS = {"born", "confirmed", "deadline", "gone"}
FIELDS = {"absent", "cost", "epoch", "refreshing", "tags", "version", "writer"}


def put(tier, entries, *, until=math.inf, loose=False, confirmed=None, fences=None):
    """Store entries as they are read at once; whether that could be done, and the moment as of which it was."""
    read, _ = opened(entries)
    moment = time.monotonic() if confirmed is None else confirmed
    fences = tier.fences() if fences is None else fences
    return tier.put_opened(list(entries), read, moment, fences, until=until, loose=loose), moment


class TestOpened:
    """What is read and opened at once is stored at once, and as if it had been one by one."""

    @pytest.mark.parametrize("before", [3.0, -4.0], ids=["written before", "written by a clock that is ahead"])
    @pytest.mark.parametrize("longest", [None, 35.0])
    @pytest.mark.parametrize("loose", [False, True])
    @pytest.mark.parametrize("served", [math.inf, 25.0, -1.0])
    def test_records_are_what_they_are_otherwise(self, longest, loose, served, before):
        tier, other = MemoryTier(100, ttl=longest), MemoryTier(100, ttl=longest)
        moment = time.monotonic() - 1.5
        read, entries = opened(ENTRIES, before=before)
        until = moment + served
        assert tier.put_opened(list(ENTRIES), read, moment, tier.fences(), until=until, loose=loose) is True
        items = [(name, entry, other.fence(name)) for name, entry in zip(ENTRIES, entries, strict=True)]
        others = other.put_many(items, moment)
        for name, given, expected in zip(ENTRIES, entries, others, strict=True):
            record = tier.store.peek(name)
            assert type(record) is Record
            for field in FIELDS:
                assert getattr(record, field) == getattr(expected, field), (name, field)
                assert type(getattr(record, field)) is type(getattr(expected, field)), (name, field)
            for field in MOMENTS:
                assert getattr(record, field) == pytest.approx(getattr(expected, field), abs=1e-6), (name, field)
            assert record.value is read.values[list(ENTRIES).index(name)]
            assert record.loose is loose
            assert record.deadline <= moment + min(given.life, tier.longest) + 1e-6
            assert record.until == min(until, record.deadline)
            now = time.monotonic()
            assert entry_of(record, now).life == pytest.approx(entry_of(expected, now).life)
        assert tier.store.peek("for ever").deadline == (math.inf if longest is None else moment + longest)
        assert tier.store.peek("for ever").gone == math.inf

    def test_each_goes_in_its_time(self, tier):
        entries = {
            "long": Entry("C", b"c" * 12, 60.0, 60.0),
            "kept": Entry("B", b"b" * 12, 3.1, 60.0),
            "short": Entry("A", b"a" * 12, 3.1, 3.1),
        }
        assert put(tier, entries)[0]
        assert [look(tier, name).value for name in entries] == ["C", "B", "A"]
        time.sleep(0.15)
        assert look(tier, "short") is None
        assert look(tier, "kept").life < 0 < look(tier, "kept").keep
        assert look(tier, "long").life > 50

    def test_all_that_expire_are_reclaimed(self):
        tier = MemoryTier(100, policy="lru")
        assert put(tier, {f"{number}": Entry(number, b"a" * 12, 3.05, 3.1) for number in range(50)})[0]
        time.sleep(0.15)
        tier.store.expire()
        assert len(tier.store) == 0
        assert put(tier, {"a": Entry(1, b"a" * 12, 3.05, 3.05), "b": Entry(2, b"b" * 12)})[0]
        time.sleep(0.1)
        assert look(tier, "b").value == 2

    def test_they_are_bounded(self, tier):
        entries = {f"{number}": Entry(number, b"a" * 12) for number in range(1500)}
        assert put(tier, entries)[0]
        assert len(tier.store) <= 1000
        assert all(look(tier, name) is None or look(tier, name).value == int(name) for name in entries)

    def test_older_ones_are_replaced(self, tier):
        tier.write([("for ever", entry("old")), ("nothing", entry("old", life=1e6))])
        assert put(tier, ENTRIES)[0]
        assert [look(tier, name).value for name in ENTRIES] == [one.value for one in ENTRIES.values()]

    def test_keys_are_kept_as_they_are(self, tier):
        names = {"a": "a", 7: "~i7", ("b", 1): '~t["b", "~i1"]'}
        read, _ = opened({name: Entry(name, b"a" * 12) for name in names.values()})
        assert tier.put_opened(names, read, time.monotonic(), tier.fences(), until=math.inf, loose=False)
        assert {key: look(tier, name).value for key, name in names.items()} == names
        assert set(tier.store) == set(names)

    @pytest.mark.parametrize(
        "change",
        [
            lambda tier: tier.write([("a", entry("new"))]),
            lambda tier: tier.write([("another", entry("new"))]),
            lambda tier: tier.remove(["for ever"]),
            lambda tier: tier.remove(["for ever"], expire=True),
            lambda tier: tier.claim(["for ever"]),
            lambda tier: tier.invalidate(["red"]),
            lambda tier: tier.invalidate(["*"]),
            lambda tier: tier.put("a", entry("new"), time.monotonic(), tier.fence("a"), own=True),
        ],
        ids=["write", "write another", "remove", "expire", "claim", "tag", "clear", "fill"],
    )
    def test_a_change_since_the_fences_were_taken(self, tier, change):
        fences = tier.fences()
        change(tier)
        before = {key: record.version for key, record in tier.store.items()}
        assert put(tier, ENTRIES, fences=fences)[0] is False
        assert {key: record.version for key, record in tier.store.items()} == before
        assert put(tier, ENTRIES)[0] is True

    def test_what_is_no_version_is_refused(self, tier):
        for version in (b"v" * 11, b"v" * 13, bytearray(12), "v" * 12, None):
            with pytest.raises(ValueError, match=r"must be 12 bytes, not "):
                tier.write([("a", Entry("A", version))])
        assert look(tier, "a") is None

    def test_what_does_not_belong_together_is_not_stored(self, tier):
        read, _ = opened(ENTRIES)
        names = list(ENTRIES)
        times = (read.now, time.monotonic(), math.inf, math.inf, False)
        for short in range(4):
            lists = [names[:], read.envelopes[:], read.values[:], read.origins[:]]
            del lists[short][-1]
            with pytest.raises(ValueError, match="as many"):
                put_records(tier.store, *lists, *times)
        for odd in (None, b"short", "text"):
            with pytest.raises(TypeError, match="an envelope is wanted"):
                put_records(tier.store, names, [odd] * len(names), read.values, read.origins, *times)
        assert len(tier.store) == 0
        put_records(tier.store, names, *read[:3], *times)
        assert list(tier.store) == names

    def test_reading_is_no_change(self, tier):
        tier.write([("for ever", entry("old"))])
        fences = tier.fences()
        tier.read(["for ever", "a"])
        tier.touch("for ever", 5, 5)
        tier.doubt()
        assert put(tier, ENTRIES, fences=fences)[0] is True

    def test_where_anything_has_tags_or_a_size(self, tier):
        tier.write([("tagged", entry(tags=("red",)))])
        assert put(tier, ENTRIES)[0] is False
        assert look(tier, "for ever") is None
        tier.remove(["tagged"])
        assert put(tier, ENTRIES)[0] is True
        assert put(MemoryTier(1000, getsizeof=lambda value: 1), ENTRIES)[0] is False

    def test_a_fence_is_the_same_from_all_of_them(self, tier, rng):
        names = [f"{number}" for number in range(500)]
        for _ in range(20):
            tier.write([(rng.choice(names), entry()) for _ in range(5)])
            tier.invalidate(["red"])
            fences = tier.fences()
            taken = {name: tier.fence(name) for name in names}
            assert {name: fences[name] for name in names} == taken
            tier.remove(rng.sample(names, 50))
            if rng.random() < 0.5:
                tier.invalidate(["blue"])
            tags = rng.choice([(), ("blue",), ("green",)])
            assert {name: fences[name] for name in names} == taken, "they are of one moment"
            for name in names:
                one, other = entry(tags=tags), entry(tags=tags)
                by_all = tier.put(name, one, time.monotonic(), fences[name])
                assert (by_all is None) is (tier.put(name, other, time.monotonic(), taken[name]) is None)

    def test_values_are_seen_by_the_collector(self, tier, collect):
        class Value:
            pass

        class Codec:
            id, name, safe, schema, mismatches = 1, "msgpack", True, "", ()

            def encode(self, value):
                return value

            def decode(self, data):
                return Value()

        def stored():
            read, _ = opened({name: Entry(1, b"a" * 12) for name in "abc"}, Wire(Codec()))
            tier.put_opened(list("abc"), read, time.monotonic(), tier.fences(), until=math.inf, loose=False)
            records = [tier.store.peek(name) for name in "abc"]
            records[0].value.holds = records[0]
            records[1].value.holds = read, records
            return [weakref.ref(record.value) for record in records]

        held = stored()
        collect()
        assert None not in [value() for value in held]
        tier.remove("abc")
        collect()
        assert [value() for value in held] == [None] * 3
        held = stored()
        tier.store.peek("a").value.holds = tier
        tier.close()
        collect()
        assert [value() for value in held] == [None] * 3

    def test_against_changes_by_other_threads(self):
        """Once a name is removed, what was read before does not come back by a bulk fill either."""
        tier = MemoryTier(100, policy="lru")
        stop = threading.Event()
        wrong, done = [], []
        names = list("abcd")
        versions = [0]

        def fill():
            while not stop.is_set():
                fences = tier.fences()
                begun = versions[0]
                read, _ = opened({name: Entry(begun, b"a" * 12) for name in names})
                done.append(tier.put_opened(names, read, time.monotonic(), fences, until=math.inf, loose=False))

        def remove():
            while not stop.is_set():
                time.sleep(0.0005)
                versions[0] += 1
                tier.remove(names)
                wrong.extend(
                    (seen.value, versions[0])
                    for seen in map(tier.store.peek, names)
                    if seen is not None and seen.value < versions[0]
                )

        threads = [threading.Thread(target=work) for work in (fill, fill, remove)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join(10)
        assert not wrong
        assert {True, False} == set(done)
