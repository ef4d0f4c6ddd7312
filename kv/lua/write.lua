-- Writes an entry if its condition holds, and keeps the index, the expiry index and the tag sets in step.
-- KEYS: 1 entry, 2 index, 3 expiry index, 4 hash of tags
-- ARGV: 1 key, 2 condition (any, absent, present, match), 3 time to live in ms (0: never expires; -1: as the entry has),
--       4 meta of the header, 5 value, 6 prefix of tag sets, 7 keys that there may be (0: any number),
--       8 flags of the header, 9 number of tags, then the tags,
--       then for `match` pairs of version and time of update in µs, of which one must be the entry's
-- Returns, as numbers in a text: 1, created (0 or 1), version, created µs, updated µs, expiry ms or 0; or 0, exists (0 or 1),
-- or 0, 2 where there are too many keys for a new one.
local entry, index, expiry, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local user_key, condition, ttl, tag_prefix = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[6]
local tags, next_argument = {}, 10 + tonumber(ARGV[9])
for i = 10, next_argument - 1 do tags[#tags + 1] = ARGV[i] end

local now_us, now_ms = clock()

sweep_at_times(now_us, index, expiry, meta, tag_prefix)

local head = redis.call('GETRANGE', entry, 0, 37)
local exists = #head > 0
local version, created, updated, expires, known = 0, now_us, 0, 0, nil
local may_have_tags = true
if exists then
  local _, flags, meta_length
  _, flags, version, created, updated, expires, meta_length = struct.unpack('>BBI8I8I8I8I4', head)
  known = settled(expires, now_ms)
  -- A meta of two bytes is a content type without letters, and no tag.
  may_have_tags = not known or meta_length > 2
end
local holds = condition == 'any'
  or (condition == 'absent' and not exists)
  or (condition == 'present' and exists)
if condition == 'match' and exists then
  for i = next_argument, #ARGV, 2 do
    holds = holds or (tonumber(ARGV[i]) == version and tonumber(ARGV[i + 1]) == updated)
  end
end
if not holds then return exists and '0 1' or '0 0' end
if not exists and too_many(tonumber(ARGV[7]), now_ms, index, expiry) then return '0 2' end

-- Two writes within one microsecond must still differ.
updated = math.max(now_us, updated + 1)
version = version + 1
if ttl >= 0 then expires = ttl > 0 and now_ms + ttl or 0 end

-- Also where the old entry has just expired: its tags are still remembered.
local old = may_have_tags and redis.call('HGET', meta, user_key)
if old then
  for _, tag in ipairs(cmsgpack.unpack(old)) do redis.call('ZREM', tag_prefix .. tag, user_key) end
end
if #tags > 0 then
  for _, tag in ipairs(tags) do redis.call('ZADD', tag_prefix .. tag, 0, user_key) end
  redis.call('HSET', meta, user_key, cmsgpack.pack(tags))
elseif old then
  redis.call('HDEL', meta, user_key)
end

save(KEYS, user_key, {
  version = version, created = created, updated = updated, expires = expires,
  flags = tonumber(ARGV[8]), meta = ARGV[4], value = ARGV[5],
}, known)
tell(index, 'put', user_key, version)
return string.format('1 %d %.0f %.0f %.0f %.0f', exists and 0 or 1, version, created, updated, expires)
