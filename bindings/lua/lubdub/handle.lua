--- What the maker of a steward or a supervisor holds: channels and the worker behind them. It can be sent to workers
--- that required this module.
local check = require "lubdub.check"
local lub = require "lubdub"
local plan = require "lubdub.plan"

local handle = {}

local Steward = {}
Steward.__index = Steward
Steward.__name = "steward"
lub.register("lubdub.steward", Steward)

function Steward:__tostring() return ("steward '%s' (%s)"):format(self.id, self.worker:state()) end

function Steward:name() return self.id end

--- The stream of results, one across all incarnations; closed when there will be none. Of a supervisor: those of the
--- child with this name.
function Steward:results(name)
  local ch = self.streams[name or self.lone]
  if not ch and name == nil then check.argument("results", 1, "the name of a child", nil) end
  if not ch then error(("results: no child is named '%s'"):format(tostring(name)), 2) end
  return ch:receiver()
end

--- The pulses of the steward's own heart: they go on while a ward is being healed.
function Steward:heartbeat() return self.pulses end

--- The steward's heart itself: its verdicts, statistics and state.
function Steward:heart() return self.beating end

--- What happened, as tables { event =, name =, attempt =, reason =, time =, … }: started, verdict, starved, zombie,
--- stopped, restarting (with delay), poison (with unit and tries), exhausted. Those of a steward below have
--- `steward = true`. The newest are kept for a slow reader, `lost` counts the others. Closed at the end.
function Steward:events() return self.told:receiver() end

--- Asks the steward's worker; nil when it has ended.
local function ask(self, question)
  local done = self.worker:done()
  question.reply = lub.chan(1)
  local ok, from = pcall(lub.prefer, done, self.control << question)
  if not ok or from ~= self.control then return nil end
  local _, v = lub.prefer(question.reply, done)
  return v
end

local function outcome(self)
  local how, r = self.worker:join(0)
  return how, type(r) == "table" and r or { why = r, unstopped = {} }
end

--- { restarts, poisoned, zombies, lost, children = { { name, status, ready, attempt, restarts, reason, units, results,
--- undelivered, in_flight, last } } }; those of an only child also directly. After the end: the last ones.
function Steward:stats()
  local t = ask(self, { op = "stats" })
  if not t then
    local _, r = outcome(self)
    t = r.stats or { children = {} }
  end
  if #t.children ~= 1 then return t end
  for k, v in pairs(t.children[1]) do
    if t[k] == nil then t[k] = v end
  end
  return t
end

local function ended(self)
  local how, r = outcome(self)
  if how == "finished" then
    if r.values and r.values.n > 0 then return table.unpack(r.values, 1, r.values.n) end
    return true
  end
  return nil, r.why or "it was killed"
end

--- Waits for the end: what `start` returned, or true | nil, reason ("it was stopped" after stop) | nil, "timeout" |
--- nil, "cancelled". It comes after the last result was received.
function Steward:join(wait)
  if wait ~= nil and (type(wait) ~= "number" or wait ~= wait) then
    check.argument("join", 1, "seconds (a number)", wait)
  end
  local from, why = lub.select(self.worker:done(), wait)
  if from == nil then return nil, why end
  return ended(self)
end

--- Ends it: wards are cancelled in reverse order, given `grace` seconds each, then killed. Never restarts meanwhile.
--- true | nil, "did not stop: …" with the names of what is still inside a C call | nil, "cancelled"
function Steward:stop(grace)
  if grace ~= nil and (type(grace) ~= "number" or not (grace >= 0 and grace < math.huge)) then
    check.argument("stop", 1, "seconds (a finite number from 0)", grace)
  end
  local done = self.worker:done()
  pcall(lub.prefer, done, self.control << { op = "stop", grace = grace })
  local from, why = lub.select(done)
  if from == nil then return nil, why end
  local _, r = outcome(self)
  if #r.unstopped == 0 then return true end
  return nil, "did not stop: " .. table.concat(r.unstopped, ", ")
end

local function close_all(channels)
  for _, ch in ipairs(channels) do
    if not ch:closed() then pcall(ch.close, ch) end -- its worker may be about to
  end
end

--- A steward ends with whoever made it: when that is cancelled, ends or is killed, this fiber's guard tells it so. And
--- if the steward's worker is killed, nobody waits for its channels for ever. The guard stands before the worker
--- starts: what is returned is to be called with it.
local function link(control, own)
  local armed, inbox = lub.chan(1), lub.chan(1)
  lub.go(function()
    local guard <close> = setmetatable({}, { __close = function() close_all { control } end }) -- luacheck: ignore
    armed:send(true)
    local worker = inbox:recv()
    if worker and select(2, worker:done():recv()) == "closed" then close_all(own) end
  end)
  local ok, why = armed:recv()
  if not ok then error(why, 0) end
  return function(worker) inbox:send(worker) end
end

--- The channel into which all wards of a steward send.
local function results_of(spec, own)
  if not spec.lone then return nil end
  own[1] = lub.chan(spec.capacity or 0, spec.name .. ".results")
  return own[1]
end

--- Starts the worker of a checked spec, and waits until it is there.
function handle.start(spec)
  local own = {}
  local streams = plan.open_results(spec, spec.results or results_of(spec, own), own)
  local self = { id = spec.name, streams = streams, control = lub.chan(0, spec.name .. ".control"),
    told = lub.chan(spec.events, spec.name .. ".events") }
  self.lone = spec.lone and next(streams) or nil
  own[#own + 1] = self.told
  local born, tell_link = lub.chan(2, spec.name .. ".born"), link(self.control, own)
  local ok, worker = pcall(lub.spawn, { name = spec.name .. ".steward" }, function(setup)
    return require("lubdub.healer").run(setup)
  end, { spec = spec, control = self.control, events = self.told, born = born, own = own })
  tell_link(ok and worker)
  if not ok then error(worker, 0) end -- what cannot cross, with its path
  self.worker = worker
  local from, birth = lub.prefer(born, worker:done())
  if from ~= born then error("it does not start: " .. tostring(select(2, outcome(self)).why), 0) end
  self.beating, self.pulses = birth.heart, birth.pulses
  return setmetatable(self, Steward)
end

return handle
