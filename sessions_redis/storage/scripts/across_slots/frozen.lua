-- Refuses to go on while the session is being cycled. Comes before another script.
-- KEYS: session
-- Returns 'frozen'

do
  local found = on('HMGET', KEYS[1], '@created', '@frozen')
  if found[1] and found[2] then
    local time = call('TIME')
    if tonumber(found[2]) > time[1] * 1000 + math.floor(time[2] / 1000) then return 'frozen' end
  end
end
