"""cached on coroutine functions: single flight, cancellation, errors, several event loops."""

import asyncio
import gc
import inspect
import threading
import weakref

import pytest

import hotset


class Origin:
    """A coroutine function that counts its calls and waits until it is let go."""

    def __init__(self, **options):
        self.calls, self.started, self.cancelled = [], 0, 0
        self.gate = None
        self.error = None

        @hotset.cached(**options)
        async def fetch(x):
            self.calls.append(x)
            if self.gate is not None:
                self.started += 1
                try:
                    await self.gate.wait()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
            if self.error is not None:
                raise self.error
            return x * 2

        self.fetch = fetch


async def spin(rounds=20):
    """Let the other tasks run until they wait."""
    for _ in range(rounds):
        await asyncio.sleep(0)


def run(main):
    """Run a coroutine function on a loop of its own; a hang fails."""
    return asyncio.run(asyncio.wait_for(main(), 60))


def test_it_is_a_coroutine_function():
    """Frameworks ask."""
    fetch = Origin().fetch
    assert inspect.iscoroutinefunction(fetch)
    assert fetch.__name__ == "fetch"


def test_memoizes():
    origin = Origin()

    async def main():
        assert [await origin.fetch(1) for _ in range(3)] == [2, 2, 2]
        assert origin.fetch.cache_info() == (2, 1, 128, 1)

    run(main)
    assert origin.calls == [1]


def test_sizes_are_told_as_they_are():
    """As of a plain function: nothing is rounded."""
    fetch = Origin(maxsize=10, getsizeof=lambda value: 1.5).fetch
    run(lambda: fetch(1))
    assert fetch.cache_info() == (0, 1, 10, 1.5)


@pytest.mark.parametrize("policy", hotset.POLICIES)
def test_single_flight(policy):
    origin = Origin(policy=policy)

    async def main():
        origin.gate = asyncio.Event()
        tasks = [asyncio.ensure_future(origin.fetch(1)) for _ in range(10)]
        await spin()
        origin.gate.set()
        assert await asyncio.gather(*tasks) == [2] * 10

    run(main)
    assert origin.calls == [1]


def test_other_keys_run_side_by_side():
    origin = Origin()

    async def main():
        origin.gate = asyncio.Event()
        tasks = [asyncio.ensure_future(origin.fetch(x)) for x in range(5)]
        await spin()
        assert origin.started == 5
        origin.gate.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]

    run(main)


@pytest.mark.parametrize("who", [0, 1, 4])
def test_a_cancelled_caller_harms_nobody(who):
    """Neither the leader's cancellation nor a follower's reaches the others, and the call is made once."""
    origin = Origin()

    async def main():
        origin.gate = asyncio.Event()
        tasks = [asyncio.ensure_future(origin.fetch(1)) for _ in range(5)]
        await spin()
        tasks[who].cancel()
        await spin()
        origin.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results.pop(who), asyncio.CancelledError)
        assert results == [2] * 4
        assert await origin.fetch(1) == 2

    run(main)
    assert origin.calls == [1]


def test_when_all_callers_are_cancelled_the_next_one_is_served():
    origin = Origin()

    async def main():
        origin.gate = asyncio.Event()
        tasks = [asyncio.ensure_future(origin.fetch(1)) for _ in range(3)]
        await spin()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await spin()
        origin.gate.set()
        assert await origin.fetch(1) == 2
        await spin()

    run(main)
    assert len(origin.calls) <= 2


def test_a_timeout_of_one_caller():
    origin = Origin()

    async def main():
        origin.gate = asyncio.Event()
        patient = asyncio.ensure_future(origin.fetch(1))
        await spin()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(origin.fetch(1), 0.01)
        origin.gate.set()
        assert await patient == 2

    run(main)
    assert origin.calls == [1]


def test_errors_reach_every_waiter_and_are_not_cached():
    origin = Origin()

    async def main():
        origin.gate = asyncio.Event()
        origin.error = ZeroDivisionError("origin")
        tasks = [asyncio.ensure_future(origin.fetch(1)) for _ in range(5)]
        await spin()
        origin.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [ZeroDivisionError] * 5
        assert origin.fetch.cache_info().currsize == 0
        origin.error = None
        assert await origin.fetch(1) == 2

    run(main)
    assert origin.calls == [1, 1]


