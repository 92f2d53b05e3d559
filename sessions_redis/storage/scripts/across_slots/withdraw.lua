-- Removes a session from an index, if no other request has listed it since.
-- KEYS: an index
-- ARGV: id, the time in ms until which it listed the session
-- Returns 1 if it was removed, else 0.

local score = on('ZSCORE', KEYS[1], ARGV[1])
if type(score) ~= 'string' or math.abs(score * 1000 - ARGV[2]) >= 0.5 then return 0 end
return call('ZREM', KEYS[1], ARGV[1])
