-- Some ids of an index, in the order of their expiry. What has expired is not there.
-- KEYS: index
-- ARGV: what must be left in seconds, more than and at most ('inf' for any), how many ids to skip,
--   how many to return (-1 for all), '1' for the latest expiry first, '1' to drop what has expired
-- Returns how many ids fit, and the ids.

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local low = string.format('(%.3f', now + ARGV[1])
local high = ARGV[2] == 'inf' and '+inf' or string.format('%.3f', now + ARGV[2])
if ARGV[6] == '1' then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.3f', now))
end
local ids
if ARGV[5] == '1' then
  ids = redis.call('ZREVRANGEBYSCORE', KEYS[1], high, low, 'LIMIT', ARGV[3], ARGV[4])
else
  ids = redis.call('ZRANGEBYSCORE', KEYS[1], low, high, 'LIMIT', ARGV[3], ARGV[4])
end
return {redis.call('ZCOUNT', KEYS[1], low, high), ids}
