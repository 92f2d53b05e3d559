-- Some ids of an index, in the order of their expiry. What has expired is not there.
-- KEYS: index
-- ARGV: what must be left in seconds, more than and at most ('inf' for any), how many ids to skip,
--   how many to return, '1' for the latest expiry first, how many to drop of those that have expired
-- Returns how many ids fit, and the ids.

local skipped, wanted, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local time = call('TIME')
local now = time[1] + time[2] / 1000000
local low = string.format('%.3f', now + ARGV[1])
local high = ARGV[2] == 'inf' and '+inf' or string.format('%.3f', now + ARGV[2])

local function count(from, to)
  return call('ZCOUNT', KEYS[1], from, to)
end

-- By rank, which the server finds at once however many there are to skip.
local function ids(total)
  local first, last = skipped, math.min(skipped + wanted, total) - 1
  if first > last then return {} end
  if ARGV[5] == '1' then
    local later = high == '+inf' and 0 or count('(' .. high, '+inf')
    return call('ZRANGE', KEYS[1], later + first, later + last, 'REV')
  end
  local sooner = count('-inf', low)
  return call('ZRANGE', KEYS[1], sooner + first, sooner + last)
end

local total = count('(' .. low, high)
local found = ids(total)
if most > 0 then
  local expired = string.format('%.3f', now)
  local dead = call('ZRANGEBYSCORE', KEYS[1], '-inf', expired, 'LIMIT', 0, most)
  if #dead > 0 then call('ZREM', KEYS[1], unpack(dead)) end
end
return {total, found}
