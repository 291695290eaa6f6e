"""Envelopes opened many at a time: whatever they are, what comes out is what comes out of them one by one."""

import dataclasses
import gc
import itertools
import math
import struct
import sys
import weakref
import zlib

import pytest
from subprocesses import run_script
from tiers.fuzz_wire import KEYS, NAME, NOW, USER, VALUE, User, encodings, mutant

from hotset.codecs import Seal
from hotset.errors import CodecError
from hotset.tiers.contract import NOTHING_FOUND, Entry, Found, Opened
from hotset.wire import KIND_AT, PREFIX_BYTES, Wire, ended, lease_marker

VERSION = bytes(range(1, 13))
ALL_EPOCHS = (0, 2**64 - 1)
WRITER = "web-1:4711"
TIMES = ("life", "keep", "age")
FAR = 2**53 / 1000  # seconds, of which milliseconds cannot be told any more


def envelope(value="value", name=NAME, wire=None, **fields):
    return (wire or Wire(writer=WRITER)).encode(name, Entry(value, VERSION, **fields), NOW)


def checked(data, name=NAME):
    """The same with the check that belongs to it, whatever its length says."""
    check = zlib.crc32(data[20:], zlib.crc32(name.encode("utf-8", "surrogatepass")))
    return data[:16] + struct.pack("<I", check) + data[20:]


def packed(data, at, shape, *numbers):
    """The same with numbers at a place, and the check that belongs to it."""
    return checked(data[:at] + struct.pack(shape, *numbers) + data[at + struct.calcsize(shape) :])


def look(decode, place, data, epochs):
    """What a level makes of an envelope that it opens by itself."""
    entry = decode(place, data)
    if isinstance(entry, str) or not epochs[0] <= entry.epoch <= epochs[1]:
        return Found(None, data[:PREFIX_BYTES])
    return Found(entry, data[:PREFIX_BYTES])


def one_by_one(wire, names, envelopes, now=NOW, epochs=ALL_EPOCHS):
    return [
        NOTHING_FOUND if data is None else look(lambda *args: wire.decode(*args, now), name, data, epochs)
        for name, data in zip(names, envelopes, strict=True)
    ]


def many(wire, names, envelopes, now=NOW, epochs=ALL_EPOCHS):
    """What decode_many finds; how it said it; and which places it left to Python."""
    odd = []

    def left(place, data):
        odd.append((place, data))
        return look(lambda *args: wire.decode(*args, now), place, data, epochs)

    got = wire.decode_many(names, envelopes, now, epochs, left)
    return (wire.found(got) if isinstance(got, Opened) else got), got, odd


def told(found):
    """What was found, in words: to the last bit of each float, but for times of which a double cannot hold seconds."""

    def time_(seconds):
        return f"{seconds:.13g}" if abs(seconds) > FAR else seconds

    return [
        repr(one)
        if one.entry is None
        else (
            one.fence,
            one.taken,
            repr(dataclasses.replace(one.entry, **{at: time_(getattr(one.entry, at)) for at in TIMES})),
        )
        for one in found
    ]


def assert_alike(wire, names, envelopes, now=NOW, epochs=ALL_EPOCHS):
    """Open by both ways, and compare what they say; return it, how it was said, and what was left to Python."""
    names, envelopes = list(names), list(envelopes)
    expected = one_by_one(wire, names, envelopes, now, epochs)
    found, got, odd = many(wire, names, envelopes, now, epochs)
    assert repr(found) == repr(expected) or told(found) == told(expected)
    assert all(type(one) is Found for one in found)
    assert {type(one.entry) for one in found} <= {Entry, type(None)}
    if isinstance(got, Opened):
        assert all(entry.life > 0 and not entry.absent and not entry.tags for entry, _, _ in found)
        assert got.values == [entry.value for entry, _, _ in found]
        assert got.now == now
        assert not odd
    return found, got, odd


