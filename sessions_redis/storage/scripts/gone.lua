-- Shared.

-- Whether a member of an index is the id of no session.
local function is_gone(sessions, id)
  if #id ~= 32 or string.find(id, '[^0-9a-f]') then return true end
  return type(on('HGET', sessions .. id, '@created')) ~= 'string'
end

-- Removes members from indexes; returns how many were removed.
local function remove(gone, indexes)
  if #gone == 0 then return 0 end
  for _, index in ipairs(indexes) do need('ZREM', index) end
  local removed = 0
  for _, index in ipairs(indexes) do removed = removed + redis.call('ZREM', index, unpack(gone)) end
  return removed
end
