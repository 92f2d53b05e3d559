-- Writing a session: its fields, its expiry and its place in the indexes. Shared.

-- unpack() fails near 8,000 values.
local CHUNK = 1000

local function is_live(key)
  return type(redis.pcall('HGET', key, '@created')) == 'string'
end

local function move(old, new)
  local fields = redis.call('HGETALL', old)
  redis.call('DEL', old)
  for i = 1, #fields, CHUNK do
    redis.call('HSET', new, unpack(fields, i, math.min(i + CHUNK - 1, #fields)))
  end
end

local function remove_entries(key)
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if not string.find(field, '^@[^@]') then redis.call('HDEL', key, field) end
  end
end

-- Writes what ARGV says from `first` on: ttl in ms, '1' if entries that are not given are to go,
-- '1' if the user is given, the user, how many fields to remove, those fields, then fields and
-- values in turn. `old` and `new` are the session's {key, id} before and after; mostly the same.
local function write(old, new, index, users, first)
  local now = clock()
  local expires = now + ARGV[first]
  if expires <= now then
    forget(old.key, old.id, index, users)
    return
  end

  -- The indexes first: should one of them not be a sorted set, the session is still untouched.
  local was = redis.call('HGET', old.key, '@user') or ''
  local user = was
  if ARGV[first + 2] == '1' then user = ARGV[first + 3] end
  enter(index, new.id, expires, now)
  enter(half_of(index, user), new.id, expires, now)
  enter(index_of(users, user), new.id, expires, now)
  if old.id ~= new.id then leave(index, old.id) end
  if old.id ~= new.id or user ~= was then
    leave(index_of(users, was), old.id)
    if old.id ~= new.id or half_of(index, user) ~= half_of(index, was) then
      leave(half_of(index, was), old.id)
    end
  end

  if old.key ~= new.key then move(old.key, new.key) end
  if ARGV[first + 1] == '1' then remove_entries(new.key) end
  local written = first + 5 + ARGV[first + 4]
  for i = first + 5, written - 1, CHUNK do
    redis.call('HDEL', new.key, unpack(ARGV, i, math.min(i + CHUNK, written) - 1))
  end
  for i = written, #ARGV, CHUNK do
    redis.call('HSET', new.key, unpack(ARGV, i, math.min(i + CHUNK - 1, #ARGV)))
  end
  local seconds = string.format('%.0f', math.floor(now / 1000))
  redis.call('HSETNX', new.key, '@created', seconds)
  redis.call('HSET', new.key, '@updated', seconds)
  if user == '' then
    redis.call('HDEL', new.key, '@user')
  elseif user ~= was then
    redis.call('HSET', new.key, '@user', user)
  end
  redis.call('PEXPIREAT', new.key, string.format('%.0f', expires))
end
