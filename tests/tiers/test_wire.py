"""The envelope: what goes in comes out, and nothing else is believed."""

import dataclasses
import math
import os
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
import typing
import zlib

import pytest
from hypothesis import given, strategies as st
from tiers.fuzz_wire import EXPLODED, KEYS, NAME, NOW, USER, VALUE, WIRES, Bomb, User, check, encodings, fuzz, repaired

from hotset.codecs import Codec, MsgpackCodec, Seal
from hotset.errors import CodecError, ValueTooLarge
from hotset.tiers.contract import Entry
from hotset.wire import KIND_AT, PREFIX_BYTES, REFUSALS, Wire, ended, fence_of, is_lease, lease_marker

VERSION = bytes(range(1, 13))
FULL = {
    "life": 30.0,
    "keep": 90.0,
    "age": 2.5,
    "cost": 0.25,
    "tags": ("team:7", "grün"),
    "epoch": 2**63,
    "writer": "web:1",
}

LABELS = ["any", "typed", "json", "zlib", "signed", "encrypted", "pickle"]
SEALED = ["signed", "encrypted", "pickle"]


def wire_of(label):
    if label == "encrypted":
        pytest.importorskip("cryptography")
    return WIRES[label]


def flipped(data, at, bit):
    return data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]


def end(data, version=b"n" * 12):
    """What the server makes of an entry whose life it ends."""
    return data[:KIND_AT] + ended(version) + data[PREFIX_BYTES:]


@pytest.fixture(params=LABELS)
def pair(request):
    """A wire and a value of its own."""
    return wire_of(request.param)


