-- Notes that a session is about to be ended, so that the former engine's copy does not move in.
-- KEYS: session, what became of it
-- ARGV: ms for which the note stays at least; ms if nobody deletes the former engine's copy, because
--   its key is not known ('' if it is)
-- Returns 1

local lasts = tonumber(ARGV[1])
local found = on('HMGET', KEYS[1], '@created', '@copied')
local kept = call('PTTL', KEYS[2])
local is_shared = found[2] == 'shared'
if is_shared then lasts = math.max(lasts, call('PTTL', KEYS[1])) end
if ARGV[2] ~= '' and (is_shared or not (found[1] or kept > 0)) then
  lasts = math.max(lasts, tonumber(ARGV[2]))
end
-- The note that it moved in stays as long as the former engine's copy lives.
lasts = math.max(lasts, kept)
note(KEYS[2], 'became', 'ended', lasts)
return 1
