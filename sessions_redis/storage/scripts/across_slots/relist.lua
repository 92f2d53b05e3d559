-- Looks whether indexes list sessions that exist, and lists them where they do not.
-- KEYS: indexes in one slot
-- ARGV: '1' to list them, '0' to look only; then the id and the time in ms until which to list it, of
--   each session in turn
-- Returns for each session 1 if one of the indexes did not list it, else 0.

local now, missing = clock(), {}
for i = 2, #ARGV, 2 do
  local id, listed, is_missing = ARGV[i], tonumber(ARGV[i + 1]), 0
  for _, index in ipairs(KEYS) do
    local score = on('ZSCORE', index, id)
    -- A table is the answer of a key of another type, which is left alone.
    if type(score) ~= 'table' and (tonumber(score) or 0) * 1000 < listed - 1 then
      is_missing = 1
      if ARGV[1] == '1' then list_in(index, id, listed, 0, now) end
    end
  end
  missing[#missing + 1] = is_missing
end
return missing
