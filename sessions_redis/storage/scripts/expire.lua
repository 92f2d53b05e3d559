-- Deletes a session that is saved with no time left.
-- KEYS: session, and the index if one is kept
-- ARGV: id, what user indexes' names start with ('' for none)
-- Returns 1, or 0 if the session is gone already.

if not user_of(KEYS[1]) then return 0 end
forget(KEYS[1], ARGV[1], KEYS[2] or '', ARGV[2])
return 1
