-- Writes an entry if its condition holds.
-- KEYS: 1 entry, 2 index, 3 expiry index, 4 hash of tags
-- ARGV: 1 key, 2 condition (any, absent, present, match), 3 time to live in ms (0: never expires; -1: as the entry has),
--       4 meta of the header, 5 value, 6 prefix of tag sets, 7 keys that there may be (0: any number; -1: no more),
--       8 flags of the header, 9 number of tags, then the tags,
--       then for `match` pairs of version and time of update in µs, of which one must be the entry's
-- Returns what `put` does.
local condition = ARGV[2]
local tags, next_argument = {}, 10 + tonumber(ARGV[9])
for i = 10, next_argument - 1 do tags[#tags + 1] = ARGV[i] end
local holds
if condition == 'match' then
  holds = function(exists, version, updated)
    for i = next_argument, #ARGV, 2 do
      if exists and tonumber(ARGV[i]) == version and tonumber(ARGV[i + 1]) == updated then return true end
    end
    return false
  end
elseif condition ~= 'any' then
  holds = function(exists) return exists == (condition == 'present') end
end
local now_us, now_ms = clock()
sweep_at_times(now_us, KEYS[2], KEYS[3], KEYS[4], ARGV[6])
return put(KEYS, ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[8]), ARGV[4], ARGV[5], tags, ARGV[6], tonumber(ARGV[7]), now_us, now_ms,
  holds)
