--- One life of a ward, seen from its steward: it is started, watched, and ended by the ladder
---
---   asked    it is cancelled (a steward: told to stop), and has `grace` seconds
---   killed   it cannot refuse; it is fenced, nothing it does reaches a channel any more
---   zombie   it is still inside a C call after KILL_WAIT: it is counted, and left behind
---
--- Everything is learned by one select: its birth and first beat, its end, what the judge says, the order to halt.
local check = require "lubdub.check"
local lub = require "lubdub"
local stream = require "lubdub.stream"

local incarnation = {}

local KILL_WAIT = 1 -- seconds from the kill to giving up on it

local function first_line(text) return tostring(text):match "^[^\n]*" end

local function describe(v)
  return ("%s: %s"):format(v.verdict, v.reason or ("silent for %.3g s, %s"):format(v.age or 0, v.state or "?"))
end

-- ---- the ladder ---------------------------------------------------------------------------------------------------

--- A steward below has wards to stop, each in its grace and one after the other.
local function time_to_stop(spec, grace)
  if not spec.children then return grace or spec.grace end
  local total = KILL_WAIT
  for _, c in ipairs(spec.children) do total = total + time_to_stop(c, grace) + KILL_WAIT end
  return total
end

local function ask_to_end(self, reason, grace)
  if self.control then self.control:send({ op = "stop", grace = grace, reason = reason }, 0)
  else self.worker:cancel(reason)
  end
end

--- Begins the ladder, or hurries it. `how` and `reason` say why it ends; those that come first count.
local function stop(self, how, reason, grace)
  local deadline = lub.now() + time_to_stop(self.spec, grace)
  if self.rung then
    self.deadline = math.min(self.deadline, deadline)
    return
  end
  self.how, self.reason = self.how or how, self.reason or reason
  self.rung, self.deadline = "asked", deadline
  self.tell("stopping", how == "dead" and reason or nil)
  ask_to_end(self, reason, grace)
end

--- Its time on this rung is up. False: there is no higher one.
local function climb(self)
  if self.rung ~= "asked" then return false end
  self.rung, self.deadline = "killed", lub.now() + KILL_WAIT
  self.worker:kill(self.reason)
  return true
end

-- ---- what is learned ----------------------------------------------------------------------------------------------

local function on_birth(self, v)
  if v == "ready" then
    self.tell "ready"
  else
    self.heart, self.verdicts = v.heart, v.verdicts
  end
end

local function on_verdict(self, v)
  if v == nil then
    self.verdicts = nil
    if not self.finished:closed() then stop(self, "closed", "it closed its heart") end
    return
  end
  self.emit { event = "verdict", verdict = v.verdict, state = v.state, age = v.age, score = v.score,
    reason = describe(v), traceback = v.traceback }
  if self.spec.heal[v.verdict] then stop(self, "dead", describe(v)) end
end

--- It was not born in time. A worker that waits for a carrier is starved: that is not its fault.
local function on_late_birth(self)
  local state = self.worker:state()
  if state == "runnable" or state == "starting" then
    self.emit { event = "starved", state = state, reason = "no carrier was free to start it" }
    self.born_by = lub.now() + self.startup
  else
    stop(self, "dead", ("not born within %g s, %s"):format(self.startup, state))
  end
end

local function on_timeout(self)
  if not self.rung then on_late_birth(self) return true end
  return climb(self)
end

-- ---- the end ------------------------------------------------------------------------------------------------------

--- How it ended, from what its main function gave. A reason that was known before stays; but a heart that closed may
--- have been the first that was seen of an error or a kill, since it ends a moment before its worker.
local function read_end(self)
  local r = table.pack(self.worker:join(0))
  if self.how == "closed" and r[1] == nil and r[2] ~= "timeout" and self.rung ~= "killed" then
    self.how, self.reason = nil, nil
  end
  if self.spec.children and r[1] then self.unstopped = r[2].unstopped end
  if r[1] == "finished" then -- even if it was late: its work is done
    self.how, self.reason, self.values = "finished", "it returned", r[2].values
  elseif r[1] == "failed" then
    self.how, self.reason = self.how or "failed", self.reason or r[2].why
  elseif r[1] == nil and r[2] == "killed" then
    self.how, self.reason = self.how or "killed", self.reason or "it was killed"
  elseif r[1] == nil and r[2] ~= "timeout" then
    self.traceback = check.placed(r[2], "result 2 %.values%[(%d+)%]", "result %2") -- of its function
    self.how, self.reason = self.how or "raised", self.reason or first_line(self.traceback)
  else
    self.how, self.reason = self.how or "cancelled", self.reason or "it was cancelled"
  end
