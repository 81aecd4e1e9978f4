-- Why pulses are jittered: ten fibers that pulse every 0.2 s all come at the same moment, and whoever counts them is
-- idle in between; with a jitter of half the interval they soon spread. One # for each pulse within 50 ms.
local lub = require "lubdub"
local scripts = (arg[0]:match "^.*/" or "./") .. "../"
local function pulse(name) return dofile(scripts .. "pulses/" .. name .. ".lua") end

local SECONDS, SLOT, FIBERS = 1.3, 0.05, 10

--- Pulses at the intervals that each of the fibers' functions gives; how many fell into each slot.
local function count_pulses(make)
  local start, slots, fibers = lub.now(), {}, {}
  for i = 1, FIBERS do
    local interval = make(i)
    fibers[i] = lub.go(function()
      local due = start
      while true do
        due = due + interval {} -- a heart would pass its snapshot
        if due > start + SECONDS then return true end
        lub.sleep(due - lub.now())
        local slot = (lub.now() - start) // SLOT
        slots[slot] = (slots[slot] or 0) + 1
      end
    end)
  end
  for i = 1, FIBERS do fibers[i]:join() end
  return slots
end

local function show(title, slots)
  print(title)
  for slot = 0, SECONDS // SLOT do
    if slots[slot] then print(("  %.2f s %s"):format(slot * SLOT, ("#"):rep(slots[slot]))) end
  end
end

show("fixed", count_pulses(function() return pulse "fixed" { every = 0.2 } end))
show("jittered", count_pulses(function(i) return pulse "jittered" { every = 0.2, jitter = 0.5, seed = i } end))
