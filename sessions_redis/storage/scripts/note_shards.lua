-- Notes that sessions are listed in so many shards.
-- KEYS: the counts in use
-- ARGV: how many shards, the time in ms until which they list sessions
-- Returns 1. A time never becomes earlier here. Counts that list nothing any more are removed.

local count, listed = ARGV[1], tonumber(ARGV[2])
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
need('ZADD', KEYS[1])
need('PEXPIREAT', KEYS[1])
call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.3f', (now - MARGIN) / 1000))
redis.call('ZADD', KEYS[1], 'GT', string.format('%.3f', listed / 1000), count)
if redis.call('PTTL', KEYS[1]) < listed - now + MARGIN then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', listed + MARGIN))
end
return 1
