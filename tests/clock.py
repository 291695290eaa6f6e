"""Clocks that stand still until a test moves them."""

import datetime


class FakeClock:
    """A timer in seconds; it pickles and copies by value, so a copied cache goes on from the same time."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class FakeCalendar:
    """A timer that returns datetimes."""

    def __init__(self):
        self.now = datetime.datetime(2026, 3, 29, 1, 59, 0, tzinfo=datetime.UTC)

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += datetime.timedelta(seconds=seconds)
