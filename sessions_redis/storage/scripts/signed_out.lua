-- Whether a session must not move in because all sessions of its user were ended.
-- KEYS: the note of that
-- ARGV: id, when the former engine saved the session last in ms ('' if unknown)
-- Returns 1 or 0

return is_signed_out(KEYS[1], ARGV[1], ARGV[2]) and 1 or 0
