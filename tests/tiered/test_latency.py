"""The histogram of durations against the durations themselves."""

import dataclasses
import math
import random
import statistics
import threading
import time

import pytest
from hypothesis import given, strategies as st

from hotset.tiered.latency import Latencies, Latency

WITHIN = 0.0101  # the promise: 1 %, and rounding


def histogram(durations):
    latencies = Latencies()
    for duration in durations:
        latencies.record(duration)
    return latencies


def nearest_rank(durations, percent):
    return sorted(durations)[-(-len(durations) * percent // 100) - 1]


def test_empty():
    assert Latencies().snapshot() == Latency(0, 0.0, 0.0, 0.0) == Latency()


def test_latency_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Latency().count = 1


@given(st.floats(1.01e-7, 1199))
def test_one_duration(duration):
    latency = histogram([duration]).snapshot()
    assert latency.count == 1
    assert latency.mean == pytest.approx(duration, rel=WITHIN)
    assert latency.p50 == latency.p99 == pytest.approx(duration, rel=WITHIN)


@given(st.lists(st.floats(1.01e-7, 1199), min_size=1, max_size=300))
def test_many_durations(durations):
    latency = histogram(durations).snapshot()
    assert latency.count == len(durations)
    assert latency.mean == pytest.approx(statistics.fmean(durations), rel=WITHIN)
    assert latency.p50 == pytest.approx(nearest_rank(durations, 50), rel=WITHIN)
    assert latency.p99 == pytest.approx(nearest_rank(durations, 99), rel=WITHIN)


def test_a_tail_shows_in_p99_only():
    latency = histogram([0.001] * 98 + [1.0] * 2).snapshot()
    assert latency.p50 == pytest.approx(0.001, rel=WITHIN)
    assert latency.p99 == pytest.approx(1.0, rel=WITHIN)
    assert latency.mean == pytest.approx(0.02098, rel=WITHIN)


@pytest.mark.parametrize("duration", [0, 0.0, -1, -math.inf, 1e-12, 1e-7])
def test_the_shortest_bucket_takes_what_is_shorter(duration):
    latency = histogram([duration]).snapshot()
    assert latency.count == 1
    assert latency.p99 == pytest.approx(1e-7, rel=WITHIN)


@pytest.mark.parametrize("duration", [1200, 1e9, math.inf])
def test_the_longest_bucket_takes_what_is_longer(duration):
    latency = histogram([duration]).snapshot()
    assert latency.count == 1
    assert latency.p99 == pytest.approx(1200, rel=0.02)


def test_no_number_is_out_of_reach():
    """Each bucket's bounds, and their neighbours."""
    latencies = Latencies()
    count = 0
    duration = 0.9e-7
    while duration < 1300:
        for near in (math.nextafter(duration, 0), duration, math.nextafter(duration, math.inf)):
            latencies.record(near)
            count += 1
        duration *= 1.02
    assert latencies.snapshot().count == count


def test_nan_is_ignored():
    latencies = histogram([0.5, math.nan])
    assert latencies.snapshot().count == 1


def test_threads():
    """Every count arrives with the GIL; without it nearly all do."""
    latencies = Latencies()
    start = threading.Barrier(4)

    def work(number):
        rng = random.Random(number)
        start.wait(30)
        for _ in range(5_000):
            latencies.record(rng.uniform(0.001, 0.002))

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        count = latencies.snapshot().count
        assert seen <= count <= 20_000
        seen = count
    for thread in threads:
        thread.join(30)
    latency = latencies.snapshot()
    assert 10_000 <= latency.count <= 20_000
    assert latency.mean == pytest.approx(0.0015, rel=0.05)


def test_recording_is_cheap():
    """A bound for what has gone badly wrong, ten times what it takes."""
    record = Latencies().record
    start = time.perf_counter()
    for _ in range(20_000):
        record(0.000031)
    assert (time.perf_counter() - start) / 20_000 < 5e-6
