"""The end of the interpreter, fork, and other interpreters in the process."""

import os
import sys

import pytest
from subprocesses import run_script


def test_live_caches_in_globals():
    process = run_script(
        """
        import hotset
        from caches import CLASSES, build

        class Value:
            def __init__(self, cache):
                self.cache = cache
            def __del__(self):
                try:
                    self.cache.get(1)
                    self.cache["last words"] = 1
                except Exception:
                    pass

        caches = [build(cls, 10, on_evict=lambda key, value, cause: None) for cls in CLASSES]
        for cache in caches:
            for key in range(20):
                cache[key] = Value(cache)
            cache["self"] = cache

        @hotset.cached
        def function(x):
            return x, caches

        function(1)
        print("end")
        """
    )
    assert process.stdout == "end\n"
    assert process.stderr == ""


def test_finalizers_that_run_at_exit_use_a_cache():
    """atexit, module teardown, and a collection in between."""
    run_script(
        """
        import atexit, gc, sys
        import hotset
        class Sub(hotset.LRUCache):
            pass
        cache = Sub.cache = Sub(10)
        cache["k"] = 1
        atexit.register(lambda: cache.update((key, key) for key in range(50)))
        atexit.register(gc.collect)
        sys.modules["keeps"] = cache
        """
    )


def test_threads_still_running():
    """Daemon threads are frozen in the middle of whatever they do; the exit must neither hang nor crash."""
    run_script(
        """
        import threading, time
        import hotset
        from caches import CLASSES, build
        caches = [build(cls, 100) for cls in CLASSES]
        started = threading.Barrier(5)

        def work(number):
            started.wait()
            step = 0
            while True:
                step += 1
                for cache in caches:
                    cache[step % 300] = step
                    cache.get(step % 7)
                    cache.get_or_load((number, step % 50), lambda key: key)

        for number in range(4):
            threading.Thread(target=work, args=(number,), daemon=True).start()
        started.wait()
        time.sleep(0.1)
        """,
        timeout=60,
    )


def test_a_load_in_flight_at_exit():
    run_script(
        """
        import threading, time
        import hotset
        cache = hotset.LRUCache(10)
        begun = threading.Event()
        def load(key):
            begun.set()
            time.sleep(3600)
        for _ in range(3):
            threading.Thread(target=cache.get_or_load, args=("k", load), daemon=True).start()
        begun.wait()
        """,
        timeout=60,
    )


