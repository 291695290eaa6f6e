"""The contestants: one small file a rival. One that is not installed, or does not work, is named and left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotset.bench.rivals import load, wanted
from hotset.bench.tiered.clients._contract import Client, Stand

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["RIVALS", "Client", "Lineup", "Stand", "choose", "lineup"]

# Name on the command line -> module here; the order is that of the reports.
_MODULES = {
    "redis-py": "bare_redis",
    "hotset": "hotset",
    "smart-cache": "smart_cache",
    "cashews": "cashews",
    "dogpile": "dogpile",
    "aiocache": "aiocache",
}
_ALWAYS = ("redis-py", "hotset")

RIVALS = tuple(name for name in _MODULES if name not in _ALWAYS)


@dataclass(slots=True)
class Lineup:
    """The contestants of one run, and the rivals that could not be loaded with the reason why."""

    clients: list[Client] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def having(self, setup: str, *, sockets: bool = False) -> list[Client]:
        """Return those that have a set-up; with `sockets`, over a unix socket."""
        return [client for client in self.clients if setup in client.setups and (client.sockets or not sockets)]


def lineup(rivals: Collection[str] = RIVALS) -> Lineup:
    """Load bare redis-py, hotset and the rivals asked for. Raises ValueError for a rival that there is not."""
    modules, missing = load(__name__, _MODULES, _ALWAYS, rivals)
    loaded = Lineup(missing=missing)
    for module in modules.values():
        loaded.clients += module.CLIENTS
    return loaded


def choose(text: str) -> Lineup:
    """Load the rivals named in a list with commas, "all" or "none"; for command lines."""
    return lineup(wanted(text, RIVALS))
