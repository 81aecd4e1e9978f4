--- What runs in a ward's worker: its heart, the object that its function is given, the way through its units.
local lub = require "lubdub"
local check = require "lubdub.check"

local ward = {}

local Ward = {}
Ward.__index = Ward

local sent_places = { ["%.out%[1%]"] = "argument 1", ["%.progress"] = "argument 2" } -- to ward:send
local made_places = { ["%.out%[(%d+)%]"] = "result %2 of a unit" }

--- The first sign of life is told: whoever depends on this ward may start.
local function ready(self)
  if self.born then self.born:send("ready", 0) end
  self.born = nil
end

--- Alive. progress: any value that can be sent; the latest is `ward.last` of the next incarnation.
function Ward:beat(progress)
  ready(self)
  return self.heart:beat(progress)
end

--- A unit of work begins. What is in flight at a death is `ward.unit_in_flight` of the next incarnation.
function Ward:unit(id)
  ready(self)
  return self.heart:unit(id)
end

--- The unit is over.
function Ward:rest()
  ready(self)
  return self.heart:rest()
end

--- Nothing can be done here any more: this incarnation is replaced.
function Ward:fail(why)
  self.failed = why or "it failed"
  return self.heart:fail(why)
end

--- Sends a result into the stream. With progress both happen or neither: the result that came out is never made
--- again by an incarnation that goes on from `ward.last`. In `work(unit, ward)` all results of a unit come out
--- together when it is over, or not at all.
--- true | nil, "cancelled"
function Ward:send(v, progress)
  if v == nil then error("ward:send: argument 1: expected a value that is not nil", 2) end
  ready(self)
  if self.outbox then
    self.outbox[#self.outbox + 1] = v
    return self.heart:beat(progress)
  end
  if select(2, lub.cancelled()) then return nil, "cancelled" end
  local beats = progress ~= nil and self.heart:stats().beats or nil
  local ok, why = check.send(self.inlet, { out = { v }, progress = progress, beats = beats }, sent_places, 3)
  if not ok then return nil, why end
  self.heart:beat(progress)
  return true
end

local function id_of(unit, n)
  local t = type(unit)
  return (t == "string" or t == "number" or t == "boolean") and unit or n
end

--- One unit: the results it sent, and what it returned.
local function do_unit(self, work, m)
  self.unit_in_flight = m.tries > 0 and m.unit or nil
  self.outbox = {}
  self:unit(id_of(m.unit, m.n))
  local v = work(m.unit, self)
  if v ~= nil then self.outbox[#self.outbox + 1] = v end
end

--- Works through the units. What a cancelled function gave is nothing: its waits were cut short.
local function work_through(self, setup, work)
  self:beat()
  for m in setup.units do
    do_unit(self, work, m)
    if select(2, lub.cancelled()) then return end
    if not check.send(setup.inlet, { n = m.n, out = self.outbox }, made_places) then return end
    self:rest()
  end
end

local function function_of(given, name)
  if type(given) ~= "string" then return given end
  return check.call("steward", 0, check.script, given, name)
end

--- The main function of a ward's worker. Gives "finished" and what `start` returned, "failed", or
--- "cancelled"; and a table: the values, or why.
function ward.run(setup)
  local spec = setup.spec
  local heart = lub.heart(spec.heart)
  setup.born:send { heart = heart, verdicts = heart:verdicts() } -- there is room: it never waits
  local self = setmetatable({
    name = spec.name,
    heart = heart,
    done = (lub.cancelled()),
    attempt = setup.attempt,
    reason = setup.reason,
    last = setup.last,
    unit_in_flight = setup.unit,
    inlet = setup.inlet,
    born = setup.born,
  }, Ward)
  local results
  if spec.work then
    results = table.pack(work_through(self, setup, function_of(spec.work, "work")))
  else
    results = table.pack(function_of(spec.start, "start")(self))
  end
  if self.failed then return "failed", { why = self.failed } end
  if select(2, lub.cancelled()) then return "cancelled", {} end
  return "finished", { values = results }
end

return ward
