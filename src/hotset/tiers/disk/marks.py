"""Marks of use, and what is to be known before the entries are opened: a small file that all processes map.

A read marks its entry here, in shared memory, in a tenth of a microsecond; a write transaction for it would cost more
than the read. The hand that evicts (`room`) counts marks down. They are bytes, found by a checksum of the key: two
entries may share one, and one mark more or less does no harm, so nobody locks them.

The head of the file says which generation of the entries is the present one (it changes when a damaged file is set
aside: that is how other processes learn of it), how often that happened, and whether and how the last session ended.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FIRST_SLOT", "GENERATION_AT", "Head", "Marks", "slots_for"]

_MAGIC: Final = b"hs-disk1"
# Magic; generation; files set aside; bytes of the map; size and time of the entries as they were left, 0 for unknown;
# whether all commits of the session reached the disk; the boot of the machine in which the session began.
_HEAD: Final = struct.Struct("<8sQQQQQ?40s")
# The lowest byte of the generation, which is compared at every read.
GENERATION_AT: Final = 8
FIRST_SLOT: Final = 4096
_BYTES_A_SLOT: Final = 128
_FEWEST_SLOTS: Final = 4096
_MOST_SLOTS: Final = 1 << 26


class Head(NamedTuple):
    """What is said of the entries."""

    generation: int = 1
    set_aside: int = 0
    map_bytes: int = 0
    size: int = 0
    modified: int = 0
    synced: bool = False
    boot: bytes = b""


def slots_for(max_bytes: int) -> int:
    """Return how many marks there are for so many bytes of entries: a power of two."""
    wanted = max(_FEWEST_SLOTS, min(_MOST_SLOTS, max_bytes // _BYTES_A_SLOT))
    return 1 << (wanted.bit_length() - 1)


class Marks:
    """The file, mapped. Slots are `cells[FIRST_SLOT + (checksum & mask)]`."""

    __slots__ = ("_fd", "cells", "mask")

    def __init__(self, fd: int, slots: int) -> None:
        self._fd = fd
        self.cells = mmap.mmap(fd, FIRST_SLOT + slots)
        self.mask = slots - 1

    @classmethod
    def open(cls, path: Path, slots: int) -> tuple[Marks, bool]:
        """Map the file, made anew if it is not in order or of another size; whether its head was believed.

        The caller is alone with it. Raises OSError.
        """
        try:
            marks = cls.join(path)
        except (OSError, ValueError):
            head, sound = Head(), False
        else:
            head, sound = marks.head, True
            if marks.mask == slots - 1:
                return marks, True
            marks.close()
        # By another name first: who has the old one mapped still must not lose the memory under his feet. Written as a
        # whole: touching a hole on a full disk would end the process.
        new = path.with_name("marks.new")
        new.write_bytes(bytes(FIRST_SLOT + slots))
        with new.open("r+b") as file:
            file.write(_packed(head))
        new.replace(path)
        return cls.join(path), sound

    @classmethod
    def join(cls, path: Path) -> Marks:
        """Map the file as it is. Raises OSError; ValueError if it is not in order."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            slots = os.fstat(fd).st_size - FIRST_SLOT
            if os.pread(fd, 8, 0) != _MAGIC or slots < _FEWEST_SLOTS or slots & (slots - 1):
                raise ValueError(f"{path} is not what it was made as")  # noqa: TRY301
            return cls(fd, slots)
        except BaseException:
            os.close(fd)
            raise

    @property
    def head(self) -> Head:
        """What is said of the entries now."""
        return _unpacked(self.cells[: _HEAD.size])

    @head.setter
    def head(self, head: Head) -> None:
        self.cells[: _HEAD.size] = _packed(head)

    def flush(self) -> None:
        """Have the head on the disk. Raises OSError."""
        self.cells.flush(0, FIRST_SLOT)
        os.fsync(self._fd)

    def close(self) -> None:
        """Unmap it. Readers may still have it: then it goes when they do."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _packed(head: Head) -> bytes:
    return _HEAD.pack(_MAGIC, *head)


def _unpacked(data: bytes) -> Head:
    fields = Head(*_HEAD.unpack_from(data)[1:])
    return fields._replace(boot=fields.boot.rstrip(b"\0"))
