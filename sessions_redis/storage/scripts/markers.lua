-- Follows the markers that cycling leaves. Shared.

-- Markers followed at most, so that a script always ends.
local HOPS = 100

-- The id that the session of `id` has now: markers are followed from name to name. Returns nil if it
-- has ended or expired. `sessions` is what the sessions' names start with.
local function present_id(sessions, id)
  for _ = 1, HOPS do
    local found = on('HMGET', sessions .. id, '@created', '@cycled')
    if found[1] then return id end
    if not found[2] then return nil end
    id = found[2]
  end
end
