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
  for i = 1, math.min(#samples, #beside) do ratios[i] = samples[i] / beside[i] end
  return (median(ratios))
end

--- Fills in row.median, min, max, floor.ratio, peers.*.ratio and row.goals: { of, limit, got, met }.
function stats.judge(row)
  row.median, row.min, row.max = median(row.samples)
  row.floor.median, row.floor.ratio = median(row.floor), nil
  row.floor.ratio = ratio(row.samples, row.floor)
  for _, samples in pairs(row.peers) do
    samples.median, samples.ratio = (median(samples)), ratio(row.samples, samples)
  end
  local got = { value = row.median, floor = row.floor.ratio, go = row.peers.go and row.peers.go.ratio }
  row.goals = {}
  for _, of in ipairs { "value", "floor", "go" } do
    local limit = (row.work.target[row.carriers] or {})[of]
    if limit then
      row.goals[#row.goals + 1] = { of = of, limit = limit, got = got[of], met = got[of] and got[of] <= limit }
    end
  end
end

return stats
