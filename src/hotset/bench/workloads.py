"""Requests: generated ones, and traces read from a file.

A workload is an array of dense ids, one a request, and the distinct key objects that they stand for.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hotset.lab.generators import loop, scan, shifting_zipf, zipf

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Ids = npt.NDArray[np.int64]


class TraceError(ValueError):
    """A trace file that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Workload:
    """`ids[i]` is the key of request i, numbered by first appearance; `distinct` are the key objects."""

    name: str
    ids: Ids
    distinct: list[Hashable]

    @cached_property
    def requests(self) -> list[Hashable]:
        """The key object of each request; equal keys are the same object."""
        distinct = self.distinct
        return [distinct[number] for number in self.ids.tolist()]

    def head(self, requests: int) -> Workload:
        """Return the first requests only; 0 means all."""
        if not 0 < requests < len(self.ids):
            return self
        ids = self.ids[:requests]
        return Workload(self.name, ids, self.distinct[: int(ids.max()) + 1])


def from_keys(name: str, keys: npt.NDArray[Any]) -> Workload:
    """Number the keys by first appearance."""
    values, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(values), np.int64)
    order = np.argsort(first)
    rank[order] = np.arange(len(values))
    distinct: list[Hashable] = values[order].tolist()
    return Workload(name, rank[inverse.reshape(-1)], distinct)


def service(requests: int, seed: int) -> Workload:
    """Return the default workload: what a busy service sees, in one stream.

    Skewed reads whose favourites move on (55 % of all requests), a report that walks a table again and again
    (25 %) and exports that touch each key once (20 %). The parts come in bursts. It is meant to tell
    policies apart; on a stationary zipf alone they all look alike.
    """
    rng = np.random.default_rng(seed)
    keys = max(64, requests // 8)
    burst = max(16, requests // 250)
    kinds = rng.choice(3, size=-(-requests // burst), p=[0.55, 0.25, 0.20])
    sizes = np.bincount(np.repeat(kinds, burst)[:requests], minlength=3)
    table = max(16, keys // 6)
    streams = (
        shifting_zipf(keys, int(sizes[0]), rng, 0.9, phases=6),
        keys + loop(table, int(sizes[1])),
        keys + table + np.arange(int(sizes[2]), dtype=np.int64),
    )
    kind_of = np.repeat(kinds, burst)[:requests]
    ids = np.empty(requests, np.int64)
    for kind, stream in enumerate(streams):
        ids[kind_of == kind] = stream
    # Ids of a real service are no dense range.
    names = rng.choice(1 << 29, size=int(ids.max()) + 1, replace=False) + 1000
    return from_keys("generated", names[ids])


GENERATED: dict[str, Callable[[int, np.random.Generator], Ids]] = {
    "zipf": lambda requests, rng: zipf(max(64, requests // 5), requests, rng),
    "shifting-zipf": lambda requests, rng: shifting_zipf(max(64, requests // 5), requests, rng),
    "loop": lambda requests, _rng: loop(max(64, requests // 20), requests),
    "scan-mix": lambda requests, rng: scan(max(64, requests // 5), requests, rng),
}


def generated(name: str, requests: int, seed: int) -> Workload:
    """Return one of the workloads of `GENERATED`."""
    return from_keys(name, GENERATED[name](requests, np.random.default_rng(seed)))


def load_trace(path: str | Path) -> Workload:
    """Read a trace: `.npz` with an array `keys`, `.npy`, or text with one key a line."""
    path = Path(path)
    if path.is_dir():
        raise TraceError(f"trace {path} is a folder, not a file")
    try:
        keys = _read(path)
    except FileNotFoundError:
        raise TraceError(f"trace {path} does not exist") from None
    except OSError as error:
        raise TraceError(f"trace {path} cannot be read: {error.strerror or error}") from error
    if isinstance(keys, list):
        return _from_lines(path, keys)
    if keys.ndim != 1:
        raise TraceError(f"trace {path}: the keys must be a one-dimensional array, not of shape {keys.shape}")
    if keys.dtype.kind not in "iuSU":
        raise TraceError(f"trace {path}: the keys must be integers or text, not {keys.dtype}")
    if not len(keys):
        raise TraceError(f"trace {path} has no requests")
    return from_keys(path.stem, keys)


def _from_lines(path: Path, lines: list[str]) -> Workload:
    if not lines:
        raise TraceError(f"trace {path} has no requests")
    number: dict[Hashable, int] = {}
    ids = np.array([number.setdefault(line, len(number)) for line in lines], np.int64)
    return Workload(path.stem, ids, list(number))


def _read(path: Path) -> npt.NDArray[Any] | list[str]:
    if path.suffix in {".npz", ".npy"}:
        return _read_numpy(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise TraceError(f"trace {path} is neither .npz nor .npy nor UTF-8 text with one key a line") from None
    return [line.strip() for line in lines if line.strip()]


def _read_numpy(path: Path) -> npt.NDArray[Any]:
    # Opened here: NumPy leaves the file of a broken archive to the garbage collector.
    with path.open("rb") as file:
        try:
            found = np.load(file)
            if isinstance(found, np.ndarray):
                return found
            if "keys" in found.files:
                return np.asarray(found["keys"])
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise TraceError(f"trace {path} cannot be read as NumPy arrays of numbers or text") from error
    named = ", ".join(found.files) or "nothing"
    raise TraceError(f"trace {path} has no array named 'keys' (it has {named})")
