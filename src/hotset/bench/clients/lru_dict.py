"""lru-dict: an LRU in C over a dict."""

from __future__ import annotations

from lru import LRU

from hotset.bench.clients._contract import Client

CLIENTS = [Client("lru-dict LRU", "lru", LRU, distribution="lru-dict", exact=True)]
