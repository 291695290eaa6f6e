"""The stream of changes: what a real server and real processes are heard to do, and when nobody may be believed."""

import asyncio
import contextlib
import gc
import logging
import os
import random
import threading
import time
import weakref

import hiredis
import pytest

from hotset.testing.driver import RecordingListener, opened
from hotset.tiers.contract import CLEAR, Entry
from hotset.tiers.keys import Keys
from hotset.tiers.redis import RedisTier
from hotset.tiers.scripts import INVALIDATE
from hotset.tiers.servertime import ServerTime
from hotset.tiers.stream import MARK_MS, OwnChanges, Stream

HEARTBEAT = 0.1
KEYS = Keys("test")


class Listener(RecordingListener):
    """A listener that also keeps the order of what it is told."""

    def __init__(self):
        super().__init__()
        self.order = []

    def changed(self, names):
        self.order += [("changed", name) for name in names]
        super().changed(names)

    def invalidated(self, tags, epoch):
        self.order += [("invalidated", tag) for tag in tags]
        super().invalidated(tags, epoch)

    def alive(self, since):
        super().alive(since)
        self.order.append(("alive", since))

    def lost(self):
        super().lost()
        self.order.append(("lost", None))


@pytest.fixture(params=["tracking", "pubsub"])
def mode(request):
    return request.param


@pytest.fixture
def listen(eventually):
    """Open tiers that listen, and wait until they do."""
    with contextlib.ExitStack() as stack:

        def factory(url, *, mode="tracking", namespace="test", wait=True, **options):
            tier = RedisTier(
                url, stream=mode, **{"heartbeat": HEARTBEAT, "timeout": 1, "connect_timeout": 1, **options}
            )
            listener = Listener()
            stack.callback(tier.close)
            tier.open(namespace, listener)
            if wait:
                eventually(lambda: listener.moments)
            return tier, listener

        yield factory


def heard(eventually, listener):
    """Wait until all that was changed before this call has been told."""
    now = time.monotonic()
    eventually(lambda: listener.moments and listener.moments[-1] > now)


def fresh(tier, value="value", **fields):
    return Entry(value, os.urandom(12), 100, 100, **{"epoch": tier.read([]).epoch, **fields})


# Foreign clients


@pytest.mark.parametrize(
    "command",
    [
        ("SET", KEYS.entry("a"), "x"),
        ("DEL", KEYS.entry("a")),
        ("UNLINK", KEYS.entry("a")),
        ("APPEND", KEYS.entry("a"), "x"),
        ("RENAME", KEYS.entry("a"), "elsewhere"),
        ("PEXPIRE", KEYS.entry("a"), "20"),
        ("SETRANGE", KEYS.entry("a"), "3", "x"),
        ("COPY", KEYS.entry("b"), KEYS.entry("a"), "REPLACE"),
    ],
    ids=lambda command: command[0],
)
def test_a_foreign_client_is_heard(server, listen, eventually, command):
    tier, listener = listen(server.url)
    tier.write([(name, fresh(tier)) for name in "ab"])
    heard(eventually, listener)
    listener.names.clear()
    server.command(*command)
    eventually(lambda: "a" in listener.names)
    assert "b" not in listener.names


def test_what_goes_by_itself_is_heard(server, listen, eventually):
    tier, listener = listen(server.url)
    entry = fresh(tier)
    entry.keep = entry.life = 0.1
    listener.written["a"] = entry.version
    tier.write([("a", entry)])
    eventually(lambda: "a" in listener.names)
    assert tier.read(["a"]).found[0].entry is None


def test_eviction_is_heard(make_server, listen, eventually):
    server = make_server(config={"maxmemory-policy": "allkeys-random"})
    tier, listener = listen(server.url)
    entries = {f"name {number}": fresh(tier, "x" * 1000) for number in range(200)}
    listener.written = {name: entry.version for name, entry in entries.items()}
    tier.write(list(entries.items()))
    heard(eventually, listener)
    assert not listener.names
    used = int(server.command("INFO", "memory").split(b"used_memory:")[1].split()[0])
    with server.configured(maxmemory=used - 100_000):
        server.command("SET", "another", "x")
        heard(eventually, listener)
    left = {
        name for name, found in zip(entries, tier.read(list(entries)).found, strict=True) if found.entry is not None
    }
    # Unless it was the state of the namespace that was evicted, which ends everything.
    assert (CLEAR in dict(listener.tags) and not left) or set(listener.names) == set(entries) - left != set()


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
def test_a_flush_is_heard(server, listen, eventually, mode, command):
    tier, listener = listen(server.url, mode=mode)
    tier.write([("a", fresh(tier))])
    epoch = tier.read([]).epoch
    server.command(command)
    eventually(lambda: CLEAR in dict(listener.tags))
    assert dict(listener.tags)[CLEAR] > epoch
    heard(eventually, listener)
    assert [tag for tag, _ in listener.tags] == [CLEAR]


