"""What a member of a combined tier was told of changes, as long as it is not known that it has heard.

A change is noted before it is sent, and the note is dropped when the member has done it. What fails stays noted until
the member has been told to forget the name. The same holds where the outcome is not known: of two changes of one name
on their way at once nobody knows which the member did last, and what took long may have been overtaken. As long as
there is a note, the member is not believed about that name; and other members only about what was loaded after the
change (`Note.excludes`): another process may have copied the old value to them.

Bounded: when there are too many names, or tags, the member is to be told to forget everything.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from hotset.tiers.contract import CLEAR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hotset.tiers.contract import Entry

__all__ = ["Due", "Flight", "Note", "Notes"]

# A change that has not come back after so many seconds may never do: its event loop stands still, or is gone.
_LOST_AFTER: Final = 10.0


class Note:
    """A change: when it began, by time.monotonic, and the version that it wrote, if it did."""

    __slots__ = ("at", "flights", "spoiled", "version")

    def __init__(self, at: float, version: bytes | None) -> None:
        self.at = at
        self.version = version
        self.flights = 0
        self.spoiled = False  # it is not known what the member made of it

    def excludes(self, entry: Entry, asked: float) -> bool:
        """Whether an entry that was asked for at this moment may be older than the change."""
        return entry.version != self.version and asked - entry.age - entry.cost <= self.at


class Flight(NamedTuple):
    """A change on its way to a member."""

    begun: float
    names: tuple[str, ...]
    tags: tuple[str, ...]


class Due(NamedTuple):
    """What a member is to be told to forget."""

    names: dict[str, Note]
    tags: dict[str, Note]

    def __bool__(self) -> bool:
        return bool(self.names or self.tags)


class Notes:
    """The notes of one member. Thread-safe; O(1) a name.

    `most` names are noted singly, `late` is how many seconds a change may take before it is told once more.
    """

    def __init__(self, most: int, late: float) -> None:
        self._most = most
        self._late = late
        self._lock = threading.Lock()
        # Looked up without the lock, changed under it.
        self.names: dict[str, Note] = {}
        self.tags: dict[str, Note] = {}

    def __len__(self) -> int:
        return len(self.names) + len(self.tags)

    def flying(self, name: str) -> bool:
        """Whether a change of a name is on its way."""
        note = self.names.get(name)
        return note is not None and note.flights > 0

    def fly(self, names: Mapping[str, bytes | None], tags: Sequence[str] = ()) -> Flight:
        """Note a change that is about to be sent: the versions that names will have, None for removals."""
        now = time.monotonic()
        with self._lock:
            for kept, key, version in (
                *((self.names, name, version) for name, version in names.items()),
                *((self.tags, tag, None) for tag in tags),
            ):
                note = kept.get(key)
                if note is None or not note.flights:
                    note = kept[key] = Note(now, version)  # it takes the place of an earlier one if it is done
                else:
                    note.spoiled = True
                    note.at, note.version = now, version
                note.flights += 1
        return Flight(now, tuple(names), tuple(tags))

    def land(self, flight: Flight, *, done: bool) -> bool:
        """A change has come back, done or not; whether there is something to be told again."""
        left = False
        now = time.monotonic()
        spoiled = not done or now - flight.begun > self._late
        with self._lock:
            for kept, keys in ((self.names, flight.names), (self.tags, flight.tags)):
                for key in keys:
                    note = kept.get(key)
                    if note is None:
                        if not spoiled:
                            continue
                        note = kept[key] = Note(now, None)  # it was given up, and may have been done after all
                    note.flights = max(0, note.flights - 1)
                    note.spoiled |= spoiled
                    if note.spoiled:
                        left = True
                    elif not note.flights:
                        del kept[key]
            self._bound()
        return left

    def miss(self, names: Iterable[str], tags: Iterable[str] = ()) -> None:
        """A member was not told of a change."""
        now = time.monotonic()
        with self._lock:
            for kept, keys in ((self.names, names), (self.tags, tags)):
                for key in keys:
                    note = kept[key] = Note(now, None)
                    note.spoiled = True
            self._bound()

    def approve(self, name: str, version: bytes, begun: float) -> None:
        """What was loaded since the change, and stored from this moment on, is not older, whatever clocks say."""
        with self._lock:
            note = self.names.get(name)
            if note is not None and not note.flights and note.at <= begun:
                note.version = version

    def heard(self, names: Iterable[str]) -> None:
        """A member was told of later changes than those that it missed."""
        with self._lock:
            for name in names:
                note = self.names.get(name)
                if note is not None and not note.flights:
                    del self.names[name]

    def _bound(self) -> None:
        """Have everything forgotten if that is too much to be told singly. The lock is held."""
        if len(self.names) > self._most or len(self.tags) > self._most:
            now = time.monotonic()
            # What is on its way may come after the member has forgotten.
            self.names = {name: note for name, note in self.names.items() if note.flights}
            self.tags = {tag: note for tag, note in self.tags.items() if note.flights}
            whole = self.tags.setdefault(CLEAR, Note(now, None))
            whole.at, whole.spoiled = now, True

    def due(self, most: int = 2_000) -> Due:
        """Return what the member is to be told, at most so many names."""
        if not self.names and not self.tags:
            return Due({}, {})
        lost = time.monotonic() - _LOST_AFTER
        due = Due({}, {})
        with self._lock:
            for kept, into in ((self.names, due.names), (self.tags, due.tags)):
                for key, note in kept.items():
                    if not note.flights or note.at < lost:
                        into[key] = note
                        if len(into) >= most:
                            break
        return due

    def told(self, due: Due) -> None:
        """The member has been told; what was changed again meanwhile stays."""
        with self._lock:
            for kept, told in ((self.names, due.names), (self.tags, due.tags)):
                for key, note in told.items():
                    if kept.get(key) is note and (not note.flights or note.at < time.monotonic() - _LOST_AFTER):
                        del kept[key]

    def after_fork(self) -> None:
        """Begin anew in a forked child: the parent tells its members what they have missed."""
        self._lock = threading.Lock()
        self.names, self.tags = {}, {}
