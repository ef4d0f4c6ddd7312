-- Makes an account unless its name or its address is taken.
-- KEYS: 1 account, 2 address
-- ARGV: 1 the account's document, 2 its name
-- Returns 0 when made, 1 when the name is taken, 2 when the address is.
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
if redis.call('EXISTS', KEYS[2]) == 1 then return 2 end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2])
return 0
