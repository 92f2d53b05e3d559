-- Members of an index by rank, which the server finds at once however many come before. Shared.

-- The names of `wanted` members with a score above `low` and up to `high` ('+inf' for any), after
-- skipping some; the latest first, or the soonest. `total`: how many members have such a score.
local function ranked(index, low, high, total, skipped, wanted, latest_first)
  local first, last = skipped, math.min(skipped + wanted, total) - 1
  if first > last then return {} end
  if latest_first then
    local later = high == '+inf' and 0 or call('ZCOUNT', index, '(' .. high, '+inf')
    return call('ZRANGE', index, later + first, later + last, 'REV')
  end
  local sooner = call('ZCOUNT', index, '-inf', low)
  return call('ZRANGE', index, sooner + first, sooner + last)
end
