-- Writing a session whose indexes are in other slots. Shared.

-- unpack() fails near 8,000 values.
local CHUNK = 1000

local function in_chunks(command, key, values, first, last)
  for i = first, last, CHUNK do
    redis.call(command, key, unpack(values, i, math.min(i + CHUNK - 1, last)))
  end
end

-- The server's time: in ms, and in s, since 1970.
local function clock()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), time[1]
end

-- The user that the session has once it is written. `first`: as `put` says.
local function next_user(was, first)
  if ARGV[first + 2] == '1' then return ARGV[first + 3] end
  return was or ''
end

-- Whether there is a cap on the sessions of `user`, who is new to this one. Then that time is added to
-- the metadata to write.
local function note_sign_in(rules, user, was, now, more)
  if not rules.cap or user == '' or user == was then return false end
  more[#more + 1], more[#more + 2] = '@signed-in', string.format('%.0f', now)
  return true
end

-- Writes what ARGV says from `first` on: ttl in ms, '1' if fields that are not given are removed,
-- '1' if the user is given, the user, rules as rules.lua says, and from `after` on how many fields to
-- remove, those fields, then fields and values in turn. `rules`: the caller has checked them. `at`: when
-- the session expires, in ms.
-- `was`: its user before; nil for a session that is created. `more`: fields of metadata and values in
-- turn, to write as well; `less`: fields of metadata to remove.
local function put(was, first, rules, after, at, seconds, more, less)
  local key, user = KEYS[1], next_user(was, first)
  local replaces = was and ARGV[first + 1] == '1'
  local removed, last = tonumber(ARGV[after]), #ARGV
  local lifetimes = lifetimes_in(rules, key)
  if lifetimes then last = without_expired(lifetimes, after + 1 + removed) end
  if user == '' and was and was ~= '' then less[#less + 1] = '@user' end

  need('HSET', key)
  need('PEXPIREAT', key)
  if removed > 0 or replaces or #less > 0 then need('HDEL', key) end
  if replaces then need('HKEYS', key) end

  -- HSET comes first, so that a server that refuses to write does so before anything is written.
  redis.call('HSET', key, '@updated', seconds)
  if replaces then
    local entries = {}
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if not string.find(field, '^@[^@]') or field == '@expiring' then entries[#entries + 1] = field end
    end
    in_chunks('HDEL', key, entries, 1, #entries)
  end
  in_chunks('HDEL', key, ARGV, after + 1, after + removed)
  in_chunks('HDEL', key, less, 1, #less)
  if user ~= '' and user ~= was then more[#more + 1], more[#more + 2] = '@user', user end
  for i = 1, #more do ARGV[last + i] = more[i] end
  in_chunks('HSET', key, ARGV, after + 1 + removed, last + #more)
  if lifetimes then set_lifetimes(lifetimes, key) end
  redis.call('PEXPIREAT', key, string.format('%.0f', at))
end
