"""Names spread over real servers: the contract, the continuum of libketama, and nodes that are lost and come back."""

import builtins
import contextlib
import hashlib
import os
import threading
import time

import pytest
from tiers.zones import Places, cut, restored, values_at

from hotset.errors import TierError, TierUnavailable
from hotset.testing.driver import RecordingListener, entry, opened
from hotset.testing.tier_contract import TierContract
from hotset.tiered import TieredCache
from hotset.tiered.breaker import Breaker
from hotset.tiers import MemoryTier, RedisTier, ShardedTier
from hotset.tiers.contract import CLEAR

NODES = ["a", "b", "c"]
NAMES = [f"name {number}" for number in range(30)]
BOTH_FACES = pytest.mark.parametrize("runner", ["sync", "async"], indirect=True)


class TestContract(TierContract):
    @pytest.fixture(autouse=True)
    def namespace(self, five_servers):
        self.urls = [server.url for server in restored(five_servers[:3])]
        return f"contract-{os.urandom(6).hex()}"

    def make_tier(self):
        return ShardedTier({f"node {number}": RedisTier(url, timeout=1.0) for number, url in enumerate(self.urls)})

    make_peer = make_tier


@pytest.fixture
def places(five_servers, make_proxy):
    return Places(five_servers, make_proxy, NODES)


@pytest.fixture
def drive(runner):
    """Open tiers over nodes, by one of their faces."""
    with contextlib.ExitStack() as stack:

        def factory(nodes, **options):
            options = {"settle": 0.3, "breaker": lambda: Breaker(consecutive=2, open_for=60), **options}
            return stack.enter_context(opened(ShardedTier(nodes, **options), "test", runner))

        yield factory


# Arguments and places


def test_nonsense_is_refused():
    nodes = {name: RedisTier(stream=None) for name in NODES}
    for wrong in (7, {"a": 7}):
        with pytest.raises(TypeError):
            ShardedTier(wrong)
    for wrong in ({}, {"a": MemoryTier(1)}):
        with pytest.raises(ValueError):
            ShardedTier(wrong)
    with pytest.raises(TypeError, match="weights"):
        ShardedTier(nodes, weights=7)
    for weights in ({"d": 1}, {"a": 0}, {"a": 1.5}, {"a": True}):
        with pytest.raises(ValueError, match="weight"):
            ShardedTier(nodes, weights=weights)


def test_without_its_library_it_names_the_extra(monkeypatch):
    really = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "uhashring":
            raise ImportError(name)
        return really(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"hotset\[sharded\]"):
        ShardedTier([RedisTier(stream=None)])


def libketama(nodes, name):
    """The node of a name as libketama finds it: 40 digests a node, four points each, the next point clockwise."""
    points = []
    for node in nodes:
        for number in range(40):
            digest = hashlib.md5(f"{node}-{number}".encode()).digest()
            points += [(int.from_bytes(digest[at : at + 4], "little"), node) for at in range(0, 16, 4)]
    points.sort()
    place = int.from_bytes(hashlib.md5(name.encode()).digest()[:4], "little")
    return next((node for point, node in points if point >= place), points[0][1])


def test_names_are_where_libketama_puts_them():
    nodes = ["10.0.1.1:11211", "10.0.1.2:11211", "10.0.1.3:11211", "10.0.1.4:11211"]
    tier = ShardedTier({node: RedisTier(stream=None) for node in nodes})
    names = [f"user:{number}" for number in range(2000)] + ["", "日本語", "a\x00b"]
    assert [tier.node_of(name) for name in names] == [libketama(nodes, name) for name in names]


def test_a_node_more_moves_its_share_and_no_other():
    names = [f"user:{number}" for number in range(2000)]
    before = ShardedTier({node: RedisTier(stream=None) for node in "abcd"})
    after = ShardedTier({node: RedisTier(stream=None) for node in "abcde"})
    moved = [name for name in names if before.node_of(name) != after.node_of(name)]
    assert {after.node_of(name) for name in moved} == {"e"}
    assert 200 < len(moved) < 700


def test_weights_share_names_out():
    names = [f"user:{number}" for number in range(3000)]
    tier = ShardedTier({node: RedisTier(stream=None) for node in "ab"}, weights={"b": 3})
    share = sum(tier.node_of(name) == "b" for name in names) / len(names)
    assert 0.6 < share < 0.9


def test_any_str_has_a_place():
    tier = ShardedTier({node: RedisTier(stream=None) for node in "ab"})
    for name in ("", "\ud800", "日", "x" * 100_000):
        assert tier.node_of(name) in {"a", "b"}


# Reading and writing


