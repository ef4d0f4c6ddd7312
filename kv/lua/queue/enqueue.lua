-- Adds a job, once for each name of a period.
-- KEYS: 1 job, 2 key that remembers the period's name (only where ARGV 8 is above 0)
-- ARGV: 1 id, 2 kind, 3 payload, 4 priority 0-9, 5 delay in ms, 6 run at in ms (0: after the delay),
--       7 attempts at most, 8 ms for which the name is remembered (0: no name), 9 traceparent (or empty)
-- Returns {1, id, status}, or {0, id of the job that has the name, ''}.
local id, now, remember = ARGV[1], now_ms(), tonumber(ARGV[8])
if remember > 0 then
  local known = redis.call('GET', KEYS[2])
  if known then return {0, known, ''} end
  redis.call('SET', KEYS[2], id, 'PX', remember)
end
local run_at = tonumber(ARGV[6])
if run_at == 0 then run_at = now + tonumber(ARGV[5]) end
local status = run_at > now and 'scheduled' or 'pending'
redis.call('HSET', KEYS[1], 'kind', ARGV[2], 'payload', ARGV[3], 'priority', ARGV[4], 'run_at', run_at,
  'created', now, 'attempts', 0, 'max_attempts', ARGV[7])
if ARGV[9] ~= '' then redis.call('HSET', KEYS[1], 'trace', ARGV[9]) end
move(id, nil, status)
redis.call('ZADD', ALL, now, id)
if status == 'scheduled' then
  redis.call('ZADD', SCHEDULED, run_at, id)
else
  ready(id, ARGV[4], now)
  redis.call('PUBLISH', WAKE, '')
end
return {1, id, status}
