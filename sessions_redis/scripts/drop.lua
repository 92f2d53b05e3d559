-- Removes members whose session is gone. What is live stays, whatever the caller thinks.
-- KEYS: indexes
-- ARGV: what the sessions' names start with, ids
-- Returns how many members were removed.

local removed = 0
for i = 2, #ARGV do
  if type(redis.pcall('HGET', ARGV[1] .. ARGV[i], '@created')) ~= 'string' then
    for _, index in ipairs(KEYS) do
      removed = removed + redis.call('ZREM', index, ARGV[i])
    end
  end
end
return removed
