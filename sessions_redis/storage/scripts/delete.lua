-- Deletes a session and its index entries; also another key that has its name, but no marker.
-- KEYS: session, and the index if one is kept
-- ARGV: id, what user indexes' names start with ('' for none)
-- Returns 'deleted:' and the session's user, if it has one; or 'nothing', if there was no session.
-- A list would take the server longer.

local user = forget(KEYS[1], ARGV[1], KEYS[2] or '', ARGV[2])
return user and 'deleted:' .. user or 'nothing'
