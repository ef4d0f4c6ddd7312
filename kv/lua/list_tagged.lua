-- A stretch of the keys that begin with a prefix and have all of some tags, in byte order.
-- KEYS: the set of each tag; a cluster has one more behind them
-- ARGV: 1 prefix of entries, 2 prefix of keys (may be empty), 3 key to go on behind (empty: from the start),
--       4 how many to look at, at most, 5 how many to find, at most,
--       6 `head`, `value` or `key`: what to give of each; `count`: how many there are, and none of them, 7 bytes after which it
--       ends early, 8 number of tags
-- Returns {the last key that was looked at ('' at the end), how many had all tags, key, bytes, key, bytes, …}.
local prefix, after = ARGV[2], ARGV[3]
local looked_at, wanted, tags = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[8])
local smallest, least
for i = 1, tags do
  local set = KEYS[i]
  local size = redis.call('ZCARD', set)
  if not least or size < least then smallest, least = set, size end
end
local from = '-'
if after ~= '' then from = '(' .. after elseif prefix ~= '' then from = '[' .. prefix end
-- No byte of UTF-8 is 0xff: this bound is behind every key with the prefix.
local to = prefix == '' and '+' or '(' .. prefix .. '\255'
local members = redis.call('ZRANGE', smallest, from, to, 'BYLEX', 'LIMIT', 0, looked_at)
local result, found, size, last = {'', 0}, 0, 0, ''
for at, user_key in ipairs(members) do
  local has_all = string.sub(user_key, 1, #prefix) == prefix
  for i = 1, tags do
    has_all = has_all and (KEYS[i] == smallest or redis.call('ZSCORE', KEYS[i], user_key))
  end
  if has_all then
    found = found + 1
    if ARGV[6] ~= 'count' then
      local bytes = read(ARGV[1] .. user_key, ARGV[6])
      result[#result + 1] = user_key
      result[#result + 1] = bytes
      size = size + #bytes
    end
  end
  if at == looked_at or found == wanted or size > tonumber(ARGV[7]) then
    result[1] = user_key
    break
  end
end
result[2] = found
return result
