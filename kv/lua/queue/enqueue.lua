-- Adds a job, once for each name of a period.
-- KEYS: 1 job, 2 key that remembers the period's name (only where ARGV 8 is above 0)
-- ARGV: 1 id, 2 kind, 3 payload, 4 priority 0-9, 5 delay in ms, 6 run at in ms (0: after the delay),
--       7 attempts at most, 8 ms for which the name is remembered (0: no name), 9 traceparent (or empty),
--       10 jobs that may wait
-- Returns {1, id, status}, {0, id of the job that has the name, ''}, or {-1, '', ''} where too many jobs wait.
local id, now, remember = ARGV[1], now_ms(), tonumber(ARGV[8])
if remember > 0 then
  local known = redis.call('GET', KEYS[2])
  if known then return {0, known, ''} end
end
if is_full(tonumber(ARGV[10])) then return {-1, '', ''} end
if remember > 0 then redis.call('SET', KEYS[2], id, 'PX', remember) end
local run_at = tonumber(ARGV[6])
if run_at == 0 then run_at = now + tonumber(ARGV[5]) end
local status = add(id, ARGV[2], ARGV[3], ARGV[4], run_at, ARGV[7], now)
if ARGV[9] ~= '' then redis.call('HSET', KEYS[1], 'trace', ARGV[9]) end
return {1, id, status}
