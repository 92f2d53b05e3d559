-- Notes that a session was used, and its metadata. Lists it again if one of its indexes does not.
-- KEYS: session, and the index if one is kept
-- ARGV: id, what user indexes' names start with ('' for none), seconds within which another note is
--   enough, fields of metadata and values in turn
-- Returns the time in ms since 1970; the same as a negative number if another note is enough, and
-- nothing was written; or 0 if the session is gone, and nothing was written. The session's time to
-- live stays as it is.

local key, id, index, users = KEYS[1], ARGV[1], KEYS[2], ARGV[2]
local found = on('HMGET', key, '@created', '@user', '@listed', '@seen')
if not found[1] then return 0 end
local time = call('TIME')
local now, last = time[1] * 1000 + math.floor(time[2] / 1000), #ARGV
-- Requests of one page read the session at the same moment: the first of them notes it.
local ago = time[1] - (tonumber(found[4]) or 0)
if ago >= 0 and ago < tonumber(ARGV[3]) then return -now end
need('HSET', key)
if index then
  local user = found[2] or ''
  local ttl = unlisted(key, id, user, found[3], now, index, users)
  if ttl then
    ARGV[last + 1], ARGV[last + 2] = '@listed', list(id, id, user, user, index, users, now, ttl)
  end
end
call('HSET', key, '@seen', time[1], unpack(ARGV, 4))
return now
