-- Counts sessions by time left.
-- KEYS: indexes
-- ARGV: bounds in seconds from now, rising ('inf' for any)
-- Returns for each index how many members lie between each bound and the next.

local time = call('TIME')
local now = time[1] + time[2] / 1000000
local counts = {}
for key, index in ipairs(KEYS) do
  counts[key] = {}
  for i = 1, #ARGV - 1 do
    local low = string.format('(%.3f', now + ARGV[i])
    local high = ARGV[i + 1] == 'inf' and '+inf' or string.format('%.3f', now + ARGV[i + 1])
    counts[key][i] = call('ZCOUNT', index, low, high)
  end
end
return counts
