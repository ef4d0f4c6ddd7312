-- Queues the job of a schedule that is due, unless somebody else has done so: of all who saw it due, one finds the time as
-- it was. What was missed meanwhile is not made up for: the next run is the following one.
-- KEYS: 1 schedules, 2 schedule, 3 job
-- ARGV: 1 name, 2 when it was due in ms, 3 cron, 4 when it is due again in ms, 5 id of the job, 6 its attempts at most,
--       7 jobs that may wait
-- Returns 1, 0 where it is not due any more, or -1 where too many jobs wait: then it stays due.
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not due or tonumber(due) ~= tonumber(ARGV[2]) then return 0 end
local schedule = redis.call('HMGET', KEYS[2], 'cron', 'kind', 'payload')
if schedule[1] ~= ARGV[3] then return 0 end
if is_full(tonumber(ARGV[7])) then return -1 end
local now = now_ms()
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
redis.call('HSET', KEYS[2], 'last_run', now, 'last_job', ARGV[5])
add(ARGV[5], schedule[2], schedule[3], 5, now, ARGV[6], now)
return 1
