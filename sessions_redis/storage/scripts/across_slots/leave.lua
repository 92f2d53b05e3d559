-- Completes the cycling of a session: a marker takes its place, which is no session.
-- KEYS: the session's former name
-- ARGV: the id that it got, ms for which the marker stays
-- Returns 'left'; 'gone' if the session was ended since it was frozen; or 'thawed' if that took so long
--   that others may have written to it.

local key = KEYS[1]
local found = on('HMGET', key, '@created', '@frozen', '@next', '@cycled')
if found[4] == ARGV[1] then return 'left' end  -- this is repeated, because its reply was lost
if not found[1] then return 'gone' end
local now = clock()
if found[3] ~= ARGV[1] or tonumber(found[2]) <= now then return 'thawed' end
need('HSET', key)
need('PEXPIREAT', key)
-- A server whose memory is full does not refuse this, nor what follows it.
call('DEL', key)
redis.call('HSET', key, '@cycled', ARGV[1])
redis.call('PEXPIREAT', key, string.format('%.0f', now + ARGV[2]))
return 'left'