# All that a level may hold under a name.
SHAPES = {
    "plain": {},
    "tagged": {"tags": ("team:7", "gr\u00fcn")},
    "an empty tag": {"tags": ("",)},
    "written in another alphabet": {"writer": "\u0434\u043e\u043c\U0001f600"},
    "a writer of 255 bytes": {"writer": "x" * 255},
    "a writer too long to be remembered": {"writer": "w" * 250, "tags": ("red",)},
    "with an end": {"life": 30.0, "keep": 30.0},
    "kept longer": {"life": 30.0, "keep": 90.0},
    "kept for ever": {"life": 30.0},
    "expired": {"life": -5.0, "keep": 90.0},
    "expires now": {"life": 0.0, "keep": 90.0},
    "about to expire": {"life": 0.001, "keep": 90.0},
    "old and dear": {"age": 1e6, "cost": 3.25},
    "of the future": {"age": -60.0},
    "of an epoch": {"epoch": 7},
    "of a large epoch": {"epoch": 2**63 + 1},
    "of the last epoch": {"epoch": 2**64 - 1},
    "absent": {"value": None, "absent": True},
    "nothing": {"value": None},
    "short": {"value": 0},
    "long": {"value": b"x" * 3000},
}


def samples():
    """Return envelopes by what they are."""
    made = {label: envelope(**fields) for label, fields in SHAPES.items()}
    plain = made["plain"]
    made |= {
        "of no writer": envelope(wire=Wire(writer="")),
        "ended by hand": plain[:KIND_AT] + ended(b"n" * 12) + plain[PREFIX_BYTES:],
        "compressed": envelope("x" * 500, wire=Wire(compress="zlib", compress_above=0)),
        "sealed": envelope(wire=Wire(seal=Seal(KEYS, "new"))),
        "of another codec": envelope(wire=Wire("json")),
        "of another schema": envelope(wire=Wire(schema="v2")),
        "of a type": envelope(USER, wire=Wire(type=User)),
        "a value of no such type": envelope(VALUE, wire=Wire(type=User)),
        "of another name": envelope(name="users:43"),
        "lease": lease_marker(b"t" * 12),
        "foreign": b"{}",
        "empty": b"",
        "only a head": checked(plain[:68]),
    }
    return made


READERS = {
    "any": Wire(),
    "typed": Wire(type=User),
    "json": Wire("json"),
    "schema": Wire(schema="v2"),
    "sealed": Wire(seal=Seal(KEYS, "new")),
    "small": Wire(max_bytes=100),
}


@pytest.fixture(params=READERS)
def reader(request):
    return READERS[request.param]


class TestAllThatThereIs:
    @pytest.mark.parametrize("label", [*samples(), None])
    def test_alone(self, reader, label):
        data = samples().get(label)
        assert_alike(reader, [NAME], [data])
        assert_alike(reader, [NAME, NAME], [data, data])

    def test_in_any_order(self, reader, rng):
        """What is found first decides how the rest is said."""
        kinds = [*samples().values(), None]
        for _ in range(300):
            envelopes = rng.choices(kinds, k=rng.randrange(12))
            assert_alike(reader, [NAME] * len(envelopes), envelopes)

    def test_nothing_at_all(self):
        assert assert_alike(Wire(), [], [])[0] == []

    def test_what_is_fresh_is_not_left_to_python(self):
        """Without this, all that is above could be right for the reason that nothing is done."""
        wire = Wire()
        usual = ("plain", "written in another alphabet", "a writer of 255 bytes", "with an end", "kept longer")
        usual += ("kept for ever", "about to expire", "old and dear", "of a large epoch", "nothing", "long")
        envelopes = [samples()[label] for label in usual] + [envelope(wire=Wire(writer=""))]
        names = [NAME] * len(envelopes)
        one_by_one(wire, names, envelopes)  # meets the writers
        found, got, odd = assert_alike(wire, names, envelopes)
        assert isinstance(got, Opened)
        assert not odd
        assert [found[at].entry.writer for at in (0, 1, -1)] == [WRITER, SHAPES[usual[1]]["writer"], ""]
        # Neither is what has tags or has expired, but then each is said in full.
        for label in ("tagged", "an empty tag", "expired", "expires now"):
            found, got, odd = assert_alike(wire, [NAME] * 3, [envelopes[0], samples()[label], envelopes[0]])
            assert isinstance(got, list)
            assert not odd

    def test_by_another_clock(self):
        """Each side of the end of a life, and of what a double holds of it."""
        wire = Wire()
        data = envelope(life=30.0, keep=90.0, age=1.0)
        steps = (0.0, 0.0005, 0.001, 0.0015, 1.0, 29.999, 29.9995, 30.0, 30.0005, 30.001, 89.999, 90.0, 1e9, -1e9, -NOW)
        for step in steps:
            _, got, _ = assert_alike(wire, [NAME], [data], NOW + step)
            assert isinstance(got, Opened) is (wire.decode(NAME, data, NOW + step).life > 0)
        assert_alike(wire, [NAME], [data], math.nextafter(NOW + 30.0, 0.0))
        assert_alike(wire, [NAME], [data], math.nextafter(NOW + 30.0, math.inf))

    def test_names_of_all_kinds(self):
        """The check covers the name, which need not be UTF-8."""
        wire = Wire()
        names = ["", "a", "a\0b", "gr\u00fcn", "\U0001f600" * 9, "\ud800", "a\udfffb", "~s~", "x" * 500]
        envelopes = [envelope(number, name) for number, name in enumerate(names)]
        one_by_one(wire, names, envelopes)
        found, _, odd = assert_alike(wire, names, envelopes)
        assert [one.entry.value for one in found] == list(range(len(names)))
        assert [name for name, _ in odd] == ["\ud800", "a\udfffb"]
        for shift in range(1, len(names)):
            swapped, _, _ = assert_alike(wire, names[shift:] + names[:shift], envelopes)
            assert all(one.entry is None for one in swapped)

    def test_epochs(self):
        """What is older than the last clearing is dead, and so is what is of a time that never was."""
        wire = Wire(writer=WRITER)
        epochs = [0, 1, 5, 6, 7, 8, 9, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1]
        envelopes = [envelope(epoch, epoch=epoch) for epoch in epochs]
        names = [NAME] * len(epochs)
        for cleared, epoch in itertools.combinations_with_replacement(epochs, 2):
            found, _, _ = assert_alike(wire, names, envelopes, epochs=(cleared, epoch))
            alive = [one.entry.value for one in found if one.entry is not None]
            assert alive == [at for at in epochs if cleared <= at <= epoch]
        assert_alike(wire, names, envelopes, epochs=(9, 5))


