-- The indexes: sorted sets of session ids, scored by expiry in epoch seconds. Shared.
-- An empty index name stands for "no index is kept". What lies under an index's name and is no
-- sorted set is left alone: sessions go on without that index, and who reads it is told.

-- Dead members dropped per write: more than one write adds, so an index cannot grow by them.
local TRIM = 16

-- No session lives longer, see MAX_TTL; a damaged score may say more. Milliseconds since 1970.
local LATEST = 2e13

-- Markers followed at most, so that a script always ends.
local HOPS = 100

-- Milliseconds since 1970, and the seconds of that in text.
local function clock()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), time[1]
end

-- Milliseconds since 1970 as scores have them, and as PEXPIREAT does.
local function score(milliseconds)
  return string.format('%.3f', milliseconds / 1000)
end

local function moment(milliseconds)
  return string.format('%.0f', milliseconds)
end

-- The index of one user's sessions; `users` is what their names start with.
local function index_of(users, user)
  if users == '' or user == '' then return '' end
  return users .. user
end

-- The index of all sessions with a user, or of all without.
local function half_of(index, user)
  if index == '' then return '' end
  return index .. (user == '' and ':anonymous' or ':signed-in')
end

-- Gives an index the time to live of its longest-lived member, which it had to lose or shorten.
local function settle(index)
  if index == '' then return end
  local last = on('ZRANGE', index, -1, -1, 'WITHSCORES')
  if not last[2] then return end
  local expires = math.ceil((tonumber(last[2]) or math.huge) * 1000)
  redis.call('PEXPIREAT', index, moment(math.max(0, math.min(expires, LATEST))))
end

-- Lets an index live until the moment `at`, in `ttl` ms, if that is longer than it would.
local function prolong(index, at, ttl)
  -- One call in most cases. pcall: Redis before 7 has no GT.
  if redis.pcall('PEXPIREAT', index, at, 'GT') == 1 then return end
  local left = redis.call('PTTL', index)
  if left < 0 then return settle(index) end  -- new, or somebody took its time to live away
  if left < ttl then redis.call('PEXPIREAT', index, at) end
end

local function leave(index, ...)
  if index ~= '' then on('ZREM', index, ...) end
end

-- Drops some members that have expired, and returns them.
local function trim(index, now_as_score)
  if index == '' then return {} end
  local dead = on('ZRANGEBYSCORE', index, '-inf', now_as_score, 'LIMIT', 0, TRIM)
  if #dead > 0 then leave(index, unpack(dead)) end
  return dead
end

-- The names of the indexes that a session of `user` is in. Of nobody's session it is not known
-- whether it had a user before it expired, so that may be in either half.
local function indexes_with(user, index, users)
  if index == '' then return {} end
  if user == '' then return {index, half_of(index, ''), half_of(index, 'any')} end
  return {index, half_of(index, user), index_of(users, user)}
end

-- Whether something lies under a session's name that ending the session deletes, and its user.
-- That may be no session and no hash; a marker that cycling left is nothing.
local function found_at(key)
  local found = on('HMGET', key, '@created', '@user', '@cycled')
  if found[1] then return true, found[2] or '' end
  if found[3] then return false, '' end
  return call('EXISTS', key) == 1, found[2] or ''
end

-- The id that the session of `id` has now: markers that cycling left are followed, from name to
-- name. Returns nil if it has ended or expired. `sessions` is what the sessions' names start with.
local function present_id(sessions, id)
  for _ = 1, HOPS do
    local found = on('HMGET', sessions .. id, '@created', '@cycled')
    if found[1] then return id end
    if not found[2] then return nil end
    id = found[2]
  end
end

-- Deletes a session and its members. Returns 1, or 0 if there was none, and its user.
local function forget(key, id, index, users)
  local ttl = call('PTTL', key)
  local is_there, user = found_at(key)
  local names = indexes_with(user, index, users)
  for _, name in ipairs(names) do need(name, 'ZREM') end
  if index ~= '' then need(index, 'ZRANGE', 'PEXPIREAT') end
  if is_there then call('DEL', key) end
  for _, name in ipairs(names) do
    leave(name, id)
    -- Another member lives longer, where the index does. Of what was no session nothing is known.
    if ttl < 0 or redis.call('PTTL', name) <= ttl then settle(name) end
  end
  return is_there and 1 or 0, user
end