def test_each_name_is_on_its_node(places, drive):
    tier = drive(places.tiers())
    tier.write([(name, tier.entry(name)) for name in NAMES])
    for node, server in places.servers.items():
        there = [name for name, value in zip(NAMES, values_at(server, NAMES), strict=True) if value]
        assert there == [name for name in NAMES if tier.tier.node_of(name) == node]
        assert there, "each has some"


@BOTH_FACES
def test_nodes_are_asked_side_by_side(places, drive):
    proxies = {}
    tier = drive(places.tiers(proxies, timeout=2.0))
    tier.write([(name, tier.entry(name)) for name in NAMES])
    for proxy in proxies.values():
        proxy.delay(0.2, direction="up")
    begun = time.monotonic()
    assert tier.values(NAMES) == NAMES
    assert time.monotonic() - begun < 0.55


# A node that is lost


def of(tier, node):
    return [name for name in NAMES if tier.tier.node_of(name) == node]


@BOTH_FACES
def test_a_lost_node_costs_its_own_names_only(places, drive, eventually):
    tier = drive(places.tiers())
    tier.write([(name, tier.entry(name)) for name in NAMES])
    places.servers["b"].kill()
    lost = of(tier, "b")
    assert tier.look(lost[0]) is None, "nor does one of its names alone raise"
    tier.remove(lost[:1])
    assert not tier.touch(lost[0], 1.0, 1.0)
    for _ in range(4):
        assert tier.look(lost[0]) is None
        assert tier.values(NAMES) == [None if name in lost else name for name in NAMES]
    leased = tier.lease(["none", *lost]).found
    assert all(found == (None, None, False) for found in leased[1:])
    assert tier.fill([(lost[0], tier.entry("filled"), found.fence) for found in leased[1:2]]) == [False]
    assert tier.tier.passed_by >= len(lost)
    assert tier.tier.states() == {"a": "closed", "b": "away", "c": "closed"}
    # Changes go through; the node is told when it is back.
    tier.write([(name, tier.entry("new")) for name in NAMES])
    assert tier.values(NAMES) == [None if name in lost else "new" for name in NAMES]
    tier.invalidate([CLEAR])
    assert tier.values(NAMES) == [None] * len(NAMES)
    places.servers["b"].start()
    eventually(lambda: tier.tier.states()["b"] == "closed")
    tier.write([(name, tier.entry("newer", epoch=0)) for name in NAMES])
    assert tier.values(NAMES) == ["newer"] * len(NAMES)


@BOTH_FACES
@pytest.mark.parametrize("change", ["write", "remove", "expire", "invalidate", "clear"])
def test_a_node_that_comes_back_with_old_data_is_not_believed(places, drive, eventually, change):
    proxies = {}
    tier = drive(places.tiers(proxies), settle=0)
    tier.write([(name, tier.entry("old", tags=("t",), epoch=tier.epoch())) for name in NAMES])
    mine = of(tier, "b")
    name, other = mine[:2]
    cut(proxies["b"])
    {
        "write": lambda: tier.write([(name, entry("new"))]),
        "remove": lambda: tier.remove([name]),
        "expire": lambda: tier.remove([name], expire=True),
        "invalidate": lambda: tier.invalidate(["t"]),
        "clear": lambda: tier.invalidate([CLEAR]),
    }[change]()
    assert values_at(places.servers["b"], [name]) == ["old"]
    proxies["b"].accept()
    end = time.monotonic() + 10
    while tier.tier.pending()["b"] or tier.tier.states()["b"] != "closed":
        assert tier.serves(name) is None
        assert tier.lease([name]).found[0].entry is None
        assert time.monotonic() < end
    assert tier.serves(name) is None
    assert values_at(places.servers["b"], [name]) == [None]
    if change in {"write", "remove", "expire"}:
        assert tier.serves(other) == "old"


@pytest.mark.parametrize("change", ["write", "remove", "expire", "invalidate", "clear"])
def test_a_node_is_not_believed_about_what_it_has_missed(places, drive, change):
    """It answers, but takes no writes for a while."""
    tier = drive(places.tiers(), breaker=lambda: Breaker(consecutive=1000, minimum=1000))
    tier.write([(name, tier.entry("old", tags=("t",), epoch=tier.epoch())) for name in NAMES])
    name, other = of(tier, "b")[:2]
    with places.servers["b"].read_only():
        {
            "write": lambda: tier.write([(name, entry("new"))]),
            "remove": lambda: tier.remove([name]),
            "expire": lambda: tier.remove([name], expire=True),
            "invalidate": lambda: tier.invalidate(["t"]),
            "clear": lambda: tier.invalidate([CLEAR]),
        }[change]()
        assert values_at(places.servers["b"], [name]) == ["old"]
        for _ in range(3):
            assert tier.look(name) is None
            assert tier.lease([name]).found[0].entry is None
        assert tier.serves(other) == ("old" if change in {"write", "remove", "expire"} else None)


