-- Some ids of an index, in the order of the times until which it lists them. What has expired by
-- these times is not there.
-- KEYS: index
-- ARGV: what the sessions' names start with, seconds that a session may have left at most ('inf' for
--   any), how many ids to skip, how many to return, '1' for the latest first, how many to drop of
--   those that have expired
-- Returns how many ids fit, and the ids.

local sessions, most = ARGV[1], tonumber(ARGV[6])
local skipped, wanted, latest_first = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
local time = call('TIME')
local now = time[1] + time[2] / 1000000
local low, high = string.format('%.3f', now), '+inf'

-- The index lists a session for up to two margins longer than it lives. So some sessions that it
-- lists for longer fit as well; their hashes say which.
local late, within, is_wide = {}, tonumber(ARGV[2]), false
if ARGV[2] ~= 'inf' then
  high = string.format('%.3f', now + within)
  local further = string.format('%.3f', now + within + 2 * MARGIN / 1000)
  is_wide = call('ZCOUNT', KEYS[1], '(' .. high, further) > 1000
  if is_wide then
    -- These are too many to look at, so all of them count. Those that do not fit are left out of
    -- the page.
    high = further
  else
    for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[1], '(' .. high, further)) do
      local left = call('PTTL', sessions .. id)
      if left > 0 and left <= within * 1000 then late[#late + 1] = id end
    end
  end
end

local total = call('ZCOUNT', KEYS[1], '(' .. low, high)
local found = {}
local function add_late()
  for place = 1, #late do
    local at = latest_first and place - 1 or total + place - 1
    if at >= skipped and at < skipped + wanted then
      found[#found + 1] = latest_first and late[#late - place + 1] or late[place]
    end
  end
end

local before = latest_first and #late or 0
if latest_first then add_late() end
local first, stop = math.max(skipped - before, 0), skipped + wanted - before
for _, id in ipairs(ranked(KEYS[1], low, high, total, first, stop - first, latest_first)) do
  if not is_wide or call('PTTL', sessions .. id) <= within * 1000 then found[#found + 1] = id end
end
if not latest_first then add_late() end

if most > 0 then
  local dead = call('ZRANGEBYSCORE', KEYS[1], '-inf', low, 'LIMIT', 0, most)
  if #dead > 0 then call('ZREM', KEYS[1], unpack(dead)) end
end
return {total + #late, found}
