-- Ends an attempt. Only the worker that still has it may: one whose lease ran out has lost it.
-- KEYS: 1 job
-- ARGV: 1 id, 2 worker, 3 number of the claim, 4 outcome (succeeded, retry, dead, released), 5 error, 6 result (JSON or empty),
--       7 delay of a retry in ms, 8 retention in s, 9 finished jobs kept
-- Returns 1, or 0 where the attempt is not the worker's any more.
local id, worker, outcome, now = ARGV[1], ARGV[2], ARGV[4], now_ms()
local held, priority, percent = is_held(id, worker, ARGV[3])
if not held then return 0 end
redis.call('SREM', running_key(worker), id)
local fields = {}
if ARGV[5] ~= '' and outcome ~= 'succeeded' then fields = {'error', ARGV[5]} end
if outcome == 'released' or outcome == 'retry' then
  if #fields > 0 then redis.call('HSET', KEYS[1], unpack(fields)) end
  if outcome == 'released' then
    redis.call('HINCRBY', KEYS[1], 'attempts', -1)
    move(id, 'running', 'pending')
    ready(id, priority, now)
    redis.call('PUBLISH', WAKE, '')
  else
    local run_at = now + tonumber(ARGV[7])
    redis.call('HSET', KEYS[1], 'run_at', run_at)
    move(id, 'running', 'scheduled')
    redis.call('ZADD', SCHEDULED, run_at, id)
  end
  return 1
end
if outcome == 'succeeded' then
  if ARGV[6] ~= '' then fields = {'result', ARGV[6]} end
  if percent then
    fields[#fields + 1] = 'percent'
    fields[#fields + 1] = 100
  end
end
finish(id, 'running', outcome, now, tonumber(ARGV[8]), tonumber(ARGV[9]), fields)
return 1
