-- Gives an entry another time to live. Neither its version nor its time of update changes: nothing was written to it.
-- KEYS: 1 entry, 2 index, 3 expiry index
-- ARGV: 1 key, 2 time to live in ms (0: never expires)
-- Returns 1, or 0 where there is no such entry.
local entry = load(KEYS[1])
if not entry then return 0 end
local _, now_ms = clock()
local ttl, known = tonumber(ARGV[2]), settled(entry.expires, now_ms)
entry.expires = ttl > 0 and now_ms + ttl or 0
save(KEYS, ARGV[1], entry, known)
return 1
