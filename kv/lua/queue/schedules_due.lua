-- Schedules that are due, those first that are so for longest.
-- KEYS: 1 schedules
-- ARGV: 1 schedules at most
-- Returns {Redis' time in ms, then for each: name, when it is due in ms, cron}.
local now = now_ms()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[1]))
local result = {tostring(now)}
for i = 1, #due, 2 do
  local cron = redis.call('HGET', PREFIX .. 'schedule:' .. due[i], 'cron')
  if cron then
    for _, field in ipairs({due[i], due[i + 1], cron}) do result[#result + 1] = field end
  end
end
return result
