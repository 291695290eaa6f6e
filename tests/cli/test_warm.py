"""`hotset warm`: the whole of it in processes of its own, on a real server."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from tiered.drivers import PATIENCE, namespace, own_server, redis_tier, shared_server

from hotset import DiskTier, MemoryTier, TieredCache
from hotset.cli import main
from hotset.names import name_of
from hotset.warming import CacheWarmer

__all__ = ["own_server", "shared_server"]

SHOP = """
    import os, time
    from hotset import MemoryTier, RedisTier, TieredCache

    def load_many(keys):
        if os.environ.get("ORIGIN") == "down":
            raise ConnectionError("the database is down")
        with open(os.environ["LOADS"], "a") as file:
            file.write("".join(f"{key!r}\\n" for key in keys))
        return {key: f"of {key}" for key in keys if key != "nobody"}

    def make():
        tiers = [MemoryTier(50), RedisTier(os.environ["URL"], timeout=float(os.environ.get("TIMEOUT", 5)))]
        return TieredCache(os.environ["NAME"], tiers, load_many=load_many)

    def deep():
        from hotset import DiskTier
        url = os.environ["URL"]
        upper, lower = RedisTier(url, name="upper"), DiskTier("disk", max_bytes=8 << 20, name="lower")
        return TieredCache(os.environ["NAME"], [MemoryTier(5), upper, lower], load_many=load_many)

    class Caches:
        users = make()

    users = Caches.users
    alone = TieredCache("alone", [MemoryTier(50)], load_many=load_many)
    number = 5

    def broken():
        raise LookupError("no such setting")
