"""Versions: no two are the same, whoever makes them, and whatever else is done with random numbers."""

import os
import random
import threading

import pytest
from subprocesses import run_script

from hotset.versions import VERSION_BYTES, new_version

SPAWNED = """
import random, sys
random.seed(7)
from hotset.versions import new_version
random.seed(7)
print(*[new_version().hex() for _ in range(500)])
"""


def test_they_are_bytes_of_one_length():
    versions = [new_version() for _ in range(1000)]
    assert {type(version) for version in versions} == {bytes}
    assert {len(version) for version in versions} == {VERSION_BYTES} == {12}


def test_every_byte_of_them_is_random():
    versions = [new_version() for _ in range(5000)]
    for place in range(VERSION_BYTES):
        assert len({version[place] for version in versions}) == 256


def test_many_are_different():
    assert len({new_version() for _ in range(300_000)}) == 300_000


def test_those_of_threads_are_different():
    made = []

    def make():
        made.append([new_version() for _ in range(10_000)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({version for versions in made for version in versions}) == 80_000


def test_seeds_of_the_users_do_not_matter():
    """Nor are his numbers used up."""
    state = random.getstate()
    try:
        seen = set()
        for _ in range(100):
            random.seed(7)
            seen |= {new_version() for _ in range(10)}
            drawn = random.random()
            random.seed(7)
            assert random.random() == drawn
        assert len(seen) == 1000
    finally:
        random.setstate(state)


def test_those_of_processes_are_different():
    versions = [version for _ in range(3) for version in run_script(SPAWNED).stdout.split()]
    assert len(set(versions)) == len(versions) == 1500


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_those_of_forked_children_are_different():
    """Of children and of theirs, and of the parent after the forks."""
    printed = run_script(
        """
        import os
        from hotset.versions import new_version

        def tell():
            os.write(1, (" ".join(new_version().hex() for _ in range(100)) + "\\n").encode())

        new_version()
        for _ in range(3):
            child = os.fork()
            if not child:
                grandchild = os.fork()
                if not grandchild:
                    tell()
                    os._exit(0)
                os.waitpid(grandchild, 0)
                tell()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        tell()
        """
    ).stdout.split()
    assert len(set(printed)) == len(printed) == 700
