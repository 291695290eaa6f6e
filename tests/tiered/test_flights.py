"""Single flight over threads and loops: one load, one failure each, hand-over, fences, and no waiting for oneself."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import random
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from callers import PATIENCE, Caller

from hotset.tiered import flights as module
from hotset.tiered.flights import LEAD, Flights


@pytest.fixture
def flights():
    table = Flights()
    yield table
    assert len(table) == 0, "a flight was left in the table"
    assert not module._blocked


def until(condition):
    """Wait for another thread to get there."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never comes to that"
        time.sleep(0.001)


def waiting(flight, count):
    return lambda: len(flight._waiters) == count


@pytest.fixture
def loop():
    """An event loop in a thread of its own."""
    with running_loop() as loop:
        yield loop


@contextlib.contextmanager
def running_loop():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


def get(flights, key, load, timeout=PATIENCE):
    """Read through, as a thread does."""
    flight, leads = flights.join(key)
    if not leads:
        value = flight.wait(timeout)
        if value is not LEAD:
            return value
    with flight.scope():
        value = load(key)
        flight.succeed(value)
    return value


async def aget(flights, key, load, timeout=PATIENCE):  # noqa: ASYNC109 - the argument under test
    """Read through, as a task does."""
    flight, leads = flights.join(key)
    if not leads:
        value = await flight.await_(timeout)
        if value is not LEAD:
            return value
    with flight.scope():
        value = await load(key)
        flight.succeed(value)
    return value


def run(main):
    return asyncio.run(asyncio.wait_for(main, PATIENCE))


# One load


def test_the_first_leads_and_the_others_follow(flights):
    flight, leads = flights.join("k")
    assert leads
    assert flights.loading("k")
    assert not flights.loading("other")
    assert flights.join("k") == (flight, False)
    assert len(flights) == 1
    other, leads = flights.join("other")
    assert leads
    assert other is not flight
    assert not flight.done
    assert flight.succeed(1)
    assert flight.done
    assert not flights.loading("k")
    assert flight.wait(0) == 1
    again, leads = flights.join("k")
    assert leads
    assert again is not flight
    again.succeed(None)
    other.succeed(None)


def test_a_thread_and_a_task_get_the_value(flights, loop):
    flight, _ = flights.join("k")
    thread = Caller(get, flights, "k", pytest.fail)
    task = asyncio.run_coroutine_threadsafe(aget(flights, "k", pytest.fail), loop)
    until(waiting(flight, 2))
    value = object()
    flight.succeed(value)
    assert thread.finish().result is value
    assert task.result(PATIENCE) is value


def test_the_first_report_counts(flights):
    flight, _ = flights.join("k")
    assert flight.succeed(1)
    assert not flight.succeed(2)
    assert not flight.fail(ValueError())
    flight.abandon()
    assert flight.wait() == 1


def test_a_value_may_be_none_or_an_exception(flights):
    for value in (None, ValueError("a value"), TimeoutError()):
        flight, _ = flights.join("k")
        flight.succeed(value)
        assert flight.wait(0) is value
        assert run(flight.await_(0)) is value


def test_the_table_forgets_before_the_followers_know(flights):
    flight, _ = flights.join("k")
    seen = []

    def follow():
        flights.join("k")[0].wait(PATIENCE)
        seen.append(flights.loading("k"))

    callers = [Caller(follow) for _ in range(5)]
    until(waiting(flight, 5))
    flight.succeed(1)
    for caller in callers:
        caller.finish()
    assert seen == [False] * 5


def test_waits_end(flights, loop):
    flight, _ = flights.join("k")
    for timeout in (0, -1, 0.01):
        with pytest.raises(TimeoutError, match="'k' is under way"):
            flights.join("k")[0].wait(timeout)
        with pytest.raises(TimeoutError, match="'k' is under way"):
            asyncio.run_coroutine_threadsafe(flights.join("k")[0].await_(timeout), loop).result(PATIENCE)
    assert not flight.done
    assert not flight._waiters
    assert flight._arriving == 0
    assert flight.succeed(1)


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e15])
def test_waits_without_end(flights, loop, timeout):
    flight, _ = flights.join("k")
    thread = Caller(flight.wait, timeout)
    task = asyncio.run_coroutine_threadsafe(flight.await_(min(timeout, 1e6) if timeout == 1e15 else timeout), loop)
    until(waiting(flight, 2))
    flight.succeed("v")
    assert thread.finish().result == task.result(PATIENCE) == "v"