class TestRoundTrip:
    def test_all_fields_come_back(self, pair):
        wire, value = pair
        entry = wire.decode(NAME, wire.encode(NAME, Entry(value, VERSION, **FULL), NOW), NOW)
        assert entry == Entry(value, VERSION, **FULL)

    def test_defaults_come_back(self, pair):
        wire, value = pair
        entry = wire.decode(NAME, wire.encode(NAME, Entry(value, VERSION, writer="w"), NOW), NOW)
        assert entry == Entry(value, VERSION, writer="w")

    def test_absence_comes_back(self, pair):
        wire, _ = pair
        entry = Entry(None, VERSION, absent=True, **FULL)
        assert wire.decode(NAME, wire.encode(NAME, entry, NOW), NOW) == entry

    def test_absent_and_none_differ(self):
        wire = Wire()
        there = wire.decode(NAME, wire.encode(NAME, Entry(None, VERSION), NOW), NOW)
        assert there.value is None
        assert there.absent is False

    @given(
        value=st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**64 - 1)
            | st.floats(allow_nan=False)
            | st.text()
            | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
        life=st.floats(-1e6, 1e6) | st.just(math.inf),
        more=st.floats(0, 1e6),
        age=st.floats(0, 1e6),
        tags=st.lists(st.text(max_size=20), max_size=4).map(tuple),
        epoch=st.integers(0, 2**64 - 1),
        name=st.text(),
        label=st.sampled_from(["any", "zlib", "signed"]),
    )
    def test_any_entry(self, value, life, more, age, tags, epoch, name, label):
        wire, _ = WIRES[label]
        before = Entry(value, VERSION, life, life + more, age, 0.5, tags=tags, epoch=epoch, writer="w")
        after = wire.decode(name, wire.encode(name, before, NOW), NOW)
        for what in ("life", "keep", "age"):
            assert getattr(after, what) == pytest.approx(getattr(before, what), abs=0.0021)
        assert dataclasses.replace(after, life=life, keep=life + more, age=age) == before

    def test_the_writer_is_this_process_unless_told(self):
        wire = Wire()
        assert wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION), NOW), NOW).writer.endswith(f":{os.getpid()}")
        told = Wire(writer="me")
        assert told.decode(NAME, told.encode(NAME, Entry(1, VERSION), NOW), NOW).writer == "me"
        assert told.decode(NAME, told.encode(NAME, Entry(1, VERSION, writer="you"), NOW), NOW).writer == "you"

    def test_the_writer_changes_with_a_fork(self):
        script = (
            "import os\n"
            "from hotset.tiers.contract import Entry\n"
            "from hotset.wire import Wire\n"
            "wire = Wire()\n"
            "def writer(): return wire.decode('n', wire.encode('n', Entry(1, b'v' * 12), 1e9), 1e9).writer\n"
            "assert writer().endswith(f':{os.getpid()}')\n"
            "child = os.fork()\n"
            "if not child: os._exit(0 if writer().endswith(f':{os.getpid()}') else 7)\n"
            "print(os.waitpid(child, 0)[1])\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == "0"

    def test_many_writers_and_tags_are_forgotten_again(self):
        wire = Wire(writer="w")
        for number in range(3000):
            entry = Entry(number, VERSION, tags=(f"t{number}",), writer=f"w{number}")
            assert wire.decode(NAME, wire.encode(NAME, entry, NOW), NOW) == entry
        assert len(wire._packed) <= 512
        assert len(wire._unpacked) <= 512


class TestFormat:
    """What other versions have written stays readable: a change that fails here is a change of the format's number."""

    HEAD: typing.ClassVar = "c14801010102030405060708090a0b0c"
    REST: typing.ClassVar = (
        "3bfc26950000803e00000000000000803c6250c4a001000030e150c4a001000090cb51c4a001"
        "0000057765623a3106007465616d3a3705006772c3bc6e"
    )
    WRITTEN: typing.ClassVar = {
        "plain": (HEAD + "1297b48e010015005e000000" + REST + "81a269642a", {}),
        "signed": (
            HEAD + "4544e36b031015008f000000" + REST + "8005950b000000000000007d948c026964944b2a73"
            "2ed64d482de10bfa2ec43e6c90516e0c9ddd7b5c2419d246cb0973fff2a28c3d1a",
            {"codec": "pickle", "seal": False},
        ),
        "encrypted": (
            HEAD + "e5d45d3f022015007e000000" + REST + "69e385d91e0ac697e4a6f16a3f0b6388d1658a2fe132fb2ad85fc79d82cd"
            "5f98c22ce83b84",
            {"codec": "json", "seal": True},
        ),
    }

    @pytest.mark.parametrize("label", WRITTEN)
    def test_old_bytes_are_read(self, label):
        data, options = self.WRITTEN[label]
        if options.get("seal"):
            pytest.importorskip("cryptography")
        seal = Seal(KEYS, "new", encrypt=options["seal"]) if "seal" in options else None
        wire = Wire(options.get("codec", "msgpack"), schema="v1", seal=seal)
        assert wire.decode(NAME, bytes.fromhex(data), NOW) == Entry({"id": 42}, VERSION, **FULL)

    def test_new_bytes_are_the_same(self):
        data = Wire(schema="v1").encode(NAME, Entry({"id": 42}, VERSION, **FULL), NOW)
        assert data.hex() == self.WRITTEN["plain"][0]


class TestTimes:
    def test_what_is_left_gets_less(self):
        wire = Wire()
        later = wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION, **FULL), NOW), NOW + 10)
        assert (later.life, later.keep, later.age) == pytest.approx((20, 80, 12.5), abs=0.002)
        dead = wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION, **FULL), NOW), NOW + 100)
        assert (dead.life, dead.keep, dead.age) == pytest.approx((-70, -10, 102.5), abs=0.002)

    def test_they_are_never_rounded_up(self):
        wire = Wire()
        for step in range(200):
            now = NOW + step / 7777
            after = wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION, 0.0015, 0.0025, 0.0015), now), now)
            assert after.life <= 0.0015 + 1e-6
            assert after.keep <= 0.0025 + 1e-6
            assert after.age >= 0.0015 - 1e-6

    def test_age_is_never_negative(self):
        wire = Wire()
        assert wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION, age=-5.0), NOW), NOW + 4).age == 4
        assert wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION), NOW), NOW - 100).age == 0

    def test_never_is_zero(self):
        data = Wire().encode(NAME, Entry(1, VERSION), NOW)
        assert struct.unpack_from("<QQ", data, 52) == (0, 0)

    def test_an_entry_is_kept_as_long_as_it_lives(self):
        wire = Wire()
        assert wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION, 30.0, 5.0), NOW), NOW).keep == 30.0
        assert wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION, math.inf, 5.0), NOW), NOW).keep == math.inf

    @pytest.mark.parametrize("life", [0.0, -1.0, -1e12, -1e300, -math.inf])
    def test_a_life_that_is_over_stays_so(self, life):
        wire = Wire()
        entry = wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION, life, 60.0), NOW), NOW)
        assert -NOW <= entry.life <= 0
        assert entry.keep == 60.0

    @pytest.mark.parametrize("life", [1e15 * 1.01, 1e300, math.inf])
    def test_ages_of_the_world_are_never(self, life):
        wire = Wire()
        assert wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION, life, life), NOW), NOW).life == math.inf

    @pytest.mark.parametrize("cost", [math.nan, -1.0, -math.inf])
    def test_a_cost_that_is_none_is_zero(self, cost):
        wire = Wire()
        assert wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION, cost=cost), NOW), NOW).cost == 0

    def test_a_cost_without_end_is_bounded(self):
        wire = Wire()
        assert wire.decode(NAME, wire.encode(NAME, Entry(1, VERSION, cost=math.inf), NOW), NOW).cost == 1e9

    @pytest.mark.parametrize(
        "fields",
        [
            {"life": math.nan},
            {"keep": math.nan},
            {"age": math.nan},
            {"epoch": -1},
            {"epoch": 2**64},
            {"epoch": "1"},
            {"version": b"x" * 11},
            {"version": b"x" * 13},
            {"version": b""},
            {"life": "long"},
            {"tags": ("\ud800",)},
            {"tags": (7,)},
        ],
        ids=str,
    )
    def test_what_cannot_be_encoded(self, fields):
        with pytest.raises(CodecError):
            Wire().encode(NAME, Entry(**{"value": 1, "version": VERSION, **fields}), NOW)

    @pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf, 1e30])
    def test_a_server_time_that_is_none(self, now):
        with pytest.raises(CodecError):
            Wire().encode(NAME, Entry(1, VERSION, 5.0), now)


