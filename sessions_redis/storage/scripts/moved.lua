-- What became of a session that moved in from the former engine, or ended here: a small hash, so that
-- it needs no other commands than sessions do. Shared.

-- Whether a session must not move in. `may_again`: '1' if one that moved in before may do so again.
local function is_refused(moved, may_again)
  local became = on('HGET', moved, 'became')
  return type(became) == 'string' and not (may_again == '1' and became == 'adopted')
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
