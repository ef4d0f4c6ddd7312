-- read(name, what): the entry's bytes, of `head` only header and meta; empty where there is none.
local function read(name, what)
  if what == 'value' then return redis.call('GET', name) or '' end
  local bytes = redis.call('GETRANGE', name, 0, 255)
  if #bytes >= 38 then
    local meta_length = struct.unpack('>I4', bytes, 35)
    if 38 + meta_length > 256 then bytes = redis.call('GETRANGE', name, 0, 37 + meta_length) end
  end
  return bytes
end

