"""Processes that change the origin by each policy, and kill themselves before or after the n-th step they take.

python writer_killed.py URL FOLDER KIND [holds]

The levels are of a KIND: two servers; a Cluster, where what is sent to each node and each answer is a step, too; one
level of several members, each of which is a database of the server; or a file. After each step, what is left at the
levels is compared with the origin: while names are held, after another process has read, and after the holds have run
out.
"""

import os
import pathlib
import signal
import sqlite3
import sys
import time

from hotset import ClusterTier, RedisTier, TieredCache
from hotset.tiers import DiskTier, GutterTier, ReplicatedTier, ShardedTier
from hotset.tiers.links import Link

LEASE = 0.15
STEPS = "hold", "settle", "write", "remove"
CHANGES = ("through", "invalidate", "around", "delete", "many")
FEWER = ("through", "many", "delete")


class Origin:
    def __init__(self, path):
        self.database = sqlite3.connect(path, isolation_level=None, timeout=10)
        self.database.execute("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value TEXT)")

    def load(self, key):
        row = self.database.execute("SELECT value FROM rows WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def save(self, key, value):
        self.database.execute("REPLACE INTO rows VALUES (?, ?)", (key, value))

    def delete(self, key):
        self.database.execute("DELETE FROM rows WHERE key = ?", (key,))


def members(where):
    """Return what entries are in."""
    url, folder, kind = where
    if kind == "disk":
        return [DiskTier(folder / "disk", max_bytes=1 << 22, lease=LEASE, heartbeat=None)]
    options = {"stream": None, "lease": LEASE, "timeout": 5}
    if kind == "cluster":
        return [ClusterTier(url, **options)]
    return [
        RedisTier(f"{url.rstrip('/0')}/{number}", name=f"level {number}", **options)
        for number in ((1, 2, 3) if kind == "replicated" else (1, 2))
    ]


def tiers(where, *, holds, wrap=lambda tier: tier):
    """Return the levels; each of them, and of its members, is wrapped."""
    made = [wrap(tier) for tier in members(where)]
    combined = {"replicated": ReplicatedTier, "sharded": ShardedTier, "gutter": lambda two: GutterTier(*two)}
    if where[2] in combined:
        made = [wrap(combined[where[2]](made))]
    for tier in made:
        tier.holds = holds and tier.holds
    return made


class Countdown:
    """Kills this process when it has been told so many times."""

    def __init__(self, left):
        self.left = left
        self.counts = True

    def __call__(self):
        self.left -= self.counts
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call):
        def counted(*args, **kwargs):
            self()
            result = call(*args, **kwargs)
            self()
            return result

        return counted


def child(where, path, name, change, step, *, holds):
    """Change the origin by the cache, up to a step; another process's reader meddles in between."""
    die = Countdown(step)
    origin = Origin(path)
    reader = TieredCache(name, tiers(where, holds=holds), load=origin.load)

    def meddling(call):
        """Have somebody read the old value at the last moment, and store it if it can be."""

        def called(*args):
            die.counts = False
            reader.get("key")
            die.counts = True
            die()
            call(*args)
            die()

        return called

    def counting(tier):
        for verb in STEPS:
            setattr(tier, verb, die.around(getattr(tier, verb)))
        return tier

    mine = tiers(where, holds=holds, wrap=counting)
    if where[2] == "cluster":
        Link.exchange = die.around(Link.exchange)
    cache = TieredCache(name, mine, save=meddling(origin.save), delete=meddling(origin.delete), jitter=0)
    if change == "delete":
        cache.delete("key")
    elif change == "many":
        cache.set_many({"other": "new", "key": "new"})
    else:
        cache.set("key", "new", write=change)


def older(where, path, name):
    """Return the levels, or members, that have something alive that the origin has not."""
    there = Origin(path).load("key")
    found = []
    for tier in members(where):
        tier.open(name, Silent())
        (seen,) = tier.read(["key"]).found
        if seen.entry is not None and seen.entry.life > 0 and seen.entry.value != there:
            found.append(tier.name)
        tier.close()
    return found


class Silent:
    def own_version(self, _name):
        return None


def main(url, folder, kind, word=""):
    holds = word == "holds"
    where = url, pathlib.Path(folder), kind
    path = where[1] / f"origin{word}"
    steps = bad = 0
    for change in CHANGES if kind in {"servers", "cluster"} else FEWER:
        step, status = 0, 1
        while status:
            step += 1
            name = f"killed-{word}-{change}-{step}-{os.getpid()}"
            Origin(path).save("key", "old")
            with TieredCache(name, tiers(where, holds=holds), load=Origin(path).load) as warm:
                warm.get("key")
            pid = os.fork()
            if not pid:
                try:
                    child(where, path, name, change, step, holds=holds)
                except BaseException as error:
                    os.write(2, f"{change} {step}: {error!r}\n".encode())
                    os._exit(1)
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            if status and os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                raise SystemExit(f"{change} {step} ended with status {status}")
            looks = [older(where, path, name)]
            with TieredCache(name, tiers(where, holds=holds), load=Origin(path).load) as next_one:
                if not looks[0] and next_one.get("key") != Origin(path).load("key"):
                    looks.append(["a reader"])
                looks.append(older(where, path, name))
                if step % 4 == 0:
                    time.sleep(1.2 * LEASE)
                    next_one.get("key")
                    looks.append(older(where, path, name))
            if any(looks):
                bad += 1
                print(change, step, looks)
            steps += 1
    print("older:", bad)
    print("steps:", steps)


if __name__ == "__main__":
    main(*sys.argv[1:])
