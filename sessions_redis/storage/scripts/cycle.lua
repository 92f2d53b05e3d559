-- Moves a session to another name, with what other requests wrote and the changes of this one.
-- KEYS: old session, new session, and the index if one is kept
-- ARGV: old id, new id, what user indexes' names start with ('' for none), then as write.lua says
-- Returns as write.lua says, or 0 if the old session is gone and nothing was written.

local user, ends, created = user_of(KEYS[1])
if not user then
  -- The new name is random and known to this caller alone: if it is live, this very call was
  -- carried out before and is repeated because its reply was lost.
  return user_of(KEYS[2]) and 1 or 0
end
return write(ARGV[1], user, {key = KEYS[2], id = ARGV[2]}, KEYS[3] or '', ARGV[3], 4, ends, created)
