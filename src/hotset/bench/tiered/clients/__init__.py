"""The contestants: one small file a rival. One that is not installed, or does not work, is named and left out."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    unknown = sorted(set(rivals) - set(RIVALS))
    if unknown:
        raise ValueError(f"unknown rival {unknown[0]!r}; choose from {', '.join(RIVALS)}")
    loaded = Lineup()
    for name, module_name in _MODULES.items():
        if name not in _ALWAYS and name not in rivals:
            continue
        try:
            module = importlib.import_module(f"{__name__}.{module_name}")
        except ModuleNotFoundError:
            if name in _ALWAYS:
                raise
            loaded.missing[name] = "not installed"
        except Exception as error:
            # A rival that is too old or broken fails in ways of its own; the run goes on without it.
            if name in _ALWAYS:
                raise
            loaded.missing[name] = f"does not work ({type(error).__name__}: {error})"
        else:
            for client in module.CLIENTS:
                client.rival = name
            loaded.clients += module.CLIENTS
    return loaded


def choose(text: str) -> Lineup:
    """Load the rivals named in a list with commas, "all" or "none"; for command lines."""
    if text == "all":
        return lineup()
    return lineup(() if text == "none" else [name.strip() for name in text.split(",")])