def test_a_state_that_is_lost_is_heard(server, listen, eventually, mode):
    tier, listener = listen(server.url, mode=mode)
    tier.read([])
    server.command("DEL", KEYS.state)
    eventually(lambda: CLEAR in dict(listener.tags))


def test_other_namespaces_are_not_heard(server, listen, eventually, mode):
    _, listener = listen(server.url, mode=mode)
    others = [listen(server.url, mode=mode, namespace=name)[0] for name in ("test2", "test:k", "tes", "{test}")]
    for other in others:
        other.write([("a", fresh(other))])
        other.remove(["a"])
        other.invalidate(["t", CLEAR])
    heard(eventually, listener)
    assert not listener.names
    assert not listener.tags


# Oneself and other processes


def test_own_changes_are_not_told(server, listen, eventually, mode):
    tier, listener = listen(server.url, mode=mode)
    for turn in range(10):
        entry = fresh(tier, turn, tags=("t",))
        listener.written["a"] = entry.version
        if turn % 2:
            tier.write([("a", entry)])
        else:
            found = tier.lease(["a"]).found[0]
            assert tier.fill([("a", entry, found.fence)]) == [True]
    tier.remove(["a"], expire=True)
    tier.remove(["a"])
    tier.lease(["leased", "too"])
    tier.invalidate(["t"])
    tier.invalidate(["t", CLEAR])
    heard(eventually, listener)
    heard(eventually, listener)
    assert listener.names == []
    assert listener.tags == []


def test_what_goes_after_an_own_removal_is_told(server, listen, eventually):
    """Whoever removes it: another process, a person without a mark, or time; also if the server can keep no marks."""
    tier, listener = listen(server.url)
    other, _ = listen(server.url)
    listener.written["a"] = b""

    def written_by_another():
        other.write([("a", fresh(other))])
        eventually(lambda: listener.names == ["a"])
        listener.names.clear()

    def by_another():
        written_by_another()
        other.remove(["a"])

    def by_hand():
        found = tier.lease(["a"]).found[0]
        assert tier.fill([("a", fresh(tier), found.fence)]) == [True]
        server.command("DEL", KEYS.entry("a"))

    def by_another_without_memory():
        written_by_another()
        server.command("CONFIG", "SET", "maxmemory", "1")
        other.remove(["a"])
        server.command("CONFIG", "SET", "maxmemory", "0")

    for goes in (by_another, by_hand, by_another_without_memory):
        tier.write([("a", fresh(tier))])
        tier.remove(["a"])
        heard(eventually, listener)
        assert listener.names == [], goes
        goes()
        heard(eventually, listener)
        eventually(lambda: "a" in listener.names)
        tier.remove(["a"])
        heard(eventually, listener)
        listener.names.clear()


def test_a_miss_of_others_is_not_told(server, listen, eventually):
    """It changes nothing; only the fill that may follow does."""
    _, listener = listen(server.url)
    other, _ = listen(server.url)
    found = other.lease(["a"]).found[0]
    heard(eventually, listener)
    assert listener.names == []
    other.fill([("a", fresh(other), found.fence)])
    eventually(lambda: listener.names == ["a"])


def test_a_fill_of_what_was_read_is_published(server, listen, eventually):
    _, listener = listen(server.url, mode="pubsub")
    other, _ = listen(server.url, mode="pubsub")
    other.write([("a", fresh(other))])
    eventually(lambda: listener.names == ["a"])
    fence = other.read(["a"]).found[0].fence
    assert other.fill([("a", fresh(other), fence), ("a", fresh(other), fence)]) == [True, False]
    assert other.touch("a", 10, 10)
    heard(eventually, listener)
    assert listener.names == ["a"] * 3


