-- Writes entries that were encrypted anew, each only if it is still what the caller has read.
-- KEYS: session
-- ARGV: the salt that the session has ('' for none), the one to write ('' for none), then the name of
--   each entry, its value before, and its new value
-- Returns how many entries were written; -1 if the session is gone, has another salt by now, or is
-- being cycled: nothing was written then.

local key = KEYS[1]
local found = on('HMGET', key, '@created', '@salt', '@frozen', '@expiring')
if not found[1] or (found[2] or '') ~= ARGV[1] then return -1 end
if found[3] then
  local time = call('TIME')
  if tonumber(found[3]) > time[1] * 1000 + math.floor(time[2] / 1000) then return -1 end
end
need('HSET', key)
local pairs_to_write = {}
for i = 3, #ARGV, 3 do
  -- HSET would let an entry live that expires by itself.
  local expires = found[4] and call('HPTTL', key, 'FIELDS', 1, ARGV[i])[1] >= 0
  if not expires and call('HGET', key, ARGV[i]) == ARGV[i + 1] then
    pairs_to_write[#pairs_to_write + 1] = ARGV[i]
    pairs_to_write[#pairs_to_write + 1] = ARGV[i + 2]
  end
end
if #pairs_to_write == 0 then return 0 end
local written = #pairs_to_write / 2
if ARGV[2] ~= '' then
  pairs_to_write[#pairs_to_write + 1] = '@salt'
  pairs_to_write[#pairs_to_write + 1] = ARGV[2]
end
redis.call('HSET', key, unpack(pairs_to_write))
return written
