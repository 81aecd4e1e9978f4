-- A ward gets stuck in an endless loop. Its steward notices the silence, shows where the loop is, replaces the ward,
-- and the unit it was at is done again: the stream has a gap in time, none in its data.
local lub = require "lubdub"

local began = lub.now()
local function say(text) print(("%5.2f s  %s"):format(lub.now() - began, text)) end

local s = lub.steward {
  name = "squares",
  generator = { 1, 2, 3, 4, 5 },
  work = function(n, ward)
    if n == 3 and ward.attempt == 1 then
      while true do pcall(string.rep, "x", 3) end -- stuck, and deaf to errors
    end
    return n * n
  end,
  pulse = 0.2, -- silent for twice as long is dead
  grace = 0.2, -- from cancel to kill
  restart = { backoff = "none" },
}

local watcher = lub.go(function()
  for e in s:events() do
    say(e.event .. (e.reason and ": " .. e.reason or ""))
    if e.traceback then print("         " .. e.traceback:match "\t([^\n]*%.lua:[^\n]*)") end
  end
end)
for v in s:results() do say("result " .. v) end
watcher:join()