def test_changes_by_others_right_after_own_ones(server, listen, eventually, mode):
    """Never swallowed, whichever comes first: in the end what is told, or written by oneself, is what is there."""
    tier, listener = listen(server.url, mode=mode)
    other, _ = listen(server.url, mode=mode)
    rng = random.Random(7)
    for turn in range(100):
        own = fresh(tier, ("own", turn))
        listener.names.clear()
        listener.written["a"] = own.version
        theirs = fresh(other, ("theirs", turn))
        writes = [lambda: tier.write([("a", own)]), lambda: other.write([("a", theirs)])]
        rng.shuffle(writes)
        threads = [threading.Thread(target=write) for write in writes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        last = tier.read(["a"]).found[0].entry.value
        if last[0] == "theirs":
            eventually(lambda: "a" in listener.names)
    heard(eventually, listener)


def test_every_invalidation_by_others_is_told_once(server, listen, eventually, mode):
    tier, listener = listen(server.url, mode=mode)
    other, _ = listen(server.url, mode=mode)
    wanted = []
    for turn in range(20):
        tags = [f"tag {turn}", "common"] if turn % 5 else [CLEAR]
        epoch = other.invalidate(tags)
        wanted += [(tag, epoch) for tag in tags]
        tier.invalidate(["mine", f"tag {turn}"])
        heard(eventually, listener)
    if mode == "pubsub":
        assert listener.tags == wanted
    else:  # a bell that rang twice before it was looked at rang for the later one, which was one's own
        assert set(listener.tags) <= set(wanted)
        assert set(wanted) - set(listener.tags) <= {pair for pair in wanted if pair[0].startswith("tag ")}
        assert len(set(listener.tags)) == len(listener.tags)


def test_a_bell_that_falls_silent_is_no_news(server, listen, eventually, monkeypatch):
    monkeypatch.setattr("hotset.tiers.redis.BELL_MS", 50)
    _, listener = listen(server.url)
    other, _ = listen(server.url)
    epoch = other.invalidate(["t"])
    eventually(lambda: listener.tags == [("t", epoch)])
    eventually(lambda: not server.command("EXISTS", KEYS.bell("t")))
    heard(eventually, listener)
    assert listener.tags == [("t", epoch)]
    # One that rang before the stream began, too.
    other.invalidate(["early"])
    _, late = listen(server.url)
    eventually(lambda: not server.command("EXISTS", KEYS.bell("early")))
    heard(eventually, late)
    assert late.tags == []


def test_a_bell_that_is_gone_before_it_was_looked_at(server, listen, eventually):
    _, listener = listen(server.url)
    silenced = INVALIDATE.source.replace("return finish()", "redis.call('DEL', KEYS[3])\nreturn finish()")
    bell = KEYS.bell("t")
    state = server.command("EVAL", silenced, 3, KEYS.state, KEYS.tags, bell, "somebody", 0, 1000, "", "", "t")
    eventually(lambda: listener.tags == [("t", int(state.split()[0]))])


def test_a_bell_that_is_touched_does_not_ring_again(server, listen, eventually):
    _, listener = listen(server.url)
    other, _ = listen(server.url)
    epoch = other.invalidate(["t"])
    eventually(lambda: listener.tags)
    server.command("PERSIST", KEYS.bell("t"))
    heard(eventually, listener)
    assert listener.tags == [("t", epoch)]


class Script:
    """A connection on which it is known what comes when: the order of a real server's is not to be had on demand."""

    def __init__(self, listener):
        self.listener = listener
        self.asked = []
        self.coming = []
        self.closed = False

    def send(self, request):
        reader = hiredis.Reader()
        reader.feed(request)
        while command := reader.gets():
            self.asked.append([bytes(word) for word in command])

    def receive(self, wait):
        if self.coming:
            return self.coming.pop(0)
        time.sleep(0.005)
        return []

    def interrupt(self):
        pass

    def close(self):
        self.closed = True


def pushed(*keys):
    return hiredis.PushNotification([b"invalidate", [key.encode() for key in keys]])


@pytest.fixture
def scripted(eventually):
    """A stream over such a connection, established, that has asked for the time once."""
    listener = Listener()
    link = Script(listener)
    stream = Stream(
        lambda: link,
        KEYS,
        ServerTime(),
        listener,
        OwnChanges(),
        mode="tracking",
        sender="me",
        heartbeat=30,
        patience=30,
    )
    link.coming.append([b"OK", [b"master", 0, []], b"1 1 1 -"])
    stream.start()
    eventually(lambda: link.asked and link.asked[-1] == [b"TIME"])
    listener.order.clear()
    yield link, listener
    stream.stop()


TIME = [b"1700000000", b"0"]
ROLE = [b"master", 0, []]


def test_a_report_comes_after_what_was_pushed_with_its_answer(scripted, eventually):
    link, listener = scripted
    link.coming.append([TIME])
    eventually(lambda: [b"ROLE"] in link.asked[-2:])
    assert listener.order == [], "one answer is not enough: changes of the same turn come after it"
    link.coming.append([pushed(KEYS.entry("a")), ROLE, TIME, pushed(KEYS.entry("b"))])
    eventually(lambda: len(listener.order) == 3)
    assert [what for what, _ in listener.order] == ["changed", "alive", "changed"]


def test_a_report_waits_for_what_is_asked_about_changes_before_it(scripted, eventually):
    link, listener = scripted
    listener.written["own"] = bytes(12)
    link.coming.append([TIME])
    eventually(lambda: [b"ROLE"] in link.asked[-2:])
    link.coming.append([pushed(KEYS.entry("own"), KEYS.bell("t")), ROLE, TIME])
    eventually(lambda: [words[0] for words in link.asked[-4:]] == [b"TIME", b"GET", b"HGET", b"EVAL"])
    time.sleep(0.02)
    assert listener.order == []
    link.coming.append([b"7 somebody", None])
    eventually(lambda: listener.order)
    assert [what for what, _ in listener.order] == ["invalidated"]
    link.coming.append([[b"somebody else"]])
    eventually(lambda: len(listener.order) == 3)
    assert [what for what, _ in listener.order] == ["invalidated", "changed", "alive"]


def test_what_is_told_as_alive_has_been_told(server, listen, eventually, mode):
    """For every report: whatever was changed before its moment has been told before it."""
    _, listener = listen(server.url, mode=mode, heartbeat=0.01)
    other, _ = listen(server.url, mode=mode)
    for number in range(50):
        listener.written[f"name {number}"] = os.urandom(12)  # so that each is asked about
    done = {}
    deadline = time.monotonic() + 1.0
    turn = 0
    while time.monotonic() < deadline:
        name = f"name {turn % 100}" if turn % 3 else f"unique {turn}"
        other.write([(name, fresh(other))])
        done[name, turn] = time.monotonic()
        turn += 1
    heard(eventually, listener)
    order = list(listener.order)
    told = {}
    for place, (what, name) in enumerate(order):
        if what == "changed":
            told.setdefault(name, []).append(place)
    reports = [(since, place) for place, (what, since) in enumerate(order) if what == "alive"]
    assert len(reports) > 10
    for (name, _), moment in done.items():
        if not name.startswith("unique"):
            continue
        assert len(told[name]) == 1
        first = next(place for since, place in reports if since > moment)
        assert told[name][0] < first


def test_nonsense_on_the_channel_is_passed_over(server, listen, eventually):
    _, listener = listen(server.url, mode="pubsub")
    for text in ("", "x", "a b", "a names", "a 1 names []", "one a names []", b"\xff\xff \xff \xff \xff"):
        server.command("PUBLISH", KEYS.channel, text)
    server.command("PUBLISH", KEYS.channel, '1 a names ["good"]')
    eventually(lambda: listener.names == ["good"])
    assert listener.losses == 1
    assert listener.tags == []


@pytest.mark.parametrize(
    "text",
    [
        "1 a names 7",
        "1 a names [",
        '1 a tags ["t"]',
        '1 a tags ["t"] x',
        "1 a",
        "1 a words []",
        "2 a names []",
        "17 anything",
        "0",
    ],
)
def test_what_may_have_told_of_a_change_is_a_loss(server, listen, eventually, text):
    """A message of another format, or one that is cut off."""
    _, listener = listen(server.url, mode="pubsub")
    assert listener.losses == 1
    server.command("PUBLISH", KEYS.channel, text)
    server.command("PUBLISH", KEYS.channel, '1 a names ["good"]')
    eventually(lambda: listener.names == ["good"])
    assert listener.losses == 2
    assert listener.tags == []
    alive = len(listener.order)
    eventually(lambda: "alive" in str(listener.order[alive:]))


# When it is lost


def test_nothing_is_believed_before_the_server_answers(make_server, listen, eventually):
    server = make_server(start=False)
    _, listener = listen(server.url, wait=False)
    time.sleep(0.2)
    assert listener.order == []
    server.start()
    eventually(lambda: listener.moments)
    assert listener.order[0] == ("lost", None)


def test_a_cut_stream_is_lost_and_comes_back(server, make_proxy, listen, eventually, mode):
    proxy = make_proxy(server.address)
    _, listener = listen(proxy.url, mode=mode)
    other, _ = listen(server.url, mode=mode)
    losses = listener.losses
    proxy.refuse()
    proxy.cut()
    eventually(lambda: listener.losses > losses)
    told = len(listener.moments)
    other.write([("missed", fresh(other))])
    time.sleep(0.2)
    assert len(listener.moments) == told
    proxy.accept()
    healed = time.monotonic()
    eventually(lambda: len(listener.moments) > told)
    # Once more at the beginning: what came into the cache before the server listened to changes must not be trusted.
    assert listener.order[-2:] == [("lost", None), ("alive", listener.moments[-1])] or listener.moments[-1] > healed
    assert listener.moments[told] >= healed - 0.001
    other.write([("heard", fresh(other))])
    eventually(lambda: "heard" in listener.names)


def test_a_silent_server_is_lost(make_server, listen, eventually, mode):
    server = make_server()
    _, listener = listen(server.url, mode=mode, timeout=0.2, connect_timeout=0.2)
    losses = listener.losses
    with server.hung():
        begun = time.monotonic()
        eventually(lambda: listener.losses > losses)
        assert time.monotonic() - begun < 2.0
        assert listener.moments[-1] < begun
        told = len(listener.moments)
        time.sleep(0.3)
        assert len(listener.moments) == told
    eventually(lambda: len(listener.moments) > told)


def test_a_network_that_swallows_what_the_server_says_is_lost(server, make_proxy, listen, eventually):
    proxy = make_proxy(server.address)
    _, listener = listen(proxy.url, timeout=0.2, connect_timeout=0.2)
    losses = listener.losses
    proxy.stall("down")
    eventually(lambda: listener.losses > losses)
    proxy.heal()
    heard(eventually, listener)


def test_a_server_that_is_restarted(make_server, listen, eventually, mode):
    server = make_server()
    _, listener = listen(server.url, mode=mode)
    for _ in range(2):
        losses, told = listener.losses, len(listener.moments)
        server.kill()
        eventually(lambda: listener.losses > losses)
        server.start()
        eventually(lambda: len(listener.moments) > told)
        heard(eventually, listener)
    server.command("SET", KEYS.entry("a"), "x")
    if mode == "tracking":
        eventually(lambda: "a" in listener.names)


def test_noise_on_the_wire(server, make_proxy, listen, eventually):
    proxy = make_proxy(server.address)
    _, listener = listen(proxy.url)
    clear, _ = listen(server.url)
    proxy.corrupt(0.01)
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        clear.write([("a", fresh(clear))])
        time.sleep(0.01)
    assert listener.losses > 1
    proxy.heal()
    proxy.cut()
    listener.names.clear()
    heard(eventually, listener)
    clear.write([("a", fresh(clear))])
    eventually(lambda: "a" in listener.names)


def test_a_server_that_is_demoted_is_lost(make_server, listen, eventually, mode):
    """It would tell of changes only when it has heard of them itself."""
    server = make_server()
    _, listener = listen(server.url, mode=mode)
    losses = listener.losses
    with server.read_only():
        eventually(lambda: listener.losses > losses)
    heard(eventually, listener)


def test_a_client_that_may_not_track(make_server, listen, caplog):
    server = make_server()
    server.command("ACL", "SETUSER", "me", "on", ">secret", "~*", "+@all", "-client|tracking", "resetchannels")
    for mode in ("tracking", "pubsub"):
        tier, listener = listen(f"redis://me:secret@127.0.0.1:{server.port}", mode=mode, wait=False)
        time.sleep(0.3)
        assert not listener.moments
        tier.read(["a"])


def test_tracking_needs_no_channels(make_server, listen, eventually):
    server = make_server()
    server.command("ACL", "SETUSER", "me", "on", ">secret", "~*", "+@all", "resetchannels")
    url = f"redis://me:secret@127.0.0.1:{server.port}"
    _, listener = listen(url)
    other, _ = listen(url)
    epoch = other.invalidate(["t"])
    eventually(lambda: listener.tags == [("t", epoch)])


def test_a_listener_that_raises(server, listen, eventually, caplog, mode):
    """The fault is logged; what it was told is not known to have arrived, so the stream begins anew."""
    _, listener = listen(server.url, mode=mode)
    other, _ = listen(server.url, mode=mode)
    losses = listener.losses

    def changed(names):
        del listener.changed
        raise RuntimeError("a fault")

    listener.changed = changed
    with caplog.at_level(logging.ERROR):
        other.write([("a", fresh(other))])
        eventually(lambda: listener.losses > losses + 1)
    assert "a fault" in caplog.text
    other.write([("b", fresh(other))])
    eventually(lambda: "b" in listener.names)


# The end


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "hotset-stream"]


