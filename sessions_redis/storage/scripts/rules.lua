-- Rules: what policies ask of a write, checked in the same step, before anything is written. Shared.

local NO_RULES = {}

-- The rules that ARGV gives from `first` on: how many arguments, then names and values in turn.
-- Returns them by name, and the place of the argument after them.
local function rules_at(first)
  local count = tonumber(ARGV[first])
  if count == 0 then return NO_RULES, first + 1 end
  local rules = {}
  for i = first + 1, first + count, 2 do rules[ARGV[i]] = ARGV[i + 1] end
  return rules, first + 1 + count
end

-- Which rule does not hold for the session: {'refused', its name, the value of the field that it is
-- about, '' if there is none}; nil if all hold. A rule 'expects:<field>' wants the field to have this
-- value, 'lacks:<field>' wants no such field.
local function refusal(rules, key)
  for name, value in pairs(rules) do
    local kind, field = string.match(name, '^(%l+):(.*)$')
    if kind == 'expects' or kind == 'lacks' then
      local held = call('HGET', key, field)
      if kind == 'expects' and held ~= value or kind == 'lacks' and held then
        return {'refused', name, held or ''}
      end
    end
  end
end
