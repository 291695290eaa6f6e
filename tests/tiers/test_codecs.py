"""What values come back as, by codec and declared type; compression; seals."""

import builtins
import dataclasses
import datetime
import decimal
import enum
import importlib
import io
import os
import pathlib
import pickle
import subprocess
import sys
import typing
import uuid
import zlib

import msgspec
import pytest
from hypothesis import given, strategies as st

from hotset.codecs import CODECS, Codec, JsonCodec, MsgpackCodec, PickleCodec, Seal, codec_named
from hotset.codecs.compression import compression_named, compression_numbered
from hotset.codecs.shapes import describe, fingerprint
from hotset.errors import ValueTooLarge

BERLIN = datetime.timezone(datetime.timedelta(hours=2))
NOON = datetime.datetime(2026, 6, 1, 12, 0, 0, 5, tzinfo=BERLIN)
NAIVE = NOON.replace(tzinfo=None)
LONG = 2**70


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0
    seen: datetime.datetime | None = None
    next: "Point | None" = None


class Shape(msgspec.Struct):
    name: str
    corners: tuple[Point, ...] = ()
    color: Color = Color.RED


class Pair(typing.NamedTuple):
    left: int
    right: str


class Options(typing.TypedDict):
    depth: int
    names: set[str]


def back(codec, value):
    return codec.decode(memoryview(codec.encode(value)))


PLAIN = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    2**64 - 1,
    1.5,
    -0.0,
    "",
    "grün",
    [],
    [1, [2, "x"]],
    {},
    {"a": {"b": [None]}},
]


@pytest.mark.parametrize("name", list(CODECS))
@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_the_same(name, value):
    got = back(codec_named(name), value)
    assert got == value
    assert type(got) is type(value)


# The table in the package's docstring, row by row.
LOSSY = [
    (b"\x00\xff", b"\x00\xff", "AP8="),
    ({1: "a"}, {1: "a"}, {"1": "a"}),
    ((1, 2), [1, 2], [1, 2]),
    ({1}, [1], [1]),
    (frozenset({1}), [1], [1]),
    (NOON, NOON, NOON.isoformat()),
    (NAIVE, "2026-06-01T12:00:00.000005", "2026-06-01T12:00:00.000005"),
    (datetime.date(2026, 6, 1), "2026-06-01", "2026-06-01"),
    (datetime.timedelta(seconds=90), "PT90S", "PT90S"),
    (decimal.Decimal("1.10"), "1.10", "1.10"),
    (uuid.UUID(int=1), str(uuid.UUID(int=1)), str(uuid.UUID(int=1))),
    (Color.BLUE, "blue", "blue"),
    (Point(1), {"x": 1, "y": 0.0, "seen": None, "next": None}, {"x": 1, "y": 0.0, "seen": None, "next": None}),
]


@pytest.mark.parametrize(("value", "as_msgpack", "as_json"), LOSSY, ids=lambda value: type(value).__name__)
def test_undeclared_values_come_back_as_their_encoding_tells(value, as_msgpack, as_json):
    for codec, expected in ((MsgpackCodec(), as_msgpack), (JsonCodec(), as_json), (PickleCodec(), value)):
        got = back(codec, value)
        assert got == expected
        assert type(got) is type(expected)


def test_undeclared_time_with_a_zone_comes_back_in_utc():
    assert back(MsgpackCodec(), NOON).tzinfo == datetime.UTC


def test_json_makes_null_of_what_is_no_number():
    assert back(JsonCodec(), [float("nan"), float("inf")]) == [None, None]
    assert repr(back(MsgpackCodec(), [float("nan"), float("inf")])) == "[nan, inf]"


TYPED = [
    (tuple[int, ...], (1, 2)),
    (set[str], {"a"}),
    (frozenset[int], frozenset({3})),
    (dict[int, str], {1: "a"}),
    (bytes, b"\x00\xff"),
    (datetime.datetime, NOON),
    (datetime.datetime, NAIVE),
    (datetime.date, datetime.date(2026, 6, 1)),
    (datetime.timedelta, datetime.timedelta(days=1, microseconds=7)),
    (decimal.Decimal, decimal.Decimal("1.10")),
    (uuid.UUID, uuid.UUID(int=7)),
    (Color, Color.BLUE),
    (Point, Point(1, 2.5, NOON, Point(2))),
    (list[Point], [Point(1), Point(2)]),
    (Shape, Shape("line", (Point(0), Point(1)), Color.BLUE)),
    (Pair, Pair(1, "r")),
    (Options, {"depth": 1, "names": {"a"}}),
    (Point | None, None),
]


