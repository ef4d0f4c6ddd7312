-- Says how far an attempt is, and renews its worker's lease.
-- KEYS: 1 job, 2 workers
-- ARGV: 1 id, 2 worker, 3 number of the claim, 4 lease in ms, 5 percent (or empty: as it was), 6 message,
--       7 checkpoint, for who goes on after this worker (or empty: as it was)
-- Returns 1, or 0 where the attempt is not the worker's any more: it ends without a trace.
if not is_held(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[2], now_ms() + tonumber(ARGV[4]), ARGV[2])
note(ARGV[1], ARGV[5], ARGV[6], ARGV[7])
return 1
