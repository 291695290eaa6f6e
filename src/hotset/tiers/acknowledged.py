"""What a process has been told is done on a Cluster, and what of that a failover may have undone.

A primary acknowledges a change before its replicas have it. If it dies then, a replica takes over that has never heard
of the change, and gives an older entry as if it were current. Nobody but those who made the change, or were told of it,
can know. So each process remembers, for longer than a failover takes, which names it has changed or was told of. When
another node takes over their part, they are removed there before anything of the part is believed: what may have been
undone is a miss then. Of invalidations by tag and of `clear` it is enough to know the latest epochs.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hotset.tiers.scripts import State

__all__ = ["Acknowledged"]

# Names are remembered for one to two of these: more than `cluster-node-timeout`, for which a primary that was cut off
# goes on, and more than a replica may lag behind that is elected.
_SECONDS: Final = 30.0
# Names in each half; beyond, the oldest are forgotten early. A hundred bytes each, and the name.
_MOST: Final = 50_000


class Acknowledged:
    """Names changed lately, and the latest epochs. O(1) a name. May be used by several threads at once."""

    __slots__ = ("_before", "_begun", "_now", "cleared", "epoch")

    def __init__(self) -> None:
        self._now: set[str] = set()
        self._before: set[str] = set()
        self._begun = monotonic()
        self.epoch = 0
        self.cleared = 0

    def add(self, names: Iterable[str]) -> None:
        """Remember names that are being changed, or were told to be."""
        now = monotonic()
        if now - self._begun > _SECONDS or len(self._now) > _MOST:
            self._before, self._now = self._now, set()
            if now - self._begun > 2 * _SECONDS:
                self._before = set()
            self._begun = now
        self._now.update(names)

    def learn(self, state: State) -> None:
        """Remember a state of the namespace."""
        self.epoch = max(self.epoch, state.epoch)
        self.cleared = max(self.cleared, state.cleared)

    def __contains__(self, name: str) -> bool:
        return name in self._now or name in self._before

    def names(self) -> set[str]:
        """Return all names that are remembered."""
        while True:
            try:
                return self._now | self._before
            except RuntimeError:  # another thread has added one meanwhile
                continue
