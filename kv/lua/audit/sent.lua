-- Notes that entries were sent. Those among them that were dropped since they were read are not lost: they are counted back.
-- KEYS: 1 state
-- ARGV: 1 id of the last that was sent before (empty: none), 2 id and 3 position of the last of these, 4 position of the last
--       that was gone when they were read, 5 how many of these were refused
-- Returns 1, or 0 where somebody else has sent meanwhile.
local known = redis.call('HMGET', KEYS[1], 'sent_id', 'sent', 'gone')
if (known[1] or '') ~= ARGV[1] then return 0 end
local last = tonumber(ARGV[3])
local counted = math.min(tonumber(known[3] or 0), last) - math.max(tonumber(known[2] or 0), tonumber(ARGV[4]))
if counted > 0 then redis.call('HINCRBY', KEYS[1], 'dropped', -counted) end
if ARGV[5] ~= '0' then redis.call('HINCRBY', KEYS[1], 'refused', ARGV[5]) end
redis.call('HSET', KEYS[1], 'sent_id', ARGV[2], 'sent', last)
redis.call('HDEL', KEYS[1], 'failures', 'retry_at')
return 1