def test_the_thread_ends_with_the_tier(make_server, listen, eventually, mode):
    server = make_server()
    before = len(threads())
    tier, _ = listen(server.url, mode=mode)
    begun = time.monotonic()
    tier.close()
    assert time.monotonic() - begun < 1.5
    assert len(threads()) == before
    tier, _ = listen(server.url, mode=mode)
    with server.hung():
        tier.close()
        eventually(lambda: len(threads()) == before)
    server.kill()
    tier, _ = listen(server.url, mode=mode, wait=False)
    time.sleep(0.2)
    tier.close()
    eventually(lambda: len(threads()) == before)


def test_the_thread_ends_when_nobody_holds_the_cache(server, eventually):
    before = len(threads())
    tier = RedisTier(server.url, heartbeat=HEARTBEAT)
    listener = Listener()
    tier.open("test", listener)
    deadline = time.monotonic() + 10
    while not listener.moments:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    tier.read(["a"])
    # A cache and its tier hold each other.
    listener.tier = tier
    held = weakref.ref(listener)
    del tier, listener
    gc.collect()
    eventually(lambda: held() is None and len(threads()) == before)


def test_a_listener_may_close_the_tier(server, listen, eventually):
    tier, listener = listen(server.url)
    other, _ = listen(server.url)
    listener.changed = lambda names: tier.close()
    before = len(threads())
    other.write([("a", fresh(other))])
    eventually(lambda: len(threads()) == before - 1)


