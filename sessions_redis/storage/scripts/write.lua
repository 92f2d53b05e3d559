-- Writing a session: its fields, its expiry and its place in the indexes. Shared.

-- unpack() fails near 8,000 values.
local CHUNK = 1000

-- Milliseconds for which a name tells where its session went: longer than a request takes.
local MARKED = 60000

-- The user of a session that exists, '' for nobody; nil if there is no session.
local function user_of(key)
  local found = on('HMGET', key, '@created', '@user')
  if not found[1] then return nil end
  return found[2] or ''
end

local function in_chunks(command, key, values)
  for i = 1, #values, CHUNK do
    redis.call(command, key, unpack(values, i, math.min(i + CHUNK - 1, #values)))
  end
end

local function remove_entries(key)
  local entries = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if not string.find(field, '^@[^@]') then entries[#entries + 1] = field end
  end
  in_chunks('HDEL', key, entries)
end

-- Takes a session away from the name that it had. The marker that it leaves there has no @created, so
-- it is not a session: it tells a request that came too late that the session was cycled, not ended.
local function leave_marker(old, new, now)
  redis.call('DEL', old.key)
  redis.call('HSET', old.key, '@cycled', new.id)
  redis.call('PEXPIREAT', old.key, moment(now + MARKED))
end

-- Enters a session in an index, or renews it there, in place of the id it had before.
-- `shorter`: it is to live shorter than it would have.
local function enter(index, old, new, life, shorter)
  if index == '' then return end
  if type(on('ZADD', index, life.score, new.id)) == 'table' then return end
  if old.id ~= new.id then leave(index, old.id) end
  if shorter then settle(index) else prolong(index, life.at, life.ttl) end
end

local function move_out(index, id)
  leave(index, id)
  settle(index)
end

-- `was` and `user`: the session's user before and after; `was` is nil where it is created.
local function place(old, new, was, user, index, users, life)
  local half, users_own = half_of(index, user), index_of(users, user)
  local left_half, left_own = '', ''
  if was and was ~= user then
    left_own = index_of(users, was)
    if half ~= half_of(index, was) then left_half = half_of(index, was) end
  end
  local shorter = was and call('PTTL', old.key) > life.ttl
  need(index, 'PTTL', 'ZRANGEBYSCORE', 'ZREM', 'ZRANGE')
  need(half, 'ZADD')
  if users_own ~= '' then need(users_own, 'ZADD') end
  if left_own ~= '' then need(left_own, 'ZREM') end

  enter(index, old, new, life, shorter)
  enter(half, old, new, life, shorter)
  enter(users_own, old, new, life, shorter)
  move_out(left_own, old.id)
  move_out(left_half, old.id)
  local dead = trim(index, life.now_as_score)
  if #dead > 0 then
    leave(half_of(index, ''), unpack(dead))
    leave(half_of(index, 'any'), unpack(dead))
  else
    trim(half, life.now_as_score)  -- what the index of all does not know, were it lost meanwhile
  end
  trim(users_own, life.now_as_score)
end

-- Writes what ARGV says from `first` on: ttl in ms, '1' if entries that are not given are to go,
-- '1' if the user is given, the user, how many fields to remove, those fields, then fields and
-- values in turn. `old` and `new` are the session's {key, id} before and after; mostly the same.
-- `was`: its user before; nil where it is created.
local function write(old, new, was, index, users, first)
  local ttl = tonumber(ARGV[first])
  if ttl <= 0 then
    forget(old.key, old.id, index, users)
    return
  end

  local user = was or ''
  if ARGV[first + 2] == '1' then user = ARGV[first + 3] end
  local replaces, count = was and ARGV[first + 1] == '1', tonumber(ARGV[first + 4])
  local cycles = old.key ~= new.key
  need(new.key, 'HSET', 'PEXPIREAT')
  if replaces then need(new.key, 'HKEYS', 'HDEL') end
  if cycles then need(old.key, 'HGETALL', 'DEL') end
  if count > 0 or user == '' and was and was ~= '' then need(new.key, 'HDEL') end
  local now, seconds = clock()
  local at = moment(now + ttl)
  -- The indexes first: a server that refuses to write does so before the session is touched.
  if index ~= '' then
    local life = {ttl = ttl, at = at, score = score(now + ttl), now_as_score = score(now)}
    place(old, new, was, user, index, users, life)
  end

  if cycles then in_chunks('HSET', new.key, redis.call('HGETALL', old.key)) end
  if replaces then remove_entries(new.key) end
  local written = first + 5 + count
  local removed, set = {}, {}
  for i = first + 5, written - 1 do removed[#removed + 1] = ARGV[i] end
  for i = written, #ARGV do set[#set + 1] = ARGV[i] end
  local function note(field, value)
    set[#set + 1] = field
    set[#set + 1] = value
  end
  if not was then note('@created', seconds) end
  note('@updated', seconds)
  if user ~= '' and user ~= was then note('@user', user) end
  if user == '' and was and was ~= '' then removed[#removed + 1] = '@user' end
  in_chunks('HDEL', new.key, removed)
  in_chunks('HSET', new.key, set)
  redis.call('PEXPIREAT', new.key, at)
  if cycles then leave_marker(old, new, now) end
end
