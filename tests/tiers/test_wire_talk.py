"""Requests packed, sent and answered in C, against hiredis and over real sockets."""

import contextlib
import errno
import os
import signal
import socket
import struct
import threading
import time

import hiredis
import pytest
from hypothesis import given, strategies as st

from hotset._wire import Talk, packed
from hotset.errors import TierTimeout, TierUnavailable
from hotset.tiers.links import Link, Stale

MORE = object()
pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="a socket is not a file there")

words = st.one_of(st.binary(max_size=120), st.text(max_size=120), st.sampled_from(["", b"", "x" * 1000, b"\r\n" * 999]))
commands = st.lists(st.lists(words, max_size=12).map(tuple), max_size=6)


@given(commands)
def test_packed_as_hiredis_does(commands):
    assert packed(commands) == b"".join(map(hiredis.pack_command, commands))


def test_packed_lone_surrogates():
    assert packed([("GET", "\ud800é")]) == "*2\r\n$3\r\nGET\r\n$5\r\n\ud800é\r\n".encode("utf-8", "surrogatepass")


class Loud(str):
    """Says something longer of itself than it is."""

    __slots__ = ()

    def encode(self, *_):
        return b"x" * 100_000


def test_packed_takes_a_subclass_for_what_it_is():
    assert packed([(Loud("\ud800"),)]) == b"*1\r\n$3\r\n\xed\xa0\x80\r\n"


@pytest.mark.parametrize("bad", [1, None, 1.5, ["x"], bytearray(b"x")])
def test_packed_refuses_other_words(bad):
    with pytest.raises(TypeError, match="must be str or bytes"):
        packed([("SET", bad)])
    with pytest.raises(TypeError):
        packed([bad])


@pytest.fixture
def pair():
    """Both ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def talk(pair):
    reader = hiredis.Reader(notEnoughData=MORE)
    return Talk(pair[0].fileno(), bytearray(1 << 16), reader.feed, reader.gets, reader.has_data, MORE)


def test_replies_that_have_come(pair, talk):
    replies = []
    pair[1].sendall(b"+a\r\n:7\r\n-ERR no\r\n")
    assert talk.ask(b"request", replies, 3) is True
    assert replies[:2] == [b"a", 7]
    assert isinstance(replies[2], hiredis.ReplyError)
    assert pair[1].recv(100) == b"request"


def test_what_has_not_come_in_full(pair, talk):
    replies = []
    pair[1].sendall(b"+a\r\n$5\r\nhal")
    assert talk.ask(b"x", replies, 2) is False
    assert replies == [b"a"]


def test_more_than_was_asked_for(pair, talk):
    replies = []
    pair[1].sendall(b"+a\r\n+b\r\n")
    assert talk.ask(b"x", replies, 1) is False
    assert replies == [b"a"]


def test_the_end_of_the_connection(pair, talk):
    replies = []
    pair[1].shutdown(socket.SHUT_WR)
    assert talk.ask(b"x", replies, 1) is None
    assert replies == []


def test_one_that_was_not_made_in_full():
    with pytest.raises(ValueError, match="without a socket"):
        Talk.__new__(Talk).ask(b"x", [], 1)


def test_a_broken_connection(pair, talk):
    pair[1].close()
    with pytest.raises(BrokenPipeError) as caught:
        talk.ask(b"x", [], 1)
    assert caught.value.errno == errno.EPIPE


def test_a_wait_that_the_system_ends(pair, talk):
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 50_000))
    with pytest.raises(BlockingIOError):
        talk.ask(b"x", [], 1)


def test_a_request_that_takes_several_turns(pair, talk):
    """More than the system takes at once: the rest is sent when there is room."""
    request = os.urandom(8 << 20)
    got = bytearray()

    def answer():
        while len(got) < len(request):
            got.extend(pair[1].recv(1 << 16))
        pair[1].sendall(b"+done\r\n")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    replies = []
    assert talk.ask(request, replies, 1) is True
    thread.join(30)
    assert got == request
    assert replies == [b"done"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals at intervals are POSIX")
def test_signals_between(pair, talk):
    """What a handler does is done, and the wait goes on."""
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        threading.Timer(0.3, pair[1].sendall, [b"+late\r\n"]).start()
        replies = []
        assert talk.ask(b"x", replies, 1) is True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert replies == [b"late"]
    assert len(seen) > 2
    assert pair[1].recv(100) == b"x"  # sent once


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals at intervals are POSIX")
def test_a_signal_that_raises(pair, talk):
    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            talk.ask(b"x", [], 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# The same through a Link, which goes on where Talk ends.


def test_a_link_waits_for_the_rest(pair):
    link = Link(pair[0], 5.0)

    def answer():
        pair[1].recv(100)
        for piece in (b"+a\r\n$5\r\nha", b"l", b"lo\r\n:1", b"\r\n"):
            pair[1].sendall(piece)
            time.sleep(0.02)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    assert link.exchange(b"x", 3, time.monotonic() + 5) == [b"a", b"hallo", 1]
    thread.join(30)
    assert link.clean


def test_a_link_keeps_to_its_deadline(pair):
    """One that is nearer than the connection's own timeout, also when part of the answer has come."""
    link = Link(pair[0], 20.0)
    pair[1].sendall(b"+a\r\n")
    begun = time.monotonic()
    with pytest.raises(TierTimeout):
        link.exchange(b"x", 2, begun + 0.2)
    assert time.monotonic() - begun < 10
    assert not link.clean


