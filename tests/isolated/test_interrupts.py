"""Ctrl-C: KeyboardInterrupt comes out, and the cache goes on."""

import signal
import sys

import pytest
from subprocesses import run_script

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "raise_signal") or sys.platform == "win32", reason="signals of this system cannot be aimed"
)


def test_in_a_loader():
    """The load fails for whoever waits, and the next one loads."""
    run_script(
        """
        import signal, threading
        import hotset
        from caches import CLASSES, build
        for cls in CLASSES:
            cache = build(cls, 10)
            begun = threading.Event()
            answers = []

            def load(key):
                begun.set()
                signal.raise_signal(signal.SIGINT)
                raise AssertionError("not interrupted")

            try:
                cache.get_or_load("k", load)
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError("swallowed")
            assert "k" not in cache
            assert cache.get_or_load("k", str) == "k"
            cache._validate()
        """
    )


def test_while_waiting_for_another_thread():
    """The wait itself must give way: a hanging loader elsewhere may not make the process immune to Ctrl-C."""
    run_script(
        """
        import os, signal, threading, time
        import hotset
        from caches import CLASSES, build
        for cls in CLASSES:
            cache = build(cls, 10)
            begun, opened = threading.Event(), threading.Event()

            def load(key):
                begun.set()
                opened.wait(100)
                return "loaded"

            loader = threading.Thread(target=cache.get_or_load, args=("k", load))
            loader.start()
            begun.wait()
            waiting = threading.Event()

            def interrupt():
                waiting.wait()
                time.sleep(0.05)
                os.kill(os.getpid(), signal.SIGINT)

            threading.Thread(target=interrupt).start()
            try:
                waiting.set()
                cache.get_or_load("k", load)
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError("swallowed")
            opened.set()
            loader.join()
            assert cache["k"] == "loaded"
        """,
        timeout=60,
    )


def test_while_waiting_for_a_memoized_call():
    run_script(
        """
        import os, signal, threading, time
        import hotset
        begun, opened = threading.Event(), threading.Event()

        @hotset.cached
        def slow(x):
            begun.set()
            opened.wait(100)
            return x

        caller = threading.Thread(target=slow, args=(1,))
        caller.start()
        begun.wait()

        def interrupt():
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        try:
            slow(1)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("swallowed")
        opened.set()
        caller.join()
        assert slow(1) == 1
        """,
        timeout=60,
    )


def test_during_replay():
    """The interrupt is seen during the replay or right after it; it is never lost."""
    run_script(
        """
        import os, signal, threading, time
        import numpy as np
        import hotset
        keys = np.tile((np.random.default_rng(1).zipf(1.1, 100_000) % 50_000).astype(np.uint32), 30)
        for policy in hotset.POLICIES:
            running = threading.Event()

            def interrupt():
                running.wait()
                time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            try:
                running.set()
                while True:
                    hotset.replay(policy, 1000, keys)
            except KeyboardInterrupt:
                pass
            thread.join()
            assert hotset.replay(policy, 1000, keys[:1000]).requests == 1000
        """,
        timeout=120,
    )


def test_during_ordinary_operations():
    """An interrupt between or inside operations leaves a valid cache, a hundred times over."""
    run_script(
        """
        import signal, sys
        import hotset
        from caches import CLASSES, build
        from hostile import Key

        class Interrupting(Key):
            countdown = 0
            def __eq__(self, other):
                Interrupting.countdown -= 1
                if Interrupting.countdown == 0:
                    signal.raise_signal(signal.SIGINT)
                return Key.__eq__(self, other)
            __hash__ = Key.__hash__

        for cls in CLASSES:
            cache = build(cls, 8)
            interrupted = 0
            for round in range(100):
                Interrupting.countdown = round % 9 + 1
                try:
                    for name in range(12):
                        cache[Interrupting(name, name % 3)] = name
                        cache.get(Interrupting(name, name % 3))
                        cache.pop(Interrupting(name - 5, (name - 5) % 3), None)
                except KeyboardInterrupt:
                    interrupted += 1
                Interrupting.countdown = 0
                cache._validate()
                assert all(key.name == value for key, value in cache.items())
            assert interrupted > 50, interrupted
        """
    )