"""


class Shop:
    """A folder with a module `shop` that has a cache, and what it has asked its origin for."""

    def __init__(self, folder, server):
        self.folder, self.server, self.name = folder, server, namespace()
        (folder / "shop.py").write_text(textwrap.dedent(SHOP))
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("src")),
            "URL": server.url,
            "NAME": self.name,
            "LOADS": str(folder / "loads"),
        }

    def start(self, *arguments, **options):
        command = [
            sys.executable,
            "-P",  # as an installed command has it: the current folder is on no path
            "-c",
            "import sys; from hotset.cli import main; sys.exit(main())",
            "warm",
            *arguments,
        ]
        return subprocess.Popen(
            list(map(str, command)),
            **{"cwd": self.folder, "env": self.environment, "text": True, "stdin": subprocess.DEVNULL, **options},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def warm(self, *arguments, text=None, **environment):
        self.environment.update(environment)
        with self.start(*arguments, stdin=subprocess.PIPE) as process:
            try:
                out, err = process.communicate(text, timeout=60)
            finally:
                process.kill()
        return process.returncode, out, err

    @property
    def loads(self):
        path = self.folder / "loads"
        return path.read_text().splitlines() if path.exists() else []

    def write(self, name, *lines):
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def found(self, *keys):
        with TieredCache(self.name, [redis_tier(self.server.url)]) as cache:
            return cache.get_many(keys)


@pytest.fixture
def shop(tmp_path, shared_server):
    return Shop(tmp_path, shared_server)


def test_keys_of_a_file_are_at_the_shared_level_afterwards(shop):
    shop.write("keys", *(f"k{number}" for number in range(200)), "nobody")
    code, out, err = shop.warm("shop:users", "--keys", "keys", "--json", "report.json")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"keys keys: done, 200 items, 200 loaded, 1 missing in [0-9.e-]+ s\n", out)
    assert len(shop.loads) == 201
    assert shop.found("k0", "k199", "nobody") == {"k0": "of k0", "k199": "of k199"}
    report = json.loads((shop.folder / "report.json").read_text())
    assert report["success"] is True
    assert report["strategies"][0]["items"] == 200
    code, out, err = shop.warm("shop:Caches.users", "--keys", "keys")
    assert code == 0
    assert "200 items" in out
    assert len(shop.loads) == 202  # that there is nobody is not remembered


def test_kinds_and_several_files_and_standard_input(shop):
    shop.write("ints", 1, 2)
    shop.write("more", 3)
    code, out, _ = shop.warm(
        "shop:users", "--keys", "ints", "--keys", "more", "--keys", "-", "--kind", "int", text="4\n5\n"
    )
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["keys ints", "keys more", "keys -"]
    assert sorted(shop.loads) == ["1", "2", "3", "4", "5"]
    shop.write("names", name_of(("u", 7)), name_of(b"x"))
    assert shop.warm("shop:users", "--keys", "names", "--kind", "name")[0] == 0
    assert shop.found(("u", 7), b"x", 5) == {("u", 7): "of ('u', 7)", b"x": "of b'x'", 5: "of 5"}


def test_hot_keys_of_a_file_and_of_a_peer(shop):
    with TieredCache(
        shop.name, [MemoryTier(1000, policy="lru"), redis_tier(shop.server.url)], load=lambda key: f"by {key}"
    ) as cache:
        for number in range(300):
            cache.get(f"k{number}")
        assert CacheWarmer(cache).save(shop.folder / "hot", limit=100) == 100
        assert CacheWarmer(cache).publish(limit=120) == 120
        cache.clear()
    code, out, _ = shop.warm("shop:users", "--hot", "hot", "--peer")
    assert code == 0
    # Both together are 120 keys: whichever comes second finds what the first one has loaded. All are warmed, although
    # the memory of the command holds fifty.
    assert re.search(r"hot hot: done, 100 items", out)
    assert re.search(r"peer: done, 120 items", out)
    assert len(set(shop.loads)) == len(shop.loads) == 120
    assert shop.found("k299", "k180", "k179") == {"k299": "of k299", "k180": "of k180"}
    code, out, _ = shop.warm("shop:users", "--hot", "hot", "--limit", "7")
    assert "7 items" in out


@pytest.mark.skipif(sys.platform == "win32", reason="no DiskTier there")
@pytest.mark.parametrize("level", ["lower", "3"])
def test_a_level_is_filled_with_what_one_beneath_it_has(shop, level):
    lower = DiskTier(shop.folder / "disk", max_bytes=8 << 20, alone=True)
    with TieredCache(shop.name, [lower], ttl=3600, jitter=0) as cache:
        cache.set_many({f"k{number}": number for number in range(300)})
    code, out, err = shop.warm("shop:deep", "--factory", "--from-level", level, "--batch", "40")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"level lower: done, 300 items in [0-9.e-]+ s\n", out)
    assert shop.loads == []
    with TieredCache(shop.name, [redis_tier(shop.server.url)], ttl=10) as cache:
        assert cache.get_many([f"k{number}" for number in range(300)]) == {f"k{n}": n for n in range(300)}
        assert 3000 < cache.explain("k7").levels[0].life < 3600
    assert "7 items" in shop.warm("shop:deep", "--factory", "--from-level", level, "--limit", "7")[1]


def test_loads_keep_to_the_rate(shop):
    shop.write("keys", *range(60))
    begun = time.monotonic()
    assert shop.warm("shop:users", "--keys", "keys", "--rate", "50")[0] == 0
    assert time.monotonic() - begun >= 1.0
    assert len(shop.loads) == 60


def test_time_is_bounded(shop):
    shop.write("keys", *range(1000))
    code, out, _ = shop.warm("shop:users", "--keys", "keys", "--rate", "10", "--timeout", "500ms")
    assert code == 1
    assert "keys keys: late" in out
    assert "it took longer than 0.5 s" in out


def test_an_origin_that_fails_is_a_failure(shop):
    shop.write("keys", *range(10))
    code, out, _ = shop.warm("shop:users", "--keys", "keys", ORIGIN="down")
    assert code == 1
    assert "10 failed" in out
    assert "ConnectionError: the database is down" in out


def test_a_server_that_is_away_is_a_failure(tmp_path, own_server):
    shop = Shop(tmp_path, own_server)
    own_server.kill()
    shop.write("keys", *range(10))
    code, out, err = shop.warm("shop:users", "--keys", "keys", TIMEOUT="0.2")
    assert code == 1
    assert "TierUnavailable" in out
    assert re.search(r"hotset: valkey: \d+ round trips failed", err)


def test_one_bad_file_stops_no_other(shop):
    shop.write("ints", 1, "two")
    shop.write("hot", "junk")
    shop.write("more", 5)
    arguments = ("--keys", "ints", "--keys", "more", "--kind", "int", "--hot", "hot")
    code, out, _ = shop.warm("shop:users", *arguments)
    assert code == 1
    assert "ints, line 2, is no whole number: 'two'" in out
    assert "hot: these are no hot keys as a cache saves them" in out
    assert "keys more: done, 1 items" in out


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child there")
def test_ctrl_c_reports_what_was_done(shop):
    shop.write("keys", *range(1000))
    with shop.start("shop:users", "--keys", "keys", "--rate", "100", "--json", "report.json") as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while len(shop.loads) < 20:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err == "hotset: interrupted\n"
    items = int(re.fullmatch(r"keys keys: stopped, ([0-9,]+) items, [0-9,]+ loaded in [0-9.]+ s\n", out)[1])
    assert 10 <= items < 1000
    assert json.loads((shop.folder / "report.json").read_text())["strategies"][0]["outcome"] == "stopped"
    assert len(shop.found(*map(str, range(items)))) == items


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child there")
def test_ctrl_c_ends_it_while_it_waits_for_keys(shop):
    with shop.start("shop:users", "--keys", "-", stdin=subprocess.PIPE) as process:
        try:
            process.stdin.write("".join(f"k{number}\n" for number in range(1000)))
            process.stdin.flush()
            deadline = time.monotonic() + PATIENCE
            while len(shop.loads) < 1000:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.3)  # by then it waits for more
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
            assert process.stderr.read() == "hotset: interrupted\n"
            assert process.stdout.read().startswith("keys -: stopped")
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shop:users"], "nothing to warm: give --keys, --hot, --peer or --from-level"),
        (["shop", "--peer"], "CACHE must be module:attribute, such as shop.caches:products, not 'shop'"),
        (["shop:", "--peer"], "not 'shop:'"),
        ([":users", "--peer"], "not ':users'"),
        (["shop:users()", "--peer"], r"not 'shop:users\(\)'"),
        (["nosuch:users", "--peer"], "cannot import nosuch: ModuleNotFoundError: No module named 'nosuch'"),
        (["shop:nothing", "--peer"], "shop has no nothing"),
        (["shop:Caches.nothing", "--peer"], r"shop has no Caches\.nothing"),
        (["shop:number", "--peer"], "shop:number is no TieredCache: 5$"),
        (["shop:make", "--peer"], "shop:make is no TieredCache: .*for a function that makes one give --factory"),
        (["shop:number", "--peer", "--factory"], "shop:number is no function: 5"),
        (["shop:broken", "--peer", "--factory"], r"shop:broken\(\) raised LookupError: no such setting"),
        (["shop:alone", "--peer"], "shop:alone has memory alone, which ends with this command"),
        (["broken:users", "--peer"], "cannot import broken: SyntaxError"),
        (["shop:users", "--keys", "none"], "cannot read none: No such file"),
        (["shop:users", "--keys", "."], r"\. is a folder, not a file"),
        (["shop:users", "--hot", "-"], "cannot read -: No such file"),
        (["shop:users", "--keys", "keys", "--keys", "keys"], "there is a strategy 'keys keys' already"),
        (["shop:users", "--peer", "--batch", "1000000"], "batch must be from 1 to 100,000 keys, got 1000000"),
        (["shop:users", "--peer", "--json", "no/where"], "the folder .* does not exist"),
        (["shop:users", "--peer", "--rate", "0"], "argument --rate: must be from 0.001"),
        (["shop:users", "--peer", "--rate", "much"], "argument --rate: expected a number, not 'much'"),
        (["shop:users", "--peer", "--timeout", "soon"], "argument --timeout: it is not understood: 'soon'"),
        (["shop:users", "--peer", "--timeout", "never"], "argument --timeout: it must have an end: 'never'"),
        (
            ["shop:users", "--from-level", "valkey"],
            "--from-level valkey is the first of the shared levels of .*: valkey",
        ),
        (["shop:users", "--from-level", "2"], "--from-level 2 is the first of the shared levels"),
        (["shop:users", "--from-level", "3"], "--from-level 3 is none of the shared levels of shop:users: valkey"),
        (["shop:users", "--from-level", "memory"], "--from-level memory is none of the shared levels"),
        (["shop:users", "--peer", "--limit", "0"], "argument --limit: must be at least 1"),
        (["shop:users", "--keys", "keys", "--kind", "float"], "argument --kind: invalid choice: 'float'"),
        ([], "the following arguments are required: CACHE"),
    ],
)
def test_wrong_arguments(shop, arguments, message):
    shop.write("keys", "k1")
    shop.write("broken.py", "def")
    code, out, err = shop.warm(*arguments)
    assert (code, out) == (2, "")
    assert re.search(message, err, re.MULTILINE), err
    assert "Traceback" not in err
    assert shop.loads == []


def test_a_factory_makes_the_cache(shop):
    shop.write("keys", "k1")
    assert shop.warm("shop:make", "--factory", "--keys", "keys")[0] == 0
    assert shop.found("k1") == {"k1": "of k1"}


def test_help_tells_what_lasts(capsys):
    with pytest.raises(SystemExit) as end:
        main(["warm", "--help"])
    assert end.value.code == 0
    assert "what lasts is what the shared levels" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_a_terminal_is_shown_a_bar(shop):
    import pty

    shop.write("keys", *range(40))
    master, slave = pty.openpty()
    command = [sys.executable, "-c", "import sys; from hotset.cli import main; sys.exit(main())"]
    command += ["warm", "shop:users", "--keys", "keys", "--rate", "40"]
    process = subprocess.Popen(
        command,
        cwd=shop.folder,
        env={**shop.environment, "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
    )
    os.close(slave)
    shown = b""
    try:
        while piece := _read(master):
            shown += piece
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        os.close(master)
    assert process.returncode == 0
    assert "keys keys: done, 40 items" in out
    assert b"keys keys" in shown
    assert b"/40" in shown or b"/?" in shown


def _read(descriptor):
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end is closed
        return b""
