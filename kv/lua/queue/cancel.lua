-- Cancels a job that has not begun.
-- KEYS: 1 job
-- ARGV: 1 id, 2 retention in s, 3 finished jobs kept
-- Returns 1, 0 where it has begun or ended, or -1 where there is none.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return -1 end
if status ~= 'pending' and status ~= 'scheduled' then return 0 end
redis.call('ZREM', READY, ARGV[1])
redis.call('ZREM', SCHEDULED, ARGV[1])
local ends, now, retention = {}, now_ms(), tonumber(ARGV[2])
finish(ends, ARGV[1], status, 'cancelled', now, retention, {})
settle(ends, now, retention, tonumber(ARGV[3]))
return 1
