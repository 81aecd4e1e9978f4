-- The table on the terminal, and everything as JSON.
local report = {}

local function figure(v)
  if not v then return "-" end
  if v >= 1000 then return ("%.0f"):format(v) end
  return ((v >= 100 and "%.0f") or (v >= 10 and "%.1f") or "%.2f"):format(v)
end

local function goals(row)
  local wanted, met = {}, {}
  local shape = { value = "%g " .. row.work.unit, floor = "%g floor", go = "%g Go" }
  for i, goal in ipairs(row.goals) do
    wanted[i] = shape[goal.of]:gsub("%%$", "%%%%"):format(goal.limit)
    met[i] = not goal.got and "?" or goal.met and "yes" or "NO"
  end
  return table.concat(wanted, ", "), table.concat(met, ", ")
end

local function cells(row, installed)
  local line = { row.work.name, row.carriers, row.work.unit, figure(row.median), figure(row.min), figure(row.max),
    figure(row.floor.ratio) }
  for _, peer in ipairs(installed) do
    local samples = row.peers[peer.name] or {}
    line[#line + 1] = figure(samples.median)
    line[#line + 1] = figure(samples.ratio)
  end
  line[#line + 1], line[#line + 2] = goals(row)
  return line
end

local function head(installed)
  local line = { "workload", "on", "unit", "median", "min", "max", "x floor" }
  for _, peer in ipairs(installed) do
    line[#line + 1] = peer.title
    line[#line + 1] = "x " .. peer.title
  end
  return table.move({ "target", "met" }, 1, 2, #line + 1, line)
end

local function print_aligned(lines)
  local width, columns = {}, #lines[1]
  for _, line in ipairs(lines) do
    for i = 1, columns do width[i] = math.max(width[i] or 0, #tostring(line[i])) end
  end
  for _, line in ipairs(lines) do
    local out = {}
    for i = 1, columns do
      local left = i == 1 or i == 3 or i >= columns - 1
      out[i] = (left and "%-" .. width[i] .. "s" or "%" .. width[i] .. "s"):format(line[i])
    end
    print((table.concat(out, "  "):gsub("%s+$", "")))
  end
end

local function print_failures(row)
  local function say(who, samples)
    if samples.failed then print(("failed: %s on %d, %s: %s"):format(row.id, row.carriers, who, samples.failed)) end
  end
  say("lubdub", row.samples)
  say("floor", row.floor)
  for name, samples in pairs(row.peers) do say(name, samples) end
end

local function print_head(opts, installed)
  local versions = {}
  for i, peer in ipairs(installed) do versions[i] = peer.title .. " " .. peer.version end
  local beside = #versions > 0 and table.concat(versions, ", ") or "no peer"
  local how = (opts.quick and ", quick" or "") .. (opts.big and ", big" or "")
  print(("repeats: %d%s; beside it: %s"):format(opts.repeats, how, beside))
  print("on: carriers, and processors for Go; x: median ratio to what was measured beside it; targets: at most\n")
end

local function print_score(rows)
  local met, all = 0, 0
  for _, row in ipairs(rows) do
    for _, goal in ipairs(row.goals) do
      all = all + 1
      if goal.met then met = met + 1 end
    end
  end
  print(("\n%d of %d targets met"):format(met, all))
end

function report.print(rows, opts, installed, missing)
  print_head(opts, installed)
  local lines = { head(installed) }
  for _, row in ipairs(rows) do lines[#lines + 1] = cells(row, installed) end
  print_aligned(lines)
  print_score(rows)
  for _, row in ipairs(rows) do print_failures(row) end
  for _, line in ipairs(missing) do print(line) end
end

local function encode(v)
  if type(v) == "string" then
    return '"' .. v:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
  elseif type(v) ~= "table" then return v == nil and "null" or type(v) == "number" and ("%.9g"):format(v) or tostring(v)
  end
  local out = {}
  if v[1] ~= nil or next(v) == nil then
    for i, item in ipairs(v) do out[i] = encode(item) end
    return "[" .. table.concat(out, ",") .. "]"
  end
  for key, item in pairs(v) do out[#out + 1] = encode(key) .. ":" .. encode(item) end
  table.sort(out)
  return "{" .. table.concat(out, ",") .. "}"
end

local function plain(samples)
  return { samples = table.move(samples, 1, #samples, 1, {}), median = samples.median, ratio = samples.ratio,
    failed = samples.failed }
end

function report.json(rows, opts, installed)
  local all = { repeats = opts.repeats, quick = opts.quick or false, big = opts.big or false, peers = {}, rows = {} }
  for i, peer in ipairs(installed) do all.peers[i] = { name = peer.name, version = peer.version } end
  for i, row in ipairs(rows) do
    local beside = { floor = plain(row.floor) }
    for name, samples in pairs(row.peers) do beside[name] = plain(samples) end
    all.rows[i] = { id = row.id, name = row.work.name, carriers = row.carriers, unit = row.work.unit, n = row.n,
      median = row.median, min = row.min, max = row.max, samples = plain(row.samples).samples,
      failed = row.samples.failed, beside = beside, goals = row.goals }
  end
  local file = assert(io.open(opts.json, "w"))
  assert(file:write(encode(all), "\n"))
  file:close()
end

return report
