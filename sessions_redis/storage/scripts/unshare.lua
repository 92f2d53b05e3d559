-- Deletes the copy of a session that both engines had, so that the former engine's may move in. Its
-- workers may have written that one last.
-- KEYS: session, what became of it
-- Returns 1 if it was deleted, else 0.

if on('HGET', KEYS[1], '@copied') ~= 'shared' then return 0 end
if is_refused(KEYS[2], true) then
  -- It is about to be ended here, or a process was killed at that. The former engine's copy may not
  -- move in any more.
  redis.call('HSET', KEYS[1], '@copied', '1')
  return 0
end
return call('DEL', KEYS[1])
