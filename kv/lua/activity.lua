-- Notes when the tenant was used; what is known of a later time stays.
-- KEYS: 1 when it was used last, in ms since 1970
-- ARGV: 1 how long ago it was used, in ms
local time = redis.call('TIME')
local used = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - tonumber(ARGV[1])
if used > tonumber(redis.call('GET', KEYS[1]) or '0') then
  redis.call('SET', KEYS[1], string.format('%.0f', used))
end
return 1
