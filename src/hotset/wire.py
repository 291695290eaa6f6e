"""The envelope: an entry as the bytes that a shared tier keeps, and what of such bytes is believed.

All numbers are little-endian; times are milliseconds of the *server's* clock, 0 for never::

     0  signature   3  C1 'H', format 1
     3  kind        1  01 entry, 02 lease; 80 is added to an entry whose life was ended
     4  version    12                                                  up to here: the fence, PREFIX_BYTES
    16  check       4  CRC-32 of name and what follows; under a seal, the number of its key
    20  codec       1
    21  flags       1  01 zlib, 02 zstd; 04 absent; 10 signed, 20 encrypted
    22  extra       2  length of the extra block
    24  size        4  of the whole
    28  schema      4  fingerprint of the declared type, 0 for any
    32  cost        4  seconds, float
    36  epoch       8
    44  created     8
    52  expires     8  logically
    60  drops       8  physically
    68  extra block    length and text of the writer (1 byte), then of each tag (2 bytes); text is UTF-8
     .  body           the value by its codec, compressed, sealed

**What is covered.** The check, or the seal, covers the name and all bytes from 16 on, so that an entry that was
damaged, or that came under the wrong name (mixed-up replies, a renamed key), is refused. The fence is left out, because
the server ends a life by writing `ended(version)` at `KIND_AT` without knowing any key. Its bytes can do no harm:
signature and kind have no other values than those above, ending a life early is what anybody can do who can delete, and
a version says only whether two readings are the same. Hence whoever can write to the server can end lives, and break
fences; with a seal he cannot make a value, change one, move one to another name, or prolong its life beyond what was
sealed. Without a seal, the check is proof against accidents, not against him.

**Order of belief.** Sizes first, then the check or the seal; only then is anything unpacked, and the body decoded.
Memory is bounded by `max_bytes` throughout. No bytes raise: a refusal is a word.
"""

from __future__ import annotations

import functools
import math
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final
from zlib import crc32

from hotset._engine import close_envelope, found_in, open_envelopes, plan_opening
from hotset.codecs.compression import Compression, compression_named, compression_numbered
from hotset.codecs.contract import Codec
from hotset.codecs.registry import codec_named
from hotset.codecs.seal import Seal
from hotset.codecs.shapes import fingerprint
from hotset.errors import CodecError, ValueTooLarge
from hotset.tiers.contract import NOTHING_FOUND, Entry, Found, Opened, Reading
from hotset.versions import VERSION_BYTES, new_version

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KIND_AT", "PREFIX_BYTES", "REFUSALS", "Wire", "ended", "fence_of", "is_lease", "lease_marker", "new_lease"]

PREFIX_BYTES: Final = 16
# Where the bytes begin that end a life: the kind, and behind it the version.
KIND_AT: Final = 3

# Why bytes are not an entry.
REFUSALS: Final = (
    "foreign",  # not of this format, or sealed and no key was given to read them
    "corrupt",  # damaged, cut short, or kept under another name
    "forged",  # not sealed as they must be, or not for this name, or by an unknown key
    "large",  # above the size limit, as they are or decompressed
    "schema",  # of another declared type, or they do not fit it
    "codec",  # of another codec, or one that cannot read them; of a compression that is not installed
)

_SIGNATURE: Final = b"\xc1H\x01"  # C1 begins no MessagePack, no UTF-8, no pickle, no compressed file
_ENTRY: Final = 0x01
_LEASE: Final = 0x02
_ENDED: Final = 0x80 | _ENTRY
_KINDS: Final = frozenset((_ENTRY, _ENDED))
_LEASE_FRONT: Final = _SIGNATURE + bytes((_LEASE,))

_COMPRESSED: Final = 0x03
_ABSENT: Final = 0x04
_SIGNED: Final = 0x10
_ENCRYPTED: Final = 0x20
_SEALED: Final = _SIGNED | _ENCRYPTED
_KNOWN_FLAGS: Final = _COMPRESSED | _ABSENT | _SEALED

_WHOLE = struct.Struct("<3sB12sIBBHIIfQQQQ")
_FRONT = struct.Struct("<3sB12sI")
_REST = struct.Struct("<BBHIIfQQQQ")
_CHECK_AT: Final = 16
_REST_AT: Final = _FRONT.size
_EXTRA_AT: Final = _WHOLE.size

_EXTRA_BYTES: Final = 0xFFFF
_WRITER_BYTES: Final = 0xFF
# Extra blocks repeat (one writer, few sets of tags): so many are remembered, up to that length.
_REMEMBERED: Final = 512
_REMEMBERED_BYTES: Final = 256

