-- Removes members whose session is gone, and members that are not IDs. What is live stays, whatever
-- the caller thinks.
-- KEYS: indexes
-- ARGV: what the sessions' names start with, members
-- Returns how many members were removed.

local gone = {}
for i = 2, #ARGV do
  if is_gone(ARGV[1], ARGV[i]) then gone[#gone + 1] = ARGV[i] end
end
return remove(gone, KEYS)
