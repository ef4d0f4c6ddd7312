-- Adds an API key, unless the tenant has too many.
-- KEYS: 1 hash of all API keys
-- ARGV: 1 id, 2 document, 3 how many there may be
-- Returns 1, or 0 where there are too many.
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
