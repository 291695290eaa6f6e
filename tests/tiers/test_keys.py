"""Where a namespace keeps its things on a server: in slots of a cluster where scripts can get at them."""

import pytest

from hotset.tiers.keys import Keys

NAMES = ["", "a", "user:7", "gr\u00fcn", "a b\n", "x" * 300, "~i7", "{", "a{b", "{{", "{{a", "*", "l{a"]
TAGGED = ["{a}", "user:{7}", "{user:7}:name", "a{b}c}d", "{a}{b}", "{{a}}", "x{gr\u00fcn}"]
NAMESPACES = ["users", "a:b", "{users}", "a}b", "{}", "100%", "gr\u00fcn"]


def slot(key):
    """The slot of a key as Cluster has it: CRC-16 (XMODEM) of what is in the first braces, unless that is nothing."""
    data = key.encode()
    start = data.find(b"{")
    end = data.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        data = data[start + 1 : end]
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc % 16384


def test_slots_are_those_of_the_specification():
    assert slot("123456789") == 0x31C3 % 16384
    assert slot("foo") == 12182
    assert slot("{user1000}.following") == slot("{user1000}.followers") == slot("user1000")
    assert slot("foo{}{bar}") != slot("bar")
    assert slot("foo{{bar}}zap") == slot("{bar")


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("name", NAMES + TAGGED)
def test_what_belongs_to_an_entry_is_in_its_slot(namespace, name):
    keys = Keys(namespace)
    assert slot(keys.lease(name)) == slot(keys.removal(name)) == slot(keys.entry(name))
    assert len(set(keys.of(name))) == 3
    assert keys.of(name) == (keys.entry(name), keys.lease(name), keys.removal(name))


@pytest.mark.parametrize("name", TAGGED)
def test_names_with_a_tag_of_their_own_are_where_that_says(name):
    start = name.index("{") + 1
    assert slot(Keys("users").entry(name)) == slot(name[start : name.index("}", start)])


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_rest_is_in_one_slot(namespace):
    keys = Keys(namespace)
    bells = [keys.bell(tag) for tag in (*NAMES, *TAGGED, "}", "{}")]
    assert {slot(key) for key in (keys.state, keys.tags, keys.channel, *bells)} == {slot(keys.state)}


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_no_two_are_the_same_key(namespace):
    """Names may look like anything."""
    others = [Keys(other) for other in NAMESPACES]
    strange = ["}", "{}", "a}", f"l{{{Keys(namespace).entry('a')}}}", ":a", "k:a"]
    names = [*NAMES, *TAGGED, *strange]
    places = [place(name) for keys in others for name in names for place in (keys.entry, keys.lease, keys.removal)]
    assert len(set(places)) == len(places)


def test_neither_leases_nor_marks_are_announced():
    """Nor is either taken for an entry, whatever it is the name of."""
    keys = Keys("users")
    for name in (*NAMES, *TAGGED):
        assert keys.meaning(keys.entry(name).encode()) == ("entry", name)
        for place in (keys.lease(name), keys.removal(name)):
            assert not place.startswith(keys.tracked)
            assert keys.meaning(place.encode()) == ("", "")