# Lives above are written as never: thirty million years.
_FOREVER: Final = 1e15
_COST_LIMIT: Final = 1e9
_MAX_BYTES_LIMIT: Final = 512 << 20  # the server's own limit for a value
# Below, slices cost less than views.
_VIEW_ABOVE: Final = 4096

_NUMBER = struct.Struct("<I")

_Rest = tuple[int, int, int, int, int, float, int, int, int, int]
_Head = tuple[bytes, int, bytes, int, int, int, int, int, int, float, int, int, int, int]


def new_lease() -> bytes:
    """Return a lease marker like no other."""
    return _LEASE_FRONT + new_version()


def lease_marker(token: bytes) -> bytes:
    """Return what stands under a name that somebody loads: a fence without an entry. A token has 12 bytes."""
    if len(token) != VERSION_BYTES:
        raise ValueError(f"a token must have {VERSION_BYTES} bytes, not {len(token)}")
    return _LEASE_FRONT + token


def is_lease(data: bytes) -> bool:
    """Tell whether these bytes are a lease marker."""
    return len(data) == PREFIX_BYTES and data[:4] == _LEASE_FRONT


def fence_of(data: bytes) -> bytes:
    """Return the fence of an encoding or of a lease marker."""
    return data[:PREFIX_BYTES]


def ended(version: bytes) -> bytes:
    """Return what ends the life of an entry if it is written at `KIND_AT`: the kind, and a new version of 12 bytes."""
    if len(version) != VERSION_BYTES:
        raise ValueError(f"a version must have {VERSION_BYTES} bytes, not {len(version)}")
    return bytes((_ENDED,)) + version


