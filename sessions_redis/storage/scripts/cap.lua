-- Limits how many sessions a user has. Shared.
-- Its rules: 'cap', the number; 'cap_policy', 'refuse' if a sign-in beyond it is refused; 'cap_channel',
-- the channel that announces ended sessions.

-- Members of a user's index at which one step looks, so that it never takes long.
local LOOKED_AT = 1000

-- A damaged time counts as the earliest.
local function begun(created) return string.find(created, '^%d+$') and tonumber(created) or 0 end

-- What the cap asks before the session `id`, which becomes `new_id`, gets its user: nil if nothing;
-- {refused = the reply to give}; or what end_beyond takes. Raises an error if the server does not allow
-- that. `key`: the session's name.
-- It looks first at the sessions that would expire first. A member at which it does not look counts as
-- a session, and stays.
local function beyond_cap(rules, key, id, new_id, user, index, users, now)
  local sessions, own, cap = string.sub(key, 1, -1 - #id), users .. user, tonumber(rules.cap)
  local from = string.format('(%.3f', now / 1000)
  local listed = on('ZCOUNT', own, from, '+inf')
  -- A key of another type is left alone, as list.lua says.
  if type(listed) ~= 'number' or listed < cap then return nil end
  local members = call('ZRANGEBYSCORE', own, from, '+inf', 'LIMIT', 0, LOOKED_AT)
  local others, strangers, times, keys = {}, {}, {}, {}
  for _, member in ipairs(members) do
    if member ~= id and member ~= new_id then
      local found = on('HMGET', sessions .. member, '@created', '@user')
      if found[1] and found[2] == user then
        others[#others + 1], times[member] = member, begun(found[1])
      else
        strangers[#strangers + 1] = member
      end
    end
  end
  local beyond = #others + listed - #members + 1 - cap
  if beyond <= 0 then return nil end
  if rules.cap_policy == 'refuse' then return {refused = {'refused', 'cap', rules.cap}} end

  table.sort(others, function(a, b)
    if times[a] == times[b] then return a < b end
    return times[a] < times[b]
  end)
  for i = #others, beyond + 1, -1 do others[i] = nil end
  for i, member in ipairs(others) do keys[i] = sessions .. member end
  local indexes = {index, index .. ':signed-in', own}
  if #keys > 0 then need('UNLINK', unpack(keys)) end
  for _, name in ipairs(indexes) do need('ZREM', name) end
  need_to_announce(rules.cap_channel)
  return {ended = others, keys = keys, strangers = strangers, indexes = indexes}
end

-- Ends sessions, and removes members that are no sessions of this user. Returns {'written', 'ended', '', an
-- id, the user, and so on}. The empty text is for the time in ms, as write.lua says.
local function end_beyond(over, rules, user)
  local said = {'written', 'ended', ''}
  if #over.keys > 0 then
    redis.call('UNLINK', unpack(over.keys))
    for _, name in ipairs(over.indexes) do on('ZREM', name, unpack(over.ended)) end
  end
  if #over.strangers > 0 then on('ZREM', over.indexes[3], unpack(over.strangers)) end
  for _, id in ipairs(over.ended) do
    announce(rules.cap_channel, id, 'cap', user)
    said[#said + 1], said[#said + 2] = id, user
  end
  return said
end
