-- SVG charts, drawn by gnuplot.
local process = require "process"
local chart = {}

local styles = {
  erlang = "pt 9 ps 0.7 lc rgb '#6a1b9a'",
  c = "pt 5 ps 0.7 lc rgb '#757575'",
  coroutines = "pt 13 ps 0.8 lc rgb '#1565c0'",
}

-- -> nil, or why there is no chart
local function draw(path, script)
  if not process.exists("gnuplot") then
    return "no chart: gnuplot is not installed: apt-get install gnuplot-nox, dnf, apk or brew install gnuplot"
  end
  local pipe = assert(io.popen("gnuplot 2>" .. process.quote(path .. ".log"), "w"))
  pipe:write(script)
  if not pipe:close() then return "no chart: gnuplot failed, see " .. path .. ".log" end
  os.remove(path .. ".log")
end

local function block(name, lines) return ("$%s << EOD\n%s\nEOD\n"):format(name, table.concat(lines, "\n")) end

local function text(s) return '"' .. s:gsub("[_^@&~{}\\]", "\\\\%0"):gsub('"', "'") .. '"' end

local function target(row)
  for _, goal in ipairs(row.goals) do
    if goal.of == "go" then return goal.limit end
  end
end

-- "none" without a target, "missed" when one of them is.
local function standing(row)
  local met = row.goals[1] and "met" or "none"
  for _, goal in ipairs(row.goals) do
    if goal.got and not goal.met then met = "missed" end
  end
  return met
end

local function points(rows, pick)
  local out = {}
  for i, row in ipairs(rows) do
    local x = pick(row)
    if x and x > 0 then out[#out + 1] = ("%.6g %d"):format(x, i) end
  end
  return out
end

--- The ratio to Go of every row that Go has: the engine's, the other peers', the target.
function chart.ratios(all, installed, path)
  local rows, labels = {}, {}
  for _, row in ipairs(all) do
    if row.peers.go and row.peers.go.ratio then rows[#rows + 1] = row end
  end
  if #rows == 0 then return "no chart: nothing was measured beside Go" end
  for i, row in ipairs(rows) do
    labels[i] = ("%s %d"):format(text(row.name .. (row.carriers > 1 and (", on %d"):format(row.carriers) or "")), i)
  end
  local data, plots = {}, {}
  local function add(name, title, style, pick)
    local lines = points(rows, pick)
    if #lines == 0 then return end
    data[#data + 1] = block(name, lines)
    plots[#plots + 1] = ("$%s using 1:2 with points %s title '%s'"):format(name, style, title)
  end
  for _, peer in ipairs(installed) do
    if styles[peer.name] then
      add(peer.name, peer.title, styles[peer.name], function(row)
        local beside = row.peers[peer.name]
        return beside and beside.median and row.peers.go.median > 0 and beside.median / row.peers.go.median
      end)
    end
  end
  add("target", "target", "pt 2 ps 1.1 lw 2 lc rgb 'black'", target)
  for _, kind in ipairs { { "met", "lubdub, targets met", "#2e7d32" }, { "missed", "one missed", "#c62828" },
    { "none", "without a target", "#9e9d24" } } do
    add(kind[1], kind[2], ("pt 7 ps 1.1 lc rgb '%s'"):format(kind[3]), function(row)
      return standing(row) == kind[1] and row.peers.go.ratio
    end)
  end
  return draw(path, table.concat(data) .. ([[
set terminal svg size 1100,%d font 'sans-serif,12' background 'white'
set output '%s'
set title 'ratio to Go, lower is better'
set logscale x
set format x '%%g'
set grid x lc rgb '#dddddd' lt 1, lc rgb '#eeeeee' lt 1
set yrange [%d.5:-7.5] noextend
set ytics (%s) nomirror
set grid y lc rgb '#eeeeee' lt 1
set key inside top left Left reverse opaque box lc rgb '#dddddd'
set arrow from 1,graph 0 to 1,graph 1 nohead lw 1.5 lc rgb '#00838f' back
plot %s
]]):format(290 + 20 * #rows, path:gsub("'", "''"), #rows, table.concat(labels, ", "),
    table.concat(plots, ", ")))
end

-- One plot: a line for each workload, its ratio to the least so far, and the limit.
local function plot(title, axis, ticks, limit, all)
  local data, plots = {}, {}
  for i, one in ipairs(all) do
    local lines = {}
    for _, row in ipairs(one) do
      if row.growth then lines[#lines + 1] = ("%d %.6g"):format(row.more or row.carriers, row.growth) end
    end
    local name = axis .. i
    data[i] = block(name, lines)
    local style = ("lw 2 pt %d ps 0.8 dt %d lc %d"):format(3 + i, i > 7 and 2 or 1, i)
    plots[i] = ("$%s using 1:2 with linespoints %s title %s"):format(name, style, text(one.name))
  end
  plots[#plots + 1] = ("%g with lines lw 1.5 dt 2 lc rgb 'black' title 'at most'"):format(limit)
  local frame = "set title %s\nset xlabel '%s'\nset xtics (%s)\nset xrange [%g:%g]\nplot %s\n"
  return table.concat(data) .. frame:format(text(title), axis, table.concat(ticks, ", "), ticks[1] * 0.9,
    ticks[#ticks] * 1.1, table.concat(plots, ", "))
end

--- What each costs, as a ratio to the least so far: among more of its kind, and on more carriers.
function chart.growth(all, path)
  local of, script, sizes = { {}, {} }, {}, { 10, 1000, 100000, 1000000 }
  for _, one in ipairs(all) do
    local into = of[one.by_size and 1 or 2]
    if one.worst then into[#into + 1] = one end
  end
  if of[1][1] then script[#script + 1] = plot("among more of its kind", "number", sizes, 2, of[1]) end
  if of[2][1] then script[#script + 1] = plot("on more carriers", "carriers", { 1, 2, 4, 8, 16 }, 1.2, of[2]) end
  if #script == 0 then return "no chart: nothing was measured" end
  return draw(path, ([[
set terminal svg size 1100,%d font 'sans-serif,12' background 'white'
set output '%s'
set multiplot layout %d,1
set logscale xy
set format x '%%g'
set format y '%%g'
set ytics (0.5, 1, 1.2, 1.5, 2, 3, 5, 10, 20, 50)
set yrange [0.9:*]
set ylabel 'cost, ratio to the least'
set grid lc rgb '#dddddd'
set key outside right top reverse Left
]]):format(420 * #script, path:gsub("'", "''"), #script) .. table.concat(script))
end

return chart
