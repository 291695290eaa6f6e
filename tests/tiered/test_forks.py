"""What a forked child must do without: locks that the parent's threads hold, their places, flights and operations."""

import os

import pytest
from subprocesses import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# Another thread holds a lock for the length of the fork; the child must get by without it.
PRELUDE = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # the fork of a process with threads is the point
PATIENCE = 30

def fork_while_held(lock, child):
    held, free = threading.Event(), threading.Event()
    def hold():
        with lock:
            held.set()
            free.wait(PATIENCE)
    threading.Thread(target=hold, daemon=True).start()
    assert held.wait(PATIENCE)
    fork(child)
    free.set()

def fork(child):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        status = 1
        try:
            child()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0, "the child failed or hangs"

def start(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread

def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
"""


def test_breaker():
    run_script(
        PRELUDE
        + """
from hotset.tiered.breaker import Breaker
told = []
breaker = Breaker(consecutive=1, on_change=told.append)

def child():
    breaker.failure()
    assert breaker.state == "open"
    assert told == ["open"]

fork_while_held(breaker._lock, child)
fork_while_held(breaker._telling, child)
assert breaker.state == "closed"
"""
    )


def test_recovery():
    run_script(
        PRELUDE
        + """
from hotset.tiered.recovery import Recovery
queue = Recovery(delay=1e-6)
queue.put("a", 1)
queue.put("b", 2)
time.sleep(0.001)
a, = queue.take(1)

def child():
    assert not queue.busy
    assert not queue.done(a)
    queue.put("c", 3)
    time.sleep(0.001)
    assert [item.name for item in queue.take()] == ["c"]

fork_while_held(queue._lock, child)
assert queue.done(a)
assert [item.name for item in queue.take()] == ["b"]
"""
    )


def test_budget():
    """The child has none of the places taken; the one that the forking thread took is not given back twice."""
    run_script(
        PRELUDE
        + """
from hotset.tiered.budget import Budget
budget = Budget(2, wait=PATIENCE)
let_go = threading.Event()

def hold():
    with budget.hold():
        let_go.wait(PATIENCE)

with budget.hold():
    crowd = [start(hold), start(hold)]
    until(lambda: budget.stats() == (2, 1, 0))
    mine = budget.hold()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        assert budget.stats() == (0, 0, 0)
        inner = budget.hold(0)
        inner.__enter__()
if pid == 0:  # has left the outer place, which was the parent's
    status = 0 if budget.stats() == (1, 0, 0) else 1
    inner.__exit__(None, None, None)
    with budget.hold(0), budget.hold(0):
        status |= budget.stats() != (2, 0, 0)
    os._exit(status)
assert os.waitpid(pid, 0)[1] == 0
let_go.set()
for thread in crowd:
    thread.join(PATIENCE)
assert budget.stats() == (0, 0, 0)
fork_while_held(budget._lock, lambda: budget.hold(0).__enter__())
"""
    )


def test_flights():
    run_script(
        PRELUDE
        + """
from hotset.tiered import flights as module
from hotset.tiered.flights import LEAD, Flights
flights = Flights()
let_go = threading.Event()

def load():
    flight, leads = flights.join("k")
    assert leads
    with flight.scope():
        let_go.wait(PATIENCE)
        flight.succeed("parent")

loader = start(load)
until(lambda: flights.loading("k"))
flight, leads = flights.join("k")
assert not leads
results = []
follower = start(lambda: results.append(flights.join("k")[0].wait(PATIENCE)))
until(lambda: len(flight._waiters) == 1)

def child():
    assert not flights.loading("k")
    assert flight.wait(PATIENCE) is LEAD  # of a flight that nobody else will end
    mine, leads = flights.join("k")
    assert leads and mine is not flight
    other = start(lambda: results.append(flights.join("k")[0].wait(PATIENCE)))
    until(lambda: len(mine._waiters) == 1)
    mine.succeed("child")
    other.join(PATIENCE)
    assert results == ["child"]
    flight.succeed("nobody's")
    flight.abandon()
    assert len(flights) == 0
    assert not module._blocked

fork_while_held(module._lock, child)
let_go.set()
assert flight.wait(PATIENCE) == "parent"
follower.join(PATIENCE)
assert results == ["parent"]
assert len(flights) == 0
"""
    )


def test_a_fork_inside_a_load():
    """The child of a loader (a worker process, say) may load the same key, and ends the parent's flight for nobody."""
    run_script(
        PRELUDE
        + """
from hotset.tiered.flights import Flights
flights = Flights()
flight, _ = flights.join("k")

def child():
    mine, leads = flights.join("k")
    assert leads
    with mine.scope():
        mine.succeed(1)
    assert mine.wait(0) == 1

with flight.scope():
    fork(child)
    flight.succeed(2)
assert flight.wait(0) == 2
"""
    )
