"""One of several processes that share a level: reads, counts keys up at the origin, tells the cache, takes notes.

The origin is a file of one 64-bit number a key. Writers of a key take turns over all processes by a lock on its bytes.
Run as a script with JSON as its argument; prints JSON: what was written and when that had returned, and the reads that
gave less than the origin had when they began. Times are of time.monotonic, which is one for all processes of a machine.
"""

import fcntl
import json
import mmap
import random
import struct
import sys
import threading
import time

from hotset.tiered import TieredCache
from hotset.tiers import MemoryTier, RedisTier

NUMBER = struct.Struct("q")


class Origin:
    """Numbers in a file, which take a while to arrive."""

    def __init__(self, path):
        self.file = open(path, "r+b")  # noqa: PTH123, SIM115 - as long as the process
        self.map = mmap.mmap(self.file.fileno(), 0)

    def read(self, key):
        return NUMBER.unpack_from(self.map, key * NUMBER.size)[0]

    def load(self, key):
        number = self.read(key)
        time.sleep(random.random() * 0.003)
        return number

    def lock(self, key):
        fcntl.lockf(self.file, fcntl.LOCK_EX, NUMBER.size, key * NUMBER.size)

    def unlock(self, key):
        fcntl.lockf(self.file, fcntl.LOCK_UN, NUMBER.size, key * NUMBER.size)

    def bump(self, key):
        number = self.read(key) + 1
        NUMBER.pack_into(self.map, key * NUMBER.size, number)
        return number


def main(path, url, keys, seconds, seed, stream):
    random.seed(seed)
    origin = Origin(path)
    cache = TieredCache("shared", [MemoryTier(100), RedisTier(url, stream=stream)], load=origin.load, jitter=0)
    below = TieredCache("shared", [RedisTier(url, stream=None)])
    written, suspicious, older_below, errors = [], [], [], []
    reads = [0]
    cache.get(0)
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + seconds

    def read():
        while time.monotonic() < end:
            key = random.randrange(keys)
            newest, began = origin.read(key), time.monotonic()
            number = cache.get(key)
            reads[0] += 1
            if number < newest:
                suspicious.append((key, number, began))
            time.sleep(0.0002)

    def write():
        while time.monotonic() < end:
            key = random.randrange(keys)
            origin.lock(key)
            try:
                number = origin.bump(key)
                if random.random() < 0.5:
                    cache.set(key, number)
                else:
                    cache.invalidate(key)
                written.append((key, number, time.monotonic()))
                there = below.get(key)
                if there is not None and there < number:
                    older_below.append((key, there, number))
            finally:
                origin.unlock(key)
            time.sleep(random.random() * 0.01)

    def noting_errors(work):
        try:
            work()
        except Exception as error:
            errors.append(repr(error))

    threads = [threading.Thread(target=noting_errors, args=(work,)) for work in (read, read, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 20)
    memory = cache.stats().levels[0]
    cache.close()
    below.close()
    notes = {
        "written": written,
        "suspicious": suspicious,
        "older_below": older_below,
        "errors": errors,
        "reads": reads[0],
        "memory_hits": memory.hits,
    }
    print(json.dumps(notes), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
