-- Puts the same value in another form, encrypted with another key or not at all. Nothing else of the entry changes: no reader
-- sees that it happened, but by the key's id.
-- KEYS: 1 entry
-- ARGV: 1 version and 2 time of update in µs that the entry must still have, 3 flags, 4 value
-- Returns 1, or 0 where the entry is gone or another.
local entry = load(KEYS[1])
if not entry or entry.version ~= tonumber(ARGV[1]) or entry.updated ~= tonumber(ARGV[2]) then return 0 end
entry.flags, entry.value = tonumber(ARGV[3]), ARGV[4]
redis.call('SET', KEYS[1], encode(entry), 'KEEPTTL')
return 1
