-- Notes that the former engine has no copy of a session any more.
-- KEYS: session, what became of it
-- ARGV: ms for which is kept what became of it from now on
-- Returns 1 if that is new, else 0.

if on('HGET', KEYS[1], '@copied') ~= '1' then return 0 end
need('HDEL', KEYS[1])
local lasts = call('PTTL', KEYS[2])
if lasts > tonumber(ARGV[1]) and is_refused(KEYS[2]) then
  note(KEYS[2], 'became', 'adopted', ARGV[1])
end
return redis.call('HDEL', KEYS[1], '@copied')
