"""Flows driven in C, against the loop in Python that it stands for; and levels asked."""

import contextlib
import sys

import pytest
from hypothesis import given, strategies as st

from hotset._wire import Asker, Histogram, advanced, drive


class Told:
    """An effect that returns its shell and a value, or raises."""

    def __init__(self, value):
        self.value = value

    def block(self, shell):
        if isinstance(self.value, BaseException):
            raise self.value
        return shell, self.value


class Refused(BaseException):
    """What is no Exception."""


def slowly(self, flow):
    """What `drive` is in Python."""
    try:
        effect = flow.send(None)
        while True:
            try:
                result = effect.block(self)
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        return stop.value
    finally:
        flow.close()


def flow_of(steps, log):
    """A flow that does these steps: effects, errors that it catches or not, an end."""
    try:
        for kind, value in steps:
            if kind == "tell":
                log.append((yield Told(value)))
            elif kind == "fail":
                try:
                    yield Told(value)
                except BaseException as error:
                    log.append((type(error), error.__context__ is None))
            elif kind == "fail through":
                yield Told(value)
            elif kind == "nested":
                log.append((yield from flow_of(value, log)))
            elif kind == "return":
                return value
            else:
                raise value
    finally:
        log.append("over")
    return "the end"


def errors(kinds=(ValueError, StopIteration, Refused, KeyboardInterrupt, GeneratorExit, TimeoutError)):
    return st.sampled_from(kinds).map(lambda kind: kind("x"))


simple = st.one_of(
    st.tuples(st.just("tell"), st.integers()),
    st.tuples(st.just("fail"), errors()),
    st.tuples(st.just("fail through"), errors()),
    st.tuples(st.just("return"), st.none() | st.integers()),
    st.tuples(st.just("raise"), errors()),
)
plays = st.recursive(
    st.lists(simple, max_size=5),
    lambda inner: st.lists(st.one_of(simple, st.tuples(st.just("nested"), inner)), max_size=5),
)


def outcome(driver, steps):
    log = []
    try:
        result = driver("shell", flow_of(steps, log))
    except BaseException as error:
        result = type(error), str(error)
    return result, log


@given(plays)
def test_drive_as_the_loop_in_python_does(steps):
    assert outcome(drive, steps) == outcome(slowly, steps)


def test_drive_closes_a_flow_that_raised():
    log = []
    with pytest.raises(Refused):
        drive(None, flow_of([("fail through", Refused())], log))
    assert log == ["over"]


def test_drive_is_a_method_of_a_class():
    class Shell:
        drive = drive

    shell = Shell()
    log = []
    shell.drive(flow_of([("tell", 1)], log))
    assert log == [(shell, 1), "over"]


def test_drive_leaks_nothing():
    """Neither what is sent, nor yielded, nor raised, nor returned."""
    things = [object() for _ in range(4)]
    sent, caught, returned, raised = things
    error = ValueError(raised)
    before = [sys.getrefcount(thing) for thing in things]
    for _ in range(50):
        drive(None, flow_of([("tell", sent), ("fail", error), ("tell", caught), ("return", returned)], []))
        with contextlib.suppress(ValueError):
            drive(None, flow_of([("fail through", error)], []))
        error.__traceback__ = None
    assert [sys.getrefcount(thing) for thing in things] == before


@pytest.mark.parametrize("odd", [1, None, "flow"])
def test_drive_refuses_what_is_no_flow(odd):
    with pytest.raises((TypeError, AttributeError)):
        drive(None, odd)


def test_advanced():
    def operation():
        got = yield "commands"
        assert got == "replies"
        return "answer"

    steps = operation()
    assert advanced(steps, None) == (False, "commands")
    assert advanced(steps, "replies") == (True, "answer")


def test_advanced_raises_what_the_generator_does():
    def operation():
        yield "commands"
        raise ValueError("no")

    steps = operation()
    advanced(steps, None)
    with pytest.raises(ValueError, match="no"):
        advanced(steps, None)


class Breaker:
    """Counts what it is told."""

    def __init__(self, *, closed=True):
        self.closed = closed
        self.successes = 0

    def success(self):
        self.successes += 1


class Noted(Asker):
    """Notes what it is told of failures."""

    def __init__(self, tier, **breaker):
        super().__init__(tier, Breaker(**breaker), self)
        self.failures = []
        self.times = []
        self.record = self.times.append
        self.let_through = 0

    def _let_through(self):
        self.let_through += 1
        if not self.on:
            raise TimeoutError("off")

    def _failed(self, error):
        self.failures.append(error)
        if isinstance(error, KeyError):
            raise LookupError("another") from error  # noqa: TRY004 - it stands for any


class Tier:
    def read(self, names, *, more=0):
        if isinstance(names, BaseException):
            raise names
        return names, more


def test_asker_times_what_it_asks():
    level = Noted(Tier())
    assert level.ask("read", ["a"]) == (["a"], 0)
    assert level.ask("read", ["a"], more=2) == (["a"], 2)
    assert level.breaker.successes == len(level.times) == 2
    assert all(0 <= took < 10 for took in level.times)
    assert level.let_through == 0
    assert level.failures == []


@pytest.mark.parametrize("error", [ValueError("x"), Refused()])
def test_asker_tells_of_failures(error):
    level = Noted(Tier())
    with pytest.raises(type(error)) as caught:
        level.ask("read", error)
    assert caught.value is error
    assert level.failures == [error]
    assert level.times == []
    assert level.breaker.successes == 0


def test_asker_raises_what_it_is_told_to_instead():
    level = Noted(Tier())
    with pytest.raises(LookupError, match="another"):
        level.ask("read", KeyError("a"))


def test_asker_asks_before_it_does_what_a_breaker_may_forbid():
    level = Noted(Tier(), closed=False)
    assert level.ask("read", ["a"]) == (["a"], 0)
    assert level.let_through == 1
    level.on = False
    with pytest.raises(TimeoutError, match="off"):
        level.ask("read", ["a"])
    assert level.failures == []


def test_asker_of_an_unknown_operation():
    level = Noted(Tier())
    with pytest.raises(AttributeError):
        level.ask("fly", 1)
    assert len(level.failures) == 1


@pytest.mark.parametrize("buckets", [0, -1])
def test_a_histogram_has_buckets(buckets):
    with pytest.raises(ValueError, match="1 bucket or more"):
        Histogram(buckets, 1.0, 1.0)
