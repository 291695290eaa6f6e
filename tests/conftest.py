"""Fixtures that every test folder shares."""

import gc
import os
import pathlib
import random
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # the tests' own modules, under every import mode

from caches import CLASSES, POLICY_CLASSES, build, one
from clock import FakeCalendar, FakeClock

COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("ci", derandomize=True, max_examples=150, stateful_step_count=50, **COMMON)
settings.register_profile("thorough", max_examples=1500, stateful_step_count=100, print_blob=True, **COMMON)
settings.load_profile(os.environ.get("HOTSET_HYPOTHESIS", "ci"))

# A shell has what it runs in the background ignore Ctrl-C, and so all the processes that tests begin and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clock():
    """Seconds that pass only by `advance`."""
    return FakeClock()


@pytest.fixture
def calendar():
    """Datetimes that pass only by `advance`."""
    return FakeCalendar()


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def policy_class(request):
    """Every cache class."""
    return request.param


@pytest.fixture(params=POLICY_CLASSES, ids=lambda cls: cls.__name__)
def plain_class(request):
    """Every class whose constructor is `(maxsize, getsizeof=None, ...)` or close to it: no lifetime built in."""
    return request.param


@pytest.fixture
def make():
    """Build caches whose invariants are checked when the test is over."""
    made = []

    def factory(cls, maxsize=10, **options):
        cache = build(cls, maxsize, **options)
        made.append(cache)
        return cache

    factory.adopt = made.append
    yield factory
    for cache in made:
        cache._validate()


@pytest.fixture(params=[None, one], ids=["unit", "weighed"])
def weigher(request):
    """Both storage forms: without weights, and with weights that are all 1."""
    return request.param


@pytest.fixture(params=[None, 60.0], ids=["forever", "ttl"])
def lifetime(request):
    """Without and with deadlines; the fake clock stands still."""
    return request.param


@pytest.fixture(params=[1, 2, 10, 1000])
def capacity(request):
    """From the smallest cache to one that is larger than its first tables."""
    return request.param


@pytest.fixture
def cache(make, policy_class, capacity, weigher, lifetime, clock):
    """Each class x capacity x weigher x lifetime; capacity 0 has tests of its own."""
    options = {"getsizeof": weigher, "timer": clock}
    if lifetime is not None:
        options["ttl"] = lifetime
    return make(policy_class, capacity, **options)


@pytest.fixture
def collect():
    """gc.collect for what the test itself has made: the thousands of objects from before are set aside."""
    gc.disable()
    gc.freeze()
    yield gc.collect
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def seed(request):
    """A fixed seed a test; HOTSET_SEED changes all of them. It is printed when the test fails."""
    value = f"{os.environ.get('HOTSET_SEED', '20261123')}:{request.node.name}"
    print(f"seed {value!r}")
    return value


@pytest.fixture
def rng(seed):
    """A generator that is seeded by `seed`."""
    return random.Random(seed)
