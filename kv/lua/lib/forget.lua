-- tell(index, operation, user_key, version): adds to the change feed, which is there only while somebody watches.
-- What was done is done: that it cannot be told is no error. The feed is named after the index and so is not in KEYS; it
-- carries the same hash tag.
local function tell(index, operation, user_key, version)
  redis.pcall('XADD', string.sub(index, 1, -2) .. 'f', 'NOMKSTREAM', 'MAXLEN', '~', 10000, '*',
    'op', operation, 'key', user_key, 'version', version)
end

-- forget(user_key, index, expiry, meta, tag_prefix): takes a key out of the index, the expiry index and its tag sets.
-- The entry itself is the caller's business. Tag sets are named by what the hash `meta` remembers of the key, so they
-- are not in KEYS; they carry the same hash tag and so are on the same node.
local function forget(user_key, index, expiry, meta, tag_prefix)
  local packed = redis.call('HGET', meta, user_key)
  if packed then
    for _, tag in ipairs(cmsgpack.unpack(packed)) do
      redis.call('ZREM', tag_prefix .. tag, user_key)
    end
    redis.call('HDEL', meta, user_key)
  end
  redis.call('ZREM', index, user_key)
  redis.call('ZREM', expiry, user_key)
end

-- sweep(limit, now_ms, index, expiry, meta, tag_prefix): forgets up to `limit` keys whose entries have expired.
local function sweep(limit, now_ms, index, expiry, meta, tag_prefix)
  local expired = redis.call('ZRANGEBYSCORE', expiry, '-inf', now_ms, 'LIMIT', 0, limit)
  for _, user_key in ipairs(expired) do
    forget(user_key, index, expiry, meta, tag_prefix)
    tell(index, 'expire', user_key, 0)
  end
  return #expired
end

-- sweep_at_times(now_us, index, expiry, meta, tag_prefix): every eighth write does a share of the sweeping, so that what
-- expires is cleaned about as fast as it is written.
local function sweep_at_times(now_us, index, expiry, meta, tag_prefix)
  if now_us % 8 == 0 then sweep(32, math.floor(now_us / 1000), index, expiry, meta, tag_prefix) end
end

