--- All schedules of a test, depth first: the one in which each choice is the first of its n, then those that differ
--- from one before in one choice more. To let another fiber run where one could go on is a preemption; schedules with
--- none come first, then those with one. Each comes once.
local branches = {}

local CHOICE = "<BI4I4" -- kind, n, taken from 0: of simcore.run{ choices = "packed" }
local SIZE = string.packsize(CHOICE)
local SWITCH = 1

--- What is to be tried of one run: from its last choice down to `floor`, others than the first; of switches, or not.
local function branch(packed, floor, switches)
  return { packed = packed, floor = floor, switches = switches, i = #packed // SIZE, alternative = 0 }
end

local function prefix_of(b)
  local taken = {}
  for i = 1, b.i - 1 do
    local _, _, t = CHOICE:unpack(b.packed, (i - 1) * SIZE + 1)
    taken[i] = t + 1
  end
  taken[b.i] = b.alternative + 1
  return taken
end

--- The first choices of the next schedule, or nil.
local function next_of(b)
  while b.i > b.floor do
    local kind, n = CHOICE:unpack(b.packed, (b.i - 1) * SIZE + 1)
    if (kind == SWITCH) == b.switches and b.alternative + 1 < n then
      b.alternative = b.alternative + 1
      return prefix_of(b)
    end
    b.i, b.alternative = b.i - 1, 0
  end
end

--- run(prefix) -> the packed choices of the run, or nil to stop. True when there is none left within `preemptions`.
function branches.all(preemptions, run)
  local stack, costly = {}, {}
  local function try(prefix, bound)
    local packed = run(prefix)
    if not packed then return false end
    stack[#stack + 1] = branch(packed, #prefix, false)
    if bound < preemptions then costly[#costly + 1] = branch(packed, #prefix, true) end
    return true
  end
  if not try({}, 0) then return false end
  for bound = 0, preemptions do
    local starts = costly
    costly = {}
    if bound == 0 then starts, costly = {}, starts end
    repeat
      local b = stack[#stack] or starts[#starts]
      local prefix = b and next_of(b)
      if prefix then
        if not try(prefix, bound) then return false end
      elseif b == stack[#stack] then
        stack[#stack] = nil
      else
        starts[#starts] = nil
      end
    until #stack == 0 and #starts == 0
  end
  return true
end

return branches
