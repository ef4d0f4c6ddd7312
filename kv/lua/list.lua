-- A stretch of the keys that begin with a prefix, in byte order, each with the head of its entry.
-- All scores of the index are 0, so that a rank is a place in byte order and a page costs the same wherever it is.
-- KEYS: 1 index
-- ARGV: 1 prefix of entries, 2 prefix of keys (may be empty), 3 `offset` or `after`, 4 how many to skip, or the key
--       to go on behind, 5 how many at most (≤200), 6 `head`, `value` or `key`: what to give of each entry, 7 bytes after which it ends early
-- Returns {keys with the prefix, next rank (-1 at the end), key, bytes, key, bytes, …}.
local index, prefix, limit = KEYS[1], ARGV[2], tonumber(ARGV[5])
local first, total = 0, 0
if prefix == '' then
  total = redis.call('ZCARD', index)
else
  first = redis.call('ZLEXCOUNT', index, '-', '(' .. prefix)
  -- No byte of UTF-8 is 0xff: this bound is behind every key with the prefix.
  total = redis.call('ZLEXCOUNT', index, '[' .. prefix, '(' .. prefix .. '\255')
end
local start
if ARGV[3] == 'after' then
  start = math.max(first, redis.call('ZLEXCOUNT', index, '-', '[' .. ARGV[4]))
else
  start = first + tonumber(ARGV[4])
end
local stop = math.min(start + limit, first + total) - 1
local result, size = {total, -1}, 0
if stop >= start then
  for at, user_key in ipairs(redis.call('ZRANGE', index, start, stop)) do
    local bytes = read(ARGV[1] .. user_key, ARGV[6])
    result[#result + 1] = user_key
    result[#result + 1] = bytes
    size = size + #bytes
    -- One answer of many large values would hold up everybody else.
    if size > tonumber(ARGV[7]) then stop = start + at - 1 break end
  end
  if stop + 1 < first + total then result[2] = stop + 1 - first end
end
return result
