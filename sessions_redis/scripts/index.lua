-- The indexes: sorted sets of session ids, scored by expiry in epoch seconds. Shared.
-- An empty index name stands for "no index is kept".

-- Dead members dropped per write: more than one write adds, so an index cannot grow by them.
local TRIM = 16

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- An index key lives as long as its longest-lived member.
local function settle(index)
  local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')
  if last[2] then
    redis.call('PEXPIREAT', index, string.format('%.0f', math.ceil(last[2] * 1000)))
  end
end

local function enter(index, id, expires, now)
  if index == '' then return end
  redis.call('ZADD', index, string.format('%.3f', expires / 1000), id)
  local dead = redis.call(
    'ZRANGEBYSCORE', index, '-inf', string.format('%.3f', now / 1000), 'LIMIT', 0, TRIM)
  if #dead > 0 then redis.call('ZREM', index, unpack(dead)) end
  settle(index)
end

local function leave(index, id)
  if index == '' then return end
  if redis.call('ZREM', index, id) == 1 then settle(index) end
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

-- Deletes a session and its members. Returns whether there was one, and its user.
local function forget(key, id, index, users)
  -- pcall: whatever lies under the session's name is deleted, also what is no hash.
  local user = redis.pcall('HGET', key, '@user')
  if type(user) ~= 'string' then user = '' end
  leave(index, id)
  leave(half_of(index, user), id)
  leave(index_of(users, user), id)
  return redis.call('DEL', key), user
end