@pytest.mark.parametrize("codec", [MsgpackCodec, JsonCodec, PickleCodec])
@pytest.mark.parametrize(("type_", "value"), TYPED, ids=lambda value: str(value)[:30])
def test_declared_values_come_back_as_declared(codec, type_, value):
    got = back(codec(type_), value)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("codec", [MsgpackCodec, JsonCodec])
def test_integers_above_64_bits_are_an_error_and_never_another_number(codec):
    try:
        got = back(codec(int), LONG)
    except (OverflowError, msgspec.MsgspecError):
        return
    assert got == LONG


def test_attrs_classes_come_back_as_declared():
    attrs = pytest.importorskip("attrs")
    cls = attrs.make_class("Account", {"id": attrs.field(type=int), "names": attrs.field(type=set[str])})
    assert back(MsgpackCodec(list[cls]), [cls(1, {"a"})]) == [cls(1, {"a"})]


@pytest.mark.parametrize("codec", [MsgpackCodec, JsonCodec])
def test_what_does_not_fit_the_type_is_a_mismatch(codec):
    with pytest.raises(codec(Point).mismatches):
        codec(Point).decode(codec().encode({"x": "one"}))


@pytest.mark.parametrize("codec", [MsgpackCodec, JsonCodec])
def test_hooks_serve_classes_that_msgspec_does_not_know(codec):
    with pytest.raises(NotImplementedError, match="complex"):
        codec().encode(1j)
    hooked = codec(
        complex, enc_hook=lambda value: [value.real, value.imag], dec_hook=lambda type_, plain: type_(*plain)
    )
    assert back(hooked, 2 + 1j) == 2 + 1j


