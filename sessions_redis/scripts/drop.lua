-- Removes members whose session is gone, and members that are no ids. What is live stays, whatever
-- the caller thinks.
-- KEYS: indexes
-- ARGV: what the sessions' names start with, members
-- Returns how many members were removed.

local function is_gone(id)
  if #id ~= 32 or string.find(id, '[^0-9a-f]') then return true end
  local created = redis.pcall('HGET', ARGV[1] .. id, '@created')
  if type(created) ~= 'table' then return not created end
  if string.find(tostring(created.err), 'WRONGTYPE') then return true end  -- no text in fakeredis
  redis.call('HGET', ARGV[1] .. id, '@created')  -- raises it, whatever else it is
end

local removed = 0
for i = 2, #ARGV do
  if is_gone(ARGV[i]) then
    for _, index in ipairs(KEYS) do
      removed = removed + redis.call('ZREM', index, ARGV[i])
    end
  end
end
return removed
