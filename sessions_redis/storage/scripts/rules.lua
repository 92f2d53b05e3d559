-- Rules: what policies ask of a write, checked in the same step, before anything is written. Shared.

local NO_RULES = {}

-- The rules that ARGV gives from `first` on: how many arguments, then names and values in turn.
-- Returns them by name, with the names in turn, and the place of the argument after them.
local function rules_at(first)
  local count = tonumber(ARGV[first])
  if count == 0 then return NO_RULES, first + 1 end
  local rules = {}
  for i = first + 1, first + count, 2 do
    rules[ARGV[i]], rules[#rules + 1] = ARGV[i + 1], ARGV[i]
  end
  return rules, first + 1 + count
end

-- Whether a field holds an entry, not metadata.
local function is_entry(field)
  return not string.find(field, '^@[^@]')
end

-- The most entries that a refusal names, and the most bytes of each name.
local NAMED, LONGEST_NAME = 5, 100

-- {'refused', 'bytes', how many bytes all entries would take, names and sizes of the largest ones in
-- turn} if the write that ARGV says from `after` on, as write.lua says, makes the entries of the
-- session larger, and larger than `limit`. The size of an entry is that of its name and its value.
-- `replaces`: fields that are not given are removed.
local function too_large(limit, key, replaces, after)
  local held, removed, sizes = call('HGETALL', key), tonumber(ARGV[after]), {}
  local before, total = 0, 0
  for i = 1, #held, 2 do
    if is_entry(held[i]) then
      sizes[held[i]] = #held[i] + #held[i + 1]
      before = before + sizes[held[i]]
    end
  end
  if replaces then sizes = {} end
  for i = after + 1, after + removed do sizes[ARGV[i]] = nil end
  for i = after + 1 + removed, #ARGV, 2 do
    if is_entry(ARGV[i]) then sizes[ARGV[i]] = #ARGV[i] + #ARGV[i + 1] end
  end
  local names = {}
  for name, size in pairs(sizes) do total, names[#names + 1] = total + size, name end
  if total <= limit or total <= before then return nil end
  table.sort(names, function(a, b) return sizes[a] > sizes[b] or sizes[a] == sizes[b] and a < b end)
  local refused = {'refused', 'bytes', string.format('%.0f', total)}
  for i = 1, math.min(#names, NAMED) do
    refused[#refused + 1] = string.sub(names[i], 1, LONGEST_NAME)
    refused[#refused + 1] = string.format('%.0f', sizes[names[i]])
  end
  return refused
end

-- Which rule does not hold for the session: {'refused', its name, details}; nil if all hold.
-- A rule 'expects:<field>' wants the field to have this value, 'lacks:<field>' wants no such field; the
-- detail is the field's value, and missing if there is none. 'lock' wants this token to hold the lock.
-- 'bytes' wants the entries to take at most so many bytes after the write, see `too_large`.
-- 'expires:<field>' gives the field a lifetime in ms. 'keeps:<field>' lets it keep the one that it has;
-- a field that has expired is not written. 'lasts:<field>' says that it had one, and has none any more,
-- or is removed. If no field can expire here, these do not hold: then the refusal has 'unknown' or
-- 'denied', and the command that is missing.
local function refusal(rules, key, replaces, after)
  for _, name in ipairs(rules) do
    local value = rules[name]
    local kind, field = string.match(name, '^(%l+):(.*)$')
    if kind == 'expects' or kind == 'lacks' then
      local held = call('HGET', key, field)
      if kind == 'expects' and held ~= value or kind == 'lacks' and held then
        return {'refused', name, held or nil}
      end
    elseif kind == 'expires' or kind == 'keeps' or kind == 'lasts' then
      local why, command = cannot_expire(key)
      if why then return {'refused', name, why, command} end
    end
  end
  if rules.lock and string.match(call('HGET', key, '@lock') or '', '^%S*') ~= rules.lock then
    return {'refused', 'lock'}
  end
  if rules.bytes then return too_large(tonumber(rules.bytes), key, replaces, after) end
end
