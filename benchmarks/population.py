"""A server full of sessions, in the layout that the engine writes."""

import json
import time
from collections.abc import Callable
from typing import Any

import redis

from benchmarks.contents import AUTH, OWN

# Sessions written in one step; the server does nothing else meanwhile.
BATCH_SIZE = 2_000

# Sessions of each user, where every second session has one.
OF_EACH_USER = 10

DAY = 86_400

# KEYS: none. ARGV: prefix, first and last number, users, epoch seconds, then fields and values of
# every session in turn, and a "-" after which those of sessions with a user follow.
FILL = """
local prefix, first, last, users, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local all, more, split = {}, {}, false
for i = 6, #ARGV do
  if ARGV[i] == '-' then split = true
  elseif split then more[#more + 1] = ARGV[i]
  else all[#all + 1] = ARGV[i] end
end
for number = first, last do
  local id = string.sub(redis.sha1hex('scale' .. number), 1, 32)
  local key = prefix .. ':' .. id
  local expires = now + 43200 + number % 43200
  local half = ':index:anonymous'
  redis.call('HSET', key, '@created', now, '@updated', now, '@ip', '198.51.100.7',
    '@agent', 'Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0',
    unpack(all))
  if number % 2 == 0 then
    local user = tostring(math.floor(number / 2) % users + 2)
    redis.call('HSET', key, '@user', user, '_auth_user_id', '"' .. user .. '"', unpack(more))
    redis.call('ZADD', prefix .. ':user:' .. user, expires, id)
    redis.call('EXPIREAT', prefix .. ':user:' .. user, now + 86400)
    half = ':index:signed-in'
  end
  redis.call('EXPIREAT', key, expires)
  redis.call('ZADD', prefix .. ':index', expires, id)
  redis.call('ZADD', prefix .. half, expires, id)
end
for _, index in ipairs({':index', ':index:signed-in', ':index:anonymous'}) do
  redis.call('EXPIREAT', prefix .. index, now + 86400)
end
"""

# KEYS: any that is there and expires. ARGV: how often to look.
LOOK = """
for _ = 1, ARGV[1] do redis.call('EXISTS', KEYS[1]) end
"""
LOOKS_BATCH_SIZE = 100_000


def fill(redis_url: str, key_prefix: str, size: int, progress: Callable[[int], None]) -> None:
    """Write so many sessions. ``progress`` is told how many are there."""
    own = _fields(OWN)
    auth = _fields({key: value for key, value in AUTH.items() if key != "_auth_user_id"})
    users = max(size // 2 // OF_EACH_USER, 1)
    with redis.Redis.from_url(redis_url, socket_timeout=60) as client:
        script = client.register_script(FILL)
        now = int(time.time())
        for start in range(0, size, BATCH_SIZE):
            stop = min(start + BATCH_SIZE, size)
            script(args=[key_prefix, start, stop - 1, users, now, *own, "-", *auth])
            progress(stop)
        _settle(client, f"{key_prefix}:index")


def _settle(client: redis.Redis, name: str) -> None:
    """
    Let the server's tables of keys finish growing, which they do a step with each look.

    They double at a power of two, and a million sessions with their indexes happen to lie just
    above one. Until that is done, for minutes, everything takes longer by it.
    """
    look = client.register_script(LOOK)
    for _ in range(0, client.dbsize(), LOOKS_BATCH_SIZE):
        look(keys=[name], args=[LOOKS_BATCH_SIZE])


def _fields(entries: dict[str, Any]) -> list[str]:
    return [word for key, value in entries.items() for word in (key, json.dumps(value))]
