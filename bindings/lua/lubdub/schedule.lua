--- Which schedule each of many runs has: of lub.explore and of `lubdub sim --runs`.
local schedule = {}

local PORTFOLIO = { [0] = "random", "random", "random", "random", "pct", "pct", "sticky", "sticky" }
local DEPTHS, STICKY = { 2, 3, 4 }, { 7 / 8, 31 / 32, 127 / 128 }

local function in_turn(list, run) return list[run // 8 % #list + 1] end

--- The plan of a run, numbered from 1: { strategy=, depth=, length=, sticky= }. `strategy` may be "portfolio"; `most`:
--- choices that a run had until now; wish.depth and wish.sticky, where they are given, come before those in turn.
function schedule.plan(strategy, run, most, wish)
  if strategy == "portfolio" then strategy = run == 1 and "first" or PORTFOLIO[run % 8] end
  if strategy == "pct" then
    return { strategy = "pct", depth = wish.depth or in_turn(DEPTHS, run), length = math.max(most, 1) }
  end
  if strategy == "sticky" then return { strategy = "sticky", sticky = wish.sticky or in_turn(STICKY, run) } end
  return { strategy = strategy }
end

--- The seed that the sim gets for a run: splitmix64 of both.
function schedule.seed(seed, run)
  local x = seed + run * -7046029254386353131
  x = (x ~ x >> 30) * -4658895280553007687
  x = (x ~ x >> 27) * -7723592293110705685
  return x ~ x >> 31
end

return schedule
