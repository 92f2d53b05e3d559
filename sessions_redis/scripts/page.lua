-- Some ids of an index, in the order of their expiry. What has expired is not there.
-- KEYS: index
-- ARGV: what must be left in seconds, more than and at most ('inf' for any), how many ids to skip,
--   how many to return, '1' for the latest expiry first, '1' to drop some of what has expired
-- Returns how many ids fit, and the ids.

-- Dropped in one call: more would hold up all other clients.
local TRIM = 1000

local function count(low, high)
  return redis.call('ZCOUNT', KEYS[1], low, high)
end

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local low = string.format('%.3f', now + ARGV[1])
local high = ARGV[2] == 'inf' and '+inf' or string.format('%.3f', now + ARGV[2])
if ARGV[6] == '1' then
  local expired = string.format('%.3f', now)
  local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', expired, 'LIMIT', 0, TRIM)
  if #dead > 0 then redis.call('ZREM', KEYS[1], unpack(dead)) end
end
local total = count('(' .. low, high)
-- By rank, which the server finds at once however many there are to skip.
local first, last = tonumber(ARGV[3]), math.min(ARGV[3] + ARGV[4], total) - 1
if first > last then return {total, {}} end
if ARGV[5] == '1' then
  local later = high == '+inf' and 0 or count('(' .. high, '+inf')
  return {total, redis.call('ZRANGE', KEYS[1], later + first, later + last, 'REV')}
end
local sooner = count('-inf', low)
return {total, redis.call('ZRANGE', KEYS[1], sooner + first, sooner + last)}
