"""Advice where the answer is known, and the generators and the experiment."""

import math

import pytest

np = pytest.importorskip("numpy")

from hotset import replay  # noqa: E402 - what needs NumPy comes after it
from hotset.lab import Trace, read_trace  # noqa: E402
from hotset.lab.advice import Latencies, Prices, advise, told_seconds  # noqa: E402
from hotset.lab.experiment import lru_vs_lfu  # noqa: E402
from hotset.lab.generators import GENERATORS, generate  # noqa: E402


def finding(advice, topic, nth=0):
    return [found for found in advice.findings if found.topic == topic][nth]


def test_a_loop_that_just_does_not_fit_wants_twice_the_size():
    advice = advise(Trace.of("loop", np.arange(60_000) % 150), 100)
    assert advice.hit_ratio == 0.0
    double = finding(advice, "size")
    assert double.helps
    assert (double.gain, double.low, double.high) == pytest.approx((100.0, 100.0, 100.0))
    assert not finding(advice, "size", 1).text.startswith("double")
    assert "double it to 200 entries" in advice.verdict
    assert finding(advice, "policy").helps  # others than LRU keep a part of a loop


def test_no_change_when_nothing_helps():
    keys = np.random.default_rng(5).permutation(np.repeat(np.arange(50), 400))
    advice = advise(Trace.of("fits", keys), 64)
    assert not finding(advice, "size").helps
    assert not finding(advice, "policy").helps
    assert finding(advice, "size", 1).gain < -20
    assert advice.verdict == "no change"
    assert "Advice: no change" in str(advice)


def test_half_the_size_does_when_the_rest_is_idle():
    advice = advise(Trace.of("fits", np.random.default_rng(5).permutation(np.repeat(np.arange(50), 400))), 1000)
    assert advice.verdict == "halve it to 500 entries"


def test_an_uncertain_lead_is_no_advice():
    # One part of six is all the difference: what it means over them is not known.
    calm = np.arange(50_000) % 80
    wild = np.arange(10_000) % 190 + 1000
    advice = advise(Trace.of("mixed", np.concatenate([calm, wild])), 100)
    double = finding(advice, "size")
    assert double.gain > 10
    assert double.low < 0
    assert not double.helps


def test_the_shortest_life_that_keeps_the_hits():
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 100, 50_000)
    # Every second one request: a key is asked for again after some 100 seconds, and again.
    advice = advise(Trace.of("even", keys, times=np.arange(50_000.0)), 100)
    text = finding(advice, "TTL").text
    assert text.startswith("4 h is enough")
    assert "nothing can be said" in finding(advise(Trace.of("timeless", keys), 100), "TTL").text


def test_one_hit_wonders_are_counted_and_placed():
    keys = np.random.default_rng(2).integers(0, 20, 12_000)
    keys[4_000:6_000] = 1_000 + np.arange(2_000)  # all of the third part
    text = finding(advise(Trace.of("scan", keys), 30), "one-hit wonders").text
    assert "99 % of the keys are asked for once: 17 % of the requests" in text
    assert "most in part 3 of 6 (100 % of its requests)" in text


def test_one_hit_wonders_are_told_by_how_keys_begin(tmp_path):
    lines = [f"user:{number % 20}" for number in range(4_000)]
    lines[::4] = [f"search:{number}" for number in range(1_000)]
    (tmp_path / "t").write_text("\n".join(lines))
    trace = read_trace(tmp_path / "t")
    assert trace.groups.names == ("search:", "user:")
    assert np.bincount(trace.groups.of).tolist() == [1_000, 15]
    assert "most with search: (100 % of its requests)" in finding(advise(trace, 10), "one-hit wonders").text
    sample = read_trace(tmp_path / "t", sample=0.3)
    searches = sample.groups.names.index("search:")
    assert (sample.groups.of == searches).tolist() == (sample.uses == 1).tolist()
    half = sample.sample(0.5)
    assert (half.groups.of == searches).tolist() == (half.uses == 1).tolist()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a\nb\n", None),
        ("/img/1\n/img/2\n/api?x\n/\n", ("/img/", "/api", "/")),
        ("a:1\nb|2\n3\n", ("a:", "b|", "")),
    ],
)
def test_keys_are_grouped_by_how_they_begin(tmp_path, text, names):
    (tmp_path / "t").write_text(text)
    groups = read_trace(tmp_path / "t").groups
    assert groups is None if names is None else groups.names == names


def test_the_level_that_is_the_problem_is_named():
    # Nothing comes again before 150 others: an L1 of 100 hits nothing, one of 200 everything.
    trace = Trace.of("loop", np.arange(60_000) % 150)
    advice = advise(trace, 100, l2=400, latencies=Latencies(1e-6, 1e-3, 10e-3))
    levels = finding(advice, "levels")
    assert levels.helps
    assert levels.text.startswith("L1 is the problem, double L1 to 200")
    cold = 150 / 60_000
    assert advice.figures["response_seconds"] == pytest.approx(1e-6 + 1e-3 + cold * 10e-3)
    small = advise(Trace.of("loop", np.arange(60_000) % 1_500), 100, l2=1_000)
    assert finding(small, "levels").text.startswith("L2 is the problem, double L2 to 2,000")


