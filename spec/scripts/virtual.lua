--- Loads a script of scripts/ as users do, but on a clock of its own: `clock.now` moves only when the script sleeps
--- (or the spec sets it), so that every time is exact. Once `clock.cancelled` is true, sleeps say so.
require "lubdub" -- brings the Lua half, which scripts may need

return function(path)
  local clock = { now = 1000 } -- not 0: nothing may take the clock's beginning for its own
  local lub = { now = function() return clock.now end }
  function lub.sleep(s)
    if clock.cancelled then return nil, "cancelled" end
    clock.now = clock.now + math.max(s, 0)
    return true
  end
  local function needs(name) return name == "lubdub" and lub or require(name) end
  return assert(loadfile(path, "t", setmetatable({ require = needs }, { __index = _G })))(), clock
end
