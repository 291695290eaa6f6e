"""What a level owes the cache, and what it may rely on.

A tier keeps entries under names, which are str, and hands them out again with what is left of their lives. Times that
cross this boundary are relative, in seconds: clocks of different hosts are never compared. Every operation is on many
names at once and costs one round trip.

A tier that other processes share is *fenced*. Every reading of a name comes with a fence, an opaque token for the state
that the name was in; a fill is accepted only if the name is in that state still, checked and stored in one step.
Whatever changes a name (write, remove, or another fill) breaks the fences handed out before. A reading of a name that
is not there has no fence (None): ``lease`` gives one. A process-local tier (``shared`` is False) may do with less.

A shared tier may *hold* names (`HoldingTier`) while the origin is changed: a writer that dies between its change of the
origin and that of the tier then leaves nothing there that is older. ``hold`` removes names, as ``remove`` does, and
from then on, until their holder has settled or a time has run out that the tier sets:

- no fill of theirs is accepted, by whatever fence, be it that of an entry that somebody has written meanwhile;
- ``lease`` says of one that is not there that there is no fence, and that nobody has it;
- all the rest (read, write, remove, invalidate, forget) does what it does else, and the hold stays. Only ``touch`` may
  refuse.

Several may hold a name at once. Nobody knows whose change of the origin is the last then, so none of them stores: each
``settle`` removes the name and says so, and the last one ends the hold, whose time begins anew with each who joins.
A hold that has run out is settled in the same way, and leaves alone, but contested, what others hold by then. An entry
is stored as of the epoch at its hold: an invalidation since then ends its life. After an error names may be held until
the time has run out.

An *epoch* is a number that a shared tier counts up with every invalidation by tag. An entry carries the epoch as of
before its load began; it is dead if one of its tags, or CLEAR, was invalidated in a later epoch. That makes the
invalidation of a tag, or of everything, O(1).

A tier that other processes share, but only those of its host, has an attribute ``local`` that is true, and a method
``forget``. Above a level that tells of changes by others it is told by it of what other hosts have changed, and its
entries are believed only if they were stored since that level's stream became alive.

Errors: an operation that fails raises TierError or one of its subclasses and nothing else; after an error it is unknown
whether it was done. No operation waits longer than the tier's own timeouts. All of it may be called from several
threads at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CLEAR",
    "NOTHING_FOUND",
    "Entry",
    "Fence",
    "Found",
    "HoldingTier",
    "Listener",
    "LocalTier",
    "Opened",
    "Reading",
    "Tier",
]

# The tag that every entry has: what `clear` invalidates.
CLEAR: Final = "*"

Fence = Any  # opaque to all but the tier that gave it; None: there is none


@dataclass(slots=True)
class Entry:
    """A value as the levels pass it on. Times in seconds, as of the moment of reading or writing."""

    value: Any
    # Different for every load and every write, of 12 bytes; equal versions have equal values.
    version: bytes
    # What is left of its time to live, infinite for none, not positive for what has expired logically.
    life: float = math.inf
    # What is left until the tier drops it; `life` at least, more if it is kept for fail-safe.
    keep: float = math.inf
    # Since it was loaded or written.
    age: float = 0.0
    # How long its load took, for XFetch; 0 if it was written.
    cost: float = 0.0
    # The origin has no such thing; `value` is None then.
    absent: bool = False
    tags: tuple[str, ...] = ()
    epoch: int = 0
    # Who wrote it, for `explain`: "host:pid" or what the cache was told to say.
    writer: str = ""

    def as_of(self, epoch: int) -> Entry:
        """Return the same as of an epoch: each level counts its own."""
        if self.epoch == epoch:
            return self
        return Entry(
            self.value,
            self.version,
            self.life,
            self.keep,
            self.age,
            self.cost,
            self.absent,
            self.tags,
            epoch,
            self.writer,
        )

    def within(self, longest: float) -> Entry:
        """Return the same, living so many seconds at most."""
        if self.keep <= longest:
            return self
        return replace(self, life=min(self.life, longest), keep=longest)


class Found(NamedTuple):
    """What is there under a name (or None), and the fence to fill it with."""

    entry: Entry | None
    fence: Fence = None
    # Of a lease: somebody else has it already, and may be loading.
    taken: bool = False


NOTHING_FOUND: Final = Found(None)


class Opened(NamedTuple):
    """Envelopes of the wire (see `hotset.wire`) with what is in them, as of `now` of the server's clock."""

    envelopes: list[bytes]
    values: list[Any]
    origins: list[tuple[str, tuple[str, ...]]]  # writers, tags
    now: float


