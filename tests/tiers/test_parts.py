"""Names in parts: which hash slot what is kept of them is in, and what the engine makes of many at once."""

import random
import zlib

import hiredis
import pytest
from hypothesis import given, strategies as st
from redis.crc import key_slot

from hotset._wire import gather_values, part_of, spread_names
from hotset.testing.driver import NAMES
from hotset.tiers.parts import PARTS, SLOTS, TAGS, PartedKeys, part_of as part, slot_of

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
    places, order, requests = spread_names(names, tuple(prefixes))
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
    _, _, requests = spread_names([name] * 11, ("prefix:",))
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


def test_names_that_change_while_they_are_spread():
    class Growing(list):
        def __iter__(self):
            yield from super().__iter__()
            yield "more"

    class Shrinking(list):
        def __iter__(self):
            yield from list(super().__iter__())[1:]

    for kind in (Growing, Shrinking):
        with pytest.raises(RuntimeError):
            spread_names(kind(["a", "b"]), ("p",))


def test_many_random_names():
    rng = random.Random(1)
    names = ["".join(rng.choices("abcé日🦊\x00", k=rng.randrange(30))) for _ in range(5000)]
    keys = PartedKeys("ns")
    places, order, requests = keys.spread(names)
    assert places == keys.entries(names)
    assert list(requests) == list(range(PARTS))
    by_part = [
        [place for place, which in zip(places, order, strict=True) if which == number] for number in range(PARTS)
    ]
    assert gather_values(order, by_part) == places
    assert sorted(name for group in keys.together(names) for name in group) == sorted(names)
