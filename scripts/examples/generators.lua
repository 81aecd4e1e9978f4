-- Work generators with fibers: a clock that ticks, customers who come at random and the lines of this very file,
-- each read by a fiber of its own, merged into one stream. Any Lua iterator would do in their place.
local lub = require "lubdub"
local scripts = (arg[0]:match "^.*/" or "./") .. "../"
local function generator(name) return dofile(scripts .. "generators/" .. name .. ".lua") end

local stream = lub.chan(0, "stream")

--- A fiber that sends what the iterator gives, under this name.
local function source(name, ...)
  return lub.go(function(...)
    for unit in ... do stream:send { name = name, unit = unit } end
    return true
  end, ...)
end

local start = lub.now()
local fibers = {
  source("tick", generator "ticker" { every = 0.5, count = 4 }),
  source("customer", generator "poisson" { rate = 4, count = 8, seed = 42 }),
  source("line", generator "lines" { path = arg[0] }),
}
lub.go(function()
  for _, fiber in ipairs(fibers) do assert(fiber:join()) end
  stream:close()
end)

local seen = {}
for message in stream do
  seen[message.name] = (seen[message.name] or 0) + 1
  if message.name ~= "line" then
    print(("%.2f s  %-8s %s"):format(lub.now() - start, message.name, message.unit))
  elseif message.unit:find "^local" then
    print(("%.2f s  line     %s"):format(lub.now() - start, message.unit))
  end
end
print(("%d ticks, %d customers, %d lines"):format(seen.tick, seen.customer, seen.line))