def test_a_task_of_the_leaders_own_loop(flights):
    async def main():
        gate = asyncio.Event()

        async def load(key):
            await gate.wait()
            return key * 2

        tasks = [asyncio.create_task(aget(flights, "k", load)) for _ in range(10)]
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*tasks) == ["kk"] * 10

    run(main())


def test_a_key_that_cannot_be_hashed(flights):
    with pytest.raises(TypeError):
        flights.join([])


# Failure


def test_a_failure_reaches_all_as_the_same_object(flights, loop):
    flight, _ = flights.join("k")
    threads = [Caller(get, flights, "k", pytest.fail) for _ in range(3)]
    tasks = [asyncio.run_coroutine_threadsafe(aget(flights, "k", pytest.fail), loop) for _ in range(3)]
    until(waiting(flight, 6))
    error = OSError("origin")
    with pytest.raises(OSError, match="origin") as caught, flight.scope():
        raise error
    assert caught.value is error
    assert all(thread.finish().error is error for thread in threads)
    assert all(task.exception(PATIENCE) is error for task in tasks)
    assert not flights.loading("k")


def test_the_traceback_does_not_grow(flights):
    flight, _ = flights.join("k")

    def load():
        raise ValueError("origin")

    with contextlib.suppress(ValueError), flight.scope():
        load()
    lengths = []
    for _ in range(50):
        with pytest.raises(ValueError, match="origin") as caught:
            flight.wait(0)
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert frames[-1].name == "load"
        lengths.append(len(frames))
        with pytest.raises(ValueError, match="origin"):
            run(flight.await_(0))
    assert set(lengths) == {lengths[0]}


def test_the_cause_of_a_failure_stays(flights):
    flight, _ = flights.join("k")
    with contextlib.suppress(ValueError), flight.scope():
        raise ValueError("origin") from KeyError("cause")
    with pytest.raises(ValueError, match="origin") as caught:
        flight.wait(0)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_loaders_own_timeout_is_told_from_a_late_one(flights):
    flight, _ = flights.join("k")
    flight.fail(TimeoutError("the loader's"))
    with pytest.raises(TimeoutError, match="the loader's"):
        flight.wait(PATIENCE)
    assert flight.done


def test_a_scope_that_ends_without_a_report_abandons(flights):
    flight, _ = flights.join("k")
    with flight.scope():
        pass
    assert not flight.done
    assert not flights.loading("k")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_an_interrupted_load_fails_nobody(flights, kind):
    flight, _ = flights.join("k")
    follower = Caller(get, flights, "k", str.upper)
    until(waiting(flight, 1))
    with pytest.raises(kind), flight.scope():
        raise kind
    assert follower.finish().result == "K"
    assert flight.done


# Abandonment


def test_the_first_in_line_takes_over(flights, loop):
    """One after the other: threads and tasks are handed the lead in the order in which they wait."""
    flight, _ = flights.join("k")
    order = []
    crowd = []
    for number in range(6):
        if number % 2:
            crowd.append(asyncio.run_coroutine_threadsafe(lead_by_task(flight, order, number), loop).result)
        else:
            crowd.append(Caller(lead_by_thread, flight, order, number).join)
        until(waiting(flight, number + 1))
    flight.abandon()
    for wait in crowd:
        wait(PATIENCE)
    assert order == list(range(6))
    assert not flights.loading("k")


def lead_by_thread(flight, order, number):
    assert flight.wait(PATIENCE) is LEAD
    order.append(number)
    flight.abandon()


async def lead_by_task(flight, order, number):
    assert await flight.await_(PATIENCE) is LEAD
    order.append(number)
    flight.abandon()


