"""Advice for a cache that runs, from what it has recorded of itself."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hotset.lab.advice import FEWEST, Finding, Latencies, Prices, advise, told_seconds
from hotset.lab.trace import Trace, TraceError
from hotset.policies import POLICIES

if TYPE_CHECKING:
    import array

    from hotset._engine import Cache
    from hotset.lab.advice import Advice
    from hotset.recording import Recording
    from hotset.tiered.stats import TieredStats

__all__ = ["advise_cache", "advise_tiered", "counted_finding", "measured_latencies", "trace_of"]

_FEWEST_ENTRIES: Final = 20  # of the cache that a sample makes of the real one: below, it tells little of it
_MOST_TIME: Final = 0.5  # of a request's: whoever takes more is what to look at


def trace_of(words: array.array[int], moments: array.array[float], sample: float) -> Trace:
    """Return what was recorded in memory as a trace. Raises TraceError if it is nothing."""
    if not len(words):
        raise TraceError("nothing was recorded yet: no key of the sample was asked for")
    keys = np.frombuffer(words, np.uint64).view(np.int64)
    times = np.maximum.accumulate(np.frombuffer(moments, np.float64))
    return Trace.of("recording", keys, times=times, rate=sample, requests=len(keys) / sample)


def policy_of(cache: Cache[Any, Any]) -> str:
    """Return the name of the policy that a cache evicts by."""
    return next(name for name, kind in reversed(POLICIES.items()) if isinstance(cache, kind))


def advise_cache(
    cache: Cache[Any, Any],
    recording: Recording | None,
    *,
    l2: int | None = None,
    latencies: Latencies | None = None,
    prices: Prices | None = None,
) -> Advice:
    """See Cache.advise. What it would hit with more or fewer entries is by count, whatever its entries weigh."""
    if recording is None:
        raise RuntimeError("nothing was recorded: call record() and let the cache be used for a while")
    if recording.error is not None:
        raise recording.error
    trace = recording.trace()
    # Of what is bounded by weight, or not at all, as many entries as there are.
    counted = math.isfinite(cache.maxsize) and cache.currsize == len(cache)
    size = max(1, int(cache.maxsize) if counted else len(cache))
    if len(trace) < FEWEST:
        raise ValueError(
            f"{len(trace):,} requests were recorded, {FEWEST:,} are needed: let it run for longer, or record a larger"
            f" sample than {trace.rate:g}"
        )
    if size * trace.rate < _FEWEST_ENTRIES:
        raise ValueError(
            f"a sample of {trace.rate:g} makes {size * trace.rate:.3g} entries of {size:,}, too few to tell anything:"
            f" record with sample={min(1.0, _FEWEST_ENTRIES / size):.2g} or more"
        )
    found = advise(trace, size, policy=policy_of(cache), l2=l2, latencies=latencies or Latencies(), prices=prices)
    lost = recording.lost
    if not lost:
        return found
    return replace(found, certainty=f"{found.certainty} {lost:,} requests came too fast to be recorded.")


def advise_tiered(stats: TieredStats, memory: Cache[Any, Any], recording: Recording | None, **options: Any) -> Advice:
    """See TieredCache.advise. Latencies are those that the cache has measured, unless they are given."""
    if options.get("latencies") is None:
        options["latencies"] = measured_latencies(stats)
    found = advise_cache(memory, recording, **options)
    counted = counted_finding(stats)
    return found if counted is None else replace(found, findings=(*found.findings, counted))


def measured_latencies(stats: TieredStats) -> Latencies:
    """Return what a cache has measured; the usual where it has not."""
    usual = Latencies()
    below = next((level.latency for level in stats.levels[1:] if level.latency.count), None)
    return Latencies(
        l1=stats.levels[0].latency.mean or usual.l1,
        l2=below.mean if below is not None else usual.l2,
        origin=stats.load_latency.mean if stats.load_latency.count else usual.origin,
    )


def counted_finding(stats: TieredStats) -> Finding | None:
    """Say where the time of a request went, as it was counted; None before there are any requests.

    A level is asked for what those above it missed. Most of the time goes to one place: the level above that is the one
    that misses too much.
    """
    if not stats.requests:
        return None
    reached = 1.0
    spent: list[tuple[str, float]] = []
    told: list[str] = []
    for level in stats.levels:
        spent.append((level.name, reached * level.latency.mean))
        told.append(f"{level.name} hits {100 * level.hit_rate:.0f} %{' of the rest' if told else ''}")
        reached *= 1.0 - level.hit_rate
    loads = min(1.0, stats.loads / stats.requests)
    spent.append(("the origin", loads * stats.load_latency.mean))
    total = sum(seconds for _, seconds in spent)
    if not total:
        return None
    at = max(range(len(spent)), key=lambda place: spent[place][1])
    place, seconds = spent[at]
    text = f"{', '.join(told)}; {100 * seconds / total:.0f} % of {told_seconds(total)} a request goes to {place}"
    if at and seconds / total > _MOST_TIME:
        text = f"{spent[at - 1][0]} misses what costs most: {text}"
    return Finding("levels, as counted", helps=False, text=text, gain=seconds / total)
