--- Makes a failing schedule smaller: choices become the first of theirs, as many as can, and it still fails.
local RUNS, SECONDS = 200, 2

local function copy(list) return table.move(list, 1, #list, 1, {}) end

--- The places of what was not the first choice: of switches between fibers that could have gone on, or of others.
local function places(choices, switches)
  local found = {}
  for i, c in ipairs(choices) do
    if c.taken > 1 and (c.kind == "switch") == switches then found[#found + 1] = i end
  end
  return found
end

local function taken_of(choices, without)
  local taken = {}
  for i, c in ipairs(choices) do taken[i] = without[i] and 1 or c.taken end
  while taken[#taken] == 1 do taken[#taken] = nil end
  return taken
end

--- Gives back a part of them, halves first; try(taken) gives the choices of a run that fails so, or nil.
local function without_some(choices, switches, try)
  local size = #places(choices, switches)
  while size >= 1 do
    local last = #places(choices, switches)
    while last >= 1 do
      local found = places(choices, switches)
      local without = {}
      for i = math.max(1, last - size + 1), math.min(last, #found) do without[found[i]] = true end
      local smaller = next(without) and try(taken_of(choices, without))
      if smaller then choices = smaller end
      last = last - size
    end
    size = size // 2
  end
  return choices
end

local function weight(choices) return #places(choices, true) + #places(choices, false) end

--- run(taken) -> the choices of a run that begins with these and fails in the same way, or nil. Gives the choices of
--- the smallest that was found, and how many runs that took.
return function(choices, run)
  local runs, last = 0, os.clock() + SECONDS
  local function try(taken)
    if runs >= RUNS or os.clock() > last then return nil end
    runs = runs + 1
    return run(copy(taken))
  end
  local before
  repeat
    before = weight(choices)
    for _, switches in ipairs { true, false } do
      local smaller = without_some(choices, switches, try)
      if weight(smaller) <= weight(choices) then choices = smaller end
    end
  until weight(choices) >= before
  return choices, runs
end
