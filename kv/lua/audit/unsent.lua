-- The oldest entries that were not sent.
-- KEYS: 1 log, 2 state
-- ARGV: 1 how many at most
-- Returns {id of the last that was sent (empty: none), position of the last of these, position of the last that is gone,
-- how many there are behind these, entries as XRANGE gives them}.
local known = redis.call('HMGET', KEYS[2], 'sent_id', 'sent', 'added')
local after, length = known[1] or '', redis.call('XLEN', KEYS[1])
local added = math.max(tonumber(known[3] or 0), length)
local gone = added - length
local first = after == '' and '-' or '(' .. after
local entries = redis.call('XRANGE', KEYS[1], first, '+', 'COUNT', ARGV[1])
local last = math.max(tonumber(known[2] or 0), gone) + #entries
return {after, last, gone, math.max(added - last, 0), entries}
