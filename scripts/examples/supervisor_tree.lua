-- A tree: a database, a cache that stands on it, and two servers that stand on both. Each starts when the one before is
-- ready. The cache dies: what started after it goes down in reverse order and comes up again; the database stays.
local lub = require "lubdub"

local log = lub.chan(64, "log")
local function service(name, lifetime)
  return { name = name, start = function(ward)
    log:send("  up    " .. name)
    ward:beat() -- ready
    local life = ward.attempt == 1 and lifetime or nil
    if lub.select(ward.done, life) == nil then error(name .. " lost its memory") end
    log:send("  down  " .. name)
  end }
end

local tree = lub.supervisor {
  name = "shop", strategy = "rest_for_one", restart = { max = 5, within = 30 },
  children = {
    service "database",
    service("cache", 0.3),
    { name = "servers", strategy = "one_for_one", children = { service "web", service "mail" } },
  },
}

lub.go(function()
  for e in tree:events() do
    if e.event == "restarting" then log:send("died: " .. e.reason) end
  end
end)
local up = 0
repeat -- until the last one is up again
  local line = log:recv()
  print(line)
  if line == "  up    mail" then up = up + 1 end
until up == 2
print "stop"
tree:stop()
while #log > 0 do print(log:recv()) end
