--- A run as lanes: a column for each fiber, a row for each operation, oldest first; in parentheses what a fiber was
--- about to do when another was chosen.
local WIDTH, ROWS = 18, 60

local function parsed(trace)
  local rows = {}
  for line in trace:gmatch "[^\n]+" do
    local at, fiber, _, operation, object, place = line:match "^(%d+)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$"
    if at then
      local text = object == "" and operation or operation .. " " .. object
      text = text:gsub("^~(.*)", "(%1)")
      rows[#rows + 1] = { at = tonumber(at) / 1e9, fiber = fiber, text = text, place = place }
    end
  end
  return rows
end

--- P before P.1 before P.1.1 before P.2 before P.10.
local function key(name) return (name:gsub("%d+", function(n) return ("%06d"):format(n) end)) end

local function fibers_of(rows, first)
  local names, seen = {}, {}
  for i = first, #rows do
    local name = rows[i].fiber
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  table.sort(names, function(a, b) return key(a) < key(b) end)
  return names
end

local function cell(text, width)
  if #text > width then text = text:sub(1, width - 1) .. "~" end
  return text .. (" "):rep(width - #text)
end

local function widths_of(rows, first, names)
  local widths = {}
  for _, name in ipairs(names) do widths[name] = #name end
  for i = first, #rows do
    local row = rows[i]
    widths[row.fiber] = math.min(WIDTH, math.max(widths[row.fiber], #row.text))
  end
  return widths
end

--- The trace of simcore.run -> text; nil: nothing was done.
return function(trace)
  local rows = parsed(trace)
  if #rows == 0 then return nil end
  local first = math.max(1, #rows - ROWS + 1)
  local names = fibers_of(rows, first)
  local widths = widths_of(rows, first, names)
  local function line(left, lane, text, right)
    local cells = { cell(left, 10) }
    for _, name in ipairs(names) do
      cells[#cells + 1] = cell(lane == nil and name or name == lane and text or "", widths[name])
    end
    cells[#cells + 1] = right
    return (table.concat(cells, "  "):gsub("%s+$", ""))
  end
  local out = { line("  t", nil, nil, "") }
  if first > 1 then out[2] = ("  … %d operations before"):format(first - 1) end
  for i = first, #rows do
    local row = rows[i]
    out[#out + 1] = line(("%8.3f s"):format(row.at), row.fiber, row.text, row.place)
  end
  return table.concat(out, "\n")
end
