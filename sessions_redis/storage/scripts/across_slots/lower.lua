-- Lists a session for a shorter time, if no other request has listed it since.
-- KEYS: an index
-- ARGV: id, the time in ms until which it lists the session, the new time
-- Returns 1 if it was changed, else 0.

local score = on('ZSCORE', KEYS[1], ARGV[1])
if type(score) ~= 'string' or math.abs(score * 1000 - ARGV[2]) >= 0.5 then return 0 end
need('ZADD', KEYS[1])
redis.call('ZADD', KEYS[1], string.format('%.3f', ARGV[3] / 1000), ARGV[1])
return 1
