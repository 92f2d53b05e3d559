-- Ends sessions of anybody, and of nobody.
-- KEYS: the index if one is kept
-- ARGV: what the sessions' names start with, what user indexes' names start with ('' for none), ids
-- Returns the ids of the sessions that were ended and their users ('' for nobody), in turn.

local index = KEYS[1] or ''
local ended, unsettled = {}, {}
for i = 3, #ARGV do
  local deleted, user = forget(ARGV[1] .. ARGV[i], ARGV[i], index, ARGV[2])
  if deleted == 1 then
    ended[#ended + 1] = ARGV[i]
    ended[#ended + 1] = user
  end
  for _, name in ipairs(indexes_with(user, index, ARGV[2])) do unsettled[name] = true end
end
for name in pairs(unsettled) do settle(name) end
return ended
