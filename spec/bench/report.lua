-- A table on the terminal and as Markdown, and everything as JSON.
local report = {}

local text = { workload = true, unit = true, target = true, met = true }

local function print_aligned(lines)
  local width, columns = {}, #lines[1]
  for _, line in ipairs(lines) do
    for i = 1, columns do width[i] = math.max(width[i] or 0, #tostring(line[i])) end
  end
  for _, line in ipairs(lines) do
    local out = {}
    for i = 1, columns do
      out[i] = (text[lines[1][i]] and "%-" .. width[i] .. "s" or "%" .. width[i] .. "s"):format(line[i])
    end
    print((table.concat(out, "  "):gsub("%s+$", "")))
  end
end

local function save(path, data)
  local file = assert(io.open(path, "w"))
  assert(file:write(data, "\n"))
  assert(file:close())
end

local function markdown_table(lines, out)
  local rule = {}
  for i, name in ipairs(lines[1]) do rule[i] = text[name] and "---" or "--:" end
  for i, line in ipairs(lines) do
    out[#out + 1] = "| " .. table.concat(line, " | ") .. " |"
    if i == 1 then out[#out + 1] = "| " .. table.concat(rule, " | ") .. " |" end
  end
  out[#out + 1] = ""
end

local function markdown(title, intro, tables, notes)
  local out = { "# " .. title, "", table.concat(intro, "\n"), "" }
  for _, lines in ipairs(tables) do markdown_table(lines, out) end
  for _, note in ipairs(notes) do out[#out + 1] = "- " .. note end
  return table.concat(out, "\n")
end

--- Prints intro, the tables (the first line of each is its head) and notes; opts.markdown: writes them there too.
function report.write(opts, title, intro, tables, notes)
  print(table.concat(intro, "\n") .. "\n")
  for _, lines in ipairs(tables) do
    print_aligned(lines)
    print()
  end
  print(table.concat(notes, "\n"))
  if opts.markdown then save(opts.markdown, markdown(title, intro, tables, notes)) end
end

--- A line for each side of a row that failed.
function report.failures(rows)
  local out = {}
  local function say(row, who, samples)
    if not samples.failed then return end
    out[#out + 1] = ("failed: %s on %d, %s: %s"):format(row.id, row.carriers, who, samples.failed)
  end
  for _, row in ipairs(rows) do
    say(row, "lubdub", row.samples)
    say(row, "floor", row.floor)
    for name, samples in pairs(row.peers) do say(row, name, samples) end
  end
  return out
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
    all.rows[i] = { id = row.id, name = row.name, carriers = row.carriers, unit = row.unit, n = row.n, size = row.more,
      median = row.median, min = row.min, max = row.max, samples = plain(row.samples).samples,
      failed = row.samples.failed, beside = beside, goals = row.goals, growth = row.growth }
  end
  save(opts.json, encode(all))
end

return report
