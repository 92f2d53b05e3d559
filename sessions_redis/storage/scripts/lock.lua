-- Takes the lock of a session, unless another request holds it.
-- KEYS: session
-- ARGV: the token of this request, ms for which it holds the lock at most
-- Returns {'taken', the session's fields and values in turn}; {'held', ms for which the other request
--   holds it at most}; or {'gone'}.

local found = on('HMGET', KEYS[1], '@created', '@lock')
if not found[1] then return {'gone'} end
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local token, until_ms = string.match(found[2] or '', '^(%S+) (%d+)$')
if token and token ~= ARGV[1] and tonumber(until_ms) > now then
  return {'held', string.format('%.0f', until_ms - now)}
end
need('HSET', KEYS[1])
local fields = call('HGETALL', KEYS[1])
call('HSET', KEYS[1], '@lock', ARGV[1] .. ' ' .. string.format('%.0f', now + ARGV[2]))
return {'taken', fields}
