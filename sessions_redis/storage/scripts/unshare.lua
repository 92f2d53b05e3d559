-- Deletes a session that was shared with workers of the former engine, and that is gone there.
-- KEYS: session, what became of it
-- Returns 1 if it was deleted, else 0.

if not is_outdated(KEYS[1], on('HGET', KEYS[1], '@copied'), KEYS[2]) then return 0 end
return call('DEL', KEYS[1])