def test_a_later_change_that_goes_through_settles_what_was_missed(places, drive):
    tier = drive(places.tiers(), breaker=lambda: Breaker(consecutive=1000, minimum=1000))
    name = of(tier, "b")[0]
    tier.write([(name, tier.entry("old"))])
    with places.servers["b"].read_only():
        tier.remove([name])
        time.sleep(1.0)  # it is tried again and again, at longer and longer intervals
    tier.write([(name, tier.entry("new"))])
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert tier.serves(name) == "new"


def test_a_node_that_has_missed_too_much_is_cleared(places, drive, eventually):
    proxies = {}
    tier = drive(places.tiers(proxies), max_missed=3)
    tier.write([(name, tier.entry("old")) for name in NAMES])
    mine = of(tier, "b")
    cut(proxies["b"])
    for name in mine[:-1]:
        tier.remove([name])
    proxies["b"].accept()
    eventually(lambda: values_at(places.servers["b"], mine) == [None] * len(mine))
    eventually(lambda: tier.tier.states()["b"] == "closed")
    assert tier.values(of(tier, "a")) == ["old"] * len(of(tier, "a"))


@BOTH_FACES
def test_no_node_left_is_an_error(places, drive):
    tier = drive(places.tiers())
    tier.write([(name, tier.entry(name)) for name in NAMES])
    for server in places.servers.values():
        server.kill()
    for operation in (
        lambda: tier.read(NAMES),
        lambda: tier.write([(name, entry()) for name in NAMES]),
        lambda: tier.remove(NAMES),
        lambda: tier.invalidate(["t"]),
        lambda: tier.read(NAMES[:1]),
        lambda: tier.touch(NAMES[0], 1.0, 1.0),
    ):
        with pytest.raises(TierError):
            operation()


def test_it_must_be_open(places):
    tier = ShardedTier(places.tiers())
    with pytest.raises(TierError):
        tier.read(["a"])
    tier.open("test", RecordingListener())
    tier.close()
    with pytest.raises(TierUnavailable):
        tier.read(["a"])


def test_a_node_whose_stream_is_lost_is_told_as_lost(places, drive, eventually):
    tier = drive(places.tiers(stream="tracking"))
    eventually(lambda: tier.listener.moments)
    tier.write([(name, tier.entry(name)) for name in NAMES])
    lost = of(tier, "b")
    losses = tier.listener.losses
    with places.servers["b"].hung():
        hung = time.monotonic()
        eventually(lambda: tier.listener.losses > losses)
        eventually(lambda: max(tier.listener.moments) > hung + 0.5)
        assert tier.values(NAMES) == [None if name in lost else name for name in NAMES]
    eventually(lambda: tier.values(NAMES) == NAMES)


# In a cache


@pytest.mark.stress
def test_a_node_lost_and_back_under_load_serves_nothing_stale(places, eventually):
    """One is killed, and comes back empty; another is cut off, and comes back with what it had."""
    proxies = {}
    written = dict.fromkeys(range(30), 0)
    failures, errors = [], []
    ending = threading.Event()
    options = {"settle": 1.0, "breaker": lambda: Breaker(consecutive=2, open_for=60)}
    tier = ShardedTier(places.tiers(proxies, stream="tracking", timeout=0.5), **options)
    with TieredCache("test", [MemoryTier(10), tier], load=written.get) as cache:

        def work(first):
            """Each thread has keys of its own: after its write it must read nothing older."""
            number = 0
            try:
                while not ending.is_set():
                    number += 1
                    key = first + 3 * (number % 10)
                    written[key] += 1
                    if number % 3:
                        cache.invalidate(key)
                    else:
                        cache.set(key, written[key])
                    for other in (key, first + 3 * (number * 7 % 10)):
                        seen = cache.get(other)
                        if seen != written[other]:
                            failures.append((other, seen, written[other]))
                    if number % 50 == 0:
                        cache.get_many(range(first, 30, 3))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(first,)) for first in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        places.servers["a"].kill()
        time.sleep(0.8)
        places.servers["a"].start()
        time.sleep(2)
        cut(proxies["b"])
        time.sleep(0.8)
        proxies["b"].accept()
        time.sleep(2)
        ending.set()
        for thread in threads:
            thread.join(30)
        eventually(lambda: tier.states() == {"a": "closed", "b": "closed", "c": "closed"})
        state = cache.stats().levels[1].state
    assert errors == []
    assert failures == []
    assert state == "closed", "the level as a whole was not given up"
