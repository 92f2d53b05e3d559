-- Refuses to go on if a rule does not hold. Comes before increment.lua.
-- KEYS: session
-- ARGV: field, what to add, rules as rules.lua says, then 0, the field and what to add, as if that
--   were written: an entry that is new takes so many bytes
-- Returns {'refused', a rule, …} as rules.lua says.

if type(on('HGET', KEYS[1], '@created')) == 'string' then
  local rules, after = rules_at(3)
  local refused = refusal(rules, KEYS[1], false, after)
  if refused then return refused end
end
