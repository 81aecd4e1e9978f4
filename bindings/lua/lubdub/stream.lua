--- The stream through a ward, and the memory of it: units go in one at a time, results come out, and both outlive
--- every incarnation. A fiber of the steward's worker that only ever waits in one select, so it always answers.
---
--- A unit is over in the moment in which its results were taken over here; what dies before that had it in flight,
--- and the next incarnation gets it again. So nothing is lost and nothing is doubled.
local lub = require "lubdub"
local check = require "lubdub.check"

local stream = {}

--- The ends that a ward and its keeper hold. All of it can be sent.
---   units   to the ward: { n, unit, tries }      inlet  from it: { n, out, progress, beats }
---   ask     from the keeper: { op, reply, … }
function stream.ends(spec)
  return {
    units = spec.generator ~= nil and lub.chan(0, spec.name .. ".units") or nil,
    inlet = lub.chan(0, spec.name .. ".results"),
    ask = lub.chan(0, spec.name .. ".memory"),
  }
end

--- Asks the stream; its answer, empty when the stream is over.
function stream.ask(ends, question)
  question.reply = lub.chan(1)
  if ends.ask:closed() then return {} end
  local ok, sent = pcall(ends.ask.send, ends.ask, question) -- it may end now
  return ok and sent and question.reply:recv() or {}
end

-- ---- units --------------------------------------------------------------------------------------------------------

local a_unit = { [""] = "a unit of the generator" }

--- The items of a list, as an iterator whose first value each is.
local function items(list)
  local i = 0
  return function()
    i = i + 1
    return list[i]
  end
end

--- The main function of a generator's worker: units are sent one at a time, a blocked generator blocks nobody.
function stream.generate(generator, opts, out)
  local function each(...)
    for unit in ... do
      if not check.send(out, unit, a_unit) then return end
    end
  end
  if type(generator) == "string" then
    generator = check.call("steward", 0, check.script, generator, "generator")
  end
  if type(generator) == "function" then
    each(generator(opts))
  elseif type(generator) == "table" then
    each(items(generator))
  else
    each(generator) -- a channel
  end
end

local function start_generator(self)
  local source = lub.chan(0, self.name .. ".source")
  self.generator = lub.spawn({ name = self.name .. ".generator" }, function(...)
    return require("lubdub.stream").generate(...)
  end, self.spec.generator, self.spec.generator_opts, source)
  self.source, self.source_done = source, self.generator:done()
end

--- The generator's worker has ended: there are no more units, or it failed.
local function on_source_done(self)
  local _, why = self.generator:join(0)
  if why and why ~= "killed" then self.broken = why end
  self.source, self.source_done = nil, nil
end

local function on_unit(self, unit)
  self.count = self.count + 1
  self.flight = { n = self.count, unit = unit, tries = 0 }
end

-- ---- results ------------------------------------------------------------------------------------------------------

local function on_inlet(self, m)
  for i, v in ipairs(m.out) do self.outbox[i] = v end
  self.sent = 1
  if m.progress ~= nil then self.last, self.beats = m.progress, m.beats end
  if m.n then
    self.flight, self.handed = nil, false
    self.stats.units = self.stats.units + 1
  end
end

local function on_taken(self)
  self.sent = self.sent + 1
  self.stats.results = self.stats.results + 1
  if self.outbox[self.sent] == nil then self.outbox, self.sent = {}, 1 end
end

-- ---- incarnations -------------------------------------------------------------------------------------------------

local answer = {}

--- An incarnation is about to begin; whatever was handed over before it is lost now.
function answer.begin(self)
  self.handed = false
  self.attempt = self.attempt + 1
  return { attempt = self.attempt, last = self.last, unit = self.unit, reason = self.reason }
end

--- An incarnation has ended. Its heart's progress counts, unless what was sent with a result is newer.
function answer.down(self, m)
  self.reason, self.unit = m.reason, m.unit
  if m.last ~= nil and (not self.beats or (m.beats or 0) > self.beats) then self.last = m.last end
  self.beats = nil
  local flight = self.handed and self.flight
  self.handed = false
  if not flight then return { broken = self.broken } end
  if m.blame then flight.tries = flight.tries + 1 end
  if flight.tries < self.spec.tries then return { broken = self.broken } end
  self.flight = nil
  self.stats.poisoned = self.stats.poisoned + 1
  return { broken = self.broken, poison = { unit = flight.unit, tries = flight.tries } }
end

--- No incarnation will come after. What was taken over still comes out.
function answer.over(self)
  self.closing = true
  if self.generator then self.generator:kill "its steward has ended" end
  self.source, self.source_done = nil, nil
  return {}
end

function answer.stats(self)
  local undelivered = #self.outbox - self.sent + 1
  return { units = self.stats.units, results = self.stats.results, poisoned = self.stats.poisoned,
    undelivered = undelivered, last = self.last, in_flight = self.handed and self.flight.unit or nil }
end

-- ---- the one select -----------------------------------------------------------------------------------------------

local function offer(self)
  local f = self.flight
  return self.ends.units and f and not self.handed and not self.closing and self.ends.units << f or nil
end

local function turn(self)
  local out, ends = self.outbox[self.sent], self.ends
  local taking = out == nil and ends.inlet or nil
  local source = not self.flight and self.source or nil
  local case = offer(self)
  local from, v = lub.prefer(ends.ask, taking, case, source, not self.flight and self.source_done or nil,
    out ~= nil and self.results << out or nil)
  if from == nil then return false end -- cancelled
  if from == ends.ask then v.reply:send(answer[v.op](self, v), 0)
  elseif from == ends.inlet then on_inlet(self, v)
  elseif from == ends.units then self.handed = true
  elseif from == source then on_unit(self, v)
  elseif from == self.source_done then on_source_done(self)
  else on_taken(self)
  end
  return true
end

--- There will be no unit any more: the ward's loop ends when it asks for one.
local function close_units(self)
  if not self.ends.units or self.ends.units:closed() then return end
  if not self.source_done and not self.flight then self.ends.units:close() end
end

--- Runs the stream until it is over and all that it took over has come out.
---   results  the channel into which results go; closed at the end if `own`
function stream.run(spec, ends, results, own)
  local self = { spec = spec, name = spec.name, ends = ends, results = results, outbox = {}, sent = 1, count = 0,
    attempt = 0, handed = false, stats = { units = 0, results = 0, poisoned = 0 } }
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    if self.generator then self.generator:kill "its steward has ended" end
    ends.ask:close()
    if ends.units and not ends.units:closed() then ends.units:close() end
  end })
  if ends.units then start_generator(self) end
  repeat close_units(self) until not turn(self) or self.closing and self.outbox[self.sent] == nil
  if own then results:close() end
  return answer.stats(self)
end

return stream
