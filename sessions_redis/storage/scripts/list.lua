-- Lists sessions in the indexes: sorted sets of session ids, scored by the time until which they list
-- a session, in epoch seconds. Shared.
-- That is a margin later than its expiry: an index lists every live session, and some that expired a
-- short time ago. If a key of another type has an index's name, it is left alone: sessions go on
-- without that index, and a list that needs it fails.

-- If an id starts with '0' (1 in 16), listing it also removes up to 64 expired members from each of
-- its indexes: more than 16 sessions add.
local TRIMS, TRIM = string.byte('0'), 64

-- No session lives longer, see MAX_TTL; a damaged score may say more. Milliseconds since 1970.
local LATEST = 2e13

-- Lists a session that lives `ttl` ms from `now` on in each of the indexes of its user, in place of
-- the id that it had before, and removes it from the indexes that it leaves. `was`: its user before;
-- nil for a session that is created. Returns the time until which it is listed, in ms, in text.
-- `keeps_dead`: drop no expired members.
local function list(former_id, id, was, user, index, users, now, ttl, keeps_dead)
  local signed_in, anonymous = index .. ':signed-in', index .. ':anonymous'
  local names, left = {index, anonymous}, {}
  if user ~= '' then names[2], names[3] = signed_in, users .. user end
  if was and was ~= user then
    if was ~= '' then left[1] = users .. was end
    if user == '' then left[2] = signed_in end
    if was == '' then left[1] = anonymous end
  elseif was then
    -- Where it is if its user changed while no indexes were kept.
    left[1] = user == '' and signed_in or anonymous
  end
  local margin = math.floor(math.min(ttl / MARGIN_PART, MARGIN))
  local listed, moves = now + ttl + margin, former_id ~= id
  local trims = not keeps_dead and string.byte(id) == TRIMS

  local expiries = {}
  for i = 1, #names do
    local name = names[i]
    local lives = redis.pcall('PTTL', name)
    if type(lives) == 'table' then call('PTTL', name) end  -- raises
    if lives < ttl + margin then
      -- An index may live one more margin, so that few sessions have to prolong it.
      local expiry = listed + margin
      if lives == -1 then  -- somebody took its time to live away
        local last = on('ZRANGE', name, -1, -1, 'WITHSCORES')
        expiry = math.min(math.max(expiry, math.ceil((tonumber(last[2]) or 0) * 1000)), LATEST)
      end
      expiries[i] = string.format('%.0f', expiry)
      need('PEXPIREAT', name)
    end
    need('ZADD', name)
    if moves or trims then need('ZREM', name) end
    if trims then need('ZRANGEBYSCORE', name) end
  end
  for i = 1, #left do need('ZREM', left[i]) end

  local score = string.format('%.3f', listed / 1000)
  for i = 1, #names do
    local name = names[i]
    local added = redis.pcall('ZADD', name, score, id)
    if type(added) == 'table' then added = on('ZADD', name, score, id) end
    if type(added) == 'number' then
      if moves then redis.call('ZREM', name, former_id) end
      if expiries[i] then redis.call('PEXPIREAT', name, expiries[i]) end
      if trims then
        local dead = redis.call('ZRANGEBYSCORE', name, '-inf', now / 1000, 'LIMIT', 0, TRIM)
        if #dead > 0 then redis.call('ZREM', name, unpack(dead)) end
      end
    end
  end
  for i = 1, #left do on('ZREM', left[i], former_id) end
  return string.format('%.0f', listed)
end
