"""LRU over `collections.OrderedDict`: the recipe that most services write by hand."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from hotset.bench.clients._contract import Client

if TYPE_CHECKING:
    from collections.abc import Hashable


class OrderedDictLRU:
    """Exact LRU: a read moves the key to the end, a write beyond `maxsize` drops the first."""

    def __init__(self, maxsize: int) -> None:
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._maxsize = maxsize

    def get(self, key: Hashable, default: Any = None) -> Any:
        """Return the value and make it the newest, or the default."""
        entries = self._entries
        if key in entries:
            entries.move_to_end(key)
            return entries[key]
        return default

    def __setitem__(self, key: Hashable, value: Any) -> None:
        entries = self._entries
        entries[key] = value
        entries.move_to_end(key)
        if len(entries) > self._maxsize:
            entries.popitem(last=False)

    def __delitem__(self, key: Hashable) -> None:
        del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)


CLIENTS = [Client("OrderedDict LRU", "lru", OrderedDictLRU, exact=True)]
