-- Writing a session: its fields, its expiry and its place in the indexes. Shared.

-- unpack() fails near 8,000 values.
local CHUNK = 1000

-- Milliseconds for which a name says where its session went: longer than a request takes.
local MARKED = 60000

-- Runs a command on `key` with the values from `first` up to `last`.
local function in_chunks(command, key, values, first, last)
  for i = first, last, CHUNK do
    redis.call(command, key, unpack(values, i, math.min(i + CHUNK - 1, last)))
  end
end

-- Writes what ARGV says from `first` on: ttl in ms, '1' if fields that are not given are removed,
-- '1' if the user is given, the user, rules as rules.lua says, how many fields to remove, those
-- fields, then fields and values in turn. KEYS[1] is the session. If it gets a new name, `moved_to`
-- is {key, id}. `was`: its user before; nil for a session that is created. `held`: its field `@ends`.
-- `created`: when it was created; nil for now. `replaced`: the user of a session of this name that it
-- replaces; nil if there is none.
-- Returns 1, or the time in ms if a rule of lifetimes.lua is given; {'written', 'ended', …} as cap.lua
-- says, if that ended other sessions; or {'refused', a rule, …} as rules.lua, cap.lua and lifetimes.lua
-- say, and nothing was written.
local function write(id, was, moved_to, index, users, first, held, created, replaced)
  local key, ttl, new_id = KEYS[1], tonumber(ARGV[first]), id
  if moved_to then key, new_id = moved_to.key, moved_to.id end
  local user = was or ''
  if ARGV[first + 2] == '1' then user = ARGV[first + 3] end
  local replaces = was and ARGV[first + 1] == '1'
  local rules, after = rules_at(first + 4)
  local removed, last = tonumber(ARGV[after]), #ARGV
  local leaves_user = user == '' and was and was ~= ''

  local refused = refusal(rules, KEYS[1], replaces, after)
  if refused then return refused end
  local time = redis.pcall('TIME')
  if time.err then call('TIME') end  -- raises
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local latest, ends = latest_end(rules, held, created or time[1], now)
  if latest and latest <= now then return {'refused', 'ends', ends or held} end
  if latest then ttl = math.min(ttl, latest - now) end
  local over
  if rules.cap and index ~= '' and user ~= '' and user ~= was and user ~= replaced then
    over = beyond_cap(rules, KEYS[1], id, new_id, user, index, users, now)
    if over and over.refused then return over.refused end
  end
  local lifetimes = lifetimes_in(rules, KEYS[1])
  if lifetimes then last = without_expired(lifetimes, after + 1 + removed) end
  -- Which keys the user may use was checked with KEYS, by the server.
  need('HSET', key)
  need('PEXPIREAT', key)
  if removed > 0 or replaces or leaves_user then need('HDEL', key) end
  if replaces then need('HKEYS', key) end
  if moved_to then need('RENAME', KEYS[1], key) end
  if replaced then need('DEL', key) end
  -- The indexes first: a server that refuses to write does so before the session is touched.
  if index ~= '' then
    local listed = list(id, new_id, was, user, index, users, now, ttl)
    ARGV[last + 1], ARGV[last + 2], last = '@listed', listed, last + 2
  end
  local said = over and end_beyond(over, rules, user)

  if replaced then redis.call('DEL', key) end
  if moved_to then
    redis.call('RENAME', KEYS[1], key)
    -- A marker has no @created, so it is not a session. It says to a request that came too late that
    -- the session was cycled, not ended.
    redis.call('HSET', KEYS[1], '@cycled', new_id)
    redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now + MARKED))
  end
  if replaces then
    local entries = {}
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if not string.find(field, '^@[^@]') or field == '@expiring' then entries[#entries + 1] = field end
    end
    in_chunks('HDEL', key, entries, 1, #entries)
  end
  in_chunks('HDEL', key, ARGV, after + 1, after + removed)
  if leaves_user then redis.call('HDEL', key, '@user') end
  if user ~= '' and user ~= was then
    ARGV[last + 1], ARGV[last + 2], last = '@user', user, last + 2
  end
  if not was then ARGV[last + 1], ARGV[last + 2], last = '@created', created or time[1], last + 2 end
  last = append_lifetime(ARGV, last, rules, ends or not was and held, now)
  ARGV[last + 1], ARGV[last + 2], last = '@updated', time[1], last + 2
  in_chunks('HSET', key, ARGV, after + 1 + removed, last)
  if lifetimes then set_lifetimes(lifetimes, key) end
  redis.call('PEXPIREAT', key, string.format('%.0f', now + ttl))
  local at = (ends or rules.renews) and now
  if not over then return at or 1 end
  if at then said[3] = string.format('%.0f', at) end
  return said
end
