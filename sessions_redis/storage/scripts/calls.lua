-- How the scripts call commands. Shared by all.

local function refused(key, ...)
  for i = 1, select('#', ...) do
    local command = select(i, ...)
    if not redis.acl_check_cmd(command, key) then return command end
  end
end

-- Raises the refusal of any of these commands on `key`. What a script wrote before it failed stays,
-- so this is called before the first write, for what follows it. Redis before 7 and fakeredis cannot
-- be asked beforehand.
local function need(key, ...)
  if not redis.acl_check_cmd then return end
  local all_known, command = pcall(refused, key, ...)
  if all_known and not command then return end
  for _, name in ipairs({...}) do
    if not pcall(refused, key, name) then
      error({err = "ERR this server has no command '" .. name .. "'; was it renamed?"})
    end
  end
  error({err = "NOPERM this user may not run '" .. command .. "' on the key '" .. key .. "'"})
end

local function raise(command, ...)
  need((...) or '', command)  -- names the command, which Redis 7.0 does not
  return redis.call(command, ...)
end

-- As redis.call, for what comes before the first write: the refusal names the command.
local function call(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) == 'table' and reply.err then return raise(command, ...) end
  return reply
end

-- As `call`, also for later. Returns an empty table where what lies under the name has another type
-- than the command is for. Other errors are raised: as "nothing there" they would lose sessions.
local function on(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(tostring(reply.err), 'WRONGTYPE') then return {} end  -- no text in fakeredis
  return raise(command, ...)
end
