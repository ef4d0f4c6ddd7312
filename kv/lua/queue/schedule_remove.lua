-- Removes a schedule; jobs that it has queued stay.
-- KEYS: 1 schedules, 2 schedule
-- ARGV: 1 name
-- Returns 1, or 0 where there is none.
redis.call('DEL', KEYS[2])
return redis.call('ZREM', KEYS[1], ARGV[1])
