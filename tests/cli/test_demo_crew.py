"""The parts of `hotset demo` that make the requests: origin, workload, crew; and the interrupts of a run."""

import contextlib
import itertools
import re
import signal
import sqlite3
import threading
import time
from collections import Counter

import numpy as np
import pytest
from cli import demo_runs  # noqa: F401 - without the extra there is nothing to test

from hotset.demo import origin as origins, workload
from hotset.demo.crew import Crew, key_of, user_of
from hotset.demo.interrupts import Interrupts

USERS = 200


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "users.sqlite3"
    origins.create(path, USERS, seed=1)
    return path


@pytest.fixture
def origin(database):
    with contextlib.closing(origins.Origin(database)) as origin:
        yield origin


def test_the_origin_is_a_file_with_all_users(database):
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT count(*), min(id), max(id), min(version), max(version) FROM users").fetchone()
        mode = connection.execute("PRAGMA journal_mode").fetchone()
    assert rows == (USERS, 0, USERS - 1, 1, 1)
    assert mode == ("wal",)


def test_the_same_seed_makes_the_same_users(tmp_path):
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        origins.create(tmp_path / name, USERS, seed)
        with contextlib.closing(origins.Origin(tmp_path / name)) as origin:
            found.append(origin.load_many(range(USERS)))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_the_origin_loads_what_was_saved_and_counts_the_versions(origin):
    first = origin.load(7)
    assert (first["id"], first["version"]) == (7, 1)
    assert origin.save(7)["version"] == 2
    assert origin.save(7) == origin.load(7)
    assert origin.load(7)["version"] == 3
    assert origin.load(USERS) is None
    assert (origin.reads, origin.writes) == (4, 2)


def test_the_origin_loads_many_in_one_trip(origin):
    found = origin.load_many([*range(USERS), USERS, USERS + 5])
    assert sorted(row["id"] for row in found) == list(range(USERS))
    assert origin.reads == 1


def test_more_users_than_a_statement_takes_are_loaded(tmp_path):
    origins.create(tmp_path / "many", 1_700, seed=1)
    with contextlib.closing(origins.Origin(tmp_path / "many")) as origin:
        assert len(origin.load_many(range(1_700))) == 1_700


def test_saving_an_unknown_user_raises_and_leaves_the_origin_free(origin):
    with pytest.raises(KeyError):
        origin.save(USERS)
    assert origin.save(0)["version"] == 2


def test_each_thread_has_a_connection_of_its_own(origin):
    errors = []

    def work():
        try:
            for _ in range(30):
                origin.save(1)
                origin.load(1)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert origin.load(1)["version"] == 121
    assert len(origin._desks) == 5


def test_the_latency_of_the_origin_is_added_to_every_trip(database):
    with contextlib.closing(origins.Origin(database, 0.02)) as origin:
        for trip in (lambda: origin.load(1), lambda: origin.load_many([1, 2]), lambda: origin.save(1)):
            began = time.perf_counter()
            trip()
            assert time.perf_counter() - began >= 0.02


def test_an_earlier_database_is_replaced(database):
    with contextlib.closing(origins.Origin(database)) as origin:
        origin.save(3)
    origins.create(database, 50, seed=1)
    with contextlib.closing(origins.Origin(database)) as origin:
        assert origin.load(3)["version"] == 1
        assert origin.load(50) is None


@pytest.mark.parametrize("content", [b"precious", b"SQLite format 3\0" + bytes(84)])
def test_a_file_that_is_none_of_ours_is_not_replaced(tmp_path, content):
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(origins.OriginError, match="was not made by this command"):
        origins.create(path, 10, seed=1)
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(origins.OriginError, match="cannot make the database"):
        origins.create(tmp_path / "no" / "such", 10, seed=1)


def test_the_same_seed_makes_the_same_requests():
    a, b, c = (workload.generated(1_000, 500, 10, 0.1, seed) for seed in (1, 1, 2))
    assert np.array_equal(a.ids, b.ids)
    assert np.array_equal(a.writes, b.writes)
    assert not np.array_equal(a.ids, c.ids)


def test_requests_are_skewed_and_the_favourites_move_on():
    stream = workload.generated(1_000, 5_000, 12, 0.25, seed=3)
    assert 0.23 < stream.writes.mean() < 0.27
    assert stream.ids.min() >= 0
    assert stream.ids.max() < 1_000
    fifth = len(stream) // 5

    def favourites(ids):
        return {key for key, _ in Counter(ids.tolist()).most_common(50)}

    first, last = favourites(stream.ids[:fifth]), favourites(stream.ids[-fifth:])
    assert np.isin(stream.ids[:fifth], list(first)).mean() > 0.5
    assert 2 < len(first & last) < 40


def test_a_trace_names_users_by_their_first_request(tmp_path):
    (tmp_path / "trace.txt").write_text("b\na\nb\nc\na\n")
    stream, left_out = workload.traced(tmp_path / "trace.txt", 0.0, seed=1)
    assert (stream.name, stream.ids.tolist(), stream.users, left_out) == ("trace", [0, 1, 0, 2, 1], 3, 0)


def test_a_trace_of_too_many_keys_is_cut_before_them(tmp_path):
    (tmp_path / "trace.txt").write_text("b\na\nb\nc\na\nd\n")
    stream, left_out = workload.traced(tmp_path / "trace.txt", 0.0, seed=1, most=2)
    assert (stream.ids.tolist(), stream.users, left_out) == ([0, 1, 0], 2, 3)


