-- From samples to medians, ratios and verdicts.
local stats = {}

local function median(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local middle = (#sorted + 1) // 2
  if #sorted % 2 == 1 then return sorted[middle], sorted[1], sorted[#sorted] end
  return sorted[middle] and (sorted[middle] + sorted[middle + 1]) / 2, sorted[1], sorted[#sorted]
end

-- The median of the ratios of what was measured beside each other, which drifts less than a ratio of medians.
local function ratio(samples, beside)
  local ratios = {}
  for i = 1, math.min(#samples, #beside) do
    if beside[i] > 0 then ratios[#ratios + 1] = samples[i] / beside[i] end
  end
  return (median(ratios))
end

--- Fills in row.median, min, max, floor.median.
function stats.summarize(row)
  row.median, row.min, row.max = median(row.samples)
  row.floor.median = median(row.floor)
end

local NEAR <const> = 1.25
stats.NEAR = NEAR

-- "~": so near what Lua itself costs counts as met, whatever the target.
local function verdict(got, limit, near)
  if not got then return nil end
  if got <= limit then return "yes" end
  return near and "~" or false
end

--- Fills in row.median, min, max, floor.median, floor.ratio, peers.*.ratio and row.goals: { of, limit, got, met }.
--- Erlang is to be beaten in every row but its mailboxes'.
function stats.judge(row)
  stats.summarize(row)
  row.floor.ratio = ratio(row.samples, row.floor)
  for _, samples in pairs(row.peers) do
    samples.median, samples.ratio = (median(samples)), ratio(row.samples, samples)
  end
  local function beside(name) return row.peers[name] and row.peers[name].ratio end
  local got = { value = row.median, floor = row.floor.ratio, go = beside "go", erlang = beside "erlang" }
  local target = { value = row.target.value, floor = row.target.floor, go = row.target.go,
    erlang = got.erlang and not row.mailbox and 1 or nil }
  local floors = { got.floor or math.huge, beside "bare" or math.huge, row.kernel and beside "c" or math.huge }
  local near = math.min(table.unpack(floors)) <= NEAR
  row.goals = {}
  for _, of in ipairs { "value", "floor", "go", "erlang" } do
    local limit = target[of]
    if limit then
      row.goals[#row.goals + 1] = { of = of, limit = limit, got = got[of], met = verdict(got[of], limit, near) }
    end
  end
end

return stats
