"""Names in parts: which hash slot what is kept of them is in, and what the engine makes of many at once."""

import random
import zlib

import hiredis
import pytest
from hypothesis import given, strategies as st
from redis.crc import key_slot

from hotset._wire import gather_values, part_of, placed_names, spread_names
from hotset.testing.driver import NAMES
from hotset.tiers.contract import Entry, Opened
from hotset.tiers.parts import PARTS, SLOTS, TAGS, PartedKeys, part_of as part, slot_of
from hotset.wire import Wire

# Any text at all, lone surrogates among it.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)


def test_the_parts_are_spread_evenly():
    slots = [slot_of(tag) for tag in TAGS]
    share = SLOTS // PARTS
    assert [slot // share for slot in slots] == list(range(PARTS))
    # For any number of primaries with an even share, each has its parts to within one.
    for primaries in range(1, PARTS):
        counts = [0] * primaries
        for slot in slots:
            counts[slot * primaries // SLOTS] += 1
        assert max(counts) - min(counts) <= 2, primaries


def test_the_tags_are_what_they_are():
    """They are in the keys of caches in use: others would be other keys."""
    assert zlib.crc32(" ".join(TAGS).encode()) == 1348073842


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("namespace", ["plain", "a:b", "{a}", "%7B", "ü", "\ud800"])
def test_what_is_kept_of_a_name_is_in_one_slot(name, namespace):
    keys = PartedKeys(namespace)
    slots = {key_slot(key(name).encode("utf-8", "surrogatepass")) for key in (keys.entry, keys.lease, keys.removal)}
    assert slots == {slot_of(TAGS[part(name)])}
    assert len(set(keys.of(name))) == 3
    assert keys.of(name) == (keys.entry(name), keys.lease(name), keys.removal(name))
    assert keys.meaning(keys.entry(name).encode("utf-8", "surrogatepass")) == ("entry", name)
    for other in (keys.lease(name), keys.removal(name), keys.owner, keys.tags):
        assert keys.meaning(other.encode("utf-8", "surrogatepass")) == ("", "")


@pytest.mark.parametrize("namespace", ["plain", "a:b", "{a}", "%7B", "ü"])
def test_the_state_is_in_one_slot(namespace):
    keys = PartedKeys(namespace)
    state = [keys.state, keys.tags, keys.owner, keys.bell("tag"), keys.bell("{t}ag")]
    assert {key_slot(key.encode()) for key in state} == {slot_of(keys.tag)}
    assert keys.meaning(keys.state.encode()) == ("state", "")
    assert keys.meaning(keys.bell("}{").encode()) == ("bell", "}{")
    assert all(keys.entry("name").startswith(prefix) or prefix != keys.tracked[0] for prefix in keys.tracked)


def test_a_key_in_the_wrong_part_is_nobodys():
    keys = PartedKeys("ns")
    place = keys.entry("name")
    tag = TAGS[part("name")]
    wrong = place.replace(tag, TAGS[(part("name") + 1) % PARTS])
    for key in (wrong, place.replace(tag, "zzz"), f"hs:ns:k{{{tag}", f"hs:ns:k{{{tag}}}name", "hs:ns:k{"):
        assert keys.meaning(key.encode()) == ("", ""), key


@given(TEXTS, st.integers(1, 300))
def test_a_part_is_by_crc_32(name, parts):
    assert part_of(name, parts) == zlib.crc32(name.encode("utf-8", "surrogatepass")) % parts


@given(st.lists(TEXTS, max_size=50), st.lists(TEXTS, min_size=1, max_size=20))
def test_names_are_spread_as_in_python(names, prefixes):
    order, requests = spread_names(names, tuple(prefixes))
    places = placed_names(names, order, tuple(prefixes))
    parts = [part_of(name, len(prefixes)) for name in names]
    assert list(order) == parts
    assert places == [prefixes[number] + name for number, name in zip(parts, names, strict=True)]
    for number in range(len(prefixes)):
        words = [place for place, whose in zip(places, parts, strict=True) if whose == number]
        encoded = [word.encode("utf-8", "surrogatepass") for word in words]
        assert requests.get(number) == (hiredis.pack_command(("MGET", *encoded)) if words else None)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 99, 100, 999, 1000, 12345])
def test_names_of_all_lengths(size):
    name = "n" * size
    _, requests = spread_names([name] * 11, ("prefix:",))
    assert requests == {0: hiredis.pack_command(("MGET", *["prefix:" + name] * 11))}


@given(st.lists(st.integers(0, 6), max_size=60), st.sets(st.integers(0, 6)))
def test_what_was_found_is_put_back_in_order(order, missing):
    groups = [None if part in missing else [] for part in range(7)]
    wanted = []
    for number, which in enumerate(order):
        if groups[which] is not None:
            groups[which].append(number)
        wanted.append(None if which in missing else number)
    assert gather_values(bytes(order), groups) == wanted


