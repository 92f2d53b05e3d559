-- Notes that a session is about to be ended, so that the former engine's copy does not move in.
-- KEYS: session, what became of it
-- ARGV: ms for which the note stays at least
-- Returns 1

local lasts = tonumber(ARGV[1])
-- The former engine may still have a copy, whose key nobody may know here.
if type(on('HGET', KEYS[1], '@copied')) == 'string' then
  lasts = math.max(lasts, call('PTTL', KEYS[1]))
end
lasts = math.max(lasts, call('PTTL', KEYS[2]))
note(KEYS[2], 'became', 'ended', lasts)
return 1
