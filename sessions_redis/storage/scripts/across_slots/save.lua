-- Saves the changes of a session that exists, if its indexes list it for long enough.
-- KEYS: session
-- ARGV: '1' if indexes are kept; the time in ms until which the caller has just listed it ('' if it
--   has not), how many ms longer than that each index does, for which user, and how often it had been
--   listed for a shorter time before that; then as put.lua says
-- Returns {'refused', a rule, …} as rules.lua says, {'gone'}, or {'frozen'} while the session is being cycled: nothing was written;
--   {'list', the time in ms when it expires, its user, and how often it has been listed for a shorter
--   time}: nothing was written either, list it first;
--   {'saved'}; or {'lower', its user, until when its indexes list it, how many ms longer each of them
--   does, until when they shall}: it was saved. Before these two comes 'signed in', if the session got
--   another user, and there is a cap. After them comes the time in ms if a rule of lifetimes.lua is
--   given.

local key, SHORTER = KEYS[1], '@lowered'
local found = on('HMGET', key, '@created', '@user', '@listed', '@ahead', '@frozen', SHORTER, '@ends')
if not found[1] then return {'gone'} end
local now, seconds = clock()
local is_thawed = found[5]
if is_thawed and tonumber(is_thawed) > now then return {'frozen'} end
local rules, after = rules_at(10)
local refused = refusal(rules, key, ARGV[7] == '1', after)
if refused then return refused end
local was = found[2] or ''
local ttl, user, more, less = tonumber(ARGV[6]), next_user(was, 6), {}, {}
local at, ends = expiry(rules, found[7], found[1], now, ttl)
if at <= now then return {'refused', 'ends', ends or found[7]} end
ttl = at - now
local answer = {'saved'}
if ARGV[1] == '1' then
  local listed, ahead, lowered = tonumber(found[3]) or 0, found[4] or '', found[6] or '0'
  -- The request that froze it has failed, perhaps after it had removed the session from its indexes.
  local must_list = listed < at or user ~= was or is_thawed
  -- If it was listed for a shorter time since the caller listed it, that may undo what it did.
  if ARGV[2] ~= '' and ARGV[4] == user and ARGV[5] == lowered then
    listed, ahead, must_list = tonumber(ARGV[2]), ARGV[3], false
  end
  if must_list or listed < at then return {'list', string.format('%.0f', at), user, lowered} end
  local margin = math.max(math.floor(math.min(ttl / MARGIN_PART, MARGIN)), LEAST_MARGIN)
  if listed > at + 2 * margin then
    answer = {'lower', user, string.format('%.0f', listed), ahead, string.format('%.0f', at + margin)}
    listed, ahead = at + margin, ''
    more = {SHORTER, string.format('%.0f', lowered + 1)}
  end
  local text = string.format('%.0f', listed)
  if text ~= found[3] then more[#more + 1], more[#more + 2] = '@listed', text end
  if ahead ~= (found[4] or '') then
    if ahead == '' then less[1] = '@ahead' else more[#more + 1], more[#more + 2] = '@ahead', ahead end
  end
end
-- Then the caller looks how many sessions the user has.
if note_sign_in(rules, user, was, now, more) then table.insert(answer, 1, 'signed in') end
if is_thawed then less[#less + 1], less[#less + 2] = '@frozen', '@next' end
append_lifetime(more, #more, rules, ends, now)
put(was, 6, rules, after, at, seconds, more, less)
return answered(answer, rules, ends, now)
