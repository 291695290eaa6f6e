"""What a namespace has in the file: every operation of a tier, within a transaction that somebody else begins and ends.

What LMDB does in one write transaction nobody sees in part, and no two of them overlap: a fence is compared and the
entry stored in one step. The fence of a name is the first 16 bytes of its entry, which no two writes have in common, or
the lease of a name that is not there; whatever changes a name takes its lease away. A hold is in the lease's place, and
stays there (see `holds`).

The state of the namespace is "epoch cleared floor", as in `hotset.tiers.scripts`: an entry older than `cleared` is
dead, and so is one with tags that is older than `floor`; tags that were invalidated since are looked up in the same
snapshot. A file without a state begins at the present time in microseconds, which is more than an older file can have
counted.

Times are those of this host's clock, time.time, for all of its processes. Set back, it lengthens lives by as much; set
forward, it shortens them.
"""

from __future__ import annotations

import secrets
import struct
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from hotset._wire import Glance
from hotset.errors import ValueTooLarge
from hotset.tiers.contract import CLEAR, Entry, Found, Reading
from hotset.tiers.disk.changes import Log, cut
from hotset.tiers.disk.file import LONGEST_NAME, key_of, pages_of, space_of
from hotset.tiers.disk.freezing import drops_at, front, is_frozen, thaw
from hotset.tiers.disk.holds import Held, is_held
from hotset.tiers.disk.marks import FIRST_SLOT, GENERATION_AT
from hotset.tiers.disk.room import NEW, USED
from hotset.wire import KIND_AT, PREFIX_BYTES, ended, is_lease, lease_marker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotset.codecs.compression import Compression
    from hotset.tiers.contract import Fence
    from hotset.tiers.disk.file import EntryFile
    from hotset.tiers.disk.room import Room
    from hotset.wire import Wire

__all__ = ["Shelf"]

_MOST_TAGS: Final = 100_000
_MOST_HOLDS: Final = 10_000  # that outlive a flood of leases
_STATE: Final = struct.Struct("<QQQ")
_NUMBER: Final = struct.Struct("<Q")
_VERSION_BYTES: Final = 12
_SIGNATURE: Final = lease_marker(bytes(_VERSION_BYTES))[:KIND_AT]
_ENTRY_BYTES: Final = 68
_LONGEST_KEY: Final = LONGEST_NAME + 8
# Leases whose end is looked at whenever one is given: more go than come.
_SWEPT: Final = 3
# A namespace in the name that an entry is bound to.
_QUOTED: Final = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%:"})
_NOTHING: Final = Found(None, None)


class State(NamedTuple):
    """The state of a namespace."""

    epoch: int
    cleared: int = 0
    floor: int = 0


class Turn(NamedTuple):
    """A write transaction, and what belongs to it."""

    txn: Any
    file: EntryFile
    room: Room
    now: float


class Put(NamedTuple):
    """An entry on its way, encoded; without data if it is to be kept no longer."""

    name: str
    key: bytes
    data: bytes
    fence: Fence = None


