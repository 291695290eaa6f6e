"""The circuit breaker by a fake clock, against a plain model, and from many threads."""

import logging
import random
import threading
import time

import pytest
from clock import FakeClock
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hotset.tiered.breaker import Breaker, BreakerStats

PATIENCE = 30  # seconds until a hanging test fails; nothing is measured by it


@pytest.fixture
def changes():
    return []


@pytest.fixture
def breaker(clock, changes):
    """Opens at 4 failures of half the calls in 10 s, or at 3 in a row; pauses of 5, 10, 20, 20 s; closes after 2."""
    return Breaker(minimum=4, consecutive=3, longest=20, jitter=0, probes=2, clock=clock, on_change=changes.append)


def fail(breaker, times=1):
    for _ in range(times):
        breaker.failure()


def opened(breaker):
    fail(breaker, 3)
    assert breaker.state == "open"
    return breaker


def test_begins_closed(breaker):
    assert breaker.closed
    assert breaker.state == "closed"
    assert breaker.allow()
    assert breaker.retry_in() == 0
    assert breaker.stats() == BreakerStats("closed", 0, 0, 0, 0)


def test_opens_on_failures_in_a_row(clock):
    breaker = Breaker(minimum=99, consecutive=3, jitter=0, clock=clock)
    fail(breaker, 2)
    breaker.success()
    fail(breaker, 2)
    assert breaker.allow()
    clock.advance(3600)  # a row does not age: a level that is seldom called is seldom called
    breaker.failure()
    assert not breaker.allow()
    assert not breaker.closed
    assert breaker.retry_in() == 5


def test_opens_on_the_share_of_failures(breaker):
    for _ in range(3):
        breaker.failure()
        breaker.success()
    assert breaker.state == "closed"
    breaker.failure()  # 4 of 7
    assert breaker.state == "open"


def test_stays_closed_below_the_share(breaker):
    for _ in range(50):
        breaker.failure()
        breaker.success()
        breaker.success()
    assert breaker.state == "closed"


def test_the_share_itself_opens(clock):
    breaker = Breaker(threshold=0.5, minimum=2, consecutive=99, clock=clock)
    breaker.success()
    breaker.success()
    breaker.failure()
    assert breaker.state == "closed"
    breaker.failure()
    assert breaker.state == "open"


def test_failures_leave_the_window(breaker, clock):
    for _ in range(3):
        breaker.failure()
        breaker.success()
    clock.advance(11)
    breaker.failure()
    breaker.success()
    assert breaker.state == "closed"


def test_the_window_slides_in_steps(breaker, clock):
    """Failures of 9 s ago count, those of 11 s ago do not, whenever in a step they came."""
    clock.now = 1000.95
    for _ in range(2):
        breaker.failure()
        breaker.success()
    clock.advance(8.9)
    breaker.failure()
    breaker.success()
    clock.advance(2.1)  # the first two are gone, this makes two
    breaker.failure()
    breaker.success()
    assert breaker.state == "closed"
    breaker.failure()
    breaker.success()
    breaker.failure()
    assert breaker.state == "open"


def test_a_clock_set_back_does_no_harm(breaker, clock):
    breaker.failure()
    clock.advance(-500)
    breaker.success()
    breaker.failure()
    clock.advance(5000)
    breaker.success()
    assert breaker.state == "closed"
    opened(breaker)


def test_a_clock_set_back_for_a_moment_forgets_nothing(breaker, clock):
    for _ in range(3):
        breaker.failure()
        breaker.success()
    clock.advance(-3)
    breaker.success()
    clock.advance(3)
    breaker.failure()
    assert breaker.state == "open"


def test_half_open_lets_one_through_at_a_time(breaker, clock, changes):
    opened(breaker)
    clock.advance(4.99)
    assert not breaker.allow()
    clock.advance(0.01)
    assert breaker.state == "open"  # until somebody asks
    assert breaker.retry_in() == 0
    assert breaker.allow()
    assert breaker.state == "half-open"
    assert not breaker.allow()
    breaker.success()
    assert breaker.retry_in() == 0
    assert breaker.allow()
    assert not breaker.allow()
    breaker.success()
    assert breaker.state == "closed"
    assert all(breaker.allow() for _ in range(10))
    assert changes == ["open", "half-open", "closed"]
    assert breaker.stats() == BreakerStats("closed", 2, 3, 3, 1)


def test_a_failing_probe_opens_for_longer(breaker, clock):
    opened(breaker)
    for pause in (5, 10, 20, 20):
        assert breaker.retry_in() == pause
        clock.advance(pause)
        assert breaker.allow()
        breaker.failure()
        assert not breaker.allow()
    assert breaker.stats().opened == 5


