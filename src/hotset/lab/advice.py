"""Advice from a trace: size, policy, life, one-hit wonders, levels, and money; each with how sure it is.

The trace is cut into six parts and the first, in which the cache fills, is left out. A difference is told with the
interval in which its mean over such parts lies (Student's t over the five that are left): 95 %, and 99 % where the
best of several policies is picked. Nothing is advised whose interval reaches below what is worth a change.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hotset import _lab
from hotset.lab.curves import UNSCALABLE
from hotset.policies import POLICIES
from hotset.replaying import replay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotset.lab.trace import Floats, Trace

__all__ = ["FEWEST", "Advice", "Finding", "Latencies", "Prices", "advise"]

_PARTS: Final = 6
_T95, _T99 = 2.776, 4.604  # of Student's t with 4 degrees of freedom
_WORTH_SIZE, _WORTH_HALF, _WORTH_POLICY, _WORTH_TTL = 1.0, 0.5, 0.5, 1.0  # points of hit ratio
_WORTH_TIME = 0.03  # of the response time
_MOST_REQUESTS = 2_000_000
FEWEST: Final = 1_000  # requests that tell anything
_DAYS = 30.0
_LIVES: Final = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400, 7 * 86_400, 30 * 86_400)


class Latencies(NamedTuple):
    """Seconds that an answer takes of each level, by itself."""

    l1: float = 1e-6
    l2: float = 0.5e-3
    origin: float = 10e-3


class Prices(NamedTuple):
    """What things cost, in any currency. Memory is by GB (10^9 bytes) and month, the origin by a million reads."""

    requests_per_day: float
    origin_per_million: float = 0.0
    l1_per_gb: float = 0.0
    l2_per_gb: float = 0.0
    entry_bytes: float = 1000.0


class Finding(NamedTuple):
    """One thing found: whether it is worth a change, what was measured, and the interval of `gain` if there is one."""

    topic: str
    helps: bool
    text: str
    gain: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Advice:
    """What was found. `verdict` sums it up: what to change, or "no change"."""

    size: int
    policy: str
    hit_ratio: float
    findings: tuple[Finding, ...]
    certainty: str
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """What to do, in a line."""
        worth = [found for found in self.findings if found.helps]
        return "; ".join(found.text.partition(":")[0] for found in worth) if worth else "no change"

    def __str__(self) -> str:
        """Return all of it as text."""
        lines = [
            f"{self.policy} at {self.size:,} entries hits {100 * self.hit_ratio:.1f} %",
            f"Advice: {self.verdict}",
            "",
        ]
        lines += [f"{'*' if found.helps else '-'} {found.topic}: {found.text}" for found in self.findings]
        return "\n".join([*lines, "", self.certainty])

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "size": self.size,
            "policy": self.policy,
            "hit_ratio": self.hit_ratio,
            "verdict": self.verdict,
            "certainty": self.certainty,
            "findings": [found._asdict() for found in self.findings],
            **self.figures,
        }


class _Parts(NamedTuple):
    """Hit ratios of a policy at a size in percent: one for each part but the first."""

    percent: Floats

    @property
    def mean(self) -> float:
        return float(self.percent.mean())

    def against(self, other: _Parts, t: float) -> tuple[float, float, float]:
        """Return by how many points this is better, and the interval."""
        lead = self.percent - other.percent
        mean = float(lead.mean())
        reach = t * float(lead.std(ddof=1)) / math.sqrt(len(lead))
        return mean, mean - reach, mean + reach


def advise(
    trace: Trace,
    size: int,
    *,
    policy: str = "lru",
    l2: int | None = None,
    latencies: Latencies = Latencies(),  # noqa: B008 - immutable
    prices: Prices | None = None,
) -> Advice:
    """Say what would help a cache of `size` entries and this policy, which is asked for what the trace has.

    `l2` is the size of a second level below it, if there is one. Of more than 2 million requests a sample is taken.
    O(n) for each policy, some four times.

    Raises ValueError for an unknown policy, a size or `l2` below 1, and a trace of fewer than 1,000 requests, which
    tells nothing.
    """
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}: use one of {', '.join(POLICIES)}")
    if size < 1 or (l2 is not None and l2 < 1):
        raise ValueError(f"a size must be at least 1, got {size if size < 1 else l2!r}")
    if len(trace) < FEWEST:
        raise ValueError(
            f"trace {trace.name} has {len(trace):,} requests: too few to advise from, {FEWEST:,} are needed"
        )
    part = trace
    if len(trace) > _MOST_REQUESTS:
        part = trace.sample(_MOST_REQUESTS / len(trace))
    measured = _measured(part, size, policy)
    now = measured[policy, size]
    findings = [
        *_sizes(measured, policy, size),
        _policies(measured, policy, size),
        _lives(part, size),
        _one_hits(part, measured, policy, size),
    ]
    figures: dict[str, Any] = {
        "hit_ratios": {name: round(parts.mean / 100, 6) for (name, at), parts in measured.items() if at == size}
    }
    levels = _Levels(part, size, l2, latencies)
    findings.append(levels.finding())
    figures["response_seconds"] = levels.response(size, l2)
    if prices is not None:
        finding, costs = levels.money(prices)
        findings.append(finding)
        figures["cost_per_month"] = costs
    return Advice(size, policy, now.mean / 100, tuple(findings), _certainty(trace, part), figures)


def _certainty(trace: Trace, part: Trace) -> str:
    sampled = f", of a sample of {100 * part.rate:.3g} % of the keys" if part.rate < 1.0 else ""
    span = ""
    if trace.times is not None:
        span = f" over {told_seconds(float(trace.times[-1] - trace.times[0]))}"
    return (
        f"From {len(trace):,} requests{span}{sampled}. Intervals: 95 % (policies: 99 %) by how five parts of the trace,"
        " after the first sixth, differ. They hold if what comes is like it."
    )


def _measured(trace: Trace, size: int, policy: str) -> dict[tuple[str, int], _Parts]:
    """Replay everything that is compared, in threads."""
    sampled = trace.rate < 1.0
    wanted = [(name, size) for name in POLICIES if name == policy or not (sampled and name in UNSCALABLE)]
    wanted += [(policy, 2 * size), *([(policy, size // 2)] if size > 1 else [])]
    ends = [len(trace) * part // _PARTS for part in range(1, _PARTS + 1)]
    with ThreadPoolExecutor(os.cpu_count() or 1, "hotset-lab") as pool:
        # Hits of the first parts together: what is deterministic can be asked for again, only longer.
        futures = {
            (name, at, end): pool.submit(replay, name, max(1, round(at * trace.rate)), trace.keys[:end])
            for name, at in wanted
            for end in ends
        }
        hits = {cell: future.result().hits for cell, future in futures.items()}
    return {
        (name, at): _Parts(np.diff([hits[name, at, end] for end in ends]) * 100.0 / np.diff(ends))
        for name, at in wanted
    }


def _interval(low: float, high: float) -> str:
    return f"({low:+.1f} to {high:+.1f})"


def _sizes(measured: dict[tuple[str, int], _Parts], policy: str, size: int) -> list[Finding]:
    now = measured[policy, size]
    gain, low, high = measured[policy, 2 * size].against(now, _T95)
    found = [
        Finding(
            "size",
            low > _WORTH_SIZE,
            f"double it to {2 * size:,} entries: {gain:+.1f} points of hit ratio {_interval(low, high)}",
            gain,
            low,
            high,
        )
    ]
    if size > 1:
        loss, low, high = measured[policy, size // 2].against(now, _T95)
        found.append(
            Finding(
                "size",
                low > -_WORTH_HALF,
                f"halve it to {size // 2:,} entries: {loss:+.1f} points {_interval(low, high)}",
                loss,
                low,
                high,
            )
        )
    return found


def _policies(measured: dict[tuple[str, int], _Parts], policy: str, size: int) -> Finding:
    now = measured[policy, size]
    best = max((name for name, at in measured if at == size), key=lambda name: measured[name, size].mean)
    if best == policy:
        text = f"stay with {policy}: none of {len(POLICIES)} hits more at {size:,} entries"
        return Finding("policy", helps=False, text=text)
    gain, low, high = measured[best, size].against(now, _T99)
    sure = "" if low > 0 else "; that may be chance"
    text = f"use {best}: {gain:+.1f} points over {policy} {_interval(low, high)}{sure}"
    return Finding("policy", low > _WORTH_POLICY, text, gain, low, high)


def _lives(trace: Trace, size: int) -> Finding:
    if trace.times is None:
        return Finding("TTL", helps=False, text="the trace has no times: nothing can be said")
    span = float(trace.times[-1] - trace.times[0])
    times, capacity = trace.times, max(1, round(size * trace.rate))
    distances = np.empty(len(trace), np.uint32)
    _lab.reuse_distances(trace.keys, trace.distinct, np.zeros(trace.distinct + 1, np.uint64), distances)

    def percent(ttl: float) -> float:
        hits = _lab.living_hits(trace.keys, trace.distinct, times, ttl, distances, min(capacity, 0xFFFFFFFF))
        return 100.0 * hits / len(trace)

    endless = percent(math.inf)
    lives = [(life, percent(life)) for life in _LIVES if life < span]
    told = ", ".join(f"{told_seconds(life)} {ratio:.1f} %" for life, ratio in lives[-6:])
    enough = next((life for life, ratio in lives if endless - ratio <= _WORTH_TTL), None)
    if enough is None:
        text = f"none below the {told_seconds(span)} of the trace keeps the hits: {told or 'too short to tell'}"
        return Finding("TTL", helps=False, text=text)
    text = (
        f"{told_seconds(enough)} is enough: with lru it costs {endless - percent(enough):.1f} points, "
        f"a longer one keeps older values for nothing ({told}; without end {endless:.1f} %)"
    )
    return Finding("TTL", helps=False, text=text, gain=percent(enough) - endless)


def _one_hits(trace: Trace, measured: dict[tuple[str, int], _Parts], policy: str, size: int) -> Finding:
    once = trace.uses == 1
    keys = float(once.mean())
    asked = np.flatnonzero(once[trace.keys])
    share = len(asked) / len(trace)
    parts = np.bincount(asked * _PARTS // len(trace), minlength=_PARTS) * _PARTS / len(trace)
    misses = 1.0 - measured[policy, size].mean / 100
    stores = min(1.0, share / misses) if misses else 0.0
    text = (
        f"{100 * keys:.0f} % of the keys are asked for once: {100 * share:.0f} % of the requests and "
        f"{100 * stores:.0f} % of what is stored"
    )
    worst = int(parts.argmax())
    if parts[worst] > 1.5 * share and share > 0.01:
        text += f", most in part {worst + 1} of {_PARTS} ({100 * parts[worst]:.0f} % of its requests)"
    text += _worst_groups(trace, once, share)
    admitting = [name for name, at in measured if at == size and name == "tinylfu"]
    if admitting and policy != "tinylfu":
        gain, low, high = measured["tinylfu", size].against(measured[policy, size], _T95)
        text += f"; keeping them out (tinylfu) gives {gain:+.1f} points {_interval(low, high)}"
    return Finding("one-hit wonders", helps=False, text=text, gain=share)


def _worst_groups(trace: Trace, once: npt.NDArray[np.bool_], share: float) -> str:
    """Say which groups of keys have more of them than the rest."""
    if trace.groups is None or not share:
        return ""
    count = len(trace.groups.names)
    asked = np.bincount(trace.groups.of, trace.uses, count)
    single = np.bincount(trace.groups.of[once], minlength=count)
    found = [
        (int(single[group]), group)
        for group in range(count)
        if single[group] > 1.5 * share * asked[group] and single[group] > 0.05 * single.sum()
    ]
    told = [
        f"{trace.groups.names[group] or 'keys without a prefix'} ({100 * alone / asked[group]:.0f} % of its requests)"
        for alone, group in sorted(found, reverse=True)[:3]
    ]
    return f", most with {', '.join(told)}" if told else ""


class _Levels:
    """An L1 and an L2, both LRU, by reuse distances: L1 hits what is near, L2 is asked for the rest."""

    def __init__(self, trace: Trace, l1: int, l2: int | None, latencies: Latencies) -> None:
        self._trace, self.l1, self.l2, self._latencies = trace, l1, l2, latencies
        self._distances = np.empty(len(trace), np.uint32)
        _lab.reuse_distances(trace.keys, trace.distinct, np.zeros(trace.distinct + 1, np.uint64), self._distances)
        self._known: dict[tuple[int, int | None], tuple[float, float]] = {}

    def ratios(self, l1: int, l2: int | None) -> tuple[float, float]:
        """Return the hit ratios of L1, of all requests, and of L2, of those that reach it. L1 of 0 is none."""
        if (l1, l2) not in self._known:
            rate, keys = self._trace.rate, self._trace.keys
            missed = (
                (self._distances == 0) | (self._distances > max(1, round(l1 * rate)))
                if l1
                else np.ones(len(keys), bool)
            )
            rest = np.ascontiguousarray(keys[missed])
            below = replay("lru", max(1, round(l2 * rate)), rest).hit_ratio if l2 and len(rest) else 0.0
            self._known[l1, l2] = 1.0 - len(rest) / len(keys), below
        return self._known[l1, l2]

    def response(self, l1: int, l2: int | None) -> float:
        """Return the expected seconds a request: what each level adds times how often it is asked."""
        first, second = self.ratios(l1, l2)
        time = self._latencies
        below = time.l2 if l2 else 0.0
        return (time.l1 if l1 else 0.0) + (1 - first) * (below + (1 - second) * time.origin)

    def finding(self) -> Finding:
        l1, l2 = self.l1, self.l2
        first, second = self.ratios(l1, l2)
        now = self.response(l1, l2)
        if l2 is None:
            without = told_seconds(self._latencies.origin)
            text = f"a request takes {told_seconds(now)} on average, {without} without a cache"
            return Finding("levels", helps=False, text=text)
        options = {
            f"double L1 to {2 * l1:,}": self.response(2 * l1, l2),
            f"double L2 to {2 * l2:,}": self.response(l1, 2 * l2),
        }
        best = min(options, key=lambda option: options[option])
        saved = 1 - options[best] / now
        state = (
            f"L1 hits {100 * first:.0f} %, L2 {100 * second:.0f} % of the rest; a request takes {told_seconds(now)} "
            f"on average; " + ", ".join(f"{option}: {told_seconds(time)}" for option, time in options.items())
        )
        if saved <= _WORTH_TIME:
            return Finding("levels", helps=False, text=f"neither is the problem: {state}", gain=100 * saved)
        where = "L1" if "L1" in best else "L2"
        return Finding("levels", helps=True, text=f"{where} is the problem, {best}: {state}", gain=100 * saved)

    def money(self, prices: Prices) -> tuple[Finding, dict[str, float]]:
        monthly = prices.requests_per_day * _DAYS
        memory1 = self.l1 * prices.entry_bytes / 1e9 * prices.l1_per_gb
        memory2 = (self.l2 or 0) * prices.entry_bytes / 1e9 * prices.l2_per_gb

        def cost(l1: int, l2: int | None) -> float:
            first, second = self.ratios(l1, l2)
            reads = monthly * (1 - first) * (1 - second) / 1e6 * prices.origin_per_million
            return reads + (memory1 if l1 else 0.0) + (memory2 if l2 else 0.0)

        costs = {"none": cost(0, None), "l1": cost(self.l1, None)}
        if self.l2 is not None:
            costs |= {"l2": cost(0, self.l2), "both": cost(self.l1, self.l2)}
        names = {"none": "without a cache", "l1": "with L1", "l2": "with L2 alone", "both": "with both"}
        told = ", ".join(f"{names[kind]} {amount:,.2f}" for kind, amount in costs.items())
        now = "both" if self.l2 is not None else "l1"
        cheapest = min(costs, key=lambda kind: costs[kind])
        helps = cheapest != now and costs[now] - costs[cheapest] > _WORTH_TIME * costs[now]
        action = f"cheapest {names[cheapest]}" if helps else "as it is"
        return Finding("money", helps, f"{action}: a month costs {told}", costs[now] - costs[cheapest]), costs


def told_seconds(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    units: Sequence[tuple[float, str]] = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))
    for size, unit in units:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
