#!lua flags=allow-oom
-- The line above lets a script begin although Redis is full: it is what makes room again, or lets those in who can.

-- Shared by the queue's scripts. A job is the hash `jobs:{j}:job:<id>`; ids move between zsets and sets whose names
-- carry the same hash tag and are therefore not all in KEYS.
local PREFIX = 'jobs:{j}:'
local READY, SCHEDULED, WORKERS = PREFIX .. 'ready', PREFIX .. 'scheduled', PREFIX .. 'workers'
local ALL, COUNTS, FINISHED = PREFIX .. 'all', PREFIX .. 'counts', PREFIX .. 'finished'
local WAKE = PREFIX .. 'wake'

local function job_key(id) return PREFIX .. 'job:' .. id end
local function parts_key(id) return PREFIX .. 'parts:' .. id end
local function part_key(id, number) return PREFIX .. 'part:' .. id .. ':' .. number end
local function running_key(worker) return PREFIX .. 'running:' .. worker end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- count(changes): by how much the number of jobs of a status has changed.
local function count(changes)
  for status, by in pairs(changes) do
    if by ~= 0 then redis.call('HINCRBY', COUNTS, status, by) end
  end
end

-- move(id, from, to): the job's status, and how many jobs have each.
local function move(id, from, to)
  redis.call('HSET', job_key(id), 'status', to)
  count({[from] = -1, [to] = 1})
end

-- ready(id, priority, now): higher priorities first, and within one the oldest.
local function ready(id, priority, now)
  redis.call('ZADD', READY, (9 - tonumber(priority)) * 1e13 + now, id)
end

-- drop_parts(id): forgets the bytes that are kept under an id.
local function drop_parts(id)
  local parts = redis.call('HGET', parts_key(id), 'count')
  if not parts then return end
  for number = 0, tonumber(parts) - 1 do redis.call('DEL', part_key(id, number)) end
  redis.call('DEL', parts_key(id))
end