end

local function look_at_heart(self)
  local heart = self.heart
  if not heart then return {} end
  local stats = heart:stats()
  return { last = heart:progress(), beats = stats.beats, unit = stats.unit }
end

--- What only the unit in flight can be blamed for: neither a kill from outside nor an order.
local blames = { raised = true, dead = true, closed = true, failed = true, finished = true }

local function remember(self)
  if not self.ends then return {} end
  local m = look_at_heart(self)
  m.op, m.reason, m.blame = "down", self.reason, blames[self.how] or false
  return stream.ask(self.ends, m)
end

local function sum_up(self, ended)
  for v in function() return self.verdicts and self.verdicts:recv(0) or nil end do on_verdict(self, v) end
  read_end(self)
  local left_behind = not ended or self.worker:state() == "zombie"
  local memory = remember(self)
  if memory.broken then self.how, self.reason = "broken", memory.broken end
  return { how = self.how, reason = self.reason, traceback = self.traceback, values = self.values,
    poison = memory.poison, zombie = left_behind and self.worker or nil, lived = lub.now() - self.born_at,
    unstopped = self.unstopped, attempt = self.attempt }
end

-- ---- the whole life -----------------------------------------------------------------------------------------------

local function main_of(spec)
  if spec.children then return function(setup) return require("lubdub.healer").run(setup) end end
  return function(setup) return require("lubdub.ward").run(setup) end
end

local function start(self, memory)
  local spec = self.spec
  self.born = lub.chan(2, spec.name .. ".born")
  self.control = spec.children and lub.chan(1, spec.name .. ".control") or nil
  local name = spec.children and spec.name .. ".steward" or spec.name
  self.worker = lub.spawn({ name = name, memory = spec.memory }, main_of(spec), {
    spec = spec, attempt = self.attempt, last = memory.last, unit = memory.unit, reason = memory.reason,
    born = self.born, control = self.control, events = self.events,
    watched = true, units = self.ends and self.ends.units, inlet = self.ends and self.ends.inlet })
  self.finished = self.worker:done()
  self.born_at = lub.now()
  self.born_by = self.born_at + self.startup
end

local function patience(self)
  local deadline = self.deadline or not self.heart and self.born_by
  return deadline and math.max(0, deadline - lub.now()) or nil
end

local function turn(self)
  local from, v = lub.prefer(self.born, self.halt, self.finished, self.verdicts, patience(self))
  if from == self.born then on_birth(self, v)
  elseif from == self.halt then stop(self, "halted", v.reason, v.grace)
  elseif from == self.finished then return false, true
  elseif from ~= nil then on_verdict(self, v)
  elseif v == "timeout" then return on_timeout(self), false
  else return false, false -- cancelled
  end
  return true
end

--- Lives one life of the child and gives its outcome. In a fiber of its own.
---   child   { spec, ends, halt }
---   env     { events, emit(event), tell(what, reason) }
function incarnation.live(child, env)
  local spec = child.spec
  local self = { spec = spec, ends = child.ends, halt = child.halt, startup = spec.heart.startup or 10,
    events = env.events, tell = env.tell }
  local memory = self.ends and stream.ask(self.ends, { op = "begin" }) or {}
  self.attempt = memory.attempt or child.attempt
  function self.emit(event)
    event.attempt = self.attempt
    env.emit(event)
  end
  start(self, memory)
  local guard <close> = setmetatable({}, { __close = function() self.worker:kill "its steward has ended" end }) -- luacheck: ignore
  self.emit { event = "started", reason = memory.reason }
  local going, ended
  repeat going, ended = turn(self) until not going
  return sum_up(self, ended)
end

return incarnation
