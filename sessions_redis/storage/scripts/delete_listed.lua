-- The usual deletion: of a session that has a user.
-- KEYS, ARGV, returns: as delete.lua says
-- Anything else goes on in delete.lua, and so does a deletion that Redis refuses. This part comes
-- first and defines no functions, because defining functions takes time in each call.

do
  local index, id = KEYS[2], ARGV[1]
  local user = index and redis.pcall('HGET', KEYS[1], '@user')
  if type(user) == 'string' and user ~= '' then
    local half, own = index .. ':signed-in', ARGV[2] .. user
    local channel, can = ARGV[3], redis.acl_check_cmd
    local is_allowed = not channel
    if can then  -- `index` is one of KEYS: that it may be used was checked with these
      local is_known, allows_half = pcall(can, 'ZREM', half)
      is_allowed = is_known and allows_half and can('ZREM', own)
      if is_allowed and channel then
        local knows_publish, allows_channel = pcall(can, 'PUBLISH', channel)
        is_allowed = knows_publish and allows_channel
      end
    end
    if is_allowed and type(redis.pcall('DEL', KEYS[1])) == 'number' then
      -- A key of another type is left alone.
      redis.pcall('ZREM', index, id)
      redis.pcall('ZREM', half, id)
      redis.pcall('ZREM', own, id)
      if channel then redis.call('PUBLISH', channel, id .. ' ' .. ARGV[4] .. ' ' .. user) end
      return 'deleted:' .. user
    end
  end
end
