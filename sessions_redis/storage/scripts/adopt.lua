-- Creates a session that the former engine has, unless it was here before.
-- KEYS: session; what became of it; the note that all sessions of its user were ended (what became of
--   it again if it has no user); and the index if one is kept
-- ARGV: id, what user indexes' names start with ('' for none), ms for which is kept what became of it
--   ('' for not at all: then a session that moved in before may do so again), when the former engine
--   saved it last in ms ('' if unknown), when it was created ('' for now), then as write.lua says
-- Returns 'adopted'; {'adopted', 'ended', …} as cap.lua says, if that ended other sessions; 'there' if it
--   is here already, unless the former engine's copy decides; or 'refused' if it was ended or has expired
--   here, or a rule refuses it.

local key, moved, signed_out = KEYS[1], KEYS[2], KEYS[3]
local found = on('HMGET', key, '@created', '@copied', '@user', '@ends')
if found[1] and not is_outdated(key, found[2], moved, ARGV[3]) then return 'there' end
if not found[1] and call('EXISTS', key) == 1 or tonumber(ARGV[6]) <= 0 then return 'refused' end
if is_refused(moved, ARGV[3] == '') then return 'refused' end
if signed_out ~= moved and is_signed_out(signed_out, ARGV[1], ARGV[4]) then return 'refused' end
if ARGV[3] ~= '' then need_note(moved) end
local replaced = found[1] and (found[3] or '') or nil
local created = ARGV[5] ~= '' and ARGV[5] or nil
-- It may be too old to live here.
local said = write(ARGV[1], nil, nil, KEYS[4] or '', ARGV[2], 6, found[4], created, replaced)
if type(said) == 'table' then
  if said[1] == 'refused' then return 'refused' end
  said[1] = 'adopted'
else
  said = 'adopted'
end
if ARGV[3] ~= '' then note(moved, 'became', 'adopted', ARGV[3]) end
return said
