-- Begins a family of refresh tokens.
-- KEYS: 1 family
-- ARGV: 1 user name, 2 SHA-256 of the first token, 3 time to live in ms
-- Returns 1.
redis.call('HSET', KEYS[1], 'user', ARGV[1], 'current', ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
