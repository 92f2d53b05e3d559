-- Shared.

-- The user of a session that exists, '' if anonymous; nil if there is no session.
local function user_of(key)
  local found = redis.pcall('HMGET', key, '@created', '@user')
  if found.err then found = on('HMGET', key, '@created', '@user') end
  if not found[1] then return nil end
  return found[2] or ''
end
