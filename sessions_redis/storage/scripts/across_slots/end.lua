-- Ends a session, if it is there, has the right user, and shall not be spared.
-- KEYS: session
-- ARGV: what to end: 'user' for a session of a given user, 'session' for any, 'key' for anything of this
--   name but a marker, 'nothing' for nothing; that user; ms for which a tombstone stays if there is no session
--   ('' for no tombstone), which prevents that one is created; if the end is announced, the channel and the
--   reason; then the ids to spare
-- Returns {'ended', its user, the id that it was about to get, the id that it had before, the ids beside
--   it with times}, each '' if there is none; {'cycled', its new id}; {'other'} if it has another user;
--   {'spared'}; {'beside', those ids} if it was ended a short time ago; or {'nothing'}.

local key, what, user = KEYS[1], ARGV[1], ARGV[2]
local channel, reason, first = announced_from(4)
-- What the names of keys start with ends where the id begins.
local id = string.match(key, '[^:]*$')
local found = on('HMGET', key, '@created', '@user', '@next', '@former', '@beside', '@cycled')
if not found[1] and found[6] then return {'cycled', found[6]} end
if not found[1] then
  local is_there = call('EXISTS', key) == 1
  if is_there and on('HGET', key, '@ended') == '1' then
    return found[5] and {'beside', found[5]} or {'nothing'}
  end
  if is_there and what == 'key' then
    need_to_announce(channel)
    call('DEL', key)
    announce(channel, id, reason, found[2] or '')
    return {'ended', found[2] or '', '', '', ''}
  end
  if not is_there and ARGV[3] ~= '' then
    need('HSET', key)
    need('PEXPIRE', key)
    -- It deletes nothing. But after it, a server whose memory is full refuses no command.
    call('DEL', key)
    redis.call('HSET', key, '@ended', '1')
    redis.call('PEXPIRE', key, ARGV[3])
  end
  return {'nothing'}
end
if what == 'nothing' or what == 'user' and user ~= (found[2] or '') then return {'other'} end
for i = first, #ARGV do
  if found[4] == ARGV[i] then return {'spared'} end
end
if found[5] then
  need('HSET', key)
  need('PEXPIRE', key)
end
need_to_announce(channel)
call('UNLINK', key)
announce(channel, id, reason, found[2] or '')
if found[5] then
  -- Another request that ends it as well has to find these, if this one fails.
  redis.call('HSET', key, '@ended', '1', '@beside', found[5])
  redis.call('PEXPIRE', key, 60000)
end
return {'ended', found[2] or '', found[3] or '', found[4] or '', found[5] or ''}
