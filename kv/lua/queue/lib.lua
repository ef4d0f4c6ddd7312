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

-- finish(id, status, now, retention, cap): it is kept for a while, and only so many are. The member names the status
-- too, because the job itself may have expired when it is taken out.
local function finish(id, status, now, retention, cap)
  redis.call('HSET', job_key(id), 'finished', now)
  redis.call('EXPIRE', job_key(id), retention)
  redis.call('EXPIRE', job_key(id) .. ':result', retention)
  redis.call('ZADD', FINISHED, now, status .. ':' .. id)
  local surplus = math.min(redis.call('ZCARD', FINISHED) - cap, 10)
  local old = redis.call('ZRANGEBYSCORE', FINISHED, '-inf', now - retention * 1000, 'LIMIT', 0, 10)
  if surplus > #old then old = redis.call('ZRANGE', FINISHED, 0, surplus - 1) end
  for _, member in ipairs(old) do
    local was, gone = string.match(member, '^(%a+):(.*)$')
    redis.call('HINCRBY', COUNTS, was, -1)
    redis.call('DEL', job_key(gone), job_key(gone) .. ':result')
    redis.call('ZREM', FINISHED, member)
    redis.call('ZREM', ALL, gone)
  end
end

-- take_back(id, now, retention, cap): a job whose worker has lost it goes back, or is dead after its last attempt.
local function take_back(id, now, retention, cap)
  local job = redis.call('HMGET', job_key(id), 'priority', 'attempts', 'max_attempts', 'status')
  if job[4] ~= 'running' then return end
  if tonumber(job[2]) >= tonumber(job[3]) then
    redis.call('HSET', job_key(id), 'error', 'its worker died')
    move(id, 'running', 'dead')
    finish(id, 'dead', now, retention, cap)
  else
    move(id, 'running', 'pending')
    ready(id, job[1], now)
  end
end

