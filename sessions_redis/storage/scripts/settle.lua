-- Notes that the former engine has no copy of a session any more.
-- KEYS: session
-- Returns 1 if that is new, else 0.

return call('HDEL', KEYS[1], '@copied')
