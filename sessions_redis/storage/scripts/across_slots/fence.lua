-- Makes a request ask again whether the session may get its user: one that has listed it, and not
-- written it yet.
-- KEYS: session
-- ARGV: the user, ms for which a tombstone prevents that it is created, if it is not there
-- Returns 1; or 0 if the session has this user, and nothing was written.

local key = KEYS[1]
local found = on('HMGET', key, '@created', '@user')
if found[1] and found[2] == ARGV[1] then return 0 end
if found[1] then
  call('HINCRBY', key, '@lowered', 1)  -- as if it was listed for a shorter time: see save.lua
elseif call('EXISTS', key) == 0 then
  need('HSET', key)
  need('PEXPIRE', key)
  call('DEL', key)  -- it deletes nothing, see end.lua
  redis.call('HSET', key, '@ended', '1')
  redis.call('PEXPIRE', key, ARGV[2])
end
return 1
