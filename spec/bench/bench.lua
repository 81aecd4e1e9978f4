-- The bench: the engine beside the floor and the peers.
local measure = require "measure"
local stats = require "stats"
local report = require "report"
local chart = require "chart"
local bench = { names = require "workloads", beside = true }

local function operations(work, opts)
  if opts.big and work.big then return work.big end
  if opts.quick and not work.fixed then return math.max(1, work.n // 10) end
  return work.n
end

--- What the options ask for; `here`: the directory of the harness.
function bench.runs(opts, here)
  local runs = {}
  for _, id in ipairs(opts.names) do
    local work = dofile(here .. "/work/" .. id .. ".lua")
    for _, carriers in ipairs(work.carriers) do
      runs[#runs + 1] = measure.run("work", id, work, carriers, operations(work, opts))
    end
  end
  return runs
end

local function figure(v)
  if not v then return "-" end
  if v >= 1000 then return ("%.0f"):format(v) end
  return ((v >= 100 and "%.0f") or (v >= 10 and "%.1f") or "%.2f"):format(v)
end

local shape = { value = "%g %s", floor = "%g floor", go = "%g Go", erlang = "%g Erlang" }

local function goals(row)
  local wanted, met = {}, {}
  for i, goal in ipairs(row.goals) do
    wanted[i] = shape[goal.of]:format(goal.limit, row.unit)
    met[i] = goal.got and (goal.met or "NO") or "?"
  end
  return table.concat(wanted, ", "), table.concat(met, ", ")
end

local function cells(row, installed)
  local line = { row.name, row.carriers, row.unit, figure(row.median), figure(row.min), figure(row.max),
    figure((row.peers.go or {}).median), figure(row.floor.ratio) }
  for _, peer in ipairs(installed) do line[#line + 1] = figure((row.peers[peer.name] or {}).ratio) end
  line[#line + 1], line[#line + 2] = goals(row)
  return line
end

local function head(installed)
  local line = { "workload", "on", "unit", "median", "min", "max", "Go", "x floor" }
  for _, peer in ipairs(installed) do line[#line + 1] = "x " .. peer.title end
  return table.move({ "target", "met" }, 1, 2, #line + 1, line)
end

local function score(rows)
  local met, all = 0, 0
  for _, row in ipairs(rows) do
    for _, goal in ipairs(row.goals) do
      all = all + 1
      if goal.met then met = met + 1 end
    end
  end
  return ("%d of %d targets met"):format(met, all)
end

local function intro(opts, installed)
  local versions = {}
  for i, peer in ipairs(installed) do versions[i] = peer.title .. " " .. peer.version end
  local how = (opts.quick and ", quick" or "") .. (opts.big and ", big" or "")
  return { ("repeats: %d%s; beside it: %s"):format(opts.repeats, how, table.concat(versions, ", ")),
    "on: carriers, and processors for the others; x: median ratio to what was measured beside it; targets: at most;",
    "met ~: not the target, but within 1.25 of the floor: plain Lua's, the bare binding's, for timers the kernel's" }
end

function bench.report(rows, opts, installed, missing)
  for _, row in ipairs(rows) do stats.judge(row) end
  local lines = { head(installed) }
  for _, row in ipairs(rows) do lines[#lines + 1] = cells(row, installed) end
  local notes = { score(rows) }
  for _, line in ipairs(report.failures(rows)) do notes[#notes + 1] = line end
  table.move(missing, 1, #missing, #notes + 1, notes)
  notes[#notes + 1] = opts.chart and chart.ratios(rows, installed, opts.chart) or nil
  report.write(opts, "lubdub beside others", intro(opts, installed), { lines }, notes)
  if opts.json then report.json(rows, opts, installed) end
end

return bench
