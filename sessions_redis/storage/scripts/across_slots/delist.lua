-- Removes sessions from indexes.
-- KEYS: indexes in one slot
-- ARGV: ids, at most 1,000
-- Returns how many members were removed.

local removed = 0
for i = 1, #KEYS do need('ZREM', KEYS[i]) end
for i = 1, #KEYS do
  local count = on('ZREM', KEYS[i], unpack(ARGV))
  if type(count) == 'number' then removed = removed + count end
end
return removed
