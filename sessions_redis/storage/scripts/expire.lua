-- Deletes a session that is saved with no time left.
-- KEYS: session, and the index if one is kept
-- ARGV: as delete.lua says
-- Returns 1, or 0 if the session is gone already.

local user = user_of(KEYS[1])
if not user then return 0 end
need_to_announce(ARGV[3])
forget(KEYS[1], ARGV[1], KEYS[2] or '', ARGV[2])
announce(ARGV[3], ARGV[1], ARGV[4], user)
return 1
