-- KEYS: session
-- Returns {its user, the time in ms when it expires, until when the indexes list it ('' if unknown)} in
--   text; {its user} if it never expires; or {} if there is none.

local found = on('HMGET', KEYS[1], '@created', '@user', '@listed')
if not found[1] then return {} end
local left = call('PTTL', KEYS[1])
if left <= 0 then return {found[2] or ''} end
return {found[2] or '', string.format('%.0f', clock() + left), found[3] or ''}
