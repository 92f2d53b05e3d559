-- Saves the changes of a session that exists.
-- KEYS: session, and the index if one is kept
-- ARGV: id, what user indexes' names start with ('' for none), then as write.lua says
-- Returns as write.lua says, or 0 if the session is gone and nothing was written.

local user, ends, created = user_of(KEYS[1])
if not user then return 0 end
return write(ARGV[1], user, nil, KEYS[2] or '', ARGV[2], 3, ends, created)