class TestSizes:
    @pytest.mark.parametrize("limit", [1, 100, 4096 - 68 - 2, 4096 - 68, 4096, 10_000])
    def test_around_all_limits(self, limit):
        writer, reader = Wire(RawCodec(), writer=""), Wire(RawCodec(), max_bytes=limit)
        sizes = {size + step for size in (0, limit, 4096, 4096 - 68) for step in range(-3, 4)}
        envelopes = [envelope(bytes(size), wire=writer) for size in sorted(sizes) if size >= 0]
        assert_alike(reader, [NAME] * len(envelopes), envelopes)
        for data in envelopes:
            found, _, odd = assert_alike(reader, [NAME], [data])
            assert (found[0].entry is not None) is (len(data) - 68 <= limit)
            assert (not odd) is (len(data) < 4096 and len(data) - 68 <= limit)

    def test_an_extra_block_counts(self):
        """A value above the limit is not let through by the room that is left for writer and tags."""
        writer, reader = Wire(RawCodec(), writer="w" * 200), Wire(RawCodec(), max_bytes=1000)
        envelopes = [envelope(bytes(size), wire=writer) for size in range(700, 1300, 7)]
        found, _, _ = assert_alike(reader, [NAME] * len(envelopes), envelopes)
        assert [one.entry is not None for one in found] == [size <= 1000 for size in range(700, 1300, 7)]


class RawCodec:
    """Bytes as they are."""

    id = 201
    name = "raw"
    safe = True
    schema = ""
    mismatches = ()

    def encode(self, value, /):
        return value

    def decode(self, data, /):
        return bytes(data)


class TestCheck:
    """The check is CRC-32, as zlib has it."""

    def test_of_every_length(self, rng):
        wire = Wire(RawCodec(), writer="")
        for name in ("", "a", "ab", "abc", "users:42", "gr\u00fcn", "x" * 31):
            bodies = [rng.randbytes(size) for size in range(301)]
            envelopes = [envelope(body, name, wire) for body in bodies]
            _, got, odd = assert_alike(wire, [name] * 301, envelopes)
            assert not odd
            assert got.values == bodies
            spoiled = [
                data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
                for data in envelopes
                for at in [rng.randrange(20, len(data))]
            ]
            found, _, odd = assert_alike(wire, [name] * 301, spoiled)
            assert [one.entry for one in found] == [None] * 301
            assert odd == [(name, data) for data in spoiled]

    def test_of_every_byte_at_every_place(self):
        """All of the tables are looked at."""
        wire = Wire(RawCodec(), writer="")
        bodies = [bytes(at) + bytes((byte,)) + bytes(15 - at) for at in range(16) for byte in range(256)]
        _, got, _ = many(wire, [NAME] * len(bodies), [envelope(body, wire=wire) for body in bodies])
        assert got.values == bodies


