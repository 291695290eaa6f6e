"""The queue of operations that a tier has missed, by a fake clock and against a dict."""

import math
import threading

import pytest
from clock import FakeClock
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hotset.tiered.recovery import Recovery, RecoveryStats

PATIENCE = 30  # seconds until a hanging test fails; nothing is measured by it


@pytest.fixture
def queue(clock):
    """Replays after 2 s; pauses of 2, 4, 8, 10, 10 s."""
    return Recovery(max_items=5, delay=2, longest=10, clock=clock)


def names(items):
    return [item.name for item in items]


def test_empty(queue):
    assert not queue.busy
    assert len(queue) == 0
    assert "a" not in queue
    assert queue.take() == []
    assert queue.due_in() == math.inf
    queue.drop("a")
    assert queue.stats() == RecoveryStats(0, 0, 0, 0, 0, 0, 0)


def test_waits_and_keeps_the_order(queue, clock):
    queue.put("a", "write 1")
    clock.advance(1)
    queue.put("b", "remove")
    assert queue.due_in() == 1
    assert queue.take() == []
    clock.advance(1)
    assert queue.due_in() == 0
    a, b = queue.take()
    assert (a.name, a.operation, a.moment, a.tries) == ("a", "write 1", 1000, 0)
    assert (b.name, b.operation, b.moment) == ("b", "remove", 1001)
    assert queue.take() == []
    assert queue.due_in() == math.inf
    assert "a" in queue  # until it is known to be done
    assert queue.busy
    assert queue.done(a)
    assert queue.done(b)
    assert "a" not in queue
    assert not queue.busy
    assert queue.stats() == RecoveryStats(0, 0, 2, 0, 0, 0, 0)


def test_the_latest_operation_on_a_name_wins_and_comes_last(queue, clock):
    queue.put("a", 1)
    queue.put("b", 2)
    queue.put("a", 3)
    clock.advance(2)
    assert [(item.name, item.operation) for item in queue.take()] == [("b", 2), ("a", 3)]
    assert queue.stats().superseded == 1


def test_takes_so_many(queue, clock):
    for name in "abcde":
        queue.put(name, 0)
    clock.advance(2)
    assert names(queue.take(2)) == ["a", "b"]
    assert names(queue.take(2)) == ["c", "d"]
    assert len(queue) == 5
    assert queue.stats()[:2] == (1, 4)


def test_drop(queue, clock):
    for name in "abc":
        queue.put(name, 0)
    queue.drop("b")
    queue.drop("nothing")
    assert "b" not in queue
    clock.advance(2)
    assert names(queue.take()) == ["a", "c"]
    assert queue.stats().superseded == 1


def test_clear(queue, clock):
    queue.put("a", 0)
    clock.advance(2)
    (item,) = queue.take()
    queue.put("b", 0)
    queue.clear()
    assert not queue.busy
    assert not queue.done(item)
    assert queue.stats() == RecoveryStats(0, 0, 0, 2, 0, 0, 0)


def test_the_oldest_is_dropped_when_it_is_full(queue, clock):
    for name in "abcdefg":
        queue.put(name, 0)
    queue.put("d", 1)  # no new name
    assert len(queue) == 5
    assert queue.stats().overflowed == 2
    clock.advance(2)
    assert names(queue.take()) == ["c", "e", "f", "g", "d"]


def test_what_is_being_replayed_counts_towards_the_bound(queue, clock):
    for name in "abcde":
        queue.put(name, 0)
    clock.advance(2)
    taken = queue.take(3)
    queue.put("f", 0)
    assert queue.stats().overflowed == 1  # "d"
    queue.put_back(taken)
    assert len(queue) == 5
    clock.advance(2)
    assert names(queue.take()) == ["a", "b", "c", "e", "f"]


def test_all_being_replayed_does_not_refuse_new_ones(queue, clock):
    for name in "abcde":
        queue.put(name, 0)
    clock.advance(2)
    taken = queue.take()
    for name in "fg":
        queue.put(name, 0)
    assert len(queue) == 6
    queue.put_back(taken)
    assert len(queue) == 5
    assert queue.stats()[:2] == (5, 0)
    clock.advance(100)
    assert names(queue.take()) == ["b", "c", "d", "e", "g"]


