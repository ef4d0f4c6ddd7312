-- Writes a schedule. Where its times stay the same it is due when it was due before: to write it again skips no run.
-- KEYS: 1 schedules, 2 schedule
-- ARGV: 1 name, 2 cron, 3 kind, 4 payload, 5 when it is due next in ms, 6 schedules at most
-- Returns 1 where it is new, 0 where it was there, or -1 where there are too many.
local old = redis.call('HGET', KEYS[2], 'cron')
if not old and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[6]) then return -1 end
local now = now_ms()
if old ~= ARGV[2] then redis.call('ZADD', KEYS[1], ARGV[5], ARGV[1]) end
if not old then redis.call('HSET', KEYS[2], 'created', now) end
redis.call('HSET', KEYS[2], 'cron', ARGV[2], 'kind', ARGV[3], 'payload', ARGV[4], 'updated', now)
return old and 0 or 1