class TestFence:
    def test_it_is_in_front(self, pair):
        wire, value = pair
        data = wire.encode(NAME, Entry(value, VERSION), NOW)
        assert Wire.PREFIX_BYTES == PREFIX_BYTES == 16
        assert fence_of(data) == data[:16] == b"\xc1H\x01\x01" + VERSION

    def test_leases(self):
        lease = lease_marker(VERSION)
        assert is_lease(lease)
        assert fence_of(lease) == lease == b"\xc1H\x01\x02" + VERSION
        assert not any(map(is_lease, [b"", lease[:-1], lease + b"x", b"x" + lease[1:], *encodings()[:-7]]))
        assert Wire().decode(NAME, lease, NOW) == "corrupt"
        assert fence_of(lease) != fence_of(Wire().encode(NAME, Entry(1, VERSION), NOW))

    @pytest.mark.parametrize("token", [b"", b"x" * 11, b"x" * 13])
    def test_tokens_of_other_lengths(self, token):
        for make in (lease_marker, ended):
            with pytest.raises(ValueError, match=f"12 bytes, not {len(token)}"):
                make(token)

    def test_a_life_can_be_ended_without_any_key(self, pair):
        wire, value = pair
        data = wire.encode(NAME, Entry(value, VERSION, **FULL), NOW)
        after = wire.decode(NAME, end(data), NOW)
        assert after == Entry(value, b"n" * 12, **{**FULL, "life": 0.0})
        assert wire.decode(NAME, end(data), NOW + 40).life == -10

    def test_a_life_without_end_can_be_ended(self):
        wire = Wire()
        data = wire.encode(NAME, Entry(1, VERSION), NOW)
        assert wire.decode(NAME, end(data), NOW).life == 0


