-- Members of an index that lists one part of the sessions, by rank.
-- KEYS: index
-- ARGV: two times in seconds, above the first of which and up to the second of which members must be
--   listed; '1' if these times are counted from now; then for each range: its first and its last
--   rank, which count from the end if negative, and how many members of it to return at most
-- Returns the two times, how many members fit, and for each range: its first rank, the step from one
--   returned member to the next, and members and scores in turn.

local index, low, high = KEYS[1], ARGV[1], ARGV[2]
if ARGV[3] == '1' then
  local time = call('TIME')
  local now = time[1] + time[2] / 1000000
  if low ~= '-inf' then low = string.format('%.3f', now + low) end
  if high ~= '+inf' then high = string.format('%.3f', now + high) end
end
local total = call('ZCOUNT', index, '(' .. low, high)
local before = low == '-inf' and 0 or call('ZCOUNT', index, '-inf', low)

local answer = {low, high, total}
for i = 4, #ARGV, 3 do
  local first, last, most = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  if first < 0 then first = math.max(total + first, 0) end
  if last < 0 then last = total + last end
  first, last = math.min(first, total), math.min(last, total - 1)
  local step = math.max(math.ceil((last - first + 1) / most), 1)
  local found = {}
  if first > last then
    found = {}
  elseif step == 1 then
    found = call('ZRANGE', index, before + first, before + last, 'WITHSCORES')
  else
    for rank = first, last, step do
      local one = call('ZRANGE', index, before + rank, before + rank, 'WITHSCORES')
      found[#found + 1], found[#found + 2] = one[1], one[2]
    end
  end
  answer[#answer + 1] = {first, step, found}
end
return answer
