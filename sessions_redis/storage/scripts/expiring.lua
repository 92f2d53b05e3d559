-- Entries with a lifetime of their own: fields that the server removes by itself. Shared.
-- '@expiring' has the names of these fields, each as its length, ':' and the name: '4:code8:messages'.
-- The server alone knows when they expire. Names of fields that expired or became permanent stay there
-- until the next write that is about lifetimes.

-- The names in a text as above, up to where it is damaged.
local function names_in(text)
  local names, at = {}, 1
  while true do
    local _, last, length = string.find(text, '^(%d+):', at)
    if not last or #text < last + length then return names end
    at = last + length + 1
    names[#names + 1] = string.sub(text, last + 1, at - 1)
  end
end

-- How many ms each of these fields has left: -1 if it never expires, -2 if it is not there.
local function left_of(key, names)
  local left = {}
  for i = 1, #names, 1000 do
    local last = math.min(i + 999, #names)
    local part = call('HPTTL', key, 'FIELDS', last - i + 1, unpack(names, i, last))
    for j = 1, #part do left[#left + 1] = part[j] end
  end
  return left
end

-- Writes to '@expiring' which of these fields expire. In the millisecond in which one does, Redis says
-- that it has expired, and still returns it to requests that read the session.
local function note_expiring(key, names)
  local left, text, seen = left_of(key, names), {}, {}
  for i, name in ipairs(names) do
    local expires = left[i] >= 0 or left[i] == -2 and redis.call('HGET', key, name)
    if expires and not seen[name] then text[#text + 1] = #name .. ':' .. name end
    seen[name] = true
  end
  if #text > 0 then
    redis.call('HSET', key, '@expiring', table.concat(text))
  else
    redis.call('HDEL', key, '@expiring')
  end
end
