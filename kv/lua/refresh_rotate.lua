-- Spends a refresh token for its successor. A token that is not the family's current one was spent before: somebody
-- has a copy, and nobody can tell who, so the whole family ends (RFC 9700, section 4.14.2).
-- KEYS: 1 family
-- ARGV: 1 SHA-256 of the token, 2 SHA-256 of its successor, 3 time to live in ms
-- Returns {0} for no such family, {2} for a spent token, or {1, user name}.
local current = redis.call('HGET', KEYS[1], 'current')
if not current then return {0} end
if current ~= ARGV[1] then
  redis.call('DEL', KEYS[1])
  return {2}
end
redis.call('HSET', KEYS[1], 'current', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {1, redis.call('HGET', KEYS[1], 'user')}
