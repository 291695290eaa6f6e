"""Reuse distances, Belady, bounds and curves: against what can be computed by hand or by brute force."""

import itertools

import pytest
from hypothesis import given, settings, strategies as st

np = pytest.importorskip("numpy")

from hotset import _lab, replay  # noqa: E402 - what needs NumPy comes after it
from hotset.lab import Trace, TraceError, belady, bound, default_sizes, lru_curve, policy_curve, sample_of  # noqa: E402

streams = st.lists(st.integers(0, 12), min_size=1, max_size=120)


def trace_of(keys, **arrays):
    return Trace.of("made", np.array(keys), **arrays)


def distances_of(trace):
    counts, distances = np.zeros(trace.distinct + 1, np.uint64), np.empty(len(trace), np.uint32)
    _lab.reuse_distances(trace.keys, trace.distinct, counts, distances)
    return counts.tolist(), distances.tolist()


def brute_distances(keys):
    found = []
    for now, key in enumerate(keys):
        before = [then for then in range(now) if keys[then] == key]
        found.append(len(set(keys[before[-1] : now])) if before else 0)
    return found


def brute_belady(keys, capacity):
    cached, hits = set(), 0
    for now, key in enumerate(keys):
        rest = keys[now + 1 :]
        if key in cached:
            hits += 1
            continue
        if len(cached) == capacity:
            cached.discard(max(cached, key=lambda other: rest.index(other) if other in rest else len(keys)))
        cached.add(key)
    return hits


def best_possible(keys, capacity):
    """The most hits of any choice of victims, the newcomer excepted; exponential."""
    states = {frozenset(): 0}
    for key in keys:
        following = {}
        for cached, hits in states.items():
            if key in cached:
                options = [(cached, hits + 1)]
            elif len(cached) < capacity:
                options = [(cached | {key}, hits)]
            else:
                options = [((cached - {victim}) | {key}, hits) for victim in cached]
            for state, count in options:
                following[state] = max(following.get(state, -1), count)
        states = following
    return max(states.values())


def best_weighed(keys, sizes, capacity, gain):
    """The most that hits can be worth if any may be evicted or not stored at any time; exponential."""
    states = {frozenset(): 0}
    for key, size in zip(keys, sizes, strict=True):
        following = {}
        for cached, worth in states.items():
            now = worth + (gain(size) if key in dict(cached) else 0)
            whole = cached if key in dict(cached) else cached | {(key, size)}
            for count in range(len(whole) + 1):
                for kept in map(frozenset, itertools.combinations(whole, count)):
                    if sum(weight for _, weight in kept) <= capacity:
                        following[kept] = max(following.get(kept, -1), now)
        states = following
    return max(states.values())


def test_distances_of_a_stream_that_is_worked_out_by_hand():
    #                                         a  b  c  a  a  c  d  b
    counts, distances = distances_of(trace_of([1, 2, 3, 1, 1, 3, 4, 2]))
    assert distances == [0, 0, 0, 3, 1, 2, 0, 4]
    assert counts == [4, 1, 1, 1, 1]


@given(streams)
def test_distances_are_those_of_the_definition(keys):
    counts, distances = distances_of(trace_of(keys))
    assert distances == brute_distances(keys)
    assert counts == np.bincount(distances, minlength=len(counts)).tolist()


@pytest.mark.parametrize(("universe", "length"), [(40, 3_000), (3_000, 40_000), (60_000, 2_200_000)])
def test_the_curve_is_what_the_shipped_policy_hits_at_every_size(universe, length, rng):
    draws = np.random.default_rng(rng.getrandbits(32))
    keys = (draws.pareto(0.7, length) * universe / 50).astype(np.int64) % universe
    trace = trace_of(keys)
    curve = lru_curve(trace)
    for size in {1, 2, 3, 63, 64, 65, 513, trace.distinct // 2 or 1, trace.distinct}:
        if size <= trace.distinct:
            assert round((1 - curve.at(size)) * length) == replay("lru", size, trace.keys).hits


@settings(max_examples=60)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=14), st.integers(1, 4))
def test_belady_is_the_best_of_all_choices_of_victims(keys, capacity):
    found = belady(trace_of(keys), capacity).hits
    assert found == brute_belady(keys, capacity) == best_possible(keys, capacity)


