-- Ends all sessions of a user, but for one: in one step, so that none slips away to another key.
-- KEYS: the user's index, the index
-- ARGV: what the sessions' names start with, what user indexes' names start with, the user, id to
--   spare ('' for none)
-- Returns the ids of the sessions that were ended.

-- What has expired goes in one command, however much there is of it.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', score(clock()))
local ended = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local key = ARGV[1] .. id
  if redis.pcall('HGET', key, '@user') ~= ARGV[3] then
    redis.call('ZREM', KEYS[1], id)
  elseif id ~= ARGV[4] then
    forget(key, id, KEYS[2], ARGV[2])
    ended[#ended + 1] = id
  end
end
for _, index in ipairs({KEYS[1], KEYS[2], half_of(KEYS[2], ARGV[3])}) do settle(index) end
return ended
