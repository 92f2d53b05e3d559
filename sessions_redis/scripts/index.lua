-- The indexes: sorted sets of session ids, scored by expiry in epoch seconds. Shared.
-- An empty index name stands for "no index is kept".

-- Dead members dropped per write: more than one write adds, so an index cannot grow by them.
local TRIM = 16

-- Markers followed at most, so that a script always ends.
local HOPS = 100

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
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

-- Runs a command on an index. Returns an empty table where what lies there is no sorted set: that is
-- left alone, sessions go on without that index, and who reads it is told.
local function on(command, index, ...)
  local reply = redis.pcall(command, index, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(tostring(reply.err), 'WRONGTYPE') then return {} end  -- no text in fakeredis
  return redis.call(command, index, ...)  -- raises it, whatever else it is
end

-- Gives an index the time to live of its longest-lived member, which it had to lose or shorten.
local function settle(index)
  if index == '' then return end
  local last = on('ZRANGE', index, -1, -1, 'WITHSCORES')
  if last[2] then redis.call('PEXPIREAT', index, moment(math.ceil(last[2] * 1000))) end
end

-- Lets an index live until the moment `at`, in `ttl` ms, if that is longer than it would.
local function prolong(index, at, ttl)
  -- One call in most cases. pcall: Redis before 7 has no GT. A new index has no TTL to compare.
  if redis.pcall('PEXPIREAT', index, at, 'GT') == 1 then return end
  if redis.call('PTTL', index) < ttl then redis.call('PEXPIREAT', index, at) end
end

-- Drops some members that have expired, from the others named as well: they may hold the same ones.
-- Returns how many there were.
local function trim(index, now_as_score, ...)
  if index == '' then return 0 end
  local dead = on('ZRANGEBYSCORE', index, '-inf', now_as_score, 'LIMIT', 0, TRIM)
  if #dead == 0 then return 0 end
  for _, name in ipairs({index, ...}) do on('ZREM', name, unpack(dead)) end
  return #dead
end

local function leave(index, id)
  if index ~= '' then on('ZREM', index, id) end
end

-- The names of the indexes that a session of `user` is in. Of nobody's session it is not known
-- whether it had a user before it expired, so that may be in either half.
local function indexes_with(user, index, users)
  if index == '' then return {} end
  if user == '' then return {index, half_of(index, ''), half_of(index, 'any')} end
  return {index, half_of(index, user), index_of(users, user)}
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

-- Deletes a session and its members, or whatever else has its name; but not the marker that cycling
-- left there. Returns whether there was one, and its user. The indexes are to be settled after that.
local function forget(key, id, index, users)
  local found = on('HMGET', key, '@user', '@created', '@cycled')
  local user = found[1] or ''
  if found[3] and not found[2] then return 0, user end
  for _, name in ipairs(indexes_with(user, index, users)) do leave(name, id) end
  return redis.call('DEL', key), user
end

-- As forget, for one session alone; its indexes are settled.
local function forget_one(key, id, index, users)
  local ttl = redis.call('PTTL', key)
  local deleted, user = forget(key, id, index, users)
  for _, name in ipairs(indexes_with(user, index, users)) do
    -- Another member lives longer, where the index does. Of what was no session nothing is known.
    if ttl < 0 or redis.call('PTTL', name) <= ttl then settle(name) end
  end
  return deleted, user
end
