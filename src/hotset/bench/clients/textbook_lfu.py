"""The textbook LFU in plain Python: one ordered bucket a frequency."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from hotset.bench.clients._contract import Client

if TYPE_CHECKING:
    from collections.abc import Hashable


class TextbookLFU:
    """Exact LFU in O(1): the victim is the least recently used key of the lowest frequency.

    `_frequency[key]` names the bucket that holds the key; a bucket is in order of last use. A plain dict
    would not do as a bucket: finding its first key walks over all that were deleted before it.
    """

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._frequency: dict[Hashable, int] = {}
        self._buckets: dict[int, OrderedDict[Hashable, Any]] = {}
        self._lowest = 0

    def get(self, key: Hashable, default: Any = None) -> Any:
        """Return the value and count the use, or the default."""
        frequency = self._frequency.get(key)
        if frequency is None:
            return default
        value = self._take(key, frequency)
        self._put(key, value, frequency + 1)
        return value

    def __setitem__(self, key: Hashable, value: Any) -> None:
        frequency = self._frequency.get(key)
        if frequency is not None:
            self._take(key, frequency)
            self._put(key, value, frequency + 1)
            return
        if len(self._frequency) >= self._maxsize:
            victim = next(iter(self._buckets[self._lowest]))
            self._take(victim, self._lowest)
            del self._frequency[victim]
        self._put(key, value, 1)
        self._lowest = 1

    def __delitem__(self, key: Hashable) -> None:
        self._take(key, self._frequency.pop(key))
        # A delete may empty the lowest bucket; unlike a use, it does not tell which one is next.
        if self._lowest not in self._buckets:
            self._lowest = min(self._buckets, default=0)

    def __len__(self) -> int:
        return len(self._frequency)

    def _take(self, key: Hashable, frequency: int) -> Any:
        bucket = self._buckets[frequency]
        value = bucket.pop(key)
        if not bucket:
            del self._buckets[frequency]
            if self._lowest == frequency:
                self._lowest = frequency + 1
        return value

    def _put(self, key: Hashable, value: Any, frequency: int) -> None:
        self._frequency[key] = frequency
        bucket = self._buckets.get(frequency)
        if bucket is None:
            bucket = self._buckets[frequency] = OrderedDict()
        bucket[key] = value


CLIENTS = [Client("textbook LFU", "lfu", TextbookLFU, exact=True)]
