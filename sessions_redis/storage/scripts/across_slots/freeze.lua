-- Begins to cycle a session: for ten seconds, nothing else writes to it.
-- KEYS: session
-- ARGV: the id that it gets, ms that it lives under that id
-- Returns {'frozen', when it was created, its user, its fields and values in turn, names of fields and
--   the ms that they have left in turn}; {'busy'} if another request cycles it now; or {'gone'}. Those
--   ms are -1 for a field that never expires, and -2 for one that has expired. In the millisecond in
--   which it does, Redis may still say its value.

local FROZEN = 10000
local key, next = KEYS[1], ARGV[1]
local found = on('HMGET', key, '@created', '@user', '@frozen', '@next', '@expiring', '@ends')
if not found[1] then return {'gone'} end
local now = clock()
if found[3] and tonumber(found[3]) > now and found[4] ~= next then return {'busy'} end
need('PEXPIRE', key)
need('HGETALL', key)
local left = call('PTTL', key)
local most = math.min(tonumber(ARGV[2]), math.max(1, (tonumber(found[6]) or math.huge) - now))
call('HSET', key, '@frozen', string.format('%.0f', now + FROZEN), '@next', next)
local expiring = {}
if found[5] then
  local names = names_in(found[5])
  for i, left in ipairs(left_of(key, names)) do
    expiring[#expiring + 1], expiring[#expiring + 2] = names[i], left
  end
end
-- It must not outlive its copy, which leads to it if this request fails later.
if left < 0 or left > most then redis.call('PEXPIRE', key, string.format('%.0f', most)) end
return {'frozen', found[1], found[2] or '', redis.call('HGETALL', key), expiring}
