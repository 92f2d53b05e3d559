-- Creates a session that the indexes list already. Its name may be taken, also by the tombstone of a
-- session that was ended before it was created.
-- KEYS: session
-- ARGV: until when the indexes list it, in ms ('' if none are kept), how many ms longer than that each
--   index does ('' if none), when the session was created ('' for now), '1' if nobody else can have
--   created a session of this name, then as put.lua says
-- Returns {'created'}, with the time in ms if a rule of lifetimes.lua is given; {'taken'}; {'refused', a rule, …} as rules.lua says, and nothing was written;
--   {'ended'} if there is a tombstone; or {'list', the time in ms when it expires}: list it first.

local key = KEYS[1]
if call('EXISTS', key) == 1 then
  -- It is repeated, because its reply was lost?
  if ARGV[4] == '1' and type(on('HGET', key, '@created')) == 'string' then return {'created'} end
  return {on('HGET', key, '@ended') == '1' and 'ended' or 'taken'}
end
local now, seconds = clock()
local listed, ttl = tonumber(ARGV[1]), tonumber(ARGV[5])
if ttl <= 0 then return {'created'} end
local rules, after = rules_at(9)
local refused = refusal(rules, key, false, after)
if refused then return refused end
local created = ARGV[3] == '' and seconds or ARGV[3]
local at, ends = expiry(rules, nil, created, now, ttl)
if at <= now then return {'refused', 'ends', ends} end
if listed and listed < at then return {'list', string.format('%.0f', at)} end
local more = {'@created', created}
if listed then more[3], more[4] = '@listed', ARGV[1] end
if ARGV[2] ~= '' then more[#more + 1], more[#more + 2] = '@ahead', ARGV[2] end
note_sign_in(rules, next_user(nil, 5), nil, now, more)
append_lifetime(more, #more, rules, ends, now)
put(nil, 5, rules, after, at, seconds, more, {})
return answered({'created'}, rules, ends, now)
