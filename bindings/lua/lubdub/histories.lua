--- Made-up lives of a heart, for trying a policy on. The same seed gives the same lives.
local random = require "lubdub.random"

local histories = {}

--- A life to add events to: add(seconds, event [, what]).
local function begin(name, interval)
  local life = { heart = name, id = 1, interval = interval, opened = 0, n = 0, at = {}, event = {}, what = {} }
  local now = 0
  return life, function(seconds, event, what)
    now = now + seconds
    life.n = life.n + 1
    life.at[life.n], life.event[life.n], life.what[life.n] = now, event, what or false
  end
end

local function beat(n, next_gap)
  return function(add, interval, rnd)
    for i = 1, n do add(interval * next_gap(rnd, i), "beat") end
  end
end

local function steady() return 1 end
local function jittery(rnd) return 0.5 + rnd() end

local function burst(rnd) return rnd() < 0.7 and 0.05 or -2 * math.log(1 - rnd()) end -- Poisson gaps between bursts
local function pause(_, i) return i == 500 and 8 or 1 end

--- Waits for work, does it, rests.
local function work(n)
  return function(add, interval, rnd)
    for i = 1, n do
      add(0, "park", "idle")
      add(3 * interval * rnd(), "wake")
      add(0, "unit", i)
      add(interval * rnd(), "rest")
    end
  end
end

local function stuck_unit(add, interval, rnd)
  work(20)(add, interval, rnd)
  add(interval, "unit", 21)
  for _ = 1, 1000 do add(interval, "beat") end
end

local function parked(state)
  return function(add, interval)
    for _ = 1, 20 do add(interval, "beat") end
    add(0, "park", state)
    add(200 * interval, "wake")
    for _ = 1, 20 do add(interval, "beat") end
  end
end

local kinds = {
  { "steady", beat(1000, steady) },
  { "jittery", beat(1000, jittery) },
  { "bursty", beat(1000, burst) },
  { "pause", beat(1000, pause) },
  { "work", work(300) },
  { "idle", parked "idle" },
  { "blocked", parked "blocked_send" },
  { "stuck unit", stuck_unit },
  { "death", beat(100, steady), dies = true },
}

--- histories.make(seed, interval) -> incarnations as in lubdub.beats; one that `dies` is silent after its last event
function histories.make(seed, interval)
  local lives = {}
  for i, kind in ipairs(kinds) do
    local life, add = begin(kind[1], interval)
    life.dies = kind.dies
    kind[2](add, interval, random(seed * #kinds + i))
    lives[i] = life
  end
  return lives
end

return histories
