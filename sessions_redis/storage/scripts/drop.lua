-- Removes members whose session is gone, and members that are no ids. What is live stays, whatever
-- the caller thinks.
-- KEYS: indexes
-- ARGV: what the sessions' names start with, members
-- Returns how many members were removed.

local function is_gone(id)
  if #id ~= 32 or string.find(id, '[^0-9a-f]') then return true end
  return type(on('HGET', ARGV[1] .. id, '@created')) ~= 'string'
end

local gone = {}
for i = 2, #ARGV do
  if is_gone(ARGV[i]) then gone[#gone + 1] = ARGV[i] end
end
if #gone == 0 then return 0 end
for _, index in ipairs(KEYS) do need(index, 'ZREM') end
local removed = 0
for _, index in ipairs(KEYS) do removed = removed + redis.call('ZREM', index, unpack(gone)) end
return removed
