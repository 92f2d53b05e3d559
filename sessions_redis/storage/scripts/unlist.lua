-- Removes members from indexes, unless they have been listed for longer since they were seen.
-- KEYS: indexes in one slot
-- ARGV: members, and the scores that they had, in turn
-- Returns how many members were removed.

local leaving = {}
for i = 1, #KEYS do
  local names = {}
  for j = 1, #ARGV, 2 do
    local score = on('ZSCORE', KEYS[i], ARGV[j])
    if type(score) == 'string' and tonumber(score) <= tonumber(ARGV[j + 1]) then
      names[#names + 1] = ARGV[j]
    end
  end
  leaving[i] = names
  if #names > 0 then need('ZREM', KEYS[i]) end
end
local removed = 0
for i = 1, #KEYS do
  if #leaving[i] > 0 then removed = removed + redis.call('ZREM', KEYS[i], unpack(leaving[i])) end
end
return removed
