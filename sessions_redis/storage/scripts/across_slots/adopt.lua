-- Creates a session that the former engine has and that the indexes list already, unless it was here
-- before.
-- KEYS: session; what became of it
-- ARGV: until when the indexes list it, in ms ('' if none are kept), how many ms longer than that each
--   index does ('' if none), when it was created ('' for now), ms for which is kept what became of it
--   ('' for not at all: then a session that moved in before may do so again), then as put.lua says
-- Returns {'adopted'}; {'there'} if it is here already, unless the former engine's copy decides;
--   {'refused'} if it was ended or has expired here;
--   or {'list', the time in ms when it expires}: list it first.

local key, moved = KEYS[1], KEYS[2]
local found = on('HMGET', key, '@created', '@copied', '@ends')
if found[1] and not is_outdated(key, found[2], moved, ARGV[4]) then return {'there'} end
if not found[1] and call('EXISTS', key) == 1 or is_refused(moved, ARGV[4] == '') then return {'refused'} end
local now, seconds = clock()
local listed, created = tonumber(ARGV[1]), ARGV[3] == '' and seconds or ARGV[3]
local rules, after = rules_at(9)
local at, ends = expiry(rules, found[3], created, now, tonumber(ARGV[5]))
if at <= now then return {'refused'} end
if listed and listed < at then return {'list', string.format('%.0f', at)} end
local more = {'@created', created}
if listed then more[3], more[4] = '@listed', ARGV[1] end
if ARGV[2] ~= '' then more[#more + 1], more[#more + 2] = '@ahead', ARGV[2] end
note_sign_in(rules, next_user(nil, 5), nil, now, more)
local lasts = ARGV[4]
if lasts ~= '' then need_note(moved) end
if found[1] then call('DEL', key) end
append_lifetime(more, #more, rules, ends or found[3], now)
put(nil, 5, rules, after, at, seconds, more, {})
if lasts ~= '' then note(moved, 'became', 'adopted', lasts) end
return {'adopted'}