def test_an_error_that_nobody_awaits_is_silent():
    """All callers went away: no 'exception was never retrieved' at the end of the loop."""
    origin = Origin()
    told = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        origin.gate = asyncio.Event()
        origin.error = ZeroDivisionError("origin")
        task = asyncio.ensure_future(origin.fetch(1))
        await spin()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        origin.gate.set()
        await spin()
        gc.collect()

    run(main)
    gc.collect()
    assert told == []


def test_several_loops_one_after_another():
    """A finished loop leaves its values, and nothing that is bound to it."""
    origin = Origin()

    async def first():
        return await origin.fetch(1)

    assert run(first) == run(first) == 2
    assert origin.calls == [1]


def test_a_loop_that_ends_in_the_middle_of_a_call():
    """The flight of a dead loop must not hold up the next loop."""
    origin = Origin()

    async def abandon():
        origin.gate = asyncio.Event()
        task = asyncio.ensure_future(origin.fetch(1))
        await spin()
        assert not task.done()

    async def again():
        origin.gate = None
        return await origin.fetch(1)

    run(abandon)
    assert run(again) == 2


def test_several_loops_at_once():
    origin = Origin(maxsize=1000)
    results = []
    start = threading.Barrier(4)

    async def main():
        start.wait(30)
        return await asyncio.gather(*(origin.fetch(x % 50) for x in range(400)))

    threads = [threading.Thread(target=lambda: results.append(run(main))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [[x % 50 * 2 for x in range(400)]] * 4


def test_clear_during_a_call_wins():
    origin = Origin()

    async def main():
        origin.gate = asyncio.Event()
        task = asyncio.ensure_future(origin.fetch(1))
        await spin()
        origin.fetch.cache_clear()
        origin.gate.set()
        assert await task == 2
        assert origin.fetch.cache_info().currsize == 0

    run(main)


def test_recursion_on_other_keys():
    @hotset.cached
    async def fibonacci(n):
        return n if n < 2 else await fibonacci(n - 1) + await fibonacci(n - 2)

    async def main():
        assert await fibonacci(40) == 102334155

    run(main)


def test_recursion_on_the_same_key_raises():
    @hotset.cached
    async def again(n):
        return await again(n)

    async def main():
        with pytest.raises(RuntimeError):
            await again(1)

    run(main)


def test_ttl(clock):
    origin = Origin(ttl=5, timer=clock)

    async def main():
        await origin.fetch(1)
        clock.advance(5)
        await origin.fetch(1)

    run(main)
    assert origin.calls == [1, 1]


def test_context_variables_reach_the_call():
    """The call runs in the context of the caller that started it."""
    import contextvars

    variable = contextvars.ContextVar("variable", default="unset")

    @hotset.cached
    async def read(x):
        await asyncio.sleep(0)
        return variable.get()

    async def main():
        variable.set("mine")
        assert await read(1) == "mine"

    run(main)


def test_results_are_released():
    class Result:
        pass

    @hotset.cached(maxsize=1)
    async def make(x):
        return Result()

    async def main():
        reference = weakref.ref(await make(1))
        await make(2)
        await spin()
        gc.collect()
        assert reference() is None

    run(main)


def test_who_asks_after_an_invalidation_does_not_get_the_older_load():
    """A call that begins after a delete must not join a load that began before it."""
    sources = ["old", "new"]

    @hotset.cached
    async def fetch(key):
        value = sources[0]
        await asyncio.sleep(0.05)
        return value

    async def main():
        first = asyncio.ensure_future(fetch("k"))
        await asyncio.sleep(0.01)
        sources.pop(0)
        fetch.cache.pop("k", None)
        assert await fetch("k") == "new"
        assert await first == "old"
        assert await fetch("k") == "new"

    asyncio.run(main())


def test_a_load_cancelled_before_it_began_leaves_nothing_behind():
    @hotset.cached
    async def fetch(key):
        return key

    async def main():
        call = asyncio.ensure_future(fetch("k"))
        await asyncio.sleep(0)  # the call has made its task, which has not run yet
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    results = []
    thread = threading.Thread(target=lambda: results.append(fetch.cache.get_or_load("k", str.upper)), daemon=True)
    thread.start()
    thread.join(10)
    assert results == ["K"]