def test_by_the_other_face_it_is_the_same_stream(server, eventually):
    tier = RedisTier(server.url, heartbeat=HEARTBEAT)
    with asyncio.Runner() as runner, opened(tier, "test", runner) as driver:
        eventually(lambda: driver.listener.moments)
        server.command("SET", KEYS.entry("a"), "x")
        eventually(lambda: "a" in driver.listener.names)
    assert not threads()


# Marks of removals


def test_the_mark_of_a_removal_goes_by_itself(server, listen):
    tier, _ = listen(server.url)
    names = ["a", "{b}", "c}"]
    tier.write([(name, fresh(tier)) for name in names])
    tier.remove(names)
    for name in names:
        assert 0 < server.command("PTTL", KEYS.removal(name)) <= MARK_MS


def test_the_mark_of_a_removal_does_not_outlive_it(server, listen):
    """Else the next one who removes would be taken for this process."""
    tier, _ = listen(server.url)

    def filled():
        found = tier.lease(["a"]).found[0]
        assert tier.fill([("a", fresh(tier), found.fence)]) == [True]

    for comes in (lambda: tier.write([("a", fresh(tier))]), filled):
        comes()
        assert server.command("EXISTS", KEYS.removal("a")) == 0
        tier.remove(["a"])
        assert server.command("EXISTS", KEYS.removal("a")) == 1
        comes()
        assert server.command("EXISTS", KEYS.removal("a"), KEYS.lease("a")) == 0


def test_there_are_marks_only_where_they_are_looked_at(server, listen):
    for mode in ("pubsub", None):
        tier, _ = listen(server.url, mode=mode, wait=mode is not None)
        tier.write([("a", fresh(tier))])
        tier.remove(["a"])
        assert server.command("EXISTS", KEYS.removal("a")) == 0


@pytest.mark.parametrize("by", ["write", "fill"])
def test_what_is_removed_and_comes_back_at_once_is_not_told(server, listen, eventually, by):
    """At whatever moment the stream looks at what there is."""
    tier, listener = listen(server.url)
    names = [f"name {number}" for number in range(200)]
    for turn, name in enumerate(names):
        entry = fresh(tier)
        listener.written[name] = entry.version
        tier.write([(name, entry)])
        time.sleep(turn % 7 * 0.0002)
        listener.written[name] = b""
        tier.remove([name])
        time.sleep(turn % 5 * 0.0002)
        entry = fresh(tier)
        listener.written[name] = entry.version
        if by == "write":
            tier.write([(name, entry)])
        else:
            found = tier.lease([name]).found[0]
            assert tier.fill([(name, entry, found.fence)]) == [True]
    heard(eventually, listener)
    heard(eventually, listener)
    assert listener.names == []
