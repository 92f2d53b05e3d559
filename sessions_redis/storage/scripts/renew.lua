-- The usual save: the session keeps its user, and its indexes list it until a good time.
-- KEYS, ARGV, returns: as save.lua says
-- Any other save goes on in save.lua, and so does one that Redis refuses. This part comes first and
-- defines no functions, because defining functions takes time in each call.

do
  local key, index, id = KEYS[1], KEYS[2], ARGV[1]
  local ttl = tonumber(ARGV[3])
  -- A save of encrypted entries mostly has the first of these rules, and no other. With
  -- TOUCH_INTERVAL, a save mostly has the second. Other rules are for save.lua.
  local salted = ARGV[7] == '2' and ARGV[8] == 'expects:@salt'
  local renews = ARGV[7] == '2' and ARGV[8] == 'renews'
  local after = (salted or renews) and 10 or 8  -- the place of how many fields to remove
  local removed = tonumber(ARGV[after])
  local found = redis.pcall('HMGET', key, '@created', '@user', '@listed', '@ends')
  local time = redis.pcall('TIME')
  local user = found[2] or ''
  local is_usual = found[1] and time[1] and #ARGV <= 1000
    and ARGV[4] == '0' and (ARGV[5] == '0' or ARGV[6] == user)
    and (ARGV[7] == '0' or renews or salted and redis.pcall('HGET', key, '@salt') == ARGV[9])
  local now, at
  if is_usual then
    now = time[1] * 1000 + math.floor(time[2] / 1000)
    ttl = math.min(ttl, (tonumber(found[4]) or math.huge) - now)
    at, is_usual = now + ttl, ttl > 0
  end

  if is_usual and index then
    local longer = (tonumber(found[3]) or 0) - at
    local half = index .. (user == '' and ':anonymous' or ':signed-in')
    -- A score is false if the session is not there, and a table if something is wrong. It may be
    -- too early: an earlier version of this package wrote scores without a margin.
    is_usual = longer >= 0 and longer <= 2 * math.min(ttl / MARGIN_PART, MARGIN)
      and (tonumber(redis.pcall('ZSCORE', index, id)) or 0) * 1000 > at - 1
      and (tonumber(redis.pcall('ZSCORE', half, id)) or 0) * 1000 > at - 1
      and (user == '' or (tonumber(redis.pcall('ZSCORE', ARGV[2] .. user, id)) or 0) * 1000 > at - 1)
  end

  -- HSET comes first, so that a server that refuses to write does so before anything is written.
  if is_usual and redis.acl_check_cmd then
    local is_known, is_allowed = pcall(redis.acl_check_cmd, 'PEXPIREAT', key)
    is_usual = is_known and is_allowed
    if is_usual and removed > 0 then
      is_known, is_allowed = pcall(redis.acl_check_cmd, 'HDEL', key, '@')
      is_usual = is_known and is_allowed
    end
  end
  if is_usual then
    local written
    if renews then
      written = redis.pcall('HSET', key, '@updated', time[1], '@renewed', string.format('%.0f', now),
        unpack(ARGV, after + 1 + removed))
    else
      written = redis.pcall('HSET', key, '@updated', time[1], unpack(ARGV, after + 1 + removed))
    end
    if type(written) == 'number' then
      if removed > 0 then redis.call('HDEL', key, unpack(ARGV, after + 1, after + removed)) end
      redis.call('PEXPIREAT', key, string.format('%.0f', at))
      return renews and now or 1
    end
  end
end