class TestDamage:
    @pytest.fixture(params=["plain", "tagged", "kept longer", "of no writer", "expired", "ended by hand"])
    def data(self, request):
        return samples()[request.param]

    def spoiled(self, data, at):
        return [
            data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :] for mask in (*(1 << bit for bit in range(8)), 255)
        ]

    def test_every_flip(self, data):
        wire = Wire()
        for at in range(len(data)):
            variants = self.spoiled(data, at)
            found, _, _ = assert_alike(wire, [NAME] * 9, variants)
            if at < KIND_AT or at >= PREFIX_BYTES:
                assert all(one.entry is None for one in found)
            for variant in variants[:3]:
                assert_alike(wire, [NAME] * 3, [data, variant, data])

    def test_every_flip_that_is_not_an_accident(self, data):
        """With the check that belongs to it."""
        wire = Wire()
        for at in range(PREFIX_BYTES + 4, len(data)):
            assert_alike(wire, [NAME] * 9, [checked(variant) for variant in self.spoiled(data, at)])

    def test_every_truncation(self, data):
        wire = Wire()
        cut = [data[:size] for size in range(len(data))]
        found, _, _ = assert_alike(wire, [NAME] * len(cut), cut)
        assert all(one.entry is None for one in found)
        long = [checked(data[:size]) for size in range(20, len(data))]
        assert_alike(wire, [NAME] * len(long), long)

    def test_bytes_behind(self, data):
        wire = Wire()
        longer = [data + bytes(size) for size in range(1, 20)]
        found, _, _ = assert_alike(wire, [NAME] * len(longer), longer)
        assert all(one.entry is None for one in found)
        assert_alike(wire, [NAME] * len(longer), list(map(checked, longer)))

    def test_extra_blocks_of_any_length(self, data):
        wire = Wire()
        for size in (*range(40), 255, 256, 257, len(data) - 68, len(data) - 67, len(data), 0x7FFF, 0xFFFF):
            assert_alike(wire, [NAME] * 3, [data, packed(data, 22, "<H", size), data])

    def test_numbers_at_their_ends(self, data):
        wire = Wire()
        moments = (0, 1, 999, int(NOW * 1000) - 1, int(NOW * 1000), int(NOW * 1000) + 1, 2**53, 2**63, 2**64 - 1)
        variants = [packed(data, 44, "<QQQ", *three) for three in itertools.product(moments, repeat=3)]
        assert_alike(wire, [NAME] * len(variants), variants)
        costs = (math.nan, -math.nan, math.inf, -math.inf, -1.0, -0.0, 0.0, 1e-45, 3e38)
        variants = [packed(data, 32, "<f", cost) for cost in costs]
        variants += [packed(data, 32, "<I", bits) for bits in (0x7F800001, 0xFF800001, 0xFFFFFFFF, 1, 0x80000001)]
        assert_alike(wire, [NAME] * len(variants), variants)
        variants = [
            packed(data, 24, "<I", size) for size in (0, 67, 68, len(data) - 1, len(data), len(data) + 1, 2**32 - 1)
        ]
        assert_alike(wire, [NAME] * len(variants), variants)

    def test_mutants(self, rng):
        sound = [*encodings(), *samples().values()]
        wires = [READERS["any"], READERS["typed"], Wire(max_bytes=1000, writer="")]
        opened = 0
        for _ in range(2500):
            envelopes = [mutant(rng, sound) for _ in range(rng.randrange(1, 20))]
            for wire in wires:
                opened += sum(
                    one.entry is not None for one in assert_alike(wire, [NAME] * len(envelopes), envelopes)[0]
                )
        assert opened > 1000

    @pytest.mark.parametrize(
        "thing",
        [bytearray(b"x"), memoryview(b"x"), "text", 7, [], ValueError("an error reply"), True],
        ids=lambda thing: type(thing).__name__,
    )
    def test_what_is_no_bytes_is_left_as_it_is(self, thing):
        seen = []

        def odd(place, data):
            seen.append((place, data))
            return NOTHING_FOUND

        data = envelope()
        wire = Wire(writer=WRITER)
        wire.decode(NAME, data, NOW)
        for envelopes in ([thing], [data, thing, None, data], [None, thing]):
            seen.clear()
            found = wire.decode_many([NAME] * len(envelopes), envelopes, NOW, ALL_EPOCHS, odd)
            assert [one.entry is not None for one in found] == [one is data for one in envelopes]
            assert len(seen) == 1
            assert seen[0][1] is thing

    def test_bytes_of_another_kind(self):
        """A bytearray that is an envelope, and bytes of a subclass, are looked at in Python alone."""

        class Data(bytes):
            __slots__ = ()

        for kind in (bytearray, memoryview, Data):
            seen = []
            Wire(writer=WRITER).decode_many(
                [NAME], [kind(envelope())], NOW, ALL_EPOCHS, lambda *args: seen.append(args)
            )
            assert len(seen) == 1


