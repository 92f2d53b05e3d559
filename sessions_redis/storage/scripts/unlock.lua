-- Releases the lock of a session. The token stays, so this can be sent again if its reply is lost.
-- KEYS: session
-- ARGV: the token of this request
-- Returns 1; or 0 if another request has taken it, or the session is gone.

local found = on('HMGET', KEYS[1], '@created', '@lock')
if not found[1] or string.match(found[2] or '', '^%S*') ~= ARGV[1] then return 0 end
call('HSET', KEYS[1], '@lock', ARGV[1] .. ' 0')
return 1