def test_items_die_of_age(clock):
    queue = Recovery(delay=2, max_age=60, clock=clock)
    queue.put("short", 0, life=3)
    queue.put("long", 0, life=1000)
    queue.put("ended", 0, life=-1)
    queue.put("endless", 0)
    clock.advance(2)
    taken = queue.take()
    assert names(taken) == ["short", "long", "endless"]
    queue.put_back(taken)
    clock.advance(2)
    taken = queue.take()
    assert names(taken) == ["long", "endless"]
    queue.put_back(taken)
    clock.advance(55)
    assert names(queue.take(1)) == ["long"]
    clock.advance(1)
    assert queue.take() == []
    assert queue.stats().expired == 3


def test_put_back_pauses_the_whole_queue_for_longer_each_time(queue, clock):
    queue.put("a", 0)
    queue.put("b", 0)
    clock.advance(2)
    for tries, pause in enumerate([2, 4, 8, 10, 10], start=1):
        taken = queue.take()
        assert names(taken) == ["a", "b"]
        queue.put_back(taken)
        assert [item.tries for item in taken] == [tries, tries]
        queue.put("c", 0)
        queue.drop("c")
        assert queue.due_in() == pause
        clock.advance(pause - 0.5)
        assert queue.take() == []
        clock.advance(0.5)
    assert queue.stats().retries == 10


def test_a_success_ends_the_longer_pauses(queue, clock):
    queue.put("a", 0)
    queue.put("b", 0)
    clock.advance(2)
    queue.put_back(queue.take())
    clock.advance(2)
    a, b = queue.take()
    assert queue.done(a)
    queue.put_back([b])
    assert queue.due_in() == 2


def test_put_back_goes_to_the_front(queue, clock):
    for name in "abc":
        queue.put(name, 0)
    clock.advance(2)
    taken = queue.take(2)
    queue.put("d", 0)
    queue.put_back(taken)
    clock.advance(2)
    assert names(queue.take()) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("later", ["put", "drop"])
@pytest.mark.parametrize("report", ["done", "put_back"])
def test_a_later_operation_meanwhile(queue, clock, later, report):
    """What is being replayed is out of date, and must neither count as the last word nor come back."""
    queue.put("a", 1)
    clock.advance(2)
    (item,) = queue.take()
    if later == "put":
        queue.put("a", 2)
    else:
        queue.drop("a")
    if report == "done":
        assert not queue.done(item)
    else:
        queue.put_back([item])
    clock.advance(10)
    assert [item.operation for item in queue.take()] == ([2] if later == "put" else [])
    assert queue.stats().superseded == 1
    assert queue.stats().replayed == 0


def test_reports_are_of_an_item_and_not_of_its_name(queue, clock):
    queue.put("a", 1)
    clock.advance(2)
    (older,) = queue.take()
    queue.put("a", 2)
    clock.advance(2)
    (newer,) = queue.take()
    assert not queue.done(older)
    queue.put_back([older])
    assert queue.take() == []
    assert queue.done(newer)
    assert not queue.busy


def test_done_twice_counts_once(queue, clock):
    queue.put("a", 1)
    clock.advance(2)
    (item,) = queue.take()
    assert queue.done(item)
    assert not queue.done(item)
    queue.put_back([item])
    assert not queue.busy


def test_nothing_is_due_while_the_tier_is_away(queue, clock):
    queue.put("a", 0)
    queue.failed()
    clock.advance(1000)
    assert queue.due_in() == math.inf
    assert queue.take() == []
    queue.answered()
    assert queue.due_in() == 2
    clock.advance(1)
    queue.answered()  # changes nothing
    clock.advance(1)
    assert names(queue.take()) == ["a"]


def test_away_before_the_first_failure(queue, clock):
    queue.failed()
    queue.put("a", 0)
    clock.advance(10)
    assert queue.take() == []
    queue.answered()
    clock.advance(2)
    assert names(queue.take()) == ["a"]


def test_put_back_while_the_tier_is_away_does_not_bring_it_back(queue, clock):
    queue.put("a", 0)
    clock.advance(2)
    taken = queue.take()
    queue.failed()
    queue.put_back(taken)
    assert queue.due_in() == math.inf


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("max_items", 0, ValueError),
        ("max_items", 1.5, TypeError),
        ("max_items", True, TypeError),
        ("delay", 0, ValueError),
        ("delay", math.inf, ValueError),
        ("delay", None, TypeError),
        ("longest", "never", ValueError),
        ("max_age", -1, ValueError),
    ],
)
def test_refuses_bad_options(option, value, error):
    with pytest.raises(error, match=option):
        Recovery(**{option: value})


