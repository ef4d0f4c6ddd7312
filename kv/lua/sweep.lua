-- Forgets keys whose entries have expired.
-- KEYS: 1 index, 2 expiry index, 3 hash of tags
-- ARGV: 1 prefix of tag sets, 2 how many at most
-- Returns how many it forgot: fewer than the limit means that none are left.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return sweep(tonumber(ARGV[2]), now_ms, KEYS[1], KEYS[2], KEYS[3], ARGV[1])
