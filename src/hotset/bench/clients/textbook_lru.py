"""The textbook LRU in plain Python: a dict of nodes on a circular doubly-linked list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotset.bench.clients._contract import Client

if TYPE_CHECKING:
    from collections.abc import Hashable


class _Node:
    __slots__ = ("key", "newer", "older", "value")

    key: Hashable
    value: Any
    newer: _Node
    older: _Node


class TextbookLRU:
    """Exact LRU; O(1) an operation, one Python object an entry.

    The root closes the ring: `root.newer` is the oldest entry, `root.older` the newest.
    """

    def __init__(self, maxsize: int) -> None:
        self._nodes: dict[Hashable, _Node] = {}
        self._maxsize = maxsize
        self._root = root = _Node()
        root.newer = root.older = root

    def get(self, key: Hashable, default: Any = None) -> Any:
        """Return the value and make it the newest, or the default."""
        node = self._nodes.get(key)
        if node is None:
            return default
        self._unlink(node)
        self._link_newest(node)
        return node.value

    def __setitem__(self, key: Hashable, value: Any) -> None:
        node = self._nodes.get(key)
        if node is None:
            if len(self._nodes) >= self._maxsize:
                oldest = self._root.newer
                self._unlink(oldest)
                del self._nodes[oldest.key]
            node = _Node()
            node.key = key
            self._nodes[key] = node
        else:
            self._unlink(node)
        node.value = value
        self._link_newest(node)

    def __delitem__(self, key: Hashable) -> None:
        self._unlink(self._nodes.pop(key))

    def __len__(self) -> int:
        return len(self._nodes)

    @staticmethod
    def _unlink(node: _Node) -> None:
        node.older.newer = node.newer
        node.newer.older = node.older

    def _link_newest(self, node: _Node) -> None:
        root = self._root
        newest = root.older
        newest.newer = root.older = node
        node.older = newest
        node.newer = root


CLIENTS = [Client("textbook LRU", "lru", TextbookLRU, exact=True)]
