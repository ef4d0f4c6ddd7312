-- Adds to a whole number; a key that is not there counts as 0 and is made.
-- KEYS: 1 entry, 2 index, 3 expiry index, 4 hash of tags
-- ARGV: 1 key, 2 what to add, 3 time to live of a new entry in ms (0: never expires), 4 meta of a new entry,
--       5 prefix of tag sets, 6 keys that there may be (0: any number; -1: no more)
-- Returns {1, created (0 or 1), version, created µs, updated µs, expiry ms or 0, the number}, or
-- {0, 3} where there are too many keys for a new one, {0, 1} where the value is no whole number, {0, 2} where it or the sum is not
-- exact in JSON (RFC 8259, section 6), {0, 4} where the value is encrypted.
local largest = 9007199254740991
local now_us, now_ms = clock()
sweep_at_times(now_us, KEYS[2], KEYS[3], KEYS[4], ARGV[5])
local entry = load(KEYS[1])
local is_new = not entry
if is_new and too_many(tonumber(ARGV[6]), now_ms, KEYS[2], KEYS[3]) then return {0, 3} end
if is_new then
  -- It may have just expired: its tags are still remembered.
  forget(ARGV[1], KEYS[2], KEYS[3], KEYS[4], ARGV[5])
  local ttl = tonumber(ARGV[3])
  entry = {
    version = 0, created = now_us, updated = 0, expires = ttl > 0 and now_ms + ttl or 0, flags = 0, meta = ARGV[4],
    value = '0',
  }
end
if entry.flags ~= 0 then return {0, 4} end
if not string.match(entry.value, '^%-?%d+$') then return {0, 1} end
-- A number beyond the bound is read as another one: nothing is added to that.
local number = tonumber(entry.value)
local sum = number + tonumber(ARGV[2])
if #entry.value > 17 or math.abs(number) > largest or math.abs(sum) > largest then return {0, 2} end
entry.value = string.format('%.0f', sum)
entry.version = entry.version + 1
entry.updated = math.max(now_us, entry.updated + 1)
save(KEYS, ARGV[1], entry, not is_new and settled(entry.expires, now_ms) or nil)
tell(KEYS[2], 'put', ARGV[1], entry.version)
return {1, is_new and 1 or 0, entry.version, entry.created, entry.updated, entry.expires, sum}
