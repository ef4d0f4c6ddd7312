-- Ends an attempt. Only the worker that still has it may: one whose lease ran out has lost it.
-- KEYS: 1 job
-- ARGV: 1 id, 2 worker, 3 number of the claim, 4 outcome (succeeded, retry, dead, released), 5 error, 6 result (JSON or empty),
--       7 bytes of the result (or empty), 8 delay of a retry in ms, 9 retention in s, 10 finished jobs kept
-- Returns 1, or 0 where the attempt is not the worker's any more.
local id, worker, outcome, now = ARGV[1], ARGV[2], ARGV[4], now_ms()
local job = redis.call('HMGET', KEYS[1], 'status', 'worker', 'claim', 'priority')
if job[1] ~= 'running' or job[2] ~= worker or job[3] ~= ARGV[3] then return 0 end
redis.call('SREM', running_key(worker), id)
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[5]) end
if outcome == 'released' then
  redis.call('HINCRBY', KEYS[1], 'attempts', -1)
  move(id, 'running', 'pending')
  ready(id, job[4], now)
  redis.call('PUBLISH', WAKE, '')
elseif outcome == 'retry' then
  local run_at = now + tonumber(ARGV[8])
  redis.call('HSET', KEYS[1], 'run_at', run_at)
  move(id, 'running', 'scheduled')
  redis.call('ZADD', SCHEDULED, run_at, id)
else
  if outcome == 'succeeded' then
    redis.call('HDEL', KEYS[1], 'error')
    if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'result', ARGV[6]) end
    if ARGV[7] ~= '' then redis.call('SET', KEYS[1] .. ':result', ARGV[7]) end
  end
  move(id, 'running', outcome)
  finish(id, outcome, now, tonumber(ARGV[9]), tonumber(ARGV[10]))
end
return 1
