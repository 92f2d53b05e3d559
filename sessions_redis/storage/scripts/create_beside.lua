-- Creates a session beside one that another request cycled meanwhile, if that one is still alive.
-- KEYS: the new session, and the index if one is kept
-- ARGV: its id, what user indexes' names start with ('' for none), what sessions' names start with,
--   the id that the other session had before, the user it has to have, then as write.lua says
-- Returns as write.lua says; or 0 if the other session is gone, or has another user, and nothing was written.

-- The new name is random and known to this caller alone: if it is live, this very call was carried
-- out before and is repeated because its reply was lost.
if user_of(KEYS[1]) then return 1 end
local present = present_id(ARGV[3], ARGV[4])
if not present or user_of(ARGV[3] .. present) ~= ARGV[5] then return 0 end
if tonumber(ARGV[6]) > 0 then return write(ARGV[1], nil, nil, KEYS[2] or '', ARGV[2], 6) end
return 1
