"""Keys of decorated functions: told apart where the arguments are, and checked when the function is decorated."""

import re

import pytest
from hypothesis import example, given, strategies as st

from hotset import MemoryTier, TieredCache

# Text of what separates and escapes, above all.
TEXTS = st.text(st.sampled_from(":/-%x_ 23A5é")) | st.text(max_size=5)
SEPARATED = st.text(st.sampled_from(":/-xg_ "), min_size=1, max_size=3) | st.sampled_from(
    ["%:", "A:", "0x", "ab", "::"]
)
KEY_LITERALS = st.sampled_from(["", ":", "key:", "a_", "é", "%"])


@pytest.fixture
def cache():
    with TieredCache("decorated", [MemoryTier(100)]) as cache:
        yield cache


def keys_of(key, function):
    """Return what makes keys of a function's arguments."""
    with TieredCache("decorated", [MemoryTier(100)]) as cache:
        return cache.cached(key)(function).key_of


@given(st.tuples(TEXTS, TEXTS, TEXTS), st.tuples(TEXTS, TEXTS, TEXTS), KEY_LITERALS, SEPARATED, SEPARATED, KEY_LITERALS)
@example(("1:2", "3", ""), ("1", "2:3", ""), "k:", ":", ":", "")
@example(("a%3A", "b", ""), ("a:", "b", ""), "", ":", ":", "")
@example(("1x2", "3", ""), ("1", "2x3", ""), "", "x", ":", "")
def test_different_arguments_have_different_keys(one, other, first, second, third, last):
    key_of = keys_of(f"{first}{{a}}{second}{{b}}{third}{{c}}{last}", lambda a, b, c: None)
    assert (key_of(*one) == key_of(*other)) == (one == other)


@given(st.text(), st.text(), st.text())
def test_of_functions_by_the_same_separator_as_well(name, other, kind):
    user = keys_of("user:{name}", lambda name: None)
    posts = keys_of("user:{name}:{kind}", lambda name, kind: None)
    assert user(name) != posts(other, kind)


@given(st.integers() | st.text(st.characters(blacklist_characters=":%")))
def test_plain_arguments_stand_as_they_are(value):
    assert keys_of("user:{user_id}", lambda user_id: None)(value) == f"user:{value}"


@given(st.text())
def test_one_field_is_the_whole_key(value):
    assert keys_of("{key}", lambda key: None)(value) == value


@pytest.mark.parametrize(
    ("key", "arguments", "made"),
    [
        ("user:{x}", (7,), "user:7"),
        ("user:{x}", ("7",), "user:7"),
        ("user:{x}", ("ann_b-c@x.org",), "user:ann_b-c@x.org"),
        ("page:{x}", ("https://x/50%",), "page:https%3A//x/50%25"),
        ("{x}:{y}", ("1:2", 3), "1%3A2:3"),
        ("{x}:{y}", (1, "2:3"), "1:2%3A3"),
        ("{x}x{y}", (640, 480), "640x480"),
        ("{x}é-{y}", ("é", "-"), "éé-%2D"),
        ("{{{x}}}", ("}",), "{%7D}"),
        ("{x:04}/{y!r}", (7, "a"), "0007/'a'"),
        ("{x:{y}}:{y}", (7, 3), "  7:3"),
        ("{x.real}:{y[0]}", (7, "abc"), "7:a"),
        ("{x[a:b]}", ({"a:b": 1},), "1"),
        ("all", (), "all"),
    ],
)
def test_keys(key, arguments, made):
    assert keys_of(key, lambda x=None, y=None: None)(*arguments) == made


def test_each_call_is_answered_for_itself_and_invalidated_by_its_key(cache):
    calls = []

    @cache.cached("pair:{x}:{y}")
    def pair(x, y):
        calls.append((x, y))
        return x, y

    assert pair("1:2", 3) == ("1:2", 3)
    assert pair("1", "2:3") == ("1", "2:3")
    assert pair(1, 2) == (1, 2)
    cache.invalidate("pair:1:2")
    cache.invalidate(pair.key_of("1:2", 3))
    assert [pair(1, 2), pair("1:2", 3), pair("1", "2:3")] == [(1, 2), ("1:2", 3), ("1", "2:3")]
    assert calls == [("1:2", 3), ("1", "2:3"), (1, 2), (1, 2), ("1:2", 3)]


def test_tags_are_as_they_read(cache):
    calls = []

    @cache.cached("{x}:{y}", tags=["first {x}"])
    def pair(x, y):
        calls.append((x, y))

    pair("a b:c", 1)
    cache.invalidate(tags=["first a b:c"])
    pair("a b:c", 1)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("options", "field", "what"),
    [
        ({"key": "user:{id}"}, "id", "user:{id}"),
        ({"key": "user:{user.id}"}, "user", "user:{user.id}"),
        ({"key": "{user_id}:{user_ids[0]}"}, "user_ids", "{user_id}:{user_ids[0]}"),
        ({"key": "{user_id:{width}}"}, "width", "{user_id:{width}}"),
        ({"key": "user:{}"}, "", "user:{}"),
        ({"key": "user:{0}"}, "0", "user:{0}"),
        ({"key": "{user_id}", "tags": ["users", "user {id}"]}, "id", "user {id}"),
        pytest.param({"key": lambda user_id, full: user_id, "tags": ["user {id}"]}, "id", "user {id}", id="a function"),
    ],
    ids=repr,
)
def test_a_field_without_its_parameter(cache, options, field, what):
    def load_user(user_id, *, full=False):
        raise AssertionError

    with pytest.raises(ValueError, match=re.escape(what)) as raised:
        cache.cached(**options)(load_user)
    told = str(raised.value)
    assert f"field {field!r}" in told
    assert "load_user" in told
    assert told.endswith("user_id, full")


def test_a_field_of_a_function_without_parameters(cache):
    with pytest.raises(ValueError, match=r"'id'.* none$"):
        cache.cached("{id}")(lambda: None)


@pytest.mark.parametrize("key", ["{", "user:{user_id", "user}", "{x!}", "{x:{}"])
def test_what_is_no_template(cache, key):
    with pytest.raises(ValueError, match=re.escape(repr(key))):
        cache.cached(key)(lambda x, user_id: None)


@pytest.mark.parametrize("between", ["", "%", "0", "2A", "%25"])
def test_nothing_to_tell_fields_apart_by(cache, between):
    with pytest.raises(ValueError, match=re.escape(f"got {between!r}")):
        cache.cached(f"{{x}}{between}{{y}}")(lambda x, y: None)


def test_an_argument_whose_text_is_its_place_in_memory(cache):
    class User:
        id = 7

    with pytest.raises(TypeError, match=r"cannot tell user apart, got .*User"):
        cache.cached("user:{user}")(lambda user: None)(User())
    assert cache.cached("user:{user.id}")(lambda user: None).key_of(User()) == "user:7"
