-- read(name, what): the entry's bytes; of `head` at least header, meta and the 8 bytes behind them, which name the key of an
-- encrypted value; nothing of `key`; empty where there is none.
local function read(name, what)
  if what == 'key' then return '' end
  if what == 'value' then return redis.call('GET', name) or '' end
  local bytes = redis.call('GETRANGE', name, 0, 255)
  if #bytes >= 38 then
    local meta_length = struct.unpack('>I4', bytes, 35)
    if 46 + meta_length > 256 then bytes = redis.call('GETRANGE', name, 0, 45 + meta_length) end
  end
  return bytes
end

