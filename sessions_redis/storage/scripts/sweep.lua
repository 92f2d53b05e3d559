-- Removes members whose session is gone, and members that are not IDs, from where a page begins on.
-- KEYS: the index that is listed, other indexes that may have these members
-- ARGV: what the sessions' names start with, seconds that a session may have left at most ('inf' for
--   any), how many members to skip, at how many to look, '1' for the latest first
-- Returns how many members it looked at, and how many of them were gone.

local time = call('TIME')
local now = time[1] + time[2] / 1000000
local low, high = string.format('%.3f', now), '+inf'
if ARGV[2] ~= 'inf' then high = string.format('%.3f', now + ARGV[2] + 2 * MARGIN / 1000) end
local total = call('ZCOUNT', KEYS[1], '(' .. low, high)
local members = ranked(
  KEYS[1], low, high, total, tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1')
local gone = {}
for _, member in ipairs(members) do
  if is_gone(ARGV[1], member) then gone[#gone + 1] = member end
end
remove(gone, KEYS)
return {#members, #gone}
