"""What the keys of a namespace are called on a Cluster: in parts, each of one hash slot.

A command on a Cluster may name keys of one slot only, so names that hash where they like would be asked for one by one.
Here a name belongs to one of `PARTS` parts by its CRC-32, and the part's hash tag stands in all keys of the name:

==========================  ==============================================
``hs:NS:k{TAG}:NAME``       the entry
``hs:NS:l{TAG}:NAME``       its lease, or who holds it
``hs:NS:r{TAG}:NAME``       who has removed it
==========================  ==============================================

So a fence keeps to one slot whatever the name is, a thousand names are `PARTS` MGETs at most, and which node has a part
is looked up, not computed. The slots of the parts are spread evenly over all: each primary has its share to within one
part. The rest, the state of the namespace, is in one slot as it is on a single server (see `hotset.tiers.keys`); beside
it, ``hs:{NS}:owner`` says which node has had it last.
"""

from __future__ import annotations

from binascii import crc32, crc_hqx
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from hotset._wire import part_of as part_among, placed_names, spread_names
from hotset.tiers.keys import Keys, Kind, literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["PARTS", "SLOTS", "TAGS", "PartedKeys", "part_of", "slot_of"]

SLOTS: Final = 16384
# Fixed: it is in the names of keys. More would be more commands a bulk read, fewer would not do for a dozen primaries.
PARTS: Final = 64
_TAG_LENGTH: Final = 3


def slot_of(tag: str) -> int:
    """Return the hash slot of the keys with a hash tag: CRC-16 (XMODEM) modulo 16384."""
    return crc_hqx(tag.encode(), 0) % SLOTS


def _tags() -> tuple[str, ...]:
    """Return a hash tag for each part, whose slot is as near as may be to the middle of the part's share of slots."""
    share = SLOTS // PARTS
    best: dict[int, tuple[int, str]] = {}
    for number in range(16**_TAG_LENGTH):
        tag = f"{number:0{_TAG_LENGTH}x}"
        part, place = divmod(slot_of(tag), share)
        best[part] = min(best.get(part, (share, "")), (abs(place - share // 2), tag))
    return tuple(best[part][1] for part in range(PARTS))


TAGS: Final = _tags()
_PART_OF_TAG: Final = {tag: part for part, tag in enumerate(TAGS)}


def part_of(name: str) -> int:
    """Return the part of a name."""
    return part_among(name, PARTS)


class PartedKeys(Keys):
    """The keys of one namespace on a Cluster."""

    __slots__ = ("_leases", "_places", "_removals", "fronts", "owner", "tag")

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        front = self._entry.removesuffix("k:")
        # The hash tag of the state.
        self.tag = front.split(":")[1]
        # Which node has resumed the state last.
        self.owner = f"hs:{{{self.tag}}}:owner"
        self._entry = f"{front}k{{"
        self._places = tuple(f"{front}k{{{tag}}}:" for tag in TAGS)
        # What the check of an entry is begun with, by part.
        self.fronts = tuple(crc32(place.encode("utf-8", "surrogatepass")) for place in self._places)
        self._leases = tuple(f"{front}l{{{tag}}}:" for tag in TAGS)
        self._removals = tuple(f"{front}r{{{tag}}}:" for tag in TAGS)
        self.tracked = (self._entry, self.state, self._bell)

    def entry(self, name: str) -> str:
        """Return where the entry of a name is."""
        return self._places[part_of(name)] + name

    def entries(self, names: Iterable[str]) -> list[str]:
        """Return where the entries of names are."""
        return [self.entry(name) for name in names]

    @property
    def pattern(self) -> str:
        """What SCAN is to match: where entries are, of all parts."""
        return f"{literal(self._entry)}{'?' * _TAG_LENGTH}}}:*"

    def lease(self, name: str) -> str:
        """Return where the lease of a name is."""
        return self._leases[part_of(name)] + name

    def removal(self, name: str) -> str:
        """Return where it says who has removed a name."""
        return self._removals[part_of(name)] + name

    def of(self, name: str) -> tuple[str, str, str]:
        """Return where the entry of a name is, its lease, and who has removed it."""
        part = part_of(name)
        return self._places[part] + name, self._leases[part] + name, self._removals[part] + name

    def together(self, names: Sequence[str]) -> list[Sequence[str]]:
        """Return names in groups, each of one slot."""
        groups: defaultdict[int, list[str]] = defaultdict(list)
        for name in names:
            groups[part_of(name)].append(name)
        return list(groups.values())

    def spread(self, names: Iterable[str]) -> tuple[bytes, dict[int, bytes]]:
        """Return the part of each name as a byte, and by part what asks for its entries."""
        return spread_names(names, self._places)

    def placed(self, names: Sequence[str], order: bytes) -> list[str]:
        """Return where the entries of names are, of which the parts are known."""
        return placed_names(names, order, self._places)

    def meaning(self, key: bytes) -> tuple[Kind, str]:
        """Return of what kind a key is, and its name or tag; "" for what is not announced, or not of this namespace."""
        kind, rest = super().meaning(key)
        if kind != "entry":
            return kind, rest
        name = rest[_TAG_LENGTH + 2 :]
        part = _PART_OF_TAG.get(rest[:_TAG_LENGTH])
        known = part is not None and rest[_TAG_LENGTH : _TAG_LENGTH + 2] == "}:" and part_of(name) == part
        return ("entry", name) if known else ("", "")
