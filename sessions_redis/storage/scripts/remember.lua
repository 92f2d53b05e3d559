-- Adds sessions to the sample of those that have moved in.
-- KEYS: the sample
-- ARGV: ms for which it stays, then places in it and sessions in turn
-- Returns 1

need('HSET', KEYS[1])
need('PEXPIREAT', KEYS[1])
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now + ARGV[1]))
return 1
