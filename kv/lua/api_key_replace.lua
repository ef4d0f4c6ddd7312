-- Replaces an API key that is still as it was read.
-- KEYS: 1 hash of all API keys
-- ARGV: 1 id, 2 document that was read, 3 its successor
-- Returns 1, or 0 where the key has changed or is gone.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