def test_caches_of_dead_threads():
    run_script(
        """
        import threading
        import hotset
        from caches import CLASSES, build
        caches = []
        def work(cls):
            cache = build(cls, 50)
            cache.update((key, object()) for key in range(100))
            caches.append(cache)
        for cls in CLASSES * 3:
            thread = threading.Thread(target=work, args=(cls,))
            thread.start()
            thread.join()
        for cache in caches:
            cache._validate()
            assert len(cache) == 50
        """
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestFork:
    """The child has one thread, and every lock of the others as it was."""

    def test_while_other_threads_use_the_cache(self):
        run_script(
            """
            import os, threading, warnings
            import hotset
            from caches import CLASSES, build
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads is what is tested
            caches = [build(cls, 100) for cls in CLASSES]
            stop = threading.Event()

            def work():
                step = 0
                while not stop.is_set():
                    step += 1
                    for cache in caches:
                        cache[step % 300] = step
                        cache.get(step % 150)

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(15):
                    child = os.fork()
                    if child == 0:
                        status = 1
                        try:
                            for cache in caches:
                                cache["child"] = 1
                                assert cache["child"] == 1
                                cache._validate()
                            status = 0
                        finally:
                            os._exit(status)
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            finally:
                stop.set()
            for thread in threads:
                thread.join()
            """,
            timeout=120,
        )

    def test_while_a_load_is_in_flight(self):
        """The loading thread does not exist in the child: its flight must not be waited for."""
        run_script(
            """
            import os, threading, warnings
            import hotset
            from caches import CLASSES, build
            warnings.simplefilter("ignore", DeprecationWarning)
            for cls in CLASSES:
                cache = build(cls, 10)
                begun, opened = threading.Event(), threading.Event()

                def load(key):
                    begun.set()
                    opened.wait(60)
                    return "parent"

                thread = threading.Thread(target=cache.get_or_load, args=("k", load))
                thread.start()
                begun.wait()
                child = os.fork()
                if child == 0:
                    status = 1
                    try:
                        assert cache.get_or_load("k", lambda key: "child") == "child"
                        assert cache["k"] == "child"
                        cache._validate()
                        status = 0
                    finally:
                        os._exit(status)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                opened.set()
                thread.join()
                assert cache["k"] == "parent"
            """,
            timeout=120,
        )

    def test_inside_a_loader(self):
        """The forked child is the loading thread: it ends its load alone."""
        run_script(
            """
            import os
            import hotset
            cache = hotset.LRUCache(10)

            def load(key):
                child = os.fork()
                if child:
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                    return "parent"
                return "child"

            value = cache.get_or_load("k", load)
            assert cache["k"] == value
            assert cache.get_or_load("other", str) == "other"
            os._exit(7 if value == "child" else 0)
            """,
            timeout=60,
        )

    def test_memoized_call_in_flight(self):
        run_script(
            """
            import os, threading, warnings
            import hotset
            warnings.simplefilter("ignore", DeprecationWarning)
            begun, opened = threading.Event(), threading.Event()

            @hotset.cached
            def slow(x):
                if threading.current_thread() is not threading.main_thread():
                    begun.set()
                    opened.wait(60)
                return x

            thread = threading.Thread(target=slow, args=(1,))
            thread.start()
            begun.wait()
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    assert slow(1) == 1
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            opened.set()
            thread.join()
            """,
            timeout=60,
        )

    def test_random_replacement_differs_in_the_child_or_not(self):
        """Whatever it draws, parent and child both go on."""
        run_script(
            """
            import os
            import hotset
            cache = hotset.RRCache(10)
            cache.update((key, key) for key in range(50))
            child = os.fork()
            cache.update((key, key) for key in range(50, 100))
            cache._validate()
            if child == 0:
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            """
        )


SUBINTERPRETER = """
import sys
sys.path[:0] = {path!r}
try:
    import hotset
except ImportError as error:
    assert str(error), "an ImportError must say why"
else:
    cache = hotset.LRUCache(5)
    for key in range(20):
        cache[key] = [key]
    cache["self"] = cache
    cache._validate()
    assert len(cache) == 5
    hotset.cached(lambda x: x)(1)
"""


@pytest.mark.parametrize("first", ["main", "sub"])
def test_import_in_another_interpreter(first):
    """It works there or is refused by ImportError; afterwards the main interpreter's caches are as they were."""
    source = SUBINTERPRETER.format(path=[path for path in sys.path if path])
    process = run_script(
        f"""
        import sys

        def run_elsewhere(source):
            try:
                from concurrent import interpreters
            except ImportError:
                pass
            else:
                interpreter = interpreters.create()
                try:
                    interpreter.exec(source)
                finally:
                    interpreter.close()
                return
            try:
                import _interpreters as interpreters
            except ImportError:
                try:
                    import _xxsubinterpreters as interpreters
                except ImportError:
                    print("skip")
                    raise SystemExit
            number = interpreters.create()
            run = getattr(interpreters, "exec", None) or interpreters.run_string
            failure = run(number, source)
            assert failure is None, failure
            interpreters.destroy(number)

        source = {source!r}
        if {first!r} == "main":
            import hotset
            cache = hotset.LRUCache(5)
            cache["k"] = 1
            run_elsewhere(source)
            assert cache["k"] == 1
        for _ in range(3):
            run_elsewhere(source)
        try:
            import hotset
        except ImportError as error:
            assert {first!r} == "sub" and str(error)
        else:
            cache = hotset.LRUCache(5)
            cache.update((key, key) for key in range(20))
            cache._validate()
        """
    )
    if process.stdout.strip() == "skip":
        pytest.skip("this interpreter has no module for sub-interpreters")


def test_import_twice_after_removal():
    """Test runners drop modules from sys.modules; the second import must not crash."""
    run_script(
        """
        import sys
        import hotset
        cache = hotset.LRUCache(5)
        cache["k"] = 1
        for name in [name for name in sys.modules if name.startswith("hotset")]:
            del sys.modules[name]
        try:
            import hotset
        except ImportError:
            pass
        else:
            hotset.LRUCache(5)["k"] = 1
        assert cache["k"] == 1
        cache._validate()
        """
    )


def test_import_in_a_thread():
    run_script(
        """
        import threading
        def work():
            import hotset
            hotset.LRUCache(5)["k"] = 1
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        import hotset
        hotset.LRUCache(5)["k"] = 1
        """
    )


def test_optimized_and_verbose_interpreters():
    """-OO strips docstrings and asserts of the Python part."""
    import subprocess

    for options in (["-OO"], ["-X", "dev"], ["-b", "-W", "error"]):
        process = subprocess.run(
            [sys.executable, *options, "-c", "import hotset; c = hotset.LRUCache(2); c[1] = 1; c._validate()"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