class TestRetime:
    def test_times_change_and_the_rest_stays(self, pair):
        wire, value = pair
        data = wire.encode(NAME, Entry(value, VERSION, **FULL), NOW)
        again = wire.retime(NAME, data, 300.0, 400.0, NOW + 1)
        assert fence_of(again) == fence_of(data)
        assert wire.decode(NAME, again, NOW + 1) == Entry(
            value, VERSION, **{**FULL, "life": 300.0, "keep": 400.0, "age": 3.5}
        )

    def test_an_ended_life_stays_ended(self, pair):
        wire, value = pair
        data = wire.encode(NAME, Entry(value, VERSION), NOW)
        again = wire.retime(NAME, end(data, VERSION), 300.0, 400.0, NOW)
        assert wire.decode(NAME, again, NOW).life == 0

    def test_bytes_that_are_not_believed_are_not_sealed_again(self, pair):
        wire, value = pair
        data = wire.encode(NAME, Entry(value, VERSION), NOW)
        assert wire.retime("other", data, 1.0, 1.0, NOW) in {"corrupt", "forged"}
        for at in (*range(3), *range(16, len(data))):
            assert wire.retime(NAME, flipped(data, at, 0), 1.0, 1.0, NOW) in REFUSALS

    def test_times_that_are_none(self):
        wire = Wire()
        data = wire.encode(NAME, Entry(1, VERSION), NOW)
        with pytest.raises(CodecError):
            wire.retime(NAME, data, math.nan, 1.0, NOW)


