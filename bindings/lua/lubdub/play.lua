--- Plays the life of a heart to a policy, in virtual time, and takes down what the policy says.
local trial = require "lubdub.trial"

local LEAST = 2e-9 -- seconds between two looks: the engine counts in nanoseconds
local AT_ONCE = 100 -- so many times in a row a policy may ask to be asked again at once
local ASKS, MOST_ASKS = 100, 100000 -- in a silence that is made up: so many, and on until HORIZON, but no more
local HORIZON, INTERVALS = 3600, 1000 -- seconds and intervals, whichever is longer: a silence without end

local trusting = { alive = true, late = true, unknown = true }

--- Does the verdict accuse the heart? All do but alive, late and unknown; or just the one that is named.
local function accuser(named)
  if named then return function(verdict) return verdict == named end end
  return function(verdict) return not trusting[verdict] end
end

--- The snapshot h as it would be `later` seconds on, had nothing happened: only ages change, and of who waits for
--- others not the one of its silence.
local function aged(h, later)
  local ages = { now = h.now + later, state_age = h.state_age + later }
  if h.state ~= "idle" and h.state ~= "blocked_send" then ages.age = h.age + later end
  if h.unit ~= nil then ages.unit_age = h.unit_age + later end
  if h.progress_age then ages.progress_age = h.progress_age + later end
  return setmetatable(ages, { __index = h })
end

local play = {}
play.__index = play

--- Asks about h, which is at time `at`; the verdict, and when to ask again.
function play:put(h, at)
  local verdict, wait = self.ask(h)
  if wait > LEAST then
    self.at_once = 0
    return verdict, at + wait
  end
  self.at_once = self.at_once + 1
  if self.at_once > AT_ONCE then
    error { policy = ("it wants to be asked again at once, %d times in a row, at %.6f s"):format(AT_ONCE, at) }
  end
  return verdict, at + LEAST * 2 ^ math.min(self.at_once - 1, 20) -- late in a life LEAST is below the last digit
end