def test_a_link_whose_answer_stops_half_way(pair):
    """The rest of it is waited for as long as there was time for all, not as long again."""
    link = Link(pair[0], 2.0)
    later = threading.Timer(1.3, pair[1].sendall, [b"+a\r\n"])
    later.start()
    begun = time.monotonic()
    with pytest.raises(TierTimeout):
        link.exchange(b"x", 2, begun + 2.0)
    assert time.monotonic() - begun < 3.2
    later.join(30)


def test_a_link_with_something_left_over_is_not_used_again(pair):
    link = Link(pair[0], 5.0)
    pair[1].sendall(b"+a\r\n+b\r\n")
    assert link.exchange(b"x", 1, time.monotonic() + 5) == [b"a"]
    assert not link.clean


@pytest.mark.parametrize(
    ("used", "said", "kind"), [(1.0, b"", Stale), (0.0, b"", TierUnavailable), (1.0, b"+a\r\n", TierUnavailable)]
)
def test_a_link_that_is_closed(pair, used, said, kind):
    """Only a connection that was idle, and has said nothing, may be replaced without anybody knowing."""
    link = Link(pair[0], 5.0)
    link.used = used
    pair[1].sendall(said)
    pair[1].shutdown(socket.SHUT_WR)
    with pytest.raises(TierUnavailable) as caught:
        link.exchange(b"x", 2, time.monotonic() + 5)
    assert type(caught.value) is kind


def test_a_link_that_says_nonsense(pair):
    link = Link(pair[0], 5.0)
    pair[1].sendall(b"what?\r\n")
    with pytest.raises(TierUnavailable, match="not RESP"):
        link.exchange(b"x", 1, time.monotonic() + 5)
    assert not link.clean


def test_a_link_that_was_given_up_is_not_talked_over():
    """The number of its socket is another one's by then."""
    ours, theirs = socket.socketpair()
    link = Link(ours, 1.0)
    link.close()
    with contextlib.ExitStack() as stack:
        stack.enter_context(theirs)
        others = [stack.enter_context(end) for _ in range(3) for end in socket.socketpair()]
        for end in others:  # what waits there all the same does not wait for ever
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 100_000))
        with pytest.raises(TierUnavailable):
            link.exchange(b"secret", 1, time.monotonic() + 1)
        for end in others:
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(10)
