"""The budget of loads: threads and tasks in one line, refusals, cancellations, and no place ever lost."""

import asyncio
import contextlib
import gc
import math
import random
import threading
import time

import pytest

from hotset.errors import LoadError, LoadRefused
from hotset.tiered.budget import Budget, BudgetStats

PATIENCE = 30  # seconds until a hanging test fails; nothing is measured by it


def until(condition):
    """Wait for another thread to get there."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never comes to that"
        time.sleep(0.001)


class Holder(threading.Thread):
    """A thread that holds a place until it is let go."""

    def __init__(self, budget, log=None, timeout=PATIENCE):
        super().__init__(daemon=True)
        self.budget, self.log, self.timeout = budget, log, timeout
        self.inside, self.go = threading.Event(), threading.Event()
        self.error = None
        self.start()

    def run(self):
        try:
            with self.budget.hold(self.timeout):
                if self.log is not None:
                    self.log.append(self)
                self.inside.set()
                self.go.wait(PATIENCE)
        except BaseException as error:
            self.error = error

    def finish(self):
        self.go.set()
        self.join(PATIENCE)
        assert not self.is_alive(), "the holder hangs"


@pytest.fixture
def loops():
    """Start event loops in threads of their own."""
    started = []

    def start():
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        started.append((loop, thread))
        return loop

    yield start
    for loop, thread in started:
        if not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
            thread.join(PATIENCE)
            loop.close()


def test_counts_holders():
    budget = Budget(2)
    with budget.hold():
        assert budget.stats() == BudgetStats(1, 0, 0)
        with budget.hold():
            assert budget.stats() == BudgetStats(2, 0, 0)
    assert budget.stats() == BudgetStats(0, 0, 0)


def test_a_place_comes_back_when_the_load_fails():
    budget = Budget(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), budget.hold(0):
            1 / 0  # noqa: B018
    assert budget.stats() == BudgetStats(0, 0, 0)


def test_refuses_after_the_wait():
    budget = Budget(1, wait="20ms")
    with budget.hold():
        start = time.monotonic()
        with pytest.raises(LoadRefused, match=r"^1 loads? .* within 0\.02 s$"), budget.hold():
            pytest.fail("held")
        assert time.monotonic() - start >= 0.02
        with pytest.raises(LoadError), budget.hold(0):
            pytest.fail("held")
        with pytest.raises(LoadRefused), budget.hold(-1):
            pytest.fail("held")
        assert budget.stats() == BudgetStats(1, 0, 3)
    with budget.hold(0):
        pass
    assert budget.stats() == BudgetStats(0, 0, 3)


def test_async_refuses_after_the_wait():
    budget = Budget(1, wait=0.02)

    async def main():
        async with budget.ahold():
            with pytest.raises(LoadRefused, match=r"within 0\.02 s"):
                async with budget.ahold():
                    pytest.fail("held")
            with pytest.raises(LoadRefused):
                async with budget.ahold(0):
                    pytest.fail("held")
            with pytest.raises(LoadRefused), budget.hold(0):
                pytest.fail("held")
        assert budget.stats() == BudgetStats(0, 0, 3)

    asyncio.run(main())


def test_no_limit_counts_nothing():
    budget = Budget(None)

    async def main():
        async with budget.ahold(), budget.ahold(0):
            with budget.hold(), budget.hold(0):
                assert budget.stats() == BudgetStats(0, 0, 0)

    asyncio.run(main())
    assert budget.hold() is budget.hold()


@pytest.mark.parametrize("timeout", [math.inf, 1e12])
def test_a_wait_without_end(timeout):
    budget = Budget(1, wait=timeout)
    first = Holder(budget)
    assert first.inside.wait(PATIENCE)
    second = Holder(budget, timeout=None)
    until(lambda: budget.stats().waiting == 1)

    async def main():
        async with budget.ahold(timeout):
            return budget.stats().in_use

    thread_result = []
    third = threading.Thread(target=lambda: thread_result.append(asyncio.run(main())), daemon=True)
    third.start()
    until(lambda: budget.stats().waiting == 2)
    first.finish()
    second.finish()
    third.join(PATIENCE)
    assert thread_result == [1]
    assert budget.stats() == BudgetStats(0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0,), ValueError),
        ((-3,), ValueError),
        ((True,), TypeError),
        ((2.0,), TypeError),
        (("5",), TypeError),
        ((1, -1), ValueError),
        ((1, None), TypeError),
        ((1, math.nan), ValueError),
    ],
)
def test_refuses_bad_arguments(arguments, error):
    with pytest.raises(error, match=r"limit|wait"):
        Budget(*arguments)


def test_threads_and_tasks_are_served_in_order(loops):
    budget = Budget(1, wait=PATIENCE)
    order = []
    first = Holder(budget)
    assert first.inside.wait(PATIENCE)
    crowd = []
    wanted = []
    lines = [loops(), loops()]

    async def task(number):
        async with budget.ahold():
            order.append(number)

    def thread(number):
        with budget.hold():
            order.append(number)

    for number in range(20):
        if number % 2:
            runner = threading.Thread(target=thread, args=(number,), daemon=True)
            runner.start()
            crowd.append(runner.join)
        else:
            crowd.append(asyncio.run_coroutine_threadsafe(task(number), lines[number // 2 % 2]).result)
        until(lambda number=number: budget.stats().waiting == number + 1)
        wanted.append(number)
    first.finish()
    for wait in crowd:
        wait(PATIENCE)
    assert order == wanted
    assert budget.stats() == BudgetStats(0, 0, 0)


def test_nobody_overtakes_the_line():
    """The place that comes free is the first waiter's at once, even before it wakes up."""
    budget = Budget(1)
    log = []
    with budget.hold():
        waiter = Holder(budget, log)
        until(lambda: budget.stats().waiting == 1)
    with pytest.raises(LoadRefused), budget.hold(0):
        pytest.fail("overtaken")
    waiter.finish()
    assert log == [waiter]