-- keep_part(id, number, bytes, plain, life, most): keeps the next of the parts of what is kept under an id, for `life` seconds.
-- The first one begins anew. False where all of them would have more than `most` bytes.
local function keep_part(id, number, bytes, plain, life, most)
  if number == 0 then drop_parts(id) end
  local stored = tonumber(redis.call('HGET', parts_key(id), 'stored') or '0')
  if stored + #bytes > most then return false end
  redis.call('SET', part_key(id, number), bytes, 'EX', life)
  redis.call('HSET', parts_key(id), 'count', number + 1)
  redis.call('HINCRBY', parts_key(id), 'stored', #bytes)
  redis.call('HINCRBY', parts_key(id), 'bytes', plain)
  redis.call('EXPIRE', parts_key(id), life)
  return true
end

-- is_held(id, worker, claim): whether an attempt is still the worker's; then also the job's priority, and its percentage or false.
local function is_held(id, worker, claim)
  local job = redis.call('HMGET', job_key(id), 'status', 'worker', 'claim', 'priority', 'percent')
  return job[1] == 'running' and job[2] == worker and job[3] == claim, job[4], job[5]
end

-- note(id, percent, message, checkpoint): how far an attempt is; an empty text leaves it as it was.
local function note(id, percent, message, checkpoint)
  if percent ~= '' then redis.call('HSET', job_key(id), 'percent', percent, 'message', message) end
  if checkpoint ~= '' then redis.call('HSET', job_key(id), 'checkpoint', checkpoint) end
end

-- forget(members, changes): takes finished jobs out, and notes it in the changes of their number.
local function forget(members, changes)
  if #members == 0 then return end
  local ids, jobs, parts = {}, {}, {}
  for i, member in ipairs(members) do
    local was, id = string.match(member, '^(%a+):(.*)$')
    changes[was] = (changes[was] or 0) - 1
    ids[i], jobs[i], parts[i] = id, job_key(id), parts_key(id)
  end
  if redis.call('EXISTS', unpack(parts)) > 0 then
    for _, id in ipairs(ids) do drop_parts(id) end
  end
  redis.call('DEL', unpack(jobs))
  redis.call('ZREM', ALL, unpack(ids))
end

-- keep_parts(id, retention): what a job has left is whole, and kept as long as the job.
local function keep_parts(id, retention)
  local parts = redis.call('HGET', parts_key(id), 'count')
  if not parts then return end
  for number = 0, tonumber(parts) - 1 do redis.call('EXPIRE', part_key(id, number), retention) end
  redis.call('HSET', parts_key(id), 'whole', 1)
  redis.call('EXPIRE', parts_key(id), retention)
end

-- finish(ends, id, from, to, now, retention, fields): a job's end, which also sets these fields; `settle` completes all ends of a
-- script at once.
local function finish(ends, id, from, to, now, retention, fields)
  local key = job_key(id)
  redis.call('HSET', key, 'status', to, 'finished', now, unpack(fields))
  if to == 'succeeded' then redis.call('HDEL', key, 'checkpoint', 'error') else redis.call('HDEL', key, 'checkpoint') end
  redis.call('EXPIRE', key, retention)
  ends[#ends + 1] = {id, from, to}
end

-- settle(ends, now, retention, cap): jobs that have ended are kept for a while, and only so many are. The member names the status
-- too, because the job itself may have expired when it is taken out.
local function settle(ends, now, retention, cap)
  if #ends == 0 then return end
  local parts, members, changes = {}, {}, {}
  for i, job in ipairs(ends) do
    local id, from, to = unpack(job)
    parts[i], members[2 * i - 1], members[2 * i] = parts_key(id), now, to .. ':' .. id
    changes[from], changes[to] = (changes[from] or 0) - 1, (changes[to] or 0) + 1
  end
  if redis.call('EXISTS', unpack(parts)) > 0 then
    for _, job in ipairs(ends) do
      if job[3] == 'succeeded' then keep_parts(job[1], retention) else drop_parts(job[1]) end
    end
  end
  redis.call('ZADD', FINISHED, unpack(members))
  local expired, may_be_expired = now - retention * 1000, true
  local surplus = redis.call('ZCARD', FINISHED) - cap
  if surplus > 0 then
    local popped, old = redis.call('ZPOPMIN', FINISHED, math.min(surplus, #ends + 10)), {}
    for i = 1, #popped, 2 do old[#old + 1] = popped[i] end
    forget(old, changes)
    may_be_expired = tonumber(popped[#popped]) <= expired
  end
  if may_be_expired then
    local old = redis.call('ZRANGEBYSCORE', FINISHED, '-inf', expired, 'LIMIT', 0, 10)
    forget(old, changes)
    if #old > 0 then redis.call('ZREM', FINISHED, unpack(old)) end
  end
  count(changes)
end

-- take_back(ends, id, now, retention): a job whose worker has lost it goes back, or is dead after its last attempt.
local function take_back(ends, id, now, retention)
  local job = redis.call('HMGET', job_key(id), 'priority', 'attempts', 'max_attempts', 'status')
  if job[4] ~= 'running' then return end
  if tonumber(job[2]) >= tonumber(job[3]) then
    finish(ends, id, 'running', 'dead', now, retention, {'error', 'its worker died'})
  else
    move(id, 'running', 'pending')
    ready(id, job[1], now)
  end
end

-- is_full(most): whether so many jobs wait already.
local function is_full(most)
  return redis.call('ZCARD', READY) + redis.call('ZCARD', SCHEDULED) >= most
end

-- add(id, kind, payload, priority, run_at, attempts, now): a new job; gives its status.
local function add(id, kind, payload, priority, run_at, attempts, now)
  local status = run_at > now and 'scheduled' or 'pending'
  redis.call('HSET', job_key(id), 'kind', kind, 'payload', payload, 'priority', priority, 'run_at', run_at,
    'created', now, 'attempts', 0, 'max_attempts', attempts, 'status', status)
  count({[status] = 1})
  redis.call('ZADD', ALL, now, id)
  if status == 'scheduled' then
    redis.call('ZADD', SCHEDULED, run_at, id)
  else
    ready(id, priority, now)
    redis.call('PUBLISH', WAKE, '')
  end
  return status
end

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