class TestPydantic:
    @pytest.fixture
    def pydantic(self):
        return pytest.importorskip("pydantic")

    @pytest.fixture
    def model(self, pydantic):
        class Address(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(strict=True)
            street: str
            id: uuid.UUID

        class Person(pydantic.BaseModel):
            name: str = pydantic.Field(alias="fullName", min_length=2)
            when: datetime.datetime
            price: decimal.Decimal
            raw: bytes
            marks: set[int]
            spot: tuple[int, str]
            color: Color
            home: Address

        home = Address(street="Kanal", id=uuid.UUID(int=3))
        values = {
            "when": NOON,
            "price": decimal.Decimal("1.10"),
            "raw": b"ab",
            "marks": {1},
            "spot": (1, "x"),
            "home": home,
        }
        return Person(fullName="Ada", color=Color.BLUE, **values)

    @pytest.mark.parametrize("codec", [MsgpackCodec, JsonCodec])
    def test_models_come_back_through_their_validators(self, codec, model):
        assert back(codec(type(model)), model) == model
        assert back(codec(dict[str, list[type(model)]]), {"all": [model]}) == {"all": [model]}

    @pytest.mark.parametrize("codec", [MsgpackCodec, JsonCodec])
    def test_their_validators_refuse(self, codec, model):
        strange = model.model_copy(update={"name": "x"})  # too short; copies are not validated
        made = codec(type(model))
        data = made.encode(strange)
        with pytest.raises(made.mismatches, match="at least 2"):
            made.decode(data)

    def test_models_within_dataclasses(self, model):
        cls = dataclasses.make_dataclass("Holder", [("person", type(model)), ("count", int)])
        assert back(MsgpackCodec(cls), cls(model, 2)) == cls(model, 2)

    def test_binary_fields_are_kept_by_msgpack_and_refused_by_json(self, model):
        binary = model.model_copy(update={"raw": b"\xff\x00"})
        assert back(MsgpackCodec(type(model)), binary) == binary
        with pytest.raises(Exception, match="utf-8"):
            JsonCodec(type(model)).encode(binary)

    def test_a_changed_model_has_another_shape(self, pydantic):
        one = pydantic.create_model("Made", __module__="m", id=(int, ...))
        same = pydantic.create_model("Made", __module__="m", id=(int, ...))
        other = pydantic.create_model("Made", __module__="m", id=(str, ...))
        assert describe(one) == describe(same) != describe(other)


class TestRegistry:
    def test_codecs_fulfil_the_contract(self):
        codecs = [codec_named(name) for name in CODECS]
        assert all(isinstance(codec, Codec) for codec in codecs)
        assert len({codec.id for codec in codecs}) == len(codecs)
        assert [codec.name for codec in codecs if not codec.safe] == ["pickle"]

    @pytest.mark.parametrize("name", ["yaml", "", None, 3, []])
    def test_unknown_names(self, name):
        with pytest.raises(ValueError, match="'msgpack', 'json', 'pickle'"):
            codec_named(name)

    def test_a_type_that_cannot_be_done(self):
        with pytest.raises(TypeError):
            codec_named("msgpack", list[int] | tuple[int, ...])

    @pytest.mark.parametrize(
        ("hidden", "make", "extra"),
        [
            ("msgspec", "codec_named('msgpack')", "hotset[msgspec]"),
            ("msgspec", "codec_named('json')", "hotset[msgspec]"),
            ("cryptography", "Seal({'k': bytes(32)}, 'k', encrypt=True)", "hotset[encrypt]"),
        ],
    )
    def test_a_missing_package_is_named_with_its_extra(self, hidden, make, extra):
        script = (
            f"import sys; sys.modules[{hidden!r}] = None\n"
            "from hotset.codecs import PickleCodec, Seal, codec_named\n"
            "PickleCodec(); Seal({'k': bytes(32)}, 'k')\n"
            f"try: {make}\n"
            "except ImportError as error: print(error)\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert extra in done.stdout


class TestShapes:
    def test_any_has_none(self):
        assert describe(typing.Any) == ""
        assert fingerprint("") == 0
        assert fingerprint("x") not in {0, fingerprint("y")}

    def test_they_are_the_same_in_every_process(self):
        script = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "import test_codecs as t\n"
            "print(t.describe(dict[str, t.Shape | set[t.Pair] | t.Options]))\n"
        )
        here = str(pathlib.Path(__file__).parent)
        shown = [
            subprocess.run(
                [sys.executable, "-c", script, here],
                capture_output=True, text=True, timeout=60, check=True,
                env={**os.environ, "PYTHONHASHSEED": seed},
            ).stdout
            for seed in ("1", "2")
        ]  # fmt: skip
        assert shown[0] == shown[1]
        assert "corners: tuple[test_codecs.Point{x: int, y: float, seen:" in shown[0]

    CHANGES: typing.ClassVar = {
        "a field more": "x: int; y: int = 0",
        "a field less": "",
        "another type": "x: str",
        "another name": "z: int",
        "a deeper type": "x: list[int | None]",
    }

    @pytest.mark.parametrize("fields", CHANGES.values(), ids=CHANGES)
    @pytest.mark.parametrize("base", ["dataclass", "Struct", "NamedTuple", "plain"])
    def test_a_changed_class_has_another_one(self, base, fields):
        def make(text):
            hints = dict(part.split(" = ")[0].split(": ") for part in text.split("; ") if part)
            body = {"__annotations__": hints, "__module__": __name__, "__qualname__": "Made"}
            if "= 0" in text:
                body["y"] = 0
            if base == "Struct":
                return type(msgspec.Struct)("Made", (msgspec.Struct,), body)
            if base == "NamedTuple":
                return typing.NamedTuple("Made", [(name, eval(hint)) for name, hint in hints.items()])
            made = type("Made", (), body)
            return dataclasses.dataclass(made) if base == "dataclass" else made

        assert describe(make("x: int")) == describe(make("x: int"))
        assert describe(make("x: int")) != describe(make(fields))

    def test_options_of_a_struct_that_change_its_bytes(self):
        def make(**options):
            body = {"__annotations__": {"x": int}, "x": options.pop("x", 0), "__module__": "m", "__qualname__": "Made"}
            return type(msgspec.Struct)("Made", (msgspec.Struct,), body, **options)

        plain = describe(make())
        assert plain == describe(make(x=1))  # a default is not part of the bytes
        changed = [make(rename="upper"), make(tag=True), make(array_like=True), make(omit_defaults=True)]
        changed.append(make(omit_defaults=True, x=1))
        assert len({plain, *map(describe, changed)}) == 6

    def test_enums_by_their_values(self):
        one, other = enum.Enum("Made", {"A": 1}), enum.Enum("Made", {"A": 2})
        assert describe(one) == describe(enum.Enum("Made", {"A": 1})) != describe(other)

    def test_recursion_ends(self):
        assert describe(Point).count("Point") == 2
        assert describe(Point) != describe(list[Point])

    def test_other_kinds_of_types(self):
        UserId = typing.NewType("UserId", int)
        kinds = [
            UserId,
            int,
            typing.Literal["a"],
            typing.Literal["b"],
            typing.TypeVar("T", bound=int),
            dict[str, "int"],
        ]
        assert len({describe(kind) for kind in kinds}) == len(kinds)
        assert describe(typing.Annotated[int, msgspec.Meta(gt=0)]) == "int"
        assert describe(typing.Optional[Point]) == describe(Point | None) != describe(Point)  # noqa: UP045 - the old way

    def test_names_that_are_not_there_are_taken_as_texts(self):
        def make(text):
            return type(
                "Made", (), {"__annotations__": {"x": text, "y": int}, "__module__": "m", "__qualname__": "Made"}
            )

        assert "x: Missing" in describe(make("Missing"))
        assert describe(make("Missing")) != describe(make("Gone"))


def both_zstds():
    """The package, and Python's own module where there is one."""
    return [name for name in ("compression.zstd", "zstandard") if importable(name)]


def importable(name):
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


class TestCompression:
    NAMES: typing.ClassVar = ["zlib", *(["zstd"] if both_zstds() else [])]

    @pytest.mark.parametrize("name", NAMES)
    @given(data=st.binary(max_size=300))
    def test_there_and_back(self, name, data):
        compression = compression_named(name)
        assert compression.decompress(memoryview(compression.compress(data * 9)), len(data) * 9) == data * 9

    @pytest.mark.parametrize("name", NAMES)
    def test_more_than_the_limit_is_not_made(self, name):
        compression = compression_named(name)
        bomb = compression.compress(bytes(50_000_000))
        assert len(bomb) < 500_000
        with pytest.raises(ValueTooLarge):
            compression.decompress(bomb, 49_999_999)
        assert len(compression.decompress(bomb, 50_000_000)) == 50_000_000

    @pytest.mark.parametrize("name", NAMES)
    def test_damaged_data_is_refused(self, name):
        compression = compression_named(name)
        whole = compression.compress(b"some text, some text" * 50)
        for broken in [b"", whole[1:], whole + b"x", whole + whole, *(whole[:size] for size in range(len(whole)))]:
            with pytest.raises(Exception):  # noqa: B017 - each library has errors of its own
                compression.decompress(broken, 10_000)

    @pytest.mark.skipif(not importable("zstandard"), reason="the package zstandard is not installed")
    def test_zstd_that_hides_its_size_is_refused(self):
        import zstandard

        buffer = io.BytesIO()
        with zstandard.ZstdCompressor().stream_writer(buffer, closefd=False) as stream:
            stream.write(bytes(1_000_000))
        with pytest.raises(ValueError, match="size"):
            compression_named("zstd").decompress(buffer.getvalue(), 2_000_000)

    def test_unknown_names_and_numbers(self):
        with pytest.raises(ValueError, match="'zlib', 'zstd'"):
            compression_named("brotli")
        with pytest.raises(LookupError):
            compression_numbered(3)
        assert zlib.decompress(compression_numbered(1).compress(b"x")) == b"x"


class TestSeal:
    KEYS: typing.ClassVar = {"2026-10": b"o" * 32, "2026-11": b"n" * 32}

    @pytest.fixture(params=[False, True], ids=["signed", "encrypted"])
    def encrypt(self, request):
        if request.param:
            pytest.importorskip("cryptography")
        return request.param

    def test_there_and_back(self, encrypt):
        seal = Seal(self.KEYS, "2026-11", encrypt=encrypt)
        sealed = seal.close(b"bound", b"body")
        assert len(sealed) == 4 + seal.overhead
        assert seal.open(seal.key, b"bound", memoryview(sealed)) == b"body"
        assert (b"body" in sealed) is not encrypt

    def test_every_flip_and_every_cut_is_noticed(self, encrypt):
        seal = Seal(self.KEYS, "2026-11", encrypt=encrypt)
        sealed = seal.close(b"bound", b"body")
        for at in range(len(sealed)):
            flipped = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
            assert seal.open(seal.key, b"bound", memoryview(flipped)) is None
            assert seal.open(seal.key, b"bound", memoryview(sealed[:at])) is None
        assert seal.open(seal.key, b"bounds", memoryview(sealed)) is None
        assert seal.open(seal.key, b"boun", memoryview(b"d" + sealed)) is None
        assert seal.open(seal.key ^ 1, b"bound", memoryview(sealed)) is None

    def test_keys_are_rotated_by_id(self, encrypt):
        old = Seal({"2026-10": self.KEYS["2026-10"]}, "2026-10", encrypt=encrypt)
        both = Seal(self.KEYS, "2026-11", encrypt=encrypt)
        new = Seal({"2026-11": self.KEYS["2026-11"]}, "2026-11", encrypt=encrypt)
        ancient, recent = old.close(b"", b"a"), both.close(b"", b"b")
        assert both.open(old.key, b"", memoryview(ancient)) == b"a"
        assert new.open(both.key, b"", memoryview(recent)) == b"b"
        assert new.open(old.key, b"", memoryview(ancient)) is None
        assert old.open(both.key, b"", memoryview(recent)) is None

    def test_encryption_never_repeats_itself(self):
        pytest.importorskip("cryptography")
        seal = Seal(self.KEYS, "2026-11", encrypt=True)
        sealed = {seal.close(b"", b"same") for _ in range(100)}
        assert len({data[:12] for data in sealed}) == 100

    @pytest.mark.parametrize(
        ("keys", "current", "encrypt", "error", "words"),
        [
            ({"a": b"x" * 15}, "a", False, ValueError, "'a' must have 16 bytes at least .* not 15"),
            ({"a": b"x" * 32, "b": b""}, "a", False, ValueError, "'b' must have 16 bytes"),
            ({"a": b"x" * 31}, "a", True, ValueError, "'a' must have 32 bytes .* not 31"),
            ({"a": b"x" * 33}, "a", True, ValueError, "'a' must have 32 bytes .* not 33"),
            ({"a": "x" * 32}, "a", False, TypeError, "'a' must be bytes, not str"),
            ({1: b"x" * 32}, 1, False, TypeError, "ids must be str, not int"),
            ({"a": b"x" * 32}, "b", False, ValueError, "current must be .*'a'; not 'b'"),
            ({}, "a", False, ValueError, "current"),
            ([b"x" * 32], "a", False, TypeError, "mapping"),
            ({"plumless": b"x" * 32, "buckeroo": b"x" * 32}, "plumless", False, ValueError, "CRC-32"),
        ],
    )
    def test_bad_keys(self, keys, current, encrypt, error, words):
        if encrypt:
            pytest.importorskip("cryptography")
        with pytest.raises(error, match=words):
            Seal(keys, current, encrypt=encrypt)

    def test_its_repr_keeps_the_secret(self):
        shown = repr(Seal(self.KEYS, "2026-11"))
        assert "2026-10" in shown
        assert "nnnn" not in shown

    def test_one_secret_serves_both_manners_by_different_keys(self):
        pytest.importorskip("cryptography")
        signed, encrypted = (Seal(self.KEYS, "2026-11", encrypt=encrypt) for encrypt in (False, True))
        assert signed.open(encrypted.key, b"", memoryview(encrypted.close(b"", b"x" * 32))) is None
        assert encrypted.open(signed.key, b"", memoryview(signed.close(b"", b"x" * 32))) is None


def test_pickles_are_of_a_protocol_that_all_pythons_read():
    assert PickleCodec().encode([])[:2] == b"\x80\x05"
    assert pickle.loads(PickleCodec().encode({1, builtins.print})) == {1, print}