class Wire:
    """Entries to bytes and back, for one cache: one codec, one declared type, one seal.

    - `codec`: "msgpack", "json", "pickle", or a `Codec`, which brings its declared type along.
    - `type`: of the values. Entries that were written for a type of another shape are refused.
    - `schema`: words that stand for the shape of the type instead of its own; change them when the meaning changes.
    - `compress`: None, "zlib" or "zstd", for bodies of more than `compress_above` bytes, and kept where it makes them
      smaller. Readers take both.
    - `seal`: closes what is written; what is not sealed in its manner is refused.
    - `max_bytes`: of a value as its codec writes it. Values above are not written, and not read.
    - `writer`: who writes, for `explain`; "host:pid" if it is not given, and right after a fork.

    Pass the name as the server knows it, with its prefixes: it is bound to the entry. Times are seconds; `now` is the
    server's, since the Unix epoch. May be used from several threads at once. The cost is O(length).

    Raises ValueError for pickle, or another codec that is not safe, without a seal, and for other arguments that do not
    fit; TypeError for a type that the codec cannot do; ImportError for a package that is not installed.
    """

    PREFIX_BYTES: ClassVar[int] = PREFIX_BYTES

    def __init__(
        self,
        codec: Codec | str = "msgpack",
        *,
        type: Any = Any,  # noqa: A002 - the word that users know
        schema: str | None = None,
        compress: str | None = None,
        compress_above: int = 4096,
        seal: Seal | None = None,
        max_bytes: int = 64 << 20,
        writer: str | None = None,
    ) -> None:
        if isinstance(codec, str):
            codec = codec_named(codec, type)
        elif not isinstance(codec, Codec):
            raise TypeError(f"codec must be a name or a Codec, not {codec!r}")
        elif type is not Any:
            raise ValueError(f"type {type!r} must be given to the codec, {codec.name!r}, when it is made")
        if not 0 < codec.id <= 0xFF:
            raise ValueError(f"codec {codec.name!r} must have an id from 1 to 255, not {codec.id!r}")
        if seal is not None and not isinstance(seal, Seal):
            raise TypeError(f"seal must be a Seal or None, not {seal!r}")
        if not codec.safe and seal is None:
            raise ValueError(
                f"codec {codec.name!r} needs a seal: whoever can write to the server would run code in every reader"
            )
        if not 0 < max_bytes <= _MAX_BYTES_LIMIT:
            raise ValueError(f"max_bytes must be from 1 to {_MAX_BYTES_LIMIT}, not {max_bytes!r}")
        if compress_above < 0:
            raise ValueError(f"compress_above must not be negative, not {compress_above!r}")
        if writer is not None and not isinstance(writer, str):
            raise TypeError(f"writer must be a text, not {writer!r}")
        if writer is not None and len(writer.encode("utf-8", "replace")) > _WRITER_BYTES:
            raise ValueError(f"writer must be a text of {_WRITER_BYTES} bytes of UTF-8 at most, not {writer!r}")
        self._codec = codec
        self._codec_id = codec.id
        self._value_bytes = codec.encode
        self._bytes_value = codec.decode
        self._mismatches = codec.mismatches
        self._schema = fingerprint(codec.schema if schema is None else schema)
        self._compression: Compression | None = None if compress is None else compression_named(compress)
        # Up to here a body is neither refused nor compressed.
        self._unchanged_bytes = max_bytes if compress is None else min(max_bytes, compress_above)
        self._seal = seal
        self._seal_flag = 0 if seal is None else _ENCRYPTED if seal.encrypts else _SIGNED
        self._seal_bytes = 0 if seal is None else seal.overhead
        self._max_bytes = max_bytes
        self._max_whole = _EXTRA_AT + _EXTRA_BYTES + max_bytes + self._seal_bytes
        # Up to here an entry may be opened in one go: it has no seal, and cannot be above any limit.
        self._plain_bytes = 0 if seal is not None else min(_VIEW_ABOVE - 1, _EXTRA_AT + max_bytes)
        self._plan = plan_opening(Entry, Found, codec.id, self._schema, self._plain_bytes)
        self._packed: dict[tuple[str, tuple[str, ...]], bytes] = {}
        self._unpacked: dict[bytes, tuple[str, tuple[str, ...]]] = {b"": ("", ())}
        self._writer = writer

    def __repr__(self) -> str:
        return f"Wire({self._codec.name!r}, seal={self._seal!r}, max_bytes={self._max_bytes})"

    def encode(self, name: str, entry: Entry, now: float) -> bytes:
        """Return the bytes of an entry.

        Raises ValueTooLarge if the value or the tags are above their limits, CodecError if they, or the entry's times,
        cannot be encoded.
        """
        flags = self._seal_flag
        if entry.absent:
            flags |= _ABSENT
            body = b""
        else:
            try:
                body = self._value_bytes(entry.value)
            except Exception as error:
                kind = type(entry.value).__qualname__
                raise CodecError(f"{name!r}: {self._codec.name} cannot encode this {kind}: {error}") from error
            if len(body) > self._unchanged_bytes:
                if len(body) > self._max_bytes:
                    raise ValueTooLarge(f"{name!r}: the value takes {len(body)} bytes, more than {self._max_bytes}")
                if self._compression is not None:
                    smaller = self._compression.compress(body)
                    if len(smaller) < len(body):
                        flags |= self._compression.id
                        body = smaller
        writer = entry.writer
        if not writer:
            writer = _this_process() if self._writer is None else self._writer
        extra = self._packed.get((writer, entry.tags))
        if extra is None:
            extra = self._pack_extra(writer, entry.tags)
        try:
            if not flags:
                # What nearly every entry is.
                envelope = close_envelope(self._plan, name, entry, now, extra, body)
                if envelope is not None:
                    return envelope
            age, life, keep, cost = entry.age, entry.life, entry.keep, entry.cost
            rest = (
                self._codec_id,
                flags,
                len(extra),
                _EXTRA_AT + len(extra) + len(body) + self._seal_bytes,
                self._schema,
                min(cost, _COST_LIMIT) if cost > 0 else 0.0,
                entry.epoch,
                _moment(now, 0.0 if age < 0 else -age),
                _moment(now, life),
                _moment(now, max(keep, life)),
            )
            return self._close(name, _ENTRY, entry.version, rest, extra, body)
        except (struct.error, ValueError, OverflowError, TypeError) as error:
            raise CodecError(
                f"{name!r}: age {entry.age!r}, life {entry.life!r}, keep {entry.keep!r}, epoch {entry.epoch!r}, "
                f"now {now!r} and version {entry.version!r} cannot be encoded: {error}"
            ) from error

    def decode(self, name: str, data: bytes, now: float) -> Entry | str:
        """Return the entry, or one of `REFUSALS`. Raises nothing, whatever the bytes are.

        An entry whose life was ended on the server has a life of 0 or less.
        """
        body: bytes | memoryview | None = None
        size = len(data)
        if _EXTRA_AT <= size <= self._plain_bytes:
            # What nearly every entry is: the checks of _open in one go. What is wrong, if anything is, _open says.
            head: _Head = _WHOLE.unpack_from(data)
            (
                signature,
                kind,
                version,
                check,
                codec,
                flags,
                extra_bytes,
                whole,
                schema,
                cost,
                epoch,
                created,
                expires,
                drops,
            ) = head
            body_at = _EXTRA_AT + extra_bytes
            if (
                kind == _ENTRY
                and not flags
                and codec == self._codec_id
                and schema == self._schema
                and signature == _SIGNATURE
                and whole == size >= body_at
                and crc32(data[_REST_AT:], crc32(name.encode("utf-8", "surrogatepass"))) == check
            ):
                body = data[body_at:]
        if body is None:
            opened = self._open(name, data)
            if isinstance(opened, str):
                return opened
            (_, kind, version, _, codec, flags, extra_bytes, _, schema, cost, epoch, created, expires, drops), body = (
                opened
            )
            if codec != self._codec_id:
                return "codec"
            if schema != self._schema:
                return "schema"
        extra = data[_EXTRA_AT : _EXTRA_AT + extra_bytes]
        origin = self._unpacked.get(extra)
        if origin is None:
            origin = self._unpack_extra(extra)
            if origin is None:
                return "corrupt"
        value = None
        absent = False
        if flags & _ABSENT:
            absent = True
        else:
            if flags & _COMPRESSED:
                plain = self._decompress(flags & _COMPRESSED, body)
                if isinstance(plain, str):
                    return plain
                body = plain
            try:
                value = self._bytes_value(body)
            except self._mismatches:
                return "schema"
            except Exception:  # noqa: BLE001 - a decoder, or a class of the user's, raises what it likes
                return "codec"
        age = now - created / 1000
        life = expires / 1000 - now if expires else math.inf
        if kind == _ENDED and life > 0:
            life = 0.0
        return Entry(
            value,
            version,
            life,
            drops / 1000 - now if drops else math.inf,
            age if age > 0 else 0.0,
            cost if cost > 0 else 0.0,
            absent,
            origin[1],
            epoch,
            origin[0],
        )

    def decode_many(
        self,
        names: list[str],
        envelopes: list[Any],
        now: float,
        epochs: tuple[int, int],
        odd: Callable[[str, bytes], Found],
    ) -> list[Found] | Opened:
        """Return what was found under names, where None is nothing; or, if all is fresh and untagged, what was opened.

        Entries of epochs that are not between those two, and all that is not as entries commonly are, `odd` makes
        something of.
        """
        decode, origins = self._bytes_value, self._unpacked
        found, values, whose = open_envelopes(
            self._plan, names, envelopes, now, *epochs, decode, origins, NOTHING_FOUND, odd
        )
        return found if found is not None else Opened(envelopes, values or [], whose, now)

    def found(self, opened: Opened) -> list[Found]:
        """Return what was found, in full."""
        return found_in(self._plan, *opened)

    def reading(self, opened: Opened, epoch: int) -> Reading:
        """Return a reading whose `found` is made when it is asked for."""
        return _OpenedReading(self, opened, epoch)

    def retime(self, name: str, data: bytes, life: float, keep: float, now: float) -> bytes | str:
        """Return the same entry with new times, or one of `REFUSALS`; the value is not decoded.

        Fence, version and age stay; a life that was ended stays so. Raises CodecError for times that cannot be encoded.
        """
        opened = self._open(name, data)
        if isinstance(opened, str):
            return opened
        head, body = opened
        extra = data[_EXTRA_AT : _EXTRA_AT + head[6]]
        try:
            rest: _Rest = (*head[4:12], _moment(now, life), _moment(now, max(keep, life)))
            return self._close(name, head[1], head[2], rest, extra, bytes(body))
        except (struct.error, ValueError, OverflowError) as error:
            raise CodecError(f"{name!r}: life {life!r}, keep {keep!r} and now {now!r}: {error}") from error

    def _close(self, name: str, kind: int, version: bytes, rest: _Rest, extra: bytes, body: bytes) -> bytes:
        """Put the parts together under a check or a seal. Raises struct.error, ValueError for parts that do not fit."""
        if len(version) != VERSION_BYTES:
            raise ValueError(f"a version must have {VERSION_BYTES} bytes, not {len(version)}")
        called = name.encode("utf-8", "surrogatepass")
        middle = _REST.pack(*rest) + extra
        if self._seal is None:
            check = crc32(body, crc32(middle, crc32(called)))
        else:
            check = self._seal.key
            bound = b"".join((_NUMBER.pack(len(called)), called, _NUMBER.pack(check), middle))
            body = self._seal.close(bound, body)
        return b"".join((_FRONT.pack(_SIGNATURE, kind, version, check), middle, body))

    def _open(self, name: str, data: bytes) -> tuple[_Head, bytes | memoryview] | str:
        """Return the head and the body without its seal, now believed; or why they are not."""
        try:
            head: _Head = _WHOLE.unpack_from(data)
        except struct.error:
            return "corrupt" if data and data[:3] == _SIGNATURE[: len(data)] else "foreign"
        signature, kind, _, check, _, flags, extra_bytes, size, _, _, _, _, _, _ = head
        if signature != _SIGNATURE:
            return "foreign"
        if kind not in _KINDS:
            return "corrupt"
        if len(data) > self._max_whole:
            return "large"
        body_at = _EXTRA_AT + extra_bytes
        if size != len(data):
            return "corrupt"
        if flags & _SEALED != self._seal_flag:
            return "foreign" if self._seal is None else "forged"
        if size < body_at + self._seal_bytes:
            return "corrupt"
        if size > body_at + self._max_bytes + self._seal_bytes:
            return "large"
        called = name.encode("utf-8", "surrogatepass")
        view = data if size < _VIEW_ABOVE else memoryview(data)
        body: bytes | memoryview | None
        if self._seal is None:
            if crc32(view[_REST_AT:], crc32(called)) != check:
                return "corrupt"
            body = view[body_at:]
        else:
            bound = b"".join((_NUMBER.pack(len(called)), called, data[_CHECK_AT:body_at]))
            body = self._seal.open(check, bound, view[body_at:])
            if body is None:
                return "forged"
        if flags & ~_KNOWN_FLAGS:
            return "foreign"
        return head, body

    def _decompress(self, number: int, body: bytes | memoryview) -> bytes | str:
        """Return the body as the codec wrote it, or why not."""
        try:
            compression = compression_numbered(number)
        except (LookupError, ImportError):
            return "codec"
        try:
            return compression.decompress(body, self._max_bytes)
        except ValueTooLarge:
            return "large"
        except Exception:  # noqa: BLE001 - each library has errors of its own
            return "corrupt"

    def _pack_extra(self, writer: str, tags: tuple[str, ...]) -> bytes:
        """Return the extra block: nothing if there is nothing to say. Raises CodecError, ValueTooLarge."""
        if not writer and not tags:
            return b""
        try:
            text = writer.encode()
            parts = [bytes((len(text),)), text]
            for tag in tags:
                text = tag.encode()
                parts += (len(text).to_bytes(2, "little"), text)
        except (AttributeError, UnicodeEncodeError) as error:
            raise CodecError(f"writer and tags must be texts: {error}") from error
        except (ValueError, OverflowError) as error:
            raise ValueTooLarge(f"the writer is above {_WRITER_BYTES} bytes, or a tag above 65535") from error
        extra = b"".join(parts)
        if len(extra) > _EXTRA_BYTES:
            raise ValueTooLarge(f"the tags take {len(extra)} bytes, more than {_EXTRA_BYTES}")
        if len(extra) <= _REMEMBERED_BYTES:
            if len(self._packed) >= _REMEMBERED:
                self._packed.clear()
            self._packed[writer, tags] = extra
        return extra

    def _unpack_extra(self, extra: bytes) -> tuple[str, tuple[str, ...]] | None:
        """Return writer and tags, or None if that is not how they were written."""
        start = 1 + extra[0]
        tags = []
        try:
            writer = extra[1:start].decode()
            while start < len(extra):
                end = start + 2 + int.from_bytes(extra[start : start + 2], "little")
                tags.append(extra[start + 2 : end].decode())
                start = end
        except UnicodeDecodeError:
            return None
        if start != len(extra):
            return None
        origin = writer, tuple(tags)
        if len(extra) <= _REMEMBERED_BYTES:
            if len(self._unpacked) >= _REMEMBERED:
                self._unpacked.clear()
                self._unpacked[b""] = "", ()
            self._unpacked[extra] = origin
        return origin


class _OpenedReading(Reading):
    __slots__ = ("_wire",)

    def __init__(self, wire: Wire, opened: Opened, epoch: int) -> None:
        # `found` stays empty, so that __getattr__ is asked for it the first time.
        self.epoch = epoch
        self.refused = {}
        self.opened = opened
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        if name != "found" or self.opened is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.found = self._wire.found(self.opened)
        return self.found


def _moment(now: float, rest: float) -> int:
    """Return now + rest in milliseconds, not rounded up; 0 for never. Raises ValueError, OverflowError for no time."""
    if -_FOREVER < rest < _FOREVER:
        moment = int((now + rest) * 1000)
        return moment if moment > 0 else 1
    if math.isnan(rest):
        raise ValueError(f"{rest!r} is no time")
    return 0 if rest > 0 else 1


@functools.cache
def _this_process() -> str:
    """Return who writes unless it is told: host and process id."""
    host = socket.gethostname().encode("utf-8", "replace")[: _WRITER_BYTES - 24].decode("utf-8", "ignore")
    return f"{host}:{os.getpid()}"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_this_process.cache_clear)
