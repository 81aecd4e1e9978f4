-- Growth: what one operation costs among ever more of its kind, and on ever more carriers.
local measure = require "measure"
local stats = require "stats"
local report = require "report"
local chart = require "chart"
local growth = {}

local sizes, carriers = { 10, 1000, 100000 }, { 1, 2, 4, 8, 16 }

-- growth/NAME.lua: as a workload, but run(n, size) tells what n operations cost among `size`.
local by_size = { "fibers", "fiber_ring", "channels", "timers", "hearts", "beats" }

-- work/NAME.lua, on each number of carriers.
local by_carriers = {
  "round_trip_fibers", "round_trip_workers", "one_way_workers", "buffered_workers", "table_workers", "fan_in_workers",
  "four_to_four_workers", "ring", "jobs_workers", "spawn_fiber", "spawn_worker",
}

local is_by_size = {}
growth.names = {}
for _, id in ipairs(by_size) do
  is_by_size[id] = true
  growth.names[#growth.names + 1] = id
end
table.move(by_carriers, 1, #by_carriers, #growth.names + 1, growth.names)

--- What the options ask for; `here`: the directory of the harness.
function growth.runs(opts, here)
  local runs = {}
  local part = opts.quick and 10 or 1
  for _, id in ipairs(opts.names) do
    local kind = is_by_size[id] and "growth" or "work"
    local work = dofile(("%s/%s/%s.lua"):format(here, kind, id))
    for _, size in ipairs(is_by_size[id] and sizes or carriers) do
      local on, among = is_by_size[id] and 1 or size, is_by_size[id] and size or nil
      runs[#runs + 1] = measure.run(kind, id, work, on, work.n // part, among)
    end
    if is_by_size[id] and opts.big then runs[#runs + 1] = measure.run(kind, id, work, 1, work.n // part, 1000000) end
  end
  return runs
end

-- Rows of one workload, in order of size, and how much more each may cost than those before it.
local function series(rows)
  local all, of = {}, {}
  for _, row in ipairs(rows) do
    stats.summarize(row)
    local one = of[row.id]
    if not one then
      one = { id = row.id, name = row.name, unit = row.unit, limit = row.more and 2 or 1.2, by_size = row.more ~= nil }
      of[row.id], all[#all + 1] = one, one
    end
    one[#one + 1] = row
  end
  return all
end

-- What a row costs beside the least of those that are no larger: what 1 carrier takes longer than 2 has not grown.
local function growths(one, median)
  local least, all, most = math.huge, {}, nil
  for i, row in ipairs(one) do
    local figure = median(row)
    if figure then
      least = math.min(least, figure)
      all[i] = figure / least
      most = math.max(most or 0, all[i])
    end
  end
  return all, most
end

-- What grows no more than plain Lua's own does, nearly, counts as flat.
local function judge(one)
  local all, _
  all, one.worst = growths(one, function(row) return row.median end)
  for i, row in ipairs(one) do row.growth = all[i] end
  if one.by_size then _, one.floor = growths(one, function(row) return row.floor.median end) end
  if one.worst then
    local near = one.floor and one.worst <= stats.NEAR * one.floor
    one.met = one.worst <= one.limit and "yes" or near and "~"
  end
end

local function cells(one)
  local line = { one.name, one.unit }
  local at = {}
  for _, row in ipairs(one) do
    at[row.more or row.carriers] = row.median and ("%.4g (%.2f)"):format(row.median, row.growth) or "-"
  end
  for _, size in ipairs(one.by_size and { 10, 1000, 100000, 1000000 } or carriers) do
    line[#line + 1] = at[size] or "-"
  end
  if one.by_size then line[#line + 1] = one.floor and ("%.2f"):format(one.floor) or "-" end
  line[#line + 1] = ("%g"):format(one.limit)
  line[#line + 1] = one.met or "NO"
  return line
end

local function intro(opts)
  return { ("repeats: %d%s%s; median, and in brackets its ratio to the least so far"):format(opts.repeats,
    opts.quick and ", quick" or "", opts.big and ", big" or ""),
    "met ~: more than that, but within 1.25 of how plain Lua's like grows (column Lua): its collector's doing" }
end

function growth.report(rows, opts)
  local all, met = series(rows), 0
  local among = { { "workload", "unit", "10", "1,000", "100,000", "1,000,000", "Lua", "at most", "met" } }
  local on = { { "workload", "unit", "on 1", "on 2", "on 4", "on 8", "on 16", "at most", "met" } }
  for _, one in ipairs(all) do
    judge(one)
    met = met + (one.met and 1 or 0)
    local lines = one.by_size and among or on
    lines[#lines + 1] = cells(one)
  end
  local notes = { ("%d of %d stay flat"):format(met, #all) }
  for _, line in ipairs(report.failures(rows)) do notes[#notes + 1] = line end
  notes[#notes + 1] = opts.chart and chart.growth(all, opts.chart) or nil
  local tables = {}
  for _, lines in ipairs { among, on } do
    if lines[2] then tables[#tables + 1] = lines end
  end
  report.write(opts, "lubdub's growth", intro(opts), tables, notes)
  if opts.json then report.json(rows, opts, {}) end
end

return growth