class Scripted(RawCodec):
    """A codec that does what it is told to when it decodes."""

    def __init__(self, does):
        self.does = does

    def decode(self, data, /):
        return self.does(bytes(data))


class Value:
    """Something that can be pointed to, and can point to something."""


def raising(error):
    def does(data):
        if data == b"bad":
            raise error
        return data

    return does


class TestDecoders:
    """Of users' own: they raise what they like, and come back in."""

    BODIES = (b"a", b"bad", b"b", b"bad", b"c")

    def envelopes(self, bodies=BODIES, **fields):
        return [envelope(body, wire=Wire(RawCodec(), writer=WRITER), **fields) for body in bodies]

    @pytest.mark.parametrize(
        "error",
        [ValueError("x"), KeyError(1), MemoryError(), StopIteration(), RecursionError(), CodecError("x")],
        ids=repr,
    )
    def test_what_raises_is_left_to_python(self, error):
        wire = Wire(Scripted(raising(error)))
        for bodies in itertools.product((b"good", b"bad"), repeat=4):
            envelopes = self.envelopes(bodies)
            found, _, odd = assert_alike(wire, [NAME] * 4, envelopes)
            assert [one.entry is not None for one in found] == [body == b"good" for body in bodies]
            assert [data for _, data in odd] == [data for data in envelopes if data.endswith(b"bad")]

    def test_a_type_that_does_not_fit(self):
        wire = Wire(type=User)
        envelopes = [envelope(value, wire=Wire(type=User, writer=WRITER)) for value in (USER, {"id": "x"}, USER, 7)]
        one_by_one(wire, [NAME] * 4, envelopes)
        found, _, odd = assert_alike(wire, [NAME] * 4, envelopes)
        assert [one.entry and one.entry.value for one in found] == [USER, None, USER, None]
        assert [data for _, data in odd] == envelopes[1::2]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_what_is_no_error_goes_through(self, error):
        """It comes once, as a signal does: who swallows it is not told again."""
        left = []

        def does(data):
            if data == b"bad" and not left:
                left.append(data)
                raise error
            return data

        wire = Wire(Scripted(does))
        wire.decode(NAME, self.envelopes([b"good"])[0], NOW)
        for bodies in (self.BODIES, (b"bad",), (b"a", b"bad")):
            left.clear()
            with pytest.raises(error):
                many(wire, [NAME] * len(bodies), self.envelopes(bodies))
            found, _, _ = many(wire, [NAME] * len(bodies), self.envelopes(bodies))
            assert [one.entry.value for one in found] == [*bodies]

    def test_what_python_makes_of_the_rest_may_raise(self):
        def odd(place, data):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            Wire().decode_many([NAME] * 2, [envelope(), b"x"], NOW, ALL_EPOCHS, odd)

    def test_more_writers_than_are_remembered(self, rng):
        """The table is cleared when it is full, in the middle of a reading, too."""
        wire = Wire()
        envelopes = [envelope(number, writer=f"w{number}") for number in range(1500)]
        for _ in range(3):
            found, _, _ = assert_alike(wire, [NAME] * 1500, envelopes)
            assert [one.entry.writer for one in found] == [f"w{number}" for number in range(1500)]
            rng.shuffle(few := envelopes[:600])
            assert_alike(wire, [NAME] * 600, few)
            assert len(wire._unpacked) <= 512

    def test_a_decoder_that_decodes(self):
        """It fills and clears the table of what is remembered while that is in use."""
        others = [
            envelope(bytes(1), name="other", wire=Wire(RawCodec()), writer=f"w{number}", tags=("t",) * (number % 3))
            for number in range(700)
        ]
        running = []

        def does(data):
            if not running:
                running.append(1)
                try:
                    assert_alike(wire, ["other"] * 700, others)
                    wire._unpacked.clear()
                    gc.collect()
                finally:
                    running.clear()
            return data

        wire = Wire(Scripted(does))
        bodies = [b"%d" % number for number in range(12)]
        for fields in ({}, {"tags": ("red",)}, {"life": -1.0}):
            envelopes = self.envelopes(bodies, **fields)
            found, _, _ = many(wire, [NAME] * 12, envelopes)
            assert [(one.entry.value, one.entry.writer, one.fence) for one in found] == [
                (body, WRITER, data[:PREFIX_BYTES]) for body, data in zip(bodies, envelopes, strict=True)
            ]
            assert all(one.entry.tags == fields.get("tags", ()) for one in found)