class Shelf:
    """The entries of one namespace, as one tier has them."""

    def __init__(
        self, namespace: str, wire: Wire, compression: Compression | None, sender: bytes, lease: float, limit: int
    ) -> None:
        self.space = space_of(namespace)
        self.log = Log(sender, self.space)
        # What a name is called in its entry, to which it is bound.
        self._prefix = namespace.translate(_QUOTED) + ":"
        self._wire = wire
        self._decode = wire.decode
        self._compression = compression
        self._lease = lease
        self._limit = limit
        self._swept = self.space
        # The last state seen, as it is written and taken apart.
        self._state: tuple[bytes | None, State] = b"", State(0)

    def key(self, name: str) -> bytes:
        """Return the key of a name."""
        return key_of(self.space, name)

    def encoded(self, name: str, entry: Entry, now: float) -> bytes:
        """Return the bytes of an entry. Raises CodecError, ValueTooLarge."""
        data = self._wire.encode(self._prefix + name, entry, now)
        if len(data) > self._limit:
            raise ValueTooLarge(f"{name!r}: the entry takes {len(data)} bytes, more than {self._limit}")
        return data

    # Reading

    def state(self, txn: Any, file: EntryFile) -> State | None:
        """Return the state, or None if there is none yet."""
        packed = txn.get(self.space, None, file.spaces)
        return None if packed is None else State(*_STATE.unpack(packed))

    def glance(self, txn: Any, file: EntryFile, store: object) -> Glance | None:
        """Return what looks names up as of this transaction; None if there is no state yet."""
        state = self.state(txn, file)
        if state is None:
            return None
        return Glance(
            *self._wire.plan,
            Reading,
            (store, file, file.begin, file.warm, file.reading, time.time),
            (file.cells, GENERATION_AT, file.low, FIRST_SLOT, file.mask, USED),
            (self.space, self._prefix.encode("utf-8", "surrogatepass"), LONGEST_NAME),
            (txn.id(), state.cleared, state.epoch),
        )

    def read(self, txn: Any, file: EntryFile, names: Sequence[str]) -> Reading | None:
        """Look names up, in a transaction on the warm entries; None if there is no state yet."""
        get = txn.get
        packed = get(self.space, None, file.spaces)
        known, state = self._state
        if packed != known:
            if packed is None:
                return None
            state = State(*_STATE.unpack(packed))
            self._state = packed, state
        epoch = state.epoch
        reading = Reading([], epoch)
        found = reading.found
        space, prefix, decode = self.space, self._prefix, self._decode
        cells, mask = file.cells, file.mask
        now = time.time()
        for name in names:
            try:
                key = space + name.encode()
                if len(key) > _LONGEST_KEY:
                    key = key_of(space, name)
            except UnicodeEncodeError:
                key = key_of(space, name)
            data = get(key)
            if data is None:
                data = get(key, None, file.cold)
                if data is None:
                    found.append(_NOTHING)
                    continue
            entry = decode(prefix + name, data, now)
            # Nearly every entry is of the present epoch, which nothing was invalidated after.
            if type(entry) is Entry and entry.epoch == epoch and entry.keep > 0:
                cells[FIRST_SLOT + (crc32(key) & mask)] = USED
                found.append(Found(entry, data[:PREFIX_BYTES]))
            else:
                found.append(self._look(txn, file, name, data, state, now, reading))
        return reading

    def _look(
        self,
        txn: Any,
        file: EntryFile,
        name: str,
        data: bytes,
        state: State,
        now: float,
        reading: Reading,
    ) -> Found:
        """Return what is made of the bytes that are there."""
        if is_frozen(data) and self._compression is not None:
            data = thaw(data, self._compression, self._limit)
        entry = self._decode(self._prefix + name, data, now)
        if isinstance(entry, str):
            reason = entry
        elif entry.keep <= 0:
            return _NOTHING
        elif self._lives(txn, file, entry, state):
            file.use(self.key(name), USED)
            return Found(entry, data[:PREFIX_BYTES])
        else:
            reason = "dead"
        reading.refused[reason] = reading.refused.get(reason, 0) + 1
        return Found(None, front(data))

    def _lives(self, txn: Any, file: EntryFile, entry: Entry, state: State) -> bool:
        """Whether an entry was not invalidated."""
        epoch = entry.epoch
        if not state.cleared <= epoch <= state.epoch:
            return False
        if not entry.tags or epoch == state.epoch:
            return True
        if epoch < state.floor:
            return False
        for tag in entry.tags:
            at = txn.get(self.key(tag), None, file.tags)
            if at is not None and _NUMBER.unpack(at)[0] > epoch:
                return False
        return True

    def names(self, txn: Any, file: EntryFile, after: str, count: int) -> tuple[str, list[str]]:
        """Return some names, and after what to go on; "" is the beginning and the end. Warm ones first, then cold ones.

        What is kept under a digest has no name to tell.
        """
        place, _, last = after.partition(":")
        space = self.space
        names: list[str] = []
        for database in (file.warm, file.cold) if place in {"", "warm"} else (file.cold,):
            cursor = txn.cursor(database)
            start = space + bytes.fromhex(last)
            there = cursor.set_range(start)
            if there and last and cursor.key() == start:
                there = cursor.next()
            while there and len(names) < count and cursor.key()[: len(space)] == space:
                text = cursor.key()[len(space) :]
                if text[:1] != b"\xff":
                    names.append(text.decode("utf-8", "surrogatepass"))
                last = text.hex()
                there = cursor.next()
            cursor.close()
            if len(names) >= count:
                return f"{'warm' if database is file.warm else 'cold'}:{last}", names
            last = ""
        return "", names

    # Writing: all within a write transaction

    def known_state(self, turn: Turn) -> State:
        """Return the state, made if there is none."""
        state = self.state(turn.txn, turn.file)
        if state is None:
            state = State(int(turn.now * 1e6))
            self._put_state(turn, state)
        return state

    def _put_state(self, turn: Turn, state: State) -> None:
        turn.txn.put(self.space, _STATE.pack(*state), db=turn.file.spaces)

    def _there(self, turn: Turn, key: bytes) -> bytes | None:
        """Return what is there under a key and to be kept still."""
        data: bytes | None = turn.txn.get(key, None, turn.file.warm)
        if data is None:
            data = turn.txn.get(key, None, turn.file.cold)
        return None if data is None or 0 < drops_at(data) <= turn.now else data

    def _put(self, turn: Turn, key: bytes, data: bytes) -> None:
        turn.room.make(turn.txn, turn.room.pages_for(len(data)), turn.now)
        turn.txn.put(key, data, db=turn.file.warm)
        turn.txn.delete(key, db=turn.file.cold)
        turn.file.use(key, NEW)

    def _drop(self, turn: Turn, key: bytes) -> None:
        if not turn.txn.delete(key, db=turn.file.warm):
            turn.txn.delete(key, db=turn.file.cold)

    def lease(self, turn: Turn, names: Sequence[str]) -> Reading:
        """Return what is there; a fence for what is not."""
        txn, file = turn.txn, turn.file
        state = self.known_state(turn)
        reading = Reading([], state.epoch)
        until = int(1000 * (turn.now + self._lease))
        for name in names:
            key = self.key(name)
            data = self._there(turn, key)
            if data is not None:
                reading.found.append(self._look(txn, file, name, data, state, turn.now, reading))
                continue
            kept = txn.get(key, None, file.leases)
            if Held.of(kept, turn.now) is not None:
                reading.found.append(_NOTHING)
                continue
            lent = _lent(kept, turn.now)
            fence = lent or lease_marker(secrets.token_bytes(_VERSION_BYTES))
            if not lent:
                self._sweep(turn)
                txn.put(key, fence + _NUMBER.pack(until), db=file.leases)
            reading.found.append(Found(None, fence, taken=lent is not None))
        return reading

    def _free(self, turn: Turn, key: bytes) -> None:
        """Take the lease of a name away; a hold stays."""
        kept = turn.txn.get(key, None, turn.file.leases)
        if kept is not None and not is_held(kept):
            turn.txn.delete(key, db=turn.file.leases)

    def _sweep(self, turn: Turn) -> None:
        """Drop some leases that have ended."""
        cursor = turn.txn.cursor(turn.file.leases)
        there = cursor.set_range(self._swept) or cursor.first()
        for _ in range(_SWEPT):
            if not there:
                break
            key = cursor.key()
            if _NUMBER.unpack_from(cursor.value(), PREFIX_BYTES)[0] <= 1000 * turn.now:
                cursor.delete()
                there = cursor.set_range(key)
            else:
                there = cursor.next()
        self._swept = cursor.key() if there else b"\0"
        cursor.close()

    def fill(self, turn: Turn, puts: Sequence[Put]) -> list[bool]:
        """Store loaded entries whose fence holds."""
        stored = []
        changed = []
        for name, key, data, fence in puts:
            there = self._there(turn, key)
            kept = turn.txn.get(key, None, turn.file.leases)
            # Not for as long as somebody holds the name, whatever has been written meanwhile.
            holds = Held.of(kept, turn.now) is None and fence == (
                _lent(kept, turn.now) if there is None else front(there)
            )
            stored.append(holds)
            if holds:
                turn.txn.delete(key, db=turn.file.leases)
                self._put(turn, key, data)
                if not is_lease(fence):  # who had read nothing has nothing that others must hear of
                    changed.append(name)
        self.log.names(turn.txn, turn.file, changed)
        return stored

    def write(self, turn: Turn, puts: Sequence[Put]) -> None:
        """Store entries whatever is there; one without data is removed."""
        for _, key, data, _ in puts:
            self._free(turn, key)
            if data:
                self._put(turn, key, data)
            else:
                self._drop(turn, key)
        self.log.names(turn.txn, turn.file, [put.name for put in puts])

    def remove(self, turn: Turn, names: Sequence[str], *, expire: bool, quiet: bool = False) -> None:
        """Drop names, or end their lives; tell nobody if `quiet`."""
        for name in names:
            key = self.key(name)
            self._free(turn, key)
            self._leave(turn, key, expire=expire)
        if not quiet:
            self.log.names(turn.txn, turn.file, names)

    def _leave(self, turn: Turn, key: bytes, *, expire: bool) -> None:
        """Drop what is there, or end its life."""
        there = self._there(turn, key) if expire else None
        if there is None or len(there) < _ENTRY_BYTES:
            self._drop(turn, key)
            return
        version = secrets.token_bytes(_VERSION_BYTES)
        place = turn.file.cold if is_frozen(there) else turn.file.warm
        turn.txn.put(key, there[:KIND_AT] + ended(version) + there[PREFIX_BYTES:], db=place)

    def hold(self, turn: Turn, names: Sequence[str], token: bytes, *, expire: bool) -> int:
        """Drop names, or end their lives, and hold them; the epoch as of then."""
        until = int(1000 * (turn.now + self._lease))
        for name in names:
            key = self.key(name)
            self._leave(turn, key, expire=expire)
            held = Held.of(turn.txn.get(key, None, turn.file.leases), turn.now)
            held = Held(1, token, until) if held is None else held.joined(until)
            turn.txn.put(key, held.packed(), db=turn.file.leases)
        self.log.names(turn.txn, turn.file, names)
        return self.known_state(turn).epoch

    def settle(self, turn: Turn, puts: Sequence[Put], token: bytes, *, expire: bool) -> list[bool]:
        """End the hold of names, and store those that nobody else has held; the others are dropped."""
        alone = []
        for _, key, data, _ in puts:
            held = Held.of(turn.txn.get(key, None, turn.file.leases), turn.now)
            mine = held is not None and held.token == token
            left = None if held is None else held.left(token)
            if left is None:
                turn.txn.delete(key, db=turn.file.leases)
            else:
                turn.txn.put(key, left.packed(), db=turn.file.leases)
            if mine and data:
                self._put(turn, key, data)
            else:
                self._leave(turn, key, expire=expire and mine)
            alone.append(mine)
        self.log.names(turn.txn, turn.file, [put.name for put in puts])
        return alone

    def touch(self, turn: Turn, name: str, life: float, keep: float) -> bool:
        """Give an entry new times; whether it was there."""
        key = self.key(name)
        there = self._there(turn, key)
        if there is None:
            return False
        if is_frozen(there) and self._compression is not None:
            there = thaw(there, self._compression, self._limit)
        if keep <= 0:
            self.remove(turn, [name], expire=False)
            return True
        timed = self._wire.retime(self._prefix + name, there, life, keep, turn.now)
        if isinstance(timed, str):
            return False
        self._put(turn, key, timed)
        self.log.names(turn.txn, turn.file, [name])
        return True

    def invalidate(self, turn: Turn, tags: Sequence[str], *, quiet: bool = False) -> int:
        """End the lives of all older entries with these tags; the new epoch. Tell nobody if `quiet`."""
        txn, file = turn.txn, turn.file
        epoch, cleared, floor = self.known_state(turn)
        epoch += 1
        if CLEAR in tags:
            cleared = floor = epoch
        for tag in tags:
            if tag != CLEAR:
                txn.put(self.key(tag), _NUMBER.pack(epoch), db=file.tags)
        self._put_state(turn, State(epoch, cleared, floor))
        if not quiet:
            self.log.invalidated(txn, file, tags, epoch)
        return epoch


