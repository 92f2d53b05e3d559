-- When a session expires whose indexes are in other slots. Shared.

-- When the session expires if it is written now, and what to write to `@ends`, as lifetimes.lua says.
local function expiry(rules, held, created, now, ttl)
  local latest, ends = latest_end(rules, held, created, now)
  return math.min(now + ttl, latest or math.huge), ends
end

-- The answer `said`, with the time in ms if a rule of lifetimes.lua is given.
local function answered(said, rules, ends, now)
  if ends or rules.renews then said[#said + 1] = string.format('%.0f', now) end
  return said
end
