"""The third driver of flows, beside threads and loops: it does one step of one flow at a time.

An effect takes two steps, that it is done and that its answer arrives; a wait takes as many as what it waits for.
"""

from asyncio import CancelledError

from tiered.surroundings import CLOCK

from hotset.tiered.effects import Ask, Load, LoadEach, Run, Sleep, Spawn, Wait
from hotset.tiered.flights import _Turn, _Waiter


class Effect:
    """A step of the test's own: calls a function when it may."""

    def __init__(self, function, label, may=lambda: True):
        self.function, self.label, self.may = function, label, may


class Task:
    """A flow on its way, with those that it has called."""

    def __init__(self, schedule, cache, name, flow, context, *, operation=None, at_end=None):
        self.schedule, self.cache, self.name = schedule, cache, name
        self.stack = [flow]
        self.context = context
        self.operation = operation  # what the user did, or None for the background
        self.at_end = at_end
        self.weight = 10 ** schedule.rng.uniform(-schedule.unevenness, 0)
        self.effect = None
        self.reply = None  # (value, error) once the effect is done
        self.waiter = None
        self.cancelled = False
        self.joined = {}  # key -> when the flight began that was joined
        self.over = False

    def ready(self):
        """Whether there is something to do."""
        if self.reply is not None or self.effect is None:
            return True
        if self.waiter is not None:
            return self.waiter.turn is not _Turn.LATE or self.may_be_left()
        return self.effect.may() if isinstance(self.effect, Effect) else True

    def may_be_left(self):
        """Whether a wait may end without what it waits for."""
        config = self.schedule.config
        times_out = self.effect.timeout is not None and config.timeouts
        cancelled = config.cancels and config.loop_style and self.operation is not None
        return (times_out or cancelled) and not self.schedule.draining and self.schedule.chance(0.05)

    def has_asked(self, operation):
        """Whether this operation of a level is done and its answer on its way."""
        return self.reply is not None and isinstance(self.effect, Ask) and self.effect.operation == operation

    def step(self):
        """Begin, do the effect, or take in its result."""
        if self.effect is None:
            self.resume(None, None)
        elif self.waiter is not None and self.waiter.turn is _Turn.LATE and self.effect.timeout is None:
            self.cancelled = True
            waiter, self.waiter = self.waiter, None
            self.effect.flight._desert(waiter)
            self.log("is cancelled")
            self.resume(None, CancelledError())
        elif self.waiter is not None:
            self.end_wait()
        elif self.reply is not None:
            value, error = self.reply
            self.resume(value, error)
        elif isinstance(self.effect, (Ask, Load, LoadEach, Effect)) and self.may_be_cancelled():
            self.cancelled = True
            if isinstance(self.effect, Ask) and self.schedule.chance(0.5):
                self.schedule.perform_ask(self)
            self.reply = None, CancelledError()
            self.log("is cancelled")
        else:
            self.perform()

    def may_be_cancelled(self):
        schedule = self.schedule
        return (
            schedule.config.loop_style
            and self.operation is not None
            and not self.cancelled
            and not schedule.draining
            and schedule.chance(schedule.config.cancels)
        )

    def resume(self, value, error):
        """Go on until the next effect."""
        self.reply = None
        while True:
            flow = self.stack[-1]
            try:
                self.effect = (
                    self.context.run(flow.send, value) if error is None else self.context.run(flow.throw, error)
                )
            except StopIteration as stop:
                value, error = stop.value, None
            except BaseException as raised:
                value, error = None, raised
            else:
                break
            self.stack.pop()
            if not self.stack:
                self.over = True
                if self.at_end is not None:
                    self.at_end()
                self.schedule.ended(self, value, error)
                return
        if isinstance(self.effect, Run) and not self.schedule.config.loop_style and self.effect.timeout is None:
            # A thread drives the flight that it leads itself.
            self.stack.append(self.effect.flow(scope=self.effect.flight.scope()))
            self.resume(None, None)

    def perform(self):
        """Do what the effect asks for; the answer comes later."""
        effect, schedule = self.effect, self.schedule
        if isinstance(effect, Ask):
            self.reply = schedule.perform_ask(self)
        elif isinstance(effect, Load):
            self.reply = schedule.perform_load(self, effect.function, effect.arguments)
        elif isinstance(effect, LoadEach):
            results = []
            for key in effect.keys:
                value, error = schedule.perform_load(self, effect.function, (key,))
                results.append(value if error is None else error)
            self.reply = results, None
        elif isinstance(effect, Run):
            scope = effect.flight.scope(apart=True)
            schedule.spawn(self, effect.flow(scope=scope), scope.give_up)
            self.stand(effect.flight)
        elif isinstance(effect, Wait):
            flight = effect.flight
            self.joined[flight.key] = self.cache.logic.flights.known[flight._load][1]
            self.stand(flight)
        elif isinstance(effect, Spawn):
            schedule.spawn(self, effect.flow, effect.ended)
            self.reply = None, None
        elif isinstance(effect, Sleep):
            CLOCK.now += effect.seconds
            self.reply = None, None
        else:
            self.log(effect.label)
            self.reply = effect.function(), None

    def stand(self, flight):
        """Begin to wait for a flight."""
        self.waiter = _Waiter(None, None)
        try:
            turn = self.context.run(flight._stand, self.waiter)
        except RuntimeError as error:
            self.waiter = None
            self.reply = None, error
            return
        if turn is not None:
            self.waiter.turn = turn

    def end_wait(self):
        waiter, self.waiter = self.waiter, None
        flight = self.effect.flight
        turn = waiter.turn
        if turn is _Turn.LATE:
            turn = flight._step_out(waiter)
        else:
            flight._step_out(waiter)
        value, error = None, None
        try:
            value = flight._outcome(turn, self.effect.timeout)
        except Exception as raised:
            error = raised
        self.resume(value, error)

    def log(self, text):
        self.schedule.trace.append(f"{CLOCK.now - 1000:7.2f} {self.name}: {text}")