def test_levels_are_the_caches_one_behind_the_other():
    keys = generate("zipf", 2_000, 30_000).keys
    l1, below = {}, []
    for key in keys.tolist():  # an LRU cache by hand
        if key in l1:
            l1.pop(key)
        else:
            below.append(key)
            if len(l1) == 50:
                l1.pop(next(iter(l1)))
        l1[key] = None
    l2 = replay("lru", 300, np.array(below)).hit_ratio
    miss = len(below) / 30_000
    advice = advise(Trace.of("zipf", keys), 50, l2=300, latencies=Latencies(1.0, 10.0, 100.0))
    assert advice.figures["response_seconds"] == pytest.approx(1 + miss * (10 + (1 - l2) * 100))


def test_money_with_and_without_each_level():
    trace = Trace.of("loop", np.arange(60_000) % 150)
    prices = Prices(requests_per_day=1e6, origin_per_million=2.0, l1_per_gb=4.0, l2_per_gb=1.0, entry_bytes=1e6)
    costs = advise(trace, 100, l2=200, prices=prices).figures["cost_per_month"]
    cold = 150 / 60_000
    assert costs["none"] == pytest.approx(60.0)
    assert costs["l1"] == pytest.approx(60.0 + 0.1 * 4)  # it hits nothing, and costs its memory
    assert costs["l2"] == pytest.approx(60.0 * cold + 0.2)
    assert costs["both"] == pytest.approx(60.0 * cold + 0.2 + 0.4)
    assert finding(advise(trace, 100, l2=200, prices=prices), "money").text.startswith("cheapest with L2 alone")


def test_a_long_trace_is_sampled_and_says_so():
    advice = advise(generate("zipf", 200_000, 2_400_000), 20_000)
    assert "of a sample of 83.3 % of the keys" in advice.certainty
    assert "lfu" not in advice.figures["hit_ratios"]
    assert 0.7 < advice.hit_ratio < 0.85


def test_what_cannot_be_advised_on_is_refused():
    trace = generate("zipf", 100, 2_000)
    with pytest.raises(ValueError, match="unknown policy 'best'"):
        advise(trace, 10, policy="best")
    with pytest.raises(ValueError, match="at least 1, got 0"):
        advise(trace, 0)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        advise(trace, 10, l2=0)
    with pytest.raises(ValueError, match="too few to advise from"):
        advise(trace.head(999), 10)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(("keys", "requests"), [(1, 1), (1, 50), (50, 1), (300, 20_000)])
def test_generators_make_what_was_asked_for(name, keys, requests):
    trace = generate(name, keys, requests)
    assert len(trace) == requests
    assert trace.distinct <= (keys if name != "scan" else keys + requests)
    assert trace.keys.tolist() == generate(name, keys, requests).keys.tolist()


def test_generators_have_the_pattern_of_their_name():
    made = {name: generate(name, 1_000, 100_000) for name in GENERATORS}
    ratios = {name: replay("lru", 200, trace.keys).hit_ratio for name, trace in made.items()}
    assert ratios["loop"] == 0.0
    assert ratios["uniform"] == pytest.approx(0.2, abs=0.02)
    assert ratios["zipf"] > 0.6
    assert (made["scan"].uses == 1).sum() > 15_000
    assert made["shifting-zipf"].uses.max() < made["zipf"].uses.max()
    with pytest.raises(ValueError, match="unknown generator 'chaos'"):
        generate("chaos", 1, 1)
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        generate("zipf", 0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_lru_wins_the_temporal_and_lfu_the_frequency_pattern(seed):
    temporal, frequency = lru_vs_lfu(seed=seed)
    assert (temporal.shown, frequency.shown) == (True, True)
    assert temporal.hit_ratios["lru"] - temporal.hit_ratios["lfu"] > 0.1
    assert frequency.hit_ratios["lfu"] - frequency.hit_ratios["lru"] > 0.1
    assert all(pattern.hit_ratios["belady"] >= max(pattern.hit_ratios.values()) for pattern in (temporal, frequency))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"capacity": 2_000}, "nothing to choose"),
        ({"requests": 1_000, "capacity": 300}, "requests for 2,000 keys are too few"),
        ({"capacity": 1}, "do not hold"),
    ],
)
def test_a_pattern_that_does_not_show_it_says_why(options, reason):
    assert any(reason in pattern.reason for pattern in lru_vs_lfu(**options) if not pattern.shown)
    with pytest.raises(ValueError, match="capacity must be at least 1"):
        lru_vs_lfu(capacity=0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2e-6, "2 us"), (0.0015, "1.5 ms"), (90, "1.5 min"), (7200, "2 h"), (172_800, "2 d"), (0, "0 us")],
)
def test_times_are_told_in_their_unit(seconds, text):
    assert told_seconds(seconds) == text
    assert told_seconds(math.inf) == "inf d"
