-- Creates a session, unless its name is taken.
-- KEYS: session, and the index if one is kept
-- ARGV: id, what user indexes' names start with ('' for none), then as write.lua says
-- Returns as write.lua says, or 0 if the name is taken and nothing was written.

if call('EXISTS', KEYS[1]) == 1 then return 0 end
if tonumber(ARGV[3]) > 0 then return write(ARGV[1], nil, nil, KEYS[2] or '', ARGV[2], 3) end
return 1