def test_a_stream_that_is_used_up_starts_again():
    stream = workload.Stream("s", np.array([4, 5]), np.array([False, True]), 6)
    assert [stream.request(number) for number in (0, 1, 2, 1_000_001)] == [(4, False), (5, True), (4, False), (5, True)]


def test_every_request_is_handed_out_once():
    pace = workload.Pace(limit=2_000)
    taken = [[] for _ in range(4)]

    def work(mine):
        while (number := pace.take()) is not None:
            mine.append(number)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(itertools.chain(*taken)) == list(range(2_000))
    assert pace.taken == 2_000


def test_requests_do_not_come_before_they_are_due():
    pace = workload.Pace(rate=200)
    began = time.perf_counter()
    for _ in range(30):
        assert pace.take() is not None
    assert time.perf_counter() - began >= 29 / 200


def test_lost_time_is_not_caught_up_with():
    pace = workload.Pace(rate=1_000)
    time.sleep(0.4)
    began = time.perf_counter()
    for _ in range(300):
        pace.take()
    assert time.perf_counter() - began >= 0.15


def test_who_waits_for_a_request_is_woken_by_the_stop():
    pace = workload.Pace(rate=0.001)
    found = []
    threads = [threading.Thread(target=lambda: found.append(pace.take())) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    pace.stop()
    for thread in threads:
        thread.join(10)
    assert found == [None, None, None]


class Honest:
    """A cache that is always right: it keeps nothing."""

    def __init__(self, origin):
        self.origin = origin

    def get(self, key):
        return self.origin.load(user_of(key))

    def set(self, key, value):
        pass

    def invalidate(self, *keys):
        pass


class Forgetful(Honest):
    """A cache that nobody can invalidate."""

    def __init__(self, origin):
        super().__init__(origin)
        self.kept = {}

    def get(self, key):
        return self.kept.setdefault(key, super().get(key))


class Broken(Honest):
    def get(self, key):
        raise OSError("no such luck")

    def invalidate(self, *keys):
        raise OSError("nor here")


class Empty(Honest):
    def get(self, key):
        return None


class Hanging(Honest):
    def __init__(self, origin):
        super().__init__(origin)
        self.release = threading.Event()

    def get(self, key):
        self.release.wait(30)
        return super().get(key)


def crew_on(cache, origin, writes=0.3, requests=600, threads=4):
    rng = np.random.default_rng(1)
    stream = workload.Stream("s", rng.integers(0, 20, requests), rng.random(requests) < writes, USERS)
    return Crew(cache, origin, stream, workload.Pace(limit=requests), threads, [1] * USERS), stream


def finish(crew):
    crew.start()
    deadline = time.monotonic() + 60
    while crew.working and time.monotonic() < deadline:
        time.sleep(0.01)
    assert crew.stop(5) == 0


def test_the_crew_makes_every_request_and_times_every_read(origin):
    crew, stream = crew_on(Honest(origin), origin)
    finish(crew)
    writes = int(stream.writes.sum())
    assert crew.counts() == {"reads": 600 - writes, "writes": writes, "failures": 0, "violations": 0}
    assert origin.writes == writes
    assert crew.timings().count == 600 - writes
    assert crew.timings().count == 0


def test_the_crew_finds_a_cache_that_serves_old_values(origin):
    crew, _ = crew_on(Forgetful(origin), origin)
    finish(crew)
    assert crew.counts()["violations"] > 50
    assert 0 < len(crew.violations) <= 5
    assert re.fullmatch(r"user:\d+: read version \d+ of user \d+ after \d+ was written", crew.violations[0])


def test_the_crew_finds_a_cache_that_mixes_users_up(origin):
    class Mixed(Honest):
        def get(self, key):
            return self.origin.load(0)

    crew, _ = crew_on(Mixed(origin), origin, writes=0.0)
    finish(crew)
    assert crew.counts()["violations"] > 500


def test_the_crew_survives_a_cache_that_raises(origin):
    crew, stream = crew_on(Broken(origin), origin)
    finish(crew)
    counts = crew.counts()
    assert counts["reads"] + counts["writes"] == 600
    assert crew.failures["read: OSError: no such luck"] == 600 - int(stream.writes.sum())
    assert crew.failures["write: OSError: nor here"] > 0
    assert counts["failures"] == sum(crew.failures.values())


def test_a_user_that_is_not_found_is_a_failure(origin):
    crew, _ = crew_on(Empty(origin), origin, writes=0.0)
    finish(crew)
    assert crew.counts()["failures"] == 600
    assert crew.failures == {"read: no such user, although the origin has it": 600}


def test_a_hanging_cache_does_not_hold_up_the_end(origin):
    cache = Hanging(origin)
    crew, _ = crew_on(cache, origin, writes=0.0)
    crew.start()
    began = time.monotonic()
    assert crew.stop(0.2) == 4
    assert time.monotonic() - began < 5
    cache.release.set()
    assert crew.stop(10) == 0


def test_keys_lead_back_to_users():
    assert [user_of(key_of(user)) for user in (0, 7, 99_999)] == [0, 7, 99_999]


def test_an_interrupt_is_held_back_where_it_would_do_harm():
    steps = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        with interrupts.held():
            signal.raise_signal(signal.SIGTERM)
            steps.append("whole")
        steps.append("never")
    assert steps == ["whole"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_does_not_break_off_the_clearing_up():
    steps = []
    with contextlib.suppress(KeyboardInterrupt), Interrupts():
        try:
            signal.raise_signal(signal.SIGINT)
            steps.append("never")
        finally:
            signal.raise_signal(signal.SIGINT)
            steps.append("cleared")
    assert steps == ["cleared"]
