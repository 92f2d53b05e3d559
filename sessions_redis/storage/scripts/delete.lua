-- Deletes a session and its index entries; also another key that has its name, but no marker.
-- KEYS: session, and the index if one is kept
-- ARGV: id, what user indexes' names start with ('' for none); then, if the end is announced, the channel
--   and the reason
-- Returns 'deleted:' and the session's user, if it has one; or 'nothing', if there was no session.
-- A list would take the server longer.

need_to_announce(ARGV[3])
local user = forget(KEYS[1], ARGV[1], KEYS[2] or '', ARGV[2])
if user then announce(ARGV[3], ARGV[1], ARGV[4], user) end
return user and 'deleted:' .. user or 'nothing'
