-- Deletes an entry if its condition holds.
-- KEYS: 1 entry, 2 index, 3 expiry index, 4 hash of tags
-- ARGV: 1 key, 2 condition (any, match), 3 prefix of tag sets,
--       then for `match` pairs of version and time of update in µs, of which one must be the entry's
-- Returns {1} when it was deleted, or {0, exists (0 or 1)}.
local head = redis.call('GETRANGE', KEYS[1], 0, 25)
local exists = #head > 0
local holds = exists and ARGV[2] == 'any'
if exists and ARGV[2] == 'match' then
  local _, flags, version, created, updated = struct.unpack('>BBI8I8I8', head)
  for i = 4, #ARGV, 2 do
    holds = holds or (tonumber(ARGV[i]) == version and tonumber(ARGV[i + 1]) == updated)
  end
end
if not holds then return {0, exists and 1 or 0} end
redis.call('DEL', KEYS[1])
forget(ARGV[1], KEYS[2], KEYS[3], KEYS[4], ARGV[3])
tell(KEYS[2], 'delete', ARGV[1], 0)
return {1}
