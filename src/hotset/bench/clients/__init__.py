"""The contestants: one small file a rival, each naming its caches and its memoizing decorators.

A rival that is not installed, or that does not import, is named with the reason and left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotset.bench.clients._contract import Client, Memoizer, MethodClient, isolated
from hotset.bench.rivals import load, wanted

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import ModuleType

__all__ = ["RIVALS", "Client", "Lineup", "Memoizer", "MethodClient", "choose", "isolated", "lineup"]

# Name on the command line -> module here; the order is that of the reports.
_MODULES = {
    "dict": "plain_dict",
    "hotset": "hotset",
    "ordereddict": "ordereddict_lru",
    "textbook-lru": "textbook_lru",
    "textbook-lfu": "textbook_lfu",
    "functools": "functools_lru_cache",
    "cachetools": "cachetools",
    "cachebox": "cachebox",
    "lru-dict": "lru_dict",
    "theine": "theine",
    "moka-py": "moka",
}
_ALWAYS = ("dict", "hotset")

RIVALS = tuple(name for name in _MODULES if name not in _ALWAYS)


@dataclass(slots=True)
class Lineup:
    """The contestants of one run, and the rivals that could not be loaded with the reason why."""

    clients: list[Client] = field(default_factory=list)
    memoizers: list[Memoizer] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def select(self, policies: Collection[str], *, ttl: bool = False) -> list[Client]:
        """Return the clients of these policies, with a time to live or without."""
        return [client for client in self.clients if client.policy in policies and client.ttl is ttl]

    def named(self, name: str) -> Client:
        """Return the client of that name, or raise KeyError."""
        for client in self.clients:
            if client.name == name:
                return client
        raise KeyError(name)


def lineup(rivals: Collection[str] = RIVALS) -> Lineup:
    """Load dict, hotset and the rivals asked for."""
    modules, missing = load(__name__, _MODULES, _ALWAYS, rivals, _try_all)
    loaded = Lineup(missing=missing)
    for module in modules.values():
        loaded.clients += module.CLIENTS
        loaded.memoizers += getattr(module, "MEMOIZERS", [])
    return loaded


def _try_all(module: ModuleType) -> None:
    for client in module.CLIENTS:
        _try(client)


def _try(client: Client) -> None:
    """Use everything that a run will use, so that a rival fails here and not in the middle."""
    cache = client.make(16)
    client.fill(cache, ["a"])
    client.settle(cache)
    client.replay(cache, ["a", "b"])
    client.getter(cache)("a")


def choose(text: str) -> Lineup:
    """Load the rivals named in a list with commas, "all" or "none"; for command lines."""
    return lineup(wanted(text, RIVALS))
