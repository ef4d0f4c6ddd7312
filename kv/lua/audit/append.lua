-- Writes a batch of entries, drops the oldest beyond the bound, and counts those of them that were never sent. Every entry has
-- a position, from 1: `added` is that of the last one, `gone` of the last that is not there any more, `sent` of the last that was sent.
-- KEYS: 1 log, 2 state, 3 the last batch of who writes
-- ARGV: 1 bound, 2 number of the batch, 3 entries that who writes has dropped itself, 4 how long it is remembered in s,
--       5 `full` where memory is used up (then the log does not grow), 6 … eight values for each entry
-- Returns 1, or 0 where the batch was written already.
local log, state = KEYS[1], KEYS[2]
if tonumber(redis.call('GET', KEYS[3]) or 0) >= tonumber(ARGV[2]) then return 0 end
local known = redis.call('HMGET', state, 'added', 'gone', 'sent')
local length = redis.call('XLEN', log)
local added, gone, sent = tonumber(known[1] or 0), tonumber(known[2] or 0), tonumber(known[3] or 0)
-- A Redis that evicts may have taken the state away.
if added < length then added = length end
local bound = tonumber(ARGV[1])
if ARGV[5] == 'full' then bound = math.min(bound, length) end
for at = 6, #ARGV, 8 do
  redis.call('XADD', log, 'MAXLEN', '=', bound, '*', 'p', ARGV[at], 'o', ARGV[at + 1], 'k', ARGV[at + 2], 't', ARGV[at + 3],
    'n', ARGV[at + 4], 's', ARGV[at + 5], 'r', ARGV[at + 6], 'a', ARGV[at + 7])
  added = added + 1
end
local dropped, gone_now = tonumber(ARGV[3]), added - redis.call('XLEN', log)
if gone_now > math.max(gone, sent) then dropped = dropped + gone_now - math.max(gone, sent) end
redis.call('HSET', state, 'added', added, 'gone', gone_now)
if dropped > 0 then redis.call('HINCRBY', state, 'dropped', dropped) end
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[4])
return 1
