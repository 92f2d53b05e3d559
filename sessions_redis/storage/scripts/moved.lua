-- What became of a session that moved in from the former engine, or ended here: a small hash, so that
-- it needs no other commands than sessions do. Shared.

-- Whether a session must not move in. `may_again`: whether one that moved in before may do so again.
local function is_refused(moved, may_again)
  local became = on('HGET', moved, 'became')
  return type(became) == 'string' and not (may_again and became == 'adopted')
end

-- Whether a session that is here was shared with workers of the former engine, which may have written
-- or ended it last. `lasts`: '' if such workers still run. A session that is about to be ended, or whose
-- process was killed at that, is not: the former engine's copy may not move in any more.
local function is_outdated(key, copied, moved, lasts)
  if lasts == '' or copied ~= 'shared' then return false end
  if not is_refused(moved, true) then return true end
  call('HSET', key, '@copied', '1')
  return false
end

-- Whether a user's session must not move in, because all sessions of the user were ended. `saved`:
-- when the former engine saved it last, in ms; '' if unknown. The note has a time only if workers of
-- the former engine still ran: what they saved later was begun later, or a tombstone is there.
local function is_signed_out(signed_out, id, saved)
  local found = on('HMGET', signed_out, 'spared', 'at')
  if not found[1] or found[1] == id then return false end
  return not (found[2] and found[2] ~= '' and saved ~= '' and tonumber(saved) > tonumber(found[2]))
end

-- Raises an error if the user may not write such a note.
local function need_note(key)
  need('HSET', key)
  need('PEXPIREAT', key)
end

-- Writes a field of a note, which stays for `lasts` ms.
local function note(key, field, value, lasts)
  need_note(key)
  local time = call('TIME')
  redis.call('HSET', key, field, value)
  redis.call('PEXPIREAT', key, string.format('%.0f', time[1] * 1000 + time[2] / 1000 + lasts))
end
