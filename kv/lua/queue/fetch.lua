-- Renews a worker's lease, makes due jobs ready, takes jobs of a dead worker back, and hands out jobs. Every step looks
-- at a bounded number of jobs, however long the queue is.
-- KEYS: 1 workers
-- ARGV: 1 worker, 2 jobs at most, 3 lease in ms, 4 retention in s, 5 finished jobs kept
-- Returns {ready jobs that are left, then for each job: id, kind, payload, attempt, attempts at most,
-- number of the claim, traceparent or '', checkpoint of an attempt before or ''}.
local worker, limit, now = ARGV[1], tonumber(ARGV[2]), now_ms()
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), worker)

for _, id in ipairs(redis.call('ZRANGEBYSCORE', SCHEDULED, '-inf', now, 'LIMIT', 0, 200)) do
  redis.call('ZREM', SCHEDULED, id)
  local priority = redis.call('HGET', job_key(id), 'priority')
  if priority then
    move(id, 'scheduled', 'pending')
    ready(id, priority, now)
  end
end

for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)) do
  local ids = redis.call('SPOP', running_key(dead), 100)
  local ends, retention = {}, tonumber(ARGV[4])
  for _, id in ipairs(ids) do take_back(ends, id, now, retention) end
  settle(ends, now, retention, tonumber(ARGV[5]))
  if #ids < 100 then redis.call('ZREM', KEYS[1], dead) end
end

local result, ids = {0}, {}
local popped = redis.call('ZPOPMIN', READY, limit)
for i = 1, #popped, 2 do
  local id = popped[i]
  local job = redis.call('HMGET', job_key(id), 'kind', 'payload', 'max_attempts', 'trace', 'checkpoint', 'attempts', 'claim')
  if job[1] then
    -- The claim is never set back, unlike the attempts: by it an old claim is told from a new one.
    local attempt, claim = tonumber(job[6] or '0') + 1, tonumber(job[7] or '0') + 1
    redis.call('HSET', job_key(id), 'status', 'running', 'attempts', attempt, 'claim', claim, 'worker', worker, 'started', now)
    ids[#ids + 1] = id
    local fields = {id, job[1], job[2], attempt, tonumber(job[3]), claim, job[4] or '', job[5] or ''}
    for _, field in ipairs(fields) do result[#result + 1] = field end
  end
end
if #ids > 0 then
  redis.call('SADD', running_key(worker), unpack(ids))
  count({pending = -#ids, running = #ids})
end
result[1] = redis.call('ZCARD', READY)
return result
