"""Resident bytes an entry: one fresh process a contestant, keys and values excluded.

The child builds its keys before the first reading (ints above 256; the value is the key), exercises a small
cache so that lazily made state is there, and then takes the growth of its resident memory over two fills:

plain    as many distinct keys as the capacity
churned  as many again with re-reads in between, then a read-through of random keys out of both halves: now
         victims have been evicted and seen again, so that ARC's ghost lists and the sketch and segments of
         W-TinyLFU are filled

The child imports no NumPy and no other rival. It is this module, run as
`python -m hotset.bench.memory RIVAL NAME ENTRIES`.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hotset.bench.bars import Verdict
from hotset.bench.clients import RIVALS, Client, lineup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Bytes an entry at a million int keys, and what a time to live may add.
CEILINGS = {"lru": 46.0, "lfu": 58.0, "arc": 66.0, "tinylfu": 66.0, "auto": 78.0}
TTL_CEILING = 16.0
_STATM = Path("/proc/self/statm")
# A child that hangs would hold up the whole run.
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes an entry after the plain fill, and after the churn (None for a store that never evicts)."""

    plain: float
    churned: float | None
    entries: int

    @property
    def worst(self) -> float:
        """The larger of the two; the bars are held against it."""
        return max(self.plain, self.churned or 0.0)

    def as_dict(self) -> dict[str, float | None]:
        """Return the footprint for JSON."""
        churned = None if self.churned is None else round(self.churned, 2)
        return {"plain_bytes": round(self.plain, 2), "churned_bytes": churned, "entries": self.entries}


class MeasurementError(RuntimeError):
    """The measuring process of a contestant failed."""


def resident_bytes() -> int:
    """Return the resident memory of this process.

    Where there is no /proc, the peak stands in for it: it only grows, which suits a process that only fills.
    """
    if _STATM.exists():
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        return _windows_resident_bytes()
    import resource  # noqa: PLC0415 - not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _windows_resident_bytes() -> int:
    import ctypes  # noqa: PLC0415 - only needed there

    class Counters(ctypes.Structure):
        _fields_ = (
            ("cb", ctypes.c_uint32),
            ("page_faults", ctypes.c_uint32),
            ("peak_working_set", ctypes.c_size_t),
            ("working_set", ctypes.c_size_t),
            ("rest", ctypes.c_size_t * 6),
        )

    counters = Counters()
    counters.cb = ctypes.sizeof(counters)
    libraries = ctypes.windll  # type: ignore[attr-defined,unused-ignore]
    libraries.kernel32.GetCurrentProcess.restype = ctypes.c_void_p
    query = libraries.kernel32.K32GetProcessMemoryInfo
    query.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)
    query(libraries.kernel32.GetCurrentProcess(), ctypes.byref(counters), counters.cb)
    return int(counters.working_set)


def measure(client: Client, entries: int) -> Footprint:
    """Fill one cache in this process, which must be fresh."""
    # Nothing large may be freed before the first reading: the cache would take that memory unseen.
    keys = list(range(1000, 1000 + 2 * entries))
    random.Random(entries).shuffle(keys)
    order = keys[:entries]
    random.Random(1).shuffle(order)
    mixed = random.Random(2).choices(keys, k=entries)
    step = max(2, entries // 10)
    first = keys[:entries]
    second = [keys[start : start + step] for start in range(entries, 2 * entries, step)]
    again = [order[start : start + step // 2] for start in range(0, entries // 2, step // 2)]
    small = client.make(1000)
    client.fill(small, order[:1500])
    client.read_through(small, order[:1500])
    del small
    gc.collect()
    before = resident_bytes()
    cache = client.make(entries)
    client.fill(cache, first)
    client.settle(cache)
    gc.collect()
    plain = (resident_bytes() - before) / entries
    churned = None
    if client.policy != "none":
        for number, part in enumerate(second):
            client.touch(cache, again[number % len(again)])
            client.fill(cache, part)
            client.touch(cache, part[::2])
        client.read_through(cache, mixed)
        client.settle(cache)
        gc.collect()
        churned = (resident_bytes() - before) / entries
    return Footprint(plain, churned, entries)


def footprint(
    clients: Sequence[Client],
    entries: int,
    rounds: int = 3,
    seed: int = 0,
    advance: Callable[[str], None] | None = None,
) -> dict[str, Footprint | str]:
    """Measure each client in fresh processes, in random order; medians, or the reason of a failure."""
    order = random.Random(seed)
    samples: dict[str, list[Footprint]] = {client.name: [] for client in clients}
    failures: dict[str, str] = {}
    for _ in range(rounds):
        for client in order.sample(list(clients), len(clients)):
            if advance is not None:
                advance(client.name)
            try:
                samples[client.name].append(_in_child(client, entries))
            except MeasurementError as error:
                failures[client.name] = str(error)
    figures: dict[str, Footprint | str] = {}
    for name, found in samples.items():
        if not found:
            figures[name] = failures.get(name, "not measured")
            continue
        churned = [one.churned for one in found if one.churned is not None]
        figures[name] = Footprint(
            statistics.median(one.plain for one in found),
            statistics.median(churned) if churned else None,
            entries,
        )
    return figures


def judge(figures: dict[str, Footprint | str], clients: Sequence[Client]) -> list[Verdict]:
    """Hold hotset's figures against the ceilings, the worse of plain and churned."""
    worst = {name: figure.worst for name, figure in figures.items() if isinstance(figure, Footprint)}
    verdicts = []
    for client in clients:
        ceiling = CEILINGS.get(client.policy)
        if client.distribution != "hotset" or client.ttl or ceiling is None:
            continue
        found = worst.get(client.name)
        verdicts.append(
            Verdict(client.name, f"<= {ceiling:g} bytes", found, None if found is None else found <= ceiling)
        )
        timed = worst.get(f"{client.name} + ttl")
        extra = None if found is None or timed is None else timed - found
        met = None if extra is None else extra <= TTL_CEILING
        verdicts.append(Verdict(f"{client.name} + ttl", f"<= {TTL_CEILING:g} bytes more", extra, met))
    return verdicts


def _in_child(client: Client, entries: int) -> Footprint:
    # A session of its own: an interrupt from the keyboard ends the parent, which then ends the child quietly.
    try:
        child = subprocess.run(  # noqa: S603 - this very interpreter and module
            [sys.executable, "-m", "hotset.bench.memory", client.rival, client.name, str(entries)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeasurementError(f"no figure: {error}") from error
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise MeasurementError(f"no figure: {reason}")
    found = json.loads(child.stdout.splitlines()[-1])
    return Footprint(found["plain"], found["churned"], entries)


def main() -> None:
    """Measure the client named by the arguments and print the figures as JSON."""
    rival, name, entries = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # No other rival is imported: some start threads of their own.
    client = lineup((rival,) if rival in RIVALS else ()).named(name)
    found = measure(client, entries)
    sys.stdout.write(json.dumps({"plain": found.plain, "churned": found.churned}) + "\n")


if __name__ == "__main__":
    main()