@given(streams, st.integers(1, 14))
def test_belady_is_that_of_the_definition(keys, capacity):
    assert belady(trace_of(keys), capacity).hits == brute_belady(keys, capacity)


def test_belady_of_many_steps_of_its_summits():
    keys = np.concatenate([np.arange(300_000), np.arange(300_000)[::-1]])
    assert belady(trace_of(keys), 1_000).hits == 1_000
    assert belady(trace_of(keys), 300_000).hits == 300_000
    # Round and round: of each round all but those that do not fit stay, one place being for who passes through.
    rounds = trace_of(np.tile(np.arange(100), 50))
    assert belady(rounds, 100).hits == 4_900
    assert belady(rounds, 51).hits == brute_belady(np.tile(np.arange(100), 50).tolist(), 51)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.just(0)), min_size=1, max_size=8),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
    st.integers(1, 8),
)
def test_no_choice_exceeds_the_bound_with_sizes(pairs, weights, capacity):
    keys = [key for key, _ in pairs]
    sizes = [weights[key] for key in keys]
    trace = trace_of(keys, sizes=np.array(sizes, float))
    limit, reached = bound(trace, capacity), belady(trace, capacity)
    assert best_weighed(keys, sizes, capacity, lambda _size: 1) <= limit.hits
    assert best_weighed(keys, sizes, capacity, lambda size: size) <= limit.byte_hit_ratio * sum(sizes) + 1e-9
    assert reached.hits <= limit.hits


@given(streams, st.integers(1, 12))
def test_the_bound_without_sizes_is_above_belady(keys, capacity):
    assert bound(trace_of(keys), capacity).hits >= belady(trace_of(keys), capacity).hits


def test_all_that_comes_again_fits_into_a_large_cache():
    trace = trace_of([1, 2, 1, 2, 3], sizes=np.array([5.0, 5, 5, 5, 90]))
    for result in (belady(trace, 10), bound(trace, 10)):
        assert (result.hits, result.byte_hit_ratio) == (2, pytest.approx(10 / 110))


def test_lives_that_are_worked_out_by_hand():
    trace = trace_of([1, 1, 1, 1, 2], times=np.array([0.0, 4, 9, 10, 11]))
    # A life of 5: stored at 0, hit at 4, stored at 9, hit at 10.
    for ttl, hits in [(1, 0), (1.5, 1), (5, 2), (9, 2), (9.5, 2), (10.5, 3)]:
        assert _lab.living_hits(trace.keys, 2, trace.times, ttl) == hits
    _, distances = distances_of(trace)
    assert _lab.living_hits(trace.keys, 2, trace.times, 10.5, np.array(distances, np.uint32), 0) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: _lab.reuse_distances(a, 2, np.zeros(3, np.uint64)), "ids must be below 2, got 2"),
        (lambda a: _lab.reuse_distances(a, 3, np.zeros(3, np.uint64)), "4 counters, got 3"),
        (lambda a: _lab.reuse_distances(a, 3, np.zeros(4, np.uint64), a[:1].copy()), "as many as ids, 3, got 1"),
        (lambda a: _lab.next_uses(a, 3, a[:2].copy()), "as many as ids, 3, got 2"),
        (lambda a: _lab.belady_hits(a, 3), "must be a later request, got 0"),
        (lambda a: _lab.belady_hits(a + np.uint32(9), 3), "must be a later request, got 9"),
        (lambda a: _lab.Coder().code(a.astype(np.uint64), a[:2].copy()), "as many as words, 3, got 2"),
        (lambda a: _lab.words_of([b"x"], np.zeros(2, np.uint64)), "as many as keys, 1, got 2"),
    ],
)
def test_arrays_that_would_be_written_out_of_bounds_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.array([0, 1, 2], np.uint32))


