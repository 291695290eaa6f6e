"""The journal of writes behind: what a process leaves to the next one, and a disk that is full or damaged."""

import os
import sqlite3
import sys
import warnings

import pytest
from subprocesses import run_script
from tiered.drivers import eventually, namespace, redis_tier, shared_server  # noqa: F401 - fixtures
from tiered.writers import PATIENCE, Rows, make, on_disk, rows  # noqa: F401 - fixtures

from hotset import TieredCache
from hotset.errors import JournalError, JournalTaken, WriteRefused
from hotset.tiered.journal import Changes, Journal, chunk_of


class TestJournal:
    def test_one_owner_at_a_time(self, make, rows):
        make(rows)
        with pytest.raises(JournalTaken):
            make(Rows())

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
    def test_a_fork_leaves_it_to_the_parent(self, make, rows):
        cache = make(rows)
        cache.set("a", 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            code = 1
            try:
                cache.set("b", 2)
            except WriteRefused:
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        cache.set("c", 3)
        assert cache.behind.flush(PATIENCE)
        assert rows == {"a": 1, "c": 3}

    def test_another_file_is_left_alone(self, make, rows, tmp_path):
        path = tmp_path / "journal"
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE mine (x)")
        database.close()
        with pytest.raises(JournalError, match="another database"):
            make(rows)
        path.write_bytes(b"not a database at all" * 100)
        before = path.read_bytes()
        with pytest.raises(JournalError, match="cannot be opened"):
            make(rows)
        assert path.read_bytes() == before

    def test_a_commit_is_on_the_disk(self, tmp_path):
        """No test can pull the plug; what SQLite promises then is by these."""
        journal = Journal(tmp_path / "journal")
        words = ("journal_mode", "synchronous", "fullfsync")
        found = [journal._database.execute(f"PRAGMA {word}").fetchone()[0] for word in words]
        journal.close()
        assert found == ["wal", 2, 1]

    def test_what_was_coalesced_does_not_come_back(self, tmp_path):
        """A chunk of which all is done with stays until the older ones are: then the later value wins."""
        path = tmp_path / "journal"
        journal = Journal(path)
        journal.commit(Changes(chunk=(1, chunk_of([("a", b"1"), ("b", b"1")])), last=2))
        journal.commit(Changes(chunk=(3, chunk_of([("a", b"2"), ("\udc80 odd", b"")])), last=4))
        assert [(row.seq, row.name, row.data) for row in journal.rows()] == [
            (1, "a", b"1"),
            (2, "b", b"1"),
            (3, "a", b"2"),
            (4, "\udc80 odd", b""),
        ]
        journal.commit(Changes(done_below=3))
        assert [row.seq for row in journal.rows()] == [3, 4]
        assert journal.last() == 4
        journal.close()

    def test_what_cannot_be_decoded_any_more_is_listed(self, make, rows, tmp_path):
        rows.refuse = lambda _: 1 / 0
        cache = make(rows, close_timeout=0)
        cache.set("a", 1)
        cache.close()
        cache = make(rows, codec="json")
        (letter,) = cache.behind.dead()
        assert letter.key == "a"
        assert "codec" in letter.error
        assert cache.behind.replay() == 0
        assert cache.behind.discard() == 1

    def test_levels_are_told_of_what_a_killed_process_could_not_tell_them(self, make, rows, shared_server):
        rows["a"] = "old"
        name = namespace()
        with TieredCache(name, [redis_tier(shared_server.url)], load=rows.get) as other:
            assert other.get("a") == "old"
            rows.refuse = lambda _: 1 / 0
            cache = make(rows, name=name, close_timeout=0)  # without the server: as if killed before it told it
            cache.set("a", "new")
            cache.close()
            cache = make(rows, name=name, tiers=[redis_tier(shared_server.url)], retries=1_000_000)
            assert cache.get("a") == "new"
            eventually(lambda: other.explain("a").levels[0].state == "nothing")


FULL_DISK = """
import resource, signal, sys
from hotset import MemoryTier, TieredCache, WriteBehind
from hotset.errors import JournalError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
away, rows = True, {}

def save_many(items):
    if away:
        raise ConnectionError
    rows.update(items)

behind = WriteBehind(sys.argv[1], max_queue=100_000, backoff=0.01, longest=0.05, retries=1000)
cache = TieredCache("full", [MemoryTier(100_000)], save_many=save_many, load=rows.get, write="behind", behind=behind)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
taken, refused = {}, 0
for number in range(200):
    try:
        cache.set(number, "x" * 5000)
    except JournalError:
        refused += 1
        assert cache.get(number) is None
    else:
        taken[number] = "x" * 5000
assert taken and refused, (len(taken), refused)
away = False
assert behind.flush(20)
assert rows == taken
for _ in range(100):
    try:
        cache.set("again", "x" * 5000)
        break
    except JournalError:
        pass
else:
    raise AssertionError("the journal does not recover")
cache.close()
assert rows == {**taken, "again": "x" * 5000}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of file sizes")
def test_a_disk_that_is_full_refuses_and_recovers(tmp_path):
    """What was refused is nowhere, what was acknowledged arrives."""
    run_script(FULL_DISK, tmp_path / "journal")