def test_threads_lose_nothing():
    """Writers and replayers side by side: each name's last operation is replayed or still there, and the sums agree."""
    queue = Recovery(max_items=10_000, delay=1e-9, longest=1e-9)
    replayed = []
    stop = threading.Event()
    errors = []

    def guarded(work, *arguments):
        def run():
            try:
                work(*arguments)
            except BaseException as error:
                errors.append(error)

        return threading.Thread(target=run, daemon=True)

    def write(number):
        for step in range(1000):
            queue.put((number, step % 50), step)

    def replay(number):
        while not stop.is_set() or queue.due_in() < math.inf:
            items = queue.take(7)
            for item in items[:5]:
                if queue.done(item):
                    replayed.append((item.name, item.operation))
            queue.put_back(items[5:])

    writers = [guarded(write, number) for number in range(4)]
    replayers = [guarded(replay, number) for number in range(2)]
    for thread in writers + replayers:
        thread.start()
    for thread in writers:
        thread.join(PATIENCE)
    stop.set()
    for thread in replayers:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in writers + replayers)
    assert not errors
    assert not queue.busy
    last = dict(replayed)
    assert last == {(number, step): 950 + step for number in range(4) for step in range(50)}
    stats = queue.stats()
    assert stats.replayed == len(replayed)
    assert stats.replayed + stats.superseded == 4000
    assert stats.overflowed == 0


class Model(RuleBasedStateMachine):
    """A plain dict of what is pending, and a list of what is out for replay."""

    @initialize(bound=st.integers(1, 6))
    def start(self, bound):
        self.clock = FakeClock()
        self.bound = bound
        self.queue = Recovery(bound, delay=2, longest=8, max_age=50, clock=self.clock)
        self.pending, self.out = {}, []  # name -> (operation, until); [(item, until, valid)]
        self.ready, self.pause = -math.inf, 2
        self.step = 0

    def forget(self, name):
        self.pending.pop(name, None)
        self.out = [(item, until, valid and item.name != name) for item, until, valid in self.out]

    def total(self):
        return len(self.pending) + sum(valid for _, _, valid in self.out)

    @rule(name=st.integers(0, 7), life=st.sampled_from([3, 20, math.inf]))
    def put(self, name, life):
        self.step += 1
        self.queue.put(name, self.step, life=life)
        self.forget(name)
        if not self.pending:
            self.ready = max(self.ready, self.clock.now + 2)
        elif self.total() >= self.bound:
            del self.pending[next(iter(self.pending))]
        self.pending[name] = (self.step, self.clock.now + min(life, 50))

    @rule(name=st.integers(0, 7))
    def drop(self, name):
        self.queue.drop(name)
        self.forget(name)

    @rule(seconds=st.sampled_from([0.5, 1, 2, 8, 30]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule(most=st.integers(1, 4))
    def take(self, most):
        expected = []
        if self.clock.now >= self.ready:
            while self.pending and len(expected) < most:
                name = next(iter(self.pending))
                operation, until = self.pending.pop(name)
                if until > self.clock.now:
                    expected.append((name, operation, until))
        taken = self.queue.take(most)
        assert [(item.name, item.operation, item.until) for item in taken] == expected
        self.out.extend((item, item.until, True) for item in taken)

    @rule()
    def done(self):
        if self.out:
            item, _, valid = self.out.pop(0)
            assert self.queue.done(item) is valid
            self.pause = 2

    @rule()
    def put_back(self):
        back, self.out = self.out, []
        self.queue.put_back([item for item, _, _ in back])
        if any(valid for _, _, valid in back):
            valid = [(item, until) for item, until, good in back if good]
            room = max(0, self.bound - len(self.pending))
            kept = valid[max(0, len(valid) - room) :] if room else []
            self.pending = {item.name: (item.operation, until) for item, until in kept} | self.pending
            self.ready = max(self.ready, self.clock.now + self.pause)
            self.pause = min(self.pause * 2, 8)

    @invariant()
    def agrees(self):
        if hasattr(self, "queue"):
            assert len(self.queue) == self.total()
            assert self.queue.busy == (self.total() > 0)
            for name in range(8):
                assert (name in self.queue) == (
                    name in self.pending or any(valid and item.name == name for item, _, valid in self.out)
                )
            expected = max(0.0, self.ready - self.clock.now) if self.pending else math.inf
            assert self.queue.due_in() == expected


TestModel = Model.TestCase
