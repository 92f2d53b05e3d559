-- Looks whether sessions are listed, and lists them where they are not.
-- KEYS: the index
-- ARGV: what the sessions' names start with, what user indexes' names start with, '1' to list them,
--   '0' to look only, ids
-- Returns how many of them there are, and how many of those were not listed.

local index, sessions, users = KEYS[1], ARGV[1], ARGV[2]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local live, missing = 0, 0
for i = 4, #ARGV do
  local id = ARGV[i]
  local key = sessions .. id
  local found = on('HMGET', key, '@created', '@user', '@listed')
  if found[1] then
    live = live + 1
    local user = found[2] or ''
    local ttl = unlisted(key, id, user, found[3], now, index, users)
    if ttl then
      missing = missing + 1
      if ARGV[3] == '1' then
        need('HSET', key)
        local listed = list(id, id, user, user, index, users, now, ttl, true)
        redis.call('HSET', key, '@listed', listed)
      end
    end
  end
end
return {live, missing}
