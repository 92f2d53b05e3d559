-- Notes that a session was used, and its metadata.
-- KEYS: session
-- ARGV: seconds within which another note is enough, fields of metadata and values in turn
-- Returns {the time in ms since 1970, negative}, in text, if another note is enough and nothing was
--   written; {the time} if the session has no time to live;
--   {the time, the session's user, when it expires, until when the indexes list it ('' if unknown)}, in
--   text; or {'0'} if the session is gone or being cycled, and nothing was written. The session's time
--   to live stays as it is.

local key = KEYS[1]
local found = on('HMGET', key, '@created', '@user', '@listed', '@seen', '@frozen')
if not found[1] then return {'0'} end
local now, seconds = clock()
if found[5] and tonumber(found[5]) > now then return {'0'} end
local text = string.format('%.0f', now)
-- Requests of one page read the session at the same moment: the first of them notes it.
local ago = seconds - (tonumber(found[4]) or 0)
if ago >= 0 and ago < tonumber(ARGV[1]) then return {'-' .. text} end
local left = call('PTTL', key)
call('HSET', key, '@seen', seconds, unpack(ARGV, 2))
-- A session without a time to live, which somebody took away, is left to its next save.
if left <= 0 then return {text} end
return {text, found[2] or '', string.format('%.0f', now + left), found[3] or ''}
