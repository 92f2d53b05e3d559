-- Gives up cycling a session: it stays under its name.
-- KEYS: session
-- ARGV: the id that it was about to get
-- Returns 1 if it was about to get this one, else 0.

if on('HGET', KEYS[1], '@next') ~= ARGV[1] then return 0 end
-- It may have left its indexes. Without the time until which they list it, its next save lists it.
call('HDEL', KEYS[1], '@frozen', '@next', '@listed', '@ahead')
return 1
