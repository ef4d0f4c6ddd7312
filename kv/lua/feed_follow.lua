-- What has happened since an event. The feed is made where it is not there, and lives on for a while after it was last
-- asked for; while it is not there nothing is written down.
-- KEYS: 1 feed
-- ARGV: 1 id of the last event that is known (empty: none), 2 how many at most, 3 how long the feed lives on, in s
-- Returns {lost (1 where events may be missing before the first), id to go on behind, events as XRANGE gives them}.
local after, lost = ARGV[1], 0
if redis.call('EXISTS', KEYS[1]) == 0 then
  local begin = redis.call('XADD', KEYS[1], '*', 'op', 'begin')
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  return {after == '' and 0 or 1, begin, {}}
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
if after == '' then return {0, redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1], {}} end
local ms, seq = string.match(after, '^(%d+)-(%d+)$')
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
local first_ms, first_seq = string.match(first, '^(%d+)-(%d+)$')
ms, seq, first_ms, first_seq = tonumber(ms), tonumber(seq), tonumber(first_ms), tonumber(first_seq)
-- Whatever was before the first one that is left is not known any more.
if ms < first_ms or (ms == first_ms and seq < first_seq) then lost, after = 1, '0-0' end
local events = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', ARGV[2])
local last = events[#events]
return {lost, last and last[1] or after, events}
