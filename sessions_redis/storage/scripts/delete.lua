-- Deletes a session and its index entries, whatever lies under its name but a marker of cycling.
-- KEYS: session, and the index if one is kept
-- ARGV: id, what user indexes' names start with ('' for none)
-- Returns 1, or 0 if there was nothing to delete, and the session's user ('' for nobody).

return {forget(KEYS[1], ARGV[1], KEYS[2] or '', ARGV[2])}
