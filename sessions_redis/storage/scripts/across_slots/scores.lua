-- Listing sessions in the indexes of one slot, as list.lua does on one server. Shared.
-- A score says until when an index lists a session, by the clock of the server that has the session
-- or by that of this one. These may differ by up to so many milliseconds.

local SKEW = 600000

-- If an id starts with '0' (1 in 16), listing it also removes up to 64 members that expired: more than
-- 16 sessions add.
local TRIMS, TRIM = string.byte('0'), 64

-- No session lives longer, see MAX_TTL; a damaged score may say more. Milliseconds since 1970.
local LATEST = 2e13

-- The server's time, in ms since 1970.
local function clock()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Lists a session in an index until `listed` at least. Returns until when it does now, in ms. A score
-- never becomes earlier here, and always changes, so that lower.lua notices.
local function list_in(index, id, listed, margin, now)
  local score, trims = on('ZSCORE', index, id), string.byte(id) == TRIMS
  if type(score) == 'string' then
    listed = math.max(listed, math.min(math.floor(score * 1000 + 0.5) + 1, LATEST))
  end
  need('ZADD', index)
  need('PEXPIREAT', index)
  if trims then
    need('ZRANGEBYSCORE', index)
    need('ZREM', index)
  end
  local lives, last = call('PTTL', index), listed
  if lives == -1 then  -- somebody took its time to live away
    last = math.min(math.max(last, math.ceil((tonumber(on('ZRANGE', index, -1, -1, 'WITHSCORES')[2]) or 0) * 1000)), LATEST)
  end
  if type(on('ZADD', index, string.format('%.3f', listed / 1000), id)) ~= 'number' then return listed end
  if lives < last - now + SKEW then
    -- An index may live one more margin, so that few sessions have to prolong it.
    redis.call('PEXPIREAT', index, string.format('%.0f', last + margin + SKEW))
  end
  if trims then
    local dead = redis.call('ZRANGEBYSCORE', index, '-inf', (now - SKEW) / 1000, 'LIMIT', 0, TRIM)
    if #dead > 0 then redis.call('ZREM', index, unpack(dead)) end
  end
  return listed
end
