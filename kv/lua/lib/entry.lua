-- clock(): Redis' time since 1970, in µs and in ms.
local function clock()
  local time = redis.call('TIME')
  local us = tonumber(time[1]) * 1000000 + tonumber(time[2])
  return us, math.floor(us / 1000)
end

-- settled(expires, now_ms): the expiry of an entry that is there, or nil where a sweep may take it for an expired one
-- about now. Of a settled entry it is known what the indexes hold.
local function settled(expires, now_ms)
  if expires == 0 or expires > now_ms + 1000 then return expires end
  return nil
end

-- encode(entry): its bytes; format 1, or 2 where the value is encrypted, which older versions must not take for one that is not.
-- entry: version, created µs, updated µs, expires ms or 0, flags, meta, value
local function encode(entry)
  return struct.pack('>BBI8I8I8I8I4', 1 + entry.flags, entry.flags, entry.version, entry.created, entry.updated, entry.expires,
    #entry.meta) .. entry.meta .. entry.value
end

-- save(keys, user_key, entry, known): writes an entry, and keeps the index and the expiry index in step.
-- keys: 1 entry, 2 index, 3 expiry index; entry as for encode
-- known: expiry of the settled entry that is replaced, or nil
local function save(keys, user_key, entry, known)
  local bytes = encode(entry)
  if entry.expires > 0 then
    redis.call('SET', keys[1], bytes, 'PXAT', entry.expires)
    if known ~= entry.expires then redis.call('ZADD', keys[3], entry.expires, user_key) end
  else
    redis.call('SET', keys[1], bytes)
    if known ~= 0 then redis.call('ZREM', keys[3], user_key) end
  end
  if not known then redis.call('ZADD', keys[2], 0, user_key) end
end

-- load(key): the entry, or nil.
local function load(key)
  local bytes = redis.call('GET', key)
  if not bytes then return nil end
  local entry, _, meta_length = {}
  _, entry.flags, entry.version, entry.created, entry.updated, entry.expires, meta_length =
    struct.unpack('>BBI8I8I8I8I4', bytes)
  entry.meta = string.sub(bytes, 39, 38 + meta_length)
  entry.value = string.sub(bytes, 39 + meta_length)
  return entry
end

-- too_many(most, now_ms, index, expiry): whether there are as many keys as may be; those that have expired do not count.
-- most: 0 is any number; below it there may be no more, whatever is here: the rest of them is elsewhere.
local function too_many(most, now_ms, index, expiry)
  return most < 0 or most > 0 and redis.call('ZCARD', index) - redis.call('ZCOUNT', expiry, '-inf', now_ms) >= most
end

