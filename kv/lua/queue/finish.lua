-- Ends attempts. Only the worker that still has one may: one whose lease ran out has lost it.
-- KEYS: the jobs, 500 at most
-- ARGV: 1 worker, 2 retention in s, 3 finished jobs kept, then for each job: id, number of the claim,
--       outcome (succeeded, retry, dead, released), error, result (JSON or empty), delay of a retry in ms
-- Returns for each job 1, or 0 where the attempt is not the worker's any more.
local worker, now, retention = ARGV[1], now_ms(), tonumber(ARGV[2])
local answers, ends, mine, called = {}, {}, {}, false
-- Not as many as KEYS: in a cluster those have one more, which keeps a script from half of its keys.
for i = 1, (#ARGV - 3) / 6 do
  local id, claim, outcome, error, result, delay = unpack(ARGV, 6 * i - 2, 6 * i + 3)
  local held, priority, percent = is_held(id, worker, claim)
  answers[i] = held and 1 or 0
  if held then
    mine[#mine + 1] = id
    local fields = {}
    if error ~= '' and outcome ~= 'succeeded' then fields = {'error', error} end
    if outcome == 'released' then
      if #fields > 0 then redis.call('HSET', KEYS[i], unpack(fields)) end
      redis.call('HINCRBY', KEYS[i], 'attempts', -1)
      move(id, 'running', 'pending')
      ready(id, priority, now)
      called = true
    elseif outcome == 'retry' then
      local run_at = now + (tonumber(delay) or 0)
      redis.call('HSET', KEYS[i], 'run_at', run_at, unpack(fields))
      move(id, 'running', 'scheduled')
      redis.call('ZADD', SCHEDULED, run_at, id)
    else
      if outcome == 'succeeded' then
        if result ~= '' then fields = {'result', result} end
        if percent then
          fields[#fields + 1] = 'percent'
          fields[#fields + 1] = 100
        end
      end
      finish(ends, id, 'running', outcome, now, retention, fields)
    end
  end
end
if #mine > 0 then redis.call('SREM', running_key(worker), unpack(mine)) end
settle(ends, now, retention, tonumber(ARGV[3]))
if called then redis.call('PUBLISH', WAKE, '') end
return answers
