-- A session as stored in Redis.
-- KEYS: session
-- Returns its time to live in ms, and its fields and values in turn.

return {call('PTTL', KEYS[1]), call('HGETALL', KEYS[1])}