def test_a_newcomer_takes_over_what_nobody_leads(flights):
    """The follower has joined and does not wait yet when the leader gives up: no second flight, and no hang."""
    flight, _ = flights.join("k")
    assert flights.join("k") == (flight, False)
    flight.abandon()
    assert flights.join("k") == (flight, True)
    follower = Caller(flight.wait, PATIENCE)
    until(waiting(flight, 1))
    flight.succeed(1)
    assert follower.finish().result == 1


def test_a_late_follower_takes_over_what_nobody_leads(flights):
    flight, _ = flights.join("k")
    flights.join("k")
    flight.abandon()
    assert flight.wait(PATIENCE) is LEAD
    assert flights.join("k") == (flight, False)
    flight.succeed(1)
    assert flight.wait() == 1


def test_an_abandoned_flight_without_followers_is_forgotten(flights):
    flight, _ = flights.join("k")
    flight.abandon()
    assert not flights.loading("k")
    assert not flight.done


def test_a_scope_does_not_take_the_lead_from_the_next_leader(flights):
    flight, _ = flights.join("k")
    follower = Caller(lambda: (flight.wait(PATIENCE), time.sleep(0.05), flight.succeed("second"))[0])
    other = Caller(flight.wait, PATIENCE)
    until(waiting(flight, 2))
    with flight.scope():
        flight.abandon()
    other.finish()
    assert {follower.finish().result, other.result} == {LEAD, "second"}


def test_a_leader_may_wait_like_the_others(flights, loop):
    """The load runs apart; in whatever order they wait for it, the flight is handed over in the end, and forgotten."""

    async def load(key, scope, end):
        with scope:
            await end
            flight.succeed("loaded")

    flight, _ = flights.join("k")
    end = loop.create_future()
    task = asyncio.run_coroutine_threadsafe(load("k", flight.scope(apart=True), end), loop)
    follower = Caller(lambda: flights.join("k")[0].wait(PATIENCE))
    until(waiting(flight, 1))
    with pytest.raises(TimeoutError):
        flight.wait(0.01)
    leader = Caller(flight.wait, PATIENCE)
    until(waiting(flight, 2))
    task.cancel()
    assert follower.finish().result is LEAD
    flight.abandon()
    assert leader.finish().result is LEAD
    flight.abandon()
    assert not flights.loading("k")


def test_a_scope_that_is_never_entered_can_be_given_up(flights):
    flight, _ = flights.join("k")
    scope = flight.scope()
    follower = Caller(flight.wait, PATIENCE)
    other = Caller(flight.wait, PATIENCE)
    until(waiting(flight, 2))
    scope.give_up()
    until(waiting(flight, 1))
    scope.give_up()  # the lead is somebody else's by now
    time.sleep(0.02)
    assert waiting(flight, 1)()
    flight.succeed(1)
    assert [follower.finish().result, other.finish().result].count(LEAD) == 1