class TestReferences:
    def test_none_is_lost_or_kept(self):
        """Whatever is found, and also if it raises: what went in is held by nobody else afterwards."""
        wire = Wire(Scripted(raising(KeyboardInterrupt)))
        values = {b"%d" % number: [number] for number in range(4)}
        wire._bytes_value = lambda data: raising(KeyboardInterrupt())(data) and values[bytes(data)]
        made = TestDecoders().envelopes
        good = made([*values])
        tagged = made([*values], tags=("red",))
        bad = made([b"0", b"1", b"bad"])
        names = [f"{NAME}"[:3] + f"{NAME}"[3:] for _ in range(4)]
        lists = (good, [good[0], None, b"x", good[1]], tagged, [*good[:3], tagged[3]], [*tagged[:2], *good[2:]])
        watched = [*good, *tagged, *bad, *names, *values.values(), NOTHING_FOUND, WRITER, wire, Found, Entry, lists[1]]

        def round_():
            for envelopes in lists:
                assert len(many(wire, names[: len(envelopes)], envelopes)[0]) == 4
            with pytest.raises(KeyboardInterrupt):
                many(wire, names[:3], bad)
            with pytest.raises(KeyboardInterrupt):
                many(wire, names[:4], [None, *bad])

        round_()
        gc.collect()
        before = list(map(sys.getrefcount, watched))
        for _ in range(200):
            round_()
        gc.collect()
        assert list(map(sys.getrefcount, watched)) == before

    @pytest.mark.parametrize("fields", [{}, {"tags": ("red",)}], ids=["opened", "in full"])
    def test_entries_are_seen_by_the_collector(self, fields, collect):
        """A value that holds the reading it came in goes with it."""
        wire = Wire(Scripted(lambda data: Value()))
        envelopes = TestDecoders().envelopes([b"a", b"b", b"c"], **fields)
        one_by_one(wire, [NAME] * 3, envelopes)
        found, got, odd = many(wire, [NAME] * 3, envelopes)
        assert isinstance(got, Opened) is not bool(fields)
        assert not odd
        held = [weakref.ref(one.entry.value) for one in found]
        found[0].entry.value.holds = found[0].entry
        found[1].entry.value.holds = found[1]
        found[2].entry.value.holds = found
        del found, got
        assert None not in [one() for one in held]
        collect()
        assert [one() for one in held] == [None] * 3

    @pytest.mark.unsanitized("measures memory")
    def test_memory_returns_to_where_it_was(self):
        run_script(
            """
            import gc, tracemalloc
            from tiers.test_wire_many import NAME, many, samples
            from hotset.tiers.contract import Opened
            from hotset.wire import Wire

            wire = Wire()
            kinds = [*samples().values(), None]
            plain = [samples()["plain"]] * 100

            def round():
                many(wire, [NAME] * len(kinds), kinds)
                for turn in range(20):
                    found, got, _ = many(wire, [NAME] * 100, plain)
                    assert isinstance(got, Opened)
                    found[0].entry.value = found
                    found[1].entry.value = found[1]

            for _ in range(3):
                round()
            gc.collect()
            tracemalloc.start()
            round()
            del round.__globals__["_"]
            gc.collect()
            first, objects = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
            for _ in range(10):
                round()
            gc.collect()
            growth = tracemalloc.get_traced_memory()[0] - first
            assert growth < 4000, f"{growth} bytes more after ten rounds"
            assert len(gc.get_objects()) - objects < 20
            """
        )
