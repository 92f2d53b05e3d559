-- Adds to an entry that holds an integer, or to nothing, which counts as 0.
-- KEYS: session
-- ARGV: field, what to add
-- Returns the new value in text, '' if the session is gone, or the server's error if the entry is
-- not an integer or would leave 64 bits; nothing was written then.

local found = on('HMGET', KEYS[1], '@created', '@expiring')
if not found[1] then return '' end
local now = call('TIME')[1]
need('HINCRBY', KEYS[1])
need('HSET', KEYS[1])
need('HGET', KEYS[1])
if found[2] then
  need('HPTTL', KEYS[1])
  need('HDEL', KEYS[1])
end
local reply = redis.pcall('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
if type(reply) == 'table' then
  local said = tostring(reply.err)  -- no text by itself in fakeredis
  if string.find(said, 'integer') or string.find(said, 'overflow') then return {said} end
  redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])  -- raises it: the server refuses to write
end
redis.call('HSET', KEYS[1], '@updated', now)
-- An entry that had expired is there again, and never expires.
if found[2] then note_expiring(KEYS[1], names_in(found[2])) end
-- Not the reply itself: Lua's numbers are exact to 53 bits only.
return redis.call('HGET', KEYS[1], ARGV[1])
