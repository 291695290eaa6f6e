"""What the server does in one step: scripts in Lua, each O(1) a name or tag.

The state of a namespace is one string, "epoch cleared floor who". `epoch` counts invalidations; an entry that is older
than `cleared` is dead, and so is one with tags that is older than `floor`; `who` cleared last. Beside it is the hash of
the epochs in which tags were invalidated, stamped with the floor: a tag that is not in it was not invalidated since.

The server may lose either, by FLUSHALL or eviction. Without the state, epochs begin anew at the server's time in
microseconds, which is more than it can have counted: all that was there before is dead. Without the hash, or when that
grows beyond `MOST_TAGS`, the floor is raised to the present epoch: all older entries with tags are dead.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

__all__ = [
    "CHANGED",
    "EXPIRE",
    "FILL",
    "FLOOR_FIELD",
    "FREE",
    "HELD",
    "HOLD",
    "INVALIDATE",
    "LEASE",
    "REMOVE",
    "RESUME",
    "SCRIPTS",
    "SETTLE",
    "STATE",
    "TAG_FIELD",
    "Script",
    "State",
]

MOST_TAGS: Final = 100_000
TAG_FIELD: Final = "tag:"  # before a tag in the hash, where "floor" is the stamp
FLOOR_FIELD: Final = "floor"


class Script(NamedTuple):
    """A script and the name that the server has for it."""

    source: str
    sha: str


class State(NamedTuple):
    """The state of a namespace."""

    epoch: int
    cleared: int
    floor: int
    who: str

    @classmethod
    def parse(cls, text: bytes | None) -> State | None:
        """Return the state, or None if this is not one."""
        try:
            epoch, cleared, floor, who = (text or b"").decode("ascii").split()
            state = cls(int(epoch), int(cleared), int(floor), who)
        except ValueError:
            return None
        return state if state.epoch >= 0 and state.cleared >= 0 else None


def _script(source: str) -> Script:
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


# KEYS: state, tags. All numbers stay below 2^53, where Lua's are exact.
_STATE: Final = """
local epoch, cleared, floor, who
local known = redis.call('GET', KEYS[1])
if known then
    epoch, cleared, floor, who = string.match(known, '^(%d+) (%d+) (%d+) (%S+)$')
end
if epoch then
    epoch, cleared, floor = tonumber(epoch), tonumber(cleared), tonumber(floor)
else
    local time = redis.call('TIME')
    epoch = time[1] * 1000000 + time[2]
    cleared, floor, who = epoch, -1, '-'
end
local function text(number)
    return string.format('%.0f', number)
end
local function forget()
    floor = epoch
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[2], 'floor', text(floor))
end
local function finish()
    local state = text(epoch) .. ' ' .. text(cleared) .. ' ' .. text(floor) .. ' ' .. who
    if state ~= known then
        redis.call('SET', KEYS[1], state)
    end
    return state
end
"""

# Returns the state, made or mended if need be.
STATE: Final = _script(
    _STATE
    + """
if redis.call('HGET', KEYS[2], 'floor') ~= text(floor) then
    forget()
end
return finish()
"""
)

# KEYS: state, tags, bells. ARGV: who, whether everything is invalidated (1 or 0), milliseconds that bells ring,
# channel and message ('' for none; the epoch is put behind it), tags. Returns the state.
INVALIDATE: Final = _script(
    _STATE
    + f"""
epoch = epoch + 1
if ARGV[2] == '1' then
    cleared, who = epoch, ARGV[1]
    forget()
elseif redis.call('HGET', KEYS[2], 'floor') ~= text(floor) or redis.call('HLEN', KEYS[2]) > {MOST_TAGS} then
    forget()
end
for i = 6, #ARGV do
    redis.call('HSET', KEYS[2], '{TAG_FIELD}' .. ARGV[i], text(epoch))
end
for i = 3, #KEYS do
    redis.call('SET', KEYS[i], text(epoch) .. ' ' .. ARGV[1], 'PX', ARGV[3])
end
if ARGV[4] ~= '' then
    redis.call('PUBLISH', ARGV[4], ARGV[5] .. text(epoch))
end
return finish()
"""
)

# KEYS: state, tags, owner. ARGV: the node that has the state by now, the latest epoch and the latest CLEAR that the
# caller knows of, and the node that has handed the state over in full ('' if none has). What the node before it
# acknowledged may else not have come here: the first who asks counts the epoch up beyond all that can have been, and
# has all older entries with tags die; whoever knows of a later CLEAR says so. Returns the state.
RESUME: Final = _script(
    _STATE
    + """
local before = redis.call('GET', KEYS[3])
if before ~= ARGV[1] then
    redis.call('SET', KEYS[3], ARGV[1])
end
if (before ~= ARGV[1] and before ~= ARGV[4]) or epoch < tonumber(ARGV[2]) then
    local time = redis.call('TIME')
    epoch = math.max(epoch, tonumber(ARGV[2]), time[1] * 1000000 + time[2]) + 1
    forget()
end
if cleared < tonumber(ARGV[3]) then
    cleared, who = tonumber(ARGV[3]), '-'
