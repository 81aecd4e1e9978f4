-- The command line of the harness.
local options = {}

options.usage = [[
usage: lubdub run spec/bench/run.lua [options] [workload ...]
  --repeats N      runs of each workload (default 5; 3 under --quick)
  --quick          a tenth of the operations: the table takes shape, its figures are rough
  --big            1,000,000 fibers and 10,000 workers where others are 100,000 and 1,000
  --growth         instead: what an operation costs among 10, 1,000, 100,000, and on 1 to 16 carriers
  --markdown FILE  also write the table to FILE
  --json FILE      also write everything that was measured
  --chart FILE     also draw it as SVG (with gnuplot)
  --out DIR        the three of them into DIR: bench.md, bench.json, bench.svg (growth.* under --growth)
]]

local flags = { quick = true, big = true, growth = true }
local files = { markdown = "md", json = "json", chart = "svg" }

local function count(text)
  local n = math.tointeger(tonumber(text))
  return n and n > 0 and n or nil
end

local takes = { repeats = count }
for _, name in ipairs { "markdown", "json", "chart", "out" } do takes[name] = function(text) return text end end

local function parse(args)
  local opts, i = { names = {} }, 1
  while args[i] do
    local name = args[i]:match("^%-%-(%a+)$")
    if flags[name] then opts[name] = true
    elseif takes[name] then
      i = i + 1
      opts[name] = takes[name](args[i])
      if not opts[name] then return nil, "--" .. name .. ": a value is missing or wrong" end
    elseif args[i]:sub(1, 1) == "-" then return nil, "unknown option " .. args[i]
    else opts.names[#opts.names + 1] = args[i]
    end
    i = i + 1
  end
  return opts
end

local function check(names, known)
  local is = {}
  for _, name in ipairs(known) do is[name] = true end
  for _, name in ipairs(names) do
    if not is[name] then return ("no workload '%s'; there are %s"):format(name, table.concat(known, ", ")) end
  end
end

--- `workloads`: { bench = names, growth = names }
--- -> { names, repeats, quick, big, growth, markdown, json, chart } | nil, reason
function options.parse(args, workloads)
  local opts, why = parse(args)
  if not opts then return nil, why end
  local mode = opts.growth and "growth" or "bench"
  why = check(opts.names, workloads[mode])
  if why then return nil, why end
  if #opts.names == 0 then opts.names = workloads[mode] end
  opts.repeats = opts.repeats or (opts.quick and 3 or 5)
  for name, suffix in pairs(files) do
    opts[name] = opts[name] or opts.out and ("%s/%s.%s"):format(opts.out, mode, suffix)
  end
  return opts
end

return options
