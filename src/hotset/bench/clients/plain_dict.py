"""The unbounded `dict`: what a cache is measured against. It never evicts."""

from __future__ import annotations

from hotset.bench.clients._contract import Client


def _make(_capacity: int) -> dict[object, object]:
    return {}


CLIENTS = [Client("dict", "none", _make)]
