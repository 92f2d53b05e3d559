-- What rules say of the lifetimes of fields, see rules.lua. Shared.

-- Why no field of this hash can expire: 'unknown' or 'denied', and the command; nil if fields can.
local function cannot_expire(key)
  for _, command in ipairs({'HPTTL', 'HPEXPIRE', 'HGET', 'HDEL'}) do
    if can then
      local is_known, is_allowed = pcall(can, command, key)
      if not is_known then return 'unknown', command end
      if not is_allowed then return 'denied', command end
    elseif command == 'HPTTL' then
      local reply = redis.pcall(command, key, 'FIELDS', 1, '@')
      if type(reply) == 'table' and reply.err then return 'unknown', command end
    end
  end
end

-- The lifetimes that rules are about, in ms by field: -1 for none, -2 if the field, which was to keep
-- its lifetime, has expired. nil if no rule is about one. `key`: where the session is by now.
local function lifetimes_in(rules, key)
  local lifetimes
  for _, name in ipairs(rules) do
    local value = rules[name]
    local kind, field = string.match(name, '^(%l+):(.*)$')
    local ms
    if kind == 'expires' then ms = tonumber(value) end
    if kind == 'keeps' then ms = call('HPTTL', key, 'FIELDS', 1, field)[1] end
    if kind == 'lasts' then ms = -1 end
    if ms then
      lifetimes = lifetimes or {}
      lifetimes[field] = ms
    end
  end
  return lifetimes
end

-- Takes fields that have expired out of ARGV, where fields and values are from `first` on. Returns
-- where they end.
local function without_expired(lifetimes, first)
  local last = first - 1
  for i = first, #ARGV, 2 do
    if lifetimes[ARGV[i]] ~= -2 then
      ARGV[last + 1], ARGV[last + 2], last = ARGV[i], ARGV[i + 1], last + 2
    end
  end
  for i = #ARGV, last + 1, -1 do ARGV[i] = nil end
  return last
end

-- Sets the lifetimes of fields, after they were written.
local function set_lifetimes(lifetimes, key)
  local names = names_in(redis.call('HGET', key, '@expiring') or '')
  for field, ms in pairs(lifetimes) do
    names[#names + 1] = field
    if ms >= 0 then
      redis.call('HPEXPIRE', key, string.format('%.0f', ms), 'FIELDS', 1, field)
    end
  end
  note_expiring(key, names)
end