def test_a_cancelled_follower_harms_nobody(flights):
    async def main():
        flight, _ = flights.join("k")
        tasks = [asyncio.create_task(aget(flights, "k", pytest.fail)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        assert len(flight._waiters) == 2
        flight.succeed(7)
        await asyncio.wait(tasks, timeout=PATIENCE)
        assert tasks[0].result() == tasks[2].result() == 7
        assert tasks[1].cancelled()

    run(main())


def test_a_cancelled_leader_hands_over(flights):
    calls = []

    async def load(key):
        calls.append(key)
        await asyncio.sleep(0.01 if len(calls) > 1 else PATIENCE)
        return len(calls)

    async def main():
        leader = asyncio.create_task(aget(flights, "k", load))
        followers = [asyncio.create_task(aget(flights, "k", load)) for _ in range(5)]
        await asyncio.sleep(0.01)
        leader.cancel()
        assert await asyncio.gather(*followers) == [2] * 5
        assert leader.cancelled()

    run(main())
    assert calls == ["k", "k"]


def test_a_follower_cancelled_as_it_is_given_the_lead_passes_it_on(flights):
    async def main():
        flight, _ = flights.join("k")
        first, second = (asyncio.create_task(flight.await_(PATIENCE)) for _ in range(2))
        await asyncio.sleep(0)
        flight.abandon()
        assert len(flight._waiters) == 1
        first.cancel()
        await asyncio.wait([first, second], timeout=PATIENCE)
        assert first.cancelled()
        assert second.result() is LEAD
        flight.succeed(1)

    run(main())


def test_a_follower_whose_time_is_up_as_it_is_given_the_lead_takes_it(flights):
    async def main():
        flight, _ = flights.join("k")
        task = asyncio.create_task(flight.await_(0.01))
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251 - the timer is due in the turn in which the lead comes
        flight.abandon()
        assert await task is LEAD
        flight.succeed(1)

    run(main())


def test_a_closed_loop_is_not_given_the_lead(flights):
    flight, _ = flights.join("k")
    loop = asyncio.new_event_loop()
    task = loop.create_task(flight.await_(PATIENCE))
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    loop.close()
    thread = Caller(flight.wait, PATIENCE)
    until(waiting(flight, 2))
    flight.abandon()
    assert thread.finish().result is LEAD
    task._log_destroy_pending = False
    flight.succeed(1)


def test_a_task_that_is_collected_gives_the_lead_back(flights):
    flight, _ = flights.join("k")
    loop = asyncio.new_event_loop()
    task = loop.create_task(flight.await_(PATIENCE))
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    thread = Caller(flight.wait, PATIENCE)
    until(waiting(flight, 2))
    flight.abandon()  # the task leads, and does not know
    assert len(flight._waiters) == 1
    task._log_destroy_pending = False
    loop.close()
    del task, loop
    gc.collect()
    assert thread.finish().result is LEAD
    flight.succeed(1)


# Fences


def test_a_fence_begins_a_new_flight(flights):
    old, _ = flights.join("k")
    other, _ = flights.join("other")
    follower = Caller(get, flights, "k", pytest.fail)
    until(waiting(old, 1))
    flights.fence("k")
    assert old.fenced
    assert not other.fenced
    new, leads = flights.join("k")
    assert leads
    assert new is not old
    assert not new.fenced
    old.succeed("old")
    assert follower.finish().result == "old"  # it asked before the fence
    assert flights.join("k") == (new, False)
    new.succeed("new")
    assert new.wait(0) == "new"
    other.succeed(None)


def test_fence_all(flights):
    pair = [flights.join(key)[0] for key in "ab"]
    flights.fence_all()
    assert all(flight.fenced for flight in pair)
    assert len(flights) == 0
    flights.fence_all()
    for flight in pair:
        flight.fail(ValueError())


def test_a_fence_without_a_flight(flights):
    flights.fence("k")
    flight, _ = flights.join("k")
    flights.fence("other")
    assert not flight.fenced
    flight.succeed(1)
    flights.fence("k")
    assert not flight.fenced


def test_detached(flights):
    old, leads = flights.join("a")
    assert leads
    flights.detach("a")
    flights.detach("b")
    assert old.detached
    assert not old.fenced
    new, leads = flights.join("a")
    assert leads
    assert new is not old
    assert old.succeed(1)
    assert flights.join("a") == (new, False)
    new.succeed(2)


def test_an_abandoned_fenced_flight_goes_on_apart(flights):
    old, _ = flights.join("k")
    follower = Caller(old.wait, PATIENCE)
    until(waiting(old, 1))
    flights.fence("k")
    new, _ = flights.join("k")
    old.abandon()
    assert follower.finish().result is LEAD
    old.succeed(1)
    assert flights.join("k") == (new, False)
    new.succeed(2)


# Waiting for oneself


def test_a_load_that_asks_for_its_own_key(flights):
    def load(key):
        return get(flights, key, load)

    start = time.monotonic()
    with pytest.raises(RuntimeError, match="'k' waits for itself"):
        get(flights, "k", load)
    assert time.monotonic() - start < PATIENCE / 3


def test_a_coroutine_that_asks_for_its_own_key(flights):
    async def load(key):
        return await aget(flights, key, load)

    with pytest.raises(RuntimeError, match="'k' waits for itself"):
        run(aget(flights, "k", load))


def test_a_load_that_asks_for_its_own_key_over_another(flights):
    def load(key):
        return get(flights, {"a": "b", "b": "c", "c": "a"}[key], load)

    with pytest.raises(RuntimeError, match="'a' waits for itself"):
        get(flights, "a", load)


def test_two_caches_that_ask_each_other(flights):
    upper = Flights()

    def load_upper(key):
        return get(flights, key, load_lower)

    def load_lower(key):
        return get(upper, key, load_upper)

    with pytest.raises(RuntimeError, match="waits for itself"):
        get(upper, "k", load_upper)
    assert len(upper) == 0


def test_a_subtask_that_asks_for_the_key_of_the_load(flights):
    async def load(key):
        return (await asyncio.gather(asyncio.sleep(0), aget(flights, key, load)))[1]

    with pytest.raises(RuntimeError, match="waits for itself"):
        run(aget(flights, "k", load))


def test_an_executor_thread_that_asks_for_the_key_of_the_load(flights):
    """asyncio.to_thread and a copied context carry the load along."""
    with pytest.raises(RuntimeError, match="waits for itself"):
        run(aget(flights, "k", functools.partial(asyncio.to_thread, get, flights, load=pytest.fail)))

    def load(key):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(contextvars.copy_context().run, get, flights, key, pytest.fail).result(PATIENCE)

    with pytest.raises(RuntimeError, match="waits for itself"):
        get(flights, "k", load)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_ring_of_threads(flights, size):
    """Each loads one key and asks for the next one's; one of them is told, and its failure unties all."""
    start = threading.Barrier(size)

    def load(key):
        with contextlib.suppress(threading.BrokenBarrierError):
            start.wait(5)
        return get(flights, (key + 1) % size, load)

    callers = [Caller(get, flights, key, load) for key in range(size)]
    errors = [caller.finish().error for caller in callers]
    assert all(type(error) is RuntimeError for error in errors)
    assert len({id(error) for error in errors}) == 1


def test_a_ring_of_tasks(flights):
    async def main():
        async def load(key):
            await asyncio.sleep(0.01)
            return await aget(flights, (key + 1) % 4, load)

        return await asyncio.gather(*(aget(flights, key, load) for key in range(4)), return_exceptions=True)

    errors = run(main())
    assert all(type(error) is RuntimeError for error in errors)
    assert len({id(error) for error in errors}) == 1


def test_a_ring_of_a_thread_and_two_loops(flights):
    start = threading.Barrier(3)

    async def aload(key):
        await asyncio.to_thread(start.wait, PATIENCE)
        return await aget(flights, (key + 1) % 3, aload)

    def load(key):
        start.wait(PATIENCE)
        return get(flights, (key + 1) % 3, load)

    with running_loop() as one, running_loop() as two:
        tasks = [asyncio.run_coroutine_threadsafe(aget(flights, key, aload), on) for key, on in enumerate((one, two))]
        caller = Caller(get, flights, 2, load)
        errors = [task.exception(PATIENCE) for task in tasks] + [caller.finish().error]
    assert all(type(error) is RuntimeError for error in errors)
    assert len({id(error) for error in errors}) == 1


def test_a_nested_load_ties_its_outer_one_to_what_it_waits_for(flights):
    """a loads b itself; b waits for c; c, elsewhere, asks for a: a ring, though a waits for nobody directly."""
    at_c, go = threading.Event(), threading.Event()

    def load_c(key):
        at_c.set()
        assert go.wait(PATIENCE)
        return get(flights, "a", pytest.fail)

    async def aload(key):
        if key == "a":
            return (await asyncio.gather(aget(flights, "b", aload)))[0]
        asyncio.get_running_loop().call_later(0.02, go.set)
        return await aget(flights, "c", pytest.fail)

    c = Caller(get, flights, "c", load_c)
    assert at_c.wait(PATIENCE)
    with pytest.raises(RuntimeError, match="waits for itself") as caught:
        run(aget(flights, "a", aload))
    assert c.finish().error is caught.value


def test_a_thread_that_waits_for_the_loop_that_it_runs(flights):
    async def main():
        gate = asyncio.Event()

        async def load(key):
            await gate.wait()
            return 1

        task = asyncio.create_task(aget(flights, "k", load))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="keeps the event loop"):
            get(flights, "k", pytest.fail)
        gate.set()
        assert await task == 1

    run(main())


def test_a_load_that_waits_for_a_blocked_loop(flights, loop):
    """The loop's thread is blocked by a wait for a; a, elsewhere, asks for b, which only the loop can go on with."""
    at_a, go = threading.Event(), threading.Event()

    def load_a(key):
        at_a.set()
        assert go.wait(PATIENCE)
        return get(flights, "b", pytest.fail)

    async def load_b(key):
        await asyncio.sleep(0.1)
        return "b"

    async def block():
        return get(flights, "a", pytest.fail)

    a = Caller(get, flights, "a", load_a)
    assert at_a.wait(PATIENCE)
    b = asyncio.run_coroutine_threadsafe(aget(flights, "b", load_b), loop)
    until(lambda: flights.loading("b"))
    blocked = asyncio.run_coroutine_threadsafe(block(), loop)
    until(lambda: module._blocked)
    go.set()
    assert type(a.finish().error) is RuntimeError
    assert blocked.exception(PATIENCE) is a.error
    assert b.result(PATIENCE) == "b"


def test_loads_that_only_share_a_key_are_no_ring(flights):
    """Two loads that wait for a third one, and a load that asks for two others one after the other."""
    gate = threading.Event()

    def load_c(key):
        assert gate.wait(PATIENCE)
        return "c"

    c = Caller(get, flights, "c", load_c)
    until(lambda: flights.loading("c"))
    pair = [Caller(get, flights, key, lambda key: key + get(flights, "c", pytest.fail)) for key in "ab"]
    until(waiting(flights.join("c")[0], 2))
    gate.set()
    assert [caller.finish().result for caller in pair] == ["ac", "bc"]
    assert c.finish().result == "c"
    assert get(flights, "a", lambda key: get(flights, "b", str.upper) + get(flights, "b", str.upper)) == "BB"


def test_a_wait_that_is_over_ties_nothing(flights):
    """a has waited for b, in vain, and goes on; now b may ask for a."""
    at_b, go = threading.Event(), threading.Event()

    def load_b(key):
        at_b.set()
        assert go.wait(PATIENCE)
        return get(flights, "a", pytest.fail)

    def load_a(key):
        with pytest.raises(TimeoutError):
            get(flights, "b", pytest.fail, 0.01)
        go.set()
        until(waiting(flights._table["a"], 1))
        return "a"

    b = Caller(get, flights, "b", load_b)
    assert at_b.wait(PATIENCE)
    assert get(flights, "a", load_a) == "a"
    assert b.finish().result == "a"


def test_scopes_do_not_pile_up_in_contexts_that_beget_contexts(flights):
    """As where each load starts the task that does the next one."""
    context = contextvars.copy_context()
    for key in range(20):
        context = context.run(get, flights, key, lambda key: contextvars.copy_context())
    assert len(context[module._scopes]) == 1


def test_a_load_apart_may_ask_for_the_one_that_began_it(flights):
    """a begins b in a thread of its own, waits a moment, and goes on without it; b asks for a."""
    threads = []

    def load_b(flight):
        with flight.scope(apart=True):
            flight.succeed(get(flights, "a", pytest.fail))

    def load_a(key):
        flight, _ = flights.join("b")
        threads.append(Caller(contextvars.copy_context().run, load_b, flight))
        until(waiting(flights.join("a")[0], 1))
        with pytest.raises(RuntimeError, match="'b' waits for itself"):
            flight.wait(0.01)  # as long as b waits for a, that would be a ring
        return "a"

    assert get(flights, "a", load_a) == "a"
    assert threads[0].finish().error is None
    assert not flights.loading("b")


def test_a_context_that_outlives_the_load_does_not_count(flights):
    contexts = []

    def load(key):
        contexts.append(contextvars.copy_context())
        return 1

    assert get(flights, "k", load) == 1
    flight, _ = flights.join("k")
    follower = Caller(contexts[0].run, flight.wait, PATIENCE)
    until(waiting(flight, 1))
    flight.succeed(2)
    assert follower.finish().result == 2


def test_a_context_that_outlives_the_load_does_not_keep_its_value(flights):
    class Value:
        pass

    contexts = []

    def load(key):
        contexts.append(contextvars.copy_context())
        return Value()

    value = weakref.ref(get(flights, "k", load))
    assert value() is None
    assert contexts


# Under stress


def crowd_on(flights, load, aload, threads=200, tasks=1000, loops=4):
    """Have threads and tasks ask for one key at a time; what each of them got."""
    results = []
    started = threading.Semaphore(0)

    def thread():
        started.release()
        try:
            results.append(get(flights, "k", load))
        except Exception as error:
            results.append(error)

    async def many(count):
        crowd = [asyncio.create_task(aget(flights, "k", aload)) for _ in range(count)]
        await asyncio.sleep(0)
        for _ in range(count):
            started.release()
        results.extend(await asyncio.gather(*crowd, return_exceptions=True))

    def loop_thread():
        asyncio.run(asyncio.wait_for(many(tasks // loops), PATIENCE))

    crowd = [Caller(thread) for _ in range(threads)] + [Caller(loop_thread) for _ in range(loops)]
    return crowd, results, started


@pytest.mark.stress
@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_a_stampede_is_one_load(flights, fails):
    """200 threads and 1,000 tasks in 4 loops on one cold key: one load; one and the same value or error for all."""
    everybody = threading.Event()
    calls = []

    def load(key):
        calls.append(key)
        assert everybody.wait(PATIENCE)
        if fails:
            raise OSError("origin")
        return object()

    async def aload(key):
        return await asyncio.to_thread(load, key)

    crowd, results, started = crowd_on(flights, load, aload)
    for _ in range(1200):
        assert started.acquire(timeout=PATIENCE)
    flight = flights._table["k"]
    until(waiting(flight, 1199))
    everybody.set()
    for caller in crowd:
        assert caller.finish().error is None
    assert calls == ["k"]
    assert len(results) == 1200
    assert len({id(result) for result in results}) == 1
    assert isinstance(results[0], OSError) is fails
    if fails:
        assert len(traceback.extract_tb(results[0].__traceback__)) < 200


@pytest.mark.stress
def test_random_cancellations(flights, seed):
    """Leaders and followers are cancelled at random; one load at a time, and whoever is not cancelled gets a value."""
    under_way = []
    overlaps = []
    counts = {"loaded": 0, "cancelled": 0, "got": 0, "late": 0}
    keys = 3

    async def load(key):
        under_way.append(key)
        if under_way.count(key) > 1:
            overlaps.append(key)
        try:
            await asyncio.sleep(0.002)
        finally:
            under_way.remove(key)
        counts["loaded"] += 1
        return key

    async def one(key, timeout):  # noqa: ASYNC109 - the argument under test
        try:
            assert await aget(flights, key, load, timeout) == key
            counts["got"] += 1
        except TimeoutError:
            counts["late"] += 1
        except asyncio.CancelledError:
            counts["cancelled"] += 1
            raise

    async def many(number):
        rng = random.Random(f"{seed}:{number}")
        for _ in range(12):
            tasks = [
                asyncio.create_task(one(rng.randrange(keys), rng.choice([PATIENCE, PATIENCE, 0.001])))
                for _ in range(30)
            ]
            for _ in range(12):
                await asyncio.sleep(rng.random() * 0.0005)
                rng.choice(tasks).cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError), result

    def thread(number):
        rng = random.Random(f"{seed}:{number}")
        for _ in range(40):
            key = rng.randrange(keys)
            try:
                assert get(flights, key, lambda key: asyncio.run(load(key)), rng.choice([PATIENCE, 0.001])) == key
            except TimeoutError:
                counts["late"] += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        crowd = [Caller(thread, number) for number in range(4)]
        crowd += [Caller(lambda number=number: run(many(number))) for number in range(4, 8)]
        for caller in crowd:
            error = caller.finish().error
            if error is not None:
                raise error
    finally:
        sys.setswitchinterval(interval)
    assert not overlaps
    assert not under_way
    assert counts["cancelled"] > 20
    assert counts["got"] > 100
