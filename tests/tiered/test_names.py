"""Names of keys: one for each, and back."""

import enum

import pytest
from hypothesis import given, strategies as st

from hotset import MemoryTier, TieredCache
from hotset._wire import values_by_key
from hotset.names import key_of, name_of, named

SCALARS = st.text() | st.integers() | st.binary()
KEYS = st.recursive(SCALARS, lambda parts: st.lists(parts, max_size=4).map(tuple), max_leaves=8)


def kinds(key):
    """Return a key with its types: 1 and True are equal."""
    return (tuple, [kinds(part) for part in key]) if type(key) is tuple else (type(key), key)


@given(KEYS)
def test_there_and_back(key):
    assert kinds(key_of(name_of(key))) == kinds(key)


@given(KEYS, KEYS)
def test_no_two_keys_have_the_same_name(one, other):
    assert (name_of(one) == name_of(other)) == (kinds(one) == kinds(other))


@given(SCALARS, SCALARS)
def test_what_looks_alike_is_not(one, other):
    names = [name_of(key) for key in (one, (one,), ((one,),), (one, other), ((one,), other), (one, (other,)))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("user:1", "user:1"),
        ("", ""),
        ("~", "~s~"),
        ("~i7", "~s~i7"),
        (7, "~i7"),
        (-(2**80), f"~i{-(2**80)}"),
        (b"", "~b"),
        (b"\xff\x00", "~bff00"),
        ((), "~t[]"),
        (("user", 7), '~t["user", "~i7"]'),
        ((("\u00e9",),), '~t["~t[\\"\u00e9\\"]"]'),
    ],
)
def test_names_stay_as_they_are(key, name):
    """They are at servers, where processes of other versions look for them."""
    assert name_of(key) == name
    assert key_of(name) == key


def test_a_str_of_another_class_is_the_same_key():
    class Text(str):
        __slots__ = ()

    class Color(enum.StrEnum):
        RED = "red"

    assert name_of(Text("a")) == "a"
    assert name_of(Color.RED) == "red"
    assert type(name_of(Text("a"))) is str
    cache = TieredCache("text", [MemoryTier(10)])
    cache.set(Color.RED, 1)
    assert cache.get("red") == cache.get(Color.RED) == 1


class Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "key",
    [None, True, 1.0, 1j, [1], {1}, {"a": 1}, bytearray(b"a"), Number.ONE, object, (1, None), ((True,),), range(3)],
    ids=repr,
)
def test_what_is_no_key(key):
    culprit = key
    while type(culprit) is tuple:
        culprit = culprit[-1]
    with pytest.raises(TypeError) as raised:
        name_of(key)
    assert repr(culprit) in str(raised.value)


@pytest.mark.parametrize("name", ["~", "~x", "~iseven", "~bzz", "~t[", "~t7", "~t[1]"])
def test_what_is_no_name(name):
    with pytest.raises(ValueError, match="~"):
        key_of(name)


def test_a_key_of_several_levels():
    key = ("a", 1)
    for _ in range(5):
        key = (key, b"b")
    assert key_of(name_of(key)) == key


class Text(str):
    __slots__ = ()


@given(st.lists(KEYS) | st.lists(st.text("~\n ab")) | st.lists(st.text("~\n ab").map(Text) | st.text("~\n ab")))
def test_names_of_many_are_those_of_each(keys):
    by_name = named(keys)
    assert list(by_name.items()) == list({name_of(key): key for key in keys}.items())
    assert {*map(type, by_name)} <= {str}
    assert named(iter(keys)) == named(tuple(keys)) == by_name


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [""],
        ["", ""],
        ["~"],
        ["a", "~", "b"],
        ["~a", "b"],
        ["a", "b~", "c~d"],
        ["a\n~b"],
        ["a\n", "~b"],
        ["a\n", "\n~"],
        ["\n", "", "~"],
        ["\n~"],
        ["\ud800", "~\udfff"],
        [Text("a"), Text("~a")],
        [Text("a\n"), "~"],
        ["a", 7],
        [7, "~"],
        [b"~", ("~",), "a"],
    ],
    ids=repr,
)
def test_names_of_many_that_look_like_something_else(keys):
    by_name = named(keys)
    assert list(by_name.items()) == list({name_of(key): key for key in keys}.items())
    assert {*map(type, by_name)} <= {str}
    assert [key_of(name) for name in by_name] == list(by_name.values())


@given(st.lists(KEYS) | st.lists(st.text("~ab")))
def test_values_by_key(keys):
    by_name = named(keys)
    before = list(by_name.items())
    values = list(range(len(by_name)))
    found = values_by_key(by_name, values)
    assert list(found.items()) == list(dict(zip(by_name.values(), values, strict=True)).items())
    assert list(by_name.items()) == before
    for wrong in ([*values, 1], values[1:] if values else [1]):
        with pytest.raises(ValueError, match="values"):
            values_by_key(by_name, wrong)


@pytest.mark.parametrize(
    "key", [None, True, False, 1.0, float("nan"), [1], bytearray(b"a"), Number.ONE, ("a", None)], ids=repr
)
@pytest.mark.parametrize("others", [[], ["a", "b"], [7], ["~"]], ids=repr)
def test_what_is_no_key_among_many(key, others):
    culprit = key[-1] if type(key) is tuple else key
    for keys in ([key, *others], [*others, key], [*others, key, *others]):
        with pytest.raises(TypeError) as raised:
            named(keys)
        assert repr(culprit) in str(raised.value)