def test_a_cancelled_task_leaves_the_line():
    budget = Budget(1, wait=PATIENCE)

    async def hold():
        async with budget.ahold():
            pass

    async def main():
        async with budget.ahold():
            tasks = [asyncio.create_task(hold()) for _ in range(3)]
            await asyncio.sleep(0)
            assert budget.stats().waiting == 3
            tasks[1].cancel()
            await asyncio.sleep(0)
            assert budget.stats() == BudgetStats(1, 2, 0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]
        assert budget.stats() == BudgetStats(0, 0, 0)

    asyncio.run(main())


def test_a_task_cancelled_as_its_turn_comes_hands_the_place_on():
    budget = Budget(1, wait=PATIENCE)
    served = []

    async def hold(name):
        async with budget.ahold():
            served.append(name)

    async def main():
        async with budget.ahold():
            first, second = (asyncio.create_task(hold(name)) for name in "ab")
            await asyncio.sleep(0)
        assert budget.stats() == BudgetStats(1, 1, 0)  # the first one's, who does not know yet
        first.cancel()
        await asyncio.wait([first, second], timeout=PATIENCE)
        assert served == ["b"]
        assert first.cancelled()
        assert budget.stats() == BudgetStats(0, 0, 0)

    asyncio.run(main())


def test_a_task_whose_time_is_up_as_its_turn_comes_is_served():
    budget = Budget(1)

    async def hold():
        async with budget.ahold(0.01):
            return "served"

    async def main():
        async with budget.ahold():
            task = asyncio.create_task(hold())
            await asyncio.sleep(0)
            time.sleep(0.05)  # noqa: ASYNC251 - the loop finds the timer due and the place given in one turn
        assert await asyncio.wait_for(task, PATIENCE) == "served"

    asyncio.run(main())
    assert budget.stats() == BudgetStats(0, 0, 0)


def test_a_closed_loop_takes_no_place_with_it():
    budget = Budget(1, wait=PATIENCE)
    first = Holder(budget)
    assert first.inside.wait(PATIENCE)
    loop = asyncio.new_event_loop()

    async def hold():
        async with budget.ahold():
            pytest.fail("served")

    task = loop.create_task(hold())
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    loop.close()
    assert budget.stats().waiting == 1
    second = Holder(budget)
    until(lambda: budget.stats().waiting == 2)
    first.go.set()
    assert second.inside.wait(PATIENCE), "the place went to a task that cannot run any more"
    second.finish()
    assert budget.stats() == BudgetStats(0, 0, 0)
    task._log_destroy_pending = False
    del task
    gc.collect()
    assert budget.stats() == BudgetStats(0, 0, 0)


def test_a_task_that_is_collected_gives_its_place_back():
    """A loop that was stopped and forgotten with a task pending: the place was handed over, and the task never ran."""
    budget = Budget(1, wait=PATIENCE)
    first = Holder(budget)
    assert first.inside.wait(PATIENCE)
    loop = asyncio.new_event_loop()

    async def hold():
        async with budget.ahold():
            pytest.fail("served")

    task = loop.create_task(hold())
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    first.finish()
    assert budget.stats() == BudgetStats(1, 0, 0)
    task._log_destroy_pending = False
    loop.close()
    del task, loop
    gc.collect()
    assert budget.stats() == BudgetStats(0, 0, 0)


@pytest.mark.stress
def test_never_more_than_the_limit(rng, loops):
    """Threads, tasks of three loops, time-outs and cancellations: the bound holds, and at the end all is free."""
    budget = Budget(5, wait=0.005)
    inside, most = [], []
    served, refused = [], []

    def enter():
        inside.append(1)
        most.append(len(inside))

    def thread(number):
        mine = random.Random(rng.random() + number)
        for _ in range(40):
            try:
                with budget.hold(mine.choice([0, 0.001, 0.01, None])):
                    enter()
                    time.sleep(mine.random() * 0.001)
                    inside.pop()
                    served.append(1)
            except LoadRefused:
                refused.append(1)

    async def task(mine):
        try:
            async with budget.ahold(mine.choice([0, 0.001, 0.01, None])):
                enter()
                try:
                    await asyncio.sleep(mine.random() * 0.001)
                finally:
                    inside.pop()
                served.append(1)
        except LoadRefused:
            refused.append(1)

    async def many(number):
        mine = random.Random(rng.random() + number)
        for _ in range(10):
            tasks = [asyncio.create_task(task(mine)) for _ in range(20)]
            await asyncio.sleep(mine.random() * 0.003)
            for one in mine.sample(tasks, 6):
                one.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    crowd = [threading.Thread(target=thread, args=(number,), daemon=True) for number in range(8)]
    for one in crowd:
        one.start()
    futures = [asyncio.run_coroutine_threadsafe(many(number), loops()) for number in range(3)]
    for one in crowd:
        one.join(PATIENCE)
        assert not one.is_alive()
    for future in futures:
        future.result(PATIENCE)
    assert max(most) <= 5
    assert len(served) > 20
    assert budget.stats() == BudgetStats(0, 0, len(refused))
