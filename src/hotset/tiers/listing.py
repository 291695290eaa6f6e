"""How far a list of the names on a Cluster has come, as a cursor says it: which parts were listed, and at which node.

SCAN is of one node, and parts move between nodes meanwhile. So a part is listed at the node that has it when the walk
over that node begins, and names of other parts that are met there are left out. It counts as listed as long as it is
with that node; one that has moved since, or in the meantime, is listed anew where it is. So a name that is there all
the time comes, and comes once, unless its part moves or the node rebuilds its table of keys: then it may come again.
The length of a cursor is that of the list of primaries, however many names there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hotset.tiers.parts import part_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Listing"]

_BEGIN: Final = "0"  # of a node's keys, for SCAN, and its end


class Listing:
    """A list that is being made. `node` is to be asked next, from `place` on; it is "" when all parts are listed."""

    __slots__ = ("_done", "_parts", "node", "place")

    def __init__(self, cursor: str, ids: Sequence[str]) -> None:
        """Go on from a cursor, "" for the beginning; `ids` says whose each part is now."""
        theirs: dict[str, int] = {}  # sets of parts are the bits of a number
        for part, node in enumerate(ids):
            theirs[node] = theirs.get(node, 0) | 1 << part
        (self.node, self.place, self._parts), *done = map(_read, cursor.split()) if cursor else [("", _BEGIN, 0)]
        self._parts &= theirs.get(self.node, 0)
        self._done = {node: parts for node, _, parts in done}
        if not self._parts:
            left = sum(parts & ~self._done.get(node, 0) for node, parts in theirs.items())
            # The node with the first of them that is left.
            self.node = ids[(left & -left).bit_length() - 1] if left else ""
            self.place = _BEGIN
            self._parts = left & theirs.get(self.node, 0)

    def has(self, name: str) -> bool:
        """Whether a name is of a part that is being listed."""
        return bool(self._parts >> part_of(name) & 1)

    def cursor(self, place: str) -> str:
        """Return the cursor, when the node has said where to go on."""
        done, now = self._done, (self.node, place, self._parts)
        if place == _BEGIN:
            done = {**done, self.node: done.get(self.node, 0) | self._parts}
            now = "", _BEGIN, 0
        words = now, *((node, _BEGIN, parts) for node, parts in done.items())
        return " ".join(f"{node}:{at}:{parts:x}" for node, at, parts in words)


def _read(word: str) -> tuple[str, str, int]:
    node, place, parts = word.split(":")
    return node, place, int(parts, 16)