class Reading:
    """The answer to a read: `found` in the order of the names asked for, and the epoch as of that moment.

    - `refused`: entries that were there and could not be used, by reason: "corrupt", "forged", "foreign", "schema",
      "dead".
    - `opened`: if all are there, alive, and neither absent nor tagged, a tier may say so by what it has read, as their
      values are all that most readers want to know.
    """

    __slots__ = ("epoch", "found", "opened", "refused")

    def __init__(self, found: list[Found], epoch: int = 0, refused: dict[str, int] | None = None) -> None:
        self.found = found
        self.epoch = epoch
        self.refused: dict[str, int] = {} if refused is None else refused
        self.opened: Opened | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.found!r}, {self.epoch!r}, {self.refused!r})"


class Listener(Protocol):
    """What a tier tells the cache of changes that it sees, from a thread of its own. Must be quick and not raise."""

    def changed(self, names: Iterable[str]) -> None:
        """Some other client has changed or removed these names, or they have gone by themselves."""

    def invalidated(self, tags: Iterable[str], epoch: int) -> None:
        """Some other client has invalidated these tags, or CLEAR."""

    def own_version(self, name: str) -> bytes | None:
        """Return the version this process wrote last under a name, b"" if it removed it, None if long ago."""

    def alive(self, since: float) -> None:
        """Report that all changes made before `since` (time.monotonic) have been told."""

    def lost(self) -> None:
        """Report that changes may have been missed from here on, until the next `alive`."""


class LocalTier(Protocol):
    """What a tier of one host has beyond Tier; see above."""

    # Whether other hosts may change what it has, without its knowledge.
    local: bool

    def forget(self, names: Sequence[str], tags: Sequence[str]) -> None:
        """Do what `remove` and `invalidate` do, and tell no other process: all have been told from where this came."""

    async def aforget(self, names: Sequence[str], tags: Sequence[str]) -> None:
        """See forget."""


@runtime_checkable
class Tier(Protocol):
    """A level. `a...` are the same for asyncio, on whichever loop they are awaited."""

    # Short, for statistics and `explain`: "memory", "valkey".
    name: str
    # Whether other processes see it.
    shared: bool
    # A tier that tells its listener of changes by others has an attribute `streams` that is true; one whose `lease`
    # never finds what `read` would has an attribute `leases` that is false. One that ends lives early has an attribute
    # `longest`, in seconds: nothing lives longer there. A cache lowers it to that of the levels beneath.

    def open(self, namespace: str, listener: Listener) -> None:
        """Belong to one cache from now on; raises TierError if it does to another one. The server need not be there."""

    def close(self) -> None:
        """Give up connections and threads; what is stored stays. May be called twice."""

    def read(self, names: Sequence[str]) -> Reading:
        """Look names up."""

    def lease(self, names: Sequence[str]) -> Reading:
        """Return a fence for each name that is not there; or the entry, if it came meanwhile."""

    def fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """Store loaded entries whose fence holds; which ones were."""

    def write(self, items: Sequence[tuple[str, Entry]]) -> None:
        """Store entries whatever is there, as of the present epoch, breaking all fences of their names."""

    def remove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """Drop names, or with `expire` end their lives and keep them for fail-safe. Breaks all fences of theirs."""

    def touch(self, name: str, life: float, keep: float) -> bool:
        """Give an entry new times; whether it was there. The value and its version stay."""

    def invalidate(self, tags: Sequence[str]) -> int:
        """Count the epoch up and end the lives of all older entries with these tags; the new epoch. O(1) a tag."""

    async def aclose(self) -> None:
        """See close."""

    async def aread(self, names: Sequence[str]) -> Reading:
        """See read."""

    async def alease(self, names: Sequence[str]) -> Reading:
        """See lease."""

    async def afill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """See fill."""

    async def awrite(self, items: Sequence[tuple[str, Entry]]) -> None:
        """See write."""

    async def aremove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """See remove."""

    async def atouch(self, name: str, life: float, keep: float) -> bool:
        """See touch."""

    async def ainvalidate(self, tags: Sequence[str]) -> int:
        """See invalidate."""


@runtime_checkable
class HoldingTier(Tier, Protocol):
    """A shared tier that can hold names while the origin is changed.

    It says in `held_for`, if it has that, after how many seconds a hold runs out.
    """

    # True; without it, or with false, a tier is no holding one though it has the methods.
    holds: bool

    def hold(self, names: Sequence[str], *, expire: bool = False) -> Any:
        """Remove names as `remove` does, and hold them; what `settle` is to be told. In one step a name."""

    def settle(self, items: Sequence[tuple[str, Entry | None]], hold: Any, *, expire: bool = False) -> list[bool]:
        """End the hold of names and store their entries; or with None leave nothing, or with `expire` nothing alive.

        Returns which names nobody else has held meanwhile, nor the time has run out of: the others are removed, and
        `expire` does not keep them. Breaks all fences. A hold may be settled in several calls, each name once.
        """

    async def ahold(self, names: Sequence[str], *, expire: bool = False) -> Any:
        """See hold."""

    async def asettle(
        self, items: Sequence[tuple[str, Entry | None]], hold: Any, *, expire: bool = False
    ) -> list[bool]:
        """See settle."""
