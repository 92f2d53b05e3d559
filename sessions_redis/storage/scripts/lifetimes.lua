-- When a session ends at the latest: its field `@ends` says so, in ms since 1970, and it binds every
-- script that sets a session's time to live. Shared.

-- The rules about it. 'begins': the session begins now, and may live for so many ms. 'ages': if it has
-- no such field yet, it may live for so many ms since it was created. 'ends': it is a copy of a session
-- that ends then. Each of them may be 'never'. 'renews': note when the time to live was set.

-- `held`: the field `@ends`. `created`: when the session was created, in s.
-- Returns until when the session may live, in ms, or nil if there is no limit; and what to write to the
-- field, or nil to leave it as it is.
local function latest_end(rules, held, created, now)
  local text, from, age = rules.ends, now, rules.begins
  if not (age or text or held) then from, age = (tonumber(created) or now / 1000) * 1000, rules.ages end
  if age then text = tonumber(age) and string.format('%.0f', from + age) or age end
  return tonumber(text or held), text
end

-- Appends the fields about its lifetime to `values`, of which there are `last`. Returns how many there
-- are then.
local function append_lifetime(values, last, rules, ends, now)
  if ends then values[last + 1], values[last + 2], last = '@ends', ends, last + 2 end
  if rules.renews then
    values[last + 1], values[last + 2], last = '@renewed', string.format('%.0f', now), last + 2
  end
  return last
end
