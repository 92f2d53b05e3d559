-- Notes that a session is created beside this one, so that ending all sessions of a user finds both.
-- KEYS: session
-- ARGV: the user that it must have, the id of the new session, ms for which that is kept
-- Returns {'noted'}; {'busy'} while it is being cycled; {'cycled', its new id}; or {'gone'}, also if it
--   has another user.

local MOST = 20
local key = KEYS[1]
local found = on('HMGET', key, '@created', '@user', '@beside', '@frozen', '@cycled')
if not found[1] then return found[5] and {'cycled', found[5]} or {'gone'} end
if (found[2] or '') ~= ARGV[1] then return {'gone'} end
local now = clock()
if found[4] and tonumber(found[4]) > now then return {'busy'} end
local kept = {ARGV[2] .. ' ' .. string.format('%.0f', now + ARGV[3])}
for id, until_ms in string.gmatch(found[3] or '', '(%S+) (%d+)') do
  if tonumber(until_ms) > now and id ~= ARGV[2] and #kept < MOST then
    kept[#kept + 1] = id .. ' ' .. until_ms
  end
end
call('HSET', key, '@beside', table.concat(kept, ' '))
return {'noted'}
