-- How the scripts call commands. Shared by all.

local can = redis.acl_check_cmd

-- Raises an error if the user may not run a command on these keys. Redis does not undo the writes of
-- a script that fails, so scripts call this before their first write, for the commands after it.
-- Redis before 7 and fakeredis cannot be asked beforehand.
local function need(command, ...)
  if not can then return end
  local is_known, is_allowed = pcall(can, command, ...)
  if not is_known then
    error({err = "ERR this server has no command '" .. command .. "'; was it renamed?"})
  end
  if not is_allowed then
    local what = command == 'PUBLISH' and 'channel' or 'key'
    local name = ... or ''
    error({err = "NOPERM this user may not run '" .. command .. "' on the " .. what .. " '" .. name .. "'"})
  end
end

local function raise(command, ...)
  need(command, ...)  -- names the command, which Redis 7.0 does not
  return redis.call(command, ...)
end

-- As redis.call, for commands before the first write: the error of a refusal names the command.
local function call(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) == 'table' and reply.err then return raise(command, ...) end
  return reply
end

-- As `call`, also for later commands. Returns an empty table if the key has another type than the
-- command is for. Other errors are raised: to take them for "nothing there" would lose sessions.
local function on(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(tostring(reply.err), 'WRONGTYPE') then return {} end  -- no text in fakeredis
  return raise(command, ...)
end
