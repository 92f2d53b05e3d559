-- Lists sessions again that an index has lost, or that were saved without indexes. Shared.

-- Whether an index lists a session until it expires.
local function lists(name, id, expires)
  return (tonumber(on('ZSCORE', name, id)) or 0) * 1000 > expires - 1
end

-- Whether the right indexes list a session, until a time that fits its expiry. `listed`: that time.
local function is_listed(id, user, expires, listed, index, users)
  local half, other = index .. ':signed-in', index .. ':anonymous'
  if user == '' then half, other = other, half end
  return listed and listed >= expires and listed <= expires + 2 * MARGIN
    and lists(index, id, expires) and lists(half, id, expires)
    and (user == '' or lists(users .. user, id, expires))
    and type(on('ZSCORE', other, id)) ~= 'string'
end

-- How long a session lives, in ms, if one of its indexes does not list it; nil if all do.
-- A session without a time to live, which somebody took away, is left to its next save.
local function unlisted(key, id, user, listed, now, index, users)
  local ttl = call('PTTL', key)
  if ttl <= 0 or is_listed(id, user, now + ttl, tonumber(listed), index, users) then return nil end
  return ttl
end