def test_nonsense_is_refused():
    with pytest.raises(TypeError):
        spread_names(["a", b"b"], ("p",))
    with pytest.raises(TypeError):
        spread_names(["a", 7], ("p",))
    with pytest.raises(TypeError):
        spread_names(["a"], (b"p",))
    with pytest.raises(ValueError, match="prefixes"):
        spread_names(["a"], ())
    with pytest.raises(ValueError, match="prefixes"):
        spread_names(["a"], ("p",) * 257)
    with pytest.raises(ValueError, match="part"):
        part_of("a", 0)
    with pytest.raises(TypeError):
        part_of(b"a", 1)
    with pytest.raises(IndexError):
        gather_values(b"\x00\x00", [["one"]])
    with pytest.raises(IndexError):
        gather_values(b"\x01", [["one"]])
    with pytest.raises(TypeError):
        gather_values(b"\x00", [("one",)])
    for names in ([], ["a", "b"]):
        with pytest.raises(ValueError, match="names are wanted"):
            placed_names(names, b"\x00", ("p",))
    with pytest.raises(IndexError):
        placed_names(["a"], b"\x01", ("p",))
    with pytest.raises(TypeError):
        placed_names([b"a"], b"\x00", ("p",))


def test_many_random_names():
    rng = random.Random(1)
    names = ["".join(rng.choices("abcé日🦊\x00", k=rng.randrange(30))) for _ in range(5000)]
    keys = PartedKeys("ns")
    order, requests = keys.spread(names)
    places = keys.placed(names, order)
    assert places == keys.entries(names)
    assert list(requests) == list(range(PARTS))
    by_part = [
        [place for place, which in zip(places, order, strict=True) if which == number] for number in range(PARTS)
    ]
    assert gather_values(order, by_part) == places
    assert sorted(name for group in keys.together(names) for name in group) == sorted(names)


class _Envelopes:
    """The envelopes of names that all are as entries commonly are, by part, and what `open_part` makes of them."""

    NOW = 1_700_000_000.0

    def __init__(self, count=200):
        self.wire = Wire(writer="web-1:1")
        self.keys = PartedKeys("ns")
        self.names = [f"name {number}" for number in range(count)]
        self.order, _ = self.keys.spread(self.names)
        self.places = self.keys.placed(self.names, self.order)
        self.groups = {}
        for name, place, which in zip(self.names, self.places, self.order, strict=True):
            self.groups.setdefault(which, []).append(self.envelope(place, name))

    def envelope(self, place, value, **fields):
        entry = Entry(value, bytes(12), **{"life": 60.0, "keep": 60.0, "epoch": 5, **fields})
        envelope = self.wire.encode(place, entry, self.NOW)
        self.wire.decode(place, envelope, self.NOW)  # which writers and tags there are, it learns here
        return envelope

    def opened(self, groups=None, epochs=(3, 7), now=NOW):
        into = Opened(*([None] * len(self.names) for _ in range(3)), now)
        each = [
            self.wire.open_part(self.order, part, self.names, self.keys.fronts[part], group, now, epochs, into)
            for part, group in (self.groups if groups is None else groups).items()
        ]
        return all(each), into


def test_what_is_common_is_opened_by_part_as_it_is_all_at_once():
    some = _Envelopes()
    whole, into = some.opened()
    assert whole
    envelopes = [None] * len(some.names)
    for number, which in enumerate(some.order):
        envelopes[number] = some.groups[which][some.order[:number].count(which)]
    wanted = some.wire.decode_many(some.places, envelopes, some.NOW, (3, 7), None)
    assert into == wanted
    assert into.values == some.names
    assert some.wire.found(into) == some.wire.found(wanted)


def test_what_is_not_common_is_not_opened_by_part():
    some = _Envelopes()
    part, place = some.order[0], some.places[0]
    good = some.groups[part]
    odd = {
        "missing": None,
        "of another name": some.envelope(some.places[1], "x"),
        "damaged": good[0][:-1] + bytes([good[0][-1] ^ 1]),
        "cut short": good[0][:-1],
        "tagged": some.envelope(place, "x", tags=("t",)),
        "expired": some.envelope(place, "x", life=-1.0),
        "over": some.envelope(place, "x", life=-2.0, keep=-1.0),
        "absent": some.envelope(place, None, absent=True),
        "before a clear": some.envelope(place, "x", epoch=2),
        "of an epoch to come": some.envelope(place, "x", epoch=8),
        "no bytes": 7,
    }
    assert some.opened({part: [some.envelope(place, "x"), *good[1:]]})[0]
    for what, envelope in odd.items():
        assert not some.opened({part: [envelope, *good[1:]]})[0], what
    for what, group in {"too few": good[:-1], "too many": [*good, good[0]], "none": []}.items():
        assert not some.opened({part: group})[0], what
    assert not some.opened(now=some.NOW + 61)[0]