class TestDamage:
    """What is not an entry is refused by a word, and never becomes another value."""

    @pytest.fixture(params=[{}, FULL, {"absent": True}], ids=["plain", "full", "absent"])
    def sample(self, request, pair):
        wire, value = pair
        entry = Entry(None if "absent" in request.param else value, VERSION, **request.param)
        return wire, entry, wire.encode(NAME, entry, NOW)

    def test_every_truncation(self, sample):
        wire, _, data = sample
        for size in range(1, len(data)):
            assert wire.decode(NAME, data[:size], NOW) == "corrupt"
        assert wire.decode(NAME, b"", NOW) == "foreign"

    def test_every_flip_of_a_bit(self, sample):
        wire, entry, data = sample
        for at in range(len(data)):
            for bit in range(8):
                got = wire.decode(NAME, flipped(data, at, bit), NOW)
                if isinstance(got, str):
                    assert got in REFUSALS
                    assert got == "foreign" if at < KIND_AT else True
                    continue
                # Only the fence is not covered: the version, and the bit that ends a life.
                assert KIND_AT <= at < PREFIX_BYTES
                assert at > KIND_AT or bit == 7
                assert (got.value, got.absent, got.tags, got.epoch) == (
                    entry.value,
                    entry.absent,
                    entry.tags,
                    entry.epoch,
                )
                assert got.life == (0.0 if at == KIND_AT else entry.life)
                assert got.keep == entry.keep

    def test_every_byte_at_every_place_of_one(self):
        wire, value = WIRES["any"]
        data = wire.encode(NAME, Entry(value, VERSION), NOW)
        for at in range(len(data)):
            for byte in range(256):
                got = wire.decode(NAME, data[:at] + bytes((byte,)) + data[at + 1 :], NOW)
                assert isinstance(got, str) or got.value == value

    def test_bytes_before_and_behind(self, sample):
        wire, _, data = sample
        assert wire.decode(NAME, data + b"\0", NOW) == "corrupt"
        assert wire.decode(NAME, data + data, NOW) == "corrupt"
        assert wire.decode(NAME, b"\0" + data, NOW) == "foreign"

    def test_another_name(self, sample, pair):
        wire, _, data = sample
        expected = "forged" if pair in [WIRES.get(label) for label in SEALED] else "corrupt"
        for name in ("users:43", "", "users:4", "users:422", "\ud800"):
            assert wire.decode(name, data, NOW) == expected

    @given(st.binary(max_size=300))
    def test_random_bytes(self, data):
        assert set(check(data).values()) <= set(REFUSALS)

    @given(st.binary(max_size=300))
    def test_random_bytes_behind_a_sound_head(self, data):
        sound = encodings()[0]
        for spoiled in (
            sound[:68] + data,
            sound[:20] + data,
            repaired(sound[:68] + data),
            repaired(sound[:20] + data + bytes(60)),
        ):
            check(spoiled)

    def test_mutants(self):
        outcomes = fuzz(random.Random(20261), rounds=6000)
        assert set(outcomes) >= {"entry", *REFUSALS}, outcomes  # all ways were gone

    def test_foreign_bytes(self):
        for data in (b"{}", b"hello " * 30, pickle.dumps(VALUE), zlib.compress(bytes(1000)), b"\0" * 68, b"\xff" * 500):
            assert Wire().decode(NAME, data, NOW) == "foreign"

    @pytest.mark.parametrize("form", [0, 2, 255])
    def test_other_formats(self, form):
        data = encodings()[0]
        assert WIRES["any"][0].decode(NAME, data[:2] + bytes((form,)) + data[3:], NOW) == "foreign"

    @pytest.mark.parametrize("flag", [0x08, 0x40, 0x80])
    def test_flags_of_the_future(self, flag):
        data = encodings()[0]
        assert WIRES["any"][0].decode(NAME, repaired(data[:21] + bytes((flag,)) + data[22:]), NOW) == "foreign"

    def test_a_compression_that_is_not_known(self):
        data = encodings()[0]
        assert WIRES["any"][0].decode(NAME, repaired(data[:21] + b"\x03" + data[22:]), NOW) == "codec"

    def test_a_compression_that_is_not_compressed(self):
        data = encodings()[0]
        assert WIRES["any"][0].decode(NAME, repaired(data[:21] + b"\x01" + data[22:]), NOW) == "corrupt"

    @pytest.mark.parametrize(
        "extra", [b"\x05abc", b"\x01\xff", b"\x00\x05", b"\x00\x05\x00abcd", b"\x00\x01\x00\xff", b"\x00\xff\xff"]
    )
    def test_extra_blocks_that_nobody_wrote(self, extra):
        data = encodings()[0]
        spoiled = repaired(data[:22] + struct.pack("<H", len(extra)) + data[24:68] + extra + data[68:])
        assert WIRES["any"][0].decode(NAME, spoiled, NOW) == "corrupt"

    def test_an_extra_block_that_is_longer_than_the_whole(self):
        wire = Wire(writer="w")
        data = wire.encode(NAME, Entry(None, VERSION, absent=True), NOW)
        assert wire.decode(NAME, repaired(data[:22] + struct.pack("<H", 3) + data[24:]), NOW) == "corrupt"

    def test_bytes_that_the_codec_cannot_read(self):
        data = encodings()[0]
        assert WIRES["any"][0].decode(NAME, repaired(data[:68] + b"\xc1"), NOW) == "codec"
        assert WIRES["any"][0].decode(NAME, repaired(data[:68]), NOW) == "codec"
        assert WIRES["any"][0].decode(NAME, repaired(data[:68] + b"\x91" * 50_000), NOW) == "codec"

    def test_huge_lengths_take_no_memory(self):
        wire, _ = WIRES["any"]
        data = encodings()[0]
        bodies = [
            b"\xdd\xff\xff\xff\xff" * 50,
            b"\xdf\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\x01",
        ]
        tracemalloc.start()
        try:
            for body in bodies:
                assert wire.decode(NAME, repaired(data[:68] + body), NOW) == "codec"
            assert wire.decode(NAME, data[:24] + b"\xff\xff\xff\xff" + data[28:], NOW) == "corrupt"
            assert wire.decode(NAME, repaired(data[:22] + b"\xff\xff" + data[24:]), NOW) == "corrupt"
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()

    def test_numbers_at_their_ends(self):
        data = encodings()[0]
        wire = WIRES["any"][0]
        high = wire.decode(NAME, repaired(data[:36] + b"\xff" * 32 + data[68:]), NOW)
        assert (high.value, high.epoch, high.age) == (VALUE, 2**64 - 1, 0.0)
        for cost in (b"\0\0\xc0\x7f", b"\0\0\x80\xff"):  # nan, -inf
            assert wire.decode(NAME, repaired(data[:32] + cost + data[36:]), NOW).cost == 0


class Odd:
    """A codec of a third party."""

    id = 200
    name = "odd"
    safe = True
    schema = "v1"
    mismatches = (KeyError,)

    def __init__(self, error=None):
        self.error = error

    def encode(self, value, /):
        return repr(value).encode()

    def decode(self, data, /):
        if self.error is not None:
            raise self.error
        return bytes(data).decode()


