-- Notes metadata of a session that exists, and leaves its time to live alone.
-- KEYS: session
-- ARGV: fields and values in turn
-- Returns 1, or 0 if the session is gone and nothing was written.

if type(on('HGET', KEYS[1], '@created')) ~= 'string' then return 0 end
call('HSET', KEYS[1], unpack(ARGV))
return 1
