-- Makes jobs that wait, as `enqueue` of kv/lua/queue does, many in one call.
-- ARGV: 1 what their ids begin with, 2 how many, 3 kind
local prefix = 'jobs:{j}:'
for number = 1, tonumber(ARGV[2]) do
  local id = ARGV[1] .. ':' .. number
  redis.call('HSET', prefix .. 'job:' .. id, 'kind', ARGV[3], 'payload', 'null', 'priority', 5, 'run_at', 1, 'created', 1,
    'attempts', 0, 'max_attempts', 5, 'status', 'pending')
  redis.call('ZADD', prefix .. 'all', 1, id)
  -- Older than any other: these are handed out first.
  redis.call('ZADD', prefix .. 'ready', 4e13 + 1, id)
end
redis.call('HINCRBY', prefix .. 'counts', 'pending', ARGV[2])
