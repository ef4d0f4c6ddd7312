-- Forgets a request that was begun, unless another attempt has begun it since or it has an answer.
-- KEYS: 1 request
-- ARGV: 1 what the attempt has left there
-- Returns 1, or 0 where that is not there.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
