-- Shared.

-- The user of a session that exists, '' if anonymous, when it ends at the latest, and when it was
-- created; nil if there is no session.
local function user_of(key)
  local found = redis.pcall('HMGET', key, '@created', '@user', '@ends')
  if found.err then found = on('HMGET', key, '@created', '@user', '@ends') end
  if not found[1] then return nil end
  return found[2] or '', found[3], found[1]
end
