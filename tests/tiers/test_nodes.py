"""What is made of what nodes say of each other, whatever they say."""

import pytest

from hotset.errors import TierError, TierUnavailable
from hotset.testing.ports import free_port
from hotset.tiers.acknowledged import Acknowledged
from hotset.tiers.dispatch import _address
from hotset.tiers.links import Endpoint
from hotset.tiers.nodes import Node, Nodes
from hotset.tiers.parts import PARTS, PartedKeys
from hotset.tiers.scripts import State

ID = [b"%040d" % number for number in range(9)]


@pytest.fixture
def endpoint():
    return Endpoint("redis://localhost", connect_timeout=0.1)


@pytest.fixture
def node(endpoint):
    return Node(endpoint, ("asked", 7000), 0.1, 1, replica=False)


@pytest.fixture
def nodes(endpoint):
    nodes = Nodes(endpoint, [("seed", 1)], Acknowledged(), timeout=0.1, most=1, replicas=True)
    nodes.open(PartedKeys("ns"))
    return nodes


def test_slots_as_a_cluster_tells_them(nodes, node):
    reply = [
        [8192, 16383, [b"b.example", 7002, ID[2], [b"ip", b"10.0.0.2"]]],
        [0, 8191, [b"10.0.0.1", 7001, ID[1]], [b"10.0.0.3", 7003, ID[3]]],
    ]
    view = nodes.view_of(reply, node)
    assert view.ids[: PARTS // 2] == (ID[1].decode(),) * (PARTS // 2)
    assert view.ids[PARTS // 2 : PARTS] == (ID[2].decode(),) * (PARTS // 2)
    assert view.owners[0].address == ("10.0.0.1", 7001)
    assert view.owners[PARTS - 1].address == ("b.example", 7002)
    assert [replica.address for replica in view.replicas[0]] == [("10.0.0.3", 7003)]
    assert view.replicas[PARTS - 1] == ()
    assert view.primaries == {ID[1].decode(), ID[2].decode()}
    assert nodes.ids_in(reply) == view.ids


@pytest.mark.parametrize("host", [b"", b"?", None])
def test_a_node_that_does_not_know_where_it_is(nodes, node, host):
    """It is where it was asked."""
    view = nodes.view_of([[0, 16383, [host, 7001, ID[1]]]], node)
    assert {owner.address for owner in view.owners} == {("asked", 7001)}


def test_slots_that_nobody_has(nodes, node):
    view = nodes.view_of([[0, 8191, [b"h", 7001, ID[1]]]], node)
    assert view.owners[PARTS - 1] is None
    assert view.ids[PARTS - 1] == ""
    assert nodes.view_of([], node).owners == (None,) * (PARTS + 1)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        7,
        b"OK",
        TierUnavailable("x"),
        [7],
        [[0]],
        [[0, 16383]],
        [[0, 16383, []]],
        [[0, 16383, [b"h", b"p", ID[1]]]],
    ],
    ids=repr,
)
def test_nonsense_is_a_failure_of_the_node(nodes, node, reply):
    with pytest.raises(TierError):
        nodes.view_of(reply, node)


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("MOVED 1 10.0.0.1:7001", ("10.0.0.1", 7001)),
        ("MOVED 1 :7001", ("asked", 7001)),
        ("ASK 1 ?:7001", ("asked", 7001)),
        ("ASK 1 ::1:7001", ("::1", 7001)),
        ("MOVED 1 b.example:7001", ("b.example", 7001)),
    ],
)
def test_where_a_node_sends_one_to(node, reply, wanted):
    assert _address(reply, node) == wanted


def test_a_node_that_does_not_answer_is_left_alone(endpoint, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("hotset.tiers.nodes.monotonic", lambda: now[0])
    node = Node(endpoint, ("127.0.0.1", free_port()), 0.1, 1, replica=False)
    node.check()
    node.failed(TierUnavailable("refused"))
    pauses = []
    for _ in range(6):
        begun = now[0]
        with pytest.raises(TierUnavailable):
            node.check()
        while True:
            now[0] += 0.01
            try:
                node.check()
            except TierUnavailable:
                continue
            break
        with pytest.raises(TierUnavailable):
            node.check()  # one of all may try
        pauses.append(now[0] - begun)
        node.failed(TierUnavailable("refused"))
    assert pauses == sorted(pauses)
    assert 0.1 < pauses[0] < 0.3
    assert 0.9 < pauses[-1] < 1.1
    node.answered()
    node.check()


def test_what_is_remembered_is_bounded_and_goes_with_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("hotset.tiers.acknowledged.monotonic", lambda: now[0])
    done = Acknowledged()
    done.add(["a"])
    now[0] += 29
    done.add(["b"])
    assert done.names() == {"a", "b"}
    now[0] += 2
    done.add(["c"])
    assert done.names() == {"a", "b", "c"}
    now[0] += 31
    done.add(["d"])
    assert done.names() == {"c", "d"}
    now[0] += 1000
    done.add(["e"])
    assert done.names() == {"e"}
    assert "e" in done
    assert "d" not in done
    for number in range(400_000):
        done.add([str(number)])
    assert len(done.names()) <= 100_002
    assert "399999" in done


def test_the_latest_epochs_are_remembered():
    done = Acknowledged()
    for state in (State(5, 3, 0, "-"), State(4, 4, 0, "-"), State(9, 1, 0, "-")):
        done.learn(state)
    assert (done.epoch, done.cleared) == (9, 4)
