-- Runs a dead or cancelled job again, with all its attempts.
-- KEYS: 1 job
-- ARGV: 1 id, 2 jobs that may wait
-- Returns 1, 0 where it is not dead or cancelled, -1 where there is none, or -2 where too many jobs wait.
local job = redis.call('HMGET', KEYS[1], 'status', 'priority')
if not job[1] then return -1 end
if job[1] ~= 'dead' and job[1] ~= 'cancelled' then return 0 end
if is_full(tonumber(ARGV[2])) then return -2 end
local now = now_ms()
redis.call('PERSIST', KEYS[1])
redis.call('ZREM', FINISHED, job[1] .. ':' .. ARGV[1])
redis.call('HSET', KEYS[1], 'attempts', 0, 'run_at', now)
redis.call('HDEL', KEYS[1], 'error', 'finished', 'percent', 'message')
move(ARGV[1], job[1], 'pending')
ready(ARGV[1], job[2], now)
redis.call('PUBLISH', WAKE, '')
return 1
