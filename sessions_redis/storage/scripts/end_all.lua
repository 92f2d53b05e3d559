-- Ends sessions of a user, but for one. Looks at a bounded number of them, which leave the index.
-- KEYS: the user's index, the index
-- ARGV: what the sessions' names start with, the user, id to spare ('' for none), how many to look
--   at: two at least; then, if the ends are announced, the channel and the reason
-- Returns the ids of the sessions that were ended, the id that the spared one has now ('' for
-- none), and 1 if there may be more, 0 if this was the whole index.

local sessions, user, most = ARGV[1], ARGV[2], tonumber(ARGV[4])
local members = call('ZRANGE', KEYS[1], 0, most - 1)
if #members == 0 then return {{}, '', 0} end
-- It may have been cycled since the caller, or the call before this one, knew it.
local spared = ARGV[3] ~= '' and present_id(sessions, ARGV[3]) or ''
local ended, keys, leaving = {}, {}, {}
for _, id in ipairs(members) do
  local is_theirs = on('HGET', sessions .. id, '@user') == user
  if is_theirs and id ~= spared then
    ended[#ended + 1] = id
    keys[#keys + 1] = sessions .. id
  end
  if not is_theirs or id ~= spared then leaving[#leaving + 1] = id end
end

-- Each command once for all of them: that takes a fifth of the time.
local half = KEYS[2] .. ':signed-in'
need('ZREM', KEYS[1])
need('ZREM', KEYS[2])
need('ZREM', half)
need_to_announce(ARGV[5])
if #ended > 0 then
  call('UNLINK', unpack(keys))
  on('ZREM', KEYS[2], unpack(ended))
  on('ZREM', half, unpack(ended))
  for _, id in ipairs(ended) do announce(ARGV[5], id, ARGV[6], user) end
end
if #leaving > 0 then on('ZREM', KEYS[1], unpack(leaving)) end
return {ended, spared, #members == most and 1 or 0}
