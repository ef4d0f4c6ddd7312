-- Shared by the queue's scripts. A job is the hash `jobs:{j}:job:<id>`; ids move between zsets and sets whose names
-- carry the same hash tag and are therefore not all in KEYS.
local PREFIX = 'jobs:{j}:'
local READY, SCHEDULED, WORKERS = PREFIX .. 'ready', PREFIX .. 'scheduled', PREFIX .. 'workers'
local ALL, COUNTS, FINISHED = PREFIX .. 'all', PREFIX .. 'counts', PREFIX .. 'finished'
local WAKE = PREFIX .. 'wake'

local function job_key(id) return PREFIX .. 'job:' .. id end
local function running_key(worker) return PREFIX .. 'running:' .. worker end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- move(id, from, to): the job's status, and how many jobs have each.
local function move(id, from, to)
  redis.call('HSET', job_key(id), 'status', to)
  if from then redis.call('HINCRBY', COUNTS, from, -1) end
  redis.call('HINCRBY', COUNTS, to, 1)
end

-- ready(id, priority, now): higher priorities first, and within one the oldest.
local function ready(id, priority, now)
  redis.call('ZADD', READY, (9 - tonumber(priority)) * 1e13 + now, id)
end

-- finish(id, now, retention, cap): it is kept for a while, and only so many are.
local function finish(id, now, retention, cap)
  redis.call('HSET', job_key(id), 'finished', now)
  redis.call('EXPIRE', job_key(id), retention)
  redis.call('EXPIRE', job_key(id) .. ':result', retention)
  redis.call('ZADD', FINISHED, now, id)
  local surplus = math.min(redis.call('ZCARD', FINISHED) - cap, 10)
  local old = redis.call('ZRANGEBYSCORE', FINISHED, '-inf', now - retention * 1000, 'LIMIT', 0, 10)
  if surplus > #old then old = redis.call('ZRANGE', FINISHED, 0, surplus - 1) end
  for _, gone in ipairs(old) do
    local status = redis.call('HGET', job_key(gone), 'status')
    if status then redis.call('HINCRBY', COUNTS, status, -1) end
    redis.call('DEL', job_key(gone), job_key(gone) .. ':result')
    redis.call('ZREM', FINISHED, gone)
    redis.call('ZREM', ALL, gone)
  end
end