def test_one_success_does_not_undo_the_next_failure(breaker, clock):
    opened(breaker)
    clock.advance(5)
    assert breaker.allow()
    breaker.success()
    assert breaker.allow()
    breaker.failure()
    assert breaker.state == "open"
    clock.advance(10)
    assert breaker.allow()
    breaker.success()  # counting begins anew
    assert breaker.state == "half-open"


def test_closing_forgets_the_pauses_and_the_window(breaker, clock):
    opened(breaker)
    clock.advance(5)
    breaker.allow()
    breaker.failure()
    clock.advance(10)
    for _ in range(2):
        assert breaker.allow()
        breaker.success()
    fail(breaker, 2)
    assert breaker.state == "closed"
    breaker.failure()
    assert breaker.retry_in() == 5


def test_a_probe_that_never_reports_blocks_for_one_pause(breaker, clock):
    opened(breaker)
    clock.advance(5)
    assert breaker.allow()
    assert not breaker.allow()
    assert breaker.retry_in() == 10
    clock.advance(10)
    assert breaker.allow()
    assert not breaker.allow()
    breaker.success()
    assert breaker.allow()
    breaker.success()
    assert breaker.state == "closed"


def test_a_cancelled_probe_makes_room(breaker, clock):
    opened(breaker)
    breaker.cancelled()
    assert not breaker.allow()
    clock.advance(5)
    assert breaker.allow()
    breaker.cancelled()
    assert breaker.state == "half-open"
    assert breaker.allow()
    assert not breaker.allow()


def test_cancelled_calls_count_for_nothing_when_closed(breaker):
    fail(breaker, 2)
    breaker.cancelled()
    assert breaker.stats() == BreakerStats("closed", 0, 2, 0, 0)
    breaker.failure()
    assert breaker.state == "open"


def test_late_reports_are_ignored_while_open(breaker, clock):
    opened(breaker)
    clock.advance(1)
    breaker.success()
    fail(breaker, 10)
    assert breaker.state == "open"
    assert breaker.retry_in() == 4
    assert breaker.stats() == BreakerStats("open", 0, 3, 0, 1)


def test_reset(breaker, clock, changes):
    opened(breaker)
    clock.advance(5)
    breaker.allow()
    breaker.failure()
    breaker.reset()
    assert breaker.state == "closed"
    fail(breaker, 2)
    breaker.reset()  # forgets the row
    fail(breaker, 2)
    assert breaker.state == "closed"
    breaker.failure()
    assert breaker.retry_in() == 5
    assert changes == ["open", "half-open", "open", "closed", "open"]


def test_jitter_shortens_the_pause(clock):
    for chance, pause in ((0.0, 10), (0.5, 8), (0.999999, 6)):
        breaker = Breaker(consecutive=1, open_for=10, jitter=0.4, clock=clock, chance=lambda chance=chance: chance)
        breaker.failure()
        assert breaker.retry_in() == pytest.approx(pause, abs=1e-4)


def test_durations_may_be_text(clock):
    breaker = Breaker(consecutive=1, window="1m", open_for="250ms", longest="1h", jitter=0, clock=clock)
    breaker.failure()
    assert breaker.retry_in() == 0.25


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("threshold", 0, ValueError),
        ("threshold", 1.1, ValueError),
        ("threshold", float("nan"), ValueError),
        ("threshold", "half", TypeError),
        ("threshold", True, TypeError),
        ("jitter", -0.1, ValueError),
        ("jitter", 2, ValueError),
        ("minimum", 0, ValueError),
        ("minimum", 2.0, TypeError),
        ("consecutive", 0, ValueError),
        ("consecutive", None, TypeError),
        ("probes", 0, ValueError),
        ("probes", True, TypeError),
        ("window", 0, ValueError),
        ("window", "never", ValueError),
        ("open_for", -1, ValueError),
        ("longest", float("inf"), ValueError),
    ],
)
def test_refuses_bad_options(option, value, error):
    with pytest.raises(error, match=option):
        Breaker(**{option: value})


def test_on_change_may_use_the_breaker(clock):
    told = []

    def on_change(state):
        told.append((state, breaker.state))
        if state == "open":
            breaker.reset()
            told.append("reset")

    breaker = Breaker(consecutive=1, clock=clock, on_change=on_change)
    breaker.failure()
    assert told == [("open", "open"), "reset", ("closed", "closed")]


def test_on_change_that_raises_is_logged(clock, caplog):
    def on_change(state):
        raise OSError(state)

    breaker = Breaker(consecutive=1, clock=clock, on_change=on_change)
    with caplog.at_level(logging.ERROR, logger="hotset.tiered.breaker"):
        breaker.failure()
    assert breaker.state == "open"
    assert [record.exc_info[0] for record in caplog.records] == [OSError]
    breaker.reset()
    assert len(caplog.records) == 2


