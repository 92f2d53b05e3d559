-- Deletes a copy of a session that stays under its former name, because cycling took too long.
-- KEYS: the copy
-- ARGV: the session's id, ms for which a marker leads from the copy to it
-- Returns 1 if there was a copy, else 0. An index may list the copy alone for a moment, so requests that
-- end it go on to the session.

if type(on('HGET', KEYS[1], '@created')) ~= 'string' then return 0 end
need('HSET', KEYS[1])
need('PEXPIRE', KEYS[1])
call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '@cycled', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
