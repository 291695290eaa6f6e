"""Ctrl-C at any moment: whatever it breaks off, the process lives, and the cache is right afterwards."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time

import pytest
from callers import PATIENCE, Caller
from subprocesses import run_script
from tiered.drivers import shared_server  # noqa: F401 - a fixture

from hotset import MemoryTier, TieredCache
from hotset.tiered import flights as flights_module
from hotset.tiered.budget import Budget
from hotset.tiered.flights import LEAD, Flights
from hotset.tiers.links import Link
from hotset.tiers.pool import Pool

# Each piece of work is interrupted after a random moment, as by a Ctrl-C.
STORM = """
import random, signal, sys, time
from hotset import MemoryTier, RedisTier, TieredCache

armed = False
interrupts = 0

def interrupt(number, frame):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

def work():
    kind = random.randrange(5)
    names = [f"name {random.randrange(1000)}" for _ in range(20)]
    if kind == 0:
        cache.get_many(names)
    elif kind == 1:
        cache.set_many(dict.fromkeys(names, 1), tags=["tag"], ttl=60.5)
    elif kind == 2:
        cache.invalidate(*names)
    elif kind == 3:
        cache.invalidate(tags=["tag"])
    else:
        for name in names:
            cache.get(name)

signal.signal(signal.SIGALRM, interrupt)
tiers = [MemoryTier(300), RedisTier(sys.argv[1])]
cache = TieredCache("storm", tiers, load=len, load_many=lambda keys: {key: len(key) for key in keys})
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.003))
        armed = True
        work()
        armed = False
    except KeyboardInterrupt:
        interrupts += 1
signal.setitimer(signal.ITIMER_REAL, 0)
cache.clear()
cache.set("name", 5)
assert cache.get("name") == 5
cache.invalidate("name")
assert cache.get("name") == 4
assert cache.get_many(["name", "n"]) == {"name": 4, "n": 1}
cache.close()
print(interrupts)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that send signals")
def test_a_storm_of_interrupts_breaks_nothing(shared_server):
    process = run_script(STORM, shared_server.url)
    assert int(process.stdout) > 100


class Interrupt:
    """Raises KeyboardInterrupt in this thread at the n-th moment in the cache at which Python looks for signals.

    Which is after a call of what is C, and where a function of Python begins.
    """

    def __init__(self, place):
        self.left = place

    def __call__(self, frame, event, _):
        if event in {"call", "c_return"} and os.sep + "tiered" + os.sep in frame.f_code.co_filename:
            self.left -= 1
            if not self.left:
                sys.setprofile(None)
                raise KeyboardInterrupt


class Lengths:
    """An origin that can fail."""

    failing = False

    def many(self, keys):
        if self.failing:
            raise ConnectionError
        return {key: len(key) for key in keys}

    def one(self, key):
        return self.many([key])[key]


BROKEN_OFF = {
    "get": lambda cache: cache.get("a"),
    "get_many": lambda cache: cache.get_many(["a", "bb"]),
    "a load in a load": lambda cache: cache.get_or_load("a", lambda _: cache.get("bb") and 1),
}


@pytest.mark.parametrize("failing", [False, True], ids=["", "origin fails"])
@pytest.mark.parametrize("work", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_an_interrupt_at_any_moment_of_a_load(work, failing, monkeypatch):
    """Nobody waits for the load that was broken off: neither its own thread, which would be told so, nor another."""
    monkeypatch.setattr("hotset.tiered.flights._GRACE", 0.02)
    origin = Lengths()

    def look(cache):
        return cache.get("a"), cache.get_many(["a", "bb"])

    def broken_off(cache, interrupt):
        origin.failing = failing
        with contextlib.suppress(KeyboardInterrupt, ConnectionError):
            sys.setprofile(interrupt)
            try:
                work(cache)
            finally:
                sys.setprofile(None)
        origin.failing = False
        return look(cache)

    place, hit = 0, True
    while hit:
        place += 1
        interrupt = Interrupt(place)
        with TieredCache("interrupted", [MemoryTier(10)], load=origin.one, load_many=origin.many) as cache:
            for work_of_one in (broken_off, cache, interrupt), (look, cache):
                caller = Caller(*work_of_one).finish()
                assert (caller.result, caller.error) == ((1, {"a": 1, "bb": 2}), None), f"interrupt {place}"
        assert not flights_module._blocked
        hit = not interrupt.left
    assert place > 40


@pytest.fixture
def flights(monkeypatch):
    monkeypatch.setattr("hotset.tiered.flights._GRACE", 0.05)
    return Flights()


def test_who_leads_and_never_begins_is_replaced(flights):
    flight, leads = flights.join("key")
    assert leads
    follower, leads = flights.join("key")
    assert follower is flight
    assert not leads
    assert follower.wait(PATIENCE) is LEAD
    with follower.scope():
        follower.succeed("value")
    assert len(flights) == 0


def test_who_leads_and_never_begins_is_replaced_by_a_task(flights):
    async def ask():
        flight, leads = flights.join("key")
        if leads:
            return "broken off"
        value = await flight.await_(PATIENCE)
        if value is LEAD:
            with flight.scope():
                await asyncio.sleep(0.2)  # the others wait for this one as long as it takes
                flight.succeed("value")
            return "led"
        return value

    async def main():
        return await asyncio.gather(*(ask() for _ in range(4)))

    assert sorted(asyncio.run(main())) == ["broken off", "led", "value", "value"]


def test_who_has_begun_is_waited_for(flights):
    flight, _ = flights.join("key")
    with flight.scope():
        caller = Caller(lambda: flights.join("key")[0].wait(PATIENCE))
        time.sleep(0.2)
        flight.succeed("value")
    assert caller.finish().result == "value"


def test_a_place_in_a_pool_that_nobody_gives_back():
    ends = []

    def connect(_deadline):
        ends.append(socket.socketpair())
        return Link(ends[-1][0], 1.0)

    pool = Pool(connect, 1)
    link = pool.take(time.monotonic() + 1)
    link.close()
    del link
    pool.drop(pool.take(time.monotonic() + 1))
    assert len(ends) == 2
    for _, end in ends:
        end.close()


def test_a_place_in_a_budget_that_nobody_gives_back():
    budget = Budget(1)
    hold = budget.hold(0)
    hold.__enter__()
    assert budget.stats().in_use == 1
    del hold
    with budget.hold(0):
        assert budget.stats().in_use == 1
    assert budget.stats().in_use == 0
