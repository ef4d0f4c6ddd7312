-- put(…): writes an entry if its condition holds, and keeps the index, the expiry index and the tag sets in step. Its arguments
-- stand by themselves, not in tables: that is a twentieth of a write.
-- keys: 1 entry, 2 index, 3 expiry index, 4 hash of tags; ttl in ms (0: never expires; -1: as the entry has);
-- max_keys: 0 is any number, -1 no more; holds(exists, version, updated), or nil for any
-- Returns, as numbers in a text: 1, created (0 or 1), version, created µs, updated µs, expiry ms or 0; or 0, exists (0 or 1),
-- or 0, 2 where there are too many keys for a new one.
local function put(keys, user_key, ttl, flags, meta, value, tags, tag_prefix, max_keys, now_us, now_ms, holds)
  local entry, index, expiry, tags_of = keys[1], keys[2], keys[3], keys[4]
  local head = redis.call('GETRANGE', entry, 0, 37)
  local exists = #head > 0
  local version, created, updated, expires, known = 0, now_us, 0, 0, nil
  local may_have_tags = true
  if exists then
    local _, old_flags, meta_length
    _, old_flags, version, created, updated, expires, meta_length = struct.unpack('>BBI8I8I8I8I4', head)
    known = settled(expires, now_ms)
    -- A meta of two bytes is a content type without letters, and no tag.
    may_have_tags = not known or meta_length > 2
  end
  if holds and not holds(exists, version, updated) then return exists and '0 1' or '0 0' end
  if not exists and too_many(max_keys, now_ms, index, expiry) then return '0 2' end

  -- Two writes within one microsecond must still differ.
  updated = math.max(now_us, updated + 1)
  version = version + 1
  if ttl >= 0 then expires = ttl > 0 and now_ms + ttl or 0 end

  -- Also where the old entry has just expired: its tags are still remembered.
  local old = may_have_tags and redis.call('HGET', tags_of, user_key)
  if old then
    for _, tag in ipairs(cmsgpack.unpack(old)) do redis.call('ZREM', tag_prefix .. tag, user_key) end
  end
  if #tags > 0 then
    for _, tag in ipairs(tags) do redis.call('ZADD', tag_prefix .. tag, 0, user_key) end
    redis.call('HSET', tags_of, user_key, cmsgpack.pack(tags))
  elseif old then
    redis.call('HDEL', tags_of, user_key)
  end

  save(keys, user_key, {
    version = version, created = created, updated = updated, expires = expires,
    flags = flags, meta = meta, value = value,
  }, known)
  tell(index, 'put', user_key, version)
  return string.format('1 %d %.0f %.0f %.0f %.0f', exists and 0 or 1, version, created, updated, expires)
end

