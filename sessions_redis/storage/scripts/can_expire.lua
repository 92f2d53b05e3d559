-- Whether fields of a hash can expire by themselves on this server.
-- KEYS: a session; it need not exist
-- Returns {} if they can; or {'unknown' or 'denied', the command}

local why, command = cannot_expire(KEYS[1])
return why and {why, command} or {}
