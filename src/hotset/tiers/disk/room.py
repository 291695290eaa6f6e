"""Who must go when the file is full: CLOCK with counts (Corbato 1968; GCLOCK, Smith 1978), the hands in order of keys.

The file never grows beyond its map, so the bound in bytes holds whatever happens here. Of the map's pages, three
quarters may be in use; the rest is what LMDB needs to copy pages before it changes them and to keep those that readers
still see.

When a write would go beyond, a hand moves on over the warm entries from where it stopped last. One that was marked as
used (`marks`) loses a mark and stays. One without is frozen (`freezing`) and becomes a cold entry if that saves space;
else it goes, as does at once what is kept no longer. When cold entries have half of the budget, a second hand moves
over them: one that was used is thawed and becomes warm again, the others go. Neighbours go together, so that pages
become free as a whole.

Leases, tags and changes have their own bounds, an eighth of the pages each.

Cost: about 0.5 us for an entry that is passed by, 2 us for one that goes, 15 us for one of 1 KB that is frozen. A hand
passes at most `_LOOKS` by at a time; if all of them are in use, those where it is then go nevertheless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from hotset.tiers.disk.file import pages_of
from hotset.tiers.disk.freezing import drops_at, freeze, thaw
from hotset.tiers.disk.marks import FIRST_SLOT

if TYPE_CHECKING:
    from hotset.codecs.compression import Compression
    from hotset.tiers.disk.file import EntryFile

__all__ = ["NEW", "USED", "Room"]

# Marks: rounds of the hand that an entry stays for without further use.
NEW: Final = 1
USED: Final = 3

_LOOKS: Final = 4096
_PATIENCE: Final = 3072  # looks after which marks do not help any more
_WORK: Final = 1024  # in entries that go; one that is frozen counts as eight
# Evicted at least, in pages, once it must be: so that not every write has to.
_BATCH_PAGES: Final = 32
_RECOUNT: Final = 32  # writes after which the side databases are counted anew
# Where the hands stopped, beside the states of spaces, whose keys have 8 bytes.
_WARM_HAND: Final = b"warm"
_COLD_HAND: Final = b"cold"


class Room:
    """The pages of one file in use, of one process's view. The writers' lock is held for all of it."""

    def __init__(self, file: EntryFile, compression: Compression | None, limit: int) -> None:
        self.budget = file.pages * 3 // 4
        self.share = file.pages // 8
        self.evicted = self.expired = self.frozen = self.thawed = 0
        self._file = file
        self._compression = compression
        self._limit = limit
        self._side = 0
        self._count = 0

    def pages_for(self, size: int) -> int:
        """Return how many pages a value of so many bytes may take, those on the way to it included."""
        return 2 + size // self._file.page_bytes

    def used(self, txn: Any) -> int:
        """Return how many pages are in use."""
        if not self._count:
            self._side = 8 + self._file.pages_beside(txn)
        self._count = (self._count + 1) % _RECOUNT
        return self._side + self._file.pages_of_entries(txn)

    def recount(self) -> None:
        """Count everything at the next look."""
        self._count = 0

    def make(self, txn: Any, pages: int, now: float) -> None:
        """Have so many pages free within the budget, if there is anything to evict."""
        over = self.used(txn) + pages - self.budget
        if over > 0:
            self.evict(txn, over + min(_BATCH_PAGES, self.budget // 16), now)

    def evict(self, txn: Any, pages: int, now: float) -> None:
        """Have the hands free so many pages, if they can."""
        file = self._file
        goal = file.pages_of_entries(txn) - pages
        if pages_of(txn, file.cold) > self.budget // 2:
            self._move(txn, file.cold, _COLD_HAND, goal, now)
        if file.pages_of_entries(txn) > goal:
            self._move(txn, file.warm, _WARM_HAND, goal, now)
        if file.pages_of_entries(txn) > goal:
            self._move(txn, file.cold, _COLD_HAND, goal, now)

    def _move(self, txn: Any, database: Any, name: bytes, goal: int, now: float) -> None:
        """Move a hand on until so few pages are left, or it has done enough for once."""
        file, cells, mask = self._file, self._file.cells, self._file.mask
        cold = database is file.cold
        cursor = txn.cursor(database)
        hand = txn.get(name, None, file.spaces)
        there = cursor.set_range(hand) if hand else cursor.first()
        changed = 0
        work = _WORK
        for looks in range(_LOOKS):
            if not there and not cursor.first():
                break
            key = cursor.key()
            slot = FIRST_SLOT + (crc32(key) & mask)
            mark = cells[slot]
            if mark and not cold and looks < _PATIENCE:
                cells[slot] = mark - 1
                there = cursor.next()
                continue
            work -= self._judge(txn, key, cursor.value(), cold=cold, used=mark >= USED, now=now)
            if cold and mark:
                cells[slot] = NEW
            cursor.delete()
            there = cursor.set_range(key)
            changed += 1
            if work < 0 or (not changed & 3 and file.pages_of_entries(txn) <= goal):
                break
        if there:
            txn.put(name, cursor.key(), db=file.spaces)
        elif hand:
            txn.delete(name, db=file.spaces)
        cursor.close()

    def _judge(self, txn: Any, key: bytes, data: bytes, *, cold: bool, used: bool, now: float) -> int:
        """Store an entry that is about to go where it may stay on, if anywhere; the work that this was."""
        compression = self._compression
        if 0 < drops_at(data) <= now:
            self.expired += 1
            return 1
        if compression is not None and cold and used:
            txn.put(key, thaw(data, compression, self._limit), db=self._file.warm)
            self.thawed += 1
            return 4
        if compression is not None and not cold:
            smaller = freeze(data, compression)
            if smaller is not None:
                txn.put(key, smaller, db=self._file.cold)
                self.frozen += 1
                return 8
        self.evicted += 1
        return 1
