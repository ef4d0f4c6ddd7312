-- Counts the keys, without those that have expired and are not yet swept.
-- KEYS: 1 index, 2 expiry index
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return redis.call('ZCARD', KEYS[1]) - redis.call('ZCOUNT', KEYS[2], '-inf', now_ms)
