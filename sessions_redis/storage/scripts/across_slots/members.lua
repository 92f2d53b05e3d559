-- The members of a user's index that are listed for the shortest time.
-- KEYS: the user's index
-- ARGV: how many at most
-- Returns {how many of them expired so long ago that no clock can be so wrong, members}

local now = call('TIME')[1]
local members = call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)
return {call('ZCOUNT', KEYS[1], '-inf', now - 600), members}
