-- Ends sessions of any user, and anonymous ones.
-- KEYS: the index if one is kept
-- ARGV: what the sessions' names start with, what user indexes' names start with ('' for none); if the
--   ends are announced, the channel and the reason; then ids, all different
-- Returns the ids of the sessions that were ended and their users ('' if anonymous), in turn.

local sessions, users, index = ARGV[1], ARGV[2], KEYS[1] or ''
local ended, keys, leaving = {}, {}, {}
local channel, reason, first = announced_from(3)
for i = first, #ARGV do
  local id = ARGV[i]
  local is_there, user = found_at(sessions .. id)
  if is_there then
    ended[#ended + 1] = id
    ended[#ended + 1] = user
    keys[#keys + 1] = sessions .. id
  end
  for _, name in ipairs(indexes_with(user, index, users)) do
    local ids = leaving[name] or {}
    ids[#ids + 1] = id
    leaving[name] = ids
  end
end

for name in pairs(leaving) do need('ZREM', name) end
need_to_announce(channel)
-- Each command once for all of them, as in end_all.lua.
if #keys > 0 then call('UNLINK', unpack(keys)) end
for name, ids in pairs(leaving) do on('ZREM', name, unpack(ids)) end
for i = 1, #ended, 2 do announce(channel, ended[i], reason, ended[i + 1]) end
return ended