--- The policy says something new in this silence.
function play:announce(verdict, at)
  if self.saying == verdict or self.said[verdict] or verdict == "alive" and not self.saying then return end
  self.told[#self.told + 1] = { verdict = verdict, at = at, silence = at - self.since }
  self.trial:suspect(verdict)
  self.said[verdict], self.saying = true, verdict ~= "alive" and verdict or nil
end

function play:take_back(at)
  self.mistakes, self.mistaken = self.mistakes + 1, self.mistaken + at - self.suspected
  self.suspected, self.refuted = nil, false
end

--- Keeps account of mistakes: a suspicion that is later taken back was one, and one that was refuted.
function play:judge(verdict, at)
  if self.accuses(verdict) then
    self.suspected = self.suspected or at
  elseif self.suspected then
    self:take_back(at)
  end
end

--- A sign of life refutes the suspicion, unless it comes from inside a unit of work that was suspected.
function play:refute(event, at)
  if event == "unit" then self.unit = at elseif event == "rest" then self.unit = nil end
  local doubted = self.unit and self.suspected and self.unit <= self.suspected
  if self.suspected and at > self.suspected and not doubted then self.refuted = true end
end

--- Asks from `at` on, as often as the policy wants, until `till`. When it first accused (or nil), when it wants to be
--- asked next, the last snapshot and its time.
function play:hear(at, till)
  local accused, h, now
  repeat
    now, h = at, self.trial:look(at - self.life.opened)
    local verdict, again = self:put(h, now)
    self.asks = self.asks + 1
    self:announce(verdict, now)
    self:judge(verdict, now)
    if not accused and self.accuses(verdict) then accused = now end
    at = again
  until at >= till
  return accused, at, h, now
end

--- When the policy would accuse the heart if nothing happened after h, a snapshot of time `now`, and it were asked
--- from `at` on; math.huge: never.
function play:foresee(at, h, now)
  for asks = 1, MOST_ASKS do
    if at == math.huge or asks > ASKS and at > self.since + self.horizon then break end
    local asked = at
    local verdict, again = self:put(aged(h, asked - now), asked)
    if self.accuses(verdict) then return asked end
    at = again
  end
  return math.huge
end

--- One silence, from a sign of life until the next event at `till`; nil: the life is over.
function play:silence(from, till, is_beat)
  self.since, self.said, self.at_once = from, {}, 0
  till = till or self.life.dies and from + self.horizon or from
  local accused, at, h, now = self:hear(from, till)
  if not is_beat then return end
  self.beats = self.beats + 1
  if not self.detections then return end
  self.at_once = 0
  self.detections[#self.detections + 1] = (accused or self:foresee(at, h, now)) - from
end

local beating = { beat = true, unit = true, rest = true }
local silent = { verdict = true, close = true } -- no signs of life

function play:happen(at, event, what)
  local t = self.trial
  if event == "unit" then
    t:unit(at, what)
  elseif event == "park" then
    t:park(at, what)
  elseif event ~= "open" then
    t[event](t, at)
  end
end

--- Iterates over the signs of life, the opening first: place, time, event.
local function signs(life)
  local function after(_, i)
    repeat i = i + 1 until not silent[life.event[i]]
    if i <= life.n then return i, life.at[i], life.event[i] end
  end
  return function(_, i)
    if i then return after(_, i) end
    return 0, life.opened, "open"
  end
end

--- When the next thing happens to the heart after event i, or nil.
local function next_time(life, i)
  repeat i = i + 1 until life.event[i] ~= "verdict"
  return life.at[i]
end

--- play.life(life, ask, wants, named) -> what happened:
---   beats, observed (seconds from the opening to the last sign of life), asks (at every sign of life, and whenever
---   the policy wanted it), mistakes, mistaken (seconds of them), told ({ verdict, at, silence } in order),
---   detections (with `foresee`, after each beat: the seconds until the policy would have accused it; math.huge: never)
--- The last silence of a recorded life is no mistake, whatever is said in it: nobody knows what it was.
--- `named` is the verdict that counts as an accusation; nil: any but alive, late and unknown.
function play.life(life, ask, wants, foresee, named)
  local self = setmetatable({
    life = life, ask = ask, accuses = accuser(named), detections = foresee and {},
    trial = trial.new { name = life.heart, interval = life.interval, window = wants.window, estimate = wants.estimate },
    horizon = math.max(HORIZON, INTERVALS * life.interval),
    beats = 0, observed = 0, asks = 0, mistakes = 0, mistaken = 0, told = {},
  }, play)
  for i, at, event in signs(life) do
    self.observed = at - life.opened
    self:happen(self.observed, event, life.what[i])
    self:refute(event, at)
    self:silence(at, next_time(life, i), beating[event])
  end
  if self.refuted then self:take_back(life.opened + self.observed) end
  return self
end

local function group_of(members)
  local looks = {}
  return function(at, own)
    for i, member in ipairs(members) do
      looks[i] = member:look(at)
      if looks[i].age > looks[i].limit then member:suspect "dead" end
      looks[i] = member:look(at)
    end
    return setmetatable({ members = looks }, { __index = own })
  end
end

--- The same for the policy of a group: five hearts, of which one after the other falls silent, every ten intervals.
function play.group(ask, interval)
  local name = "group of five"
  local own, members = trial.new { name = name, interval = interval }, {}
  for i = 1, 5 do members[i] = trial.new { name = "member " .. i, interval = interval } end
  local grouped = group_of(members)
  own:park(0)
  local self = setmetatable({ life = { heart = name }, ask = ask, accuses = accuser(), trial = own,
    asks = 0, beats = 0, mistakes = 0, mistaken = 0, told = {}, since = 0, said = {}, at_once = 0 }, play)
  for k = 0, 60 do
    local at = k * interval
    for i, member in ipairs(members) do
      if k <= 10 * i then member:beat(at) end
    end
    local verdict = self:put(grouped(at, own:look(at)), at)
    self.asks, self.observed = self.asks + 1, at
    self:announce(verdict, at)
    self:judge(verdict, at)
  end
  return self
end

return play
