-- Notes that all sessions of a user are ended: none of them moves in from the former engine.
-- KEYS: the note
-- ARGV: id of the session to spare ('' for none), ms for which the note stays, '1' if sessions that the
--   former engine saves from now on may move in
-- Returns 1

note(KEYS[1], 'spared', ARGV[1], ARGV[2])
local time = call('TIME')
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], 'at', string.format('%.0f', time[1] * 1000 + time[2] / 1000))
else
  redis.call('HSET', KEYS[1], 'at', '')
end
return 1
