-- Requests for wrk: random keys, GET or PUT by share, and a machine-readable summary at the end.
-- Environment: BENCH_READ and BENCH_WRITE (path formats with one %d), BENCH_KEYS (how many keys),
-- BENCH_WRITE_PERCENT (0-100), BENCH_BODY (file with the body of a write), BENCH_TOKENS (file with bearer tokens, one a line),
-- BENCH_OUT (file for the summary).
local read_path, write_path = os.getenv("BENCH_READ"), os.getenv("BENCH_WRITE")
local keys, writes = tonumber(os.getenv("BENCH_KEYS")), tonumber(os.getenv("BENCH_WRITE_PERCENT"))
local body

local reads_built, writes_built = {}, {}

function init(args)
  math.randomseed(7)
  local file = io.open(os.getenv("BENCH_BODY"), "rb")
  body = file:read("*a")
  file:close()
  local tokens = {}
  for token in io.lines(os.getenv("BENCH_TOKENS")) do tokens[#tokens + 1] = token end
  local function headers(key, more)
    if #tokens > 0 then more["Authorization"] = "Bearer " .. tokens[key % #tokens + 1] end
    return more
  end
  -- Built once: the load generator must not be what is measured.
  for key = 1, keys do
    reads_built[key] = wrk.format("GET", string.format(read_path, key), headers(key, {}), nil)
  end
  if writes > 0 then
    for key = 1, math.min(keys, 2000) do
      local write_headers = headers(key, { ["Content-Type"] = "application/json" })
      writes_built[key] = wrk.format("PUT", string.format(write_path, key), write_headers, body)
    end
  end
end

function request()
  if writes > 0 and math.random(100) <= writes then
    return writes_built[math.random(#writes_built)]
  end
  return reads_built[math.random(keys)]
end

function done(summary, latency, _)
  local errors = summary.errors
  local out = io.open(os.getenv("BENCH_OUT"), "w")
  out:write(string.format(
    '{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "bad_status": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
  out:close()
end
