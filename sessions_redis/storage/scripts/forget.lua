-- Deletes a session and its index entries. Shared.

-- The names of the indexes that a session of `user` is in. Of an anonymous session it is not
-- known whether it had a user before it expired, so it may be in either half.
local function indexes_with(user, index, users)
  if index == '' then return {} end
  if user == '' then return {index, index .. ':anonymous', index .. ':signed-in'} end
  return {index, index .. ':signed-in', users .. user}
end

-- Whether a session's name has a key that ending the session deletes, and the session's user. The
-- key need not be a session, or a hash. The marker that cycling left does not count.
local function found_at(key)
  local found = on('HMGET', key, '@created', '@user', '@cycled')
  if found[1] then return true, found[2] or '' end
  if found[3] then return false, '' end
  return call('EXISTS', key) == 1, found[2] or ''
end

-- Deletes a session and its members. Returns its user, '' if anonymous; false if there was none.
local function forget(key, id, index, users)
  local is_there, user = found_at(key)
  local names = indexes_with(user, index, users)
  for _, name in ipairs(names) do need('ZREM', name) end
  if is_there then call('DEL', key) end
  for _, name in ipairs(names) do on('ZREM', name, id) end
  return is_there and user
end
