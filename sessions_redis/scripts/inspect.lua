-- A session as it lies in Redis.
-- KEYS: session
-- Returns its time to live in ms, and its fields and values in turn.

return {redis.call('PTTL', KEYS[1]), redis.call('HGETALL', KEYS[1])}
