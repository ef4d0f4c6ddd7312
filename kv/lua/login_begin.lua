-- Counts an attempt to log in before its password is looked at, so that many at once are no way around it. After some
-- attempts without a success each further one has to wait, twice as long each time.
-- KEYS: 1 attempts of this name
-- ARGV: 1 attempts that are free, 2 longest wait in s, 3 how long attempts are remembered in s
-- Returns how long to wait in ms; 0: the attempt may be made, and is counted.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local until_ms = tonumber(redis.call('HGET', KEYS[1], 'until') or 0)
if until_ms > now_ms then return until_ms - now_ms end
local attempts = redis.call('HINCRBY', KEYS[1], 'attempts', 1)
local over = attempts - tonumber(ARGV[1])
if over >= 0 then
  local wait_s = math.min(2 ^ math.min(over, 30), tonumber(ARGV[2]))
  redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now_ms + wait_s * 1000))
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 0
