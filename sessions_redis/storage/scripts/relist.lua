-- Lists sessions again that an index has lost, or that were saved without indexes. Shared.

-- Whether each index of a session lists it, until a time that fits its expiry. `listed`: that time.
local function is_listed(id, user, expires, listed, index, users)
  return listed and listed >= expires and listed <= expires + 2 * MARGIN
    and type(on('ZSCORE', index, id)) == 'string'
    and type(on('ZSCORE', index .. (user == '' and ':anonymous' or ':signed-in'), id)) == 'string'
    and (user == '' or type(on('ZSCORE', users .. user, id)) == 'string')
end

-- How long a session lives, in ms, if one of its indexes does not list it; nil if all do.
-- A session without a time to live, which somebody took away, is left to its next save.
local function unlisted(key, id, user, listed, now, index, users)
  local ttl = call('PTTL', key)
  if ttl <= 0 or is_listed(id, user, now + ttl, tonumber(listed), index, users) then return nil end
  return ttl
end
