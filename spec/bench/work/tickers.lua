local lub = require "lubdub"
local percentile = require "percentile"

-- n tickers of 1 s, a fiber waiting at each, spread over the second; measured for 5 s.
local function run(n)
  local parts, seconds, late, count, measuring = 100, 5, {}, 0, false
  for i = 1, n * (seconds + 1) do late[i] = math.huge end

  local function listen()
    local start = lub.now()
    for _ in lub.tick(1) do
      if measuring then
        count = count + 1
        late[count] = (lub.now() - start) % 1
      end
    end
  end

  for _ = 1, parts do
    for _ = 1, n // parts do lub.go(listen) end
    lub.sleep(1 / parts)
  end
  lub.sleep(2)
  measuring = true
  local start, cpu = lub.now(), os.clock()
  lub.sleep(seconds)
  local share = (os.clock() - cpu) / (lub.now() - start)
  measuring = false
  late = table.move(late, 1, count, 1, {})
  table.sort(late)
  return share, 1, percentile(late, 0.50), 1, percentile(late, 0.99), 1, late[#late], 1
end

return {
  n = 100000, fixed = true, cold = true, serial = true, carriers = { 2 },
  figures = {
    { key = "cpu", name = "CPU of 100,000 tickers of 1 s", unit = "%", target = { [2] = { go = 0.4 } } },
    { key = "p50", name = "their lateness, p50", unit = "us" },
    { key = "p99", name = "their lateness, p99", unit = "ms", target = { [2] = { value = 1.2 } } },
    { key = "max", name = "their lateness, worst", unit = "ms" },
  },
  run = run,
}