class TestCodecs:
    def test_pickle_needs_a_seal(self):
        with pytest.raises(ValueError, match="'pickle' needs a seal: whoever can write"):
            Wire("pickle")

    def test_unsafe_codecs_of_others_need_a_seal_too(self):
        codec = Odd()
        codec.safe = False
        with pytest.raises(ValueError, match="'odd' needs a seal"):
            Wire(codec)

    def test_a_pickle_bomb_is_not_executed(self):
        data = encodings()[0]
        bomb = repaired(data[:20] + b"\x03" + data[21:68] + pickle.dumps(Bomb()))
        outcomes = check(bomb)
        assert outcomes["any"] == "codec"
        assert outcomes["pickle"] == outcomes["signed"] == "forged"
        # Signed in form, with a key's number but no key.
        number = struct.pack("<I", WIRES["pickle"][0]._seal.key)
        for mac in (bytes(32), b"\xff" * 32):
            signed = bomb[:16] + number + bomb[20:] + mac
            signed = signed[:21] + b"\x10" + signed[22:24] + struct.pack("<I", len(signed)) + signed[28:]
            assert WIRES["pickle"][0].decode(NAME, signed, NOW) == "forged"
        assert not EXPLODED

    def test_the_bomb_would_have_gone_off(self):
        pickle.loads(pickle.dumps(Bomb()))
        assert EXPLODED
        EXPLODED.clear()

    def test_other_codecs_are_refused(self):
        by_json = Wire("json").encode(NAME, Entry(VALUE, VERSION), NOW)
        assert Wire("msgpack").decode(NAME, by_json, NOW) == "codec"
        one = Wire("json").encode(NAME, Entry(1, VERSION), NOW)  # its one byte is 49 in MessagePack
        assert Wire("msgpack").decode(NAME, one, NOW) == "codec"

    def test_codecs_of_others(self):
        wire = Wire(Odd())
        assert isinstance(Odd(), Codec)
        data = wire.encode(NAME, Entry(7, VERSION), NOW)
        assert wire.decode(NAME, data, NOW).value == "7"
        assert Wire(Odd(KeyError("x"))).decode(NAME, data, NOW) == "schema"
        for error in (ValueError("x"), RecursionError(), MemoryError(), StopIteration(), struct.error()):
            assert Wire(Odd(error)).decode(NAME, data, NOW) == "codec"

    def test_what_is_not_an_error_goes_through(self):
        data = Wire(Odd()).encode(NAME, Entry(7, VERSION), NOW)
        with pytest.raises(KeyboardInterrupt):
            Wire(Odd(KeyboardInterrupt())).decode(NAME, data, NOW)

    @pytest.mark.parametrize(
        "value",
        [object(), 2**64, {(1, 2): object()}, "\ud800", {"a": 1j}],
        ids=["object", "2**64", "tuple to object", "surrogate", "complex"],
    )
    def test_values_that_cannot_be_encoded(self, value):
        with pytest.raises(CodecError, match=f"{NAME}.*cannot encode this {type(value).__name__}"):
            Wire().encode(NAME, Entry(value, VERSION), NOW)

    def test_a_value_within_itself(self):
        value = []
        value.append(value)
        with pytest.raises(CodecError, match="list"):
            Wire().encode(NAME, Entry(value, VERSION), NOW)


class TestSchema:
    def test_a_changed_class_is_refused(self):
        @dataclasses.dataclass
        class User:
            id: int
            name: str
            tags: list[str]
            email: str = ""

        data = WIRES["typed"][0].encode(NAME, Entry(USER, VERSION), NOW)
        assert Wire(type=User).decode(NAME, data, NOW) == "schema"
        assert Wire().decode(NAME, data, NOW) == "schema"
        assert WIRES["typed"][0].decode(NAME, WIRES["any"][0].encode(NAME, Entry(VALUE, VERSION), NOW), NOW) == "schema"

    def test_words_of_ones_own(self):
        first, same, second = (Wire(schema=words) for words in ("v1", "v1", "v2"))
        data = first.encode(NAME, Entry(1, VERSION), NOW)
        assert same.decode(NAME, data, NOW).value == 1
        assert second.decode(NAME, data, NOW) == "schema"
        assert Wire().decode(NAME, data, NOW) == "schema"

    def test_words_of_ones_own_stand_for_the_type(self):
        data = Wire(schema="v1").encode(NAME, Entry({"id": 1, "name": "a", "tags": []}, VERSION), NOW)
        assert Wire(type=User, schema="v1").decode(NAME, data, NOW).value == User(1, "a", [])

    def test_a_value_that_does_not_fit_its_type(self):
        wire = Wire(type=User)
        assert wire.decode(NAME, wire.encode(NAME, Entry({"id": "x"}, VERSION), NOW), NOW) == "schema"