def test_keys_are_numbered_by_first_appearance():
    trace = trace_of([70, -5, 70, 1 << 40, -5])
    assert trace.keys.tolist() == [0, 1, 0, 2, 1]
    assert trace.uses.tolist() == [2, 2, 1]
    assert trace.firsts.tolist() == [0, 1, 3]


def test_a_coder_grows_and_forgets_nothing():
    words = np.arange(200_000, dtype=np.uint64) * np.uint64(2**44)
    coder, first, second = _lab.Coder(), np.empty(200_000, np.uint32), np.empty(200_000, np.uint32)
    coder.code(words, first)
    coder.code(words[::-1].copy(), second)
    assert coder.distinct == 200_000
    assert first.tolist() == second[::-1].tolist() == list(range(200_000))


def test_words_differ_by_every_byte_and_by_length():
    keys = [bytes(length) for length in range(20)]
    keys += [bytes(at) + b"\1" + bytes(19 - at) for at in range(20)]
    words = np.empty(len(keys), np.uint64)
    _lab.words_of(keys, words)
    assert len(set(words.tolist())) == len(keys)
    with pytest.raises(TypeError):
        _lab.words_of(["text"], words[:1])


def skewed(seed=3, keys=60_000, length=600_000):
    draws = np.random.default_rng(seed)
    popular = (keys * draws.random(length) ** 4).astype(np.int64)
    return trace_of(np.where(draws.random(length) < 0.2, keys + np.arange(length) % 30_000, popular))


def test_a_sample_of_one_percent_of_the_keys_is_near_the_exact_curve():
    trace = skewed()
    exact = lru_curve(trace)
    sampled = lru_curve(sample_of(trace, rate=0.01))
    sizes = np.geomspace(1_000, trace.distinct, 60)
    errors = [abs(exact.at(size) - sampled.at(size)) for size in sizes]
    assert sum(errors) / len(errors) < 0.01
    assert max(errors) < 0.05


def test_a_mini_simulation_is_near_the_replay():
    trace = skewed()
    sizes = [5_000, 20_000]
    policies = ["arc", "fifo", "rr", "tinylfu"]
    for exact, sampled in zip(
        policy_curve(trace, policies, sizes),
        policy_curve(sample_of(trace, keys=6_000), policies, sizes, lru=lru_curve(trace)),
        strict=True,
    ):
        assert sampled.rate < 1.0
        assert np.abs(exact.miss_ratios - sampled.miss_ratios).max() < 0.02, exact.policy


def test_a_sample_keeps_whole_keys_and_stands_for_the_rest():
    trace = skewed()
    sample = trace.sample(0.05, seed=1)
    assert sample.rate == 0.05
    assert sample.requests == len(trace)
    assert max(sample.uses.tolist()) in set(trace.uses.tolist())
    assert sample.weights.sum() == pytest.approx(trace.distinct)
    assert (sample.weights * sample.uses).sum() == pytest.approx(len(trace), rel=0.1)
    assert trace.sample(1.0) is trace
    again = sample.sample(0.5)
    assert again.rate == 0.025
    assert again.weights.sum() == pytest.approx(trace.distinct)


def test_what_cannot_be_sampled_is_refused():
    trace = trace_of([1, 2, 3])
    with pytest.raises(ValueError, match="rate must be above 0 and at most 1, got 0"):
        trace.sample(0)
    with pytest.raises(TraceError, match="too few keys, 3"):
        trace.sample(1e-9)
    with pytest.raises(ValueError, match="either a rate or a number"):
        sample_of(trace)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        sample_of(trace, keys=0)


def test_default_sizes_reach_from_little_to_everything():
    assert default_sizes(trace_of([1])) == [1]
    sizes = default_sizes(trace_of(range(100_000)))
    assert sizes[0] == 100
    assert sizes[-1] == 100_000
    assert len(sizes) == 24
