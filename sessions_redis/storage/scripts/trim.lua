-- Removes members that have expired, a bounded number at a time.
-- KEYS: index
-- ARGV: how many at most
-- Returns how many were removed.

local time = call('TIME')
local now = string.format('%.3f', time[1] + time[2] / 1000000)
local dead = call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
if #dead > 0 then call('ZREM', KEYS[1], unpack(dead)) end
return #dead
