"""Throws damaged and forged bytes at the envelope's decoder: ``python tests/tiers/fuzz_wire.py [seconds] [seed]``.

`check` is the target, of the shape that coverage-guided fuzzers take (``atheris.Setup(sys.argv, check)``). The driver
below needs nothing: it mutates sound encodings, and repairs the length and checksum of half of them, so that the layers
behind those are reached as well. It ends with status 1 at the first finding, and prints the bytes.
"""

import collections
import math
import pickle
import random
import struct
import sys
import time
import zlib
from dataclasses import dataclass

from hotset.codecs import Seal
from hotset.tiers.contract import Entry
from hotset.wire import REFUSALS, Wire, lease_marker

NAME = "users:42"
NOW = 1_790_000_000.0
LIMIT = 100_000
EXPLODED = []


@dataclass
class User:
    """A declared type."""

    id: int
    name: str
    tags: list[str]


def explode():
    """Run code of the attacker's choice."""
    EXPLODED.append("boom")


class Bomb:
    """Tells when it is unpickled."""

    def __reduce__(self):
        return explode, ()


VALUE = {"id": 42, "name": "Ada", "tags": ["a", "b"], "bio": "lorem ipsum " * 20}
USER = User(42, "Ada", ["a", "b"])
KEYS = {"old": bytes(range(32)), "new": bytes(range(32, 64))}
TAGGED = {"tags": ("team:7", "grün"), "writer": "web-1:4711", "cost": 0.25, "epoch": 2**40, "life": 30.0, "keep": 90.0}

# Wires with what each of them has written. Nobody but a holder of the keys can make a sealed one say something else.
WIRES = {
    "any": (Wire(max_bytes=LIMIT, writer=""), VALUE),
    "typed": (Wire(type=User, max_bytes=LIMIT), USER),
    "json": (Wire("json", max_bytes=LIMIT), VALUE),
    "zlib": (Wire(compress="zlib", compress_above=0, max_bytes=LIMIT), VALUE),
    "signed": (Wire(seal=Seal(KEYS, "new"), max_bytes=LIMIT), VALUE),
    "pickle": (Wire("pickle", seal=Seal(KEYS, "old"), compress="zlib", compress_above=0, max_bytes=LIMIT), VALUE),
}
try:
    WIRES["encrypted"] = (Wire(seal=Seal(KEYS, "old", encrypt=True), max_bytes=LIMIT), VALUE)
except ImportError:  # the package `cryptography` is optional
    pass
SEALED = [label for label in ("signed", "pickle", "encrypted") if label in WIRES]


def encodings():
    """Return sound encodings of all wires, and some that are malicious with a checksum of their own."""
    samples = []
    for wire, value in WIRES.values():
        samples += (
            wire.encode(NAME, Entry(value, b"v" * 12), NOW),
            wire.encode(NAME, Entry(value, b"w" * 12, **TAGGED), NOW),
            wire.encode(NAME, Entry(None, b"x" * 12, absent=True, life=1.0, keep=1.0), NOW),
        )
    sound = samples[0]
    bomb = pickle.dumps(Bomb())
    samples += [
        lease_marker(b"t" * 12),
        repaired(sound[:20] + b"\x03" + sound[21:68] + bomb),  # the pickle codec's number
        repaired(sound[:68] + bomb),
        repaired(sound[:21] + b"\x01" + sound[22:68] + zlib.compress(bytes(50 * LIMIT))),
        repaired(sound[:68] + b"\xdd\xff\xff\xff\xff" * 50),  # lists of four thousand million each
        repaired(sound[:68] + b"\x91" * 50_000),  # lists in lists
        b"",
    ]
    return samples


def repaired(data, name=NAME):
    """Return bytes with the length and the checksum that belong to them."""
    data = data[:24] + struct.pack("<I", len(data)) + data[28:]
    return data[:16] + struct.pack("<I", zlib.crc32(data[20:], zlib.crc32(name.encode()))) + data[20:]


def check(data):
    """Decode bytes by all wires; raise AssertionError if one of them does anything but return an entry or refuse."""
    outcomes = {}
    for label, (wire, value) in WIRES.items():
        entry = wire.decode(NAME, data, NOW)
        outcomes[label] = "entry"
        if isinstance(entry, str):
            assert entry in REFUSALS, entry
            outcomes[label] = entry
            continue
        assert type(entry) is Entry
        assert len(entry.version) == 12
        assert entry.age >= 0
        assert entry.cost >= 0
        assert not math.isnan(entry.life + entry.keep)
        assert type(entry.writer) is str
        assert all(type(tag) is str for tag in entry.tags)
        assert entry.value is None or not entry.absent
        if label in SEALED:
            assert entry.absent or entry.value == value, f"{label} was forged"
    assert not EXPLODED, "bytes from outside were executed"
    return outcomes


def mutant(source, samples):
    """Return a sound encoding, spoiled."""
    data = bytearray(source.choice(samples))
    for _ in range(source.choice((1, 1, 1, 2, 4, 16))):
        kind = source.randrange(7)
        at = source.randrange(min(len(data), 80) if source.random() < 0.5 else len(data)) if data else 0
        if kind == 0 and data:
            data[at] ^= 1 << source.randrange(8)
        elif kind == 1 and data:
            data[at] = source.randrange(256)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + source.randrange(1, 9)]
        elif kind == 4:
            data[at:at] = source.randbytes(source.randrange(1, 9))
        elif kind == 5:
            size = source.choice((1, 2, 4, 8))
            number = source.choice((0, 1, 127, 128, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, LIMIT, LIMIT + 1))
            data[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
        else:
            other = source.choice(samples)
            data[at:] = other[min(at, len(other)) :]
    return repaired(bytes(data)) if len(data) > 28 and source.random() < 0.5 else bytes(data)


def fuzz(source, *, rounds=None, seconds=None):
    """Check so many mutants, or for so long; return the outcomes, counted."""
    samples = encodings()
    outcomes = collections.Counter()
    end = time.monotonic() + seconds if seconds is not None else math.inf
    done = 0
    while done != rounds and time.monotonic() < end:
        data = mutant(source, samples)
        try:
            outcomes.update(check(data).values())
        except Exception:
            print(f"after {done} mutants: {data.hex()}", file=sys.stderr)
            raise
        done += 1
    return outcomes


if __name__ == "__main__":
    SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32)
    print(f"{SECONDS:g} s, seed {SEED}")
    print(dict(fuzz(random.Random(SEED), seconds=SECONDS).most_common()))
