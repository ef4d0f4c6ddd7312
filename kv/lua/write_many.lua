-- Writes entries one after the other, whatever was there.
-- KEYS: 1 index, 2 expiry index, 3 hash of tags, then the entries; a cluster has one more behind them
-- ARGV: 1 prefix of tag sets, 2 keys that there may be (0: any number; -1: no more),
--       then for each entry: key, time to live in ms (as for write.lua), meta, value, flags, number of tags, the tags
-- Returns for each what `put` does.
local tag_prefix, max_keys, results, at = ARGV[1], tonumber(ARGV[2]), {}, 3
local now_us, now_ms = clock()
sweep(4 * (#KEYS - 3), now_ms, KEYS[1], KEYS[2], KEYS[3], tag_prefix)
local i = 3
while at <= #ARGV do
  i = i + 1
  local tags, count = {}, tonumber(ARGV[at + 5])
  for tag = at + 6, at + 5 + count do tags[#tags + 1] = ARGV[tag] end
  local keys, ttl, flags = {KEYS[i], KEYS[1], KEYS[2], KEYS[3]}, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 4])
  results[#results + 1] =
    put(keys, ARGV[at], ttl, flags, ARGV[at + 2], ARGV[at + 3], tags, tag_prefix, max_keys, now_us, now_ms)
  at = at + 6 + count
end
return results
