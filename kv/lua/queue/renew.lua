-- Renews a worker's lease, and takes back what it was given and does not have: an answer that was lost on its way, or
-- an end that could not be told. What was claimed within the lease may still be on its way and is left alone.
-- KEYS: 1 workers, 2 jobs of this worker
-- ARGV: 1 worker, 2 lease in ms, 3 retention in s, 4 finished jobs kept, then the ids that it has
-- Returns how many jobs it took back.
local now, lease, retention = now_ms(), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZADD', KEYS[1], now + lease, ARGV[1])
local held = {}
for i = 5, #ARGV do held[ARGV[i]] = true end
local taken, ends = 0, {}
-- As many as the worker runs at a time, and what it has lost: 1000 and a few.
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local started = tonumber(redis.call('HGET', job_key(id), 'started') or '0')
  if not held[id] and started + lease < now then
    redis.call('SREM', KEYS[2], id)
    take_back(ends, id, now, retention)
    taken = taken + 1
  end
end
settle(ends, now, retention, tonumber(ARGV[4]))
return taken