class TestSeals:
    def wires(self, *keys, current=None, encrypt=False):
        return Wire(seal=Seal({key: KEYS[key] for key in keys}, current or keys[-1], encrypt=encrypt))

    @pytest.mark.parametrize("encrypt", [False, True])
    def test_rotation(self, encrypt):
        if encrypt:
            pytest.importorskip("cryptography")
        old, both, new = (self.wires(*keys, encrypt=encrypt) for keys in (["old"], ["old", "new"], ["new"]))
        before, after = old.encode(NAME, Entry(1, VERSION), NOW), both.encode(NAME, Entry(2, VERSION), NOW)
        assert both.decode(NAME, before, NOW).value == 1
        assert new.decode(NAME, after, NOW).value == 2
        assert new.decode(NAME, before, NOW) == "forged"
        assert old.decode(NAME, after, NOW) == "forged"

    def test_a_key_of_the_same_id_and_another_secret(self):
        one, other = Wire(seal=Seal({"k": bytes(32)}, "k")), Wire(seal=Seal({"k": b"\1" * 32}, "k"))
        assert other.decode(NAME, one.encode(NAME, Entry(1, VERSION), NOW), NOW) == "forged"

    def test_only_its_own_manner_is_believed(self):
        pytest.importorskip("cryptography")
        manners = [Wire(), self.wires("old"), self.wires("old", encrypt=True)]
        for writer in manners:
            data = writer.encode(NAME, Entry(1, VERSION), NOW)
            for reader in manners:
                if reader is not writer:
                    assert reader.decode(NAME, data, NOW) == ("foreign" if reader is manners[0] else "forged")

    def test_the_seal_is_proved_before_anything_is_unpacked(self, monkeypatch):
        touched = []
        wire = Wire("pickle", seal=Seal(KEYS, "old"), compress="zlib", compress_above=0)
        data = wire.encode(NAME, Entry("x" * 100, VERSION, tags=("t",)), NOW)
        for at in range(16, len(data)):
            fresh = Wire("pickle", seal=Seal(KEYS, "old"))
            monkeypatch.setattr(fresh, "_bytes_value", lambda body: touched.append(body))
            monkeypatch.setattr(fresh, "_decompress", lambda number, body: touched.append(body))
            monkeypatch.setattr(fresh, "_unpack_extra", lambda extra: touched.append(extra))
            assert fresh.decode(NAME, flipped(data, at, 3), NOW) in {"forged", "corrupt"}
        assert not touched

    def test_encrypted_values_cannot_be_read(self):
        pytest.importorskip("cryptography")
        wire = self.wires("old", encrypt=True)
        assert b"top secret" not in wire.encode(NAME, Entry("top secret", VERSION), NOW)
        assert b"top secret" in self.wires("old").encode(NAME, Entry("top secret", VERSION), NOW)