def _lent(kept: bytes | None, now: float) -> bytes | None:
    """Return the lease of a name that is not there, if somebody has one."""
    if kept is None or is_held(kept) or _NUMBER.unpack_from(kept, PREFIX_BYTES)[0] <= 1000 * now:
        return None
    return kept[:PREFIX_BYTES]


def _drop_leases(turn: Turn) -> None:
    """Drop all leases, whose loads are not stored then; but no holds, unless these are the flood."""
    txn, file = turn.txn, turn.file
    cursor = txn.cursor(file.leases)
    holds = [(key, kept) for key, kept in cursor if Held.of(kept, turn.now) is not None]
    cursor.close()
    txn.drop(file.leases, delete=False)
    for key, kept in holds if len(holds) <= _MOST_HOLDS else ():
        txn.put(key, kept, db=file.leases)


def tidy(turn: Turn) -> None:
    """Hold leases, tags and changes to their bounds; O(namespaces), and hardly ever anything to do."""
    txn, file, share = turn.txn, turn.file, turn.room.share
    if pages_of(txn, file.leases) > share:
        _drop_leases(turn)
    if txn.stat(file.tags)["entries"] > _MOST_TAGS or pages_of(txn, file.tags) > share:
        txn.drop(file.tags, delete=False)
        cursor = txn.cursor(file.spaces)
        for space, packed in [(key, value) for key, value in cursor if len(value) == _STATE.size]:
            epoch, cleared, _ = _STATE.unpack(packed)
            txn.put(space, _STATE.pack(epoch, cleared, epoch), db=file.spaces)
        cursor.close()
    if pages_of(txn, file.changes) > share:
        cut(txn, file)
