-- Writes fields of metadata that the session does not have yet.
-- KEYS: session
-- ARGV: fields of metadata and values in turn
-- Returns the values that it has of these fields then, in turn: false for none, as if it is gone or
--   being cycled, and nothing was written.

local key, names, missing = KEYS[1], {}, {}
for i = 1, #ARGV, 2 do names[#names + 1] = ARGV[i] end
local values = on('HMGET', key, '@created', '@frozen', unpack(names))
if not values[1] then return {} end
-- Its copy under another name is made of what it was.
local is_frozen = values[2] and tonumber(values[2]) > call('TIME')[1] * 1000
local held = {}
for i = 1, #names do
  held[i] = values[i + 2]
  if not held[i] and not is_frozen then
    held[i] = ARGV[2 * i]
    missing[#missing + 1], missing[#missing + 2] = names[i], held[i]
  end
end
if #missing > 0 then call('HSET', key, unpack(missing)) end
return held
