"""Ctrl-C at any moment of a write, by every policy: afterwards the cache says what the origin has."""

import signal

import pytest
from subprocesses import run_script
from tiered.drivers import shared_server  # noqa: F401 - a fixture

STORM = """
import random, signal, sys, time
from hotset import MemoryTier, RedisTier, TieredCache, WriteBehind

armed = False
interrupts = 0

def interrupt(number, frame):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

def work():
    global armed, number
    number += 1
    policy = random.choice(["through", "behind", "around", "invalidate"])
    names = [f"name {random.randrange(50)}" for _ in range(5)]
    kind = random.randrange(4)
    if kind == 0:
        cache.set_many(dict.fromkeys(names, number), write=policy)
    elif kind == 1:
        cache.set(names[0], number, write=policy)
    elif kind == 2:
        cache.delete_many(names[:2], write=policy)
    else:
        with cache.invalidations(hold=number % 2 == 0):
            cache.invalidate(*names)
    armed = False  # reads have a storm of their own
    cache.get_many(names)

number = 0
rows = {}
signal.signal(signal.SIGALRM, interrupt)
behind = WriteBehind(sys.argv[2], interval=0.005, wait=10)
tiers = [MemoryTier(300), RedisTier(sys.argv[1], timeout=5, lease=2)]
functions = {"save_many": rows.update, "delete_many": lambda keys: [rows.pop(key, None) for key in keys]}
cache = TieredCache("storm-of-writes", tiers, load=rows.get, behind=behind, recovery_delay=0.01, **functions)
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.01))
        armed = True
        work()
    except KeyboardInterrupt:
        interrupts += 1
armed = False
signal.setitimer(signal.ITIMER_REAL, 0)
assert behind.flush(20)
names = [f"name {one}" for one in range(50)]
deadline = time.monotonic() + 10
while True:
    there = cache.get_many(names)
    if {key: value for key, value in there.items() if value is not None} == rows:
        break
    # What was broken off is told to the server a little later; nothing older may be served for longer than that.
    assert time.monotonic() < deadline, (there, rows)
    time.sleep(0.05)
cache.set("name", 5)
assert cache.get("name") == rows["name"] == 5
cache.close()
print(interrupts)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that send signals")
def test_a_storm_of_interrupts_leaves_what_the_origin_has(shared_server, tmp_path):
    process = run_script(STORM, shared_server.url, tmp_path / "journal")
    assert int(process.stdout) > 50
