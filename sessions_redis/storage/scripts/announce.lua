-- Announces to processes that listen which sessions have ended. Shared.
-- `channel`: nil or '' if nobody is told. Redis delivers a message after the script is over.

-- Raises an error if the user may not publish: a script calls this before its first write.
local function need_to_announce(channel)
  if not channel or channel == '' then return end
  -- A server that cannot be asked gets an empty message, which listeners ignore.
  if can then need('PUBLISH', channel) else call('PUBLISH', channel, '') end
end

-- `user`: '' if the session is anonymous.
local function announce(channel, id, reason, user)
  if not channel or channel == '' then return end
  redis.call('PUBLISH', channel, id .. ' ' .. reason .. ' ' .. user)
end

-- The channel and the reason, if ARGV has them before the ids that follow; and where these begin.
local function announced_from(first)
  -- The name of a channel has a colon, and an id has none.
  if ARGV[first] and string.find(ARGV[first], ':', 1, true) then
    return ARGV[first], ARGV[first + 1], first + 2
  end
  return nil, nil, first
end