class TestSizes:
    def test_values_up_to_the_limit(self):
        wire = Wire(max_bytes=102)
        data = wire.encode(NAME, Entry(b"x" * 100, VERSION, **FULL), NOW)  # two bytes of MessagePack in front
        assert wire.decode(NAME, data, NOW).value == b"x" * 100
        assert Wire(max_bytes=101).decode(NAME, data, NOW) == "large"
        with pytest.raises(ValueTooLarge, match=f"{NAME}.*103 bytes, more than 102"):
            wire.encode(NAME, Entry(b"x" * 101, VERSION), NOW)

    @pytest.mark.parametrize("sealed", [False, True])
    @pytest.mark.parametrize("compress", ["zlib", "zstd"])
    def test_bombs_are_not_blown_up(self, compress, sealed):
        seal = Seal(KEYS, "new") if sealed else None
        try:
            writer = Wire(compress=compress, seal=seal)
        except ImportError:
            pytest.skip("no zstd here")
        data = writer.encode(NAME, Entry(bytes(60_000_000), VERSION), NOW)
        assert len(data) < 300_000
        tracemalloc.start()
        try:
            assert Wire(max_bytes=400_000, seal=seal).decode(NAME, data, NOW) == "large"
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()

    def test_large_bytes_are_refused_before_they_are_looked_at(self):
        wire = Wire(max_bytes=1000)
        data = Wire().encode(NAME, Entry(bytes(200_000), VERSION), NOW)
        assert wire.decode(NAME, data, NOW) == "large"
        assert wire.decode(NAME, data[:-1], NOW) == "large"

    def test_only_what_gets_smaller_is_compressed(self):
        wire = Wire(compress="zlib", compress_above=100)
        sizes = {}
        for label, value in {
            "short": b"a" * 90,
            "long": b"a" * 1000,
            "noise": random.Random(1).randbytes(1000),
        }.items():
            data = wire.encode(NAME, Entry(value, VERSION, writer="w"), NOW)
            assert wire.decode(NAME, data, NOW).value == value
            sizes[label] = len(data) - len(value)
            assert (data[21] == 1) is (label == "long")
        assert sizes["short"] > 0
        assert sizes["long"] < -800
        assert 0 < sizes["noise"] < 100

    @pytest.mark.parametrize("compress", ["zlib", "zstd"])
    def test_readers_take_every_compression(self, compress):
        try:
            data = Wire(compress=compress).encode(NAME, Entry("x" * 10_000, VERSION), NOW)
        except ImportError:
            pytest.skip("no zstd here")
        assert len(data) < 500
        assert Wire().decode(NAME, data, NOW).value == "x" * 10_000

    def test_large_values_come_back(self, pair):
        wire, _ = pair
        if wire is WIRES["typed"][0]:
            wire, value = Wire(type=User), User(1, "x" * 300_000, [])
        else:
            wire, value = Wire(wire._codec, seal=wire._seal), "y" * 300_000
        assert wire.decode(NAME, wire.encode(NAME, Entry(value, VERSION), NOW), NOW).value == value

    @pytest.mark.parametrize("tags", [("x" * 65_536,), ("x" * 40_000, "y" * 40_000), ("",) * 40_000])
    def test_tags_have_a_limit(self, tags):
        with pytest.raises(ValueTooLarge):
            Wire().encode(NAME, Entry(1, VERSION, tags=tags), NOW)

    def test_tags_up_to_the_limit(self):
        wire = Wire(writer="")
        entry = Entry(1, VERSION, tags=("x" * 40_000, "y" * 25_530), writer="")
        assert wire.decode(NAME, wire.encode(NAME, entry, NOW), NOW) == entry

    def test_an_envelope_is_68_bytes_around_a_value(self):
        assert len(Wire(writer="").encode(NAME, Entry(1, VERSION), NOW)) == 69
        assert len(Wire(writer="", seal=Seal(KEYS, "new")).encode(NAME, Entry(1, VERSION), NOW)) == 101


class TestArguments:
    BAD: typing.ClassVar = [
        ({"codec": "yaml"}, ValueError, "'yaml'"),
        ({"codec": 7}, TypeError, "name or a Codec, not 7"),
        ({"codec": MsgpackCodec(), "type": int}, ValueError, "must be given to the codec"),
        ({"compress": "brotli"}, ValueError, "'zlib', 'zstd' or None, not 'brotli'"),
        ({"compress_above": -1}, ValueError, "compress_above .* -1"),
        ({"max_bytes": 0}, ValueError, "max_bytes .* not 0"),
        ({"max_bytes": 2**40}, ValueError, "max_bytes"),
        ({"seal": b"key"}, TypeError, "seal must be a Seal or None"),
        ({"writer": "x" * 256}, ValueError, "writer .* 255 bytes"),
        ({"writer": 7}, TypeError, "writer must be a text, not 7"),
    ]

    @pytest.mark.parametrize(("arguments", "error", "words"), BAD, ids=[str(case[0])[:30] for case in BAD])
    def test_bad_ones_are_named(self, arguments, error, words):
        with pytest.raises(error, match=words):
            Wire(**arguments)

    def test_a_codec_without_a_number(self):
        codec = Odd()
        codec.id = 256
        with pytest.raises(ValueError, match="'odd' must have an id from 1 to 255, not 256"):
            Wire(codec)

    def test_its_repr_keeps_the_secret(self):
        assert "101112" not in repr(WIRES["signed"][0]).encode().hex()
        assert "seal=Seal(keys=['old', 'new'], current='new'" in repr(WIRES["signed"][0])