end
return finish()
"""
)

# KEYS: entry, lease. ARGV: lease, milliseconds. Returns the entry; or nothing, and what was in the place of the lease
# already. An empty string is no entry, and no fence.
LEASE: Final = _script("""
local there = redis.call('GET', KEYS[1])
if there and there ~= '' then
    return {there}
end
return {false, redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2], 'NX', 'GET')}
""")

# What holds a name is in the lease's place, "held count token": it is no fence, and nobody gets a lease besides. Of
# several who hold a name at once nobody knows whose change is the last one, so that the token is nobody's from then on,
# until all of them have settled.
HELD: Final = b"held "

# KEYS: entry, lease, mark of a removal. ARGV: fence, encoded entry, milliseconds (0 for ever), channel and message
# ('' for none). Returns whether the fence held, and nobody holds the name.
FILL: Final = _script("""
local there = redis.call('GETRANGE', KEYS[1], 0, 15)
if there == '' then
    there = redis.call('GET', KEYS[2])
elseif redis.call('GETRANGE', KEYS[2], 0, 4) == 'held ' then
    return 0
end
if there ~= ARGV[1] then
    return 0
end
if ARGV[3] == '0' then
    redis.call('SET', KEYS[1], ARGV[2])
else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
redis.call('DEL', KEYS[2], KEYS[3])
if ARGV[4] ~= '' then
    redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return 1
""")

_FREE: Final = """
local function free(place)
    if redis.call('GETRANGE', place, 0, 4) ~= 'held ' then
        redis.call('DEL', place)
    end
end
"""

# KEYS: leases, marks of removals. Drops them, but for holds.
FREE: Final = _script(
    _FREE
    + """
for i = 1, #KEYS do
    free(KEYS[i])
end
return 1
"""
)

# KEYS: entries, and as many leases. Drops them, but for holds.
REMOVE: Final = _script(
    _FREE
    + """
local entries = #KEYS / 2
for i = 1, entries do
    free(KEYS[entries + i])
    redis.call('UNLINK', KEYS[i])
end
return 1
"""
)

# Ends the life of an entry, or drops it where there is nothing to end it by; what is no entry is dropped. Wants how an
# entry begins, where its kind is, and the bytes that end its life ('' to drop it).
_LEAVE: Final = """
local function leave(place, signature, at, ending)
    if ending == '' or redis.call('STRLEN', place) <= 16
        or redis.call('GETRANGE', place, 0, #signature - 1) ~= signature then
        return redis.call('DEL', place)
    end
    redis.call('SETRANGE', place, at, ending)
    return 1
end
"""

# KEYS: entry, lease. ARGV: see _LEAVE.
EXPIRE: Final = _script(
    _FREE
    + _LEAVE
    + """
free(KEYS[2])
return leave(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
"""
)

# KEYS: entry, lease. ARGV: token, milliseconds; see _LEAVE. What is there goes first, for which there is memory always.
HOLD: Final = _script(
    _LEAVE
    + """
leave(KEYS[1], ARGV[3], ARGV[4], ARGV[5])
local held = redis.call('GET', KEYS[2])
local count = held and tonumber(string.match(held, '^held (%d+) '))
if count then
    held = string.format('held %d ', count + 1)
else
    redis.call('DEL', KEYS[2])
    held = 'held 1 ' .. ARGV[1]
end
redis.call('SET', KEYS[2], held, 'PX', ARGV[2])
return 1
"""
)

# KEYS: entry, lease, mark of a removal. ARGV: token, encoded entry ('' for none), milliseconds to keep it (0 for ever),
# channel and message ('' for none); see _LEAVE. Returns whether the name was held by this token alone; else nothing is
# left there.
SETTLE: Final = _script(
    _LEAVE
    + """
local held = redis.call('GET', KEYS[2])
local mine = held == 'held 1 ' .. ARGV[1]
local left = 0
if held and not mine then
    local count, token = string.match(held, '^held (%d+) (.*)$')
    left = (tonumber(count) or 0) - (token == '' and 1 or 0)
end
if left > 0 then
    redis.call('SET', KEYS[2], string.format('held %d ', left), 'KEEPTTL')
else
    redis.call('DEL', KEYS[2])
end
if not mine then
    redis.call('DEL', KEYS[1])
elseif ARGV[2] == '' then
    leave(KEYS[1], ARGV[6], ARGV[7], ARGV[8])
else
    if ARGV[3] == '0' then
        redis.call('SET', KEYS[1], ARGV[2])
    else
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    end
    redis.call('DEL', KEYS[3])
end
if ARGV[4] ~= '' then
    redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return mine and 1 or 0
"""
)

# KEYS: entries, and the marks of removals of the last ones of them. ARGV: how many marks. Returns for each entry the
# fence of what is there; or who has removed it, if there is such a mark; or ''.
CHANGED: Final = _script("""
local by = {}
local marks = tonumber(ARGV[1])
local entries = #KEYS - marks
for i = 1, entries do
    by[i] = redis.call('GETRANGE', KEYS[i], 0, 15)
    if by[i] == '' and i > entries - marks then
        by[i] = redis.call('GET', KEYS[i + marks]) or ''
    end
end
return by
""")

SCRIPTS: Final = (STATE, INVALIDATE, LEASE, FILL, FREE, REMOVE, EXPIRE, HOLD, SETTLE)