def test_a_change_as_the_teller_is_about_to_go_is_told(clock, changes):
    """It finds the teller's lock taken, and its own news after the teller's last look."""

    class Leaving:
        def __init__(self):
            self.lock = threading.Lock()
            self.acquire = self.lock.acquire

        def release(self):
            if changes == ["open"]:
                breaker.reset()
            self.lock.release()

    breaker = Breaker(consecutive=1, clock=clock, on_change=changes.append)
    breaker._telling = Leaving()
    breaker.failure()
    assert changes == ["open", "closed"]


def test_on_change_is_told_in_order_from_many_threads():
    """Whatever the threads do, the changes told make a path through the states, and the last one is the state."""
    told = []
    breaker = Breaker(consecutive=1, open_for=1e-6, longest=1e-6, probes=1, on_change=told.append)
    errors = []

    def work(number):
        rng = random.Random(number)
        try:
            for _ in range(1500):
                if breaker.allow():
                    rng.choice([breaker.success, breaker.failure, breaker.cancelled])()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert not errors
    allowed = {"closed": {"open"}, "open": {"half-open"}, "half-open": {"open", "closed"}}
    for before, after in zip(["closed", *told], told, strict=False):
        assert after in allowed[before]
    assert told[-1] == breaker.state
    assert told.count("open") == breaker.stats().opened


def test_one_probe_among_many_threads(clock):
    breaker = Breaker(consecutive=1, jitter=0, clock=clock)
    breaker.failure()
    clock.advance(5)
    start = threading.Barrier(8)
    let_through = []

    def work():
        start.wait(PATIENCE)
        for _ in range(200):
            let_through.extend([1] if breaker.allow() else [])

    threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(let_through) == 1
    assert breaker.stats().refused == 1599


def test_no_report_is_lost():
    breaker = Breaker(threshold=1, minimum=10**9, consecutive=10**9)

    def work():
        for _ in range(2000):
            breaker.success()
            breaker.failure()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert breaker.stats() == BreakerStats("closed", 8000, 8000, 0, 0)


def test_allow_is_cheap_when_closed():
    """A bound for what has gone badly wrong, ten times what it takes."""
    allow = Breaker().allow
    start = time.perf_counter()
    for _ in range(20_000):
        allow()
    assert (time.perf_counter() - start) / 20_000 < 2e-6


class Model(RuleBasedStateMachine):
    """A breaker that keeps every report, with its moment, and looks through all of them each time."""

    @initialize(
        threshold=st.sampled_from([0.2, 0.5, 1.0]),
        minimum=st.integers(1, 6),
        consecutive=st.integers(1, 6),
        probes=st.integers(1, 3),
    )
    def start(self, threshold, minimum, consecutive, probes):
        self.clock = FakeClock()
        self.threshold, self.minimum, self.consecutive, self.probes = threshold, minimum, consecutive, probes
        self.breaker = Breaker(
            threshold=threshold,
            window=10,
            minimum=minimum,
            consecutive=consecutive,
            probes=probes,
            open_for=4,
            longest=16,
            jitter=0,
            clock=self.clock,
        )
        self.state = "closed"
        self.reports = []
        self.row, self.pause, self.until, self.busy, self.proven = 0, 4, 0, False, 0

    @rule(steps=st.sampled_from([0, 1, 1, 2, 4, 8, 9, 10, 30]))
    def wait(self, steps):
        self.clock.advance(steps)

    @rule()
    def allow(self):
        if self.state == "closed":
            expected = True
        elif self.state == "open":
            expected = self.clock.now >= self.until
            if expected:
                self.state, self.proven = "half-open", 0
        else:
            expected = not self.busy or self.clock.now >= self.until
        if expected and self.state == "half-open":
            self.busy, self.until = True, self.clock.now + self.pause
        assert self.breaker.allow() is expected

    @rule()
    def success(self):
        self.breaker.success()
        if self.state == "closed":
            self.reports.append((self.clock.now, True))
            self.row = 0
        elif self.state == "half-open":
            self.busy = False
            self.proven += 1
            if self.proven >= self.probes:
                self.state, self.reports, self.row, self.pause = "closed", [], 0, 4

    @rule()
    def failure(self):
        self.breaker.failure()
        if self.state == "closed":
            self.reports.append((self.clock.now, False))
            self.row += 1
            recent = [good for moment, good in self.reports if moment > self.clock.now - 10]
            bad = recent.count(False)
            if (bad >= self.minimum and bad >= self.threshold * len(recent)) or self.row >= self.consecutive:
                self.open()
        elif self.state == "half-open":
            self.open()

    def open(self):
        self.state, self.until, self.pause = "open", self.clock.now + self.pause, min(self.pause * 2, 16)
        self.busy = False

    @invariant()
    def agrees(self):
        if hasattr(self, "breaker"):
            assert self.breaker.state == self.state
            assert self.breaker.closed == (self.state == "closed")
            if self.state == "closed":
                assert self.breaker.retry_in() == 0


TestModel = Model.TestCase
