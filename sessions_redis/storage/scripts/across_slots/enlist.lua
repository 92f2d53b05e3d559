-- Lists a session in indexes.
-- KEYS: indexes in one slot
-- ARGV: id, ms that it lives, ms for which to list it longer, the time in ms when it expires ('' if it
--   lives so long from now on by this server's clock)
-- Returns for each index until when it lists the session, in ms, in text.

local id, ttl, margin = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = clock()
local listed, times = (tonumber(ARGV[4]) or now + ttl) + margin, {}
for i = 1, #KEYS do
  times[i] = string.format('%.0f', list_in(KEYS[i], id, listed, margin, now))
end
return times
